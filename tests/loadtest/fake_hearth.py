"""A small stand-in for Hearth: counts signals, offers one thing per household, and misbehaves on demand.

It has no log, no features and no rules. It is here so that what speaks to Hearth can be tested without it.
"""

import asyncio
import threading
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pyarrow as pa

from hearth.v1 import (
    decision_pb2,
    decision_pb2_grpc,
    delivery_pb2,
    delivery_pb2_grpc,
    household_pb2,
    household_pb2_grpc,
    signal_pb2,
    signal_pb2_grpc,
)

OPTIONS = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]

STATUS_AFTER = {
    decision_pb2.OUTCOME_ACCEPT: decision_pb2.ACTION_STATUS_ACCEPTED,
    decision_pb2.OUTCOME_DECLINE: decision_pb2.ACTION_STATUS_DECLINED,
}


@dataclass(kw_only=True)
class Faults:
    """What the stand-in does wrong."""

    unavailable_first: int = 0
    """So many calls fail with UNAVAILABLE before one is answered, after they were carried out."""
    fails_every: int = 0
    """One in n Decides fails with INTERNAL, however often it is tried."""
    forgets_declines: bool = False
    forgets_accepts: bool = False
    forgets_signals: bool = False
    """Folds nothing before it answers."""
    id_per_channel: bool = False
    loses_rows: bool = False
    no_reasons: bool = False
    stale_features: bool = False
    """Features are read as they were before the newest signal."""


@dataclass(kw_only=True)
class FakeHearth:
    """The state of the stand-in; its services share it."""

    channels: tuple[str, ...] = ("app", "ussd", "ivr", "web", "agent", "store", "push", "sms")
    offers: tuple[str, ...] = ("anything",)
    families: dict[str, str] = field(default_factory=dict)
    counting: dict[str, str] = field(default_factory=dict)
    """Feature → the event type it counts."""
    speaks_after: dict[str, int] = field(default_factory=dict)
    """Event type → how many of it a household needs before anything is offered."""
    faults: Faults = field(default_factory=Faults)
    seen: set[str] = field(default_factory=set)
    per_household: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Signals by household and type."""
    rows: list[tuple[str, str, str, int]] = field(default_factory=list)
    """(household, member, type, time in µs) in order of arrival."""
    now_us: int = 0
    decided: dict[str, decision_pb2.DecideResponse] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    declined: set[tuple[str, str]] = field(default_factory=set)
    accepted: set[tuple[str, str]] = field(default_factory=set)
    offer_by_action: dict[str, str] = field(default_factory=dict)
    offered: list[tuple[str, str, str]] = field(default_factory=list)
    reports: Counter[str] = field(default_factory=Counter)
    outbox: dict[str, delivery_pb2.SubscribeResponse] = field(default_factory=dict)
    acked: list[str] = field(default_factory=list)
    calls: int = 0

    def fold(self, event_id: str, household: str, member: str, kind: str, time_us: int) -> bool:
        """Count one signal; False if it is known."""
        if event_id in self.seen:
            return False
        self.seen.add(event_id)
        self.per_household[household, kind] += 1
        self.rows.append((household, member, kind, time_us))
        self.now_us = max(self.now_us, time_us)
        return True

    async def perhaps_fail(self, context: Any) -> None:
        """Fail as told to, after the work was done: the outcome is then unknown to the caller."""
        self.calls += 1
        if self.calls <= self.faults.unavailable_first:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the partition is moving")

    def choice(self, household: str, channel: str) -> tuple[str, str] | None:
        """Return (action id, offer) for a household: the first offer that it has not settled."""
        if any(self.per_household[household, kind] < least for kind, least in self.speaks_after.items()):
            return None
        for offer in self.offers:
            declined = (household, offer) in self.declined and not self.faults.forgets_declines
            accepted = (household, offer) in self.accepted and not self.faults.forgets_accepts
            if not declined and not accepted:
                suffix = f"-{channel}" if self.faults.id_per_channel else ""
                return f"{household}-{offer}{suffix}", offer
        return None


def microseconds(timestamp: Any) -> int:
    return int(timestamp.seconds) * 1_000_000 + int(timestamp.nanos) // 1_000


class Signals(signal_pb2_grpc.SignalServiceServicer):
    def __init__(self, hearth: FakeHearth) -> None:
        self.hearth = hearth

    async def Ingest(self, request, context):
        counts = self.counts(request)
        await self.hearth.perhaps_fail(context)
        return signal_pb2.IngestResponse(counts=counts)

    async def IngestStream(self, request_iterator, context):
        total = signal_pb2.SignalCounts()
        async for request in request_iterator:
            counts = self.counts(request.batch)
            for name in ("received", "applied", "duplicate", "late", "rejected"):
                setattr(total, name, getattr(total, name) + getattr(counts, name))
        return signal_pb2.IngestStreamResponse(counts=total)

    def counts(self, request):
        rows = [(s.event_id, s.household, s.member, s.type, microseconds(s.time)) for s in request.signals]
        if request.arrow_stream:
            table = pa.ipc.open_stream(request.arrow_stream).read_all()
            columns = [table[name].to_pylist() for name in ("event_id", "household", "member", "type", "time")]
            rows += list(zip(*columns, strict=True))
        fresh = sum(self.hearth.fold(str(row[0]), row[1], row[2] or "", row[3], int(row[4])) for row in rows)
        lost = 1 if self.hearth.faults.loses_rows else 0
        return signal_pb2.SignalCounts(received=len(rows), applied=fresh - lost, duplicate=len(rows) - fresh)


class Decisions(decision_pb2_grpc.DecisionServiceServicer):
    def __init__(self, hearth: FakeHearth) -> None:
        self.hearth = hearth

    async def Decide(self, request, context):
        hearth = self.hearth
        if hearth.faults.fails_every and zlib.crc32(request.request_id.encode()) % hearth.faults.fails_every == 0:
            await context.abort(grpc.StatusCode.INTERNAL, "a defect")
        repeated = request.request_id in hearth.decided
        if not repeated:
            hearth.decided[request.request_id] = self.fresh(request)
        await hearth.perhaps_fail(context)
        answer = decision_pb2.DecideResponse()
        answer.CopyFrom(hearth.decided[request.request_id])
        answer.repeated_request = repeated
        return answer

    def fresh(self, request):
        hearth = self.hearth
        folded = [(s.event_id, s.household, s.member, s.type, microseconds(s.time)) for s in request.signals]
        fresh = 0 if hearth.faults.forgets_signals else sum(hearth.fold(*row) for row in folded)
        answer = decision_pb2.DecideResponse(decision_id=f"D-{request.request_id}", model_version="prior")
        answer.decided_at.FromMicroseconds(hearth.now_us)
        answer.signal_counts.received = answer.signal_counts.applied = len(folded)
        answer.signal_counts.applied, answer.signal_counts.duplicate = fresh, len(folded) - fresh
        chosen = hearth.choice(request.household, request.channel)
        if not hearth.faults.no_reasons:
            answer.reasons.append("SLATE_STANDS" if chosen else "NOTHING_BETTER")
        if chosen:
            action_id, offer = chosen
            self.hearth.offered.append((request.request_id, request.household, offer))
            hearth.offer_by_action[action_id] = offer
            answer.action.action_id, answer.action.offer, answer.action.kind = action_id, offer, "offer"
            answer.action.family = hearth.families.get(offer, "content")
            answer.action.status = decision_pb2.ACTION_STATUS_LIVE
            answer.action.treatment.channel, answer.action.treatment.name = request.channel, "plain"
            answer.action.treatment.text = "Take it."
            answer.action.valid_until.FromMicroseconds(hearth.now_us + 86_400_000_000)
        hearth.last[request.household] = answer.decision_id
        return answer

    async def Report(self, request, context):
        hearth = self.hearth
        offer = hearth.offer_by_action.get(request.action_id, "")
        repeated = request.request_id in hearth.seen
        hearth.seen.add(request.request_id)
        if not repeated:
            hearth.reports[decision_pb2.Outcome.Name(request.outcome)] += 1
        if request.outcome == decision_pb2.OUTCOME_DECLINE:
            hearth.declined.add((request.household, offer))
        if request.outcome == decision_pb2.OUTCOME_ACCEPT:
            hearth.accepted.add((request.household, offer))
        await hearth.perhaps_fail(context)
        status = STATUS_AFTER.get(request.outcome, decision_pb2.ACTION_STATUS_LIVE)
        return decision_pb2.ReportResponse(status=status, effective=bool(offer), repeated_request=repeated)


class Deliveries(delivery_pb2_grpc.DeliveryServiceServicer):
    def __init__(self, hearth: FakeHearth) -> None:
        self.hearth = hearth

    async def Subscribe(self, request, context) -> AsyncIterator[delivery_pb2.SubscribeResponse]:
        attempt = 0
        while True:
            attempt += 1
            for action_id, delivery in list(self.hearth.outbox.items()):
                if action_id not in self.hearth.acked or attempt <= 2:  # the second time over is a redelivery
                    delivery.attempt = attempt
                    yield delivery
            await asyncio.sleep(0.01)

    async def Ack(self, request, context):
        first = request.action_id not in self.hearth.acked
        if first:
            self.hearth.acked.append(request.action_id)
        return delivery_pb2.AckResponse(effective=first, reason="" if first else "ALREADY_ACKNOWLEDGED")


class Households(household_pb2_grpc.HouseholdServiceServicer):
    def __init__(self, hearth: FakeHearth) -> None:
        self.hearth = hearth

    def features(self, household: str) -> list[household_pb2.FeatureValue]:
        less = 1 if self.hearth.faults.stale_features else 0
        counts = self.hearth.per_household
        return [
            household_pb2.FeatureValue(name=name, value=counts[household, kind] - less)
            for name, kind in self.hearth.counting.items()
        ]

    async def Get(self, request, context):
        known = any(household == request.household for household, _ in self.hearth.per_household)
        answer = household_pb2.GetResponse(known=known, features=self.features(request.household))
        answer.as_of.FromMicroseconds(self.hearth.now_us)
        return answer

    async def Explain(self, request, context):
        decision_id = request.decision_id or self.hearth.last.get(request.household, "")
        record = household_pb2.DecisionRecord(decision_id=decision_id, features=self.features(request.household))
        return household_pb2.ExplainResponse(found=bool(decision_id), decision=record)


async def started(hearth: FakeHearth) -> tuple[grpc.aio.Server, str]:
    """Start the stand-in in this loop; returns the server and its address."""
    server = grpc.aio.server(options=OPTIONS)
    signal_pb2_grpc.add_SignalServiceServicer_to_server(Signals(hearth), server)
    decision_pb2_grpc.add_DecisionServiceServicer_to_server(Decisions(hearth), server)
    delivery_pb2_grpc.add_DeliveryServiceServicer_to_server(Deliveries(hearth), server)
    household_pb2_grpc.add_HouseholdServiceServicer_to_server(Households(hearth), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


@contextmanager
def running(hearth: FakeHearth) -> Iterator[str]:
    """Run the stand-in in a thread of its own, for clients in other processes; yields its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server, address = asyncio.run_coroutine_threadsafe(started(hearth), loop).result(10)
    try:
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
