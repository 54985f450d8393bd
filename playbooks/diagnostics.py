"""Mistakes in a playbook: where, what is wrong, and what would be right. All are collected before any is shown."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

KNOWN_SHOWN_MAX = 12
"""A list of what would be allowed is cut here: nobody reads more."""


@dataclass(frozen=True, slots=True)
class Place:
    """A spot in a playbook file; line and column count from 1, as editors do."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake."""

    place: Place
    wrong: str
    """What is wrong, as a sentence without its full stop."""
    right: str = ""
    """What to write instead."""

    def __str__(self) -> str:
        return f"{self.place}: {self.wrong}" + (f"; {self.right}" if self.right else "")


class PlaybookInvalid(Exception):
    """The playbook does not compile; `problems` holds everything that is wrong with it, in reading order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Problems:
    """What was found so far. The same mistake seen twice is told once."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, place: Place, wrong: str, right: str = "") -> None:
        """Note a mistake and go on."""
        self._found.setdefault(Problem(place, wrong, right))

    def __bool__(self) -> bool:
        return bool(self._found)

    def in_reading_order(self) -> tuple[Problem, ...]:
        """Return them by file, line and column."""
        return tuple(
            sorted(self._found, key=lambda problem: (problem.place.file, problem.place.line, problem.place.column))
        )


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
