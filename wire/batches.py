"""The signal batch, in which signals travel from an edge to shards and stand in the log: its columns and limits.

A **signal batch** is an Arrow IPC stream of one record batch: `event_id`, `household`, `member` (binary), `type`
(dictionary<int16, string>), `time` (int64, microseconds since 1970 UTC), then per field `n:<name>` (float64) and/or
`s:<name>` (dictionary<int32, string>), null where a signal has no such field. The first five have no nulls: what is
missing is empty, or NO_TIME_US (household/events.py). Where known, `source` and `identifier` (binary, empty for none)
and `request_hash` (binary, of a report) come with them. Wrong rows go through: the fold rejects and counts them,
nothing is dropped.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

KEY_COLUMNS: Final = ("event_id", "household", "member")
FIXED_COLUMNS: Final = (*KEY_COLUMNS, "type", "time")
"""What every batch has."""
SOURCE_COLUMN: Final = "source"
IDENTIFIER_COLUMN: Final = "identifier"
"""By what a signal names whom it is about instead of a household (household/graph/identifiers.py)."""
REQUEST_HASH_COLUMN: Final = "request_hash"

NUMBERS: Final = "n"
TEXTS: Final = "s"
"""The two spaces of fields: a name may come as a number, as a text, or as both."""

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
SIGNAL_COUNT_MAX: Final = 10_000
"""Signals in a request that brings them one by one."""
ROW_COUNT_MAX: Final = 65_536
"""Rows in a request that brings them as columns."""
FIELD_COUNT_MAX: Final = 512
"""Distinct field names in one batch. Each costs a column, whatever the number of rows."""
TYPE_COUNT_MAX: Final = 32_767
"""Distinct event types in one batch; what an int16 can index."""

REJECTION_COUNT_MAX: Final = 100
UNKNOWN_FIELD_COUNT_MAX: Final = 100
"""What an answer names one by one; all are counted."""


def field_column(space: str, name: str) -> str:
    """Return the name of the column that holds a field.

    >>> field_column(NUMBERS, "amount_minor")
    'n:amount_minor'
    """
    return f"{space}:{name}"


REPORT_FIELDS: Final = ("action_id", "channel", "hearth.group")
"""Texts that come with what gateways report, and which every playbook knows; none can have a field `hearth.group`."""
APART_FIELD: Final = "hearth.apart"
APART_COLUMN: Final = field_column(TEXTS, APART_FIELD)
"""Of a graph event: why no one partition can take it, as whoever split the batch saw; else null, or not there."""
ACTION_ID_COLUMN, CHANNEL_COLUMN, GROUP_COLUMN = (field_column(TEXTS, name) for name in REPORT_FIELDS)


def field_of(column: str) -> tuple[str, str] | None:
    """Return space and name of the field that a column holds; None for a column that holds none.

    >>> field_of("n:amount_minor"), field_of("event_id")
    (('n', 'amount_minor'), None)
    """
    space, _, name = column.partition(":")
    return (space, name) if space in (NUMBERS, TEXTS) and name else None


def is_of_layout(column: str, kind: pa.DataType) -> bool:
    """Return whether a column is of the type that the layout says; keys may be texts, numbers of any width.

    >>> is_of_layout("time", pa.int64()), is_of_layout("n:amount_minor", pa.string())
    (True, False)
    """
    entry = kind.value_type if pa.types.is_dictionary(kind) else kind
    match column.partition(":")[0]:
        case "event_id" | "household" | "member" | "source" | "identifier":
            return bool(pa.types.is_binary(kind) or pa.types.is_string(kind))
        case "request_hash":
            return bool(pa.types.is_binary(kind))
        case "time":
            return bool(pa.types.is_int64(kind))
        case "n":
            return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
        case "type" | "s":
            return bool(pa.types.is_string(entry) or pa.types.is_large_string(entry))
        case _:
            return True  # what a later layout says besides


def ipc_bytes(rows: pa.RecordBatch | pa.Table) -> bytes:
    """Return rows as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return bytes(sink.getvalue())
