"""From raw columns to columns of signals by one section of a mapping; a row that cannot become a signal says why."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from household.events import LONGEST_KEY
from household.graph.events import GRAPH_PREFIX
from intake.reading.mapping import (
    PLACEHOLDER,
    SOURCE_AND_ID,
    ColumnText,
    FieldSource,
    FileMapping,
    TimeSource,
    TypeWhen,
)
from intake.reading.rows import Chunk, UnreadableRow, value_of
from intake.reading.values import Converted, as_calendar_time, as_counted_time, as_flag, as_number, as_text

FieldTypes = dict[str, str]
"""Field name → number, text or flag."""

ARROW_TYPE = {"number": pa.float64(), "text": pa.string(), "flag": pa.bool_()}

FILE_COLUMN, ROW_COLUMN = "_file", "_row"
"""Position of a signal in its source: index of the file and row number. Not sent."""

FIELD_PREFIX = "field:"
"""Before a field's name in a table of signals: fields may be called as our own columns are."""

NOTHING = pa.array(["", "nan", "NaN", "None", "NaT", "<NA>", "null", "NULL", "undefined", "\\N"])
"""What stands in the place of a key where there is none, as Python, pandas, browsers and databases write it: all who
have none would become one event, or one household."""

SOURCE_AND_ID_HASH = b"cloudevent"
"""Keeps the hashes of joined sources and ids apart from those of long ids."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """Signals of a chunk, in its order, and its rows that are none."""

    signals: pa.Table
    """Columns event_id, type, household, member, time (int64 µs), identifier, _file, _row, then fields, prefixed."""
    unreadable: tuple[UnreadableRow, ...]


def schema_of(fields: FieldTypes) -> pa.Schema:
    """Return the columns of signals with these fields."""
    texts = [(name, pa.string()) for name in ("event_id", "type", "household", "member")]
    positions = [("time", pa.int64()), ("identifier", pa.string()), (FILE_COLUMN, pa.int32()), (ROW_COLUMN, pa.int64())]
    return pa.schema([*texts, *positions, *((FIELD_PREFIX + name, ARROW_TYPE[kind]) for name, kind in fields.items())])


def times_of(chunk: Chunk, source: TimeSource) -> Converted:
    """Return when each row happened, in microseconds since 1970."""
    column = _column(chunk, source.column)
    if source.unit is not None:
        return as_counted_time(column, unit=source.unit, start_us=source.start_us)
    return as_calendar_time(column, zone=source.zone, pattern=source.format)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMapper:
    """Maps the chunks of one file."""

    file: str
    folder: str
    file_index: int
    section: FileMapping
    """With its fields spelled out."""
    fields: FieldTypes
    """Of all files of the run: a field this file does not have is null."""

    def map(self, chunk: Chunk) -> Mapped:
        """Return the signals of a chunk."""
        found = _Found(self, chunk)
        columns = {
            "event_id": found.event_ids(),
            "type": found.text("type", self.section.type, is_required=True),
            "household": found.text("household", self.section.household, is_required=False).fill_null(""),
            "member": found.text("member", self.section.member, is_required=False).fill_null(""),
            "time": found.time(),
            "identifier": found.text("identifier", self.section.identifier, is_required=False).fill_null(""),
            FILE_COLUMN: pa.repeat(pa.scalar(self.file_index, pa.int32()), len(chunk.rows)),
            ROW_COLUMN: pa.array(chunk.rows),
            **{FIELD_PREFIX + name: found.field(name, kind) for name, kind in self.fields.items()},
        }
        found.name_one(columns)
        found.drop_nobodys(columns)
        table = pa.table(columns, schema=schema_of(self.fields))
        unreadable = found.unreadable()
        if found.why:
            is_kept = np.ones(len(chunk.rows), np.bool_)
            is_kept[list(found.why)] = False
            table = table.filter(pa.array(is_kept))
        return Mapped(table, tuple(sorted((*chunk.unreadable, *unreadable), key=lambda one: one.row)))


@dataclass(slots=True)
class _Found:
    """The columns of one chunk as they are mapped, and why rows drop out (the first reason counts)."""

    mapper: FileMapper
    chunk: Chunk
    why: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for column in self.mapper.section.columns_used():
            for index, why in self.chunk.wrong_cells.get(column, {}).items():
                self.why.setdefault(index, f"{column} {why}")

    def text(self, part: str, source: str | ColumnText | TypeWhen, *, is_required: bool) -> pa.Array:
        """Return a part that is text; where it is required, an empty one drops the row."""
        match source:
            case str():
                values = self._fill_template(source, is_key=part != "type")
            case ColumnText():
                values = self._look_up(part, source)
            case TypeWhen():
                values = self._choose(source)
            case _:
                assert_never(source)
        if is_required:
            is_empty = pc.fill_null(pc.equal(values, ""), True).to_numpy(zero_copy_only=False)
            self._drop(is_empty, lambda _: f"{part} is empty")
        return values

    def name_one(self, columns: dict[str, pa.Array]) -> None:
        """Let a household go before an identifier. Graph events may name both: theirs are fields."""
        if not self.mapper.section.identifier or not self.mapper.section.household:
            return
        is_signal = pc.invert(pc.fill_null(pc.starts_with(columns["type"], GRAPH_PREFIX), False))
        is_empty = pc.equal(columns["household"], "")
        by_household = pc.and_(is_signal, pc.invert(is_empty))
        columns["identifier"] = pc.if_else(by_household, "", columns["identifier"])
        by_identifier = pc.and_(is_empty, pc.not_equal(columns["identifier"], ""))
        has_both = pc.and_(pc.and_(is_signal, by_identifier), pc.not_equal(columns["member"], ""))
        self._drop(
            has_both.to_numpy(zero_copy_only=False),
            lambda _: "member goes with household: an identifier says who it is",
        )

    def drop_nobodys(self, columns: Mapping[str, pa.Array]) -> None:
        """Drop the rows that name nobody. Graph events stay: they name by their fields whom they are about."""
        is_nobodys = pc.and_(pc.equal(columns["household"], ""), pc.equal(columns["identifier"], ""))
        if pc.any(is_nobodys).as_py():
            is_graph = pc.fill_null(pc.starts_with(columns["type"], GRAPH_PREFIX), False)
            what = "household and identifier are empty" if self.mapper.section.identifier else "household is empty"
            self._drop(pc.and_not(is_nobodys, is_graph).to_numpy(zero_copy_only=False), lambda _: what)

    def event_ids(self) -> pa.Array:
        """Return the ids; a missing one is made from the row's position, one that is too long from its hash."""
        section = self.mapper.section
        if section.format == "cloudevents" and section.event_id == SOURCE_AND_ID:
            values = self._source_and_id()
        else:
            values = self.text("event_id", section.own_event_id, is_required=False)
        is_missing = _is_nothing(values)
        if pc.any(is_missing).as_py():
            values = pc.if_else(is_missing, self._fill_template("{file}:{row}"), values)
        is_long = pc.greater(pc.binary_length(values), LONGEST_KEY)
        if not pc.any(is_long).as_py():
            return values
        return pa.array([shortened_id(value) for value in values.to_pylist()], pa.string())

    def time(self) -> pa.Array:
        """Return when each row happened."""
        source = self.mapper.section.time
        times = times_of(self.chunk, source)
        what = f"a number of {source.unit}" if source.unit else f"a time like {source.format or '2026-01-05T18:30:00Z'}"
        self._drop_wrong(times, source.column, f"time, which should be {what}")
        self._drop(times.values.is_null().to_numpy(zero_copy_only=False), lambda _: f"{source.column} (time) is empty")
        return times.values.fill_null(0)

    def field(self, name: str, kind: str) -> pa.Array:
        """Return one field, null where it is absent."""
        sources = self.mapper.section.fields
        source = sources.get(name) if not isinstance(sources, str) else None
        if source is None:
            return pa.nulls(len(self.chunk.rows), ARROW_TYPE[kind])
        if source.text:
            # Most often whom a graph event is about: there, too, all who are nobody would become one.
            return self._fill_template(source.text, is_key=True)
        column = _without_absent(_column(self.chunk, source.column), source)
        if kind == "text":
            return as_text(column)
        converted = as_number(column) if kind == "number" else as_flag(column)
        self._drop_wrong(converted, source.column, f"field {name}, which should be a {kind}")
        return converted.values

    def unreadable(self) -> list[UnreadableRow]:
        """Return the rows that dropped out."""
        chunk = self.chunk
        return [
            UnreadableRow(
                file=self.mapper.file,
                row=int(chunk.rows[index]),
                line=int(chunk.lines[index]),
                why=why,
                text=chunk.text_of(index),
            )
            for index, why in self.why.items()
        ]

    def _fill_template(self, template: str, *, is_key: bool = False) -> pa.Array:
        count = len(self.chunk.rows)
        parts: list[pa.Array] = []
        for index, piece in enumerate(PLACEHOLDER.split(template)):
            if index % 2 == 0:
                if piece:
                    parts.append(pa.repeat(pa.scalar(piece, pa.string()), count))
            elif piece == "row":
                parts.append(pc.cast(pa.array(self.chunk.rows), pa.string()))
            elif piece in ("file", "folder"):
                value = self.mapper.file if piece == "file" else self.mapper.folder
                parts.append(pa.repeat(pa.scalar(value, pa.string()), count))
            else:
                cells = as_text(_column(self.chunk, piece))
                parts.append(_without_nothing(cells) if is_key else cells)
        if not parts:
            return pa.repeat(pa.scalar("", pa.string()), count)
        return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "")

    def _source_and_id(self) -> pa.Array:
        pairs = zip(
            as_text(_column(self.chunk, "source")).to_pylist(),
            _without_nothing(as_text(_column(self.chunk, "id"))).to_pylist(),
            strict=True,
        )
        return pa.array([None if None in pair else cloudevent_id(*pair) for pair in pairs], pa.string())

    def _look_up(self, part: str, source: ColumnText) -> pa.Array:
        values = as_text(_column(self.chunk, source.column))
        if source.else_column is not None:
            is_empty = _is_nothing(values)
            values = pc.if_else(is_empty, as_text(_column(self.chunk, source.else_column)), values)
        if source.map is None:
            return values if part == "type" else _without_nothing(values)
        position = pc.index_in(values, pa.array(list(source.map), pa.string()))
        is_unlisted = pc.and_(position.is_null(), values.is_valid()).to_numpy(zero_copy_only=False)
        self._drop(
            is_unlisted, lambda index: f"{part}: {values[index].as_py()!r} is not in the map for {source.column}"
        )
        return pa.array(list(source.map.values()), pa.string()).take(position)

    def _choose(self, source: TypeWhen) -> pa.Array:
        values = pa.repeat(pa.scalar(source.otherwise, pa.string()), len(self.chunk.rows))
        for case in reversed(source.when):
            holds = _equals(_column(self.chunk, case.column), case.equals)
            values = pc.if_else(holds, pa.scalar(case.type, pa.string()), values)
        return values

    def _drop(self, mask: NDArray[np.bool_], why: Callable[[int], str]) -> None:
        for index in np.flatnonzero(mask).tolist():
            self.why.setdefault(index, why(index))

    def _drop_wrong(self, converted: Converted, column: str, expected: str) -> None:
        cells = _column(self.chunk, column)
        self._drop(converted.is_wrong, lambda index: f"{column} is {value_of(cells, index)!r}: not fit for {expected}")


def _without_nothing(texts: pa.Array) -> pa.Array:
    return pc.if_else(_is_nothing(texts), pa.scalar(None, pa.string()), texts)


def _is_nothing(texts: pa.Array) -> pa.Array:
    return pc.or_(pc.is_null(texts), pc.is_in(texts, NOTHING))


def _column(chunk: Chunk, name: str) -> pa.Array:
    column = chunk.columns.get(name)
    return column if column is not None else pa.nulls(len(chunk.rows), pa.string())


def _equals(column: pa.Array, value: str | float) -> pa.Array:
    if isinstance(value, str):
        return pc.fill_null(pc.equal(as_text(column), value), False)
    return pc.fill_null(pc.equal(as_number(column).values, float(value)), False)


def _without_absent(column: pa.Array, source: FieldSource) -> pa.Array:
    for value in source.absent:
        column = pc.if_else(_equals(column, value), pa.scalar(None, column.type), column)
    return column


def shortened_id(event_id: str) -> str:
    """Return the id itself, or its hash where Hearth takes none as long."""
    content = event_id.encode()
    return (
        event_id if len(content) <= LONGEST_KEY else "blake2b:" + hashlib.blake2b(content, digest_size=24).hexdigest()
    )


def cloudevent_id(source: str, event_id: str) -> str:
    """Return the id of the event that a source calls by an id of its own; no two pairs have the same.

    A source without # ends where the joined text has its first one. A source with one, which a URI may have, is hashed
    with its length, so that `a#b` `c` and `a` `b#c` stay two.

    >>> cloudevent_id("/shop/7", "1")
    '/shop/7#1'
    >>> cloudevent_id("a#b", "c") == cloudevent_id("a", "b#c")
    False
    """
    if "#" not in source:
        return shortened_id(f"{source}#{event_id}")
    content = f"{len(source)}:{source}#{event_id}".encode()
    return "blake2b:" + hashlib.blake2b(content, digest_size=24, person=SOURCE_AND_ID_HASH).hexdigest()
