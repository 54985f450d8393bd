"""An independent replay: a partition's log folded in plain Python, one event and one decision at a time.

What is independent of the product: decoding of signal batches to events; admission, dedupe, features and triggers
(tests/household/oracle.py); the ledger of moments, slates, contacts, outbox, declines, requests and counters, written
here from what docs and docstrings say of them; and which cells all that would give. What is shared: the frames of
segment files (actors/log/inspection.py), the msgpack of decisions (codec.decode_decision), `decay`, `evaluate`, the
fingerprint of free texts, and how a digest packs its parts (household/digest.py), so that hashes can be compared.

Not covered: changes of plan on the way, but for what offers say and cost (tests/household/test_migration.py is about
those); channels with groups; terms that fold by version 1 (tests/histories); playbooks with scarce items, of which
tests/household/inventory_world.py has the second fold; graph events and what changes its partition for them, of which
tests/household/relocation_world.py has it.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from actors.log.contract import RecordKind, StoredRecord
from actors.log.reading import read_only_logs
from actors.records import codec
from actors.records.replay import Replay
from household import digest
from household.deciding.contact_policy import is_quiet
from household.decision import Decision, Moment
from household.delivery import DeliveryNote, DeliveryStep
from household.events import ACTION_OUTCOMES, NO_TIME_US, RESERVED_TYPES, UNKNOWN_TYPE, Status
from household.later import later, spoken
from household.plan import NONE, FieldKind, Plan, Scope
from household.state import PartitionState
from household.tables.shown import SHOWN
from household.tables.slates import told_decision, told_moment
from tests.household.oracle import Event, Kept, Oracle, Owner, plain_cells
from tests.household.side import requests_of
from wire.field_values import text_value

SETTLED_KEPT = 64
DECISIONS_KEPT = 20


# --- what the fold saw, for the judges --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One event as it stands in the log, and what the plain fold made of it."""

    event_id: bytes
    household: bytes
    member: bytes
    kind: str
    offset: int
    row: int
    status: Status

    @property
    def position(self) -> tuple[int, int]:
        return self.offset, self.row


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedDecision:
    """One decision record and whether it is in force."""

    decision: Decision
    offset: int
    epoch: int
    stamp_us: int
    is_in_force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A decision in force that should not have been made as things stood; `rule` is cap, quiet, consent or decline."""

    rule: str
    decision_id: str
    what: str


# --- the plain ledger -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class PlainMoment:
    """A trigger that came true."""

    moment: Moment
    member: bytes | None

    @property
    def id(self) -> str:
        return self.moment.moment_id


@dataclass(slots=True)
class PlainAction:
    """One action and what has become of it."""

    action_id: str
    decision_id: str
    household: bytes
    member: bytes | None
    offer: str
    family: str
    valid_until_us: int
    status: str = "live"
    settled_us: int = 0
    why: str = later("")
    channel: str = later("")
    handed_us: int = later(0)
    decided_us: int = later(0)
    is_shown: bool = later(False)


@dataclass(slots=True)
class PlainSlate:
    """A decision whose actions stand for one member, or with None for the household."""

    decision: Decision
    until_us: int


@dataclass(slots=True)
class PlainSending:
    """An action in the outbox."""

    action_id: str
    decision_id: str
    household: bytes
    member: bytes | None
    channel: str
    send_before_us: int
    not_before_us: int = later(0)
    fallbacks: tuple[str, ...] = later(())
    handed_us: int = later(0)
    is_fallback: bool = later(False)


@dataclass(frozen=True, slots=True)
class PlainContact:
    """One contact that counts."""

    time_us: int
    member: bytes | None
    channel: str
    action_id: str
    is_handed: bool = later(False)


@dataclass(slots=True)
class PlainHousehold:
    """What was decided for one household."""

    pending: list[PlainMoment] = field(default_factory=list)
    settled: dict[str, int] = field(default_factory=dict)
    slates: dict[bytes | None, PlainSlate] = field(default_factory=dict)
    contacts: list[PlainContact] = field(default_factory=list)
    declined_offers: dict[str, int] = field(default_factory=dict)
    declined_families: dict[str, int] = field(default_factory=dict)
    accepted_offers: dict[str, int] = field(default_factory=dict)
    decisions: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=DECISIONS_KEPT))
    arms: dict[str, dict[str, object]] = field(default_factory=dict)
    """By experiment: what the first decision that met it said of its arm."""


class _Ordered(dict):
    """A list without repeats that is quick to ask: the oracle's own lists are fine for forty events."""

    def append(self, key: object) -> None:
        self[key] = None


class PlainPartition(Oracle):
    """The whole state of one partition under one plan, in dicts and lists."""

    def __init__(self, plan: Plan, *, stream_clock: bool, epoch: int, fold_version: int) -> None:
        super().__init__(plan, stream_clock=stream_clock, fold_version=fold_version)
        self.households = _Ordered()  # type: ignore[assignment]
        self.members = _Ordered()  # type: ignore[assignment]
        self.epoch = epoch
        self.ledgers: dict[bytes, PlainHousehold] = defaultdict(PlainHousehold)
        self.actions: dict[str, PlainAction] = {}
        self.outbox: dict[str, PlainSending] = {}
        self.requests: dict[tuple[bytes, str], tuple[str, int, int, bytes]] = {}
        """(household, request id) → decision id, offset, when, hash of the body; version 1: of no household."""
        self.told: Counter[str] = Counter()
        """Counters of everything but events."""
        self.shown: Counter[tuple[str, str]] = Counter()
        """(playbook, offer) → actions that were given to some channel."""
        self.breaches: list[Breach] = []
        self.gone: dict[str, str] = {}
        """Action that left the outbox → delivered, undelivered, withdrawn or expired."""
        self.declines: list[tuple[int, bytes, str, str]] = []
        """(offset, household, offer, family) of each decline that took effect."""
        self.handed: set[tuple[str, str]] = set()
        """(action id, channel) of what was recorded as about to be handed over."""
        self.offset = -1
        """Of the record that is being folded."""

    # --- signals ---

    def _fold(self, event: Event, time_us: int) -> None:
        before = len(self.moments)
        super()._fold(event, time_us)
        kind = self.plan.event_types[event.kind].name
        for fired in self.moments[before:]:
            name = fired.household.decode(errors="backslashreplace")
            moment = Moment(
                moment_id=f"{name}/{fired.journey}/{fired.instance}/{fired.event_id.hex()}",
                journey=fired.journey,
                member=-1,
                event_id=fired.event_id,
                event_type=kind,
                time_us=fired.time_us,
            )
            self.ledgers[fired.household].pending.append(PlainMoment(moment, fired.member))
        if kind in RESERVED_TYPES:
            if event.request_hash and self.fold_version >= 2:
                request_id = event.id.decode(errors="backslashreplace")
                self.requests[event.household, request_id] = ("", -1, self.now_us, event.request_hash)
            self._outcome(event, ACTION_OUTCOMES[RESERVED_TYPES.index(kind)], time_us)

    def _outcome(self, event: Event, outcome: str, time_us: int) -> None:
        """A report changes something only about an action of the very household it names."""
        action = self.actions.get(event.action_id)
        if action is None and outcome == "undelivered":
            self._forget_contact(event.household, event.action_id, event.channel)
        if action is None or action.household != event.household:
            return
        if action.decided_us and not self.stream_clock and time_us < action.decided_us - self.plan.clock.future_us:
            return
        if outcome in ("delivered", "undelivered"):
            self._acknowledged(action, event.channel, outcome == "delivered", time_us)
            return
        self._prove(action, event.channel, time_us)
        settling = ("accept", "convert") if self.fold_version >= 2 else ("accept",)
        if outcome in settling and self._settles(action, "accepted", time_us):
            plan = self.plan
            excluded = (
                plan.offers[plan.offer_by_name[action.offer]].excludes if action.offer in plan.offer_by_name else ()
            )
            names = {action.offer, *(plan.offers[index].name for index in excluded)}
            self._withdraw(action.household, lambda one: one.offer in names)
            if self.fold_version >= 2:
                until = self.ledgers[action.household].accepted_offers
                until[action.offer] = max(action.valid_until_us, until.get(action.offer, 0))
        elif outcome == "decline" and self._settles(action, "declined", time_us):
            home, policy = self.ledgers[action.household], self.plan.policy
            for until, name, span_us in (
                (home.declined_offers, action.offer, policy.decline_offer_us),
                (home.declined_families, action.family, policy.decline_family_us),
            ):
                until[name] = max(time_us + span_us, until.get(name, time_us + span_us))
            self._withdraw(
                action.household, lambda one: one.offer == action.offer or (one.family and one.family == action.family)
            )
            self.declines.append((self.offset, action.household, action.offer, action.family))

    def _settles(self, action: PlainAction, status: str, time_us: int) -> bool:
        """An outcome settles a live action before its end, and ends the slate it stands on, for every channel."""
        if action.status != "live" or time_us >= action.valid_until_us:
            return False
        action.status, action.settled_us = status, self.now_us
        self._unsend(action.household, action.action_id)
        home = self.ledgers[action.household]
        for member in [key for key, one in home.slates.items() if one.decision.decision_id == action.decision_id]:
            self._end(action.household, home.slates.pop(member))
        return True

    def _end(self, household: bytes, slate: PlainSlate) -> None:
        for one in slate.decision.slate:
            action = self.actions.get(one.action_id)
            if action is not None and action.status == "live":
                action.status, action.settled_us = "withdrawn", self.now_us
            self._unsend(household, one.action_id)

    def _withdraw(self, household: bytes, concerns) -> None:
        """Take back live actions that stand on any member's slate."""
        standing = [one.action_id for slate in self.ledgers[household].slates.values() for one in slate.decision.slate]
        for action in [self.actions[key] for key in standing if key in self.actions]:
            if action.status == "live" and concerns(action):
                action.status, action.settled_us = "withdrawn", self.now_us
                self._unsend(household, action.action_id)

    def _unsend(self, household: bytes, action_id: str) -> None:
        if action_id in self.outbox:
            self._leave_outbox(action_id, "withdrawn")
            self.told["withdrawn"] += 1
            self._give_back(household, action_id)

    def _leave_outbox(self, action_id: str, why: str) -> None:
        del self.outbox[action_id]
        self.gone[action_id] = why

    def _give_back(self, household: bytes, action_id: str) -> None:
        """A place that was held is free again; a contact that was made is not undone."""
        home = self.ledgers[household]
        home.contacts = [one for one in home.contacts if one.action_id != action_id or one.is_handed]

    def _forget_contact(self, household: bytes, action_id: str, channel: str) -> None:
        """It reached nobody on this channel; with no channel, on none."""
        home = self.ledgers[household]
        home.contacts = [
            one for one in home.contacts if one.action_id != action_id or (channel and one.channel != channel)
        ]

    def _contact(self, action: PlainAction, channel: str, time_us: int) -> None:
        """It reached somebody on this channel, at its hand-over where that is known."""
        home = self.ledgers[action.household]
        known = [one for one in home.contacts if (one.action_id, one.channel) == (action.action_id, channel)]
        if any(one.is_handed for one in known):
            return
        at_us = action.handed_us if action.channel == channel and action.handed_us else min(time_us, self.now_us)
        home.contacts = [one for one in home.contacts if one not in known]
        home.contacts.append(PlainContact(at_us, action.member, channel, action.action_id, True))

    def _acknowledged(self, action: PlainAction, named: str, is_delivered: bool, time_us: int) -> None:
        """A gateway took an action over, or could not: then its journey's next channel has its turn."""
        key, sending = action.action_id, self.outbox.get(action.action_id)
        is_at_its_first = sending is not None and (sending.handed_us or not sending.is_fallback)
        channel = named or (sending.channel if is_at_its_first else action.channel)
        if is_delivered:
            if channel:
                self._contact(action, channel, time_us)
            if sending is not None:
                self._leave_outbox(key, "delivered")
                self.told["delivered"] += 1
                self._give_back(action.household, key)
            return
        if channel:
            self._forget_contact(action.household, key, channel)
        if sending is None or sending.channel != channel:
            return
        if not sending.fallbacks:
            self._leave_outbox(key, "undelivered")
            return
        sending.channel, *rest = sending.fallbacks
        sending.fallbacks, sending.is_fallback = tuple(rest), True
        sending.handed_us = sending.not_before_us = 0
        self.ledgers[action.household].contacts.append(PlainContact(self.now_us, action.member, sending.channel, key))

    def _prove(self, action: PlainAction, named: str, time_us: int) -> None:
        """Whoever answers where it was sent was reached; where nobody asks it can only have been sent."""
        only_sent = [one.name for one in self.plan.channels if one.outbound and not one.inbound]
        channel = named or action.channel
        if channel and (channel == action.channel or channel in only_sent):
            self._contact(action, channel, time_us)

    def _take_back(self, household: bytes, action_id: str, why: str) -> None:
        """What it depended on no longer holds."""
        action = self.actions.get(action_id)
        if action is not None and action.status == "live":
            action.status, action.settled_us, action.why = "withdrawn", self.now_us, why
        self._unsend(household, action_id)

    # --- hand-overs ---

    def delivery(self, notes: Iterable[DeliveryNote], *, epoch: int, stamp_us: int) -> None:
        """Fold what became of actions on their way to gateways."""
        if epoch < self.epoch:
            self.told["voided"] += 1
            return
        self._pass(stamp_us)
        for note in notes:
            sending = self.outbox.get(note.action_id)
            if note.step is DeliveryStep.KEPT_BACK and (sending is None or sending.channel != note.channel):
                self._never_made(note.action_id, note.channel)
            if sending is None:
                continue
            match note.step:
                case DeliveryStep.WITHDRAWN:
                    self._take_back(sending.household, note.action_id, note.reason)
                case DeliveryStep.HANDED:
                    self._hand_over(sending, note.channel)
                case DeliveryStep.KEPT_BACK:
                    if sending.channel == note.channel:
                        self._keep_back(sending)

    def _hand_over(self, sending: PlainSending, channel: str) -> None:
        ways = [sending.channel, *sending.fallbacks]
        if channel not in ways or (channel == sending.channel and sending.handed_us):
            return
        self._examine_hand_over(sending, channel)
        self.handed.add((sending.action_id, channel))
        ways.remove(channel)
        sending.channel, sending.fallbacks, sending.handed_us = channel, tuple(ways), self.now_us
        action = self.actions.get(sending.action_id)
        if action is not None:
            action.channel, action.handed_us = channel, self.now_us
            self._show(sending.action_id)
        self._give_back(sending.household, sending.action_id)
        home = self.ledgers[sending.household]
        if not any((one.action_id, one.channel) == (sending.action_id, channel) for one in home.contacts):
            home.contacts.append(PlainContact(self.now_us, sending.member, channel, sending.action_id, True))

    def _examine_hand_over(self, sending: PlainSending, name: str) -> None:
        """Note which rule a hand-over breaks. Only what was made counts here: it is this one that makes a contact."""
        plan, channel = self.plan, self.plan.channel_by_name[name]

        def breach(rule: str, what: str) -> None:
            self.breaches.append(Breach(rule=rule, decision_id=sending.decision_id, what=what))

        if plan.channels[channel].quiet_hours and is_quiet(plan, self.now_us):
            breach("quiet", f"is handed over on {name} in the quiet hours")
        made = [one for one in self.ledgers[sending.household].contacts if one.is_handed]
        for cap in plan.policy.caps:
            names = {plan.channels[index].name for index in cap.channels}
            counted = sum(
                one.time_us > self.now_us - cap.window_us
                and one.channel in names
                and (cap.scope is Scope.HOUSEHOLD or one.member == sending.member)
                for one in made
            )
            if channel in cap.channels and counted >= cap.most:
                breach("cap", f"is handed over as contact {counted + 1} under cap {cap.name} of {cap.most}")

    def _keep_back(self, sending: PlainSending) -> None:
        if not sending.handed_us:
            return
        sending.handed_us = 0
        action, home = self.actions.get(sending.action_id), self.ledgers[sending.household]
        if action is not None:
            action.channel, action.handed_us = "", 0
        home.contacts = [
            replace(one, is_handed=False)
            if (one.action_id, one.channel) == (sending.action_id, sending.channel)
            else one
            for one in home.contacts
        ]

    def _never_made(self, action_id: str, channel: str) -> None:
        """It has left the outbox, or goes another way: a contact on this one is none."""
        action = self.actions.get(action_id)
        if action is None:
            return
        self._forget_contact(action.household, action_id, channel)
        if action.channel == channel:
            action.channel, action.handed_us = "", 0

    # --- decisions ---

    def decide(self, decision: Decision, *, epoch: int, offset: int, stamp_us: int) -> bool:
        """Fold a decision; return whether it is in force."""
        if epoch < self.epoch:
            self.told["voided"] += 1
            return False
        self._pass(stamp_us)
        household = decision.household
        if household not in self.households:
            self.told.update(("decisions", "nothing"))
            self._remember(decision, offset)
            return True
        home = self.ledgers[household]
        names = [moment.moment_id for moment in decision.moments]
        if names and set(names) <= home.settled.keys():
            self.told["voided"] += 1
            return False
        member = decision.member if (household, decision.member) in self.members and decision.member else None
        self._examine(decision, member)
        home.pending = [one for one in home.pending if one.id not in names]
        for name in names:
            home.settled[name] = self.now_us
        for name in list(home.settled)[: max(0, len(home.settled) - SETTLED_KEPT)]:
            del home.settled[name]
        self._remember(decision, offset)
        home.decisions.append((decision.decision_id, offset))
        self.told["decisions"] += 1
        for arm in decision.arms:
            if arm.met_us == decision.decided_us:
                home.arms.setdefault(arm.experiment, asdict(arm))
        for one in decision.withdrawals:
            self._take_back(household, one.action_id, one.reason)
        if decision.stands:
            self.told["served"] += 1
        elif not decision.slate:
            self.told["nothing"] += 1
        elif decision.withheld:
            self.told["withheld"] += 1
        else:
            self._stand(decision, household, member)
        self._show(decision.answered)
        return True

    def _show(self, action_id: str) -> None:
        """An action is shown once, if the playbook wants to know."""
        action = self.actions.get(action_id)
        if action is None or action.is_shown or action.offer not in self.plan.offer_by_name:
            return
        if self.plan.arbitration.prior_weight:
            action.is_shown = True
            self.shown[self.plan.name, action.offer] += 1

    def _remember(self, decision: Decision, offset: int) -> None:
        if decision.request_id:
            household = decision.household if self.fold_version >= 2 else b""
            found = (decision.decision_id, offset, self.now_us, decision.request_hash)
            self.requests[household, decision.request_id] = found

    def _stand(self, decision: Decision, household: bytes, member: bytes | None) -> None:
        home, plan = self.ledgers[household], self.plan
        is_own = self.fold_version < 2 or all(one.is_personal for one in decision.slate)
        owner = member if is_own else None
        for replaced in {owner, member} & home.slates.keys():
            self._end(household, home.slates.pop(replaced))
        home.slates[owner] = PlainSlate(decision, max(one.valid_until_us for one in decision.slate))
        for one in decision.slate:
            known = one.offer in plan.offer_by_name
            self.actions[one.action_id] = PlainAction(
                action_id=one.action_id,
                decision_id=decision.decision_id,
                household=household,
                member=member,
                offer=one.offer,
                family=plan.offers[plan.offer_by_name[one.offer]].family if known else "",
                valid_until_us=one.valid_until_us,
                decided_us=decision.decided_us,
            )
        if decision.send_channel in plan.channel_by_name:
            first = decision.slate[0].action_id
            self.outbox[first] = PlainSending(
                action_id=first,
                decision_id=decision.decision_id,
                household=household,
                member=member,
                channel=decision.send_channel,
                send_before_us=decision.send_before_us,
                not_before_us=decision.send_not_before_us,
                fallbacks=tuple(name for name in decision.fallback_channels if name in plan.channel_by_name),
            )
            if not decision.send_not_before_us:
                home.contacts.append(PlainContact(self.now_us, member, decision.send_channel, first))

    def _examine(self, decision: Decision, member: bytes | None) -> None:
        """Note which rule a decision breaks that is about to come into force."""
        plan, home = self.plan, self.ledgers[decision.household]

        def breach(rule: str, what: str) -> None:
            self.breaches.append(Breach(rule=rule, decision_id=decision.decision_id, what=what))

        for one in decision.slate:
            offer = plan.offers[plan.offer_by_name[one.offer]]
            if home.declined_offers.get(offer.name, 0) > self.now_us:
                breach("decline", f"offers {offer.name}, declined by this household")
            elif home.declined_families.get(offer.family, 0) > self.now_us:
                breach("decline", f"offers {offer.name} of {offer.family}, a family this household declined")
        if decision.answered and decision.channel:
            self._examine_consent(decision, decision.channel, member, breach)
        if not decision.send_channel or decision.withheld or decision.send_not_before_us:
            return
        self._examine_consent(decision, decision.send_channel, member, breach)
        channel = plan.channel_by_name[decision.send_channel]
        if plan.channels[channel].quiet_hours and is_quiet(plan, self.now_us):
            breach("quiet", f"sends on {decision.send_channel} in the quiet hours")
        for cap in plan.policy.caps:
            names = {plan.channels[index].name for index in cap.channels}
            counted = sum(
                one.time_us > self.now_us - cap.window_us
                and one.channel in names
                and (cap.scope is Scope.HOUSEHOLD or one.member == member)
                for one in home.contacts
            )
            if channel in cap.channels and counted >= cap.most:
                breach("cap", f"contact {counted + 1} under cap {cap.name} of {cap.most}")

    def _examine_consent(self, decision: Decision, channel_name: str, member: bytes | None, breach) -> None:
        channel = self.plan.channels[self.plan.channel_by_name[channel_name]]
        if channel.consent != NONE:
            readings = self.readings(decision.household, member or b"", self.now_us)
            if self._run(channel.consent, readings, []) != 1.0:
                breach("consent", f"uses {channel_name} without consent")

    # --- time ---

    def _pass(self, stamp_us: int) -> None:
        if not self.stream_clock:
            self.now_us = max(self.now_us, stamp_us)

    def tick(self, *, epoch: int, stamp_us: int) -> None:
        """Time has passed: what is due expires, and what nobody needs any more is forgotten."""
        if epoch < self.epoch:
            self.told["voided"] += 1
            return
        self._pass(stamp_us)
        now_us, plan = self.now_us, self.plan
        for sending in [one for one in self.outbox.values() if one.send_before_us <= now_us]:
            self._leave_outbox(sending.action_id, "expired")
            self.told["expired"] += 1
            self._give_back(sending.household, sending.action_id)
        oldest_us = now_us - plan.clock.request_window_us
        self.requests = {key: found for key, found in self.requests.items() if found[2] >= oldest_us}
        kept = {}
        for key, action in self.actions.items():
            if action.status == "live" and action.valid_until_us <= now_us:
                action.status, action.settled_us = "expired", now_us
            elif action.status != "live" and action.settled_us < oldest_us:
                continue
            kept[key] = action
        self.actions = kept
        longest_us = max((cap.window_us for cap in plan.policy.caps), default=0)
        for home in self.ledgers.values():
            home.contacts = [one for one in home.contacts if one.time_us > now_us - longest_us]
            home.declined_offers = {name: us for name, us in home.declined_offers.items() if us > now_us}
            home.declined_families = {name: us for name, us in home.declined_families.items() if us > now_us}
            home.accepted_offers = {name: us for name, us in home.accepted_offers.items() if us > now_us}
            home.slates = {member: one for member, one in home.slates.items() if one.until_us > now_us}

    # --- hashes ---

    def household_digests(self) -> dict[bytes, str]:
        """Return what household.digest.household_digests must return for the same log."""
        children: dict[bytes, list[bytes]] = defaultdict(list)
        for household, member in self.members:
            children[household].append(digest._packed(member, self._cells(Scope.MEMBER, (household, member))))
        actions: dict[bytes, list[PlainAction]] = defaultdict(list)
        for action in self.actions.values():
            actions[action.household].append(action)
        sendings: dict[bytes, list[PlainSending]] = defaultdict(list)
        for sending in self.outbox.values():
            sendings[sending.household].append(sending)
        return {
            household: digest._hash(
                [
                    digest._packed(
                        self._cells(Scope.HOUSEHOLD, (household, None)),
                        *sorted(children[household]),
                        b"ledger",
                        digest._text(self._side(household, actions[household], sendings[household])),
                    )
                ]
            )
            for household in self.households
        }

    def _cells(self, scope: Scope, owner: Owner) -> bytes:
        named = dict(self._named_cells(scope, owner))
        header = digest._text(sorted(named))
        values = np.array([named[name] for name in sorted(named)], "<f8").tobytes()
        entries = []
        windows = {
            digest._window_name(self.plan, window): index
            for index, window in enumerate(self.plan.windows)
            if window.scope is scope
        }
        for name in sorted(windows):
            buckets = sorted(self.windows.get((windows[name], owner), Kept()).buckets.items())
            if buckets:
                entries += [
                    name.encode(),
                    np.array([bucket for bucket, _ in buckets], "<i4").tobytes(),
                    np.array([number for _, (number, _) in buckets], "<i4").tobytes(),
                    np.array([total for _, (_, total) in buckets], "<f8").tobytes(),
                ]
        return digest._packed(header, values, digest._packed(*entries))

    def _named_cells(self, scope: Scope, owner: Owner) -> Iterator[tuple[str, float]]:
        """Yield the cells of docs/decisions/0002-columns.md that these features would fill, by name."""
        for index, feature in enumerate(self.plan.features):
            if feature.scope is not scope or feature.window != NONE:
                continue
            yield from plain_cells(feature, self.features.get((index, owner), Kept()))
        for index, journey in enumerate(self.plan.journeys):
            if journey.trigger is not None and journey.trigger.scope is scope:
                fired_us, instances = self.fired.get((index, owner), (math.nan, 0))
                yield from ((f"{journey.name}.fired", fired_us), (f"{journey.name}.instances", float(instances)))

    def _side(self, household: bytes, actions: list[PlainAction], sendings: list[PlainSending]) -> dict:
        home, side = self.ledgers.get(household, PlainHousehold()), {}
        content = {
            "pending": [told_moment(one.moment) | {"member": _text(one.member)} for one in home.pending],
            "settled": home.settled,
            "slates": _sorted(
                {"member": _text(member), "until": one.until_us, "decision": told_decision(one.decision)}
                for member, one in home.slates.items()
            ),
            "contacts": _sorted(spoken(one) | {"member": _text(one.member)} for one in home.contacts),
            "declined_offers": home.declined_offers,
            "declined_families": home.declined_families,
            "decisions": [list(one) for one in home.decisions],
        }
        if home.accepted_offers:
            content["accepted_offers"] = home.accepted_offers
        if home.arms:
            content["arms"] = _sorted(home.arms.values())
        if any(content.values()):
            side.update(content)
        for name, items in (("actions", actions), ("outbox", sendings)):
            if items:
                plain = (spoken(one) | {"household": None, "member": _text(one.member)} for one in items)
                side[name] = _sorted(plain)
        return side

    def wide(self) -> dict[str, object]:
        """Return what belongs to no household: now, epoch, counters, request ids, how many event ids are known."""
        counters = dict.fromkeys(_COUNTED[2:], 0) | dict(self.told)
        return {
            "now_us": self.now_us,
            "epoch": self.epoch,
            "by_status": {name: count for name, count in self.counts.items() if count},
            "received": sum(self.counts.values()),
            "moments": len(self.moments),
            "requests": dict(self.requests),
            "known_ids": len(self.known),
            "alone_until_us": self.alone_until_us,
            "shown": dict(self.shown),
            **counters,
        }


def _sorted(items: Iterable[dict]) -> list[dict]:
    return sorted(items, key=digest._text)


def _text(key: bytes | None) -> str | None:
    return None if key is None else key.decode("latin-1")


def wide(state: PartitionState) -> dict[str, object]:
    """Return of a production state what PlainPartition.wide returns of a plain one."""
    counters = asdict(state.counters)
    return {
        "now_us": int(state.now_us),
        "epoch": int(state.epoch),
        "by_status": {name: count for name, count in counters.pop("by_status").items() if count},
        "requests": requests_of(state),
        "known_ids": state.dedupe.count,
        "alone_until_us": int(state.alone_until_us),
        "shown": {(one.playbook, one.offer): one.count for one in state.tables.of(SHOWN)},
        **{name: counters[name] for name in _COUNTED},
    }


_COUNTED = (
    *("received", "moments", "decisions", "served", "nothing", "withheld"),
    *("voided", "expired", "withdrawn", "delivered"),
)


# --- from records -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class PlainReplay:
    """One partition's log, folded in plain Python, with a note of everything that stood in it."""

    partition: int
    state: PlainPartition | None = None
    epoch: int = 0
    stream_clock: bool = False
    fold_version: int = 2
    occurrences: list[Occurrence] = field(default_factory=list)
    decisions: list[FoldedDecision] = field(default_factory=list)
    batches: list[tuple[int, tuple[bytes, ...], Counter[str]]] = field(default_factory=list)
    """(offset, event ids in order, status names counted) of each signals record."""
    epochs: list[tuple[int, int, str]] = field(default_factory=list)
    """(offset, epoch, owner) of each term that was opened."""
    void_plans: int = 0
    void_epochs: int = 0
    record_count: int = 0

    @property
    def now(self) -> PlainPartition:
        assert self.state is not None, "no plan record"
        return self.state

    def fold(self, stored: StoredRecord) -> None:
        """Fold the next record."""
        record = stored.record
        self.record_count += 1
        if self.state is not None:
            self.state.offset = stored.offset
        match record.kind:
            case RecordKind.EPOCH:
                self._epoch(stored)
            case RecordKind.PLAN:
                self._plan(stored)
            case RecordKind.SIGNALS:
                self._signals(stored)
            case RecordKind.DECISION:
                decision = codec.decode_decision(record.payload).decision
                is_in_force = self.now.decide(
                    decision, epoch=record.epoch, offset=stored.offset, stamp_us=record.stamp_us
                )
                self.decisions.append(
                    FoldedDecision(
                        decision=decision,
                        offset=stored.offset,
                        epoch=record.epoch,
                        stamp_us=record.stamp_us,
                        is_in_force=is_in_force,
                    )
                )
            case RecordKind.DELIVERY:
                notes = codec.decode_delivery(record.payload)
                self.now.delivery(notes, epoch=record.epoch, stamp_us=record.stamp_us)
            case RecordKind.INVENTORY:
                codec.decode_inventory(record.payload)
                raise AssertionError("the plain fold knows no scarce items")
            case RecordKind.RELOCATION:
                codec.decode_relocations(record.payload)
                raise AssertionError("the plain fold knows no graph events")
            case RecordKind.TICK:
                self.now.tick(epoch=record.epoch, stamp_us=record.stamp_us)
            case other:
                raise AssertionError(f"a {other.name} record in a partition's log")

    def _epoch(self, stored: StoredRecord) -> None:
        epoch = stored.record.epoch
        if epoch <= self.epoch:
            self.void_epochs += 1
            return
        opening = codec.decode_epoch(stored.record.payload)
        self.epoch, self.stream_clock, self.fold_version = epoch, opening.stream_clock, opening.fold_version
        self.epochs.append((stored.offset, epoch, opening.owner))
        if self.state is not None:
            self.state.epoch, self.state.stream_clock = epoch, opening.stream_clock
            self.state.open_term(opening.fold_version)

    def _plan(self, stored: StoredRecord) -> None:
        if stored.record.epoch < self.epoch:
            self.void_plans += 1
            return
        plan = codec.decode_plan(stored.record.payload)
        if self.state is not None:
            assert _names_and_numbers(self.state.plan) == _names_and_numbers(plan), "no such change is covered here"
            self.state.plan = plan
        else:
            self.state = PlainPartition(
                plan, stream_clock=self.stream_clock, epoch=self.epoch, fold_version=self.fold_version
            )

    def _signals(self, stored: StoredRecord) -> None:
        events = list(plain_events(stored.record.payload, self.now.plan))
        statuses = self.now.apply(events, stamp_us=stored.record.stamp_us)
        names = self.now.plan.event_types
        for row, (event, status) in enumerate(zip(events, statuses, strict=True)):
            self.occurrences.append(
                Occurrence(
                    event_id=event.id,
                    household=event.household,
                    member=event.member,
                    kind=names[event.kind].name if event.kind != UNKNOWN_TYPE else "",
                    offset=stored.offset,
                    row=row,
                    status=status,
                )
            )
        counted = Counter(status.name for status in statuses)
        self.batches.append((stored.offset, tuple(event.id for event in events), counted))


def _names_and_numbers(plan: Plan) -> tuple[Plan, list[str]]:
    """Return what a change may not touch: all but what offers say and cost."""
    return replace(plan, offers=()), [one.name for one in plan.offers]


def plain_events(payload: bytes, plan: Plan) -> Iterator[Event]:
    """Yield the events of a signal batch, read row by row as docs/architecture.md describes it."""
    with pa.ipc.open_stream(payload) as stream:
        (batch,) = list(stream)
    columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
    given = [(*name.partition(":")[::2], cells) for name, cells in columns.items() if name[:2] in ("n:", "s:")]
    for row in range(batch.num_rows):
        values, is_bad = {}, False
        for space, name, cells in given:
            index, cell = plan.field_by_name.get(name, NONE), cells[row]
            if index == NONE or cell is None:
                continue
            value = _field_value(plan, index, space, cell)
            is_bad |= value is None
            values[index] = math.nan if value is None else value
        time_us = columns["time"][row]
        action_ids, channels = columns.get("s:action_id"), columns.get("s:channel")
        sources, hashes = columns.get("source"), columns.get("request_hash")
        yield Event(
            id=bytes(columns["event_id"][row]),
            source=bytes(sources[row] or b"") if sources else b"",
            household=bytes(columns["household"][row]),
            member=bytes(columns["member"][row]),
            kind=plan.event_type_by_name.get(columns["type"][row] or "", UNKNOWN_TYPE),
            time_us=NO_TIME_US if time_us is None else time_us,
            values=tuple(values.items()),
            is_bad=is_bad,
            action_id=(action_ids[row] or "") if action_ids else "",
            channel=(channels[row] or "") if channels else "",
            request_hash=bytes(hashes[row] or b"") if hashes else b"",
        )


def _field_value(plan: Plan, index: int, space: str, cell: float | str) -> float | None:
    """Return a field's value as its column holds it; None if it is not of the field's kind."""
    declared = plan.fields[index]
    if space == "n" and declared.kind in (FieldKind.NUMBER, FieldKind.FLAG):
        number = float(cell)
        allowed = number in (0.0, 1.0) if declared.kind is FieldKind.FLAG else math.isfinite(number)
        return number if allowed else None
    if space == "s" and declared.kind is FieldKind.ENUM:
        return float(declared.values.index(cell)) if cell in declared.values else None
    if space == "s" and declared.kind is FieldKind.TEXT:
        return text_value(str(cell), plan, index)
    return None


Records = Mapping[int, Iterable[StoredRecord]]
"""Partition → its log from the very beginning."""


def records_in(directory: Path, *, archive: Path | None = None) -> dict[int, list[StoredRecord]]:
    """Return the records of all embedded logs of a directory, without opening them.

    `archive` holds what was dropped from the front of the logs, in folders of the same names; what stands in both
    counts once.
    """
    found: dict[int, dict[int, StoredRecord]] = defaultdict(dict)
    # In this order: what a living owner drops between the two is in both, and never in neither.
    for place in filter(None, (directory, archive)):
        for partition, stored in read_only_logs(place) if place.is_dir() else ():
            found[partition][stored.offset] = stored
    for partition, by_offset in found.items():
        assert sorted(by_offset) == list(range(len(by_offset))), f"partition {partition}: the log has gaps"
    return {partition: [by_offset[offset] for offset in sorted(by_offset)] for partition, by_offset in found.items()}


def plain_replay(partition: int, records: Iterable[StoredRecord]) -> PlainReplay:
    """Fold a partition's whole log in plain Python."""
    replay = PlainReplay(partition)
    for stored in records:
        replay.fold(stored)
    return replay


def production_replay(records: Iterable[StoredRecord]) -> PartitionState:
    """Fold a partition's whole log as the product does."""
    replay = Replay()
    for stored in records:
        replay.fold(stored)
    return replay.now


def differences(plain: PlainPartition, state: PartitionState) -> list[str]:
    """Return where the plain state and the production state of one log differ; nothing if they are the same."""
    ours, theirs = plain.household_digests(), digest.household_digests(state)
    wrong = [
        f"household {key!r} differs" for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key)
    ]
    mine, other = plain.wide(), wide(state)
    return wrong + [
        f"{name}: plain {mine.get(name)!r}, product {other.get(name)!r}"
        for name in sorted(mine.keys() | other.keys())
        if mine.get(name) != other.get(name)
    ]
