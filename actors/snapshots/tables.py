"""What was frozen of a partition, as record batches, and back.

Columns are Arrow as they lie in memory; side tables are msgpack, some entries to a piece. A snapshot is a partition's
own: rows are kept as rows.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from itertools import islice
from operator import attrgetter
from typing import Any, TypeVar

import msgpack
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.records.codec import decode_decision, decode_plan, encode_decision, encode_plan
from actors.records.payload import PayloadUnreadable
from actors.snapshots.facts import Unfit
from household.columns.keys import NO_PARENT
from household.columns.layout import lay_out
from household.columns.windows import Slab, new_slab
from household.decision import Decision, Moment
from household.freeze import Frozen, FrozenKeys
from household.plan import PlanOfOtherLayout, PlanUnreadable
from household.state import (
    NEVER_US,
    Contact,
    Counters,
    HouseholdLedger,
    KnownRequest,
    LiveAction,
    Outbound,
    RequestKey,
    Slate,
)

Entry = TypeVar("Entry")

LEDGERS_PER_PIECE = 50
"""A piece is encoded in one go, some 2 ms, and then other threads have their turn."""

ITEMS_PER_PIECE = 500
"""Of the tables whose entries are a handful of values."""

HOUSEHOLDS, MEMBERS, WINDOWS, IDS = "households.arrow", "members.arrow", "windows.arrow", "ids.arrow"
LEDGERS, ACTIONS, REQUESTS, OUTBOX = "ledgers.arrow", "actions.arrow", "requests.arrow", "outbox.arrow"
PLAN = "plan.json"

NAMES = (HOUSEHOLDS, MEMBERS, WINDOWS, IDS, LEDGERS, ACTIONS, REQUESTS, OUTBOX, PLAN)
"""Files of a snapshot besides its manifest."""

_action_values = attrgetter(*(field.name for field in fields(LiveAction)))
_outbound_values = attrgetter(*(field.name for field in fields(Outbound)))
_contact_values = attrgetter(*(field.name for field in fields(Contact)))

Head = Mapping[str, Any]
"""The few values of a Frozen that are no table; they stand in the manifest."""


class StoredSlate(Slate):
    """A slate whose decision is read when it is first asked for.

    Most slates are replaced or expire without anybody looking at more than their time; to read them all would take most
    of a partition's start, in Python.
    """

    __slots__ = ("_decision", "members", "payload")

    def __init__(self, valid_until_us: int, payload: bytes, members: list[int]) -> None:
        self.valid_until_us = valid_until_us
        self.payload = payload
        self.members = members
        """Row of the member of each of its moments."""
        self._decision: Decision | None = None

    @property
    def decision(self) -> Decision:  # type: ignore[override]
        """The decision, as it was when it was frozen."""
        if self._decision is None:
            decision = decode_decision(self.payload).decision
            moments = (
                replace(moment, member=member) for moment, member in zip(decision.moments, self.members, strict=True)
            )
            self._decision = replace(decision, moments=tuple(moments))
        return self._decision


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
    }


def encoded(frozen: Frozen, *, pause_s: float) -> Iterator[tuple[str, bytes | pa.RecordBatch]]:
    """Yield (file name, content) of each file; sleep `pause_s` between two pieces of what Python encodes."""
    yield PLAN, encode_plan(frozen.plan)
    yield HOUSEHOLDS, _rows(frozen.households, frozen.household_cells, parents=False)
    yield MEMBERS, _rows(frozen.members, frozen.member_cells, parents=True)
    slab = frozen.slab
    yield WINDOWS, pa.record_batch({"bucket": slab.bucket, "number": slab.number, "total": slab.total})
    yield IDS, pa.record_batch({"low": frozen.id_low, "high": frozen.id_high, "time": frozen.id_times})
    ledgers = ((row, *_plain_ledger(one)) for row, one in frozen.ledgers.items())
    yield LEDGERS, _pieces(ledgers, LEDGERS_PER_PIECE, pause_s)
    actions = map(_action_values, frozen.actions.values())
    yield ACTIONS, _pieces(actions, ITEMS_PER_PIECE, pause_s)
    requests = (
        (request_id, *found[:3], household, found.body_hash)
        for (household, request_id), found in frozen.requests.items()
    )
    yield REQUESTS, _pieces(requests, ITEMS_PER_PIECE, pause_s)
    yield OUTBOX, _pieces(map(_outbound_values, frozen.outbox.values()), ITEMS_PER_PIECE, pause_s)


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


def _pieces(entries: Iterable[object], per_piece: int, pause_s: float) -> pa.RecordBatch:
    pieces = []
    remaining = iter(entries)
    while piece := list(islice(remaining, per_piece)):
        pieces.append(msgpack.packb(piece, default=_plain_number))
        if pause_s:
            time.sleep(pause_s)
    return pa.record_batch({"piece": pa.array(pieces, pa.large_binary())})


def _plain_number(value: object) -> int | float:
    """Numbers that come out of kernels and arrays."""
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    raise TypeError(f"cannot be written: {type(value).__name__}")


def _plain_ledger(ledger: HouseholdLedger) -> tuple[Any, ...]:
    return (
        [_plain_moment(moment) for moment in ledger.pending],
        ledger.settled,
        [(member, slate.valid_until_us, *_plain_decision(slate)) for member, slate in ledger.slates.items()],
        [_contact_values(contact) for contact in ledger.contacts],
        ledger.declined_offers,
        ledger.declined_families,
        list(ledger.decisions),
        ledger.accepted_offers,
    )


def _plain_decision(slate: Slate) -> tuple[bytes, list[int]]:
    if isinstance(slate, StoredSlate):
        return slate.payload, slate.members
    return encode_decision(slate.decision, member_keys={}), [moment.member for moment in slate.decision.moments]


def _plain_moment(moment: Moment) -> tuple[Any, ...]:
    return (moment.moment_id, moment.journey, moment.member, moment.event_id, moment.event_type, moment.time_us)


def decoded(head: Head, files: Mapping[str, pa.Buffer]) -> Frozen:
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
        name = LEDGERS
        ledgers = {row: _read_ledger(plain) for row, *plain in _entries(files[name])}
        name = ACTIONS
        actions = {one[0]: _read_action(one) for one in _entries(files[name])}
        name = REQUESTS
        requests = dict(map(_read_request, _entries(files[name])))
        name = OUTBOX
        outbox = {one[0]: _read_outbound(one) for one in _entries(files[name])}
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
        ledgers=ledgers,
        actions=actions,
        requests=requests,
        outbox=outbox,
        generation=-1,
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


def _entries(content: pa.Buffer) -> Iterator[list[Any]]:
    for piece in _batch(content).column("piece"):
        yield from msgpack.unpackb(piece.as_buffer(), strict_map_key=False)


def _read_ledger(plain: list[Any]) -> HouseholdLedger:
    # The accepted offers came later.
    pending, settled, slates, contacts, offers, families, decisions, *accepted = plain
    ledger = HouseholdLedger(
        pending=[_read_moment(one) for one in pending],
        settled=settled,
        slates={member: StoredSlate(*rest) for member, *rest in slates},
        contacts=[Contact(*one) for one in contacts],
        declined_offers=offers,
        declined_families=families,
        accepted_offers=accepted[0] if accepted else {},
    )
    ledger.decisions.extend((decision_id, offset) for decision_id, offset in decisions)
    return ledger


def _read_moment(plain: list[Any]) -> Moment:
    moment_id, journey, member, event_id, event_type, time_us = plain
    return Moment(
        moment_id=moment_id,
        journey=sys.intern(journey),
        member=member,
        event_id=event_id,
        event_type=sys.intern(event_type),
        time_us=time_us,
    )


def _read_request(plain: list[Any]) -> tuple[RequestKey, KnownRequest]:
    request_id, decision_id, offset, seen_us, *came_later = plain
    household, body_hash = came_later or (b"", b"")
    return (household, request_id), KnownRequest(decision_id, offset, seen_us, body_hash)


def _read_outbound(plain: list[Any]) -> Outbound:
    outbound = Outbound(*plain)
    outbound.fallbacks, outbound.copies = tuple(outbound.fallbacks), tuple(outbound.copies)
    return outbound


def _read_action(plain: list[Any]) -> LiveAction:
    action_id, decision_id, household, member, offer, family, valid_until_us, status, settled_us, *came_later = plain
    return LiveAction(
        action_id=action_id,
        decision_id=decision_id,
        household=household,
        member=member,
        offer=sys.intern(offer),
        family=sys.intern(family),
        valid_until_us=valid_until_us,
        status=sys.intern(status),
        settled_us=settled_us,
        **dict(zip(("why", "channel", "handed_us", "decided_us"), came_later, strict=False)),
    )
