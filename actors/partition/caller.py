"""Who waits for the answer to a call, and until when: work for somebody who has left, or is too late, is not begun.

Asked before each step that costs something, up to the moment when the call is handed to the log. From then on it is
seen through: what may be durable must be folded, whoever is there to hear of it.
"""

import time


class CallerGone(Exception):
    """Nobody waits for the answer any more. Nothing was handed to the log since it was last asked."""


class Caller:
    """The one who made a call."""

    __slots__ = ("_is_gone", "deadline_s", "timeout_s")

    def __init__(self, timeout_s: float | None) -> None:
        """`timeout_s`: what is left of the caller's time as the call arrives; None for no end."""
        self.timeout_s = timeout_s
        self.deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        """When it will have gone, by the loop's clock; None for never."""
        self._is_gone = False

    def leave(self) -> None:
        """The caller has given up, or the connection to it has ended."""
        self._is_gone = True

    @property
    def is_waiting(self) -> bool:
        """Whether there is still somebody to answer in time. Safe to ask in any thread."""
        return not self._is_gone and (self.deadline_s is None or time.monotonic() < self.deadline_s)

    def check(self) -> None:
        """Raise unless somebody waits.

        Raises:
            CallerGone
        """
        if not self.is_waiting:
            raise CallerGone


NOBODY_LEAVES = Caller(None)
"""Of work that has no caller, such as a moment that is decided by itself."""
