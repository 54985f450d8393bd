"""Which metrics Hearth exports, and how the plain numbers of a process become OpenTelemetry's.

The numbers are kept in actors/partition/telemetry.py and cluster/telemetry.py; docs/telemetry.md says what each is for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import grpc
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from actors.partition.telemetry import Histogram, Outcome, ShardTelemetry
from household.events import Status

SCOPE = InstrumentationScope("hearth")

CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class MetricKind(Enum):
    """What a number means over time."""

    COUNTER = "counter"
    """Grows from the start of the process."""
    GAUGE = "gauge"
    """As of now."""
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric."""

    name: str
    kind: MetricKind
    unit: str
    """UCUM, as OpenTelemetry writes it."""
    meaning: str
    scale: int = 1
    """What a histogram's whole numbers are divided by to give the unit."""


_NS, _US = 1_000_000_000, 1_000_000

INSTRUMENTS = (
    Instrument("hearth.partitions", MetricKind.GAUGE, "{partition}", "Partitions that there are."),
    Instrument("hearth.partitions.down", MetricKind.GAUGE, "{partition}", "Partitions that no shard serves."),
    Instrument("hearth.shards.missing", MetricKind.GAUGE, "{shard}", "Shards and spares that do not run, or not yet."),
    Instrument(
        "hearth.shards.without_model", MetricKind.GAUGE, "{shard}", "Shards that do not take the model in force."
    ),
    Instrument(
        "hearth.process.silence",
        MetricKind.GAUGE,
        "s",
        "Since an edge or a shard last told its numbers; Prometheus only.",
    ),
    Instrument("rpc.server.call.duration", MetricKind.HISTOGRAM, "s", "Public calls, by method and status code.", _NS),
    Instrument("hearth.edge.requests.active", MetricKind.GAUGE, "{request}", "Public calls under way, by method."),
    Instrument("hearth.signals", MetricKind.COUNTER, "{signal}", "Signals folded, by what became of each."),
    Instrument(
        "hearth.signals.lag", MetricKind.HISTOGRAM, "s", "Age of applied signals when appended; wall clock only.", _US
    ),
    Instrument("hearth.signals.waiting", MetricKind.GAUGE, "By", "Signals that wait to be appended."),
    Instrument(
        "hearth.signals.unknown_fields",
        MetricKind.COUNTER,
        "{value}",
        "Values of fields that the playbook does not know.",
    ),
    Instrument("hearth.moments", MetricKind.COUNTER, "{moment}", "Triggers that became true."),
    Instrument(
        "hearth.moments.pending", MetricKind.GAUGE, "{household}", "Households whose moments wait to be decided."
    ),
    Instrument(
        "hearth.decisions", MetricKind.COUNTER, "{decision}", "Decisions in force, by channel, origin and outcome."
    ),
    Instrument(
        "hearth.decisions.degraded", MetricKind.COUNTER, "{decision}", "Scored worse than by the model in force."
    ),
    Instrument(
        "hearth.decisions.scored", MetricKind.COUNTER, "{decision}", "Decisions scored, by the way of their scores."
    ),
    Instrument(
        "hearth.decisions.remade", MetricKind.COUNTER, "{decision}", "Made again: the state had moved on meanwhile."
    ),
    Instrument("hearth.decisions.void", MetricKind.COUNTER, "{decision}", "Appended, but without effect when folded."),
    Instrument("hearth.decisions.repeated", MetricKind.COUNTER, "{request}", "Requests that had been answered before."),
    Instrument("hearth.vetoes", MetricKind.COUNTER, "{veto}", "What spoke against candidates, by reason."),
    Instrument("hearth.decide.duration", MetricKind.HISTOGRAM, "s", "A Decide within its shard.", _NS),
    Instrument("hearth.decide.stage.duration", MetricKind.HISTOGRAM, "s", "The same, by stage.", _NS),
    Instrument(
        "hearth.shard.calls", MetricKind.COUNTER, "{call}", "Calls a shard answered, by method and status code."
    ),
    Instrument("hearth.group.records", MetricKind.HISTOGRAM, "{record}", "Records appended and synced together."),
    Instrument("hearth.group.size", MetricKind.HISTOGRAM, "By", "Bytes appended and synced together."),
    Instrument("hearth.append.duration", MetricKind.HISTOGRAM, "s", "Writing and syncing one group.", _NS),
    Instrument("hearth.outbox.actions", MetricKind.GAUGE, "{action}", "Accepted for sending, not yet acknowledged."),
    Instrument("hearth.households", MetricKind.GAUGE, "{household}", "Households known."),
    Instrument("hearth.partitions.owned", MetricKind.GAUGE, "{partition}", "Partitions the shard serves."),
    Instrument("hearth.partitions.lost", MetricKind.COUNTER, "{partition}", "Terms that ended by an error."),
    Instrument("hearth.lease.held", MetricKind.GAUGE, "1", "1 while the shard can prove that it is the owner, else 0."),
    Instrument("hearth.clock.confirmed", MetricKind.GAUGE, "1", "1 while the machine's clock has not jumped, else 0."),
    Instrument("hearth.snapshots.written", MetricKind.COUNTER, "{snapshot}", "Snapshots written and read back."),
    Instrument("hearth.snapshots.failed", MetricKind.COUNTER, "{snapshot}", "Snapshots that could not be written."),
    Instrument("hearth.snapshot.age", MetricKind.GAUGE, "s", "How old the oldest of the newest snapshots is."),
    Instrument(
        "hearth.log.tail", MetricKind.GAUGE, "{event}", "Events since the newest snapshot, most of any partition."
    ),
    Instrument(
        "hearth.log.repetitions", MetricKind.GAUGE, "{group}", "Groups that lie twice in the logs; folded once."
    ),
    Instrument("hearth.rejects.kept", MetricKind.COUNTER, "{reject}", "Rejects written to the reject logs."),
    Instrument("hearth.rejects.missed", MetricKind.COUNTER, "{reject}", "Rejects not written for want of room."),
    Instrument("hearth.rejects.dropped", MetricKind.COUNTER, "{reject}", "Old rejects given up for newer ones."),
    Instrument("hearth.rejects.failures", MetricKind.COUNTER, "{write}", "Writes of rejects that failed; tried again."),
    Instrument("hearth.scorer.requests", MetricKind.COUNTER, "{request}", "Asked of the model plane."),
    Instrument("hearth.scorer.requests.late", MetricKind.COUNTER, "{request}", "Not answered within their slice."),
    Instrument(
        "hearth.scorer.requests.local", MetricKind.COUNTER, "{request}", "Scored in the shard, by the same model."
    ),
    Instrument(
        "hearth.scorer.requests.degraded", MetricKind.COUNTER, "{request}", "Scored in the shard, by another model."
    ),
    Instrument("hearth.scorer.slice", MetricKind.GAUGE, "us", "What a request waits for the model plane at most."),
    Instrument("hearth.scorer.rows", MetricKind.COUNTER, "{row}", "Candidates asked about."),
    Instrument("hearth.scorer.batches", MetricKind.COUNTER, "{batch}", "Batches sent to the model plane."),
    Instrument("hearth.scorer.batches.failed", MetricKind.COUNTER, "{batch}", "Batches that failed or came too late."),
    Instrument(
        "hearth.scorer.breaker.openings", MetricKind.COUNTER, "{opening}", "Times the shard gave the model plane up."
    ),
    Instrument("hearth.model.decisions", MetricKind.COUNTER, "{decision}", "Decisions scored, by model version."),
    Instrument(
        "hearth.model.score.duration",
        MetricKind.HISTOGRAM,
        "s",
        "What a Decide waited for its scores, by version.",
        _NS,
    ),
    Instrument(
        "hearth.model.findings",
        MetricKind.GAUGE,
        "{finding}",
        "1 where `hearth models watch` found it off last, else 0.",
    ),
    Instrument(
        "hearth.model.watch.age", MetricKind.GAUGE, "s", "Since `hearth models watch` looked at a version last."
    ),
)

"""All of them, in the order of docs/telemetry.md."""

Labels: TypeAlias = Mapping[str, str]
Points: TypeAlias = list[tuple[Labels, int | Histogram]]
"""Values of one metric, one for each set of labels."""

NO_LABELS: Labels = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricInterval:
    """From when to when counters and histograms counted, in nanoseconds since 1970 UTC."""

    start_ns: int
    end_ns: int


def shard_points(numbers: ShardTelemetry) -> dict[str, Points]:
    """Return the values of a shard's metrics, by name."""
    now = numbers.gauges()
    scoring = tuple(numbers.scoring)
    decisions: Points = []
    for (channel, is_asked), by_outcome in tuple(numbers.decisions_by_channel.items()):
        for outcome, count in zip(Outcome, by_outcome, strict=True):
            if count:
                labels = {
                    "hearth.channel": channel or "none",
                    "hearth.origin": "request" if is_asked else "moment",
                    "hearth.outcome": outcome.value,
                }
                decisions.append((labels, count))
    return {
        "hearth.signals": [
            ({"hearth.status": status.name.lower()}, numbers.signals_by_status[status]) for status in Status
        ],
        "hearth.signals.lag": _one(numbers.signal_lag_us),
        "hearth.signals.waiting": _one(now.waiting_bytes),
        "hearth.signals.unknown_fields": _one(numbers.unknown_field_values),
        "hearth.moments": _one(numbers.moments_fired),
        "hearth.moments.pending": _one(now.moments_pending),
        "hearth.decisions": decisions,
        "hearth.decisions.degraded": _one(numbers.degraded_decisions),
        "hearth.decisions.scored": [
            ({"hearth.way": way}, count) for way, count in tuple(numbers.decisions_by_way.items())
        ],
        "hearth.decisions.remade": _one(numbers.remade_decisions),
        "hearth.decisions.void": _one(numbers.void_decisions),
        "hearth.decisions.repeated": _one(numbers.repeated_requests),
        "hearth.vetoes": [
            ({"hearth.veto": reason.lower()}, count) for reason, count in tuple(numbers.vetoes_by_reason.items())
        ],
        "hearth.decide.duration": _one(numbers.decide_ns),
        "hearth.decide.stage.duration": [
            ({"hearth.stage": stage.value}, histogram) for stage, histogram in numbers.stage_ns.items()
        ],
        "hearth.shard.calls": [
            ({"hearth.method": method, "rpc.response.status_code": code_name(code)}, count)
            for (method, code), count in tuple(numbers.calls.items())
        ],
        "hearth.group.records": _one(numbers.group_records),
        "hearth.group.size": _one(numbers.group_bytes),
        "hearth.append.duration": _one(numbers.append_ns),
        "hearth.outbox.actions": _one(now.outbox_size),
        "hearth.households": _one(now.households),
        "hearth.partitions.owned": _one(now.partitions_owned),
        "hearth.partitions.lost": _one(numbers.partitions_lost),
        "hearth.lease.held": _one(int(now.is_lease_held)),
        "hearth.clock.confirmed": _one(int(now.is_clock_confirmed)),
        "hearth.snapshots.written": _one(now.snapshots_written),
        "hearth.snapshots.failed": _one(now.snapshots_failed),
        "hearth.snapshot.age": _one(now.snapshot_age_s),
        "hearth.log.tail": _one(now.log_tail_events),
        "hearth.log.repetitions": _one(now.log_repetitions),
        "hearth.rejects.kept": _one(now.rejects_kept),
        "hearth.rejects.missed": _one(now.rejects_missed),
        "hearth.rejects.dropped": _one(now.rejects_dropped),
        "hearth.rejects.failures": _one(now.reject_failures),
        "hearth.scorer.requests": _one(sum(one.requests for one in scoring)),
        "hearth.scorer.requests.late": _one(sum(one.late_requests for one in scoring)),
        "hearth.scorer.requests.local": _one(sum(one.local_requests for one in scoring)),
        "hearth.scorer.requests.degraded": _one(sum(one.degraded_requests for one in scoring)),
        "hearth.scorer.slice": _one(scoring[-1].slice_us if scoring else 0),
        "hearth.scorer.rows": _one(sum(one.rows for one in scoring)),
        "hearth.scorer.batches": _one(sum(one.batches for one in scoring)),
        "hearth.scorer.batches.failed": _one(sum(one.failed_batches for one in scoring)),
        "hearth.scorer.breaker.openings": _one(sum(one.openings for one in scoring)),
        "hearth.model.decisions": [
            ({"hearth.model.version": version}, count) for version, count in tuple(numbers.decisions_by_model.items())
        ],
        "hearth.model.score.duration": [
            ({"hearth.model.version": version}, histogram)
            for version, histogram in tuple(numbers.score_ns_by_model.items())
        ],
    }


def code_name(code: int) -> str:
    """Return the name of a gRPC status code."""
    return CODE_NAMES.get(code, "UNKNOWN")


def metrics_data(points_by_name: Mapping[str, Points], resource: Resource, window: MetricInterval) -> MetricsData:
    """Return values as OpenTelemetry's exporters take them. Histograms nobody has filled yet are left out."""
    metrics = [
        _metric(instrument, points_by_name[instrument.name], window)
        for instrument in INSTRUMENTS
        if instrument.name in points_by_name
    ]
    scope = ScopeMetrics(scope=SCOPE, metrics=[metric for metric in metrics if metric.data.data_points], schema_url="")
    return MetricsData(resource_metrics=[ResourceMetrics(resource=resource, scope_metrics=[scope], schema_url="")])


def _metric(instrument: Instrument, points: Points, window: MetricInterval) -> Metric:
    cumulative = AggregationTemporality.CUMULATIVE
    numbers = [_number(labels, value, window) for labels, value in points if isinstance(value, int)]
    data: Sum | Gauge | HistogramData
    match instrument.kind:
        case MetricKind.COUNTER:
            data = Sum(data_points=numbers, aggregation_temporality=cumulative, is_monotonic=True)
        case MetricKind.GAUGE:
            data = Gauge(data_points=numbers)
        case MetricKind.HISTOGRAM:
            filled = [
                _histogram(labels, value, instrument.scale, window)
                for labels, value in points
                if isinstance(value, Histogram) and any(value.counts)
            ]
            data = HistogramData(data_points=filled, aggregation_temporality=cumulative)
    return Metric(name=instrument.name, description=instrument.meaning, unit=instrument.unit, data=data)


def _number(labels: Labels, value: int, window: MetricInterval) -> NumberDataPoint:
    return NumberDataPoint(
        attributes=labels, start_time_unix_nano=window.start_ns, time_unix_nano=window.end_ns, value=value
    )


def _histogram(labels: Labels, histogram: Histogram, scale: int, window: MetricInterval) -> HistogramDataPoint:
    counts = tuple(histogram.counts)
    return HistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=window.start_ns,
        time_unix_nano=window.end_ns,
        count=sum(counts),
        sum=histogram.sum / scale,
        bucket_counts=counts,
        explicit_bounds=_scaled(histogram.bounds, scale),
        # Kept over the whole life of the process they would say little, so they are left empty.
        min=None,  # type: ignore[arg-type]
        max=None,  # type: ignore[arg-type]
    )


def _scaled(bounds: Sequence[int], scale: int) -> Sequence[float]:
    return [bound / scale for bound in bounds]


def _one(value: int | Histogram) -> Points:
    return [(NO_LABELS, value)]
