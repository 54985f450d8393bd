"""The slow way to every figure: plain Python over a list of events. It shares no code with insight/.

Money and shares as fractions; calendar months by the standard library.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

DAY = 86_400_000_000

FAMILIES = {
    "mobile": "mobile",
    "extra_line": "mobile",
    "broadband": "broadband",
    "content": "content",
    "smart_home": "smart_home",
    "gaming": "gaming",
    "wallet_card": "wallet",
    "family_bundle": "mobile",
}
LINES = {"mobile", "extra_line", "broadband", "family_bundle"}
SHARES = {"billing.bill_issued": Fraction(1), "billing.topup": Fraction(1), "partner.purchase": Fraction(5, 100)}
CATEGORIES = {
    "billing.bill_issued": "connectivity",
    "billing.topup": "connectivity",
    "partner.purchase": "partner",
}
USES = {
    "mobile": ({"network.data_session", "network.call", "network.text"}, 60, 7, 3),
    "content": ({"network.streaming_session"}, 12, 7, 2),
    "gaming": ({"network.gaming_session"}, 12, 7, 1),
    "wallet": ({"wallet.payment"}, 4, 14, 2),
    "app": ({"app.session_started"}, 8, 14, 1),
    "partner": ({"partner.purchase", "partner.redemption"}, 2, 30, 1),
}


@dataclass(frozen=True)
class Event:
    """One line of a log."""

    id: str
    type: str
    household: str
    time: int
    learnt: int
    member: str = ""
    source: str = ""
    fields: dict = field(default_factory=dict)


class Reference:
    """A log as of two times."""

    def __init__(self, log: Sequence[Event], *, as_of: int, known_by: int, zone: str) -> None:
        seen: set[tuple[str, str, str]] = set()
        self.events: list[Event] = []
        for event in log:
            identity = (event.household, event.source, event.id)
            amount = event.fields.get("amount_minor")
            is_money = event.type in SHARES or event.type == "billing.refund"
            if is_money and (amount is None or amount != int(amount)):
                continue
            if identity not in seen:
                seen.add(identity)
                if event.time < as_of and event.learnt <= known_by:
                    self.events.append(event)
        self.events.sort(key=lambda one: one.time)
        self.as_of, self.zone = as_of, ZoneInfo(zone)
        self.owner = self._owners()

    def _owners(self) -> dict[str, str]:
        merges = [one for one in self.events if one.type == "hearth.graph.merge"]
        undone = {one.fields["cause"] for one in self.events if one.type == "hearth.graph.unmerge"}
        groups: list[set[str]] = []
        for one in merges:
            if one.fields["cause"] in undone:
                continue
            both = {one.household, one.fields["other"]}
            both = both.union(*(group for group in groups if group & both))
            groups = [group for group in groups if not group & both] + [both]
        return {name: min(group) for group in groups for name in group}

    def house(self, event: Event) -> str:
        return self.owner.get(event.household, event.household)

    def month(self, back: int) -> tuple[int, int, Fraction]:
        """Start, end and days of a month, so many before the one under way."""
        now = datetime.fromtimestamp((self.as_of - 1) / 1e6, UTC).astimezone(self.zone)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0, tzinfo=None)
        for _ in range(back):
            first = (first - timedelta(days=1)).replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
        start, end = (round(one.replace(tzinfo=self.zone).timestamp() * 1e6) for one in (first, following))
        if end <= self.as_of:
            return start, end, Fraction((following - first).days)
        today = datetime.fromtimestamp(self.as_of / 1e6, UTC).astimezone(self.zone).replace(tzinfo=None)
        midnight = today.replace(hour=0, minute=0, second=0, microsecond=0)
        begin, until = (
            round(one.replace(tzinfo=self.zone).timestamp() * 1e6) for one in (midnight, midnight + timedelta(days=1))
        )
        return start, self.as_of, (midnight - first).days + Fraction(self.as_of - begin, until - begin)

    # --- holdings -----------------------------------------------------------------------------------------------------

    def held(self, before: int) -> list[tuple[str, str, bool]]:
        """(household, family, is it a line) of each product that is held."""
        state: dict[tuple[str, ...], tuple[bool, str, str, bool]] = {}
        for one in self.events:
            if one.time >= before:
                continue
            if one.type in ("billing.product_activated", "billing.product_deactivated"):
                product = one.fields.get("product", "")
                if product in FAMILIES:
                    is_held = one.type.endswith("_activated")
                    known = (is_held, self.house(one), FAMILIES[product], product in LINES)
                    state[one.household, "", product, one.fields.get("line", "")] = known
            elif one.type in ("wallet.activated", "wallet.closed"):
                state[one.household, one.member, "wallet!"] = (
                    one.type == "wallet.activated",
                    self.house(one),
                    "wallet",
                    False,
                )
        return [(house, family, is_line) for is_held, house, family, is_line in state.values() if is_held]

    def k1(self, at: int) -> dict[str, tuple[int, int]]:
        families: dict[str, set[str]] = defaultdict(set)
        lines = 0
        for house, family, is_line in self.held(at):
            families[house].add(family)
            lines += is_line
        return {
            "families": (sum(map(len, families.values())), len(families)),
            "three_or_more": (sum(len(one) >= 3 for one in families.values()), len(families)),
            "lines": (lines, len(families)),
        }

    def churn(self, start: int, end: int) -> tuple[int, int]:
        before, after = ({house for house, _, _ in self.held(at)} for at in (start, end))
        return len(before - after), len(before)

    def net_additions(self, start: int, end: int) -> int:
        return len(self.held(end)) - len(self.held(start))

    # --- money --------------------------------------------------------------------------------------------------------

    def money(self) -> list[tuple[int, str, str, int, bool]]:
        """(when it counts, household, category, net minor, all ours)."""
        found = []
        sold = [one for one in self.events if one.type in SHARES]
        sales = {(self.house(one), one.id): one for one in sold} | {(one.household, one.id): one for one in sold}
        for one in self.events:
            if one.type in SHARES:
                share = SHARES[one.type]
                net = int(one.fields["amount_minor"] * share)
                found.append((one.time, self.house(one), CATEGORIES[one.type], net, share == 1))
            elif one.type == "billing.refund":
                named = one.fields.get("sale", "")
                sale = sales.get((one.household, named)) or sales.get((self.house(one), named))
                amount = int(one.fields["amount_minor"])
                if sale is None:
                    found.append((one.time, self.house(one), "refunds of unknown sales", -amount, False))
                else:
                    share = SHARES[sale.type]
                    back = -int(amount * share)
                    found.append((sale.time, self.house(sale), CATEGORIES[sale.type], back, share == 1))
        return found

    def k2(self, start: int, end: int) -> tuple[dict[str, int], int]:
        by_category: dict[str, int] = defaultdict(int)
        active = {house for house, _, _ in self.held(end)}
        for time, house, category, net, _ in self.money():
            if start <= time < end:
                by_category[category] += net
                active.add(house)
        return dict(by_category), len(active)

    def arpu(self, start: int, end: int) -> tuple[int, int]:
        total = sum(net for time, _, _, net, ours in self.money() if ours and start <= time < end)
        return total, sum(is_line for _, _, is_line in self.held(end))

    # --- use ----------------------------------------------------------------------------------------------------------

    def k3(self, at: int) -> tuple[dict[str, int], int]:
        base = {house for house, _, _ in self.held(at)}
        weights = sum(weight for _, _, _, weight in USES.values())
        ppm: dict[str, int] = defaultdict(int)
        for category, (types, target, half_life, weight) in USES.items():
            times: dict[str, list[int]] = defaultdict(list)
            for one in self.events:
                if one.type in types and at - 30 * DAY <= one.time < at and self.house(one) in base:
                    times[self.house(one)].append(one.time)
            for found in times.values():
                days = (at - max(found)) / (half_life * DAY)
                habit = min(1.0, len(found) / target) * 2.0**-days
                ppm[category] += round(habit * (weight * 1_000_000) / weights)
        return dict(ppm), len(base)

    def k5(self, start: int, end: int) -> tuple[int, int]:
        reversals = [one for one in self.events if one.type == "wallet.refund"]
        back = {(name, one.fields.get("payment", "")) for one in reversals for name in (one.household, self.house(one))}
        good = [
            one
            for one in self.events
            if one.type == "wallet.payment" and start <= one.time < end
            if not back & {(one.household, one.id), (self.house(one), one.id)}
        ]
        return len(good), len({(one.household, one.member) for one in good})

    # --- care ---------------------------------------------------------------------------------------------------------

    def pairs(self, begins: str, ends: str, key: Callable[[Event], object]) -> list[tuple[Event, Event | None]]:
        groups: dict[object, list[Event]] = defaultdict(list)
        for one in self.events:
            if one.type in (begins, ends):
                groups[one.household, one.member, key(one)].append(one)
        found: list[tuple[Event, Event | None]] = []
        for events in groups.values():
            waiting: list[Event] = []
            for one in events:
                if one.type == begins:
                    waiting.append(one)
                elif waiting:
                    found.append((waiting.pop(0), one))
            found += [(one, None) for one in waiting]
        return found

    def renewal(self, start: int, end: int) -> tuple[int, int]:
        pairs = self.pairs("billing.contract_due", "billing.contract_renewed", lambda _: None)
        due = [(one, two) for one, two in pairs if start <= one.time < end]
        return sum(two is not None for _, two in due), len(due)

    def resolution(self, start: int, end: int) -> tuple[int, int]:
        pairs = self.pairs("call_centre.complaint", "call_centre.resolved", lambda one: one.fields.get("case"))
        done = [two.time - one.time for one, two in pairs if two is not None and start <= one.time < end]
        return sum(done), len(done)

    # --- journeys -----------------------------------------------------------------------------------------------------

    def took(self, household: str, families: Iterable[str], start: int, end: int) -> set[str]:
        """Families that a household came to hold in a window, having held none of them."""
        wanted, found = set(families), set()
        instants = sorted({one.time for one in self.events if self.house(one) == household and start <= one.time < end})
        for time in instants:
            before = {family for house, family, _ in self.held(time) if house == household}
            after = {family for house, family, _ in self.held(time + 1) if house == household}
            found |= (after - before) & wanted
        return found


def survivors(durations: Sequence[int], is_done: Sequence[bool]) -> int | None:
    """The median by Kaplan and Meier, in fractions."""
    left = Fraction(1)
    for time, group in itertools.groupby(sorted(d for d, done in zip(durations, is_done, strict=True) if done)):
        left *= 1 - Fraction(len(list(group)), sum(one >= time for one in durations))
        if left <= Fraction(1, 2):
            return time
    return None
