"""How fast the log on Kafka appends durably, beside a bare produce + flush of the same bytes in the same run.

    python -m tests.benches.kafka_bench [--json] [--bootstrap HOST:PORT] [--seconds S]

Without --bootstrap it starts a broker of its own on this machine: one replica, so the network and the other replicas'
syncs are missing. Both sides take turns in short rounds; the figures are medians over all appends.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack

from confluent_kafka import Producer

from actors.log.contract import Epoch, PartitionId, Record, RecordKind
from actors.log.kafka import KafkaStore
from actors.log.kafka_client import KafkaClients, KafkaSettings
from actors.log.kafka_frame import GroupHeader, encode_group
from tests.parts.kafka_broker import running_broker

BATCH_COUNTS = (1, 100, 1_000)
PAYLOAD_BYTES = 200
ROUND_COUNT = 10
BARE = PartitionId(1)
LOGGED = PartitionId(0)


def latencies_us(append: Callable[[], object], *, duration_s: float) -> list[float]:
    taken = []
    end = time.perf_counter() + duration_s
    while (begin := time.perf_counter()) < end:
        append()
        taken.append(1e6 * (time.perf_counter() - begin))
    return taken


def bare_append(producer: Producer, topic: str, message: bytes) -> Callable[[], object]:
    def append() -> None:
        producer.produce(topic, message, partition=BARE)
        producer.flush()

    return append


def records_of(count: int, *, is_compressible: bool = False) -> list[Record]:
    payload = (b"wallet.payment," * PAYLOAD_BYTES)[:PAYLOAD_BYTES] if is_compressible else os.urandom(PAYLOAD_BYTES)
    return [
        Record(kind=RecordKind.SIGNALS, version=1, epoch=Epoch(1), stamp_us=index, payload=payload)
        for index in range(count)
    ]


def measure(bootstrap: str, batch_count: int, *, duration_s: float, compression: str = "none") -> dict[str, object]:
    """Return latencies of log and bare producer, records per second of both, and of reading."""
    is_compressible = compression != "none"
    settings = KafkaSettings(
        bootstrap=bootstrap,
        prefix=f"bench-{uuid.uuid4()}",
        partition_count=2,
        replication_factor=1,
        min_insync_replicas=1,
        compression=compression,
    )
    records = records_of(batch_count, is_compressible=is_compressible)
    store = KafkaStore(settings)
    log = store.open(LOGGED)
    header = GroupHeader(BARE, batch_count, bytes(16), 0, 0, Epoch(1))
    bare = bare_append(KafkaClients(settings).producer(), settings.topic, encode_group(header, records))
    log.append(records)
    bare()
    logged_us, bare_us = [], []
    for _ in range(ROUND_COUNT):
        logged_us += latencies_us(lambda: log.append(records), duration_s=duration_s / ROUND_COUNT)
        bare_us += latencies_us(bare, duration_s=duration_s / ROUND_COUNT)
    begin = time.perf_counter()
    read_count = sum(1 for _ in log.read(log.first_offset))
    read_s = time.perf_counter() - begin
    log.close()
    store.close()
    logged, plain = statistics.median(logged_us), statistics.median(bare_us)
    return {
        "batch": batch_count,
        "compression": compression,
        "log_us_p50": round(logged),
        "log_us_p99": round(statistics.quantiles(logged_us, n=100)[98]),
        "bare_us_p50": round(plain),
        "bare_us_p99": round(statistics.quantiles(bare_us, n=100)[98]),
        "ratio_p50": round(logged / plain, 3),
        "log_records_per_s": round(batch_count * len(logged_us) / duration_s),
        "bare_records_per_s": round(batch_count * len(bare_us) / duration_s),
        "read_records_per_s": round(read_count / read_s),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bootstrap", help="of a running Kafka; by default one is started")
    parser.add_argument("--seconds", type=float, default=3.0, help="per side and batch size")
    arguments = parser.parse_args()
    with ExitStack() as until_done:
        bootstrap = arguments.bootstrap or until_done.enter_context(running_broker()).bootstrap
        rows = [measure(bootstrap, count, duration_s=arguments.seconds) for count in BATCH_COUNTS]
        rows.append(measure(bootstrap, 1_000, duration_s=arguments.seconds, compression="lz4"))
    if arguments.json:
        print(json.dumps({"payload_bytes": PAYLOAD_BYTES, "appends": rows}))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
