"""Calls as the edge makes them, each noted in a history: what was sent before it is sent, what came after it came."""

from collections.abc import Awaitable, Callable, Sequence

from hearth.internal.v1 import shard_pb2
from hearth.v1 import decision_pb2, delivery_pb2, signal_pb2
from household.events import NO_TIME_US
from serving.signal_batches import DELIVERED, TYPE_BY_OUTCOME, UNDELIVERED, batch_from_signals, report_batch
from tests.chaos.history import Call, Counts, History, Kind, Result, Sent
from wire.batches import ipc_bytes
from wire.failures import CallFailed
from wire.partitions import partition_of

CallShard = Callable[[int, int, bytes], Awaitable[bytes]]
"""(method, partition, payload) → reply; raises CallFailed."""

NOT_CARRIED_OUT = frozenset(
    {"SHARD_UNREACHABLE", "WRONG_OWNER", "NO_OWNER", "OVERLOADED", "BAD_BATCH", "UNKNOWN_CHANNEL", "INVALID_REQUEST"}
)
"""Reasons with which a call was refused before anything was done."""

STATUS_NAMES = {
    decision_pb2.ACTION_STATUS_LIVE: "live",
    decision_pb2.ACTION_STATUS_ACCEPTED: "accepted",
    decision_pb2.ACTION_STATUS_DECLINED: "declined",
    decision_pb2.ACTION_STATUS_EXPIRED: "expired",
    decision_pb2.ACTION_STATUS_WITHDRAWN: "withdrawn",
}

OUTCOMES = {
    "impression": decision_pb2.OUTCOME_IMPRESSION,
    "click": decision_pb2.OUTCOME_CLICK,
    "accept": decision_pb2.OUTCOME_ACCEPT,
    "decline": decision_pb2.OUTCOME_DECLINE,
    "convert": decision_pb2.OUTCOME_CONVERT,
}


class Client:
    """One source, gateway or member, as seen from its own side. Nothing here tries again: the caller does."""

    def __init__(self, call: CallShard, partition_count: int, history: History) -> None:
        self._call = call
        self._partition_count = partition_count
        self.history = history

    def pieces(self, signals: Sequence[signal_pb2.Signal]) -> dict[int, list[signal_pb2.Signal]]:
        """Divide signals by partition."""
        found: dict[int, list[signal_pb2.Signal]] = {}
        for signal in signals:
            found.setdefault(partition_of(signal.household.encode(), self._partition_count), []).append(signal)
        return found

    async def ingest(self, signals: Sequence[signal_pb2.Signal]) -> Call:
        """Send signals of one partition."""
        (partition,) = self.pieces(signals)
        call = self.history.begin(Kind.INGEST, sent=_sent(signals))
        answer = await self._answer(call, shard_pb2.METHOD_INGEST, partition, ipc_bytes(batch_from_signals(signals)))
        if answer is None:
            return call
        counts = signal_pb2.IngestResponse.FromString(answer).counts
        return self.history.end(call, Result.OK, counts=_counts(counts))

    async def decide(
        self, household: str, signals: Sequence[signal_pb2.Signal] = (), *, member: str, channel: str, request_id: str
    ) -> Call:
        """Ask for a decision, with signals or without."""
        call = self.history.begin(
            Kind.DECIDE,
            sent=_sent(signals),
            household=household,
            member=member,
            channel=channel,
            request_id=request_id,
        )
        request = decision_pb2.DecideRequest(request_id=request_id, household=household, member=member, channel=channel)
        message = shard_pb2.DecideCall(request=request)
        if signals:
            message.signal_batch = ipc_bytes(batch_from_signals(signals))
        answer = await self._answer(
            call, shard_pb2.METHOD_DECIDE, self._partition(household), message.SerializeToString()
        )
        if answer is None:
            return call
        told = decision_pb2.DecideResponse.FromString(answer)
        return self.history.end(
            call,
            Result.OK,
            decision_id=told.decision_id,
            repeated=told.repeated_request,
            counts=_counts(told.signal_counts) if told.HasField("signal_counts") else None,
            offered_action=told.action.action_id,
            offered_offer=told.action.offer,
            offered_family=told.action.family,
            offered_status=STATUS_NAMES.get(told.action.status, ""),
        )

    async def report(
        self, household: str, action_id: str, outcome: str, *, member: str, channel: str, request_id: str
    ) -> Call:
        """Report an outcome."""
        kind = TYPE_BY_OUTCOME[OUTCOMES[outcome]]
        call, answer = await self._outcome(
            Kind.REPORT, household, action_id, outcome, kind, member=member, channel=channel, request_id=request_id
        )
        if answer is None:
            return call
        told = decision_pb2.ReportResponse.FromString(answer)
        return self.history.end(call, Result.OK, effective=told.effective)

    async def ack(self, household: str, action_id: str, *, delivered: bool, request_id: str, channel: str = "") -> Call:
        """Acknowledge a delivery, or refuse it."""
        outcome, kind = ("delivered", DELIVERED) if delivered else ("undelivered", UNDELIVERED)
        call, answer = await self._outcome(
            Kind.ACK, household, action_id, outcome, kind, member="", channel=channel, request_id=request_id
        )
        if answer is None:
            return call
        told = delivery_pb2.AckResponse.FromString(answer)
        return self.history.end(call, Result.OK, effective=told.effective)

    async def _outcome(
        self,
        kind: Kind,
        household: str,
        action_id: str,
        outcome: str,
        event_type: str,
        *,
        member: str,
        channel: str,
        request_id: str,
    ) -> tuple[Call, bytes | None]:
        call = self.history.begin(
            kind,
            sent=(Sent(event_id=request_id, household=household, kind=event_type, member=member),),
            household=household,
            member=member,
            channel=channel,
            request_id=request_id,
            action_id=action_id,
            outcome=outcome,
        )
        batch = report_batch(
            request_id=request_id,
            household=household,
            member=member,
            event_type=event_type,
            action_id=action_id,
            channel=channel,
            time_us=NO_TIME_US,
        )
        message = shard_pb2.ReportCall(signal_batch=batch, household=household, action_id=action_id)
        method = shard_pb2.METHOD_REPORT if kind is Kind.REPORT else shard_pb2.METHOD_ACK
        return call, await self._answer(call, method, self._partition(household), message.SerializeToString())

    def _partition(self, household: str) -> int:
        return partition_of(household.encode(), self._partition_count)

    async def _answer(self, call: Call, method: int, partition: int, payload: bytes) -> bytes | None:
        """Return the reply; None if the call ended without, which is noted."""
        try:
            return await self._call(method, partition, payload)
        except CallFailed as failure:
            self.history.end(call, Result.FAILED if failure.reason in NOT_CARRIED_OUT else Result.UNKNOWN)
            return None


def _sent(signals: Sequence[signal_pb2.Signal]) -> tuple[Sent, ...]:
    return tuple(
        Sent(event_id=one.event_id, household=one.household, kind=one.type, member=one.member) for one in signals
    )


def _counts(counts: signal_pb2.SignalCounts) -> Counts:
    return Counts(applied=counts.applied, duplicate=counts.duplicate, late=counts.late, rejected=counts.rejected)
