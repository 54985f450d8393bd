"""The `hearth` command line: one table of commands, and their options."""
