"""Mistakes in a written file: where, what is wrong, and what would be right. All are collected before any is shown."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A spot in a file; line and column count from 1, as editors do."""

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


class WritingInvalid(Exception):
    """A file cannot be read as what it should be; `problems` holds everything that is wrong, in reading order."""

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
