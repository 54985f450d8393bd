"""The quiet hours of a time zone: half-open, over midnight where they end before they begin, right on both days of a
clock change."""

from functools import lru_cache

from household.local_time import instant_of, local_day

ALWAYS_US = 2**62


class QuietHours:
    """Quiet hours [from, to) in one zone. Remembers the piece of time that was asked for last."""

    __slots__ = ("_from", "_piece", "_to", "_zone")

    def __init__(self, zone: str, from_minute: int, to_minute: int) -> None:
        """Take minutes of the local day; where both are the same there are no quiet hours."""
        self._zone, self._from, self._to = zone, from_minute, to_minute
        self._piece = (0, 0, False)

    def holds(self, instant_us: int) -> bool:
        """Return whether an instant lies in them."""
        return self._piece_at(instant_us)[2]

    def until_us(self, instant_us: int) -> int:
        """Return the first instant from one on that lies outside; that itself, if it does."""
        while (piece := self._piece_at(instant_us))[2]:
            instant_us = piece[1]
        return instant_us

    def _piece_at(self, instant_us: int) -> tuple[int, int, bool]:
        piece = self._piece
        if not piece[0] <= instant_us < piece[1]:
            piece = self._piece = self._found(instant_us)
        return piece

    def _found(self, instant_us: int) -> tuple[int, int, bool]:
        if self._from == self._to:
            return -ALWAYS_US, ALWAYS_US, False
        spans, today = int(self._to < self._from), local_day(self._zone, instant_us)
        after_us, before_us = -ALWAYS_US, ALWAYS_US
        # Two days on either side: clocks may be put back over midnight, or a day be left out.
        for ordinal in range(today - 2, today + 3):
            begin_us = instant_of(self._zone, ordinal, self._from)
            end_us = instant_of(self._zone, ordinal + spans, self._to)
            if begin_us <= instant_us < end_us:
                return begin_us, end_us, True
            if end_us <= instant_us:
                after_us = max(after_us, end_us)
            elif begin_us < end_us:
                before_us = min(before_us, begin_us)
        return after_us, before_us, False


@lru_cache(maxsize=1_024)
def quiet_hours(zone: str, from_minute: int, to_minute: int) -> QuietHours:
    """Return the quiet hours of a zone; the same object each time."""
    return QuietHours(zone, from_minute, to_minute)
