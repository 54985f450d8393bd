"""What is asked: which facts, as of when, in which months, by which definitions."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Concatenate, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from household.graph.membership import Membership
from household.local_time import instant_of, local_day, month_bounds_us
from household.plan import GraphRules
from insight.measures.definitions import Definitions
from insight.measures.facts import Facts
from insight.measures.figures import Period
from insight.measures.journeys import JourneyRecords
from insight.measures.owners import membership_of, owners_of

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Knowledge:
    """Facts as of two times, and what they mean."""

    definitions: Definitions
    facts: Facts
    """What had happened before `time_us` and was known by `known_us`."""
    household: NDArray[np.int64]
    """(facts,) index of the household that has each by then."""
    households: tuple[str, ...]
    by_key: Mapping[str, int]
    """The index of the household that each key means."""
    there: frozenset[str]
    """Event types that ever came, whenever."""
    time_us: int
    known_us: int | None
    zone: str
    journeys: JourneyRecords

    made: dict[tuple[object, ...], object] = field(default_factory=dict)
    """What was worked out of it once."""

    def once(self, make: Callable[Concatenate["Knowledge", P], T], *of: P.args, **more: P.kwargs) -> T:
        """Return what is made of it, and of something else, the same each time."""
        key = (make, of, *sorted(more.items()))
        if key not in self.made:
            self.made[key] = make(self, *of, **more)
        return cast(T, self.made[key])

    def has(self, name: str) -> bool:
        """Return whether any event of a type ever came."""
        return name in self.there


def ask(
    facts: Facts,
    definitions: Definitions,
    *,
    time_us: int,
    known_us: int | None = None,
    zone: str = "UTC",
    rules: GraphRules | None = None,
    journeys: JourneyRecords | None = None,
    membership: Membership | None = None,
    there: Collection[str] = (),
) -> Knowledge:
    """Return what measures are made of, as of a time (half-open) and of when it was known (None: all that is).

    Args:
        membership: who belongs together by then, where facts are those of some households; None: by these facts.
        there: event types that ever came to other households.
    """
    journeys = journeys or JourneyRecords()
    then = facts.as_of(time_us=time_us, known_us=known_us)
    membership = membership or membership_of(then, rules or GraphRules())
    owners = owners_of(then, membership, also=sorted(journeys.households()))
    return Knowledge(
        definitions=definitions,
        facts=then,
        household=owners.household,
        households=owners.names,
        by_key=owners.by_key,
        journeys=journeys,
        there=types_in(facts) | frozenset(there),
        time_us=time_us,
        known_us=known_us,
        zone=zone,
    )


def types_in(facts: Facts) -> frozenset[str]:
    """Return the event types that occur."""
    return frozenset(facts.type.names[code] for code in np.unique(facts.type.codes).tolist() if code >= 0)


def months_of(*, time_us: int, count: int, zone: str) -> tuple[Period, ...]:
    """Return the calendar months up to a time, the oldest first, none before 1970; the last is the one under way.

    >>> [one.name for one in months_of(time_us=1_767_225_600_000_000, count=2, zone="UTC")]
    ['2025-11', '2025-12']
    """
    found: list[Period] = []
    # A month that begins just now has nothing in it: what is asked for ends with the one before.
    last = time_us - 1
    for _ in range(count):
        start_us, next_us = month_bounds_us(zone, last)
        first = date.fromordinal(local_day(zone, start_us))
        is_over = next_us <= time_us
        whole = (first.replace(day=1) + timedelta(days=31)).replace(day=1) - first
        days = Fraction(whole.days) if is_over else _gone(zone, first, time_us)
        found.append(
            Period(
                name=f"{first:%Y-%m}",
                start_us=start_us,
                end_us=min(next_us, time_us),
                is_over=is_over,
                days=days,
            )
        )
        last = start_us - 1
        if last < 0:
            break  # nothing happened before 1970
    return tuple(reversed(found))


def _gone(zone: str, first: date, time_us: int) -> Fraction:
    """Return how many calendar days of a month have gone by, the one under way by its part."""
    today = local_day(zone, time_us)
    begins, ends = instant_of(zone, today, 0), instant_of(zone, today + 1, 0)
    return today - first.toordinal() + Fraction(time_us - begins, ends - begins)
