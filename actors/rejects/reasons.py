"""Why an event was rejected, for people: the field and the bound of its value. Looked up after the fold has refused.

The fold says a Status and no more, since most events are sound. What is said here follows the order in which it looks.
"""

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pyarrow as pa

from actors.records.signals import graph_row
from household.events import LONGEST_KEY, LONGEST_SOURCE, NO_TIME_US, Status
from household.plan import Field, FieldKind, Plan
from wire.batches import IDENTIFIER_COLUMN, NUMBERS, SOURCE_COLUMN, TEXTS, field_column, field_of

SHOWN_LENGTH_MAX = 80
"""Of a value or a name in a message."""

NAMES_SHOWN_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What is wrong with an event."""

    field: str = ""
    """The field, or the part of a signal (`time`, `household` …); empty where it cannot be told."""
    detail: str = ""
    """A sentence that names field, value and bound."""


def why_rejected(status: Status, batch: pa.RecordBatch, row: int, plan: Plan | None, *, stamp_us: int | None) -> Why:
    """Return what is wrong with a row of a signal batch.

    Args:
        status: why the fold rejected it.
        batch: validated, as it stands in the record.
        row: in the batch.
        plan: by which it was folded; None where that is not known, and then fields are not named.
        stamp_us: the record's; None where it is not known.
    """
    match status:
        case Status.UNKNOWN_TYPE:
            return _about("type", _unknown_type(_cell(batch, "type", row) or "", plan))
        case Status.MISSING_TIME:
            return _about("time", "is missing, or its nanos are none: 0 to 999,999,999")
        case Status.PAST_CALENDAR | Status.FUTURE:
            return _about("time", _time(status, _cell(batch, "time", row), plan, stamp_us))
        case Status.BAD_ID:
            source_bytes = _byte_count(_cell(batch, SOURCE_COLUMN, row))
            if source_bytes > LONGEST_SOURCE and 1 <= _byte_count(_cell(batch, "event_id", row)) <= LONGEST_KEY:
                return _about(SOURCE_COLUMN, f"{source_bytes:,} bytes, at most {LONGEST_SOURCE} are allowed")
            return _about("event_id", _length(_cell(batch, "event_id", row)))
        case Status.ACROSS_PARTITIONS:
            return _about("household", _graph_wrong(batch, row))
        case Status.BAD_VALUE if _graph_wrong(batch, row):
            return _about("type", _graph_wrong(batch, row))
        case Status.BAD_KEY if _cell(batch, IDENTIFIER_COLUMN, row) and not _cell(batch, "household", row):
            return _about(IDENTIFIER_COLUMN, _identifier(batch, row))
        case Status.BAD_KEY:
            is_household = not 1 <= _byte_count(_cell(batch, "household", row)) <= LONGEST_KEY
            name = "household" if is_household else "member"
            return _about(name, _length(_cell(batch, name, row)))
        case Status.MISSING_FIELD | Status.OUT_OF_RANGE | Status.BAD_VALUE if plan is not None:
            found = _bad_values if status is Status.BAD_VALUE else _uses
            return next((why for wrong, why in found(batch, row, plan) if wrong is status), Why())
    return Why()


def _graph_wrong(batch: pa.RecordBatch, row: int) -> str:
    told = graph_row(batch, row)
    return told.wrong if told is not None else ""


def _identifier(batch: pa.RecordBatch, row: int) -> str:
    if _cell(batch, "member", row):
        return "comes with a member; an identifier says by itself whose it is, so leave the member out"
    return f"{_short(_cell(batch, IDENTIFIER_COLUMN, row))} is not kind:value, for example msisdn:+447700900123"


def _about(field: str, what: str) -> Why:
    return Why(field=field, detail=f"{field}: {what}" if what else "")


def _cell(batch: pa.RecordBatch, name: str, row: int) -> "str | bytes | int | float | None":
    if name not in batch.schema.names:
        return None
    return batch.column(name)[row].as_py()  # type: ignore[no-any-return]


def _unknown_type(name: object, plan: Plan | None) -> str:
    if name == "":
        return "is missing"
    near = _nearest(str(name), tuple(plan.event_type_by_name)) if plan is not None else ""
    guess = f"; did you mean {near!r}?" if near else ""
    return f"the playbook declares no event type {_short(name)}{guess}"


@lru_cache(maxsize=1_024)
def _nearest(name: str, known: tuple[str, ...]) -> str:
    """Return the name that comes nearest; empty if none is near.

    Whoever sends a type that nobody declares sends many of it, and to compare it with all takes a millisecond.
    """
    return next(iter(difflib.get_close_matches(name, known, 1)), "")


def _time(status: Status, time_us: object, plan: Plan | None, stamp_us: int | None) -> str:
    if not isinstance(time_us, int) or time_us == NO_TIME_US:
        return "is missing"
    if status is Status.PAST_CALENDAR:
        return f"{_instant(time_us)} is {'before 1970' if time_us < 0 else 'after 2199'}"
    if stamp_us is None:
        return f"{_instant(time_us)} is ahead of the owner's clock"
    most = f", at most {_seconds(plan.clock.future_us)} s are allowed" if plan is not None else ""
    return f"{_instant(time_us)} is {_seconds(time_us - stamp_us)} s ahead of the owner's clock{most}"


def _seconds(us: int) -> str:
    """Return a time in seconds, to the last digit: what is beyond a bound must not read as if it were at it.

    >>> _seconds(300_000_000), _seconds(3_600_000_001)
    ('300', '3,600.000001')
    """
    whole, rest = divmod(us, 1_000_000)
    return f"{whole:,}" + (f".{rest:06}".rstrip("0") if rest else "")


def _instant(time_us: int) -> str:
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat()
    except OverflowError:
        return f"{time_us / 1e6:,.0f} s since 1970"


def _byte_count(key: object) -> int:
    return len(key.encode() if isinstance(key, str) else key) if isinstance(key, (bytes, str)) else 0


def _length(key: object) -> str:
    length = _byte_count(key)
    return f"{length:,} bytes, at most {LONGEST_KEY} are allowed" if length else "is missing"


def _uses(batch: pa.RecordBatch, row: int, plan: Plan) -> Iterator[tuple[Status, Why]]:
    """Yield what is wrong with the fields of the event's type, in the fold's order."""
    kind = plan.event_type_by_name.get(str(_cell(batch, "type", row)))
    if kind is None:
        return
    event_type = plan.event_types[kind]
    for use in event_type.fields:
        field = plan.fields[use.field]
        value = _cell(batch, field_column(_space(field), field.name), row)
        if value is None:
            if use.required:
                yield Status.MISSING_FIELD, _about(field.name, f"is missing, and {event_type.name} needs it")
            continue
        if not isinstance(value, (int, float)):
            continue
        if value < use.least:
            yield Status.OUT_OF_RANGE, _about(field.name, f"{_number(value)} is below {_number(use.least)}")
        elif value > use.most:
            yield Status.OUT_OF_RANGE, _about(field.name, f"{_number(value)} is above {_number(use.most)}")


def _bad_values(batch: pa.RecordBatch, row: int, plan: Plan) -> Iterator[tuple[Status, Why]]:
    """Yield the values that are not of their field's kind."""
    for name in batch.schema.names:
        space, field_name = field_of(name) or ("", "")
        index = plan.field_by_name.get(field_name, -1)
        if index < 0:
            continue
        value = _cell(batch, name, row)
        what = "" if value is None else _bad_value(space, plan.fields[index], value)
        if what:
            yield Status.BAD_VALUE, _about(field_name, what)


def _bad_value(space: str, field: Field, value: object) -> str:
    if space != _space(field):
        belongs = "a text" if _space(field) == TEXTS else "a flag" if field.kind is FieldKind.FLAG else "a number"
        given = f"the text {_short(value)}" if space == TEXTS else f"the number {_number(value)}"
        return f"{given} stands where {belongs} belongs"
    match field.kind:
        case FieldKind.ENUM if value not in field.values:
            more = len(field.values) - NAMES_SHOWN_MAX
            names = ", ".join(field.values[:NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
            return f"{_short(value)} is none of {names}"
        case FieldKind.FLAG if value not in (0, 1):
            return f"{_number(value)} is neither 0 nor 1"
        case FieldKind.NUMBER if isinstance(value, (int, float)) and not math.isfinite(value):
            return f"{value} is no number to reckon with"
    return ""


def _space(field: Field) -> str:
    return NUMBERS if field.kind in (FieldKind.NUMBER, FieldKind.FLAG) else TEXTS


def _number(value: object) -> str:
    """Return a number as one would write it.

    >>> _number(1e9), _number(0.5), _number(1e300)
    ('1000000000', '0.5', '1e+300')
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}…"
