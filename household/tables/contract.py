"""What every table fulfils: its columns, whose rows they are, when a row is due, how it shows, how it is carried over.

A row type is a dataclass whose fields are annotated with the types below; a `Declaration` says the rest. Rows are
values, replaced and never changed (not frozen, which would cost as much as all else of putting one). What is
declared is frozen, thawed, written to snapshots, hashed, tidied and taken under another plan by code that knows no
table (docs/recipes/add-a-table.md).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from household.later import spoken
from household.plan import Plan

if TYPE_CHECKING:
    from household.state import PartitionState
    from household.tables.table import Table

Row = TypeVar("Row")


class ColumnKind(Enum):
    """How the values of a column lie in 64 bits."""

    NUMBER = auto()
    """As it is: a time in µs, an offset."""
    FLAG = auto()
    HOUSEHOLD = auto()
    """A row of households."""
    MEMBER = auto()
    """A row of members, or NO_MEMBER."""
    CHANNEL = auto()
    """Index among the plan's channels, or NONE; another plan may call it otherwise."""
    TEXT = auto()
    """An id: stored once, counted by who refers to it, gone with the last."""
    BYTES = auto()
    """Stored as texts are."""
    NAME = auto()
    """One of the few names of playbooks and of this software: stored once and kept."""
    ENUM = auto()
    """A member of a StrEnum."""
    MEMBERS = auto()
    CHANNELS = auto()
    """Another plan's codes replace them; a channel that is gone falls out."""
    NAMES = auto()


POOLED = frozenset({ColumnKind.TEXT, ColumnKind.BYTES, ColumnKind.MEMBERS, ColumnKind.CHANNELS, ColumnKind.NAMES})
"""Kinds whose column holds a code of the text pool."""

CODED = frozenset({ColumnKind.NAME, ColumnKind.ENUM})
"""Kinds whose column holds a place in a list."""

Number = Annotated[int, ColumnKind.NUMBER]
TimeUs = Annotated[int, ColumnKind.NUMBER]
HouseholdRow = Annotated[int, ColumnKind.HOUSEHOLD]
MemberRow = Annotated[int, ColumnKind.MEMBER]
ChannelIndex = Annotated[int, ColumnKind.CHANNEL]
Flag = Annotated[bool, ColumnKind.FLAG]
Text = Annotated[str, ColumnKind.TEXT]
PlanName = Annotated[str, ColumnKind.NAME]
Bytes = Annotated[bytes, ColumnKind.BYTES]
MemberRows = Annotated[tuple[int, ...], ColumnKind.MEMBERS]
ChannelIndices = Annotated[tuple[int, ...], ColumnKind.CHANNELS]
Names = Annotated[tuple[str, ...], ColumnKind.NAMES]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumn:
    """One field of a row type."""

    name: str
    kind: ColumnKind
    values: tuple[StrEnum, ...] = ()
    """Of an ENUM: its code is the place here."""


class Owner(Enum):
    """Whose rows a table holds."""

    PARTITION = auto()
    HOUSEHOLD = auto()


class Shape(Enum):
    """How an owner's rows stand in its digest."""

    LIST = auto()
    """In their order, which is part of what is known."""
    SET = auto()
    """In whatever order."""
    MAP = auto()
    """Name → value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A time at which something happens to a row: that of a column, and so much later."""

    column: str
    after_us: Callable[[Plan], int] = lambda _: 0
    only_if: tuple[str, StrEnum] | None = None
    """(column, value): it is about such rows only."""


class Naming(Protocol):
    """What names to rows and codes of a partition, for a digest."""

    def member(self, row: int) -> str | None:
        """Return the name of a member; None for NO_MEMBER."""
        ...

    def channel(self, index: int) -> str | None:
        """Return the name of a channel; None for NONE."""
        ...


Plain = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest(Generic[Row]):
    """How a table's rows show in the digest of their household."""

    section: str
    shape: Shape
    told: Callable[[Row, Naming], Any]
    """A row as plain values; of a MAP its name and its value."""
    household: Callable[[Row], int] | None = None
    """Of a partition's table: the household's row. None where the owner is the household."""
    is_always_there: bool = True
    """Whether an empty section stands in the digest of a household that has rows in another such table."""


class Carriage(Protocol):
    """The rows of a table while they are taken under another plan."""

    now_us: int

    def column(self, name: str) -> NDArray[np.int64]:
        """Return a copy of a column (rows,), of all rows in some order."""
        ...

    def put(self, name: str, values: NDArray[np.int64]) -> None:
        """Replace a column that holds no texts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Declaration(Generic[Row]):
    """One table."""

    name: str
    """Also that of its file in a snapshot."""
    row: type[Row]
    owner: Owner
    key: tuple[str, ...] = ()
    """Columns by which a row is found, besides its owner; of two under one key the later takes the other's place. Empty
    for a list of an owner's."""
    newest: int = 0
    """How many an owner has at most; the oldest give way. 0 for any number."""
    due: tuple[Due, ...] = ()
    """The first that is about a row says when it is due; none: never."""
    when_due: "Callable[[PartitionState, Table[Row], NDArray[np.int64]], None] | None" = None
    """What happens to the rows in these slots, in their order, once a tick finds them due: afterwards none of them is
    due any more. None: they are forgotten."""
    at_once: int = 0
    """Rows that one tick finds due at most, the first due first, where there is a lot to do for each; 0 for all."""
    digest: Digest[Row] | None = None
    """How it shows in each household's digest."""
    partition_digest: Callable[[list[Row]], Plain] | None = None
    """What it shows of the partition, for tables that belong to no household."""
    is_read_soon: bool = True
    """Whether a row that was put is likely to be read: as a value it is kept in hand then."""
    along: str = ""
    """Of a partition's table: the column by which its rows go along with a household that changes its partition: the
    household's row, its key, or the id of an action of its. Empty: they stay."""
    carried: Callable[[Carriage], None] | None = None
    """What else another plan makes of the rows; members and channels have been put under it already."""

    def __post_init__(self) -> None:
        assert self.name.isidentifier()
        assert self.owner is Owner.HOUSEHOLD or not self.newest, "a partition's rows have no end"
        columns = {column.name for column in columns_of(self.row)}
        assert columns.issuperset(self.key)
        assert columns.issuperset(due.column for due in self.due)
        assert not self.along or self.along in columns


_columns_by_row: dict[type[Any], tuple[TableColumn, ...]] = {}


def columns_of(row: type[Any]) -> tuple[TableColumn, ...]:
    """Return the columns of a row type: its fields that are annotated with a kind, or are a StrEnum.

    As they lie: numbers and codes first, then texts, bytes, and lists, each as the type has them.
    """
    if (known := _columns_by_row.get(row)) is not None:
        return known
    hints = get_type_hints(row, include_extras=True)
    found = []
    for field in fields(row):
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            found.append(TableColumn(name=field.name, kind=ColumnKind.ENUM, values=tuple(hint)))
        kinds = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, ColumnKind)]
        found += [TableColumn(name=field.name, kind=kind) for kind in kinds]
    assert found, f"{row.__name__} has no columns"
    found.sort(
        key=lambda column: (
            2
            if column.kind is ColumnKind.BYTES
            else 1
            if column.kind is ColumnKind.TEXT
            else 3 * (column.kind in POOLED)
        )
    )
    return _columns_by_row.setdefault(row, tuple(found))


def named(row: Any, naming: Naming) -> Plain:
    """Return a row's fields that say something, with names for what is a partition's or a plan's own."""
    plain: Plain = spoken(row)
    for column in columns_of(type(row)):
        if column.name not in plain:
            continue
        value = getattr(row, column.name)
        match column.kind:
            case ColumnKind.HOUSEHOLD:
                plain[column.name] = None  # whose digest it is
            case ColumnKind.MEMBER:
                plain[column.name] = naming.member(value)
            case ColumnKind.CHANNEL:
                plain[column.name] = naming.channel(value)
            case ColumnKind.CHANNELS:
                plain[column.name] = [naming.channel(one) for one in value]
            case ColumnKind.MEMBERS:
                plain[column.name] = [naming.member(one) for one in value]
            case ColumnKind.BYTES:
                plain[column.name] = value.decode("latin-1")  # one character per byte
            case _:
                pass
    return plain
