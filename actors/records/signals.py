"""Signal batches of records, Arrow IPC streams of one record batch (columns: wire/batches.py), as events of a plan."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.records.payload import PayloadUnreadable
from household.events import (
    ACTION_OUTCOMES,
    LONGEST_KEY,
    NO_KEYS,
    NO_TIME_US,
    RESERVED_TYPES,
    UNKNOWN_TYPE,
    EventBatch,
    Keys,
    OutcomeRow,
    keys_of,
)
from household.graph.events import GRAPH_FIELDS, PROBABILITY, GraphRow
from household.graph.identifiers import normalised
from household.plan import FieldKind, Plan
from wire.batches import (
    ACTION_ID_COLUMN,
    APART_FIELD,
    CHANNEL_COLUMN,
    FIXED_COLUMNS,
    GROUP_COLUMN,
    IDENTIFIER_COLUMN,
    NUMBERS,
    REPORT_FIELDS,
    REQUEST_HASH_COLUMN,
    SOURCE_COLUMN,
    TEXTS,
    is_of_layout,
)
from wire.field_values import text_value
from wire.graph_rows import are_empty, are_written, graph_rows, key_text

NO_IDENTIFIER = "?" * (LONGEST_KEY + 1)
"""Stands where an identifier should and none is: the fold refuses it as a key."""

_OUTCOME_BY_TYPE = dict(zip(RESERVED_TYPES, ACTION_OUTCOMES, strict=True))
_FIELDS_OF_RESERVED_TYPES = frozenset({*REPORT_FIELDS, *GRAPH_FIELDS, PROBABILITY, APART_FIELD})

TOGETHER_RECORDS = 64
TOGETHER_BYTES = 64 << 10
"""Batches decoded in one go, in a millisecond or two: most are a call's, with an event or two."""


def decode_signals(payload: bytes, plan: Plan) -> EventBatch:
    """Return the events of a signal batch under a plan.

    Raises:
        PayloadUnreadable: not an Arrow stream of one sound record batch, or a column is missing or of another type.
    """
    return events_from_batch(_opened(payload), plan)


def decode_together(payloads: Sequence[bytes], plan: Plan) -> list[EventBatch]:
    """Return the events of several signal batches, each as decode_signals would: small ones cost less together.

    Raises:
        PayloadUnreadable: one of them is, or they do not go together.
    """
    alike: dict[pa.Schema, list[int]] = {}
    opened = [_opened(payload) for payload in payloads]
    for place, batch in enumerate(opened):
        alike.setdefault(batch.schema, []).append(place)
    found: list[EventBatch | None] = [None] * len(opened)
    for places in alike.values():
        try:
            together = pa.concat_batches([opened[place] for place in places])
        except pa.ArrowException as wrong:
            raise PayloadUnreadable(f"signal batches: {wrong}") from wrong
        whole, columns = events_from_batch(together, plan), _columns(tuple(together.schema.names), plan)
        start = 0
        for place in places:
            stop = start + opened[place].num_rows
            part = whole.part(start, stop)
            if whole.unknown_fields:
                part = replace(part, unknown_fields=_unknown_fields(opened[place], columns))
            found[place] = part
            start = stop
    return [batch for batch in found if batch is not None]


def _opened(payload: bytes) -> pa.RecordBatch:
    """Return the sound record batch of a payload."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(payload)) as stream:
            batches = list(stream)
        if len(batches) != 1:
            raise PayloadUnreadable(f"signal batch: {len(batches)} record batches, 1 expected")
        # Unchecked offsets would be read as they stand, and end the process with all its partitions.
        batches[0].validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as wrong:
        raise PayloadUnreadable(f"signal batch: {wrong}") from wrong
    return batches[0]


def read_again(payload: bytes) -> pa.RecordBatch:
    """Return the record batch of a payload that has been decoded before, without checking it once more."""
    with pa.ipc.open_stream(pa.py_buffer(payload)) as stream:
        return stream.read_next_batch()


def events_from_batch(batch: pa.RecordBatch, plan: Plan) -> EventBatch:
    """Return the events of a decoded and validated signal batch; raises as decode_signals does."""
    try:
        names = _checked_names(batch.schema)
        types, codes = _dictionary(batch.column("type"))
        # The last entry is for code -1: no type at all.
        by_name = np.array([*(plan.event_type_by_name.get(name or "", UNKNOWN_TYPE) for name in types), UNKNOWN_TYPE])
        columns = _columns(names, plan)
        values, is_bad = _values(batch, columns, plan)
        return EventBatch(
            ids=_keys(batch.column("event_id")),
            households=_keys(batch.column("household")),
            members=_keys(batch.column("member")),
            types=by_name[codes].astype(np.int32),
            times_us=np.array(_without_nulls(batch.column("time"), NO_TIME_US), np.int64),
            values=values,
            is_bad=is_bad,
            plan_version=plan.version,
            outcomes=_outcomes(batch, types, codes),
            graph=graph_rows(batch, types, codes),
            identifiers=_identifiers(batch) if IDENTIFIER_COLUMN in names else NO_KEYS,
            unknown_fields=_unknown_fields(batch, columns),
            sources=_keys(batch.column(SOURCE_COLUMN)) if SOURCE_COLUMN in names else NO_KEYS,
        )
    except (pa.ArrowException, ValueError) as wrong:
        raise PayloadUnreadable(f"signal batch: {wrong}") from wrong


@lru_cache(maxsize=256)
def _checked_names(schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns' names; each edge sends few different sets of columns, but those with every call.

    Refuse what the edge never sends: another type than the layout says, a column that is missing or there twice.
    """
    if len(set(schema.names)) != len(schema.names):
        raise PayloadUnreadable("signal batch: a column occurs twice")
    for name in FIXED_COLUMNS:
        if name not in schema.names:
            raise PayloadUnreadable(f"signal batch: column {name} is missing")
    for field in schema:
        if not is_of_layout(field.name, field.type):
            raise PayloadUnreadable(f"signal batch: column {field.name} is {field.type}")
    return tuple(schema.names)


def _without_nulls(column: pa.Array, instead: int) -> NDArray[Any]:
    """Return whole numbers; a compute function costs ten times a look at the count of nulls."""
    filled = column.fill_null(instead) if column.null_count else column
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def _keys(column: pa.Array) -> Keys:
    """Copy the buffers of a binary or string column (which have one layout).

    Arrow's are read-only, and a kernel compiled for both would compile twice.
    """
    _, offsets, letters = column.buffers()
    bounds = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    text = np.frombuffer(letters, np.uint8) if letters is not None and letters.size else np.zeros(1, np.uint8)
    return Keys(offsets=bounds, letters=text.copy())


def _dictionary(column: pa.Array) -> tuple[list[str | None], NDArray[np.int64]]:
    """Return the distinct values of a string column and each row's index among them; -1 where null."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    indices = column.indices
    if indices.null_count:
        # Their own type may not have -1.
        indices = indices.cast(pa.int64())
    return column.dictionary.to_pylist(), _without_nulls(indices, -1).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """What the columns of a batch are to a plan."""

    known: tuple[tuple[int, int, bool, FieldKind], ...]
    """Place in the batch, index in the plan's fields, whether they are numbers, and what the plan takes them for."""
    unknown: tuple[tuple[int, str], ...]
    """Place, and the name of a field that the plan does not know."""


_COLUMNS: dict[tuple[str, tuple[str, ...]], _Columns] = {}
"""By version of the plan and names: looked at with every small batch, and few are different."""
_COLUMNS_MAX = 1_024


def _columns(names: tuple[str, ...], plan: Plan) -> _Columns:
    key = plan.version, names
    found = _COLUMNS.get(key)
    if found is None:
        if len(_COLUMNS) >= _COLUMNS_MAX:
            _COLUMNS.clear()
        found = _COLUMNS[key] = _columns_of(names, plan)
    return found


def _columns_of(names: tuple[str, ...], plan: Plan) -> _Columns:
    """Return it. What only reports carry is known to every plan, and so is what is a column of its own as well."""
    known, unknown = [], []
    for place, name in enumerate(names):
        space, _, field_name = name.partition(":")
        if space not in (NUMBERS, TEXTS):
            continue
        index = plan.field_by_name.get(field_name, -1)
        if index >= 0:
            known.append((place, index, space == NUMBERS, plan.fields[index].kind))
        elif field_name not in _FIELDS_OF_RESERVED_TYPES and field_name not in names:
            unknown.append((place, field_name))
    return _Columns(known=tuple(known), unknown=tuple(unknown))


def _values(batch: pa.RecordBatch, columns: _Columns, plan: Plan) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return (fields, n) values, and the mask of rows with a value of the wrong kind."""
    values = np.full((max(len(plan.fields), 1), batch.num_rows), np.nan)
    is_bad = np.zeros(batch.num_rows, np.bool_)
    for place, index, are_numbers, kind in columns.known:
        column = batch.column(place)
        if are_numbers and kind in (FieldKind.NUMBER, FieldKind.FLAG):
            numbers = column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
            given = _is_given(column)
            is_bad |= given & ~np.isfinite(numbers)
            if kind is FieldKind.FLAG:
                is_bad |= given & (numbers != 0.0) & (numbers != 1.0)
            values[index] = np.where(given, numbers, np.nan)
        elif not are_numbers and kind in (FieldKind.ENUM, FieldKind.TEXT):
            texts, codes = _dictionary(column)
            # The last entry is for code -1: not given.
            by_name = np.array([*(text_value(text, plan, index) for text in texts), np.nan])
            values[index] = by_name[codes]
            is_bad |= (codes >= 0) & np.isnan(values[index])
        else:
            is_bad |= _is_given(column)
    return values, is_bad.view(np.uint8)


def _unknown_fields(batch: pa.RecordBatch, columns: _Columns) -> tuple[tuple[str, int], ...]:
    """Return the fields that the plan does not know, and how many events have each."""
    counts: dict[str, int] = {}
    for place, name in columns.unknown:
        # A name may come as a number and as a text.
        counts[name] = counts.get(name, 0) + batch.num_rows - batch.column(place).null_count
    return tuple((name, count) for name, count in counts.items() if count)


def _is_given(column: pa.Array) -> NDArray[np.bool_]:
    """Return which rows have a value."""
    if not column.null_count:
        return np.ones(len(column), np.bool_)
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False), np.bool_)


def _outcomes(batch: pa.RecordBatch, names: list[str | None], codes: NDArray[np.int64]) -> tuple[OutcomeRow, ...]:
    if _OUTCOME_BY_TYPE.keys().isdisjoint(names):
        return ()
    outcomes = {index: _OUTCOME_BY_TYPE[name] for index, name in enumerate(names) if name in _OUTCOME_BY_TYPE}
    rows = [row for row, code in enumerate(codes.tolist()) if code in outcomes]
    if not rows:
        return ()
    chosen = batch.take(pa.array(rows)) if len(rows) < batch.num_rows else batch

    def cells(name: str) -> list[Any]:
        return chosen.column(name).to_pylist() if name in chosen.schema.names else [None] * len(rows)

    return tuple(
        OutcomeRow(
            row=row,
            outcome=outcomes[int(codes[row])],
            action_id=action or "",
            channel=channel or "",
            group=group or "",
            request_hash=request_hash or b"",
        )
        for row, action, channel, group, request_hash in zip(
            rows,
            cells(ACTION_ID_COLUMN),
            cells(CHANNEL_COLUMN),
            cells(GROUP_COLUMN),
            cells(REQUEST_HASH_COLUMN),
            strict=True,
        )
    )


def graph_row(batch: pa.RecordBatch, row: int) -> GraphRow | None:
    """Return what the graph event at a row of a signal batch says; None where there is none."""
    found = graph_rows(batch.slice(row, 1), *_dictionary(batch.column("type").slice(row, 1)))
    return found[0] if found else None


def _identifiers(batch: pa.RecordBatch) -> Keys:
    """Return, of signals that name no household, their identifiers as they are always written.

    What is none, or comes with a member's name, is no key of anybody.
    """
    column = batch.column(IDENTIFIER_COLUMN)
    if are_empty(batch.column("household")) and are_empty(batch.column("member")) and are_written(column):
        return NO_KEYS if are_empty(column) else _keys(column)
    found = column.to_pylist()
    known = {one: (normalised(key_text(one)) or NO_IDENTIFIER).encode() if one else b"" for one in set(found)}
    if not any(known.values()):
        return NO_KEYS
    households, members = batch.column("household").to_pylist(), batch.column("member").to_pylist()
    return keys_of(
        [
            b"" if household or not one else NO_IDENTIFIER.encode() if member else known[one]
            for one, household, member in zip(found, households, members, strict=True)
        ]
    )
