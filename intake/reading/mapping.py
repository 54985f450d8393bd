"""The mapping file: which columns of which files become which parts of a signal (docs/ingest.md)."""

import fnmatch
import importlib.resources
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from household.events import LONGEST_KEY
from household.graph.events import GRAPH_PREFIX
from intake.errors import InputWrong
from intake.reading.values import UNIT_US, is_known_zone, spelled_patterns
from intake.reading.yaml_file import WHAT_BELONGS, Unquoted, read_yaml
from written.problems import WritingInvalid

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
FILE_PLACEHOLDERS = ("file", "folder", "row")
"""Placeholders of the row's position: file name, name of its folder, row number from 1."""

ROW_ID = "{file}:{row}"
"""The identity of a row that brings none."""

SOURCE_AND_ID = "{source}#{id}"
"""The identity of a CloudEvent; in files of that format it is joined so that no two pairs look alike."""

FORMATS = ("csv", "jsonl", "cloudevents", "parquet")
ALL_OTHERS = "*"
NOW = "now"

Format = Literal["csv", "jsonl", "cloudevents", "parquet"]


class MappingInvalid(InputWrong):
    """The mapping cannot be used; says where and why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ColumnText(_Part):
    """Text from one column, by a table of names where one is given."""

    column: str
    else_column: str | None = None
    """Read where the first is empty, row by row."""
    map: dict[str, str] | None = None
    """From what the file says to what Hearth knows; a value that is not listed makes the row unreadable."""


def _cell(value: Any) -> Any:
    if value is None:
        raise ValueError("nothing is written here; put the text in quotes if it is meant: 'null'")
    return value.as_number() if isinstance(value, Unquoted) else value


CellValue = Annotated[str | float, BeforeValidator(_cell)]
"""What a cell of a file is compared with: a number, written without quotes, as one; all else as it is written."""


class TypeCase(_Part):
    """The type of those rows whose column equals a value."""

    column: str
    equals: CellValue
    type: str


class TypeWhen(_Part):
    """The first case that holds, or else `otherwise`."""

    when: tuple[TypeCase, ...] = Field(min_length=1)
    otherwise: str


def _text_kind(value: Any) -> str:
    if isinstance(value, str):
        return "template"
    if isinstance(value, (TypeWhen, ColumnText)):
        return "when" if isinstance(value, TypeWhen) else "column"
    return "when" if isinstance(value, dict) and "when" in value else "column"


TextSource = Annotated[
    Annotated[str, Tag("template")] | Annotated[ColumnText, Tag("column")], Discriminator(_text_kind)
]
"""A constant, a template such as "U{caller}", or a column."""

TypeSource = Annotated[
    Annotated[str, Tag("template")] | Annotated[ColumnText, Tag("column")] | Annotated[TypeWhen, Tag("when")],
    Discriminator(_text_kind),
]


def _known_unit(unit: str) -> str:
    if unit not in UNIT_US:
        raise ValueError(f"{unit!r} is no unit of time; the units are {', '.join(UNIT_US)}")
    return unit


def _known_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
        # localtime is another one on every machine.
        is_known = zone != "localtime" and is_known_zone(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        is_known = False
    if not is_known:
        raise ValueError(f"{zone!r} is no time zone; write UTC or one like Europe/Berlin")
    return zone


def _known_pattern(pattern: str) -> str:
    if not pattern:
        raise ValueError("nothing is written here; leave it out for ISO 8601")
    for spelled, _ in spelled_patterns(pattern):
        try:
            datetime.strptime("", spelled)  # noqa: DTZ007
        except re.error as wrong:
            raise ValueError(f"{pattern!r} is no pattern for times: {wrong}") from None
        except ValueError as wrong:
            # That an empty text does not fit is what a good one says.
            if "does not match" not in str(wrong):
                raise ValueError(f"{pattern!r} is no pattern for times: {wrong}") from None
    return pattern


def _instant(value: Any, told: ValidationInfo) -> Any:
    if value == NOW:
        assert told.context is not None, "whoever loads a mapping says what time it is"
        value = told.context[NOW]
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is no instant; write it like 2026-01-05T00:00:00Z") from None
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    raise ValueError(f"{value!r} is no instant; write it like 2026-01-05T00:00:00Z")


class TimeSource(_Part):
    """When a row happened: a number of `unit`s since `start`, or a date with time of day."""

    column: str
    unit: Annotated[str, AfterValidator(_known_unit)] | None = None
    start: Annotated[datetime, BeforeValidator(_instant)] | None = None
    """What a number counts from; 1970-01-01T00:00:00Z if not given, `now` is when the mapping is read. Without an
    offset it is UTC."""
    format: Annotated[str, AfterValidator(_known_pattern)] | None = None
    """strptime pattern; ISO 8601 if not given. Of the names of zones, %Z, it knows UTC, GMT and Z."""
    zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    """For dates that name no offset."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.start is not None and self.unit is None:
            raise ValueError("`start` needs a `unit`: what does the column count?")
        if self.unit is not None and self.format is not None:
            raise ValueError("`unit` is for numbers and `format` for dates; give one of them")
        return self

    @property
    def start_us(self) -> int:
        """Start in microseconds since 1970."""
        if self.start is None:
            return 0
        since = self.start - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


class FieldSource(_Part):
    """The value of one field of a signal: a column's, or a text with columns in braces."""

    column: str = ""
    text: str = ""
    """Such as "member:{customer}"; there is none where one of its columns is empty."""
    type: Literal["number", "text", "flag"] = "text"
    absent: tuple[CellValue, ...] = ()
    """Values that stand for no value, such as -1."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.column) == bool(self.text):
            raise ValueError("give one of `column` and `text`")
        if self.text and (self.type != "text" or self.absent):
            raise ValueError("`text` makes a text as it stands; `type` and `absent` go with `column`")
        return self

    def columns(self) -> list[str]:
        """Return the columns that it reads."""
        return [self.column] if self.column else columns_of(self.text)


def _usable_delimiter(delimiter: str) -> str:
    if len(delimiter) != 1 or not (delimiter == "\t" or (delimiter.isascii() and delimiter.isprintable())):
        raise ValueError(f"{delimiter!r} is no delimiter; one ASCII character is, such as ';' or \"\\t\"")
    if delimiter == '"':
        raise ValueError("the quotation mark is what quotes values; it cannot be the delimiter, too")
    return delimiter


class CsvSection(_Part):
    """How a CSV file is written."""

    delimiter: Annotated[str, AfterValidator(_usable_delimiter)] = ","
    columns: tuple[str, ...] = ()
    """Names for a file without a header line."""
    multiline: bool = False
    """Whether quoted values may hold line breaks."""


def _usable_field_name(name: str) -> str:
    if not 0 < len(name.encode()) <= LONGEST_KEY:
        has = f"{name[:40]!r} has {len(name.encode()):,} bytes" if name else "it is empty"
        raise ValueError(f"{has}; the name of a field has 1 to {LONGEST_KEY} bytes")
    return name


class FileMapping(_Part):
    """What the rows of the files that match a pattern become."""

    match: str = "*"
    """Pattern for file names, as in a shell."""
    format: Format | None = None
    """By the file's extension if not given."""
    csv: CsvSection = CsvSection()
    event_id: TextSource = ROW_ID
    type: TypeSource
    household: TextSource = ""
    member: TextSource = ""
    identifier: TextSource = ""
    """By what rows without a household name whom they are about."""
    time: TimeSource
    fields: dict[Annotated[str, AfterValidator(_usable_field_name)], FieldSource] | Literal["*"] = Field(
        default_factory=dict
    )
    """By field name; "*" takes every column not used otherwise under its own name."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        types = _types_of(self.type)
        if not self.household and not self.identifier and not any(one.startswith(GRAPH_PREFIX) for one in types):
            raise ValueError(
                "whom are the rows about? Give `household`, or `identifier` with its kind: msisdn:{column}"
            )
        if self.identifier and self.member and not self.household:
            raise ValueError("`member` goes with `household`; an identifier says who it is: give one of the two")
        return self

    @property
    def own_event_id(self) -> TextSource:
        """What makes the event's id; by a row's position also what graph event it is: one row may tell several."""
        if self.event_id == ROW_ID and isinstance(self.type, str) and self.type.startswith(GRAPH_PREFIX):
            return f"{ROW_ID}:{self.type.removeprefix(GRAPH_PREFIX)}"
        return self.event_id

    def columns_used(self) -> dict[str, list[str]]:
        """Return the columns this mapping names, each with what for."""
        used: dict[str, list[str]] = {}
        for part, source in (
            ("event_id", self.event_id),
            ("type", self.type),
            ("household", self.household),
            ("member", self.member),
            ("identifier", self.identifier),
        ):
            for column in columns_of(source):
                used.setdefault(column, []).append(part)
        used.setdefault(self.time.column, []).append("time")
        if not isinstance(self.fields, str):
            for name, value in self.fields.items():
                for column in value.columns():
                    used.setdefault(column, []).append(f"field {name}")
        return used


class Mapping(_Part):
    """A whole mapping file."""

    files: tuple[FileMapping, ...] = Field(min_length=1)
    name: str = ""
    """Where it was read from, for messages."""

    def section_for(self, path: Path) -> FileMapping:
        """Return the first section whose pattern fits the file's name."""
        for section in self.files:
            if fnmatch.fnmatchcase(path.name, section.match):
                return section
        patterns = ", ".join(section.match for section in self.files)
        raise MappingInvalid(
            f"{path}: mapping {self.name} has no section for a file of this name; its patterns are {patterns}"
        )


def _types_of(source: str | ColumnText | TypeWhen) -> tuple[str, ...]:
    """Return the types that rows may have; of a column without a map any: then a graph event among them, too."""
    match source:
        case str():
            return (GRAPH_PREFIX if PLACEHOLDER.search(source) else source,)
        case ColumnText():
            return (GRAPH_PREFIX,) if source.map is None else tuple(source.map.values())
        case TypeWhen():
            return (source.otherwise, *(case.type for case in source.when))


def columns_of(source: str | ColumnText | TypeWhen) -> list[str]:
    """Return the columns a source refers to; position placeholders are not among them."""
    if isinstance(source, ColumnText):
        return [source.column] if source.else_column is None else [source.column, source.else_column]
    if isinstance(source, TypeWhen):
        return [case.column for case in source.when]
    return [name for name in PLACEHOLDER.findall(source) if name not in FILE_PLACEHOLDERS]


def shipped_mappings() -> list[str]:
    """Return the names of the mappings that come with Hearth."""
    folder = importlib.resources.files("intake") / "mappings"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_mapping(name: str, *, now: datetime) -> Mapping:
    """Return the mapping in a file, or the shipped one of that name; `now` is what it means by that word.

    Raises:
        MappingInvalid: there is none, or it is wrong; the message says where.
    """
    path = Path(name)
    if name in shipped_mappings() and not path.exists():
        path = Path(str(importlib.resources.files("intake"))) / "mappings" / f"{name}.yaml"
    try:
        content = read_yaml(path, name=name, example="files:")
    except FileNotFoundError:
        shipped = ", ".join(shipped_mappings())
        raise MappingInvalid(f"there is no mapping file {name}; those that come with Hearth are: {shipped}") from None
    except OSError as failed:
        raise MappingInvalid(f"mapping {name} cannot be read: {failed}") from failed
    except WritingInvalid as wrong:
        told = "; ".join(map(str, wrong.problems))
        raise MappingInvalid(f"mapping {name} is not valid YAML: {told}") from wrong
    if not isinstance(content, dict):
        raise MappingInvalid(f"mapping {name} must begin with `files:`, a list of sections; docs/ingest.md shows one")
    try:
        return Mapping.model_validate({**content, "name": name}, context={NOW: now})
    except ValidationError as wrong:
        errors = wrong.errors()
        # A list whose only entry is wrong is also reported as empty; that helps nobody.
        errors = [error for error in errors if error["type"] != "too_short"] or errors
        # Whoever wrote a mapping of fields did not mean "*".
        errors = [error for error in errors if error["loc"][-1] != "literal['*']"] or errors
        raise MappingInvalid("; ".join(f"mapping {name}: {_describe(error)}" for error in errors)) from wrong


def _describe(error: Any) -> str:
    place = ".".join(
        str(part)
        for part in error["loc"]
        # The types between which there was a choice, as pydantic calls them, stand nowhere in the file.
        if "[" not in str(part) and (part not in ("template", "column", "when") or part == error["loc"][-1])
    )
    message = WHAT_BELONGS.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{place} is not known"
    if error["type"] == "missing":
        return f"{place} is missing"
    return f"{place}: {message}"
