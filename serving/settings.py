"""Limits of the public services."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """Limits of the public services."""

    timeout_s: float = 1.0
    """For a call whose client sets no deadline."""
    ingest_timeout_s: float = 30.0
    """For an Ingest, and for each batch of an IngestStream, whose client sets no deadline."""
    in_flight_max: int | None = None
    """Unary calls in one edge process; None leaves it to the pace at which they are answered."""
    ingest_wait_s_max: float = 5.0
    """An Ingest whose batch would have to wait for longer is refused."""
    ingest_bytes_min: int = 32 * 1024 * 1024
    """Of batches that may wait whatever the pace at which they are taken."""
    ingest_bytes_max: int = 256 * 1024 * 1024
    """Of batches that may wait in one edge process, since they are held in memory."""
    stream_depth: int = 4
    """Batches of one IngestStream that are under way at once."""
    delivery_age_s_max: float = 1.0
    """An outbound action that waited longer for a slow gateway is dropped here, to be checked and handed over again."""
    delivery_queue_length: int = 64
    """Deliveries that wait for one slow subscriber before the shards are slowed down."""
    routes_age_s_max: float = 1.0
    """How old a subscription's and a health check's picture of the shards may be."""

    def __post_init__(self) -> None:
        assert 0 < self.timeout_s <= self.ingest_timeout_s
        assert self.in_flight_max is None or self.in_flight_max > 0
        assert self.ingest_wait_s_max > 0
        assert 0 < self.ingest_bytes_min <= self.ingest_bytes_max
        assert self.stream_depth > 0
        # Nothing would ever be handed over.
        assert self.delivery_age_s_max > 0
        assert self.delivery_queue_length > 0
        assert self.routes_age_s_max > 0
