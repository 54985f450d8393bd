"""Households of the shipped playbook for the stories: what each lived through, sent as it happened."""

import functools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from hearth.v1 import decision_pb2, signal_pb2
from household.deciding.arbitration import is_control
from household.plan import Plan
from playbooks.compiler import TELCO, compile_playbook
from tests.actors.harness import DAY, HOUR, MONDAY, Hearth, signal

S1, J2 = "s1_low_balance", "j2_unified_inbound"
PACKS = ("film_box", "series_plus", "sports_live", "music_max", "kids_world")
REVENUE_MINOR = {"value": 2_000, "standard": 9_000, "premium": 30_000}
PRICE_MINOR = {"value": 999, "standard": 1_299, "premium": 1_499}
INBOUND = ("app", "web", "ussd", "ivr", "agent", "store")
MEMBER = "M1"
EVENING = 9 * HOUR
"""From the story's ten o'clock to seven in the evening."""


@functools.cache
def telco() -> Plan:
    """The playbook we ship, compiled."""
    return compile_playbook(TELCO)


def controlled(household: str, journey: str) -> bool:
    """Whether a household is in the control group of a journey: decided on, and never treated."""
    return is_control(telco(), household.encode(), {journey})


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamer:
    """A prepaid member with a wallet who streams every evening, one pack more than the others."""

    household: str
    pack: str
    segment: str

    def history(self, first_day: int, days: int) -> list[signal_pb2.Signal]:
        """Return what happens to her, day by day from `first_day` on."""
        start = MONDAY + first_day * DAY
        made = [
            self.signal("profile", "billing.profile_updated", start, line_type="prepaid"),
            self.signal("wallet", "wallet.activated", start),
            self.signal("revenue", "billing.topup", start, amount_minor=float(REVENUE_MINOR[self.segment])),
        ]
        other = PACKS[(PACKS.index(self.pack) + 1) % len(PACKS)]
        for day in range(first_day, first_day + days):
            at = MONDAY + day * DAY + EVENING
            made.append(self.signal(f"s{day}", "network.streaming_session", at, streaming_pack=self.pack, evening=True))
            if day % 3 == 0:
                made.append(self.signal(f"o{day}", "network.streaming_session", at, streaming_pack=other, evening=True))
        return made

    def balance_check(self, number: int, time_us: int) -> signal_pb2.Signal:
        return self.signal(f"check{number}", "app.balance_check", time_us)

    def signal(self, name: str, kind: str, time_us: int, **fields: float | str | bool) -> signal_pb2.Signal:
        return signal(f"{self.household}-{name}", self.household, kind, time_us, member=MEMBER, fields=fields)


async def live_through(hearth: Hearth, signals: Iterable[signal_pb2.Signal]) -> None:
    """Send signals when they happen, in order of time, all of one moment together."""
    by_time: defaultdict[int, list[signal_pb2.Signal]] = defaultdict(list)
    for one in signals:
        by_time[one.time.ToMicroseconds()].append(one)
    for time_us in sorted(by_time):
        hearth.clock.at_us = max(hearth.clock.at_us, time_us)
        sent = await hearth.ingest(*by_time[time_us])
        assert sent.counts.applied == len(by_time[time_us]), sent


def carriers(offer: str) -> set[str]:
    """Return the channels that have words for an offer."""
    plan = telco()
    return {plan.channels[one.channel].name for one in plan.offers[plan.offer_by_name[offer]].treatments}


def family_of(offer: str) -> str:
    plan = telco()
    return plan.offers[plan.offer_by_name[offer]].family


def first_for(channel: str, slate: Iterable[decision_pb2.Action]) -> decision_pb2.Action | None:
    """Return the first action of a slate that a channel can carry."""
    return next((action for action in slate if channel in carriers(action.offer)), None)
