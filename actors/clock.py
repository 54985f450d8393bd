"""The owner's clock, behind a port so that tests and simulations bring their own."""

import time
from typing import Protocol


class Clock(Protocol):
    """Time for stamping records. Never goes back within one owner's term."""

    def now_us(self) -> int:
        """Return microseconds since 1970 UTC."""
        ...


class WallClock:
    """The machine's time at the start of the term, carried on by the monotonic clock: a step does not move it."""

    def __init__(self) -> None:
        self._offset_us = time.time_ns() // 1_000 - time.monotonic_ns() // 1_000

    def now_us(self) -> int:
        """Return microseconds since 1970 UTC."""
        return self._offset_us + time.monotonic_ns() // 1_000
