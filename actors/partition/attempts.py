"""Decisions on their way through the state thread, in as few turns as there can be.

One that no model is asked about is prepared, made and encoded in the turn that forms its group, answered in the turn
that folds it. One that is scored is prepared in a turn before: of its own, or in which its signals were folded.
"""

from dataclasses import dataclass
from typing import Final

from actors.partition import answers
from actors.partition.caller import NOBODY_LEAVES, Caller
from actors.partition.draft_scoring import DraftScoring
from actors.partition.owner import PartitionOwner
from actors.partition.requests import HeldRequest
from actors.partition.telemetry import Laps, Stage
from hearth.v1 import decision_pb2
from household.decide import decide, prepare, still_allowed
from household.deciding.draft import Ask, Draft, Scores
from household.decision import Decision
from household.events import EventBatch
from household.plan import NONE, Plan
from household.scoring import schema_hash
from household.state import PartitionState
from household.tables.requests import KnownRequest


class ChannelGone(Exception):
    """The playbook that came into force meanwhile has no such channel to ask on. Nothing was decided."""

    def __init__(self, channel: str, plan: Plan) -> None:
        super().__init__(channel)
        self.channel = channel
        self.plan = plan


class AnsweredBefore(Exception):
    """A request with this id was answered before; nothing was written now."""

    def __init__(self, known: KnownRequest) -> None:
        super().__init__(known)
        self.known = known


@dataclass(slots=True, kw_only=True)
class DecideCall:
    """One Decide, as it reaches the partition."""

    household: bytes
    """Empty where `identifier` says whose it is."""
    member: bytes
    channel: str
    request_id: str
    request_hash: bytes
    """Of what is asked; empty where the edge told none."""
    signal_batch: bytes
    """Empty when no signals came with it."""
    identifier: str = ""
    caller: Caller = NOBODY_LEAVES
    laps: Laps | None = None
    """Where its stages are timed; None where nobody wants to know."""

    @property
    def name(self) -> bytes:
        """Of whom it asks, as it names them."""
        return self.household or self.identifier.encode()

    def whom(self, state: PartitionState) -> tuple[bytes, bytes]:
        """Return by which keys those are known, household and member, as of now."""
        if not self.identifier and not state.graph and state.partition_count == 1:
            return self.household, self.member
        return state.graph.whom(self.household, self.member, self.identifier, state.now_us)


class RequestAttempt:
    """A decision that a request asks for. What is called in the state thread says so."""

    def __init__(self, owner: PartitionOwner, scoring: DraftScoring, call: DecideCall, request: HeldRequest) -> None:
        self.household: Final = call.name
        self.draft: Draft | None = None
        self.scores: Scores | None = None
        """Of the draft; None while they are to be asked for."""
        self.may_miss_moments = False
        """A moment that arose since the draft is no reason to make it again."""
        self.is_surely_new = False
        """What seems to be known of it is another household's."""
        self.response: decision_pb2.DecideResponse | None = None
        """Once it is in force; None if it repeats a slate that only the log has."""
        self._owner = owner
        self._scoring = scoring
        self._call = call
        self._request = request
        self._event_types: frozenset[int] | None = None
        """Of the signals that came with it, as `_events_plan` numbers them."""
        self._events_plan: Plan | None = None
        self._plan: Plan | None = None
        """By which it is prepared; what was prepared by another than is in force counts for nothing."""
        self._has_waited = False
        self._made: Decision | None = None

    @property
    def plan(self) -> Plan:
        """By which its draft is made; of one that has a draft."""
        assert self._plan is not None
        return self._plan

    @property
    def made(self) -> Decision:
        """What was decided, of one that is in force."""
        assert self._made is not None
        return self._made

    def look(self) -> None:
        """Look whether it was answered before, while the household's other decision is waited for. In the state thread.

        Raises:
            AnsweredBefore, RequestIdReused, CallerGone.
        """
        self._call.caller.check()  # here, since it may have waited for the thread
        self._check_new(self._owner.state_as_of_now())

    def look_ahead(self) -> None:
        """Prepare it before its group is formed; raises as `look` does. In the state thread."""
        self._call.caller.check()
        state = self._owner.state_as_of_now()
        self.begin(state)
        self._prepare(state)

    def begin(self, state: PartitionState) -> None:
        """Say that nothing is waited for any more. In the state thread.

        Raises:
            AnsweredBefore, RequestIdReused, LiesElsewhere.
        """
        self._call.whom(state)
        self._check_new(state)
        self._end_wait()

    def _check_new(self, state: PartitionState) -> None:
        known = None if self.is_surely_new else self._request.known(state)
        if known is not None:
            self._end_wait()
            raise AnsweredBefore(known)

    def _end_wait(self) -> None:
        if not self._has_waited:
            self._has_waited = True
            self._lap(Stage.WAIT)

    def signals_folded(self, events: EventBatch) -> None:
        """Take note of the signals that came with it. In the state thread."""
        self._event_types = frozenset(events.types.tolist())
        self._events_plan = self._owner.state.plan
        self._lap(Stage.SIGNALS)
        if self._scoring.may_take_time and self._call.caller.is_waiting:
            self._prepare(self._owner.state_as_of_now())

    def scored(self, scores: Scores) -> None:
        """Take the scores of the draft."""
        self.scores = scores
        self._lap(Stage.SCORE)

    def decide(self, state: PartitionState) -> Decision | None:
        """Return the decision as of now; None if the draft is to be scored first. In the state thread.

        Raises:
            AnsweredBefore, RequestIdReused, CallerGone.
        """
        self._call.caller.check()
        self.begin(state)
        draft, scores = self.draft, self.scores
        if (
            draft is None
            or self._plan is not state.plan
            or self._call.whom(state) != (draft.ask.household, draft.ask.member)
            or not still_allowed(state, draft, may_miss_moments=self.may_miss_moments)
        ):
            draft, scores = self._prepare(state)
        if scores is None:
            return None
        self._made = made_of(self._owner, state, draft, scores)
        self._lap(Stage.DECIDE)
        if self._call.laps is not None:
            self._call.laps.decision = self._made
        return self._made

    def folded(self) -> None:
        """Answer. In the state thread."""
        self._lap(Stage.COMMIT)
        # Nothing has become of its household since it was made: one record of a group is about it, and this was that.
        self.response = response_from_state(self._owner, self.made, repeated=False, is_just_made=True)

    def _prepare(self, state: PartitionState) -> tuple[Draft, Scores | None]:
        draft = prepare(state, self._ask(state))
        self._plan = state.plan
        self._lap(Stage.PREPARE)
        self.draft, self.scores = draft, self._scoring.in_hand(state.plan, draft)
        if self.scores is not None:
            self._lap(Stage.SCORE)
        return draft, self.scores

    def _ask(self, state: PartitionState) -> Ask:
        call, plan, types = self._call, state.plan, self._event_types
        if types is not None and self._events_plan is not plan:
            self._event_types = types = _renumbered(types, self._events_plan, plan)
            self._events_plan = plan
        household, member = call.whom(state)
        channel = plan.channel_by_name.get(call.channel, NONE)
        if channel == NONE or not plan.channels[channel].inbound:
            raise ChannelGone(call.channel, plan)
        return Ask(
            household=household,
            member=member,
            channel=channel,
            request_id=call.request_id,
            request_hash=call.request_hash,
            is_contact=types is None or bool(types & plan.contact_types),
            contact_types=types or frozenset(),
        )

    def _lap(self, stage: Stage) -> None:
        if self._call.laps is not None:
            self._call.laps.end(stage)


def _renumbered(types: frozenset[int], before: Plan | None, plan: Plan) -> frozenset[int]:
    """Return event types as another plan numbers them; those that it does not have are left out."""
    names = {before.event_types[one].name for one in types} if before is not None else set()
    return frozenset(plan.event_type_by_name[name] for name in names if name in plan.event_type_by_name)


class MomentAttempt:
    """A decision of a household's moments, for which nobody asked."""

    def __init__(self, owner: PartitionOwner, plan: Plan, draft: Draft, scores: Scores) -> None:
        self.draft: Final = draft
        self.scores: Final = scores
        self.is_pending = True
        """Whether the household has moments still."""
        self._owner = owner
        self._plan = plan

    @property
    def household(self) -> bytes:
        """Whose moments they are."""
        return self.draft.ask.household

    def decide(self, state: PartitionState) -> Decision | None:
        """Return the decision as of now; None if the state has moved on. In the state thread."""
        if state.plan is not self._plan or not still_allowed(state, self.draft):
            return None
        return made_of(self._owner, state, self.draft, self.scores)

    def folded(self) -> None:
        """Look whether there are others. In the state thread."""
        self.is_pending = bool(self._owner.state.pending.of(self.draft.household))


def made_of(owner: PartitionOwner, state: PartitionState, draft: Draft, scores: Scores) -> Decision:
    """Return the decision of a scored draft. In the state thread."""
    return decide(state, draft, scores, epoch=owner.epoch, schema_hash=schema_hash(state.plan))


def response_from_state(
    owner: PartitionOwner, decision: Decision, *, repeated: bool, is_just_made: bool = False
) -> decision_pb2.DecideResponse | None:
    """Return the answer to a Decide; None if it repeats a slate that only the log has. In the state thread."""
    standing = _standing(owner.state, decision) if decision.stands else None
    if decision.stands and standing is None:
        return None
    return response_to(owner, decision, standing, repeated=repeated, is_just_made=is_just_made)


def _standing(state: PartitionState, decision: Decision) -> Decision | None:
    household, _ = state.find(decision.household)
    for slate in state.together(state.slates, household) if household >= 0 else ():
        if slate.decision_id == decision.stands:
            return slate.decision
    return None


def response_to(
    owner: PartitionOwner,
    decision: Decision,
    standing: Decision | None,
    *,
    repeated: bool,
    is_just_made: bool = False,
) -> decision_pb2.DecideResponse:
    """Return the answer to a Decide. In the state thread.

    Args:
        owner: of the partition.
        decision: what was decided.
        standing: the decision whose slate it repeats, if any and if anything still has it.
        repeated: whether the request had been answered before.
        is_just_made: whether its group has just been folded, so that what it gives holds.
    """
    # To see it as of now is to copy it; as of its group is as of now.
    state = owner.state if is_just_made else owner.state_as_of_now()
    answered = answers.find_action(decision, standing)
    plan = owner.plan_at_hand(decision) or state.plan
    return answers.decide_response(state, decision, answered, plan=plan, repeated=repeated, is_just_made=is_just_made)
