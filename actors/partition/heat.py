"""Which households of a partition are asked and told of most of late: a few at most, and never all of them.

Counted as Misra and Gries do: whoever has more than a 65th part of all is surely among those that are kept. Of a large
batch some rows stand for all. What was counted for a while is looked at in the end, and forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from household.events import EventBatch
from wire.installation import Installation

HOT_HOUSEHOLD: Final = "hot_household:"
"""Begins the name under which a partition's report has one, by pseudonym: questions and events a minute."""
HEAT: Final = "heat_per_minute"
"""Name of the questions and events a minute of all."""

WINDOW_S: Final = 10.0
KEPT: Final = 64
ROWS_PER_LOOK: Final = 256
LOOKS_MAX: Final = 32
"""Rows of one batch that are looked at."""
LOOKS_MIN: Final = 8
"""Seen less often, it may have been by chance."""
SHARE_MIN: Final = 0.1
TOLD_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class HotHousehold:
    """One that has more than its part."""

    name: bytes
    """As those who ask and tell have it."""
    per_minute: int


class Heat:
    """Counts for one owner of a partition. In its event loop."""

    def __init__(self) -> None:
        self.hottest: tuple[HotHousehold, ...] = ()
        """In the last whole window, the hottest first."""
        self.per_minute = 0
        """Of all, in that window."""
        self._counts: dict[bytes, int] = {}
        self._looks: dict[bytes, int] = {}
        self._total = 0
        self._began_s: float | None = None
        self._place = 0

    def note(self, name: bytes, weight: int = 1) -> None:
        """Count what somebody asked of a household, or so many events."""
        self._total += weight
        counts = self._counts
        if name in counts:
            counts[name] += weight
            self._looks[name] += 1
        elif len(counts) < KEPT:
            counts[name], self._looks[name] = weight, 1
        else:
            least = min(weight, min(counts.values()))
            self._counts = {one: left for one, count in counts.items() if (left := count - least) > 0}
            self._looks = {one: self._looks[one] for one in self._counts}
            if weight > least:
                self._counts[name], self._looks[name] = weight - least, 1

    def note_batch(self, batch: EventBatch) -> None:
        """Count a batch of events, of a large one some that stand for all."""
        looks = min(LOOKS_MAX, 1 + batch.count // ROWS_PER_LOOK)
        by_identifier = batch.identifiers.offsets.shape[0] > 0
        for _ in range(min(looks, batch.count)):
            # Another place each time, or the first of every batch would stand for all.
            self._place = (self._place * 1_103_515_245 + 12_345) & 0x7FFFFFFF
            row = (self._place >> 8) % batch.count
            name = batch.households[row] or (batch.identifiers[row] if by_identifier else b"")
            self.note(name, batch.count // looks)

    def look(self, now_s: float) -> None:
        """Tell anew once a window is over."""
        if self._began_s is None:
            self._began_s = now_s
        passed_s = now_s - self._began_s
        if passed_s < WINDOW_S:
            return
        found = sorted(self._counts.items(), key=lambda one: -one[1])[:TOLD_MAX]
        self.hottest = tuple(
            HotHousehold(name, round(60 * count / passed_s))
            for name, count in found
            if count >= SHARE_MIN * self._total and self._looks[name] >= LOOKS_MIN
        )
        self.per_minute = round(60 * self._total / passed_s)
        self._counts, self._looks, self._total, self._began_s = {}, {}, 0, now_s

    def told(self, installation: Installation | None) -> dict[str, int | str | bool]:
        """Return it for a report, by pseudonym; nobody is named where there is nothing to make one of."""
        if installation is None:
            return {HEAT: self.per_minute}
        hot = {
            HOT_HOUSEHOLD + installation.pseudonym(one.name.decode(errors="backslashreplace")): one.per_minute
            for one in self.hottest
        }
        return {HEAT: self.per_minute, **hot}
