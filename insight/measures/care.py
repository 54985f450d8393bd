"""Renewals of contracts, and how long it takes until a case is resolved: measures of old."""

from collections import defaultdict, deque
from fractions import Fraction

import numpy as np

from insight.measures.coded import NONE
from insight.measures.figures import Addends, Figure, Integers, Noted, Period, missing_of, none, one_of_each
from insight.measures.knowledge import Knowledge

MINUTE_US = 60_000_000


def renewal(asked: Knowledge, period: Period) -> list[Figure]:
    """Return the renewal rate: of contracts that were due in the month, those that were renewed by when one asks.

    The denominator is frozen when the month ends. A renewal is the first after the due one of the same household and
    member that answers no other.
    """
    pair = asked.definitions.renewal
    wanted = {} if pair is None else {name: asked.has(name) for name in (pair.due, pair.renewed)}
    missing = "renewal (the definitions name none)" if pair is None else missing_of(wanted)
    due, renewed = (none(), none()) if pair is None or missing else _answered(asked, pair.due, pair.renewed, field="")
    own = (asked.facts.time_us[due] >= period.start_us) & (asked.facts.time_us[due] < period.end_us)
    due, renewed = due[own], renewed[own]
    done = renewed != NONE
    events = np.concatenate([due, renewed[done]])
    return [
        Figure(
            kpi="renewal",
            measure="rate",
            period=period,
            unit="share of contracts due",
            missing=missing,
            counted=one_of_each(asked.household[due[done]]),
            base=one_of_each(asked.household[due]),
            events=Addends(household=asked.household[events], number=events),
        )
    ]


def resolution(asked: Knowledge, period: Period) -> list[Figure]:
    """Return how long cases took that were opened in the month and are resolved, in minutes; those open are told."""
    pair = asked.definitions.resolution
    wanted = {} if pair is None else {name: asked.has(name) for name in (pair.opened, pair.resolved)}
    missing = "resolution (the definitions name none)" if pair is None else missing_of(wanted)
    opened, resolved = none(), none()
    if pair is not None and not missing:
        opened, resolved = _answered(asked, pair.opened, pair.resolved, field=pair.case)
    times = asked.facts.time_us
    own = (times[opened] >= period.start_us) & (times[opened] < period.end_us)
    opened, resolved = opened[own], resolved[own]
    done = resolved != NONE
    still = int((~done).sum())
    events = np.concatenate([opened[done], resolved[done]])
    household = asked.household[opened[done]]
    return [
        Figure(
            kpi="resolution",
            measure="minutes",
            period=period,
            scale=Fraction(1, MINUTE_US),
            unit="minutes per case",
            missing=missing,
            note=Noted(text="{} cases are still open, and not counted", count=still),
            counted=Addends(household=household, number=times[resolved[done]] - times[opened[done]]),
            base=one_of_each(household),
            events=Addends(household=asked.household[events], number=events),
        )
    ]


def _answered(asked: Knowledge, begins: str, ends: str, *, field: str) -> tuple[Integers, Integers]:
    """Return what began, and the row of what ended each, NONE for nothing yet.

    What ends carries the same `field` as what it ends; without one it ends the oldest of its member that is open.
    """
    facts = asked.facts
    rows = np.flatnonzero(facts.is_of((begins, ends)))
    is_begin = facts.is_of((begins,))
    case = facts.texts[field].codes if field else np.full(facts.count, NONE, np.int64)
    waiting: dict[tuple[int, int, int], deque[int]] = defaultdict(deque)
    answer: dict[int, int] = {}
    for row in rows.tolist():
        key = (int(facts.told.codes[row]), int(facts.member.codes[row]), int(case[row]))
        if is_begin[row]:
            waiting[key].append(row)
            answer[row] = NONE
        elif waiting[key]:
            answer[waiting[key].popleft()] = row
    return np.array(list(answer), np.int64), np.array(list(answer.values()), np.int64)
