"""Hearth's own core in this process: the fold and the decisions of one partition, without log, network or processes.

What an owner does with a partition is done here in the same order, for a time that is given: fold, answer who asks,
decide the moments that are left, hand over what may go out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from household.apply import apply_decision, apply_delivery, apply_epoch, apply_inventory, apply_signals, apply_tick
from household.decide import decide, prepare
from household.deciding.draft import Ask, Draft, Scores
from household.deciding.hand_over import next_step
from household.decision import Decision, SlateAction
from household.decision_bytes import encode_decision
from household.delivery import DeliveryStep
from household.events import EventBatch
from household.freeze import Freeze, thaw
from household.ledger import next_due_us
from household.migration import migrated
from household.plan import NONE, Plan
from household.state import PartitionState

EPOCH = 1
MOMENTS_OF_ONE = 8
"""Decisions in a row for the moments of one household: one for each member, and some more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """An action that reaches somebody."""

    household: bytes
    member: bytes
    """Empty where it is for whoever is there."""
    action_id: str
    offer: int
    price_minor: int
    channel: int
    is_outbound: bool
    decision: Decision
    """By which it was chosen."""


class Score(Protocol):
    """What says how likely candidates are to be accepted."""

    def __call__(self, plan: Plan, draft: Draft) -> dict[int, float]:
        """Return P(accept) of each offer of the draft that is to be scored."""
        ...


def priors(plan: Plan, draft: Draft) -> dict[int, float]:
    """Return what the playbook says before anything is learned."""
    return {index: plan.offers[index].prior_acceptance for index in draft.to_score}


class Core:
    """One partition under a plan, and what its owner would do."""

    def __init__(self, plan: Plan, state: PartitionState | None = None, score: Score = priors) -> None:
        """Begin with nothing known, or with what another partition knew, which is carried over to the plan."""
        self.plan, self._score = plan, score
        self.state = PartitionState(plan=plan, stream_clock=False) if state is None else migrated(state, plan)
        self.decisions = 0
        self._listened = frozenset(one.name for one in plan.channels if one.outbound)
        self._offset = 0
        self._pending: dict[int, None] = {}
        if state is None:
            apply_epoch(self.state, epoch=EPOCH)

    def copied_state(self) -> PartitionState:
        """Return all that is known, apart from this."""
        freeze = Freeze(self.state)
        while not freeze.step(1 << 20):
            pass
        frozen = freeze.end()
        assert frozen is not None
        return thaw(frozen)

    def fold(self, events: EventBatch, now_us: int) -> None:
        """Fold events; what moments arise waits for `decide_moments`."""
        if not events.count:
            return
        applied = apply_signals(self.state, events, stamp_us=now_us)
        assert not applied.statuses.any(), f"{self.plan.name}: the town's events are sound"
        self._pending.update((row, None) for row, _ in applied.moments)

    def pass_time(self, now_us: int) -> None:
        """Let what is due by now fall due, in as many ticks as an owner makes: one leaves some to the next."""
        apply_tick(self.state, epoch=EPOCH, stamp_us=now_us)
        while (due_us := next_due_us(self.state)) is not None and due_us <= self.state.now_us:
            apply_tick(self.state, epoch=EPOCH, stamp_us=now_us)
        self._pending.update(self.state.arisen)
        self.state.arisen.clear()

    def ask(
        self, household: bytes, member: bytes, channel: int, types: frozenset[int], request_id: str, now_us: int
    ) -> Spoken | None:
        """Answer a channel on which a member is now; None for nothing."""
        row, _ = self.state.find(household)
        if row < 0 or not (types & self.plan.contact_types or self.state.slates.of(row) or self.state.pending.of(row)):
            return None
        ask = Ask(
            household=household,
            member=member,
            channel=channel,
            request_id=request_id,
            is_contact=bool(types & self.plan.contact_types),
            contact_types=types,
        )
        decision = self._decided(prepare(self.state, ask), now_us)
        if not decision.answered:
            return None
        made = self._made(row, decision)
        action = next(one for one in made.slate if one.action_id == decision.answered)
        return self._spoken(household, member, action, channel, made, is_outbound=False)

    def decide_moments(self, now_us: int) -> None:
        """Decide what nobody asked about: what comes of it waits for `hand_over`."""
        rows, self._pending = list(self._pending), {}
        for row in rows:
            for _ in range(MOMENTS_OF_ONE):
                pending = self.state.pending.of(row)
                if not pending:
                    break
                member = pending[0].member
                ask = Ask(
                    household=self.state.households.key(row),
                    member=self.state.members.key(member) if member >= 0 else b"",
                    channel=NONE,
                    request_id="",
                    is_contact=False,
                    contact_types=frozenset(),
                )
                self._decided(prepare(self.state, ask), now_us)
            self._pending.update(self.state.arisen)
            self.state.arisen.clear()

    def hand_over(self, now_us: int) -> Iterator[Spoken]:
        """Yield what goes out now, each once it is recorded."""
        state = self.state
        while claims := state.inventory.alone(state):
            apply_inventory(state, claims, epoch=EPOCH, stamp_us=now_us)
        for action_id, _ in list(state.outbox.up_to("not_before_us", now_us, "action_id", "channel")):
            outbound = state.outbox.get(action_id)
            if outbound is None or outbound.handed_us:
                continue
            note = next_step(state, action_id, self._listened)
            if note is None:
                continue
            apply_delivery(state, [note], epoch=EPOCH, stamp_us=now_us)
            if note.step is not DeliveryStep.HANDED:
                continue
            slates = state.slates.of(outbound.household)
            made = ((slate.decision, one) for slate in slates for one in slate.decision.slate)
            found = next((pair for pair in made if pair[1].action_id == action_id), None)
            if found is None:
                continue
            decision, action = found
            member = state.members.key(outbound.member) if outbound.member >= 0 else b""
            household = state.households.key(outbound.household)
            channel = self.plan.channel_by_name[note.channel]
            yield self._spoken(household, member, action, channel, decision, is_outbound=True)

    def _decided(self, draft: Draft, now_us: int) -> Decision:
        scores = Scores(by_offer=self._score(self.plan, draft), model_version="", degraded=False)
        decision = decide(self.state, draft, scores, epoch=EPOCH, schema_hash="")
        self._offset += 1
        self.decisions += 1
        payload = encode_decision(decision, member_keys={})
        apply_decision(self.state, decision, payload, epoch=EPOCH, offset=self._offset, stamp_us=now_us)
        return decision

    def _made(self, row: int, decision: Decision) -> Decision:
        """Return the decision whose slate a decision answers from."""
        if not decision.stands:
            return decision
        return next(one.decision for one in self.state.slates.of(row) if one.decision_id == decision.stands)

    def _spoken(
        self,
        household: bytes,
        member: bytes,
        action: SlateAction,
        channel: int,
        decision: Decision,
        *,
        is_outbound: bool,
    ) -> Spoken:
        return Spoken(
            household=household,
            member=member,
            action_id=action.action_id,
            offer=self.plan.offer_by_name[action.offer],
            price_minor=action.price_minor,
            channel=channel,
            is_outbound=is_outbound,
            decision=decision,
        )
