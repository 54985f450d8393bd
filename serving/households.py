"""HouseholdService: what is known of households, and what a person changes of who belongs together.

A person's change is a graph event like any other, under the id of the request and Hearth's own source, with the name of
whoever asked for it in its evidence. What it names is looked at first: a household that nobody knows is a typing error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from hearth.internal.v1 import shard_pb2
from hearth.v1 import household_pb2, signal_pb2
from household.events import LONGEST_KEY, REPORT_SOURCE
from household.graph.events import GRAPH_PREFIX, LONGEST_WORD, GraphKind
from household.graph.identifiers import normalised
from serving.access.principal import Principal
from serving.access.rights import Role
from serving.boundary import Limits
from serving.checks import check, key_violations, text_violations, whose_violations, write_out
from serving.owners import Owners
from serving.signal_batches import batch_from_signals
from wire.failures import CallFailed, Failure, FieldViolation, failed, invalid
from wire.frames import DECISION_COUNT_MAX
from wire.partitions import split_by_partition

QUARANTINED_MAX: Final = 1_000
QUARANTINED_DEFAULT: Final = 100

UNKNOWN_HOUSEHOLD: Final = "UNKNOWN_HOUSEHOLD"
UNKNOWN_CAUSE: Final = "UNKNOWN_CAUSE"
ONE_HOUSEHOLD: Final = "ONE_HOUSEHOLD"
QUARANTINED: Final = "QUARANTINED"
DUPLICATE: Final = "DUPLICATE"

TOGETHER_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""After each of which it is asked again whether two households that lay in different partitions lie together."""


class Households:
    """What may be asked of households, and changed."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners

    async def get(self, request: household_pb2.GetRequest, limits: Limits) -> bytes:
        """What is known of a household."""
        check(whose_violations(request))
        if request.whole_identifiers and Role.AUDITOR not in limits.principal.roles:
            text = "identifiers are shown whole to an auditor only; ask without whole_identifiers"
            raise failed(Failure.ROLE_NOT_PERMITTED, text)
        write_out(request)
        return await self._owners.of_named(shard_pb2.METHOD_GET, request, request, limits)

    async def explain(self, request: household_pb2.ExplainRequest, limits: Limits) -> bytes:
        """Why it was decided so."""
        check((*whose_violations(request), *text_violations(decision_id=request.decision_id)))
        write_out(request)
        return await self._owners.of_named(shard_pb2.METHOD_EXPLAIN, request, request, limits)

    async def decisions(self, request: household_pb2.DecisionsRequest, limits: Limits) -> bytes:
        """A household's newest decisions."""
        violations = list(whose_violations(request))
        if not 0 <= request.limit <= DECISION_COUNT_MAX:
            text = f"is {request.limit}; wanted 0..{DECISION_COUNT_MAX}, 0 meaning 20"
            violations.append(FieldViolation(field="limit", description=text))
        check(violations)
        write_out(request)
        return await self._owners.of_named(shard_pb2.METHOD_DECISIONS, request, request, limits)

    # --- quarantine ---------------------------------------------------------------------------------------------------

    async def quarantine(
        self, request: household_pb2.QuarantineRequest, limits: Limits
    ) -> household_pb2.QuarantineResponse:
        """What waits for a person, of all partitions."""
        if not 0 <= request.limit <= QUARANTINED_MAX:
            raise invalid("limit", f"is {request.limit}; wanted 0..{QUARANTINED_MAX}, 0 meaning {QUARANTINED_DEFAULT}")
        limit = request.limit or QUARANTINED_DEFAULT
        told = await self._ask_all(shard_pb2.GraphQuestion(limit=limit), limits)
        found = [one for answer in told.values() for one in answer.quarantine]
        found.sort(key=lambda one: (-one.time.ToMicroseconds(), one.cause))
        return household_pb2.QuarantineResponse(
            quarantine=found[:limit], total=sum(answer.quarantined_total for answer in told.values())
        )

    # --- changes ------------------------------------------------------------------------------------------------------

    async def change(self, request: household_pb2.ChangeRequest, limits: Limits) -> household_pb2.ChangeResponse:
        """Tell a graph event in the name of whoever calls."""
        check((*key_violations(request_id=request.request_id), *text_violations(note=request.note)))
        match request.WhichOneof("change"):
            case "merge":
                merge = request.merge
                check((*key_violations(household=merge.household, other=merge.other), *_cause_violations(merge.cause)))
                return await self._merge(request, limits)
            case "unmerge":
                check(_cause_violations(request.unmerge, is_needed=True))
                return await self._by_cause(request, GraphKind.UNMERGE, request.unmerge, limits)
            case "confirm":
                check(_cause_violations(request.confirm, is_needed=True))
                return await self._by_cause(request, GraphKind.CONFIRM, request.confirm, limits)
            case _:
                raise invalid("change", "nothing is to be changed; give one of merge, unmerge and confirm")

    async def _merge(self, request: household_pb2.ChangeRequest, limits: Limits) -> household_pb2.ChangeResponse:
        merge = request.merge
        cause = merge.cause or request.request_id
        ids = []
        for name in (merge.household, merge.other):
            told = await self._ask_of([name], shard_pb2.GraphQuestion(limit=1), limits)
            if name not in told.standing:
                text = f"nothing is known of household {name}: no signal and no graph event has named it"
                return household_pb2.ChangeResponse(reason=UNKNOWN_HOUSEHOLD, detail=text, cause=cause)
            # By a subject's or an identifier's name the household is meant in which it is now.
            ids.append(name if normalised(name) is None else told.standing[name])
        question = shard_pb2.GraphQuestion(cause=cause, limit=1)
        before = await self._ask_of([merge.household], question, limits)
        before.standing.update((await self._ask_of([merge.other], question, limits)).standing)
        signal = _graph_event(request, GraphKind.MERGE, before, limits.principal, household=ids[0])
        signal.fields["other"].text, signal.fields["cause"].text = ids[1], cause
        answer = await self._tell(signal, limits)
        answer.cause = cause
        if answer.reason and answer.reason != DUPLICATE:
            return answer
        after = await self._once_told(merge, question, before, limits)
        if after is None:
            answer.household, answer.detail = before.standing[merge.household], "it holds as soon as both lie together"
            return answer
        answer.household = after.standing[merge.household]
        if answer.effective and after.quarantined_total > before.quarantined_total:
            answer.effective, answer.reason = False, QUARANTINED
            answer.detail = after.quarantine[0].why
        elif answer.effective and before.standing[merge.household] == before.standing.get(merge.other):
            answer.reason, answer.detail = ONE_HOUSEHOLD, "they were one household already"
            answer.effective = False
        return answer

    async def _by_cause(
        self, request: household_pb2.ChangeRequest, kind: GraphKind, cause: str, limits: Limits
    ) -> household_pb2.ChangeResponse:
        """Take back, or confirm, what was told for a cause, wherever it lies."""
        told = await self._ask_all(shard_pb2.GraphQuestion(cause=cause, limit=1), limits)
        answer = household_pb2.ChangeResponse(reason=UNKNOWN_CAUSE, cause=cause)
        answer.detail = (
            f"no merge has the cause {cause}" if kind is GraphKind.UNMERGE else f"nothing in quarantine has it: {cause}"
        )
        for partition, known in told.items():
            about = known.merge_about if kind is GraphKind.UNMERGE else known.quarantined_about
            if about:
                self._owners.places.learn(about.encode(), partition)
                signal = _graph_event(request, kind, known, limits.principal, household=about)
                signal.fields["cause"].text = cause
                done = await self._tell(signal, limits)
                if done.effective or answer.reason == UNKNOWN_CAUSE:
                    answer = done
                answer.cause = cause
        return answer

    async def _tell(self, signal: signal_pb2.Signal, limits: Limits) -> household_pb2.ChangeResponse:
        """Have a graph event folded; say what became of it."""
        batch = batch_from_signals([signal])
        ((partition, (_, payload)),) = split_by_partition(
            batch, self._owners.partition_count, self._owners.places.of
        ).items()
        folded = signal_pb2.IngestResponse.FromString(
            await self._owners.of_partition(shard_pb2.METHOD_INGEST, partition, payload, limits)
        )
        if folded.counts.applied:
            return household_pb2.ChangeResponse(effective=True)
        if folded.rejections:
            rejection = folded.rejections[0]
            return household_pb2.ChangeResponse(reason=rejection.reason, detail=rejection.detail)
        return household_pb2.ChangeResponse(reason=DUPLICATE, detail="this request was told before")

    # --- asking partitions --------------------------------------------------------------------------------------------

    async def _ask_of(
        self, names: Sequence[str], question: shard_pb2.GraphQuestion, limits: Limits
    ) -> shard_pb2.GraphAnswer:
        """Ask where these names lie, all of them, for what they mean there besides."""
        asked = shard_pb2.GraphQuestion(households=names, cause=question.cause, limit=question.limit)
        answer = await self._owners.of_household(shard_pb2.METHOD_GRAPH, names[0], asked, limits)
        return shard_pb2.GraphAnswer.FromString(answer)

    async def _once_told(
        self,
        merge: household_pb2.MergeChange,
        question: shard_pb2.GraphQuestion,
        before: shard_pb2.GraphAnswer,
        limits: Limits,
    ) -> shard_pb2.GraphAnswer | None:
        """Return what a merge that was told has made of its households; None if they are long in coming together."""
        places = self._owners.places
        were_together = places.of(merge.household.encode()) == places.of(merge.other.encode())
        for pause_s in TOGETHER_PAUSES_S:
            try:
                after = await self._ask_of([merge.household, merge.other], question, limits)
            except CallFailed as apart:
                if apart.reason != Failure.ON_ITS_WAY.reason:
                    raise
            else:
                is_one = after.standing[merge.household] == after.standing[merge.other]
                if were_together or is_one or after.quarantined_total > before.quarantined_total:
                    return after
            await asyncio.sleep(pause_s)
        return None

    async def _ask(self, partition: int, question: shard_pb2.GraphQuestion, limits: Limits) -> shard_pb2.GraphAnswer:
        payload = question.SerializeToString()
        answer = await self._owners.of_partition(shard_pb2.METHOD_GRAPH, partition, payload, limits)
        return shard_pb2.GraphAnswer.FromString(answer)

    async def _ask_all(self, question: shard_pb2.GraphQuestion, limits: Limits) -> Mapping[int, shard_pb2.GraphAnswer]:
        partitions = range(self._owners.partition_count)
        answers = await asyncio.gather(*(self._ask(partition, question, limits) for partition in partitions))
        return dict(zip(partitions, answers, strict=True))


def _graph_event(
    request: household_pb2.ChangeRequest,
    kind: GraphKind,
    now: shard_pb2.GraphAnswer,
    principal: Principal,
    *,
    household: str,
) -> signal_pb2.Signal:
    """Return a graph event as of the partition's own time, which need not be that of this machine."""
    signal = signal_pb2.Signal(
        event_id=request.request_id, type=f"{GRAPH_PREFIX}{kind.value}", household=household, source=REPORT_SOURCE
    )
    signal.time.FromMicroseconds(now.as_of.ToMicroseconds() + 1)  # after all that is known
    said = f"by {principal.name}: {request.note}" if request.note else f"by {principal.name}"
    signal.fields["evidence"].text = said[:LONGEST_WORD]
    return signal


def _cause_violations(cause: str, *, is_needed: bool = False) -> list[FieldViolation]:
    if is_needed and not cause:
        return [FieldViolation(field="cause", description="is missing; `hearth household quarantine` lists causes")]
    if len(cause) > LONGEST_WORD or len(cause.encode()) > LONGEST_KEY * 4:
        return [FieldViolation(field="cause", description=f"has {len(cause)} characters; at most {LONGEST_WORD}")]
    return []
