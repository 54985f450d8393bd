"""Laws: a traced Decide is one connected trace from edge to append; the numbers equal what was done; no key or id of
anyone is in any label; nothing is exported, or even made, unless asked for; a collector that is gone costs no decision.

A real edge on a grpc.aio server and a real shard on a Unix socket, one process, no Ray.
"""

import asyncio
import json
import logging
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from actors.log.contract import LOG_START, PartitionId
from actors.log.segments import SegmentStore
from actors.partition.lineup import Lineup
from actors.partition.owner import PartitionOwner
from actors.partition.ports import OwnerPorts
from actors.partition.recovery import Recovered
from actors.partition.telemetry import Histogram, ShardTelemetry
from actors.records.replay import Replay
from actors.rejects.settings import RejectSettings
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from cluster import logs, telemetry
from cluster.config import HearthConfig
from cluster.logs import LogSettings, start_logging, trace_of_call
from cluster.metrics import INSTRUMENTS, shard_points
from cluster.spans import Spans
from cluster.telemetry import (
    EdgeTelemetry,
    ShardTracer,
    Telemetry,
)
from cluster.watching import TelemetrySettings, edge_observer, shard_telemetry, telemetry_settings
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
from serving.edge import PublicServices
from serving.router import Router
from tests.actors.harness import (
    DAY,
    MONDAY,
    SECOND,
    DiskFiles,
    ScriptedScorer,
    SettableClock,
    SettableLease,
    corner,
    in_loop,
    running,
    signal,
)
from wire.failures import CallFailed
from wire.routes import Routes

HOUSEHOLDS = [f"+4479460900{number:02}" for number in range(8)]
MEMBER, REQUEST, EVENT = "alice@example.com", "request-of-alice", "event-of-alice"
CLIENT_TRACE, CLIENT_SPAN = "a" * 32, "b" * 16
TRACED = (("traceparent", f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01"),)
WITHIN_S = 30.0
REFUSED = "http://127.0.0.1:9"
"""The discard port: nobody listens."""


class Numbers:
    """Keeps what was exported last."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}

    def export(self, metrics_data: MetricsData) -> None:
        (resource_metrics,) = metrics_data.resource_metrics
        (scope_metrics,) = resource_metrics.scope_metrics
        self.last = {metric.name: metric for metric in scope_metrics.metrics}

    def shutdown(self) -> None: ...

    def values(self, name: str) -> dict[str, Any]:
        """Return the points of a metric by their labels' values; 0 is left out, a histogram is its count."""
        points = self.last[name].data.data_points if name in self.last else ()
        by_labels = {
            " ".join(point.attributes.values()): point.value if hasattr(point, "value") else point.count
            for point in points
        }
        return {labels: value for labels, value in by_labels.items() if value}


class Watched:
    """Edge and shard with their telemetry in memory, and a client."""

    def __init__(self, trace_share: float) -> None:
        self.spans = InMemorySpanExporter()
        self.edge_numbers, self.shard_numbers = Numbers(), Numbers()
        self.exports = [
            self._export("hearth-edge", self.edge_numbers),
            self._export("hearth-shard", self.shard_numbers),
        ]
        edge, shard = self.exports
        self.observer = EdgeTelemetry(Spans(edge), trace_share=trace_share)
        self.kept = ShardTelemetry(tracer=ShardTracer(Spans(shard)))
        edge.start(self.observer.points)
        shard.start(lambda: shard_points(self.kept))

    def _export(self, service: str, numbers: Numbers) -> Telemetry:
        return Telemetry(service, "one", spans=self.spans, metrics=numbers, interval_s=3_600.0)

    async def all_ended(self) -> None:
        """Wait until no call is under way: whoever is refused can know it before the edge has counted the call out."""
        async with asyncio.timeout(WITHIN_S):
            while any(self.observer._active.values()):  # noqa: ASYNC110 - the server's tasks end them
                await asyncio.sleep(0)

    def flush(self) -> dict[str, Any]:
        """Export everything now; return the finished spans by name."""
        for export in self.exports:
            export._spans.force_flush()
            export._export()
        return {span.name: span for span in self.spans.get_finished_spans()}

    def stop(self) -> None:
        for export in self.exports:
            export.stop()


class Client:
    def __init__(self, channel: grpc.aio.Channel, clock: SettableClock, scorer: ScriptedScorer) -> None:
        self.decisions: Any = decision_pb2_grpc.DecisionServiceStub(channel)
        self.signals: Any = signal_pb2_grpc.SignalServiceStub(channel)
        self.households: Any = household_pb2_grpc.HouseholdServiceStub(channel)
        self.delivery: Any = delivery_pb2_grpc.DeliveryServiceStub(channel)
        self.clock = clock
        self.scorer = scorer

    async def ingest(self, *signals: signal_pb2.Signal) -> signal_pb2.IngestResponse:
        return await self.signals.Ingest(signal_pb2.IngestRequest(signals=signals))

    async def decide(
        self, household: str, *signals: signal_pb2.Signal, request_id=REQUEST, channel="app", trace=()
    ) -> decision_pb2.DecideResponse:
        request = decision_pb2.DecideRequest(
            request_id=request_id, household=household, member=MEMBER, channel=channel, signals=signals
        )
        return await self.decisions.Decide(request, metadata=trace, timeout=10)


@asynccontextmanager
async def hearth(observer: Any, kept: ShardTelemetry | None, *, partition_count=2) -> AsyncIterator[Client]:
    """Run an edge and a shard on a wall clock that a test sets, scored by a model that says 0.5 of everything."""
    clock, scorer = SettableClock(), ScriptedScorer()
    with tempfile.TemporaryDirectory(prefix="hearth") as folder:
        address = f"unix:{folder}/shard.sock"
        store = SegmentStore(Path(folder) / "log", files=DiskFiles())
        shard = Shard(ShardConfig(name="shard-0", address=address), store, clock=clock, telemetry=kept)

        async def make() -> Lineup:
            return Lineup(champion=scorer)

        async def routes() -> Routes:
            owners = dict.fromkeys(range(partition_count), address)
            return Routes(partition_count=partition_count, owners=owners, ready=True)

        async def readiness() -> bool:
            return True

        await shard.start()
        router = Router(routes)
        server = grpc.aio.server()
        try:
            for partition in range(partition_count):
                await shard.assign(partition, plan_bytes=corner().canonical_bytes, epoch=1)
            await shard.use_lineup(make)
            PublicServices(router, partition_count, readiness, observer=observer).add_to(server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Client(channel, clock, scorer)
        finally:
            await server.stop(None)
            await router.close()
            await shard.drain()


@asynccontextmanager
async def watched_hearth(trace_share: float = 0.0) -> AsyncIterator[tuple[Client, Watched]]:
    watched = Watched(trace_share)
    try:
        async with hearth(watched.observer, watched.kept) as client:
            yield client, watched
    finally:
        watched.stop()


def visit(household: str, number: int = 0, *, kind: str = "visit", at_us: int = MONDAY) -> signal_pb2.Signal:
    return signal(f"{EVENT}-{household}-{kind}-{number}", household, kind, at_us, member=MEMBER)


# --- traces ----------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_decide_with_signals_is_one_connected_trace_from_its_client_to_the_append():
    async with watched_hearth() as (client, watched):
        await client.decide(HOUSEHOLDS[0], visit(HOUSEHOLDS[0]), trace=TRACED)
        spans = watched.flush()

        edge, shard = spans["hearth.v1.DecisionService/Decide"], spans["shard Decide"]
        stages = ["wait", "signals", "prepare", "score", "decide", "commit", "answer"]
        assert spans.keys() == {edge.name, shard.name, *stages}
        assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {CLIENT_TRACE}
        assert f"{edge.parent.span_id:016x}" == CLIENT_SPAN
        assert shard.parent.span_id == edge.context.span_id
        assert {spans[stage].parent.span_id for stage in stages} == {shard.context.span_id}
        assert len({span.context.span_id for span in spans.values()}) == len(spans)
        times = [shard.start_time, *(spans[stage].end_time for stage in stages)]
        assert times == sorted(times)
        assert [spans[stage].start_time for stage in stages] == times[:-1]
        assert dict(spans["score"].attributes) == {
            "hearth.model.version": "scripted",
            "hearth.degraded": False,
            "hearth.way": "serve",
            "hearth.candidates": 3,
        }
        assert dict(edge.attributes) == {
            "rpc.system.name": "grpc",
            "rpc.method": "hearth.v1.DecisionService/Decide",
            "rpc.response.status_code": "OK",
        }
        assert shard.attributes["hearth.outcome"] == "action"
        assert {span.resource.attributes["service.name"] for span in (edge, shard)} == {"hearth-edge", "hearth-shard"}


@in_loop
async def test_who_brings_no_trace_gets_one_by_the_share_and_whoever_said_no_gets_none():
    async with watched_hearth(trace_share=1.0) as (client, watched):
        await client.decide(HOUSEHOLDS[0], trace=(("traceparent", f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-00"),))
        assert watched.flush() == {}
        await client.decide(HOUSEHOLDS[1], trace=(("traceparent", "00-nonsense"),), request_id="a")
        await client.decide(HOUSEHOLDS[2], request_id="b")

        watched.flush()
        roots = [span for span in watched.spans.get_finished_spans() if span.parent is None]
        assert [span.name for span in roots] == ["hearth.v1.DecisionService/Decide"] * 2
        assert len({span.context.trace_id for span in watched.spans.get_finished_spans()}) == 2


@in_loop
async def test_a_share_of_zero_traces_nobody():
    async with watched_hearth(trace_share=0.0) as (client, watched):
        await client.decide(HOUSEHOLDS[0])
        assert watched.flush() == {}


@in_loop
async def test_a_failed_call_says_so_in_its_span():
    async with watched_hearth() as (client, watched):
        with pytest.raises(grpc.aio.AioRpcError):
            await client.decide(HOUSEHOLDS[0], channel="fax", trace=TRACED)
        await watched.all_ended()
        spans = watched.flush()

        assert spans.keys() == {"hearth.v1.DecisionService/Decide", "shard Decide"}
        assert {span.attributes["rpc.response.status_code"] for span in spans.values()} == {"INVALID_ARGUMENT"}
        assert {span.status.is_ok for span in spans.values()} == {True}  # the client's fault


# --- metrics ---------------------------------------------------------------------------------------------------------


@in_loop
async def test_the_numbers_equal_what_was_done():
    async with watched_hearth() as (client, watched):
        first, second, third = HOUSEHOLDS[:3]
        late = visit(first, 9, at_us=MONDAY - 3 * DAY)
        unknown = visit(first, 1, kind="nonsense")
        await client.ingest(visit(first), visit(first), visit(second), late, unknown)
        client.clock.pass_us(3 * SECOND)
        await client.decide(first, request_id="r1")
        await client.decide(first, request_id="r1")
        await client.decide(first, request_id="r2")
        await client.decide("nobody", request_id="r3")
        await client.decide(third, visit(third, kind="opt_out"), visit(third, at_us=MONDAY), request_id="r4")
        with pytest.raises(grpc.aio.AioRpcError):
            await client.decide(first, channel="fax")
        await watched.all_ended()
        watched.flush()

        edge, shard = watched.edge_numbers, watched.shard_numbers
        assert shard.values("hearth.signals") == {"applied": 4, "duplicate": 1, "late": 1, "unknown_type": 1}
        assert shard.values("hearth.signals.lag") == {"": 4}
        assert shard.last["hearth.signals.lag"].data.data_points[0].sum == 6.0
        assert shard.values("hearth.decisions") == {
            "app request action": 1,
            "app request served": 1,
            "app request nothing": 2,
        }
        assert shard.values("hearth.vetoes") == {"no_consent": 3}
        assert shard.values("hearth.decisions.repeated") == {"": 1}
        assert shard.values("hearth.decisions.degraded") == {}
        assert shard.values("hearth.decide.duration") == {"": 5}
        assert shard.values("hearth.decide.stage.duration") == {
            "wait": 5, "signals": 1, "prepare": 4, "score": 4, "decide": 4, "commit": 4, "answer": 5
        }  # fmt: skip
        assert shard.values("hearth.shard.calls") == {
            "Ingest OK": 1 if len({partition_of(one) for one in (first, second)}) == 1 else 2,
            "Decide OK": 5,
            "Decide INVALID_ARGUMENT": 1,
        }
        assert shard.values("hearth.partitions.owned") == {"": 2}
        assert shard.values("hearth.partitions.lost") == {}
        assert shard.values("hearth.households") == {"": 3}
        assert edge.values("rpc.server.call.duration") == {
            "grpc hearth.v1.SignalService/Ingest OK": 1,
            "grpc hearth.v1.DecisionService/Decide OK": 5,
            "grpc hearth.v1.DecisionService/Decide INVALID_ARGUMENT": 1,
        }
        assert edge.values("hearth.edge.requests.active") == {}
        groups = shard.last["hearth.group.records"].data.data_points[0]
        assert shard.values("hearth.append.duration") == {"": groups.count}


def partition_of(household: str) -> int:
    from wire.partitions import partition_of

    return partition_of(household.encode(), 2)


@in_loop
async def test_a_moment_that_nobody_asked_about_is_counted_by_where_it_is_sent():
    async with watched_hearth() as (client, watched):
        home = HOUSEHOLDS[0]
        yes = signal("yes", home, "consent", MONDAY, member=MEMBER, fields={"marketing": True})
        await client.ingest(yes, *(visit(home, number, kind="check", at_us=MONDAY + number) for number in range(3)))
        await anext(aiter(client.delivery.Subscribe(delivery_pb2.SubscribeRequest(channels=["push"]))))
        watched.flush()

        shard = watched.shard_numbers
        assert shard.values("hearth.moments") == {"": 1}
        assert shard.values("hearth.decisions") == {"push moment action": 1}
        assert shard.values("hearth.outbox.actions") == {"": 1}


@in_loop
async def test_a_call_under_way_is_active():
    async with watched_hearth() as (client, watched):
        await client.ingest(visit(HOUSEHOLDS[0]))
        client.scorer.hold()
        under_way = asyncio.create_task(client.decide(HOUSEHOLDS[0]))
        await client.scorer.asked.wait()
        watched.flush()
        assert watched.edge_numbers.values("hearth.edge.requests.active") == {
            "grpc hearth.v1.DecisionService/Decide": 1
        }
        client.scorer.free.set()
        await under_way


@in_loop
async def test_no_label_and_no_attribute_names_anyone():
    async with watched_hearth(trace_share=1.0) as (client, watched):
        for number, household in enumerate(HOUSEHOLDS):
            await client.ingest(visit(household))
            answer = await client.decide(household, visit(household, 1), request_id=f"{REQUEST}-{number}")
            report = decision_pb2.ReportRequest(
                request_id=f"{REQUEST}-r{number}",
                household=household,
                action_id=answer.action.action_id,
                outcome=decision_pb2.OUTCOME_ACCEPT,
                channel="app",
            )
            await client.decisions.Report(report)
            await client.households.Get(household_pb2.GetRequest(household=household))
            await client.households.Explain(household_pb2.ExplainRequest(household=household))
        watched.flush()

        spans = watched.spans.get_finished_spans()
        texts = [f"{span.name} {dict(span.attributes)} {dict(span.resource.attributes)}" for span in spans]
        for numbers in (watched.edge_numbers, watched.shard_numbers):
            texts += [metric.to_json() for metric in numbers.last.values()]
        assert len(spans) > 50
        secrets = (*HOUSEHOLDS, MEMBER, REQUEST, EVENT, answer.decision_id, answer.action.action_id)
        assert [text for text in texts for secret in secrets if secret in text] == []


@in_loop
async def test_what_a_restart_would_cost_and_what_forbids_deciding_are_told(tmp_path: Path):
    clock, lease = SettableClock(), SettableLease()
    rejects = SegmentStore(tmp_path / "rejects", files=DiskFiles())
    settings = RejectSettings(gather_s=0.0)
    named = {"snapshots": tmp_path / "snapshots", "rejects": rejects, "reject_settings": settings, "lease": lease}
    async with running(tmp_path / "log", clock, **named) as shard:
        assert shard.shard._taker is not None
        shard.shard._taker._monotonic_s = monotonic = Monotonic()
        numbers = ShardTelemetry(gauges=shard.shard._gauges)
        owner = shard.shard._owned[0].owner
        assert owner.rejects is not None

        def told() -> dict[str, int]:
            assert owner.rejects is not None
            assert owner.rejects.settle(20.0)
            points = shard_points(numbers)
            return {name: points[f"hearth.{name}"][0][1] for name in FEWER}

        await shard.ingest(*(visit(home) for home in HOUSEHOLDS[:3]), visit(HOUSEHOLDS[0], 1, kind="nonsense"))
        assert told() == FEWER | {"log.tail": 4, "rejects.kept": 1}

        await shard.snapshot()
        monotonic.at_s += 70.5
        assert told() == FEWER | {"snapshots.written": 1, "rejects.kept": 1}, "a quiet partition needs no snapshot"
        await shard.ingest(visit(HOUSEHOLDS[4]))
        assert told() == FEWER | {"snapshots.written": 1, "rejects.kept": 1, "log.tail": 1, "snapshot.age": 70}

        shutil.rmtree(tmp_path / "snapshots")
        (tmp_path / "snapshots").write_text("a file where the folder was")
        with pytest.raises(CallFailed):
            await shard.snapshot()
        clock.confirmed = lease.held = False
        after = {"snapshots.written": 1, "snapshots.failed": 1, "rejects.kept": 1, "log.tail": 1, "snapshot.age": 70}
        assert told() == FEWER | after | {"clock.confirmed": 0, "lease.held": 0}

        clock.confirmed = lease.held = True
        await shard.shard.release(0)
        after = {"snapshots.written": 1, "snapshots.failed": 1, "rejects.kept": 1}
        points = shard_points(numbers)
        assert {name: points[f"hearth.{name}"][0][1] for name in FEWER} == FEWER | after, "counters never go back"


FEWER = {
    "lease.held": 1,
    "clock.confirmed": 1,
    "snapshots.written": 0,
    "snapshots.failed": 0,
    "snapshot.age": 0,
    "log.tail": 0,
    "log.repetitions": 0,
    "rejects.kept": 0,
    "rejects.missed": 0,
    "rejects.dropped": 0,
    "rejects.failures": 0,
}


class Monotonic:
    """Shows what it was set to."""

    at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def test_groups_that_kafka_holds_twice_are_told(tmp_path: Path):
    class Repeating:
        repetitions = 3

    recovered = Recovered(log=Repeating(), replay=Replay(), position=LOG_START)  # type: ignore[arg-type]
    ports = OwnerPorts(clock=SettableClock(), lease=SettableLease(), state_thread=None, appenders=None, decoders=None)  # type: ignore[arg-type]

    async def repetitions() -> int:
        return PartitionOwner(PartitionId(0), recovered, ports).log_repetitions

    assert asyncio.run(repetitions()) == 3


def test_a_bucket_ends_at_its_bound_and_many_values_count_like_one_after_another():
    import numpy as np

    one, many = Histogram((10, 20, 30)), Histogram((10, 20, 30))
    values = np.array([1, 10, 11, 20, 21, 30, 31, 99, 10, 10], np.int64)
    for value in values.tolist():
        one.record(value)
    many.record_all(values)
    assert one.counts == many.counts == [4, 2, 2, 2]
    assert one.sum == many.sum == int(values.sum())


def test_every_metric_is_in_the_page_with_its_type_and_unit(repository: Path):
    page = (repository / "docs" / "telemetry.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| (\w+) \| `([^`]+)` \|", page, re.M)
    assert rows == [(one.name, one.kind.value, one.unit) for one in INSTRUMENTS]


def test_every_metric_of_a_shard_is_declared():
    declared = {instrument.name for instrument in INSTRUMENTS}
    assert set(shard_points(ShardTelemetry())) <= declared


# --- off, and a collector that is gone -------------------------------------------------------------------------------


def settings(folder: Path, endpoint: str | None, trace_share: float = 1.0) -> TelemetrySettings:
    return TelemetrySettings(
        endpoint=endpoint, trace_share=trace_share, interval_s=0.01, logs=LogSettings(folder=folder, level="info")
    )


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, without what a test added."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    for handler in [one for one in root.handlers if one not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def test_nothing_is_made_when_there_is_no_endpoint(tmp_path: Path, root_logger: logging.Logger, monkeypatch):
    def refuse(*_arguments: object, **_named: object) -> None:
        raise AssertionError("telemetry was made although it is off")

    monkeypatch.setattr(telemetry, "Telemetry", refuse)
    off = settings(tmp_path, None)
    before = threading.active_count()
    assert edge_observer(off) is None
    assert shard_telemetry(off, "shard-0") is None
    assert threading.active_count() == before


def test_it_is_off_by_default(tmp_path: Path):
    assert telemetry_settings(HearthConfig(data_dir=tmp_path)).endpoint is None


def test_settings_come_from_the_configuration(tmp_path: Path):
    config = HearthConfig(data_dir=tmp_path, otel_endpoint="http://127.0.0.1:4318", trace_share=0.5)
    made = telemetry_settings(config)
    assert (made.endpoint, made.trace_share, made.interval_s) == ("http://127.0.0.1:4318", 0.5, 1.0)
    assert made.logs == LogSettings(folder=tmp_path / "logs", level="info")


@in_loop
async def test_without_telemetry_a_decision_carries_no_trace_and_counts_nothing():
    async with hearth(None, None) as client:
        answer = await client.decide(HOUSEHOLDS[0], visit(HOUSEHOLDS[0]), trace=TRACED)
        assert answer.action.action_id


@pytest.mark.parametrize("is_hung", [False, True], ids=["refused", "hung"])
def test_a_collector_that_is_gone_neither_fails_nor_delays_a_decision(
    is_hung: bool, tmp_path: Path, root_logger: logging.Logger
):
    """Every call is traced and numbers go out 100 times a second; the exports wait in their own threads."""

    @in_loop
    async def test() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()  # accepts, and never answers
            endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}" if is_hung else REFUSED
            observer = edge_observer(settings(tmp_path, endpoint))
            watched = shard_telemetry(settings(tmp_path, endpoint), "shard-0")
            assert observer is not None
            assert watched is not None
            async with hearth(observer, watched.numbers) as client:
                await client.decide(HOUSEHOLDS[0], visit(HOUSEHOLDS[0]), request_id="first")
                slowest_s = 0.0
                for number in range(200):
                    started_s = time.perf_counter()
                    await client.decide(HOUSEHOLDS[0], request_id=str(number))
                    slowest_s = max(slowest_s, time.perf_counter() - started_s)
            started_s = time.perf_counter()
            stops = (watched.export.stop, observer._spans._export.stop)
            await asyncio.gather(*map(asyncio.to_thread, stops))
            # An export waits for its timeout of 2 s; a decision that waited for one would show it.
            assert slowest_s < telemetry.EXPORT_TIMEOUT_S / 2
            assert time.perf_counter() - started_s < 2 * telemetry.STOP_TIMEOUT_S + 2 * telemetry.EXPORT_TIMEOUT_S
            assert sum(watched.numbers.decide_ns.counts) == 201

    test()


# --- logs ------------------------------------------------------------------------------------------------------------


def lines(path: Path) -> Sequence[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_log_line_is_json_with_its_trace(tmp_path: Path, root_logger: logging.Logger):
    start_logging(LogSettings(folder=tmp_path / "logs", level="info"), "shard-0")
    start_logging(LogSettings(folder=tmp_path / "logs", level="info"), "shard-0")
    log = logging.getLogger("actors.partition")
    token = trace_of_call.set(f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01")
    log.error("partition %d is lost: %s", 3, "disk full")
    trace_of_call.reset(token)
    log.debug("not at this level")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("a defect")

    start, first, second = lines(tmp_path / "logs" / "shard-0.log")
    assert start["event"].startswith("shard-0 starts as process ")
    assert first.pop("time").endswith("Z")
    assert first == {
        "event": "partition 3 is lost: disk full",
        "level": "error",
        "logger": "actors.partition",
        "process": "shard-0",
        "trace_id": CLIENT_TRACE,
        "span_id": CLIENT_SPAN,
    }
    assert "ValueError: ValueError (its message" in second["exception"]
    assert "in test_a_log_line_is_json_with_its_trace" in second["exception"]
    assert "trace_id" not in second


def test_a_log_folder_that_cannot_be_made_costs_the_file_only(tmp_path: Path, root_logger: logging.Logger):
    (tmp_path / "logs").write_text("a file")
    before = list(root_logger.handlers)
    start_logging(LogSettings(folder=tmp_path / "logs", level="info"), "shard-0")
    assert root_logger.handlers == before


def test_a_collector_that_is_down_is_told_of_once_a_minute(tmp_path: Path, root_logger: logging.Logger):
    start_logging(LogSettings(folder=tmp_path, level="debug"), "edge")
    noisy = logging.getLogger("opentelemetry.exporter")
    for _ in range(100):
        noisy.warning("export to %s failed", REFUSED)
        noisy.info("retrying")
    assert [line["level"] for line in lines(tmp_path / "edge.log")] == ["info", "warning"]
    assert logs.NOISE_INTERVAL_S == 60.0
