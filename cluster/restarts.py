"""How often something that falls may be started again, and after which pause."""

from dataclasses import dataclass
from typing import Final

TEMPORARY_FAILURE: Final = 75
"""Exit code of a run that may well succeed when it is tried again (EX_TEMPFAIL of sysexits.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """At most so many restarts in so long; the first is at once, each further one waits twice as long as the last."""

    count_max: int = 5
    window_s: float = 600.0
    pause_first_s: float = 1.0
    """Before the second restart in the window."""
    pause_s_max: float = 10.0

    def __post_init__(self) -> None:
        assert self.count_max > 0
        assert self.window_s > 0
        assert 0 < self.pause_first_s <= self.pause_s_max
        # Pauses alone must not move the first restart out of the window: the limit would never be reached.
        assert self.count_max * self.pause_s_max < self.window_s


class RestartBudget:
    """Counts restarts against a policy.

    >>> budget = RestartBudget(RestartPolicy(count_max=3, window_s=100.0))
    >>> [budget.spend(now_s) for now_s in (0.0, 1.0, 2.0, 3.0, 101.5)]
    [0.0, 1.0, 2.0, None, 1.0]
    """

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self._spent_s: list[float] = []

    def spend(self, now_s: float) -> float | None:
        """Take one restart; return the pause before it, or None when there is none left in the window."""
        self._spent_s = [spent_s for spent_s in self._spent_s if now_s - spent_s < self.policy.window_s]
        count = len(self._spent_s)
        if count >= self.policy.count_max:
            return None
        self._spent_s.append(now_s)
        if count == 0:
            return 0.0
        return min(self.policy.pause_first_s * 2.0 ** (count - 1), self.policy.pause_s_max)
