"""How long a shard's partitions take to serve again from their snapshots, and what those cost.

    python -m tests.benches.recovery_bench [--households N] [--days D] [--tail N] [--directory DIR]

A small town lives some days under the shipped playbook, its moments are decided, and what is known of it is laid out
many times over, with other keys, until four partitions hold so many households between them. Then: freeze each in
slices, write, verify; append a tail to each log; load and fold the tail, two partitions at a time. Prints JSON.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.log.contract import Epoch, Offset, PartitionId, Record, RecordKind
from actors.log.segments import SegmentStore
from actors.records import codec
from actors.records.replay import Replay
from actors.records.signals import events_from_batch
from actors.snapshots.facts import ReplayFacts
from actors.snapshots.store import SnapshotStore, snapshot_store
from household.apply import apply_decision, apply_epoch, apply_signals
from household.columns.keys import KeyTable
from household.columns.layout import lay_out
from household.columns.windows import Slab
from household.decide import decide, prepare
from household.deciding.draft import Ask, Scores
from household.decision_bytes import encode_decision
from household.digest import state_digest
from household.freeze import STEP_ROWS, Freeze, Frozen, FrozenKeys, thaw
from household.plan import NONE, Plan, Scope
from household.state import PartitionState
from household.tables.actions import LiveAction
from household.tables.all_tables import TABLES
from household.tables.contract import Declaration, Owner
from household.tables.frozen import FrozenTable, frozen_rows
from household.tables.outbox import Outbound
from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town import MONDAY_US, Town
from playbooks.compiler import compile_playbook

PARTITIONS = 4
CORES = 2
TAIL_BATCH = 2_500
TOWN_HOUSEHOLDS = 15_625
ONE_ASKS_IN = 20
"""One household of so many was shown something today, which stands."""


def signal_batches(town: Town, max_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield a town's signals as the log holds them."""
    for batch in town.batches(max_rows):
        columns = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
            if name in ("event_id", "household", "member", "time"):
                columns[name] = plain
            elif name == "type":
                columns[name] = column
            elif pa.types.is_string(plain.type):
                columns[f"s:{name}"] = column
            else:
                columns[f"n:{name}"] = plain.cast(pa.int8()) if pa.types.is_boolean(plain.type) else plain
        yield pa.record_batch(columns)


def lived(plan: Plan, *, households: int, days: float) -> tuple[PartitionState, list[pa.RecordBatch]]:
    """Return a partition after some days, moments decided and some asked, and the signals of the hours after that."""
    town = Town(seed=1, households=households, start_us=MONDAY_US, days=days + 0.5, plan=plan)
    end_us, after = town.start_us + int(days * 86_400e6), []
    state = PartitionState(plan=plan, stream_clock=True)
    apply_epoch(state, epoch=1)
    for batch in signal_batches(town, 65_536):
        if batch.column("time")[0].as_py() >= end_us:
            after.append(batch)
            continue
        applied = apply_signals(state, events_from_batch(batch, plan), stamp_us=town.end_us)
        for row in dict.fromkeys(row for row, _ in applied.moments):
            decide_for(state, row, channel=NONE)
    app = plan.channel_by_name["app"]
    for row in range(0, state.households.count, ONE_ASKS_IN):
        decide_for(state, row, channel=app, request_id=f"request-{row}")
    return state, after


def decide_for(state: PartitionState, row: int, *, channel: int, request_id: str = "") -> None:
    """Decide for a household by the priors: about what is pending, or about a contact by its first member."""
    pending = state.pending.of(row)
    members = [pending[0].member] if pending else state.members.children(row)[:1]
    contacts = frozenset(event for journey in state.plan.journeys for event in journey.contact_events)
    ask = Ask(
        household=state.households.key(row),
        member=state.members.key(members[0]) if members and members[0] >= 0 else b"",
        channel=channel,
        request_id=request_id,
        is_contact=channel != NONE,
        contact_types=contacts if channel != NONE else frozenset(),
    )
    draft = prepare(state, ask)
    priors = {index: state.plan.offers[index].prior_acceptance for index in draft.to_score}
    scores = Scores(by_offer=priors, model_version="prior", degraded=False)
    decision = decide(state, draft, scores, epoch=1, schema_hash="")
    apply_decision(state, decision, encode_decision(decision, member_keys={}), epoch=1, offset=1, stamp_us=0)


def frozen_of(state: PartitionState, rows: int = STEP_ROWS) -> tuple[Frozen, list[float]]:
    """Return what is frozen, and the milliseconds of beginning and of each step."""
    took_ms, began = [], time.perf_counter()
    freeze = Freeze(state)
    is_done = False
    while not is_done:
        took_ms.append((time.perf_counter() - began) * 1e3)
        began = time.perf_counter()
        is_done = freeze.step(rows)
    took_ms.append((time.perf_counter() - began) * 1e3)
    frozen = freeze.end()
    assert frozen is not None
    return frozen, took_ms


# --- one town, many times ---------------------------------------------------------------------------------------------


def many(frozen: Frozen, copies: int) -> Frozen:
    """Return the same content so many times over, each time under other keys."""
    count, entries = frozen.households.count, frozen.slab.bucket.shape[0] - 1
    households = table_of(*renamed(frozen.households, copies), None)
    parents = np.concatenate([frozen.members.parents + copy * count for copy in range(copies)]).astype(np.int32)
    ends = [frozen.members.ends + copy * frozen.members.letters.shape[0] for copy in range(copies)]
    members = table_of(np.concatenate(ends), np.tile(frozen.members.letters, copies), parents)
    of_household, of_member = window_cells(frozen.plan, Scope.HOUSEHOLD), window_cells(frozen.plan, Scope.MEMBER)
    salt = np.repeat(np.arange(copies, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15), frozen.id_low.shape[0])
    return replace(
        frozen,
        households=households,
        members=members,
        household_cells=shifted(frozen.household_cells, of_household, entries, copies),
        member_cells=shifted(frozen.member_cells, of_member, entries, copies),
        slab=Slab(
            bucket=tiled(frozen.slab.bucket, copies),
            number=tiled(frozen.slab.number, copies),
            total=tiled(frozen.slab.total, copies),
            free=frozen.slab.free,
        ),
        id_low=np.tile(frozen.id_low, copies) ^ salt,
        id_high=np.tile(frozen.id_high, copies),
        id_times=np.tile(frozen.id_times, copies),
        id_slots=1 << (frozen.id_slots * copies - 1).bit_length(),
        tables={one.name: many_rows(one, thaw(frozen), copies) for one in TABLES},
    )


def many_rows(declaration: Declaration[Any], state: PartitionState, copies: int) -> FrozenTable:
    """Return the rows of a table so many times over; ids of the partition's own rows are others in each copy."""
    table, count = state.tables.of(declaration), state.households.count
    owned = [(table.owner(slot), table.row(slot)) for slot in table.slots_in_order().tolist()]
    if declaration.owner is Owner.HOUSEHOLD:
        return frozen_rows(declaration, [(row + copy * count, one) for copy in range(copies) for row, one in owned])
    found = []
    for copy in range(copies):
        for _, one in owned:
            values = {declaration.key[-1]: f"{getattr(one, declaration.key[-1])}{copy}"}
            if isinstance(one, LiveAction | Outbound):
                values["household"] = one.household + copy * count
            found.append((0, replace(one, **values)))
    return frozen_rows(declaration, found)


def window_cells(plan: Plan, scope: Scope) -> list[int]:
    cells = zip(lay_out(plan).window_cells, plan.windows, strict=True)
    return [cell for cell, window in cells if window.scope is scope]


def renamed(keys: FrozenKeys, copies: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return (ends, letters) of all keys of all copies: the key, all of one length, and two digits."""
    letters = keys.letters.reshape(keys.count, -1)
    digits = [np.tile(np.frombuffer(b"%02d" % copy, np.uint8), (keys.count, 1)) for copy in range(copies)]
    every = np.concatenate([np.hstack([letters, one]) for one in digits])
    return np.arange(1, len(every) + 1, dtype=np.int64) * every.shape[1], every.reshape(-1)


def table_of(ends: NDArray[np.int64], letters: NDArray[np.uint8], parents: NDArray[np.int32] | None) -> FrozenKeys:
    table, count = KeyTable(), len(ends)
    above = np.full(count, -1, np.int32) if parents is None else parents
    rows = table.intern(np.concatenate([[0], ends]), letters, above, np.ones(count, np.uint8))
    assert int(rows[-1]) == count - 1
    arrays = table.arrays
    return FrozenKeys(
        hashes=arrays.hashes[:count],
        parents=arrays.parents[:count],
        ends=arrays.ends[:count],
        letters=arrays.letters[: int(ends[-1])],
    )


def tiled(entries: NDArray[Any], copies: int) -> NDArray[Any]:
    return np.concatenate([entries[:1], np.tile(entries[1:], copies)])


def shifted(cells: NDArray[np.float64], windows: list[int], entries: int, copies: int) -> NDArray[np.float64]:
    many_cells = np.tile(cells, (copies, 1))
    for cell in windows:
        handles = many_cells[:, cell]
        by_copy = np.repeat(np.arange(copies, dtype=np.float64) * (entries << 16), cells.shape[0])
        handles += np.where(handles == 0.0, 0.0, by_copy)
    return many_cells


# --- the bench --------------------------------------------------------------------------------------------------------


def append_tail(logs: SegmentStore, partition: int, plan: Plan, after: list[pa.RecordBatch], copies: int, events: int):
    """Write a log whose tail, from offset 2 on, holds signals of the partition's households."""
    chance = np.random.default_rng(partition)
    opening = codec.EpochOpening(owner="bench", stream_clock=True, fold_version=1)
    log = logs.open(PartitionId(partition))

    def record(kind: RecordKind, payload: bytes) -> Record:
        return Record(kind=kind, version=1, epoch=Epoch(1), stamp_us=MONDAY_US * 2, payload=payload)

    log.append(
        [record(RecordKind.EPOCH, codec.encode_epoch(opening)), record(RecordKind.PLAN, codec.encode_plan(plan))]
    )
    table = pa.Table.from_batches(list(same_columns(after)))
    table = table.slice(0, events).combine_chunks()
    names = [
        f"{key}{copy:02d}"
        for key, copy in zip(table.column("household").to_pylist(), chance.integers(0, copies, len(table)), strict=True)
    ]
    table = table.set_column(table.schema.get_field_index("household"), "household", pa.array(names))
    for batch in table.to_batches(max_chunksize=TAIL_BATCH):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        log.append([record(RecordKind.SIGNALS, bytes(sink.getvalue()))])
    log.close()
    return len(table)


def same_columns(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    schema = pa.unify_schemas([one.schema for one in batches])
    for batch in batches:
        yield pa.record_batch(
            [
                batch.column(field.name) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type)
                for field in schema
            ],
            schema=schema,
        )


def serve_again(store: SnapshotStore, logs: SegmentStore, partition: int) -> tuple[Replay, float, float]:
    """Load a partition and fold its tail; return it with the seconds of each."""
    began = time.perf_counter()
    loaded = store.load(PartitionId(partition))
    assert loaded.replay is not None, loaded.faults
    middle = time.perf_counter()
    log = logs.open(PartitionId(partition), acknowledged_end=loaded.position)
    for stored in log.read(loaded.position):
        loaded.replay.fold(stored)
    log.close()
    return loaded.replay, middle - began, time.perf_counter() - middle


class Pulse(threading.Thread):
    """Wakes every millisecond, as an event loop would, and notes how late it was."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.late_ms: list[float] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.is_set():
            began = time.perf_counter()
            time.sleep(0.001)
            self.late_ms.append((time.perf_counter() - began) * 1e3 - 1.0)

    def stop(self) -> dict[str, float]:
        self.is_over.set()
        self.join()
        self.late_ms.sort()
        return {
            "p50_ms": round(statistics.median(self.late_ms), 2),
            "p99_ms": round(self.late_ms[int(len(self.late_ms) * 0.99)], 2),
            "max_ms": round(self.late_ms[-1], 2),
        }


def bytes_of(state: PartitionState) -> dict[str, int]:
    """Return what a partition takes in memory, as used, without side tables."""
    cells, ids = state.cells, state.dedupe.arrays
    used_entries = int(cells.slab.free[-1])
    keys = sum(
        int(table.arrays.ends[table.count - 1]) + 16 * table.count for table in (state.households, state.members)
    )
    slots = sum(table.arrays.slots.nbytes for table in (state.households, state.members))
    return {
        "cells": state.cells_used * 8 + (state.household_rows + state.member_rows) * 8,
        "windows": used_entries * 16,
        "keys": keys + slots,
        "known_ids": ids.times.nbytes * 3,
    }


def measure(*, households: int, days: float, tail: int, directory: Path) -> dict[str, Any]:
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    began = time.perf_counter()
    copies = max(1, households // PARTITIONS // TOWN_HOUSEHOLDS)
    base, after = lived(plan, households=households // PARTITIONS // copies, days=days)
    frozen_base, _ = frozen_of(base)
    logs, store = SegmentStore(directory / "log"), snapshot_store(str(directory / "snapshots"))
    built_s = time.perf_counter() - began
    found: dict[str, Any] = {"days": days, "built_s": round(built_s, 1)}
    steps, begins, write_s, sizes, memory, digests, total, tail_events = [], [], [], 0, {}, [], 0, 0
    counts: dict[str, int] = {}
    pulses = []
    for partition in range(PARTITIONS):
        state = thaw(many(frozen_base, copies))
        if households <= 20_000:
            digests.append(state_digest(state))
        total += state.households.count
        memory = {name: memory.get(name, 0) + size for name, size in bytes_of(state).items()}
        tail_events += append_tail(logs, partition, plan, after, copies, tail // PARTITIONS)
        frozen, took_ms = frozen_of(state)
        begins.append(took_ms[0])
        steps += took_ms[1:]
        began, pulse = time.perf_counter(), Pulse()
        pulse.start()
        replay = ReplayFacts(epoch=1, stream_clock=True, fold_count=2, void_plans=0, void_epochs=0)
        facts = store.write(frozen, partition=PartitionId(partition), position=Offset(2), replay=replay)
        write_s.append(time.perf_counter() - began)
        pulses.append(pulse.stop())
        sizes += facts.size_bytes
        counts = {name: counts.get(name, 0) + count for name, count in facts.counts.items()}
        del state, frozen
    found |= {
        "households": total,
        "counts": counts,
        "bytes_per_household_on_disk": round(sizes / total),
        "bytes_per_household_in_memory": {name: round(size / total) for name, size in memory.items()},
        "freeze_begin_ms_max": round(max(begins), 2),
        "freeze_step_ms": {
            "rows": STEP_ROWS,
            "p50": round(statistics.median(steps), 3),
            "p99": round(sorted(steps)[int(len(steps) * 0.99)], 3),
            "max": round(max(steps), 2),
            "count": len(steps),
        },
        "write_s_per_partition": round(statistics.mean(write_s), 2),
        "late_wakeups_while_writing": max(pulses, key=lambda one: one["max_ms"]),
    }
    serve_again(store, logs, 0)  # compiled and imported: a warm spare takes over
    rounds, cpu_s = [], []
    for _ in range(3):
        began, cpu_began = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(CORES) as threads:
            served = list(threads.map(lambda partition: serve_again(store, logs, partition), range(PARTITIONS)))
        rounds.append(time.perf_counter() - began)
        cpu_s.append(time.process_time() - cpu_began)
        loads = [round(one[1], 2) for one in served]
        folds = [round(one[2], 2) for one in served]
        received = sum(one[0].now.counters.received for one in served)
        if digests:
            assert [state_digest(store.load(PartitionId(n)).replay.now) for n in range(PARTITIONS)] == digests
        del served
    found |= {
        "tail_events": tail_events,
        "events_received": received,
        "time_to_serve_s": {"best": round(min(rounds), 2), "all": [round(one, 2) for one in rounds]},
        "cpu_s_to_serve": round(min(cpu_s), 2),
        "load_s_each": loads,
        "tail_s_each": folds,
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "load_average": os.getloadavg(),
    }
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--households", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=1.0)
    parser.add_argument("--tail", type=int, default=100_000)
    parser.add_argument("--directory", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory) as folder:
        found = measure(households=given.households, days=given.days, tail=given.tail, directory=Path(folder))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
