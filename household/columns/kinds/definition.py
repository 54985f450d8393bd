"""What every kind of feature says of itself. One `Kind` per kind; all else about kinds follows from these entries.

Its kernels get cells by place: a row's cells stand in `flat`, those of the feature from `cell` on.

    update(flat, cell, keep, terms, row, value, t)    an event at t (µs); `value` of its field, NaN without
    read(flat, slab, cell, keep, terms, row, t)       the value as of t
    combine(flat, cell, other, keep, terms, row)      into the cells from `cell` on what those from `other` on hold

`terms[row]` holds the feature's numbers: span, half-life and so on, in the columns named here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

import numpy as np
from numpy.typing import NDArray

from household.plan import Feature, FeatureKind, FieldKind

SPAN_US, HALF_LIFE_US, GAP_US, UNIT_US, BUCKET_US, UNSEEN, LEAST = range(7)
"""Columns of `terms`. UNSEEN: what the feature reads of one never seen."""

TERM_COUNT: Final = 7

NAN: Final = math.nan


class Parameter(StrEnum):
    """What a playbook says of a feature beside its events, spelled as there."""

    FIELD = "field"
    KEEP = "keep"
    SPAN = "span"
    BUCKET = "bucket"
    HALF_LIFE = "half_life"
    GAP = "gap"
    UNIT = "unit"
    """One of the units of time; for kinds that do not read a time it may be any word, for people."""
    LEAST = "least"
    OFF_EVENTS = "off_events"
    INITIAL = "initial"


OPTIONAL: Final = frozenset({Parameter.BUCKET, Parameter.INITIAL})
"""Parameters that may be left out."""


class Result(Enum):
    """What a reading is."""

    INT = auto()
    DOUBLE = auto()
    BOOL = auto()
    ENUM = auto()
    """One of the names that the field declares."""
    FIELD = auto()
    """As the field."""


class Readings(Enum):
    """Which numbers a reading can be; the compiler finds conditions by it that can never be true."""

    ANY = auto()
    FROM_ZERO = auto()
    WHOLE_FROM_ZERO = auto()
    WHOLE_TO_KEEP = auto()
    WHOLE_TO_KEEP_OR_VALUES = auto()
    """At most `keep`, and not more than its field has values."""
    FROM_MINUS_ONE = auto()
    TRUTH = auto()
    PLACE_IN_VALUES = auto()
    SUMS_OF_FIELD = auto()
    """As far from zero as it likes on those sides where the field has values."""
    FIELD = auto()
    """Its initial value, and what the field can be."""


class Combination(Enum):
    """What is promised of two subjects combined, against one who had the events of both."""

    EXACT = auto()
    """The same reading, now and whatever comes."""
    BUT_FOR_ROUNDING = auto()
    """The order of additions is another."""
    BUT_FOR_TIES = auto()
    """The same unless both had an event in the very same microsecond."""
    INEXACT = auto()
    """It may be another; `combination_note` says when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One float64 of a row."""

    part: str = ""
    """Of the column's name, behind the feature's; empty for the feature itself."""
    dtype: str
    """count, time (µs), number, enum, flag, handle or value: what the float64 stands for."""
    unit: str = ""
    initial: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A feature of the kind as a playbook writes it, what happens, and what it reads then."""

    written: str
    """Its parameters, as YAML; its field, if any, is one of `amount` (number), `genre` (film, music or games)."""
    told: tuple[tuple[float, float | None], ...]
    """(second, value of the field or None) of each event, in order of arrival."""
    off: tuple[float, ...] = ()
    """Seconds of the `off_events`, which come after all others."""
    reads: tuple[tuple[float, float], ...]
    """(second, reading as of then)."""


Kernel = Callable[..., float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of feature."""

    kind: FeatureKind
    summary: str
    """Its row in docs/playbook.md."""
    parameters: tuple[Parameter, ...] = ()
    """In the order in which people read of them."""
    field_kinds: tuple[FieldKind, ...] = ()
    """Kinds of fields that make sense, where it takes one."""
    result: Result
    unit: str = ""
    """Where the playbook names none."""
    readings: Readings = Readings.ANY
    unseen: float | None = 0.0
    """What it reads of one never seen; None: its initial value."""
    cells: Callable[[Feature], tuple[Cell, ...]] | None
    """Its cells, in order; None: it reads a window, which features share."""
    has_cell_per_value: bool = False
    """Whether `keep` is how many values its field has."""
    is_recoded: bool = False
    """Whether the first cell holds a value of the field by its place in the list, and the second the time of it: when
    the list changes, the cell is written anew by name. Other kinds start anew then."""
    spans: int = 0
    """How many spans of a window it reads."""
    update: Kernel | None = None
    """None: it reads a window."""
    update_off: Kernel | None = None
    """What one of the `off_events` does, where there are such."""
    read: Kernel
    combine: Kernel | None = None
    """None: it reads a window, and windows combine by themselves."""
    combination: Combination
    combination_note: str = ""
    """In one sentence: what becomes of two, and when it is another reading than of one."""
    example: Example

    def __post_init__(self) -> None:
        assert (self.cells is None) == (self.update is None) == (self.combine is None) == (self.spans > 0), self.kind
        assert (self.update_off is None) == (Parameter.OFF_EVENTS not in self.parameters), self.kind
        assert bool(self.field_kinds) == (Parameter.FIELD in self.parameters), self.kind
        assert not self.has_cell_per_value or self.result is Result.ENUM, self.kind
        assert self.combination_note or self.combination is Combination.EXACT, f"{self.kind}: say what is not exact"

    def keep(self, feature: Feature) -> int:
        """Return how many times or values a feature keeps."""
        return len(feature.values) if self.has_cell_per_value else feature.keep

    def unseen_reading(self, feature: Feature) -> float:
        """Return what a feature reads of one never seen."""
        if self.unseen is not None:
            return self.unseen
        return NAN if feature.initial is None else feature.initial

    @property
    def reads_never(self) -> bool:
        """Whether an infinite reading says that there was none."""
        return self.unseen == math.inf

    @property
    def documentation(self) -> str:
        """Its row in docs/playbook.md."""
        needs = ", ".join(f"`{one}`" for one in self.parameters if one is not Parameter.INITIAL)
        reads = {Result.ENUM: "string", Result.FIELD: "as the field"}.get(self.result, self.result.name.lower())
        return f"| `{self.kind}` | {needs}{' ' if needs else ''}| {reads} | {self.summary} |"


def terms_of(kind: Kind, feature: Feature, bucket_us: int) -> NDArray[np.float64]:
    """Return a feature's row of `terms`."""
    terms = np.zeros(TERM_COUNT)
    terms[SPAN_US], terms[HALF_LIFE_US], terms[GAP_US] = feature.span_us, feature.half_life_us, feature.gap_us
    terms[UNIT_US], terms[BUCKET_US], terms[UNSEEN] = feature.unit_us, bucket_us, kind.unseen_reading(feature)
    terms[LEAST] = feature.least
    return terms
