"""The Prometheus endpoint: what every process last told of its numbers, on one page, named as Prometheus names things.

It is in the coordinator's process, to which edges and shards send theirs once per interval; a coordinator that is made
anew has them all again an interval later. What is not told any more is shown as silent for a while, then forgotten.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric

from actors.partition.telemetry import Histogram
from cluster.metrics import INSTRUMENTS, Instrument, Labels, MetricKind, Points
from cluster.watching import MetricsEndpoint

logger = logging.getLogger(__name__)

SILENT_S: Final = 15.0
"""What a process said longer ago is not shown any more: it would look as if it were so."""
FORGOTTEN_S: Final = 600.0
"""For so long a silent process is shown to be silent."""
BIND_AGAIN_S: Final = 1.0
"""The coordinator that died may hold the port a moment longer."""

_UNITS: Final = {"s": "seconds", "us": "microseconds", "By": "bytes"}

_KINDS: Final = {MetricKind.COUNTER: "counter", MetricKind.GAUGE: "gauge", MetricKind.HISTOGRAM: "histogram"}


@dataclass(frozen=True, slots=True)
class _Told:
    """What a process said."""

    points: dict[str, Points]
    at_s: float


class Exposition:
    """The numbers of all processes, for Prometheus to collect. A `prometheus_client` collector; safe in any thread."""

    def __init__(
        self, own: Callable[[], dict[str, Points]], *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`own`: the numbers of this process, the coordinator's, asked at each scrape."""
        self._own = own
        self._monotonic_s = monotonic_s
        self._told: dict[str, _Told] = {}
        self.address = ""
        """Where it is shown; empty while it is nowhere."""

    def take(self, process: str, points: dict[str, Points]) -> None:
        """Keep what a process tells of itself; shard-0, edge-4711 and so on."""
        self._told[process] = _Told(points, self._monotonic_s())

    def collect(self) -> Iterator[Metric]:
        """Yield every metric that has a value, each with the process it is of as a label."""
        now_s = self._monotonic_s()
        for process, one in tuple(self._told.items()):
            if now_s - one.at_s > FORGOTTEN_S:
                del self._told[process]
        told = dict(self._told)
        by_process = {"coordinator": self._own()}
        by_process |= {process: one.points for process, one in told.items() if now_s - one.at_s <= SILENT_S}
        for process, one in told.items():
            silence: Points = [({}, int(now_s - one.at_s))]
            by_process[process] = by_process.get(process, {}) | {"hearth.process.silence": silence}
        for instrument in INSTRUMENTS:
            metric = Metric(prometheus_name(instrument), instrument.meaning, _KINDS[instrument.kind])
            for process, points in by_process.items():
                for labels, value in points.get(instrument.name, ()):
                    _add(metric, instrument, _labels(labels, process), value)
            if metric.samples:
                yield metric

    def serve(self, endpoint: MetricsEndpoint) -> None:
        """Begin to listen; where the port is not free yet, in a while. Never raises: nothing else may wait for this."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        threading.Thread(target=self._listen, args=(endpoint, registry), name="metrics-listen", daemon=True).start()

    def _listen(self, endpoint: MetricsEndpoint, registry: CollectorRegistry) -> None:
        is_told = False
        while True:
            try:
                server, _ = start_http_server(endpoint.port, endpoint.host, registry)
            except OSError as wrong:
                if not is_told:
                    logger.warning("no metrics at %s:%d yet: %s", endpoint.host, endpoint.port, wrong)
                is_told = True
                time.sleep(BIND_AGAIN_S)
            else:
                self.address = endpoint.address_at(server.server_port)
                logger.info("metrics are at http://%s/metrics", self.address)
                return


def prometheus_name(instrument: Instrument) -> str:
    """Return what a metric is called in Prometheus, without a counter's `_total`, as OpenTelemetry's collector does it.

    >>> prometheus_name(Instrument("hearth.snapshot.age", MetricKind.GAUGE, "s", ""))
    'hearth_snapshot_age_seconds'
    >>> prometheus_name(Instrument("hearth.lease.held", MetricKind.GAUGE, "1", ""))
    'hearth_lease_held_ratio'
    """
    name = instrument.name.replace(".", "_")
    if instrument.unit == "1" and instrument.kind is MetricKind.GAUGE:
        return f"{name}_ratio"
    unit = _UNITS.get(instrument.unit)
    return f"{name}_{unit}" if unit is not None else name


def series_names(instrument: Instrument) -> list[str]:
    """Return the names of the series that a metric comes as."""
    name = prometheus_name(instrument)
    match instrument.kind:
        case MetricKind.COUNTER:
            return [f"{name}_total"]
        case MetricKind.GAUGE:
            return [name]
        case MetricKind.HISTOGRAM:
            return [f"{name}_bucket", f"{name}_count", f"{name}_sum"]


def _labels(labels: Labels, process: str) -> dict[str, str]:
    return {name.replace(".", "_"): value for name, value in labels.items()} | {"process": process}


def _add(metric: Metric, instrument: Instrument, labels: dict[str, str], value: int | Histogram) -> None:
    if isinstance(value, int):
        metric.add_sample(series_names(instrument)[0], labels, value)
        return
    bucket, count, total = series_names(instrument)
    below = 0
    for bound, counted in zip((*value.bounds, None), tuple(value.counts), strict=True):
        below += counted
        edge = "+Inf" if bound is None else repr(bound / instrument.scale)
        metric.add_sample(bucket, labels | {"le": edge}, below)
    metric.add_sample(count, labels, below)
    metric.add_sample(total, labels, value.sum / instrument.scale)
