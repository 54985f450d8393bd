"""A judge of contacts: the rules of the contact policy once more, in plain Python, by counting what was handed over.

It shares no code with what it judges: rules are its own values, calendars are local dates, quiet hours are found by
walking the clock minute by minute. It knows what a gateway was handed and what was said of it, and nothing else.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

MINUTE_US = 60_000_000
EXEMPT = ("legal", "security")


@dataclass
class Rule:
    """One rule, as people say it."""

    name: str
    kind: str
    """count, cost, gap, families, never_with, not_after, capacity, refusals."""
    scope: str = "household"
    most: int = 0
    window: str = "sliding"
    """Or day, week, month, minute."""
    span_us: int = 0
    silence_us: int = 0
    of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    other: dict[str, tuple[str, ...]] = field(default_factory=dict)
    counts: str = "handed"
    effect: str = "hold"
    inbound: bool = False
    reserve: bool = False


@dataclass
class Meeting:
    """Something that happened to a member: a contact, an answer, a refusal."""

    what: str
    """sent, answered or refused."""
    action_id: str
    member: str
    line: str
    address: str
    channel: str
    facts: dict[str, Any]
    """class, family, journey, purpose, tags, cost."""
    time_us: int
    delivered_us: int = 0
    seen_us: int = 0
    household: str = "home"
    is_place: bool = False
    """Decided and not handed over yet."""
    reserved_until_us: int = 0
    value: float = 0.0


@cache
def local(zone: str, time_us: int) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).astimezone(ZoneInfo(zone))


def calendar_key(window: str, zone: str, time_us: int) -> tuple[int, ...]:
    """Return what two instants of one window share."""
    at = local(zone, time_us)
    match window:
        case "minute":
            return (time_us // MINUTE_US,)
        case "day":
            return (at.year, at.month, at.day)
        case "week":
            return at.isocalendar()[:2]
        case "month":
            return (at.year, at.month)
    raise AssertionError(window)


@cache
def first_showing(zone: str, day: datetime, minute: int) -> int:
    """Return the first instant at which clocks show a minute of a day or, where they skip it, a later one."""
    wanted = day + timedelta(minutes=minute)
    # It lies within three hours of where the offset of the day has it.
    about_us = int((wanted.replace(tzinfo=UTC) - ZoneInfo(zone).utcoffset(wanted)).timestamp()) * 1_000_000
    for step in range(-180, 181):
        time_us = about_us + step * MINUTE_US
        if local(zone, time_us).replace(tzinfo=None) >= wanted:
            return time_us
    raise AssertionError("clocks stand still")


def is_quiet(zone: str, time_us: int, start: int, end: int) -> bool:
    today = local(zone, time_us).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    for back in (-1, 0, 1):
        day = today + timedelta(days=back)
        last = day + timedelta(days=1) if end < start else day
        if first_showing(zone, day, start) <= time_us < first_showing(zone, last, end):
            return True
    return False


def is_meant(selector: dict[str, tuple[str, ...]], channel: str, facts: dict[str, Any]) -> bool:
    for key, names in selector.items():
        if key == "channels":
            own = {channel}
        elif key == "tags":
            own = set(facts["tags"])
        else:
            own = {facts[{"classes": "class", "families": "family", "journeys": "journey", "purposes": "purpose"}[key]]}
        if not own & set(names):
            return False
    return True


class Judge:
    """What happened, and whether one more contact breaks a rule."""

    def __init__(self, rules: list[Rule], *, operator_zone: str) -> None:
        self.rules = rules
        self.operator_zone = operator_zone
        self.meetings: list[Meeting] = []

    def same(self, rule: Rule, one: Meeting, new: Meeting) -> bool:
        if rule.kind == "capacity":
            return True
        if one.household != new.household:
            return False
        if rule.scope == "household":
            return True
        if rule.scope == "member":
            return one.member == new.member
        if rule.scope == "line":
            return one.line == new.line
        return one.address == new.address

    def counted(
        self, rule: Rule, new: Meeting, at_us: int, zone: str, places: list[Meeting], of: dict
    ) -> list[Meeting]:
        """Return what of all that happened counts, under a selector, against one more at an instant."""
        if rule.kind == "capacity":
            zone = self.operator_zone
        found = []
        for one in [*self.meetings, *places]:
            if not self.same(rule, one, new) or not is_meant(of, one.channel, one.facts):
                continue
            if one.reserved_until_us:
                if rule.reserve and one.reserved_until_us > at_us and one.value > new.value:
                    found.append(one)
                continue
            if one.is_place and rule.counts != "handed":
                continue
            if one.what == "refused" or (one.what == "answered" and not rule.inbound):
                continue
            time_us = one.time_us
            if one.what == "sent" and rule.counts != "handed":
                time_us = one.delivered_us if rule.counts == "delivered" else one.seen_us
                if not time_us:
                    continue
            if rule.window == "sliding":
                if at_us - rule.span_us < time_us <= at_us:
                    found.append(one)
            elif calendar_key(rule.window, zone, time_us) == calendar_key(rule.window, zone, at_us):
                found.append(one)
        return found

    def speaks(self, rule: Rule, new: Meeting, at_us: int, zone: str, places: list[Meeting] | None = None) -> bool:
        """Return whether a rule speaks against a contact at an instant."""
        if new.facts["class"] in EXEMPT:
            return False
        if new.what == "answered" and not rule.inbound:
            return False
        some = places or []
        if rule.kind == "never_with":
            one = is_meant(rule.of, new.channel, new.facts) and self.counted(rule, new, at_us, zone, some, rule.other)
            two = is_meant(rule.other, new.channel, new.facts) and self.counted(rule, new, at_us, zone, some, rule.of)
            return bool(one or two)
        if not is_meant(rule.of, new.channel, new.facts):
            return False
        if rule.kind == "refusals":
            refusals = [
                one.time_us
                for one in self.meetings
                if one.what == "refused" and self.same(rule, one, new) and is_meant(rule.of, one.channel, one.facts)
            ]
            return any(
                sum(last - rule.span_us < one <= last for one in refusals) >= rule.most
                and last <= at_us < last + rule.silence_us
                for last in refusals
            )
        counted = self.counted(rule, new, at_us, zone, some, rule.other if rule.kind == "not_after" else rule.of)
        match rule.kind:
            case "count" | "capacity":
                return len(counted) >= rule.most
            case "gap" | "not_after":
                return bool(counted)
            case "cost":
                return sum(one.facts["cost"] for one in counted) + new.facts["cost"] > rule.most
            case "families":
                return len({one.facts["family"] for one in counted} | {new.facts["family"]}) > rule.most
        raise AssertionError(rule.kind)
