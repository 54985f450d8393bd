"""Public messages of signals and outcomes → the signal batch (wire/batches.py).

Wrong rows go through: the fold rejects and counts them, nothing is dropped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

import numpy as np
import pyarrow as pa
from google.protobuf.timestamp_pb2 import Timestamp

from hearth.v1 import decision_pb2, signal_pb2
from household.events import LONGEST_KEY, NO_TIME_US, REPORT_SOURCE, RESERVED_TYPES
from wire.batches import (
    ACTION_ID_COLUMN,
    CHANNEL_COLUMN,
    FIELD_COUNT_MAX,
    GROUP_COLUMN,
    IDENTIFIER_COLUMN,
    NUMBERS,
    REQUEST_HASH_COLUMN,
    SIGNAL_COUNT_MAX,
    SOURCE_COLUMN,
    TEXTS,
    TYPE_COUNT_MAX,
    field_column,
    ipc_bytes,
)
from wire.failures import FieldViolation, InvalidRequest, invalid

SECONDS_MIN: Final = -62_135_596_800
SECONDS_MAX: Final = 253_402_300_799
"""The years 1 to 9999, which google.protobuf.Timestamp can express."""

TYPE_BY_OUTCOME: Final[dict[int, str]] = {
    decision_pb2.OUTCOME_IMPRESSION: "hearth.impression",
    decision_pb2.OUTCOME_CLICK: "hearth.click",
    decision_pb2.OUTCOME_ACCEPT: "hearth.accept",
    decision_pb2.OUTCOME_DECLINE: "hearth.decline",
    decision_pb2.OUTCOME_CONVERT: "hearth.convert",
}
DELIVERED: Final = "hearth.delivered"
UNDELIVERED: Final = "hearth.undelivered"
assert {*TYPE_BY_OUTCOME.values(), DELIVERED, UNDELIVERED} == set(RESERVED_TYPES), "the fold knows other reserved types"


class TooManyFields(InvalidRequest):
    """More different fields than one batch may have; without those that no playbook needs they may be few enough."""

    def __init__(self, where: str, count: int) -> None:
        text = f"{count:,} different fields; at most {FIELD_COUNT_MAX} in one request"
        super().__init__(FieldViolation(field=where, description=text))


def batch_from_signals(signals: Sequence[signal_pb2.Signal]) -> pa.RecordBatch:
    """Return the signal batch of protobuf signals, row i being signal i.

    An integer becomes the nearest float64, a flag 0 or 1; a FieldValue without a kind is no value.

    Raises:
        InvalidRequest: over 10,000 signals, or over 512 field names (TooManyFields) or 32,767 types among them.
    """
    if len(signals) > SIGNAL_COUNT_MAX:
        raise invalid("signals", f"{len(signals):,} signals; at most {SIGNAL_COUNT_MAX:,} travel in one request")

    sources = [signal.source for signal in signals]
    columns = {
        "event_id": _keys([signal.event_id for signal in signals]),
        "household": _keys([signal.household for signal in signals]),
        "member": _keys([signal.member for signal in signals]),
        "type": type_column(pa.array([signal.type for signal in signals], pa.string())),
        "time": pa.array([_signal_time_us(signal) for signal in signals], pa.int64()),
    }
    if any(sources):
        columns[SOURCE_COLUMN] = _keys(sources)
    if any(identifiers := [signal.identifier for signal in signals]):
        columns[IDENTIFIER_COLUMN] = _keys(identifiers)
    return pa.RecordBatch.from_pydict(columns | _field_columns(signals))


def report_batch(
    *,
    request_id: str,
    household: str,
    member: str,
    event_type: str,
    action_id: str,
    channel: str,
    time_us: int,
    group: str = "",
    request_hash: bytes = b"",
    identifier: str = "",
) -> bytes:
    """Return the signal batch (IPC) of one report or acknowledgement; its request id serves as the event id.

    With a hash it is the request's own event, of Hearth's own source: what sources send under that id is another.
    With an identifier it names no household.
    """
    assert event_type in RESERVED_TYPES

    of_group = {GROUP_COLUMN: pa.array([group], pa.string()).dictionary_encode()} if group else {}
    of_request = (
        {SOURCE_COLUMN: _keys([REPORT_SOURCE]), REQUEST_HASH_COLUMN: pa.array([request_hash], pa.binary())}
        if request_hash
        else {}
    )
    of_whom = {IDENTIFIER_COLUMN: _keys([identifier])} if identifier else {}
    batch = pa.RecordBatch.from_pydict(
        {
            "event_id": _keys([request_id]),
            "household": _keys([household]),
            "member": _keys([member]),
            "type": type_column(pa.array([event_type], pa.string())),
            "time": pa.array([time_us], pa.int64()),
            ACTION_ID_COLUMN: pa.array([action_id], pa.string()).dictionary_encode(),
            CHANNEL_COLUMN: pa.array([channel or None], pa.string()).dictionary_encode(),
            **of_whom,
            **of_group,
            **of_request,
        }
    )
    return ipc_bytes(batch)


def microseconds(time: Timestamp) -> int:
    """Return a timestamp as microseconds since 1970 UTC, rounded down; NO_TIME_US where the nanoseconds are none.

    Outside the years 1 to 9999 it is the second before or behind them: a time, and one that the fold refuses.

    >>> microseconds(Timestamp(seconds=-1, nanos=999_999_999))
    -1
    """
    if not 0 <= time.nanos < 1_000_000_000:
        return NO_TIME_US
    if not SECONDS_MIN <= time.seconds <= SECONDS_MAX:
        return min(max(time.seconds, SECONDS_MIN - 1), SECONDS_MAX + 1) * 1_000_000
    return int(time.seconds * 1_000_000 + time.nanos // 1_000)


def _signal_time_us(signal: signal_pb2.Signal) -> int:
    return microseconds(signal.time) if signal.HasField("time") else NO_TIME_US


def _keys(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.string()).view(pa.binary())


def _field_columns(signals: Sequence[signal_pb2.Signal]) -> dict[str, pa.Array]:
    numbers: dict[str, tuple[list[int], list[float]]] = {}
    texts: dict[str, tuple[list[int], list[str]]] = {}
    for row, signal in enumerate(signals):
        for name, value in signal.fields.items():
            match value.WhichOneof("kind"):
                case "text":
                    rows, found = texts.setdefault(name, ([], []))
                    rows.append(row)
                    found.append(value.text)
                case "number" | "integer" | "flag" as kind:
                    at, amounts = numbers.setdefault(name, ([], []))
                    at.append(row)
                    amounts.append(getattr(value, kind))
                case _:
                    pass  # without a kind it is no value
    check_field_names(numbers.keys() | texts.keys(), "signals")

    number_columns = {
        field_column(NUMBERS, name): _sparse_numbers(*numbers[name], len(signals)) for name in sorted(numbers)
    }
    return number_columns | {
        field_column(TEXTS, name): _sparse_texts(*texts[name], len(signals)) for name in sorted(texts)
    }


def _sparse_numbers(rows: list[int], amounts: list[float], count: int) -> pa.Array:
    values = np.zeros(count, np.float64)
    is_absent = np.ones(count, np.bool_)
    values[rows] = amounts
    is_absent[rows] = False
    return pa.array(values, pa.float64(), mask=is_absent)


def _sparse_texts(rows: list[int], found: list[str], count: int) -> pa.Array:
    values: list[str | None] = [None] * count
    for row, text in zip(rows, found, strict=True):
        values[row] = text
    return pa.array(values, pa.string()).dictionary_encode()


def check_field_names(names: Iterable[str], where: str) -> None:
    count = 0
    for name in names:
        count += 1
        if not 1 <= len(name.encode()) <= LONGEST_KEY:
            raise invalid(where, f"field name {name[:40]!r} has {len(name.encode())} bytes; wanted 1..{LONGEST_KEY}")
    if count > FIELD_COUNT_MAX:
        raise TooManyFields(where, count)


def type_column(names: pa.Array) -> pa.Array:
    encoded = names.dictionary_encode()
    if len(encoded.dictionary) > TYPE_COUNT_MAX:
        raise invalid("type", f"{len(encoded.dictionary):,} different event types; at most {TYPE_COUNT_MAX:,}")
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(pa.int16()), encoded.dictionary)


def pass_over(signals: Iterable[signal_pb2.Signal], known: Set[str]) -> list[signal_pb2.UnknownField]:
    """Take the fields that are not known out of signals, in place; return them."""
    counts: dict[str, int] = {}
    for signal in signals:
        for name in [name for name in signal.fields if name not in known]:
            del signal.fields[name]
            counts[name] = counts.get(name, 0) + 1
    return passed_over(counts)


def passed_over(counts: Mapping[str, int]) -> list[signal_pb2.UnknownField]:
    return [
        signal_pb2.UnknownField(name=name, signals=count, passed_over=True) for name, count in counts.items() if count
    ]
