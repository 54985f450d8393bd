"""A household in three time zones, and one beside it, to whom all kinds of things happen at awkward instants.

What is handed over is judged by tests/household/contact_judge.py; whatever waits with nothing against it, too.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from household.decide import still_allowed
from household.deciding.hand_over import next_step
from household.decision import Decision
from household.delivery import DeliveryStep
from household.freeze import Freeze, thaw
from household.plan import NONE, Plan
from household.tables.actions import ActionStatus
from playbooks.compiler import compile_playbook
from tests.household.contact_judge import EXEMPT, Judge, Meeting, Rule, is_quiet
from tests.household.oracle import Event
from tests.household.shop import DAY, HOUR, MINUTE, S, Shop

PUSH, SMS, APP = "push", "sms", "app"
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Tokyo")
OPERATOR_ZONE = "Europe/Berlin"
QUIET = (22 * 60 + 30, 2 * 60 + 30)
"""Ends within the hour that Berlin skips in March and has twice in October."""

PLAYBOOK = """\
playbook: {{name: policy, currency: EUR, time_zone: Europe/Berlin}}
families: [a, b, c]
fields: {{zone: [Europe/Berlin, America/New_York, Asia/Tokyo], phone: number, line: number}}
events:
  app.spring: {{source: app, action_window: 3d}}
  app.autumn: {{source: app, action_window: 3d}}
  app.visit: {{source: app}}
  app.set: {{source: app, fields: {{zone: optional, phone: optional, line: optional}}}}
  app.object: {{source: app}}
  app.allow: {{source: app}}
features:
  member.springs: {{kind: count, events: app.spring}}
  member.autumns: {{kind: count, events: app.autumn}}
  member.zone: {{kind: profile, events: app.set, field: zone}}
  member.phone: {{kind: profile, events: app.set, field: phone}}
  member.line: {{kind: profile, events: app.set, field: line}}
  member.objected: {{kind: product_held, events: app.object, off_events: app.allow}}
channels:
  push: {{outbound: true, cost: 0.01, quiet_hours: true, consent: member.springs >= 0}}
  sms: {{outbound: true, cost: 0.05, quiet_hours: true, consent: member.springs >= 0, address: member.phone}}
  app: {{inbound: true}}
contact_policy:
  quiet_hours: {{from: "22:30", to: "02:30"}}
  member_time_zone: member.zone
  line: member.line
  objection: member.objected
  rules:
{rules}
offers:
  one:
    {{family: a, prior: 0.2, margin: 9, standing: true, valid: 3d, tags: new,
      treatments: {{push: x, sms: x, app: x}}}}
  two:
    {{family: b, prior: 0.2, margin: 8, cost: 0.03, standing: true, valid: 3d,
      treatments: {{push: x, sms: x, app: x}}}}
  three: {{family: a, prior: 0.2, margin: 7, contact_class: service, valid: 3d, treatments: {{push: x, sms: x}}}}
  four:
    {{family: c, prior: 0.2, margin: 9, contact_class: reward, tags: [new, gift], valid: 3d,
      treatments: {{push: x, sms: x}}}}
  five: {{family: b, prior: 0.2, margin: 8, contact_class: legal, valid: 3d, treatments: {{push: x, sms: x}}}}
  six: {{family: c, prior: 0.2, margin: 7, contact_class: security, valid: 3d, treatments: {{sms: x, push: x}}}}
journeys:
  spring:
    trigger: {{on: app.spring, when: member.springs >= 1, scope: member}}
    offers: [one, two, three]
    outbound: [push, sms]
  autumn:
    trigger: {{on: app.autumn, when: member.autumns >= 1, scope: member}}
    offers: [four, five, six]
    outbound: [sms, push]
    tags: late
  visit: {{contact: app.visit, offers: [one, two]}}
"""

OFFERS: dict[str, dict[str, Any]] = {
    "one": {"class": "offer", "family": "a", "purpose": "marketing", "tags": ("new",), "cost": 0},
    "two": {"class": "offer", "family": "b", "purpose": "marketing", "tags": (), "cost": 3},
    "three": {"class": "service", "family": "a", "purpose": "service", "tags": (), "cost": 0},
    "four": {"class": "reward", "family": "c", "purpose": "marketing", "tags": ("new", "gift", "late"), "cost": 0},
    "five": {"class": "legal", "family": "b", "purpose": "legal", "tags": ("late",), "cost": 0},
    "six": {"class": "security", "family": "c", "purpose": "security", "tags": ("late",), "cost": 0},
}
COSTS = {PUSH: 1, SMS: 5, APP: 0}

KINDS = (
    "count in a sliding window",
    "count in a day",
    "count in a week",
    "count in a month",
    "cost",
    "gap",
    "families",
    "never with",
    "not after",
    "capacity of a minute",
    "capacity of a day",
    "refusals",
)
SCOPES = ("address", "line", "member", "household")


def rule_of(kind: str, scope: str, chance: Random, *, name: str = "rule") -> Rule:
    """Return a rule of a kind and scope; the rest is drawn."""
    some = [
        {},
        {"classes": ("offer", "reward")},
        {"families": ("a", "b")},
        {"tags": ("new",)},
        {"journeys": ("spring",)},
    ]
    some += [{"purposes": ("marketing",)}, {"channels": ("sms",)}, {"channels": ("push", "sms")}]
    of: Any = chance.choice(some)
    span_us = chance.choice([3 * HOUR, DAY, 7 * DAY])
    base: dict[str, Any] = {
        "name": name,
        "scope": scope,
        "of": of,
        "effect": chance.choice(["hold", "hold", "block", "next_channel"]),
        "counts": chance.choice(["handed", "handed", "handed", "delivered", "seen"]),
        "inbound": chance.random() < 0.3,
        "reserve": chance.random() < 0.3,
        "span_us": span_us,
    }
    match kind.split():
        case ["count", "in", "a", "sliding", _]:
            return Rule(kind="count", most=chance.randint(1, 3), **base)
        case ["count", "in", "a", window]:
            return Rule(kind="count", most=chance.randint(1, 3), window=window, **base | {"span_us": 0})
        case ["cost"]:
            window = chance.choice(["sliding", "day", "month"])
            return Rule(kind="cost", most=chance.randint(8, 14), window=window, **base)
        case ["gap"]:
            return Rule(kind="gap", **base)
        case ["families"]:
            return Rule(kind="families", most=chance.randint(1, 2), window=chance.choice(["sliding", "week"]), **base)
        case ["never", "with"]:
            window = chance.choice(["sliding", "day"])
            return Rule(kind="never_with", window=window, **base | {"of": {"families": ("a",)}}, other=_other(chance))
        case ["not", "after"]:
            return Rule(kind="not_after", **base | {"of": {"families": ("a", "c")}}, other=_other(chance))
        case ["capacity", "of", "a", window]:
            channel = {"channels": chance.choice([("sms",), ("push", "sms")])}
            plain = base | {"of": channel, "counts": "handed", "inbound": False, "reserve": False, "span_us": 0}
            return Rule(kind="capacity", most=chance.randint(1, 3), window=window, **plain)
        case ["refusals"]:
            plain = base | {"counts": "handed", "reserve": False}
            return Rule(kind="refusals", most=chance.randint(1, 2), silence_us=chance.choice([DAY, 5 * DAY]), **plain)
    raise AssertionError(kind)


def _other(chance: Random) -> dict[str, tuple[str, ...]]:
    return chance.choice([{"families": ("b",)}, {"tags": ("gift",)}, {"classes": ("service", "legal")}])


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def written(rule: Rule) -> str:
    """Return a rule as a playbook has it."""
    plain: dict[str, Any] = {} if rule.kind == "capacity" else {"scope": rule.scope}
    match rule.kind:
        case "count":
            plain["most"] = rule.most
        case "cost":
            plain["cost"] = f"{rule.most / 100:.2f}"
        case "families" | "capacity":
            plain[rule.kind] = rule.most
        case "gap":
            plain["gap"] = f"{rule.span_us // S}s"
        case "never_with" | "not_after":
            plain[rule.kind] = rule.other
        case "refusals":
            plain |= {"refusals": rule.most, "silence": f"{rule.silence_us // S}s"}
    if rule.kind != "gap":
        plain["window"] = rule.window if rule.window != "sliding" else f"{rule.span_us // S}s"
    if rule.of:
        plain["of"] = rule.of
    for key in ("counts", "effect"):
        plain[key] = getattr(rule, key)
    plain |= {key: True for key in ("inbound", "reserve") if getattr(rule, key)}
    return f"    {rule.name}: {_yaml(plain)}"


@cache
def _compiled(text: str) -> Plan:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"
        path.write_text(text, encoding="utf-8")
        return compile_playbook(path)


def plan_of(rules: list[Rule]) -> Plan:
    return _compiled(PLAYBOOK.format(rules="\n".join(map(written, rules))))


@dataclass
class Member:
    household: str
    name: str
    zone: str = OPERATOR_ZONE
    line: float = 0.0
    phone: float = 0.0
    has_objected: bool = False

    def line_text(self) -> str:
        return f"line {self.line}" if self.line else f"of {self.name}"

    def address(self, channel: str) -> str:
        return f"phone {self.phone}" if channel == SMS and self.phone else f"{channel} of {self.name}"


@dataclass
class Counts:
    operations: int = 0
    hand_overs: int = 0
    waits: int = 0
    notes: int = 0
    answers: int = 0
    findings: list[str] = field(default_factory=list)


NAMED_MOST = 20
"""Contacts that a note names, whatever counts."""


class World:
    """One partition under rules, its gateways, and the judge."""

    def __init__(
        self, rules: list[Rule], chance: Random, *, start_us: int, change: Callable[[Plan], Plan] | None = None
    ):
        plan = plan_of(rules)
        self.chance, self.rules = chance, rules
        self.shop = Shop(plan if change is None else change(plan), now_us=start_us)
        self.judge = Judge(rules, operator_zone=OPERATOR_ZONE)
        self.counts = Counts()
        self.members = [Member("home", name) for name in ("anna", "ben", "cleo")] + [Member("other", "dora")]
        self.decided: dict[str, tuple[Member, str, str, float]] = {}
        """Action id → member, offer, journey, value."""
        self.held: dict[str, int] = {}
        self.places: dict[str, Meeting] = {}
        """Of an action that is not handed over, its place, as it was when it got it."""
        self.answered: set[tuple[str, str]] = set()
        self.number = 0
        for place, member in enumerate(self.members):
            self.set(member, zone=place % 3)

    # --- what happens -------------------------------------------------------------------------------------------------

    def signal(self, name: str, member: Member, **values: float) -> None:
        self.number += 1
        plan = self.shop.state.plan
        self.shop.fold(
            Event(
                id=b"w%d" % self.number,
                household=member.household.encode(),
                member=member.name.encode(),
                kind=plan.event_type_by_name[name],
                time_us=self.shop.now_us,
                values=tuple((plan.field_by_name[key], value) for key, value in values.items()),
            )
        )

    def set(self, member: Member, **values: float) -> None:
        self.signal("app.set", member, **values)
        if "zone" in values:
            member.zone = ZONES[int(values["zone"])]
        member.phone, member.line = values.get("phone", member.phone), values.get("line", member.line)

    def find(self, what: str) -> None:
        self.counts.findings.append(what)

    def meeting(self, what: str, action_id: str, channel: str, **more: Any) -> Meeting:
        member, offer, journey, value = self.decided[action_id]
        facts = OFFERS[offer] | {"journey": journey, "cost": OFFERS[offer]["cost"] + COSTS[channel]}
        return Meeting(
            what=what,
            action_id=action_id,
            member=member.name,
            line=member.line_text(),
            address=member.address(channel),
            channel=channel,
            facts=facts,
            time_us=self.shop.now_us,
            household=member.household,
            value=value,
            **more,
        )

    def unmade(self) -> list[Meeting]:
        """Return what is decided and not handed over: what holds a place, and what may reserve one."""
        found = []
        for outbound in self.shop.state.outbox:
            if outbound.handed_us:
                continue
            until_us = outbound.send_before_us if outbound.action_id in self.held else 0
            found.append(replace(self.places[outbound.action_id], is_place=True, reserved_until_us=until_us))
        return found

    # --- decisions ----------------------------------------------------------------------------------------------------

    def decide(self, member: Member, *, channel: int = NONE) -> None:
        shop, plan = self.shop, self.shop.state.plan
        state = self.as_of_now()
        draft = shop.draft(channel, household=member.household, member=member.name)
        if channel == NONE and not draft.moments:
            return
        scores = {index: self.chance.uniform(0.1, 0.9) for index in range(len(plan.offers))}
        decision = shop.weigh(draft, scores)
        if not still_allowed(state, draft):
            self.find(f"{decision.decision_id} is not what the next look at it gives")
        places = self.unmade()
        self.tell(member, decision)
        self.examine_notes(member, decision, places)
        if decision.answered:
            self.examine_answer(member, decision)
        shop.record(decision)
        if decision.send_channel:
            first = decision.slate[0].action_id
            self.places[first] = self.meeting("sent", first, decision.send_channel)
        if decision.send_not_before_us:
            self.held[decision.slate[0].action_id] = decision.send_before_us

    def tell(self, member: Member, decision: Decision) -> None:
        values = {one.offer: one.value_minor for one in decision.candidates}
        for action in decision.slate:
            self.decided[action.action_id] = (member, action.offer, action.journey, values[action.offer])

    def examine_notes(self, member: Member, decision: Decision, places: list[Meeting]) -> None:
        for note in decision.rules:
            rule = next(one for one in self.rules if one.name == note.rule)
            self.counts.notes += 1
            values = {one.offer: one.value_minor for one in decision.candidates}
            if note.offer not in values:
                continue  # of a slate that stands: its journeys are another decision's
            self.decided["note"] = (
                member,
                note.offer,
                self.journey_of(decision, note.offer),
                values[note.offer] or 1e12,
            )
            new = self.meeting("answered" if note.channel == APP else "sent", "note", note.channel)
            others = [one for one in places if rule.kind != "capacity"]
            if not self.judge.speaks(rule, new, self.shop.now_us, member.zone, others):
                self.find(f"{note} speaks against what nothing speaks against")
            if note.passes_us:
                if self.judge.speaks(rule, new, note.passes_us, member.zone, others):
                    self.find(f"{note} does not pass when it says")
                if not self.judge.speaks(rule, new, note.passes_us - 1, member.zone, others):
                    self.find(f"{note} would pass earlier")
            if rule.kind in ("count", "gap", "families", "cost"):
                counted = self.judge.counted(rule, new, self.shop.now_us, member.zone, others, rule.of)
                named, wanted = set(note.contacts), {one.action_id for one in counted}
                if not named <= wanted or len(named) != min(len(wanted), NAMED_MOST):
                    self.find(f"{note} names other contacts than those that count")

    def journey_of(self, decision: Decision, offer: str) -> str:
        if decision.channel:
            return next((one.journey for one in decision.slate if one.offer == offer), "")
        return "spring" if offer in ("one", "two", "three") else "autumn"

    def examine_answer(self, member: Member, decision: Decision) -> None:
        action_id = decision.answered
        if (action_id, APP) in self.answered:
            return
        self.counts.answers += 1
        owner = self.decided[action_id]
        self.decided[action_id] = (member, *owner[1:])
        new = self.meeting("answered", action_id, APP)
        self.decided[action_id] = owner
        for rule in self.rules:
            if rule.kind != "capacity" and self.judge.speaks(rule, new, self.shop.now_us, member.zone):
                self.find(f"{rule.name} speaks against the answer {action_id}")
        if member.has_objected and new.facts["class"] != "legal":
            self.find(f"{action_id} is the answer to one who objected")
        self.answered.add((action_id, APP))
        self.judge.meetings.append(new)

    # --- hand-overs ---------------------------------------------------------------------------------------------------

    def as_of_now(self):
        state = copy.copy(self.shop.state)
        state.now_us = max(state.now_us, self.shop.now_us)
        return state

    def pump(self) -> None:
        listened = self.chance.choice([(PUSH, SMS), (PUSH, SMS), (PUSH,), (SMS,)])
        for action_id in [one.action_id for one in self.shop.state.outbox]:
            state = self.as_of_now()
            outbound = state.outbox.get(action_id)
            if outbound is None or outbound.is_delivered:
                continue
            note = next_step(state, action_id, listened)
            if note is None:
                if len(listened) == 2 and not outbound.handed_us:
                    self.examine_wait(action_id, outbound)
                continue
            if note.step is DeliveryStep.HANDED and outbound.handed_us:
                if self.decided[action_id][0].has_objected and OFFERS[self.decided[action_id][1]]["class"] != "legal":
                    self.find(f"{action_id} is handed over again to one who objected")
                continue
            if note.step is DeliveryStep.HANDED:
                self.hand_over(action_id, note.channel)
                if self.chance.random() < 0.05:
                    self.keep_back(action_id, note.channel)
            else:
                self.examine_withdrawal(action_id, note.channel, note.reason)
                self.shop.note(action_id, note.step, note.channel, reason=note.reason)

    def against(self, action_id: str, channel: str) -> list[str]:
        """Return what speaks against handing an action over now."""
        member = self.decided[action_id][0]
        new, now_us = self.meeting("sent", action_id, channel), self.shop.now_us
        waiting = [one for one in self.unmade() if one.reserved_until_us]
        found = [rule.name for rule in self.rules if self.judge.speaks(rule, new, now_us, member.zone, waiting)]
        if new.facts["class"] not in EXEMPT and is_quiet(member.zone, now_us, *QUIET):
            found.append("quiet hours")
        if member.has_objected and new.facts["class"] != "legal":
            found.append("objection")
        return found

    def hand_over(self, action_id: str, channel: str) -> None:
        self.counts.hand_overs += 1
        if found := self.against(action_id, channel):
            self.find(f"{action_id} is handed over on {channel} against {found}")
        self.shop.note(action_id, DeliveryStep.HANDED, channel)
        self.held.pop(action_id, None)
        self.judge.meetings.append(self.meeting("sent", action_id, channel))

    def keep_back(self, action_id: str, channel: str) -> None:
        self.shop.note(action_id, DeliveryStep.KEPT_BACK, channel)
        self.places[action_id] = self.meeting("sent", action_id, channel)
        self.give_back(action_id, channel)

    def give_back(self, action_id: str, channel: str) -> None:
        self.judge.meetings = [
            one for one in self.judge.meetings if (one.what, one.action_id, one.channel) != ("sent", action_id, channel)
        ]

    def examine_wait(self, action_id: str, outbound: Any) -> None:
        now_us, action = self.shop.now_us, self.shop.state.actions.get(action_id)
        is_due = outbound.not_before_us <= now_us < outbound.send_before_us
        if not is_due or action is None or action.status is not ActionStatus.LIVE or now_us >= action.valid_until_us:
            return
        self.counts.waits += 1
        if not self.against(action_id, self.shop.state.plan.channels[outbound.channel].name):
            self.find(f"{action_id} waits for nothing")

    def examine_withdrawal(self, action_id: str, channel: str, reason: str) -> None:
        if not reason.startswith("RULE:"):
            member, offer = self.decided[action_id][:2]
            if reason == "OBJECTION" and (not member.has_objected or OFFERS[offer]["class"] == "legal"):
                self.find(f"{action_id} is withdrawn for an objection that nobody raised")
            return
        names = [rule.name for rule in self.rules if rule.effect == "block"]
        if not set(names) & set(self.against(action_id, channel)):
            self.find(f"{action_id} is withdrawn for {reason}")

    def report(self) -> None:
        known = [one for one in self.judge.meetings if one.what == "sent" and one.action_id in self.shop.state.actions]
        if not known:
            return
        one = self.chance.choice(known[-6:])
        outcome = self.chance.choice(["delivered", "delivered", "undelivered", "impression", "decline", "accept"])
        was_live = self.shop.state.actions[one.action_id].status is ActionStatus.LIVE
        was_live = was_live and self.shop.now_us < self.shop.state.actions[one.action_id].valid_until_us
        self.shop.report(outcome, one.action_id, household=one.household, channel=one.channel)
        if outcome == "undelivered":
            self.give_back(one.action_id, one.channel)
            again = self.shop.state.outbox.get(one.action_id)
            if again is not None and not again.handed_us:
                channel = self.shop.state.plan.channels[again.channel].name
                self.places[one.action_id] = self.meeting("sent", one.action_id, channel)
            return
        one.delivered_us = min(one.delivered_us or self.shop.now_us, self.shop.now_us)
        if outcome != "delivered":
            one.seen_us = min(one.seen_us or self.shop.now_us, self.shop.now_us)
        if outcome == "decline" and was_live:
            self.judge.meetings.append(self.meeting("refused", one.action_id, one.channel))

    # --- time ---------------------------------------------------------------------------------------------------------

    def pass_time(self) -> None:
        now_us, spans = self.shop.now_us, [1, S, MINUTE, 20 * MINUTE, HOUR, 7 * HOUR, DAY]
        ends = [one.time_us + rule.span_us for one in self.judge.meetings[-4:] for rule in self.rules if rule.span_us]
        ends += [one.time_us + rule.silence_us for one in self.judge.meetings[-4:] for rule in self.rules]
        ends += [outbound.not_before_us for outbound in self.shop.state.outbox]
        midnight = (now_us // DAY + 1) * DAY
        ends += [midnight - offset * HOUR for offset in (-4, -5, 1, 2, 9)] + [(now_us // MINUTE + 1) * MINUTE]
        # Ten minutes around the end of the quiet hours on the nights of the clock change, too.
        ends += [midnight + offset * 30 * MINUTE for offset in range(-3, 4)]
        wanted = [
            end_us + nudge for end_us in ends for nudge in (-1, 0, 1) if now_us < end_us + nudge < now_us + 8 * DAY
        ]
        if wanted and self.chance.random() < 0.6:
            self.shop.pass_time(self.chance.choice(wanted) - now_us)
        else:
            self.shop.pass_time(self.chance.choice(spans))

    def restart(self) -> None:
        """Go on from a snapshot, as after a kill."""
        freeze = Freeze(self.shop.state)
        while not freeze.step(1_000):
            pass
        frozen = freeze.end()
        assert frozen is not None
        self.shop.state = thaw(frozen)

    def step(self) -> None:
        self.counts.operations += 1
        chance, member = self.chance, self.chance.choice(self.members)
        draw = chance.random()
        if draw < 0.32:
            self.signal(chance.choice(["app.spring", "app.spring", "app.autumn"]), member)
            self.decide(member)
        elif draw < 0.40:
            self.decide(member, channel=self.shop.state.plan.channel_by_name[APP])
        elif draw < 0.65:
            self.pump()
        elif draw < 0.79:
            self.pass_time()
        elif draw < 0.93:
            self.report()
        elif draw < 0.97:
            self.set(
                member,
                zone=float(chance.randrange(3)),
                phone=float(chance.randint(1, 3)),
                line=float(chance.randint(1, 3)),
            )
        elif draw < 0.985:
            member.has_objected = not member.has_objected
            self.signal("app.object" if member.has_objected else "app.allow", member)
        else:
            self.restart()
        if draw >= 0.65:
            self.pump()


STARTS_US = (
    1_743_206_400 * S,  # 2025-03-29 00:00 UTC: Berlin's short night begins
    1_761_350_400 * S,  # 2025-10-25: and its long one
    1_741_478_400 * S,  # 2025-03-09: New York's short night
    1_750_075_200 * S,
)


def play(
    rules: list[Rule],
    seed: int,
    steps: int,
    *,
    start_us: int | None = None,
    change: Callable[[Plan], Plan] | None = None,
) -> Counts:
    """Let things happen under rules, and return what was found."""
    chance = Random(seed)
    world = World(rules, chance, start_us=start_us or chance.choice(STARTS_US), change=change)
    for _ in range(steps):
        world.step()
    return world.counts
