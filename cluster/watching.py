"""How the processes of a Hearth are watched: where each logs, and what it sends to whom.

Every process is told by these settings, and most send nothing: what sends is imported only where something is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.logs import LogSettings, start_logging

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.config import HearthConfig
    from cluster.exposition import Exposition
    from cluster.metrics import Points
    from cluster.telemetry import EdgeTelemetry, WatchedShard


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsEndpoint:
    """Where Prometheus finds the numbers of all processes."""

    host: str
    port: int

    def address_at(self, port: int) -> str:
        """Return where it is, on a port that may have been a free one."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """What a process needs to know to be watched. Travels to actors pickled."""

    endpoint: str | None
    """OTLP over HTTP; None exports nothing."""
    trace_share: float
    interval_s: float
    logs: LogSettings
    scraped: MetricsEndpoint | None = None
    """Where the coordinator shows them all to Prometheus; None shows nothing."""

    @property
    def is_on(self) -> bool:
        """Whether anything is counted at all."""
        return self.endpoint is not None or self.scraped is not None


def telemetry_settings(config: HearthConfig) -> TelemetrySettings:
    """Return what the configuration says of telemetry."""
    return TelemetrySettings(
        endpoint=config.otel_endpoint,
        trace_share=config.trace_share,
        interval_s=config.metrics_interval_s,
        logs=LogSettings(folder=Path(config.data_dir) / "logs", level=config.log_level.value),
        scraped=(
            MetricsEndpoint(host=config.metrics_host, port=config.metrics_port)
            if config.metrics_port is not None
            else None
        ),
    )


def edge_observer(settings: TelemetrySettings) -> EdgeTelemetry | None:
    """Set up logging and telemetry of an edge replica; the observer of its requests, None where nothing is exported."""
    start_logging(settings.logs, "edge")
    if not settings.is_on:
        return None
    from cluster import telemetry

    return telemetry.edge_observer(settings)


def shard_telemetry(settings: TelemetrySettings, name: str) -> WatchedShard | None:
    """Return the numbers a shard is to keep and their export, begun; None where nothing is exported."""
    if not settings.is_on:
        return None
    from cluster import telemetry

    return telemetry.shard_telemetry(settings, name)


def coordinator_telemetry(settings: TelemetrySettings, source: Callable[[], dict[str, Points]]) -> Exposition | None:
    """Begin to export what the coordinator counts; return what takes the others' numbers, None where nobody scrapes."""
    if not settings.is_on:
        return None
    from cluster import telemetry

    return telemetry.coordinator_telemetry(settings, source)
