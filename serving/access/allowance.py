"""How much each caller may ask: calls per second, and calls under way at once. Beside the admission by age, for all."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from serving.access.principal import Principal
from serving.access.rules import LimitRules
from wire.failures import CallFailed, Failure, status_of

CALLERS_MAX: Final = 10_000
BURST_S: Final = 1.0
"""So much of a second's calls may come at once."""


@dataclass(slots=True)
class _Share:
    """What one caller has used."""

    left: float
    """Calls he may make now."""
    counted_s: float
    in_flight: int = 0


class Allowances:
    """Counts each caller's calls against what he may."""

    def __init__(self) -> None:
        self._limits = LimitRules()
        self._shares: OrderedDict[str, _Share] = OrderedDict()

    def take(self, limits: LimitRules) -> None:
        """Take what callers may from here on whose own rules say nothing of it."""
        self._limits = limits

    def enter(self, principal: Principal) -> None:
        """Count a call.

        Raises:
            CallFailed: CALLER_OVER_LIMIT, with the time to come again; it is not counted then.
        """
        rate = principal.calls_per_s or self._limits.calls_per_s
        most = principal.in_flight_max or self._limits.in_flight
        if rate is None and most is None:
            return
        now_s = time.monotonic()
        share = self._shares.get(principal.name)
        if share is None:
            share = self._shares[principal.name] = _Share(max(1.0, (rate or 0.0) * BURST_S), now_s)
            self._forget()
        if most is not None and share.in_flight >= most:
            raise _over(f"{share.in_flight} of your calls are under way, and {most} may be", 100)
        if rate is not None:
            share.left = min(share.left + (now_s - share.counted_s) * rate, max(1.0, rate * BURST_S))
            share.counted_s = now_s
            if share.left < 1.0:
                raise _over(f"you may make {rate:g} calls a second", max(1, int((1.0 - share.left) / rate * 1_000)))
            share.left -= 1.0
        share.in_flight += 1

    def leave(self, principal: Principal) -> None:
        """Count a call no longer that was counted."""
        share = self._shares.get(principal.name)
        if share is not None and share.in_flight:
            share.in_flight -= 1

    def _forget(self) -> None:
        """Forget who has been away for longest."""
        while len(self._shares) > CALLERS_MAX:
            name = next((name for name, share in self._shares.items() if not share.in_flight), None)
            if name is None:
                return
            del self._shares[name]


def _over(text: str, retry_after_ms: int) -> CallFailed:
    message = f"{text}, in this process of Hearth; nothing of this request was done: try again a little later"
    return CallFailed(status_of(Failure.CALLER_OVER_LIMIT, message, retry_after_ms=retry_after_ms))
