"""Questions to a partition that change nothing."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from actors.log.contract import OffsetOutOfRange
from actors.partition import answers, belonging
from actors.partition.owner import PartitionOwner
from actors.partition.unknown_fields import UNKNOWN_FIELD
from actors.records import codec
from actors.rejects.settings import RejectCounters
from actors.snapshots.taking import SnapshotStanding
from actors.state_thread import StateThread, Urgency
from hearth.internal.v1 import shard_pb2
from hearth.v1 import decision_pb2, household_pb2
from household.contacts import is_before_decision
from household.decision import Decision
from household.journeys.versions import instances_by_state
from household.plan import Plan
from household.state import NEVER_US, NO_HOUSEHOLD, PartitionState
from household.tables.decision_text import is_text
from wire.frames import DECISION_COUNT_MAX
from wire.installation import Installation

DECISIONS_DEFAULT = 20

OF_ANOTHER = "ACTION_OF_ANOTHER_HOUSEHOLD"
"""Of such an action nothing is told, not even its status."""


async def get(
    owner: PartitionOwner, state_thread: StateThread, request: household_pb2.GetRequest
) -> household_pb2.GetResponse:
    """Return all that is known of a household."""

    def read() -> household_pb2.GetResponse:
        state = owner.state_as_of_now()
        household = _row_of(state, request.household, request.identifier)
        if household == NO_HOUSEHOLD:
            as_of = answers.timestamp(state.now_us)
            return household_pb2.GetResponse(known=False, partition=owner.partition, as_of=as_of)
        answer = answers.household_message(state, household, owner.partition)
        belonging.tell(answer, state, household, identifier=request.identifier, is_whole=request.whole_identifiers)
        return answer

    return await state_thread.run(Urgency.INGEST, read)


async def living_instances(owners: Iterable[PartitionOwner], state_thread: StateThread) -> dict[tuple[str, str], int]:
    """Return how many instances of journeys live: (journey, state) → count."""
    counted = Counter[tuple[str, str]]()
    for owner in owners:
        counted.update(await state_thread.run(Urgency.INGEST, _living_instances, owner))
    return dict(counted)


def _living_instances(owner: PartitionOwner) -> dict[tuple[str, str], int]:
    return instances_by_state(owner.state)


async def graph(
    owner: PartitionOwner, state_thread: StateThread, question: shard_pb2.GraphQuestion
) -> shard_pb2.GraphAnswer:
    """Return what the graph of a partition says."""

    def read() -> shard_pb2.GraphAnswer:
        return belonging.answer(owner.state_as_of_now(), question, owner.partition)

    return await state_thread.run(Urgency.INGEST, read)


def _row_of(state: PartitionState, household: str, identifier: str) -> int:
    """Return a row of the household that a request names; NO_HOUSEHOLD where nothing is known of it."""
    return state.find(state.graph.whom(household.encode(), b"", identifier, state.now_us)[0])[0]


async def explain(
    owner: PartitionOwner, state_thread: StateThread, request: household_pb2.ExplainRequest
) -> household_pb2.ExplainResponse:
    """Return one decision of a household, as it was recorded; the newest if none is named."""
    found, wanted = await _records(owner, state_thread, request, request.decision_id, 1)
    if not found:
        return household_pb2.ExplainResponse(found=False, dropped=bool(wanted))
    return household_pb2.ExplainResponse(found=True, decision=found[0])


async def decisions(
    owner: PartitionOwner, state_thread: StateThread, request: household_pb2.DecisionsRequest
) -> household_pb2.DecisionsResponse:
    """Return the newest decisions of a household, newest first."""
    limit = min(request.limit or DECISIONS_DEFAULT, DECISION_COUNT_MAX)
    found, _ = await _records(owner, state_thread, request, "", limit)
    return household_pb2.DecisionsResponse(decisions=found)


async def _records(
    owner: PartitionOwner,
    state_thread: StateThread,
    request: household_pb2.ExplainRequest | household_pb2.DecisionsRequest,
    decision_id: str,
    limit: int,
) -> tuple[list[household_pb2.DecisionRecord], int]:
    """Return what the log still has of the decisions that were asked for, newest first, and how many those are."""

    def known() -> tuple[dict[str, int], dict[str, bytes], Plan]:
        state = owner.state
        row = _row_of(owner.state_as_of_now(), request.household, request.identifier)
        # Whose slate stands may be older than all that are kept as the newest.
        standing = state.together(state.slates, row) if row >= 0 else ()
        makers = {one.decision_id: one.payload for one in standing if not is_text(one.payload)}
        return {one.decision_id: one.offset for one in state.newest_decisions(row)}, makers, state.plan

    async def read_of(found_id: str) -> codec.DecisionRecord | None:
        if found_id not in makers:
            return await _read(owner, offsets.get(found_id))
        if found_id not in read_makers:  # once, and not in the event loop: all that are told may be of one slate
            read_makers[found_id] = await asyncio.to_thread(codec.decode_decision, makers[found_id])
        return read_makers[found_id]

    def message(
        read: codec.DecisionRecord, plan: Plan | None, standing: Decision | None
    ) -> household_pb2.DecisionRecord:
        return answers.decision_record(owner.state_as_of_now(), read, plan, standing)

    offsets, makers, in_force = await state_thread.run(Urgency.INGEST, known)
    wanted = [known_id for known_id in offsets if not decision_id or known_id == decision_id][:limit]
    if decision_id in makers:
        wanted = [decision_id]
    loop, read_makers = asyncio.get_running_loop(), dict[str, codec.DecisionRecord]()
    records = []
    for found_id in wanted:
        read = await read_of(found_id)
        if read is None:
            continue
        decision = read.decision
        plan: Plan | None = in_force
        if decision.plan_version != in_force.version:
            plan = await loop.run_in_executor(None, owner.plan_of, decision, offsets.get(found_id))
        standing = await read_of(decision.stands) if decision.answered and decision.stands else None
        arguments = (read, plan, standing.decision if standing is not None else None)
        records.append(await state_thread.run(Urgency.INGEST, message, *arguments))
    return records, len(wanted)


async def _read(owner: PartitionOwner, offset: int | None) -> codec.DecisionRecord | None:
    """Return the decision recorded at an offset; None for none, and where it is older than the log is kept."""
    if offset is None:
        return None
    try:
        return await owner.recorded(offset)
    except OffsetOutOfRange:
        return None


async def status_of(owner: PartitionOwner, state_thread: StateThread, action_id: str) -> decision_pb2.ActionStatus:
    """Return what has become of an action."""
    return await state_thread.run(Urgency.DECISION, lambda: answers.action_status(owner.state_as_of_now(), action_id))


async def why_not_effective(
    owner: PartitionOwner, state_thread: StateThread, call: shard_pb2.ReportCall, time_us: int
) -> str:
    """Return why a report that was folded changed nothing."""

    def why() -> str:
        state = owner.state
        action = state.actions.get(call.action_id)
        if action is None:
            return "ACTION_UNKNOWN"
        key, _ = state.graph.whom(call.household.encode(), b"", call.identifier, time_us)
        if state.households.find(key) not in state.rows_together(action.household):
            return OF_ANOTHER
        return "ACTION_NOT_YET_DECIDED" if is_before_decision(state, action, time_us) else "ACTION_NOT_LIVE"

    return await state_thread.run(Urgency.DECISION, why)


def partition_report(
    owner: PartitionOwner, standing: SnapshotStanding, installation: Installation | None
) -> dict[str, int | str | bool]:
    """Return what a status page shows. Reads plain counters beside the state thread: at most a moment old."""
    state = owner.state
    counters = state.counters
    now_us = state.now_us
    unknown = owner.unknown_fields.counts()
    rejects = owner.rejects.counters if owner.rejects is not None else RejectCounters()
    return {
        "epoch": owner.epoch,
        "is_lost": owner.is_lost,
        "lost_because": owner.lost_because,
        "bad_snapshots": len(owner.faults),
        "bad_snapshots_because": "; ".join(owner.faults),
        "snapshot_position": standing.position,
        "snapshot_age_s": int(standing.age_s),
        "log_tail": standing.tail_events,
        "records": owner.fold_count,
        "waiting_bytes": owner.lag_bytes,
        "plan_version": state.plan.version,
        "now": "" if now_us == NEVER_US else datetime.fromtimestamp(now_us / 1e6, tz=UTC).isoformat(),
        "households": state.households.count,
        "members": state.members.count,
        "received": counters.received,
        "applied": counters.by_status["APPLIED"],
        "duplicate": counters.by_status["DUPLICATE"],
        "late": counters.by_status["LATE"],
        "rejected": counters.rejected,
        "moved": counters.by_status["MOVED"] + counters.by_status["WAITING"],
        "waiting_events": len(state.waiting),
        "departures": len(state.departures),
        "moments": counters.moments,
        "pending": len(state.pending),
        "decisions": counters.decisions,
        "served": counters.served,
        "nothing": counters.nothing,
        "withheld": counters.withheld,
        "voided": counters.voided,
        "outbox": len(state.outbox),
        "delivered": counters.delivered,
        "expired": counters.expired,
        "withdrawn": counters.withdrawn,
        "unknown_field_values": owner.unknown_fields.others + sum(unknown.values()),
        **{UNKNOWN_FIELD + name: count for name, count in unknown.items()},
        **owner.heat.told(installation),
        "rejects_kept": rejects.kept,
        "rejects_waiting": rejects.waiting,
        "rejects_missed": rejects.missed,
        "rejects_dropped": rejects.dropped,
        "reject_failures": rejects.failures,
    }
