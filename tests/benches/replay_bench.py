"""What a small signal record costs a restart: decoded alone and together, folded, and both as a restart does it.

    python -m tests.benches.replay_bench [--records N] [--events N]

Prints JSON: microseconds of CPU per record, the best of three rounds.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from itertools import islice

import pyarrow as pa

from actors.log.contract import Epoch, Offset, Record, RecordKind, StoredRecord
from actors.partition.recovery import _Steps
from actors.records import codec
from actors.records.replay import Replay
from actors.records.signals import TOGETHER_RECORDS, decode_signals, decode_together
from actors.shard.warm import warm_kernels
from household.apply import apply_epoch, apply_signals
from household.plan import Plan
from household.state import FOLD_VERSION, PartitionState
from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town import MONDAY_US, Town
from playbooks.compiler import compile_playbook
from tests.benches.recovery_bench import signal_batches

ROUNDS = 3


def small_payloads(town: Town, events: int) -> Iterator[bytes]:
    """Yield a town's signals, so many to a record, with the columns that an edge sends: those that hold something."""
    for batch in signal_batches(town, 65_536):
        for start in range(0, batch.num_rows - events, events):
            rows = batch.slice(start, events)
            columns = {
                name: column.dictionary_decode().dictionary_encode() if pa.types.is_dictionary(column.type) else column
                for name, column in zip(rows.schema.names, rows.columns, strict=True)
                if ":" not in name or column.null_count < events
            }
            sent = pa.record_batch(columns)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, sent.schema) as writer:
                writer.write_batch(sent)
            yield sink.getvalue().to_pybytes()


def log_of(plan: Plan, payloads: list[bytes], stamp_us: int) -> list[StoredRecord]:
    opening = codec.EpochOpening(owner="bench", stream_clock=False, fold_version=FOLD_VERSION)
    kinds = [(RecordKind.EPOCH, codec.encode_epoch(opening)), (RecordKind.PLAN, codec.encode_plan(plan))]
    kinds += [(RecordKind.SIGNALS, payload) for payload in payloads]
    return [
        StoredRecord(
            offset=Offset(offset),
            record=Record(kind=kind, version=1, epoch=Epoch(1), stamp_us=stamp_us, payload=payload),
        )
        for offset, (kind, payload) in enumerate(kinds)
    ]


def measure(records: int, events: int) -> dict[str, float]:
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    town = Town(seed=1, households=300, start_us=MONDAY_US, days=3, plan=plan)
    payloads = list(islice(small_payloads(town, events), records))
    stored = log_of(plan, payloads, town.end_us)
    batches = [decode_signals(payload, plan) for payload in payloads]

    def alone() -> None:
        for payload in payloads:
            decode_signals(payload, plan)

    def together() -> None:
        for start in range(0, len(payloads), TOGETHER_RECORDS):
            decode_together(payloads[start : start + TOGETHER_RECORDS], plan)

    def fold() -> None:
        state = PartitionState(plan=plan, stream_clock=False)
        apply_epoch(state, epoch=1)
        for batch in batches:
            apply_signals(state, batch, stamp_us=town.end_us)

    def restart() -> None:
        steps = _Steps(Replay(), stored, None)
        while steps.take():
            pass

    warm_kernels()
    found = {"records": float(len(payloads)), "events_each": float(events)}
    for name, work in {"decode_alone": alone, "decode_together": together, "fold": fold, "restart": restart}.items():
        found[f"{name}_us"] = round(best_us(work) / len(payloads), 1)
    return found


def best_us(work: Callable[[], None]) -> float:
    took = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=5_000)
    parser.add_argument("--events", type=int, default=3)
    given = parser.parse_args()
    print(json.dumps(measure(given.records, given.events), indent=1))


if __name__ == "__main__":
    main()
