"""What leaves a process for those who watch it: spans of sampled calls and, once per interval, its numbers.

They go to a collector by OTLP, to the coordinator for Prometheus, or both; nothing here runs unless `otel_endpoint` or
`metrics_port` is set. Sending happens in threads of its own from bounded queues; a collector
that is slow or gone costs spans, never a decision's time. Why the SDK is used as it is:
docs/decisions/0008-telemetry.md.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Protocol

import grpc
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind

from actors.partition.telemetry import LATENCY_BOUNDS_NS, Histogram, ShardTelemetry, Stage, TracedCall, outcome_of
from cluster.coordinator_sink import CoordinatorSink
from cluster.exposition import Exposition
from cluster.logs import trace_of_call
from cluster.metrics import MetricInterval, Points, code_name, metrics_data, shard_points
from cluster.spans import Attributes, Spans, parsed, wall_ns, wall_offset_ns
from cluster.watching import TelemetrySettings

logger = logging.getLogger(__name__)

EXPORT_TIMEOUT_S: Final = 2.0
SPANS_WAITING_MAX: Final = 2_048
SPAN_BATCH_MAX: Final = 512
SPAN_DELAY_MS: Final = 1_000.0
STOP_TIMEOUT_S: Final = 1.0
"""What the last export may take when a process stops."""

ShowNumbers = Callable[[dict[str, Points]], None]

UNTRACED: Final = "/grpc.health.v1.Health/"
"""Probes come all day and say nothing."""


class MetricsSink(Protocol):
    """Takes the numbers of a process; an exporter of OpenTelemetry does."""

    def export(self, metrics_data: MetricsData) -> object:
        """Send, in its own time; says by what it returns whether it worked."""
        ...

    def shutdown(self) -> None:
        """Give up what is under way."""
        ...


class Telemetry:
    """The exports of one process: a queue of spans, and its numbers once per interval."""

    def __init__(
        self,
        service: str,
        instance: str,
        *,
        spans: SpanExporter | None,
        metrics: MetricsSink | None,
        interval_s: float,
        show: ShowNumbers | None = None,
    ):
        """What is None takes nothing. `show`: is given the plain numbers; may raise, and is given the next then."""
        assert interval_s > 0

        self.resource = Resource.create(
            {"service.name": service, "service.instance.id": instance, "service.version": version("hearth")}
        )
        self._span_exporter = spans
        self._spans = (
            BatchSpanProcessor(
                spans,
                max_queue_size=SPANS_WAITING_MAX,
                schedule_delay_millis=SPAN_DELAY_MS,
                max_export_batch_size=SPAN_BATCH_MAX,
            )
            if spans is not None
            else None
        )
        self._metrics = metrics
        self._show = show
        self._interval_s = interval_s
        self._started_ns = wall_ns()
        self._sources: list[Callable[[], dict[str, Points]]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="metrics-export", daemon=True)

    def start(self, source: Callable[[], dict[str, Points]]) -> None:
        """Begin to export what `source` returns, read in another thread."""
        self._sources.append(source)
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Export what is left, for a moment at most, and end the threads. Twice is once."""
        if self._stop.is_set():
            return
        self._stop.set()
        atexit.unregister(self.stop)
        is_flushed = self._spans is None or self._flush(self._spans)
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)
        if self._metrics is not None:
            self._metrics.shutdown()
        if not is_flushed and self._span_exporter is not None:
            # Ends the exporter's retries: without it the next line would wait for a collector that is gone.
            self._span_exporter.shutdown()
        if self._spans is not None:
            self._spans.shutdown()  # type: ignore[no-untyped-call]

    @staticmethod
    def _flush(spans: BatchSpanProcessor) -> bool:
        flush = threading.Thread(target=spans.force_flush, name="spans-flush", daemon=True)
        flush.start()
        flush.join(STOP_TIMEOUT_S)
        return not flush.is_alive()

    def span_ended(self, span: ReadableSpan) -> None:
        """Queue a span for export; the oldest that waits goes when there are too many."""
        if self._spans is not None:
            self._spans.on_end(span)

    def collected(self) -> dict[str, Points]:
        """Return all numbers as of now, by name."""
        points: dict[str, Points] = {}
        for source in self._sources:
            points |= source()
        return points

    def _work(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._export()
        self._export()

    def _export(self) -> None:
        try:
            points = self.collected()
            if self._show is not None:
                self._show(points)
            if self._metrics is not None:
                interval = MetricInterval(start_ns=self._started_ns, end_ns=wall_ns())
                self._metrics.export(metrics_data(points, self.resource, interval))
        except Exception:  # the supervisor of the export: numbers are cumulative, so the next one has them all
            logger.exception("metrics were not exported")


def connect(
    settings: TelemetrySettings, service: str, instance: str, *, show: ShowNumbers | None = None
) -> Telemetry | None:
    """Return the exports of this process, by OTLP and to `show`; None where nothing is to be exported."""
    if settings.endpoint is None and show is None:
        return None
    base = settings.endpoint.rstrip("/") if settings.endpoint is not None else None
    return Telemetry(
        service,
        instance,
        spans=OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=EXPORT_TIMEOUT_S) if base is not None else None,
        metrics=(
            OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=EXPORT_TIMEOUT_S) if base is not None else None
        ),
        interval_s=settings.interval_s,
        show=show,
    )


def _shown(settings: TelemetrySettings, process: str) -> ShowNumbers | None:
    """Return what takes the numbers of an edge or a shard to the coordinator's page; None where nobody scrapes it."""
    return CoordinatorSink(process) if settings.scraped is not None else None


# --- the coordinator -------------------------------------------------------------------------------------------------


def coordinator_telemetry(settings: TelemetrySettings, source: Callable[[], dict[str, Points]]) -> Exposition | None:
    """Begin to export what `source` returns; return the page of all numbers, open, or None where nobody scrapes it."""
    telemetry = connect(settings, "hearth-coordinator", "coordinator")
    if telemetry is not None:
        telemetry.start(source)
    if settings.scraped is None:
        return None
    page = Exposition(source)
    page.serve(settings.scraped)
    return page


# --- the edge --------------------------------------------------------------------------------------------------------


class EdgeTelemetry:
    """Counts, times and traces public calls. A `serving.boundary.RequestObserver`; used in one event loop."""

    def __init__(self, spans: Spans, *, trace_share: float) -> None:
        self._spans = spans
        self._trace_share = trace_share
        self._active: dict[str, int] = {}
        self._durations_ns: dict[tuple[str, grpc.StatusCode], Histogram] = {}

    def began(self, method: str, traceparent: str) -> str:
        """Count the call in; continue its client's trace, or begin one for a share of those that bring none."""
        self._active[method] = self._active.get(method, 0) + 1
        parent = parsed(traceparent) if traceparent else None
        if parent is not None:
            own = self._spans.child(parent) if parent.trace_flags.sampled else ""
        else:
            own = "" if method.startswith(UNTRACED) else self._spans.draw(self._trace_share)
        if own:
            trace_of_call.set(own)
        return own

    def ended(
        self, *, method: str, code: grpc.StatusCode, started_ns: int, ended_ns: int, parent: str, traceparent: str
    ) -> None:
        """Count the call out, time it, and hand over its span if it has one."""
        self._active[method] -= 1
        durations_ns = self._durations_ns.get((method, code))
        if durations_ns is None:
            durations_ns = self._durations_ns[method, code] = Histogram(LATENCY_BOUNDS_NS)
        durations_ns.record(ended_ns - started_ns)
        if traceparent:
            self._spans.record(
                method[1:],
                own=traceparent,
                parent=parent,
                started_ns=started_ns,
                ended_ns=ended_ns,
                to_wall_ns=wall_offset_ns(),
                attributes=_rpc_labels(method) | {"rpc.response.status_code": code.name},
                kind=SpanKind.SERVER,
                is_failed=code.value[0] in _SERVER_FAULTS,
            )

    def points(self) -> dict[str, Points]:
        """Return the values of the edge's metrics, by name."""
        return {
            "rpc.server.call.duration": [
                (_rpc_labels(method) | {"rpc.response.status_code": code.name}, histogram)
                for (method, code), histogram in tuple(self._durations_ns.items())
            ],
            "hearth.edge.requests.active": [
                (_rpc_labels(method), count) for method, count in tuple(self._active.items())
            ],
        }


_SERVER_FAULTS: Final = frozenset(
    code.value[0]
    for code in (
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
)
"""What counts as an error of a server, by the conventions; the others are the client's."""


def _rpc_labels(method: str) -> dict[str, str]:
    return {"rpc.system.name": "grpc", "rpc.method": method[1:]}


def edge_observer(settings: TelemetrySettings) -> EdgeTelemetry | None:
    """Begin the export of an edge replica; return the observer of its requests, None where nothing is exported."""
    process = f"edge-{os.getpid()}"
    telemetry = connect(settings, "hearth-edge", process, show=_shown(settings, process))
    if telemetry is None:
        return None
    observer = EdgeTelemetry(
        Spans(telemetry), trace_share=settings.trace_share if settings.endpoint is not None else 0.0
    )
    telemetry.start(observer.points)
    return observer


# --- the shard -------------------------------------------------------------------------------------------------------


class ShardTracer:
    """Makes the spans of a shard's calls: one for the call, one below it for each stage. A `CallTracer`."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def begin(self, parent: str) -> str:
        """Return the traceparent of the call's span; empty when the caller is not traced after all."""
        context = parsed(parent)
        if context is None or not context.trace_flags.sampled:
            return ""
        own = self._spans.child(context)
        trace_of_call.set(own)
        return own

    def end(self, call: TracedCall) -> None:
        """Hand over the call's span and those of its stages."""
        context = parsed(call.own)
        assert context is not None, "begin gave it"
        # Once, so that the stages of a call stand exactly end to end.
        to_wall_ns = wall_offset_ns()
        began_ns = call.laps.started_ns
        for stage, ended_ns in call.laps.ends:
            self._spans.record(
                stage.value,
                own=self._spans.child(context),
                parent=call.own,
                started_ns=began_ns,
                ended_ns=ended_ns,
                to_wall_ns=to_wall_ns,
                attributes=_score_labels(call) if stage is Stage.SCORE else {},
            )
            began_ns = ended_ns
        self._spans.record(
            f"shard {call.method}",
            own=call.own,
            parent=call.parent,
            started_ns=call.laps.started_ns,
            ended_ns=call.ended_ns,
            to_wall_ns=to_wall_ns,
            attributes=_call_labels(call),
            kind=SpanKind.SERVER,
            is_failed=call.code in _SERVER_FAULTS,
        )


def _call_labels(call: TracedCall) -> Attributes:
    labels: dict[str, str | int | bool] = {
        "hearth.partition": call.partition,
        "rpc.response.status_code": code_name(call.code),
    }
    decision = call.laps.decision
    if decision is not None:
        labels["hearth.channel"] = decision.channel
        labels["hearth.outcome"] = outcome_of(decision).value
        labels["hearth.playbook.version"] = decision.plan_version
    return labels


def _score_labels(call: TracedCall) -> Attributes:
    decision = call.laps.decision
    if decision is None:
        return {}
    return {
        "hearth.model.version": decision.model_version,
        "hearth.degraded": decision.is_degraded,
        "hearth.way": decision.scored_by or "none",
        "hearth.candidates": len(decision.candidates),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedShard:
    """What a shard counts, and the export that reads it."""

    numbers: ShardTelemetry
    export: Telemetry


def shard_telemetry(settings: TelemetrySettings, name: str) -> WatchedShard | None:
    """Return the numbers a shard is to keep and their export, begun; None where nothing is exported."""
    telemetry = connect(settings, "hearth-shard", name, show=_shown(settings, name))
    if telemetry is None:
        return None
    numbers = ShardTelemetry(tracer=ShardTracer(Spans(telemetry)) if settings.endpoint is not None else None)
    telemetry.start(lambda: shard_points(numbers))
    return WatchedShard(numbers=numbers, export=telemetry)
