"""The owner's clocks, behind ports so that tests and simulations bring their own: what time it is, and how long it was.

The only place that reads the machine's clocks for anything that is decided by them (docs/decisions/0011-leases.md).
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol

JUMP_US_MAX = 5_000_000
"""A leap second or a daemon's correction at start (chrony steps beyond 1 s, ntpd beyond 0.128 s) is no jump; and five
seconds are less than anybody who set quiet hours or a cap by the minute would notice."""

LEAP_SECOND_US = 1_000_000

_PAUSE_US_MAX = 1_000
_READINGS_MAX = 8


class Clock(Protocol):
    """Time for stamping records. Never goes back within one owner's term."""

    def now_us(self) -> int:
        """Return microseconds since 1970 UTC. Goes on when the machine's clock jumps, as if it had not."""
        ...

    def is_confirmed(self) -> bool:
        """Return whether the machine's clock agrees with this one. Cheap and safe to ask before every answer."""
        ...

    def confirm(self) -> None:
        """Go on from the machine's clock as it is now: a person has looked at it. Now still never goes back."""
        ...


class BootClock(Protocol):
    """How much time has passed: runs on while the machine sleeps, is never set. For durations within one machine."""

    def now_ns(self) -> int:
        """Return nanoseconds since the machine was started."""
        ...


class MachineBootClock:
    """The kernel's CLOCK_BOOTTIME. A stopped process, a suspended machine and a set wall clock all leave it running."""

    def now_ns(self) -> int:
        """Return nanoseconds since the machine was started."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def machine_wall_us() -> int:
    """Return the machine's wall clock in microseconds since 1970 UTC; anybody may set it at any time."""
    return time.time_ns() // 1_000


class WallClock:
    """The machine's wall time when it was made, carried on by the boot clock: setting the wall clock does not move it.

    It is unconfirmed while the wall clock is more than `jump_us_max` away from it. That ends by itself when the wall
    clock comes back, or by `confirm`, which takes the wall clock's time over; below what it has said it then stands
    still until the wall clock gets there.

    A process that starts takes the wall clock as right: it has nothing to compare it with.
    """

    def __init__(
        self,
        *,
        boot: BootClock | None = None,
        wall_us: Callable[[], int] = machine_wall_us,
        jump_us_max: int = JUMP_US_MAX,
    ) -> None:
        # A leap second may be one step of the wall clock, and must not stop a cluster.
        assert jump_us_max > LEAP_SECOND_US, f"jump_us_max {jump_us_max} would make a leap second a jump"
        self._boot = boot or MachineBootClock()
        self._wall_us = wall_us
        self._jump_us_max = jump_us_max
        self._setting = threading.Lock()
        self._offset_us = self._wall_less_boot_us()
        self._said_us = 0
        """The greatest it has returned."""

    def now_us(self) -> int:
        """Return microseconds since 1970 UTC."""
        with self._setting:
            self._said_us = max(self._said_us, self._offset_us + self._boot_us())
            return self._said_us

    def is_confirmed(self) -> bool:
        """Return whether the wall clock is within `jump_us_max` of the carried time."""
        return abs(self.jumped_us()) <= self._jump_us_max

    def jumped_us(self) -> int:
        """Return how far the wall clock is from where it would be, had nobody set it; negative: it was set back."""
        return self._wall_less_boot_us() - self._offset_us

    def confirm(self) -> None:
        """Go on from the wall clock as it is now."""
        with self._setting:
            self._offset_us = self._wall_less_boot_us()

    def _wall_less_boot_us(self) -> int:
        # A pause between reading the one and the other would look like a jump: take the reading with the least.
        readings = []
        for _ in range(_READINGS_MAX):
            before_us = self._boot_us()
            wall_us = self._wall_us()
            paused_us = self._boot_us() - before_us
            readings.append((paused_us, wall_us - before_us))
            if paused_us <= _PAUSE_US_MAX:
                break
        return min(readings)[1]

    def _boot_us(self) -> int:
        return self._boot.now_ns() // 1_000
