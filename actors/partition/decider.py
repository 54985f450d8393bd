"""How one partition decides: on request, and for moments that no request asked about.

A household has one decision under way at a time; the next waits for it and then sees its slate.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from actors.conditions import NotCurrent, PartitionLost
from actors.log.contract import OffsetOutOfRange
from actors.partition import answers
from actors.partition.attempts import (
    AnsweredBefore,
    DecideCall,
    MomentAttempt,
    RequestAttempt,
    response_from_state,
    response_to,
)
from actors.partition.caller import Caller
from actors.partition.draft_scoring import DraftScoring
from actors.partition.lineup import Lineup
from actors.partition.locks import HouseholdLocks
from actors.partition.owner import PartitionOwner
from actors.partition.requests import Requests
from actors.state_thread import StateThread, Urgency
from hearth.v1 import decision_pb2
from household.decide import prepare
from household.deciding.candidates import is_paused
from household.deciding.draft import Ask, Draft, Scores
from household.decision import Decision
from household.plan import NONE, Plan
from household.scoring import Way

logger = logging.getLogger(__name__)

PROPOSALS_MAX = 8
"""Times a decision is made again because the state moved on while it was scored."""

DEGRADED = "degraded"
"""Beside the ways of scoring in a shard's report."""

MOMENT_BATCH = 64
"""Households whose moments are decided together."""


class NotSettled(Exception):
    """The household's state moved on again and again while it was being decided."""


class PartitionDecider:
    """Decides for the households of one partition."""

    def __init__(
        self,
        owner: PartitionOwner,
        state_thread: StateThread,
        lineup: Callable[[], Lineup],
        requests: Requests,
    ) -> None:
        self._owner = owner
        self._requests = requests
        self._state_thread = state_thread
        self._scoring = DraftScoring(owner.partition, lineup)
        self._locks = HouseholdLocks()
        self._scored = Counter[str]()
        """Decisions by the way of their scores since this owner's term began, and those that were degraded."""
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

    def _count(self, scores: Scores | None) -> None:
        if scores is not None and scores.way:
            self._scored[scores.way] += 1
            self._scored[DEGRADED] += scores.is_degraded

    async def decide(self, call: DecideCall) -> decision_pb2.DecideResponse:
        """Answer a Decide.

        Raises:
            PartitionLost, Overloaded, PayloadUnreadable, NotSettled, RequestIdReused, LogError.
            CallerGone: nothing was decided; the signals that came with it may have been folded.
        """
        self._owner.heat.note(call.name)
        try:
            return await self._decide_once(call)
        finally:
            # The request may have decided nothing (it failed, or had been answered before): look at the moments again.
            row = self._left_to_requests.pop(call.name, None)
            if row is not None:
                self._owner.moments.arose([row])

    async def _decide_once(self, call: DecideCall) -> decision_pb2.DecideResponse:
        """Decide, or answer as before where this request was answered before."""
        held = self._requests.hold(
            call.household, call.request_id, call.request_hash, is_decide=True, identifier=call.identifier
        )
        async with held as request:
            attempt = RequestAttempt(self._owner, self._scoring, call, request)
            try:
                return await self._decide_new(call, attempt)
            except AnsweredBefore as before:
                answer = await self._answer_again(before.known.offset, before.known.household or call.household)
            if answer is not None:
                return answer
            attempt.is_surely_new = True
            return await self._decide_new(call, attempt)

    async def _decide_new(self, call: DecideCall, attempt: RequestAttempt) -> decision_pb2.DecideResponse:
        """Decide.

        Raises:
            AnsweredBefore: nothing was written.
        """
        if self._locks.is_busy(call.name):
            # What was answered before need not wait for the household's other decision.
            await self._state_thread.run(Urgency.DECISION, attempt.look)
        async with self._locks.hold(call.name):
            call.caller.check()
            folded = None
            if call.signal_batch:
                folded = await self._owner.signals(
                    call.signal_batch,
                    caller=call.caller,
                    is_urgent=True,
                    before=attempt.begin,
                    after=attempt.signals_folded,
                )
            response = await self._settle(attempt, call.caller)
        if folded is not None:
            response.signal_counts.CopyFrom(answers.signal_counts(folded.applied.statuses))
            response.rejections.extend(await answers.rejections(folded, call.signal_batch))
        return response

    async def _settle(self, attempt: RequestAttempt, caller: Caller) -> decision_pb2.DecideResponse:
        """Decide until a decision folds that was right when it was written."""
        if attempt.draft is None and self._scoring.may_take_time and not self._owner.is_idle:
            # A group is being written: meanwhile it can be scored.
            await self._state_thread.run(Urgency.DECISION, attempt.look_ahead)
        for tried in range(PROPOSALS_MAX + 1):
            attempt.may_miss_moments = tried > PROPOSALS_MAX // 2
            if attempt.draft is not None and attempt.scores is None:
                caller.check()
                scores = await self._scoring.score(attempt.plan, [attempt.draft], caller.deadline_s)
                attempt.scored(scores[0])
            if await self._owner.propose(attempt, caller=caller):
                self._count(attempt.scores)
                if attempt.response is not None:
                    return attempt.response
                return await self._respond(attempt.made, repeated=False)
        raise NotSettled

    async def _answer_again(self, offset: int, household: bytes) -> decision_pb2.DecideResponse | None:
        """Return the answer of a recorded decision; None if it is another household's, so another request's."""
        recorded = await self._owner.recorded(offset)
        if recorded.decision.household != household:
            return None
        return await self._respond(recorded.decision, repeated=True)

    async def _respond(self, decision: Decision, *, repeated: bool) -> decision_pb2.DecideResponse:
        def from_state() -> decision_pb2.DecideResponse | None:
            return response_from_state(self._owner, decision, repeated=repeated)

        response = await self._state_thread.run(Urgency.DECISION, from_state)
        if response is not None:
            return response
        standing = await self._recorded(decision.household, decision.stands)

        def from_record() -> decision_pb2.DecideResponse:
            return response_to(self._owner, decision, standing, repeated=repeated)

        return await self._state_thread.run(Urgency.DECISION, from_record)

    async def _recorded(self, household: bytes, decision_id: str) -> Decision | None:
        offset = await self._state_thread.run(Urgency.DECISION, self.offset_of, household, decision_id)
        if offset is None:
            return None
        try:
            recorded = await self._owner.recorded(offset)
        except OffsetOutOfRange:
            return None  # older than the log is kept
        return recorded.decision

    def offset_of(self, household: bytes, decision_id: str) -> int | None:
        """Return where a decision of a household stands in the log; the newest for no id. In the state thread."""
        row, _ = self._owner.state.find(household)
        for known in self._owner.state.newest_decisions(row):
            if not decision_id or known.decision_id == decision_id:
                return known.offset
        return None

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
        plan, prepared = await self._state_thread.run(Urgency.DECISION, self._moment_drafts, rows)
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
            scores = await self._scoring.score(plan, drafts, None)
            attempts = [MomentAttempt(self._owner, plan, draft, one) for draft, one in zip(drafts, scores, strict=True)]
            results = await asyncio.gather(*map(self._owner.propose, attempts), return_exceptions=True)
        for attempt, result in zip(attempts, results, strict=True):
            match result:
                case PartitionLost() | NotCurrent():
                    raise result
                case BaseException():
                    logger.error("partition %d: moments not decided", self._owner.partition, exc_info=result)
                case _:
                    if result:
                        self._count(attempt.scores)
                    # Made again where the state had moved on; and where another member has moments of his own.
                    if attempt.is_pending:
                        self._owner.moments.put_off([attempt.draft.household])

    def _moment_drafts(self, rows: list[int]) -> tuple[Plan, list[Draft]]:
        state, drafts = self._owner.state_as_of_now(), []
        for row in rows:
            pending = [one for one in state.pending.of(row) if not is_paused(state.plan, one)]
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
        return state.plan, drafts
