"""How one partition decides: on request, and for moments that no request asked about.

A household has one decision under way at a time; the next waits for it and then sees its slate.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from actors.conditions import NotCurrent, PartitionLost
from actors.log.contract import OffsetOutOfRange
from actors.partition import answers
from actors.partition.caller import NOBODY_LEAVES, Caller
from actors.partition.group import Folded
from actors.partition.locks import HouseholdLocks
from actors.partition.owner import PartitionOwner
from actors.partition.requests import Requests
from actors.partition.telemetry import Laps, Stage
from actors.state_thread import StateThread, Urgency
from hearth.v1 import decision_pb2
from household.decide import decide, prepare
from household.deciding.draft import Ask, Draft, Scores, context_channel
from household.decision import Decision
from household.plan import NONE, Plan
from household.scoring import ModelMissing, Scored, Scorer, Way, schema_hash, score_rows

logger = logging.getLogger(__name__)

PROPOSALS_MAX = 8
"""Times a decision is made again because the state moved on while it was scored."""

DEGRADED = "degraded"
"""Beside the ways of scoring in a shard's report."""

MOMENT_BATCH = 64
"""Households whose moments are decided together."""


class NotSettled(Exception):
    """The household's state moved on again and again while it was being decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideCall:
    """One Decide, as it reaches the partition."""

    household: bytes
    member: bytes
    channel: str
    request_id: str
    request_hash: bytes
    """Of what is asked; empty where the edge told none."""
    signal_batch: bytes
    """Empty when no signals came with it."""
    caller: Caller = NOBODY_LEAVES
    laps: Laps | None = None
    """Where its stages are timed; None where nobody wants to know."""


class PartitionDecider:
    """Decides for the households of one partition."""

    def __init__(
        self,
        owner: PartitionOwner,
        state_thread: StateThread,
        scorer: Callable[[], Scorer | None],
        requests: Requests,
    ) -> None:
        self._owner = owner
        self._requests = requests
        self._state_thread = state_thread
        self._scorer = scorer
        self._locks = HouseholdLocks()
        self._scored = Counter[str]()
        """Decisions by the way of their scores since this owner's term began, and those that were degraded."""
        self._failure_told = ""
        self._left_to_requests: dict[bytes, int] = {}
        """Households (and their rows) whose moments were left to a request under way."""
        moments = asyncio.create_task(self._decide_moments(), name=f"moments-{owner.partition}")
        self._moments_task = owner.supervised(moments)

    def stop(self) -> None:
        """Decide no more moments; those that are pending stay pending in the state."""
        self._moments_task.cancel()

    def scored(self) -> dict[str, int | str | bool]:
        """Return how many decisions of this term were scored which way, and how many of them were degraded."""
        return {DEGRADED: self._scored[DEGRADED], **{f"scored_{way}": self._scored[way] for way in Way}}

    def _count(self, scores: Scores) -> None:
        if scores.way:
            self._scored[scores.way] += 1
            self._scored[DEGRADED] += scores.degraded

    async def decide(self, call: DecideCall) -> decision_pb2.DecideResponse:
        """Answer a Decide.

        Raises:
            PartitionLost, Overloaded, PayloadUnreadable, NotSettled, RequestIdReused, LogError.
            CallerGone: nothing was decided; the signals that came with it may have been folded.
        """
        try:
            return await self._decide_once(call)
        finally:
            # The request may have decided nothing (it failed, or had been answered before): look at the moments again.
            row = self._left_to_requests.pop(call.household, None)
            if row is not None:
                self._owner.moments.arose([row])

    async def _decide_once(self, call: DecideCall) -> decision_pb2.DecideResponse:
        """Decide, or answer as before where this request was answered before."""
        held = self._requests.hold(call.household, call.request_id, call.request_hash, is_decide=True)
        async with held as before:
            if before is not None:
                if call.laps is not None:
                    call.laps.end(Stage.WAIT)
                answer = await self._answer_again(before.offset, call.household)
                if answer is not None:
                    return answer
            return await self._decide_held(call)

    async def _decide_held(self, call: DecideCall) -> decision_pb2.DecideResponse:
        async with self._locks.hold(call.household):
            call.caller.check()
            if call.laps is not None:
                call.laps.end(Stage.WAIT)
            folded = None
            if call.signal_batch:
                folded = await self._owner.signals(call.signal_batch, caller=call.caller, is_urgent=True)
            if call.laps is not None and folded is not None:
                call.laps.end(Stage.SIGNALS)
            ask = self._ask(call, folded)
            response = await self._settle(ask, call.caller, call.laps)
        if folded is not None:
            response.signal_counts.CopyFrom(answers.signal_counts(folded.applied.statuses))
            response.rejections.extend(answers.rejections(folded, call.signal_batch))
        return response

    async def _answer_again(self, offset: int, household: bytes) -> decision_pb2.DecideResponse | None:
        """Return the answer of a recorded decision; None if it is another household's, so another request's."""
        loop = asyncio.get_running_loop()
        recorded = await loop.run_in_executor(None, self._owner.read_decision, offset)
        if recorded.decision.household != household:
            return None
        return await self._respond(recorded.decision, repeated=True)

    async def _respond(self, decision: Decision, *, repeated: bool) -> decision_pb2.DecideResponse:
        standing = None
        if decision.stands:
            standing = await self._state_thread.run(Urgency.DECISION, self._standing, decision)
            if standing is None:
                standing = await self._recorded(decision.household, decision.stands)

        def respond() -> decision_pb2.DecideResponse:
            state = self._owner.state_as_of_now()
            answered = answers.find_action(decision, standing)
            plan = self._owner.plan_at_hand(decision) or state.plan
            return answers.decide_response(state, decision, answered, plan=plan, repeated=repeated)

        return await self._state_thread.run(Urgency.DECISION, respond)

    def _standing(self, decision: Decision) -> Decision | None:
        state = self._owner.state
        household, _ = state.find(decision.household)
        for slate in state.slates.of(household):
            if slate.decision_id == decision.stands:
                return slate.decision
        return None

    async def _recorded(self, household: bytes, decision_id: str) -> Decision | None:
        offset = await self._state_thread.run(Urgency.DECISION, self.offset_of, household, decision_id)
        if offset is None:
            return None
        try:
            recorded = await asyncio.get_running_loop().run_in_executor(None, self._owner.read_decision, offset)
        except OffsetOutOfRange:
            return None  # older than the log is kept
        return recorded.decision

    def offset_of(self, household: bytes, decision_id: str) -> int | None:
        """Return where a decision of a household stands in the log; the newest for no id. In the state thread."""
        row, _ = self._owner.state.find(household)
        for known in reversed(self._owner.state.decisions.of(row)):
            if not decision_id or known.decision_id == decision_id:
                return known.offset
        return None

    def _ask(self, call: DecideCall, folded: Folded | None) -> Ask:
        plan = self._owner.state.plan
        types = frozenset(int(kind) for kind in folded.batch.types) if folded is not None else frozenset()
        return Ask(
            household=call.household,
            member=call.member,
            channel=plan.channel_by_name[call.channel],
            request_id=call.request_id,
            request_hash=call.request_hash,
            is_contact=folded is None or bool(types & plan.contact_types),
            contact_types=types,
        )

    async def _settle(self, ask: Ask, caller: Caller, laps: Laps | None) -> decision_pb2.DecideResponse:
        """Decide until a decision folds that was right when it was written."""
        for tried in range(PROPOSALS_MAX):
            draft = await self._state_thread.run(Urgency.DECISION, self._prepare, ask, caller)
            if laps is not None:
                laps.end(Stage.PREPARE)
            caller.check()
            scores = (await self._score([draft], caller.deadline_s))[0]
            if laps is not None:
                laps.end(Stage.SCORE)
            decision = await self._state_thread.run(Urgency.DECISION, self._decide, draft, scores)
            if laps is not None:
                laps.end(Stage.DECIDE)
                laps.decision = decision
            is_late = tried >= PROPOSALS_MAX // 2
            offset = await self._owner.propose(draft, decision, may_miss_moments=is_late, caller=caller)
            if laps is not None:
                laps.end(Stage.COMMIT)
            if offset is not None:
                self._count(scores)
                return await self._respond(decision, repeated=False)
        raise NotSettled

    def _prepare(self, ask: Ask, caller: Caller) -> Draft:
        caller.check()  # here, since it may have waited for the thread
        return prepare(self._owner.state_as_of_now(), ask)

    def _decide(self, draft: Draft, scores: Scores) -> Decision:
        state = self._owner.state_as_of_now()
        return decide(state, draft, scores, epoch=self._owner.epoch, schema_hash=schema_hash(state.plan))

    async def _score(self, drafts: list[Draft], deadline_s: float | None) -> list[Scores]:
        """Score the candidates of several drafts in one batch; by the playbook's priors where no model is in force.

        Where one is and cannot score, the priors do, and what they score is degraded.
        """
        plan, scorer = self._owner.state.plan, self._scorer()
        wanted = [draft for draft in drafts if draft.to_score]
        if scorer is None or not wanted:
            return [_priors(plan, draft) for draft in drafts]
        rows = np.concatenate([_rows(plan, draft) for draft in wanted])
        try:
            scored = await scorer.score(rows, deadline_s=deadline_s)
        except ModelMissing as missing:
            if self._is_news(missing):
                logger.error("partition %d: the playbook's priors score: %s", self._owner.partition, missing)
            return _worse(plan, drafts)
        except Exception as wrong:  # whatever a model does, a decision is made
            if self._is_news(wrong):
                logger.exception("the scorer failed on %d rows; the playbook's priors score", len(rows))
            return _worse(plan, drafts)
        self._failure_told = ""
        return list(_shared_out(drafts, scored))

    def _is_news(self, wrong: Exception) -> bool:
        """Return whether this has not just been logged: it may happen to every decision."""
        before, self._failure_told = self._failure_told, f"{type(wrong).__name__}: {wrong}"
        return before != self._failure_told

    async def _decide_moments(self) -> None:
        """Decide the moments that no request is deciding, as they arise."""
        owner = self._owner
        while not owner.is_lost:
            await owner.moments.wait()
            while rows := owner.moments.take(MOMENT_BATCH):
                try:
                    await self._decide_each(rows)
                except NotCurrent:
                    # Still pending; the owner looks again with its next tick.
                    owner.moments.put_off(rows)
                    break
                except PartitionLost as lost:
                    logger.debug("its next owner decides on what is pending: %s", lost)
                    return

    async def _decide_each(self, rows: list[int]) -> None:
        """Decide the moments of some households together; where that fails, one by one, so that one harms no other."""
        try:
            await self._decide_households(rows)
        except (PartitionLost, NotCurrent):
            raise
        except Exception:
            logger.exception("partition %d: moments of %d households not decided", self._owner.partition, len(rows))
            if len(rows) > 1:
                for row in rows:
                    await self._decide_each([row])

    async def _decide_households(self, rows: list[int]) -> None:
        prepared = await self._state_thread.run(Urgency.DECISION, self._moment_drafts, rows)
        drafts = []
        for draft in prepared:
            # A household that a request is deciding is left to it: its decision settles the moments. Looked at here, in
            # one turn of the loop with the locks below, or the request could end in between and nobody be left.
            household = draft.ask.household
            if self._locks.is_busy(household):
                self._left_to_requests[household] = draft.household
            else:
                drafts.append(draft)
        if not drafts:
            return
        async with self._locks.hold_all(draft.ask.household for draft in drafts):
            scores = await self._score(drafts, None)

            def decide_all() -> list[Decision]:
                return [self._decide(draft, one) for draft, one in zip(drafts, scores, strict=True)]

            decisions = await self._state_thread.run(Urgency.DECISION, decide_all)
            offsets = await asyncio.gather(*map(self._owner.propose, drafts, decisions))
            for offset, one in zip(offsets, scores, strict=True):
                if offset is not None:
                    self._count(one)
        # Made again where the state had moved on; and where another member has moments of his own.
        again = await self._state_thread.run(Urgency.DECISION, self._still_pending, [one.household for one in drafts])
        assert all(offset is None or draft.moments for draft, offset in zip(drafts, offsets, strict=True))
        self._owner.moments.put_off(again)

    def _still_pending(self, rows: list[int]) -> list[int]:
        pending = self._owner.state.pending
        return [row for row in rows if pending.of(row)]

    def _moment_drafts(self, rows: list[int]) -> list[Draft]:
        state, drafts = self._owner.state_as_of_now(), []
        for row in rows:
            pending = state.pending.of(row)
            if not pending:
                continue
            member = pending[0].member
            ask = Ask(
                household=state.households.key(row),
                member=state.members.key(member) if member >= 0 else b"",
                channel=NONE,
                request_id="",
                is_contact=False,
                contact_types=frozenset(),
            )
            drafts.append(prepare(state, ask))
        return drafts


def _rows(plan: Plan, draft: Draft) -> NDArray[np.float32]:
    offers = draft.to_score
    channels = [max(context_channel(plan, draft, offer), 0) for offer in offers]
    return score_rows(
        plan,
        readings=draft.readings,
        offers=np.array(offers, np.int64),
        prices_minor=np.array([draft.prices_minor[offer] for offer in offers], np.int64),
        has_moment=np.array([bool(draft.journey_by_offer[offer]) for offer in offers]),
        channel=np.array(channels, np.int64),
        local_minute_of_week=draft.local_minute_of_week,
    )


def _priors(plan: Plan, draft: Draft) -> Scores:
    by_offer = {offer: plan.offers[offer].prior_acceptance for offer in draft.to_score}
    return Scores(by_offer=by_offer, model_version="prior", degraded=False, way=Way.PRIOR.value if by_offer else "")


def _worse(plan: Plan, drafts: list[Draft]) -> list[Scores]:
    """Return the priors in place of a model's scores."""
    return [replace(_priors(plan, draft), degraded=bool(draft.to_score)) for draft in drafts]


def _shared_out(drafts: list[Draft], scored: Scored) -> Iterator[Scores]:
    at = 0
    for draft in drafts:
        offers = draft.to_score
        by_offer = {
            offer: float(score) for offer, score in zip(offers, scored.scores[at : at + len(offers)], strict=True)
        }
        at += len(offers)
        is_degraded, way = scored.degraded and bool(offers), scored.way.value if offers else ""
        yield Scores(by_offer=by_offer, model_version=scored.model_version, degraded=is_degraded, way=way)
