"""What was frozen of a partition, as record batches, and back.

Columns are Arrow as they lie in memory, and so are tables, one file each. A snapshot is a partition's own: rows are
kept as rows.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.records.codec import decode_plan, encode_plan
from actors.records.payload import PayloadUnreadable
from actors.snapshots import pieces
from actors.snapshots.facts import Unfit
from actors.snapshots.rows import read_table, table_batch
from household.columns.keys import NO_PARENT
from household.columns.layout import lay_out
from household.columns.windows import Slab, new_slab
from household.freeze import Frozen, FrozenKeys
from household.plan import PlanOfOtherLayout, PlanUnreadable
from household.state import NEVER_US, Counters
from household.tables import all_tables
from household.tables.frozen import FrozenTable

HOUSEHOLDS, MEMBERS, WINDOWS, IDS = "households.arrow", "members.arrow", "windows.arrow", "ids.arrow"
PLAN = "plan.json"

COLUMN_FILES = (HOUSEHOLDS, MEMBERS, WINDOWS, IDS, PLAN)
"""Files of every snapshot besides its manifest and its tables."""

Head = Mapping[str, Any]
"""The few values of a Frozen that are no table; they stand in the manifest."""


def table_file(name: str) -> str:
    """Return the file of a table."""
    return f"{name}.arrow"


def is_complete(format_: int, names: frozenset[str]) -> bool:
    """Return whether these are the files of a snapshot of a format; a table that came later may be missing."""
    if format_ == 1:
        return names == {*COLUMN_FILES, *pieces.FILES}
    known = {*COLUMN_FILES, *(table_file(one.name) for one in all_tables.TABLES)}
    return names.issuperset(COLUMN_FILES) and names.issubset(known)


class TableUnreadable(Exception):
    """A file is as it was written, and yet not what this software reads; names the file and what is wrong."""

    def __init__(self, name: str, what: str, unfit: Unfit) -> None:
        super().__init__(name, what, unfit)
        self.name = name
        self.what = what
        self.unfit = unfit


def head_of(frozen: Frozen) -> dict[str, Any]:
    """Return what of a Frozen belongs into the manifest."""
    counters = {field.name: getattr(frozen.counters, field.name) for field in fields(Counters)}
    return {
        "stream_clock": frozen.stream_clock,
        "now_us": int(frozen.now_us),
        "epoch": int(frozen.epoch),
        "tidied_us": int(frozen.tidied_us),
        "counters": counters | {"by_status": dict(frozen.counters.by_status)},
        "id_slots": frozen.id_slots,
        "fold_version": frozen.fold_version,
        "alone_until_us": int(frozen.alone_until_us),
        "uncoded_until_us": int(frozen.uncoded_until_us),
        "partition": frozen.partition,
        "partition_count": frozen.partition_count,
    }


def encoded(frozen: Frozen, *, pause_s: float) -> Iterator[tuple[str, bytes | pa.RecordBatch]]:
    """Yield (file name, content) of each file; sleep `pause_s` after each table, for others to have their turn."""
    yield PLAN, encode_plan(frozen.plan)
    yield HOUSEHOLDS, _rows(frozen.households, frozen.household_cells, parents=False)
    yield MEMBERS, _rows(frozen.members, frozen.member_cells, parents=True)
    slab = frozen.slab
    yield WINDOWS, pa.record_batch({"bucket": slab.bucket, "number": slab.number, "total": slab.total})
    yield IDS, pa.record_batch({"low": frozen.id_low, "high": frozen.id_high, "time": frozen.id_times})
    for declaration in all_tables.TABLES:
        yield table_file(declaration.name), table_batch(declaration, frozen.tables[declaration.name].frozen)
        if pause_s:
            time.sleep(pause_s)


def _rows(keys: FrozenKeys, cells: NDArray[np.float64], *, parents: bool) -> pa.RecordBatch:
    offsets = np.concatenate([np.zeros(1, np.int64), keys.ends])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(keys.letters)]
    columns: dict[str, pa.Array] = {
        "hash": pa.array(keys.hashes),
        "key": pa.Array.from_buffers(pa.large_binary(), keys.count, buffers),
    }
    if parents:
        columns["parent"] = pa.array(keys.parents)
    if cells.shape[1]:
        columns["cells"] = pa.FixedSizeListArray.from_arrays(pa.array(cells.reshape(-1)), cells.shape[1])
    return pa.record_batch(columns)


def decoded(head: Head, files: Mapping[str, pa.Buffer], *, format_: int) -> Frozen:
    """Return what was frozen. Every file must have been checked to be as it was written.

    Raises:
        TableUnreadable: a file is not what this software reads.
    """
    name = PLAN
    try:
        plan = decode_plan(files[PLAN].to_pybytes())
        layout = lay_out(plan)
        name = HOUSEHOLDS
        households, household_cells = _read_rows(files[name], layout.household_initial.shape[0])
        name = MEMBERS
        members, member_cells = _read_rows(files[name], layout.member_initial.shape[0])
        name = WINDOWS
        slab = _read_slab(_batch(files[name]))
        name = IDS
        ids = _batch(files[name])
        low, high, times = (_numbers(ids, column) for column in ("low", "high", "time"))
        slots = head["id_slots"]
        if 2 * times.shape[0] > slots or slots & (slots - 1):
            raise ValueError(f"{times.shape[0]} ids in {slots} slots")
        tables: dict[str, FrozenTable] = {}
        if format_ == 1:
            for name in pieces.FILES:
                tables |= pieces.read_pieces(name, _batch(files[name]))
        for declaration in all_tables.TABLES:
            name = table_file(declaration.name)
            if declaration.name not in tables:
                batch = _batch(files[name]) if format_ > 1 and name in files else None
                tables[declaration.name] = read_table(declaration, batch, households.count)
        name = "manifest.json"
        by_status = Counters().by_status | head["counters"]["by_status"]
        counters = Counters(**head["counters"] | {"by_status": by_status})
    except (
        pa.ArrowException,
        msgpack.UnpackException,
        PayloadUnreadable,
        PlanUnreadable,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as wrong:
        unfit = Unfit.FOR_THIS_VERSION if isinstance(wrong, PlanOfOtherLayout) else Unfit.FOR_ANYBODY
        raise TableUnreadable(name, f"{type(wrong).__name__}: {wrong}", unfit) from wrong
    return Frozen(
        plan=plan,
        stream_clock=head["stream_clock"],
        now_us=head["now_us"],
        epoch=head["epoch"],
        tidied_us=head["tidied_us"],
        counters=counters,
        households=households,
        members=members,
        household_cells=household_cells,
        member_cells=member_cells,
        slab=slab,
        id_low=low,
        id_high=high,
        id_times=times,
        id_slots=head["id_slots"],
        fold_version=head.get("fold_version", 1),  # written by software that knew no other
        alone_until_us=head.get("alone_until_us", NEVER_US),
        uncoded_until_us=head.get("uncoded_until_us", NEVER_US),
        partition=head.get("partition", 0),
        partition_count=head.get("partition_count", 1),
        tables=tables,
    )


def _batch(content: pa.Buffer) -> pa.RecordBatch:
    with pa.ipc.open_file(pa.BufferReader(content)) as file:
        if file.num_record_batches != 1:
            raise ValueError(f"{file.num_record_batches} record batches, 1 expected")
        batch = file.get_batch(0)
    batch.validate(full=True)
    return batch


def _numbers(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    """Return a column of numbers as it lies; read-only."""
    column = batch.column(name)
    if column.null_count:
        raise ValueError(f"column {name} has nulls")
    return np.asarray(column.to_numpy(zero_copy_only=True))


def _read_rows(content: pa.Buffer, width: int) -> tuple[FrozenKeys, NDArray[np.float64]]:
    batch = _batch(content)
    count = batch.num_rows
    key = batch.column("key")
    _, offsets, letters = key.buffers()
    ends = np.frombuffer(offsets, np.int64)[: count + 1] if count else np.zeros(1, np.int64)
    has_parents = "parent" in batch.schema.names
    keys = FrozenKeys(
        hashes=_numbers(batch, "hash"),
        parents=_numbers(batch, "parent") if has_parents else np.full(count, NO_PARENT, np.int32),
        ends=ends[1:],
        letters=np.frombuffer(letters, np.uint8)[: int(ends[-1])] if letters is not None else np.empty(0, np.uint8),
    )
    if not width:
        return keys, np.empty((count, 0))
    column = batch.column("cells")
    if column.type.list_size != width:
        raise ValueError(f"rows of {column.type.list_size} cells, the plan's have {width}")
    return keys, np.asarray(column.flatten().to_numpy(zero_copy_only=True)).reshape(count, width)


def _read_slab(batch: pa.RecordBatch) -> Slab:
    return new_slab(0)._replace(
        bucket=_numbers(batch, "bucket"), number=_numbers(batch, "number"), total=_numbers(batch, "total")
    )
