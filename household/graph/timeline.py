"""Who held an identifier when: spans of event time, one after another, over all of it."""

from bisect import bisect_right
from dataclasses import dataclass, field

ALWAYS_US = -(2**62)
"""Where the first span starts."""

FROM = "#"
"""Stands between an identifier and the time from which on a row has its facts."""


@dataclass(slots=True)
class Holding:
    """That an identifier meant a subject, in [from_us, to_us)."""

    subject: str
    from_us: int
    to_us: int | None = None
    """None: still."""


@dataclass(slots=True)
class Timeline:
    """An identifier's spans. Events come in the order of their times.

    What came while nobody held it belongs to the next holder, of the same life: an orphan is adopted with all it has.
    """

    starts_us: list[int] = field(default_factory=lambda: [ALWAYS_US])
    holders: list[str | None] = field(default_factory=lambda: [None])
    """Of each span: whose facts came in it; None for an orphan's."""
    holdings: list[Holding] = field(default_factory=list)
    """As events said it, for people."""
    seen: list[tuple[int, str]] = field(default_factory=list)
    """(time, household) of each link in this life."""
    inferred: list[tuple[int, str, int]] = field(default_factory=list)
    """(time, subject, probability in millionths) of links that are too uncertain to count."""
    spoken_of_us: set[int] = field(default_factory=lambda: {ALWAYS_US})
    """Times of all events about it: no span ever started at another, whatever was learned late."""
    lives: int = 1

    def link(self, time_us: int, subject: str) -> None:
        """From a time on it means a subject."""
        if self.holders[-1] == subject and self._is_held:
            return
        self._end_holding(time_us)
        if self.holders[-1] is None:
            self.holders[-1] = subject
        else:
            self._begin(time_us, subject)
        self.holdings.append(Holding(subject, time_us))

    def unlink(self, time_us: int) -> None:
        """From a time on it means nobody."""
        if self._is_held:
            self._end_holding(time_us)
            self._begin(time_us, None)

    def recycle(self, time_us: int) -> None:
        """A new life begins."""
        self._end_holding(time_us)
        self._begin(time_us, None)
        self.seen.clear()
        self.inferred.clear()
        self.lives += 1

    @property
    def _is_held(self) -> bool:
        return bool(self.holdings) and self.holdings[-1].to_us is None

    def _end_holding(self, time_us: int) -> None:
        if self._is_held:
            self.holdings[-1].to_us = time_us

    def _begin(self, time_us: int, holder: str | None) -> None:
        if self.starts_us[-1] == time_us:
            self.holders[-1] = holder  # nothing can have come in a span of no length
        else:
            self.starts_us.append(time_us)
            self.holders.append(holder)

    def place(self, time_us: int) -> int:
        """Return which span a time lies in."""
        return bisect_right(self.starts_us, time_us) - 1

    def start_of(self, time_us: int) -> int:
        """Return where the span starts that a time lies in."""
        return self.starts_us[self.place(time_us)]

    @property
    def holder(self) -> str | None:
        """Whom it means by now."""
        return self.holdings[-1].subject if self._is_held else None
