"""The first look through a file: do its columns fit the mapping, is it in order of time, how many rows are there.

Everything that is wrong with a mapping shows here, before anything is sent.
"""

from collections.abc import Mapping as Dict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from household.events import LONGEST_KEY
from intake.errors import InputWrong, IntakeFailed
from intake.progress import Meter
from intake.reading.csv_file import CsvFile, CsvShape
from intake.reading.defaults import PLAIN_COLUMNS, cloudevents_mapping, plain_mapping
from intake.reading.json_file import JsonFile, holds_cloudevents
from intake.reading.mapping import (
    ALL_OTHERS,
    FORMATS,
    ColumnText,
    FieldSource,
    FileMapping,
    Mapping,
    MappingInvalid,
)
from intake.reading.parquet_file import ParquetFile
from intake.reading.rows import Chunk, FileReader, value_of
from intake.reading.signals import FieldTypes, FileMapper, times_of
from intake.reading.values import as_number
from wire.batches import FIELD_COUNT_MAX

FORMAT_BY_SUFFIX = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".cloudevents": "cloudevents",
    ".parquet": "parquet",
    ".pq": "parquet",
}

DATA_PREFIX = "data."
"""CloudEvents keep an event's own values under this key."""

WHOLE_DATA = "data"
"""Data that is no object has no fields."""


Declared = Dict[str, str]
"""Fields that a playbook knows, and as what they travel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that fits its mapping."""

    reader: FileReader
    section: FileMapping
    """With its fields spelled out."""
    fields: FieldTypes
    row_count: int
    """Broken rows included."""
    is_sorted: bool
    """Whether no row that can be read is older than one before it."""
    passed_over: tuple[str, ...] = ()
    """Columns that are not sent although the mapping takes all others, for people."""
    is_guessed: bool = False
    """Whether what its fields are was told from their cells."""


def examine(path: Path, *, mapping: Mapping | None, file_format: str | None, show: Meter) -> SourceFile:
    """Read a file once and return what is needed to send it.

    Raises:
        MappingInvalid: a column the mapping names is not there, or no row has a time that can be read.
        IntakeFailed: the file as a whole cannot be read.
    """
    _check_file(path)
    section = mapping.section_for(path) if mapping is not None else None
    reader, is_cloudevents = _open(path, section, file_format)
    look = _Look()
    size = path.stat().st_size
    time_source = section.time if section is not None else plain_mapping([]).time
    for chunk in reader.chunks():
        look.take(chunk, times_of(chunk, time_source).values)
        show(chunk.bytes_done, size, path.name)
    columns = list(look.number_by_column)
    # Without a header, a file of which no row can be read shows no columns.
    is_empty = look.row_count == 0 or not (look.readable_count or columns)
    if section is None:
        section = _default_section(path, columns, is_cloudevents=is_cloudevents, is_empty=is_empty)
    name = mapping.name if mapping is not None else ""
    _check_columns(path, section, columns, mapping_name=name, is_empty=is_empty)
    _check_times(path, section, look, mapping_name=name)
    takes_all = section.fields == ALL_OTHERS
    section = _spell_out_fields(section, look, is_cloudevents=is_cloudevents)
    _check_doubled(path, section, look)
    assert not isinstance(section.fields, str)
    fields: FieldTypes = {field_name: source.type for field_name, source in section.fields.items()}
    return SourceFile(
        reader=reader,
        section=section,
        fields=fields,
        row_count=look.row_count,
        is_sorted=look.is_sorted,
        passed_over=tuple(look.passed_over) if takes_all else (),
        is_guessed=takes_all,
    )


def as_declared(source: SourceFile, declared: Declared) -> SourceFile:
    """Return a file whose guessed fields are what the playbook declares them to be.

    A cell that does not fit costs its row; to go by the cells alone, it would cost its column.
    """
    assert not isinstance(source.section.fields, str)
    if not source.is_guessed:
        return source
    guessed = source.section.fields
    spelled = {name: one.model_copy(update={"type": declared.get(name, one.type)}) for name, one in guessed.items()}
    return replace(
        source,
        section=source.section.model_copy(update={"fields": spelled}),
        fields={name: one.type for name, one in spelled.items()},
    )


def mapper_for(source: SourceFile, *, file_index: int, fields: FieldTypes) -> FileMapper:
    """Return what maps this file's chunks, with the fields of all files of the run."""
    folder = source.reader.path.absolute().parent.name
    return FileMapper(
        file=source.reader.name, folder=folder, file_index=file_index, section=source.section, fields=fields
    )


def merged_fields(sources: list[SourceFile]) -> FieldTypes:
    """Return the fields of all files; of one whose type was told from cells that differ, all can be text.

    Raises:
        MappingInvalid: two files give one field different types.
    """
    merged: FieldTypes = {}
    written: set[str] = set()
    for source in sources:
        for name, kind in source.fields.items():
            known = merged.setdefault(name, kind)
            if known != kind and source.is_guessed:
                merged[name] = known if name in written else "text"
            elif known != kind and name in written:
                raise MappingInvalid(
                    f"field {name} is a {kind} in {source.reader.name} and a {known} in another file; "
                    "give it one type in the mapping"
                )
            elif not source.is_guessed:
                merged[name] = kind
                written.add(name)
    return merged


def fields_to_send(sources: list[SourceFile], declared: Declared | None) -> tuple[FieldTypes, list[str]]:
    """Return the fields of all files, and those that are passed over because a request cannot have as many.

    Args:
        sources: the files.
        declared: the fields that the playbook in force knows; None if that cannot be told.

    Raises:
        MappingInvalid: two files give one field different types, or more fields are needed than a request can have.
    """
    merged = merged_fields(sources)
    if len(merged) <= FIELD_COUNT_MAX:
        return merged, []
    kept = {name: kind for name, kind in merged.items() if name in declared} if declared is not None else merged
    if declared is not None and len(kept) > FIELD_COUNT_MAX:
        raise MappingInvalid(
            f"the files have {len(kept):,} fields that the playbook knows; at most {FIELD_COUNT_MAX} travel"
        )
    kept = dict(list(kept.items())[:FIELD_COUNT_MAX])
    return kept, [name for name in merged if name not in kept]


@dataclass(slots=True)
class _Look:
    """What was seen of a file so far."""

    row_count: int = 0
    readable_count: int = 0
    timed_count: int = 0
    is_sorted: bool = True
    newest_us: int = -(1 << 62)
    number_by_column: dict[str, str] = field(default_factory=dict)
    """Column → number, flag or text: what all its cells so far fit; empty while none was seen."""
    first_cells: dict[str, str] = field(default_factory=dict)
    why_unreadable: str = ""
    passed_over: dict[str, None] = field(default_factory=dict)
    doubled: set[str] = field(default_factory=set)

    def take(self, chunk: Chunk, times: pa.Array) -> None:
        self.row_count += len(chunk.rows) + len(chunk.unreadable)
        self.readable_count += len(chunk.rows)
        if chunk.unreadable and not self.why_unreadable:
            self.why_unreadable = str(chunk.unreadable[0])
        known = times.drop_null().to_numpy()
        self.timed_count += len(known)
        if len(known):
            in_order = bool((np.diff(known) >= 0).all()) and int(known[0]) >= self.newest_us
            self.is_sorted = self.is_sorted and in_order
            self.newest_us = max(self.newest_us, int(known.max()))
        self.passed_over |= dict.fromkeys(chunk.passed_over)
        self.doubled |= chunk.doubled
        for name, column in chunk.columns.items():
            self._note(name, column)

    def _note(self, name: str, column: pa.Array) -> None:
        cells = column.drop_null()
        before = self.number_by_column.setdefault(name, "")
        if not len(cells):
            return
        self.first_cells.setdefault(name, str(value_of(cells, 0)))
        if before != "text":
            now = _kind_of(cells)
            self.number_by_column[name] = now if before in ("", now) else "text"


def _kind_of(cells: pa.Array) -> str:
    if pa.types.is_boolean(cells.type):
        return "flag"
    if not pa.types.is_string(cells.type) and not pa.types.is_large_string(cells.type):
        is_number = (
            pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type) or pa.types.is_decimal(cells.type)
        )
        return "number" if is_number else "text"
    if not as_number(cells).is_wrong.any():
        return "number"
    return "flag" if pc.all(pc.is_in(cells, pa.array(["true", "false"]))).as_py() else "text"


def _check_file(path: Path) -> None:
    if not path.exists():
        raise InputWrong(f"there is no file {path}")
    if not path.is_file():
        raise InputWrong(
            f"{path} is no regular file; name the files themselves (files are read twice, so a pipe will not do)"
        )
    try:
        path.open("rb").close()
    except OSError as failed:
        raise IntakeFailed(f"{path} cannot be read: {failed.strerror}") from failed


def _open(path: Path, section: FileMapping | None, file_format: str | None) -> tuple[FileReader, bool]:
    chosen = (
        file_format or (section.format if section is not None else None) or FORMAT_BY_SUFFIX.get(path.suffix.lower())
    )
    match chosen:
        case "csv":
            csv = section.csv if section is not None else None
            shape = (
                CsvShape()
                if csv is None
                else CsvShape(delimiter=csv.delimiter, columns=csv.columns, multiline=csv.multiline)
            )
            return CsvFile(path, shape), False
        case "jsonl":
            # A mapping written for plain lines reads CloudEvents by its own keys; without one they are recognised.
            is_cloudevents = section is None and holds_cloudevents(path)
            return JsonFile(path, is_cloudevents), is_cloudevents
        case "cloudevents":
            return JsonFile(path, True), True
        case "parquet":
            return ParquetFile(path), False
        case None:
            raise InputWrong(f"{path}: the format cannot be told from the name; give --format {', '.join(FORMATS)}")
        case _:
            raise InputWrong(f"{chosen!r} is no format; the formats are {', '.join(FORMATS)}")


def _default_section(path: Path, columns: list[str], *, is_cloudevents: bool, is_empty: bool) -> FileMapping:
    if is_cloudevents:
        return cloudevents_mapping(columns)
    optional = ("event_id", "member", "household" if "identifier" in columns else "")
    missing = [name for name in PLAIN_COLUMNS if name not in columns and name not in optional]
    if missing and not is_empty:
        raise MappingInvalid(
            f"{path} has no column {missing[0]!r}; it has: {', '.join(columns)}. Without a mapping the columns must be "
            f"named {', '.join(PLAIN_COLUMNS)}; say with --mapping FILE which are which (docs/ingest.md)"
        )
    return plain_mapping(columns)


def _check_columns(path: Path, section: FileMapping, columns: list[str], *, mapping_name: str, is_empty: bool) -> None:
    if is_empty and not columns:
        return
    instead_of = _instead_of(section)
    for column, parts in section.columns_used().items():
        if column not in columns and instead_of.get(column) not in columns:
            named_by = f", which mapping {mapping_name} names for {' and '.join(parts)}" if mapping_name else ""
            raise MappingInvalid(f"{path} has no column {column!r}{named_by}; it has: {', '.join(columns)}")


def _instead_of(section: FileMapping) -> dict[str, str]:
    """Return, of two columns that stand in for each other, the other."""
    pairs: dict[str, str] = {}
    for source in (section.event_id, section.type, section.household, section.member, section.identifier):
        if isinstance(source, ColumnText) and source.else_column is not None:
            pairs |= {source.column: source.else_column, source.else_column: source.column}
    return pairs


def _check_doubled(path: Path, section: FileMapping, look: _Look) -> None:
    doubled = sorted(look.doubled & section.columns_used().keys())
    if doubled:
        raise MappingInvalid(
            f"{path}: column {doubled[0]!r} occurs twice, so it is not known which is meant; give the columns names of "
            "their own, or name the others in a mapping"
        )


def _check_times(path: Path, section: FileMapping, look: _Look, *, mapping_name: str) -> None:
    if look.timed_count or not look.readable_count:
        return
    column = section.time.column
    example = look.first_cells.get(column)
    found = f"the first is {example!r}" if example is not None else "all are empty"
    expected = (
        f"a number of {section.time.unit}"
        if section.time.unit
        else f"a time like {section.time.format or '2026-01-05T18:30:00Z'}"
    )
    advice = "" if section.time.unit else "; for numbers say what they count with `unit` and `start` in a mapping"
    by = f"mapping {mapping_name}" if mapping_name else "no mapping"
    raise MappingInvalid(
        f"{path}: no value of column {column!r} can be read as {expected} ({by}); {found}{advice}; "
        f"the columns are: {', '.join(look.number_by_column)}"
    )


def _spell_out_fields(section: FileMapping, look: _Look, *, is_cloudevents: bool) -> FileMapping:
    if section.fields != ALL_OTHERS:
        return section
    used = section.columns_used()
    fields = {}
    for column, kind in look.number_by_column.items():
        if column in used or not kind:
            continue
        if is_cloudevents and not column.startswith(DATA_PREFIX):
            if column == WHOLE_DATA:
                look.passed_over["data of CloudEvents that is no JSON object"] = None
            continue
        name = column.removeprefix(DATA_PREFIX) if is_cloudevents else column
        if not name or len(name.encode()) > LONGEST_KEY:
            why = f"has {len(name.encode()):,} bytes, at most {LONGEST_KEY}" if name else "is empty"
            look.passed_over[f"column {column[:40]!r} (as a field's name it {why})"] = None
            continue
        fields[name] = FieldSource.model_validate({"column": column, "type": kind})
    return section.model_copy(update={"fields": fields})
