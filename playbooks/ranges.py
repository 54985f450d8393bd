"""What a name in a condition can be at all: ranges that follow from kinds, bounds and lists in the playbook."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from household.columns.kinds.definition import Readings
from household.columns.kinds.table import KINDS
from household.plan import Feature, Field, FieldKind, Plan

UNBOUNDED = 1e300
"""Bounds of event fields that stand for none."""

LISTED_MAX = 256
"""Whole numbers are looked at one by one only where there are no more of them."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two ends, less some; an empty one is what nothing can be."""

    least: float = -math.inf
    most: float = math.inf
    is_least_out: bool = False
    is_most_out: bool = False
    is_whole: bool = False
    holes: frozenset[float] = field(default_factory=frozenset)

    @property
    def is_empty(self) -> bool:
        """Whether no number is in it."""
        least, most = self.least, self.most
        if self.is_whole:
            least, most = self._first_whole(), self._last_whole()
            if math.isfinite(least) and math.isfinite(most) and most - least <= LISTED_MAX:
                return all(number in self.holes for number in range(int(least), int(most) + 1))
            return least > most
        return least > most or (least == most and (self.is_least_out or self.is_most_out or least in self.holes))

    def _first_whole(self) -> float:
        if not math.isfinite(self.least):
            return self.least
        first = math.ceil(self.least)
        return first + 1 if self.is_least_out and first == self.least else first

    def _last_whole(self) -> float:
        if not math.isfinite(self.most):
            return self.most
        last = math.floor(self.most)
        return last - 1 if self.is_most_out and last == self.most else last

    @property
    def point(self) -> float | None:
        """The one number it is, if it was written as one."""
        return self.least if self.least == self.most and not self.is_least_out and not self.is_most_out else None

    def above(self, number: float, *, is_out: bool) -> "Range":
        """Return what of it is at least, or with `is_out` above, a number."""
        if number < self.least or (number == self.least and (self.is_least_out or not is_out)):
            return self
        return replace(self, least=number, is_least_out=is_out)

    def below(self, number: float, *, is_out: bool) -> "Range":
        """Return what of it is at most, or with `is_out` below, a number."""
        if number > self.most or (number == self.most and (self.is_most_out or not is_out)):
            return self
        return replace(self, most=number, is_most_out=is_out)

    def without(self, number: float) -> "Range":
        """Return it less a number."""
        return replace(self, holes=self.holes | {number})

    def meet(self, other: "Range") -> "Range":
        """Return what is in both."""
        met = self.above(other.least, is_out=other.is_least_out).below(other.most, is_out=other.is_most_out)
        return replace(met, is_whole=self.is_whole or other.is_whole, holes=self.holes | other.holes)

    def __str__(self) -> str:
        least = f"{self.least:g}" if math.isfinite(self.least) else ""
        most = f"{self.most:g}" if math.isfinite(self.most) else ""
        if least and most:
            return f"is {least}" if least == most else f"lies between {least} and {most}"
        return f"is never below {least}" if least else f"is never above {most}" if most else "may be any number"


ANY = Range()
AT_LEAST_ZERO = Range(least=0.0)
COUNTED = Range(least=0.0, is_whole=True)
TRUTH = Range(least=0.0, most=1.0, is_whole=True)


def joined(ranges: Iterable[Range]) -> Range:
    """Return a range that holds all of them."""
    found = [one for one in ranges if not one.is_empty]
    if not found:
        return ANY
    return Range(
        least=min(one.least for one in found),
        most=max(one.most for one in found),
        is_whole=all(one.is_whole for one in found),
    )


def of_feature(plan: Plan, feature: Feature) -> Range:
    """Return what a feature can read, where it is known."""
    match KINDS[feature.kind].readings:
        case Readings.ANY:
            return ANY
        case Readings.FROM_ZERO:
            return AT_LEAST_ZERO
        case Readings.WHOLE_FROM_ZERO:
            return COUNTED
        case Readings.WHOLE_TO_KEEP:
            return replace(COUNTED, most=float(feature.keep))
        case Readings.WHOLE_TO_KEEP_OR_VALUES:
            return replace(COUNTED, most=float(min(feature.keep, _value_count(plan.fields[feature.field]))))
        case Readings.FROM_MINUS_ONE:
            return Range(least=-1.0)
        case Readings.TRUTH:
            return TRUTH
        case Readings.PLACE_IN_VALUES:
            return Range(least=0.0, most=float(len(feature.values) - 1), is_whole=True)
        case Readings.SUMS_OF_FIELD:
            summed = of_field(plan, feature.field, feature.events)
            return Range(least=0.0 if summed.least >= 0 else -math.inf, most=0.0 if summed.most <= 0 else math.inf)
        case Readings.FIELD:
            carried = of_field(plan, feature.field, feature.events)
            initial = feature.initial
            return carried if initial is None else joined((carried, Range(least=initial, most=initial, is_whole=True)))


def _value_count(declared: Field) -> float:
    match declared.kind:
        case FieldKind.ENUM:
            return len(declared.values)
        case FieldKind.FLAG:
            return 2
        case FieldKind.NUMBER | FieldKind.TEXT:
            return math.inf


def of_field(plan: Plan, index: int, events: Iterable[int]) -> Range:
    """Return what events of these types can carry in a field."""
    declared = plan.fields[index]
    if declared.kind is FieldKind.FLAG:
        return TRUTH
    if declared.kind is FieldKind.ENUM:
        return Range(least=0.0, most=float(len(declared.values) - 1), is_whole=True)
    uses = [use for event in events for use in plan.event_types[event].fields if use.field == index]
    return joined(
        Range(
            least=use.least if use.least > -UNBOUNDED else -math.inf,
            most=use.most if use.most < UNBOUNDED else math.inf,
        )
        for use in uses
    )
