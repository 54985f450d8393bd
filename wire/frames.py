"""The hop between an edge and a shard: frames of calls and replies, and the connection that carries them."""

from __future__ import annotations

from typing import Final

from hearth.internal.v1 import shard_pb2

FRAME_BYTES_MAX: Final = 1024 * 1024
"""A frame is closed once it holds so many payload bytes, so that a decision waits for one large ingest at most."""

METHODS_IN_LINE: Final = frozenset(
    {
        shard_pb2.METHOD_DECIDE,
        shard_pb2.METHOD_REPORT,
        shard_pb2.METHOD_ACK,
        shard_pb2.METHOD_GET,
        shard_pb2.METHOD_EXPLAIN,
        shard_pb2.METHOD_DECISIONS,
        shard_pb2.METHOD_GRAPH,
    }
)
"""Calls that stand in line, at the edge and at the shard. The others (batches, snapshots) have lines of their own."""

DECISION_COUNT_MAX: Final = 100
"""In the answer to one Decisions."""

PING_EVERY_MS: Final = 10_000
PING_TIMEOUT_MS: Final = 5_000
"""A hung machine closes no socket; pings notice it within 15 s. The calls on it end by their deadlines long before."""
PING_INTERVAL_MS_MIN: Final = 5_000
# Else the shard would close the connection for it.
assert PING_INTERVAL_MS_MIN < PING_EVERY_MS

_MESSAGES_OF_ANY_LENGTH: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

EDGE_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    *_MESSAGES_OF_ANY_LENGTH,
    # Each connection is ours alone, with our own backoff: a shared one may have been put to sleep by others' failures.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", PING_EVERY_MS),
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.http2.max_pings_without_data", 0),
)
"""Of the edge's channel to a shard."""

SHARD_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    *_MESSAGES_OF_ANY_LENGTH,
    ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MS_MIN),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
)
"""Of a shard's server."""
