"""One household in a partition of its own, with its clock and its log: what a live Hearth does, without the machines.

What arises is decided, what may go out is handed over, and time passes from one instant at which something is due to
the next. The fold and the decision are those of a live Hearth, record by record.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from household.apply import (
    Applied,
    apply_decision,
    apply_delivery,
    apply_epoch,
    apply_inventory,
    apply_signals,
    apply_tick,
)
from household.decide import decide, prepare
from household.deciding.draft import Ask, Scores
from household.deciding.hand_over import next_step
from household.decision import Decision, SlateAction
from household.decision_bytes import encode_decision
from household.delivery import DeliveryNote, DeliveryStep
from household.digest import state_digest
from household.events import NO_KEYS, EventBatch, OutcomeRow, Status, keys_of
from household.freeze import Freeze, thaw
from household.migration import migrated
from household.plan import NONE, Plan
from household.state import PartitionState
from household.tables.claims import CLAIMS
from household.tables.holds import HOLDS
from household.tables.instances import Ending, Instance
from playbooks.rehearsing.script import GatewayManner
from playbooks.rehearsing.versions import RehearsedPlaybook, rehearsed

LOOKED_AT_EVERY_US = 60_000_000
"""What waits for its hand-over is looked at as often."""

ROUNDS_MAX = 200
"""Decisions and hand-overs at one instant; more would go on for ever."""


class Doing(Enum):
    """What a rehearsal may expect."""

    ENTERED = auto()
    EXITED = auto()
    SAID = auto()
    """Handed over to a gateway."""
    ANSWERED = auto()
    """What a channel that asks was told; without an offer where that was nothing."""
    WITHHELD = auto()
    TAKEN_BACK = auto()
    DECIDED = auto()
    """A decision was made, whatever came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that the household's journeys did."""

    doing: Doing
    time_us: int
    journey: str = ""
    offer: str = ""
    channel: str = ""
    member: str = ""
    action_id: str = ""
    price_minor: int = 0
    reasons: tuple[str, ...] = ()
    """Of a decision: its reasons, and what spoke against each candidate. Of what ended, or was taken back: why."""


_Record = Callable[[PartitionState], object]


class RehearsalStage:
    """The partition. `happenings` grows by what is done."""

    def __init__(
        self, plan: Plan, household: bytes, *, now_us: int, first_member: str, gateways: dict[str, GatewayManner]
    ) -> None:
        """Make one.

        Args:
            plan: of the playbook.
            household: its key.
            now_us: when it begins.
            first_member: who is meant where nobody is named.
            gateways: channel → what its gateway does, of those that do not just deliver.
        """
        self._playbook, self._version = RehearsedPlaybook(plan), 1
        self.plan = rehearsed(self._playbook, self._version)
        self.household, self.now_us, self.gateways = household, now_us, gateways
        self.first_member = first_member
        self.happenings: list[Happening] = []
        self._records: list[_Record] = []
        self._offset = self._count = 0
        self._where: dict[tuple[str, int, int], tuple[str, Ending]] = {}
        self._statuses: dict[str, str] = {}
        self._entries: dict[str, SlateAction] = {}
        self.state = PartitionState(plan=self.plan, stream_clock=False)
        self._folded(lambda state: apply_epoch(state, epoch=1))
        self._listened = [
            one.name for one in plan.channels if one.outbound and gateways.get(one.name) is not GatewayManner.ABSENT
        ]
        self._open = frozenset(plan.channel_by_name[name] for name in self._listened)

    # --- what comes in ------------------------------------------------------------------------------------------------

    def signal(
        self, kind: int, member: str, time_us: int, values: tuple[tuple[int, float], ...], *, name: str
    ) -> Status:
        """Something happened, which is learned now; return what became of it."""
        return self._events(kind, member, time_us, values, name=name)

    def report(self, outcome: str, action_id: str, channel: str, member: str, *, name: str) -> Status:
        """A gateway reports what became of an action; return what became of the report."""
        kind = self.plan.event_type_by_name[f"hearth.{outcome}"]
        told = OutcomeRow(row=0, outcome=outcome, action_id=action_id, channel=channel)
        return self._events(kind, member, self.now_us, (), name=name, told=(told,))

    def _events(
        self,
        kind: int,
        member: str,
        time_us: int,
        values: tuple[tuple[int, float], ...],
        *,
        name: str,
        told: tuple[OutcomeRow, ...] = (),
    ) -> Status:
        columns = np.full((max(len(self.plan.fields), 1), 1), np.nan)
        for field, value in values:
            columns[field, 0] = value
        batch = EventBatch(
            ids=keys_of([name.encode()]),
            households=keys_of([self.household]),
            members=keys_of([member.encode()]),
            types=np.array([kind], np.int32),
            times_us=np.array([time_us], np.int64),
            values=columns,
            is_bad=np.zeros(1, np.uint8),
            plan_version=self.plan.version,
            outcomes=told,
            sources=NO_KEYS,
        )
        stamp_us = self.now_us
        applied = self._folded(lambda state: apply_signals(state, batch, stamp_us=stamp_us))
        assert isinstance(applied, Applied)
        for _, moment in applied.moments:
            if not moment.step:
                self._note(Doing.ENTERED, journey=moment.journey, member=self._member_name(moment.member))
        return Status(int(applied.statuses[0]))

    def ask(self, channel: int, member: str, *, carries: frozenset[int] = frozenset()) -> None:
        """A channel asks what to say."""
        contacts = self.plan.contact_types
        self._count += 1
        ask = Ask(
            household=self.household,
            member=member.encode(),
            channel=channel,
            request_id=f"question-{self._count}",
            is_contact=not carries or bool(carries & contacts),
            contact_types=carries,
        )
        self._decide(ask)

    # --- time ---------------------------------------------------------------------------------------------------------

    def advance(self, until_us: int) -> None:
        """Let time pass, and all be done that is due on the way, the end included."""
        while True:
            self.settle()
            due_us = self._next_us()
            if due_us is None or due_us > until_us:
                break
            self._tick(due_us)
        if until_us > self.now_us:
            self._tick(until_us)
            self.settle()

    def _tick(self, at_us: int) -> None:
        self.now_us = max(self.now_us, at_us)
        stamp_us = self.now_us
        self._folded(lambda state: apply_tick(state, epoch=1, stamp_us=stamp_us))

    def _next_us(self) -> int | None:
        state = self.state
        tables = (state.outbox, state.instances, state.tables.of(CLAIMS), state.tables.of(HOLDS))
        due = [table.next_due_us() for table in tables]
        times = [max(one, self.now_us + 1) for one in due if one is not None]
        for one in state.outbox:
            # What nobody listens for is fetched by nobody, however often it is looked at.
            if not one.handed_us and not self._open.isdisjoint((one.channel, *one.fallbacks)):
                times.append(max(one.not_before_us, self.now_us + LOOKED_AT_EVERY_US))
                if one.not_before_us > self.now_us:
                    times.append(one.not_before_us)
        return min(times, default=None)

    def settle(self) -> None:
        """Decide what has arisen, and hand over what may go out now."""
        for _ in range(ROUNDS_MAX):
            if not (self._decide_next() or self._hand_over_next() or self._claim_next()):
                return
        raise AssertionError("decisions and hand-overs do not come to an end")

    def _decide_next(self) -> bool:
        row, _ = self.state.find(self.household)
        pending = self.state.pending.of(row) if row >= 0 else ()
        if not pending:
            return False
        member = pending[0].member
        ask = Ask(
            household=self.household,
            member=self.state.members.key(member) if member >= 0 else b"",
            channel=NONE,
            request_id="",
            is_contact=False,
            contact_types=frozenset(),
        )
        before = len(pending)
        self._decide(ask)
        return len(self.state.pending.of(row)) < before

    def _decide(self, ask: Ask) -> None:
        draft = prepare(self.state, ask)
        offers = self.plan.offers
        scores = Scores(
            by_offer={index: offers[index].prior_acceptance for index in draft.to_score},
            model_version="prior",
            degraded=False,
        )
        decision = decide(self.state, draft, scores, epoch=1, schema_hash="")
        self._offset += 1
        keys = {one.member: self.state.members.key(one.member) for one in decision.moments if one.member >= 0}
        payload, offset, stamp_us = encode_decision(decision, member_keys=keys), self._offset, self.now_us
        self._note_decision(decision)
        self._folded(lambda state: apply_decision(state, decision, payload, epoch=1, offset=offset, stamp_us=stamp_us))

    def _hand_over_next(self) -> bool:
        for outbound in list(self.state.outbox):
            if outbound.handed_us:
                continue
            note = next_step(self.state, outbound.action_id, self._listened)
            if note is not None:
                self._deliver(note)
                return True
        return False

    def _claim_next(self) -> bool:
        note, stamp_us = self.state.inventory.alone(self.state), self.now_us
        if note:
            self._folded(lambda state: apply_inventory(state, note, epoch=1, stamp_us=stamp_us))
        return bool(note)

    def _deliver(self, note: DeliveryNote) -> None:
        stamp_us, action = self.now_us, self.state.actions[note.action_id]
        member, entry = self._member_name(action.member), self._entries[note.action_id]
        if note.step is DeliveryStep.HANDED:
            self._note(
                Doing.SAID,
                journey=entry.journey,
                offer=action.offer,
                channel=note.channel,
                member=member,
                action_id=note.action_id,
                price_minor=entry.price_minor,
            )
        self._folded(lambda state: apply_delivery(state, [note], epoch=1, stamp_us=stamp_us))
        if note.step is not DeliveryStep.HANDED:
            return
        does = self.gateways.get(note.channel, GatewayManner.DELIVERS)
        if does is GatewayManner.SILENT:
            return
        self._count += 1
        outcome = "delivered" if does is GatewayManner.DELIVERS else "undelivered"
        self.report(outcome, note.action_id, note.channel, member, name=f"acknowledged-{self._count}")

    # --- what was done ------------------------------------------------------------------------------------------------

    def _folded(self, record: _Record) -> object:
        self._records.append(record)
        given = record(self.state)
        self._note_moves()
        return given

    def _note(self, doing: Doing, **more: object) -> None:
        self.happenings.append(Happening(doing=doing, time_us=self.now_us, **more))  # type: ignore[arg-type]

    def _note_moves(self) -> None:
        where = {}
        for one in self.state.instances:
            key = (one.journey, one.member, one.number)
            where[key] = (one.step, one.ending)
            before = self._where.get(key)
            member = self._member_name(one.entrant)
            if before is None:
                self._note(Doing.ENTERED, journey=one.journey, member=member)
            if one.ending is not Ending.LIVE and (before is None or before[1] is not one.ending):
                self._note(Doing.EXITED, journey=one.journey, member=member, reasons=(one.ending.value,))
        self._where = where
        for action in self.state.actions:
            if action.status == "withdrawn" and self._statuses.get(action.action_id) != "withdrawn":
                self._note(
                    Doing.TAKEN_BACK,
                    journey=self._entries[action.action_id].journey,
                    offer=action.offer,
                    action_id=action.action_id,
                    reasons=(action.why,) if action.why else (),
                )
        self._statuses = {one.action_id: str(one.status) for one in self.state.actions}

    def _note_decision(self, decision: Decision) -> None:
        self._entries |= {one.action_id: one for one in decision.slate}
        journeys = dict.fromkeys([*(one.journey for one in decision.moments), *(one.journey for one in decision.slate)])
        against = [veto for one in decision.candidates for veto in one.vetoes]
        reasons = tuple(dict.fromkeys((*decision.reasons, *against)))
        member = decision.member.decode(errors="replace")
        for journey in journeys or {"": None}:
            self._note(Doing.DECIDED, journey=journey, member=member, reasons=reasons, channel=decision.channel)
        for ghost in decision.ghosts:
            self._note(Doing.WITHHELD, journey=ghost.journey, offer=ghost.offer, channel=ghost.channel, member=member)
        if not decision.channel:
            return
        action = self._entries.get(decision.answered)
        self._note(
            Doing.ANSWERED,
            journey=action.journey if action is not None else "",
            offer=action.offer if action is not None else "",
            channel=decision.channel,
            member=member,
            action_id=decision.answered,
            price_minor=action.price_minor if action is not None else 0,
            reasons=reasons,
        )

    def _member_name(self, row: int) -> str:
        return self.state.members.key(row).decode(errors="replace") if row >= 0 else ""

    # --- how it stands ------------------------------------------------------------------------------------------------

    def instances(self, journey: str) -> list[Instance]:
        """Return the instances of a journey, in the order in which they entered."""
        own = [one for one in self.state.instances if one.journey == journey]
        return sorted(own, key=lambda one: (one.entered_us, one.number))

    def reading(self, feature: int, member: str) -> float:
        """Return what a feature reads; NaN for unknown."""
        household, row = self.state.find(self.household, member.encode())
        if household < 0:
            return float("nan")
        return float(self.state.readings(household, row, self.now_us)[feature])

    # --- a restart ----------------------------------------------------------------------------------------------------

    def restart(self) -> bool:
        """Go on with what a snapshot of the partition holds; return whether that is all there was."""
        before, freeze = state_digest(self.state), Freeze(self.state)
        while not freeze.step():
            pass
        frozen = freeze.end()
        assert frozen is not None
        self.state = thaw(frozen)
        return state_digest(self.state) == before

    def take_next_version(self) -> None:
        """Let another version of the playbook come into force that has the same in it."""
        self._version += 1
        self.plan = rehearsed(self._playbook, self._version)
        self.state = migrated(self.state, self.plan)

    def is_replayed(self) -> bool:
        """Return whether the records, folded anew, give what there is."""
        state = PartitionState(plan=self.plan, stream_clock=False)
        for record in self._records:
            record(state)
        return state_digest(state) == state_digest(self.state)
