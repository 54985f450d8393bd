"""How the processes of a Hearth are watched: where each logs, and what it sends to whom.

Every process is told by these settings, and most send nothing: what sends is imported only where something is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.logs import LogSettings, start_logging

if TYPE_CHECKING:
    from cluster.config import HearthConfig
    from cluster.telemetry import EdgeTelemetry, WatchedShard


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """What a process needs to know to be watched. Travels to actors pickled."""

    endpoint: str | None
    """OTLP over HTTP; None exports nothing."""
    trace_share: float
    interval_s: float
    logs: LogSettings


def telemetry_settings(config: HearthConfig) -> TelemetrySettings:
    """Return what the configuration says of telemetry."""
    return TelemetrySettings(
        endpoint=config.otel_endpoint,
        trace_share=config.trace_share,
        interval_s=config.metrics_interval_s,
        logs=LogSettings(folder=Path(config.data_dir) / "logs", level=config.log_level.value),
    )


def edge_observer(settings: TelemetrySettings) -> EdgeTelemetry | None:
    """Set up logging and telemetry of an edge replica; the observer of its requests, None where nothing is exported."""
    start_logging(settings.logs, "edge")
    if settings.endpoint is None:
        return None
    from cluster import telemetry

    return telemetry.edge_observer(settings)


def shard_telemetry(settings: TelemetrySettings, name: str) -> WatchedShard | None:
    """Return the numbers a shard is to keep and their export, begun; None where nothing is exported."""
    if settings.endpoint is None:
        return None
    from cluster import telemetry

    return telemetry.shard_telemetry(settings, name)
