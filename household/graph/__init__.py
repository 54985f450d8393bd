"""Who belongs together: identifiers, members, lines, households, as graph events say.

Why it is so: docs/decisions/0019-household-graph.md.
"""
