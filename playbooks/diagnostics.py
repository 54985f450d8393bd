"""What is told of a playbook that does not compile; its mistakes and their places are those of written/problems.py."""

import difflib
from collections.abc import Iterable

from written.problems import WritingInvalid

KNOWN_SHOWN_MAX = 12
"""A list of what would be allowed is cut here: nobody reads more."""


class PlaybookInvalid(WritingInvalid):
    """The playbook does not compile; `problems` holds everything that is wrong with it, in reading order."""


def suggestion(name: str, known: Iterable[str], *, what: str = "") -> str:
    """Return "did you mean …?", or else what there is to choose from.

    >>> suggestion("streaming_basc", ["streaming_basic", "roaming_day"])
    "did you mean 'streaming_basic'?"
    >>> suggestion("x", ["mobile", "wallet"], what="families")
    'the families are mobile, wallet'
    """
    # The reserved types come last: whoever mistypes one is helped, nobody else reads them.
    choices = sorted(set(known), key=lambda choice: (choice.startswith("hearth."), choice))
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    if not choices:
        return f"there are no {what} yet" if what else ""
    shown = ", ".join(choices[:KNOWN_SHOWN_MAX]) + (", …" if len(choices) > KNOWN_SHOWN_MAX else "")
    return f"the {what} are {shown}" if what else f"there is {shown}"
