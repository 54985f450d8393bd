"""Who is let in: how long would a call that comes now wait, told from how quickly others were answered of late.

A count says nothing: a thousand calls are two seconds here and a tenth of one on a larger machine. By Little's law,
whoever joins a line waits for its length divided by the pace at which it moves, and the pace is measured.
docs/decisions/0014-overload.md tells why so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from wire.failures import CallFailed, overloaded

MonotonicS = Callable[[], float]

PIECE_S: Final = 0.05
PACE_S: Final = 0.5
"""The pace is that of the last half second in which anybody was in line: an empty line tells nothing of it."""

DEADLINE_SHARE_MAX: Final = 0.8
"""Of the time that a caller has left, what it may spend waiting: its answer takes time, too."""

FULL_SHARE: Final = 0.85
"""Of the room in all lines together, beyond which a call is refused unread: hardly one of them has room for it then."""

RETRY_MS_MIN: Final = 100
RETRY_MS_MAX: Final = 2_000
PRESSURE_CALLS: Final = 64
"""Newcomers over which the share of those refused is reckoned."""
GOLDEN: Final = 0.618_033_988_75
"""The fractions of its multiples are spread evenly, however many there are."""


class Pace:
    """How much is answered per second while anybody waits."""

    def __init__(self, monotonic_s: MonotonicS) -> None:
        self._monotonic_s = monotonic_s
        self._pieces: deque[tuple[float, float]] = deque()
        """Busy seconds and what was answered in them, oldest first; what is being counted now is not among them."""
        self._busy_s = 0.0
        self._answered = 0.0
        self._piece_s = 0.0
        self._piece_answered = 0.0
        self._since_s: float | None = None
        """Up to when it was looked at; None while nobody waits."""

    def begin(self) -> None:
        """Somebody waits again."""
        self._since_s = self._monotonic_s()

    def end(self) -> None:
        """Nobody waits any more."""
        self._look()
        self._since_s = None

    def add(self, weight: float) -> None:
        """So much was answered."""
        self._piece_answered += weight

    def per_s(self) -> float | None:
        """Return how much is answered per second; None while nothing was and little time has passed."""
        self._look()
        busy_s, answered = self._busy_s + self._piece_s, self._answered + self._piece_answered
        if not answered and busy_s < PIECE_S:
            return None
        return answered / busy_s if busy_s else None

    def _look(self) -> None:
        if self._since_s is None:
            return
        now_s = self._monotonic_s()
        self._piece_s += now_s - self._since_s
        self._since_s = now_s
        if self._piece_s < PIECE_S:
            return
        self._pieces.append((self._piece_s, self._piece_answered))
        self._busy_s += self._piece_s
        self._piece_s = self._piece_answered = 0.0
        while self._busy_s - self._pieces[0][0] > PACE_S:
            self._busy_s -= self._pieces.popleft()[0]
        # Added anew, or rounding would add up.
        self._busy_s = sum(busy_s for busy_s, _ in self._pieces)
        self._answered = sum(answered for _, answered in self._pieces)


class Lines:
    """All lines of one kind in a process, seen together."""

    def __init__(self) -> None:
        self.length = 0.0
        self.room = 0.0
        """What may be in the lines at their present pace."""
        self.open_count = 0
        self.present = 0
        """Callers whom a gate has let in and who have not ended: some are not in line yet, and count all the same."""
        self._pressure = 0.0
        """Share of the newest callers that were refused."""
        self._refusals = 0

    def is_full(self, *, patience: float = 1.0) -> bool:
        """Return whether there is hardly a line left with room for a caller of such patience."""
        return max(self.length, self.present) >= FULL_SHARE * self.room * patience > 0

    def refusal(self) -> CallFailed:
        """Return what somebody is told who is not let in, and when to come again."""
        return overloaded(self.refused())

    def refused(self) -> int:
        """Count somebody who is not let in; return when to come again, in ms: later, the more are refused."""
        self._pressure += (1 - self._pressure) / PRESSURE_CALLS
        self._refusals += 1
        return self.retry_after_ms()

    def let_in(self) -> None:
        """Count somebody who was not refused."""
        self._pressure -= self._pressure / PRESSURE_CALLS

    def retry_after_ms(self) -> int:
        """Return when somebody who is refused now may come again, in tenths of the shortest wait.

        Spread over twice the time, so that those who were refused together do not come back together.
        """
        wait_ms = RETRY_MS_MIN / max(1 - self._pressure, 0.01) ** 2
        step_ms = RETRY_MS_MIN // 10
        spread = 1 + self._refusals * GOLDEN % 1.0 if self._refusals > 1 else 1.0
        return min(int(wait_ms * spread) // step_ms * step_ms, RETRY_MS_MAX)


class Line:
    """Those who wait for one server. Its length is in what callers weigh: calls, or bytes. For one event loop."""

    def __init__(
        self,
        lines: Lines,
        *,
        wait_s_max: float,
        length_min: float,
        monotonic_s: MonotonicS,
        length_max: float = float("inf"),
    ) -> None:
        """Take the limits.

        Args:
            lines: what it is one of.
            wait_s_max: whoever would wait longer is refused.
            length_min: may be in line whatever the pace: it is not known before the first were answered.
            monotonic_s: the loop's time.
            length_max: may be in line at most, however quickly it moves.
        """
        assert wait_s_max > 0
        assert 0 < length_min <= length_max
        self._lines = lines
        self._wait_s_max = wait_s_max
        self._length_min = length_min
        self._length_max = length_max
        self._pace = Pace(monotonic_s)
        self._is_closed = False
        self.length = 0.0
        self.room = length_min
        """What may be in line at its present pace."""
        lines.room += self.room
        lines.open_count += 1

    def wait_s(self, weight: float = 1.0) -> float:
        """Return how long somebody who joins now has to wait: 0 while nobody knows, infinite while nothing moves."""
        pace = self._pace.per_s()
        if pace is None:
            return 0.0
        return (self.length + weight) / pace if pace else float("inf")

    def join(self, *, timeout_s: float | None, weight: float = 1.0, patience: float = 1.0) -> None:
        """Get in line, if there is an answer in time.

        Args:
            timeout_s: what the caller has left; None for one that has waited for room and is let in.
            weight: what it adds to the line. One alone may weigh what it likes.
            patience: how many times as long the line may be for it.

        Raises:
            CallFailed: OVERLOADED, with the time to come again.
        """
        length = self.length + weight
        if self.length and timeout_s is not None:
            self._measure()
            is_long = length > min(self.room * patience, self._length_max)
            is_late = length > self._length_min and self.wait_s(weight) > DEADLINE_SHARE_MAX * timeout_s
            if is_long or is_late:
                raise self._lines.refusal()
        elif not self.length:
            self._pace.begin()
        self.length = length
        self._lines.length += weight
        self._lines.let_in()

    def leave(self, *, weight: float = 1.0, is_answered: bool) -> None:
        """Get out of line, answered or not."""
        if is_answered:
            self._pace.add(weight)
        self.length -= weight
        self._lines.length -= weight
        if self.length <= 0:
            self._pace.end()
        self._measure()

    def close(self) -> None:
        """Count no longer as room; whoever is in line is still answered."""
        if not self._is_closed:
            self._lines.open_count -= 1
            # Without a line there is no room to be measured by; what rounding left of it would refuse everybody.
            self._lines.room = self._lines.room - self.room if self._lines.open_count else 0.0
        self.room = 0.0
        self._is_closed = True

    def _measure(self) -> None:
        if self._is_closed:
            return
        room = min(max((self._pace.per_s() or 0.0) * self._wait_s_max, self._length_min), self._length_max)
        self._lines.room += room - self.room
        self.room = room
