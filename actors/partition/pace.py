"""How long something takes that is asked for again and again: mean and deviation, as TCP does it (RFC 6298)."""

from typing import Final

MEAN_WEIGHT: Final = 1 / 8
DEVIATION_WEIGHT: Final = 1 / 4
DEVIATIONS: Final = 4
"""So many above the mean; what takes longer is rare."""
MARGIN: Final = 1 / 4
"""Of the mean, at least so much above it: what has been regular for a while is not so for ever."""


class ScorerPace:
    """Follows a duration that changes.

    >>> pace = Pace()
    >>> pace.took(8.0)
    >>> pace.mean_ms, pace.most_ms
    (8.0, 24.0)
    >>> for _ in range(50):
    ...     pace.took(8.0)
    >>> pace.most_ms
    10.0
    """

    __slots__ = ("_deviation_ms", "mean_ms")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Know nothing again."""
        self.mean_ms: float | None = None
        self._deviation_ms = 0.0

    @property
    def most_ms(self) -> float | None:
        """What it takes at most, except rarely; None while nothing is known."""
        if self.mean_ms is None:
            return None
        return self.mean_ms + max(DEVIATIONS * self._deviation_ms, MARGIN * self.mean_ms)

    def took(self, ms: float) -> None:
        """Learn how long it took once."""
        if self.mean_ms is None:
            self.mean_ms, self._deviation_ms = ms, ms / 2
            return
        self._deviation_ms += (abs(ms - self.mean_ms) - self._deviation_ms) * DEVIATION_WEIGHT
        self.mean_ms += (ms - self.mean_ms) * MEAN_WEIGHT
