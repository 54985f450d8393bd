"""What households hold: K1 penetration, and of the old ones churn and net additions."""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from insight.measures.coded import NONE
from insight.measures.figures import NO_PART, Addends, Figure, Integers, Noted, Period, one_of_each
from insight.measures.knowledge import Knowledge

MANY = 3
"""Families from which on a household counts as one of many."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Holdings:
    """What is held at one moment: a row for each product that somebody holds."""

    fact: Integers
    """(holdings,) the event that it is held since."""
    household: Integers
    family: Integers
    """(holdings,) index among the families of the definitions."""
    is_line: NDArray[np.bool_]

    @property
    def households(self) -> Integers:
        """(households,) those that hold anything, each once."""
        return np.unique(self.household)

    def by_family(self) -> tuple[Integers, Integers]:
        """Return household and family of each family that a household holds, each pair once."""
        # Families are few: the pair is one number, in the order of both.
        families = int(self.family.max(initial=0)) + 1
        household, family = np.divmod(np.unique(self.household * families + self.family), families)
        return household, family


def held_before(asked: Knowledge, time_us: int) -> Holdings:
    """Return what was held just before a time, as far as it is known, by whom it belongs to as of when one asks."""
    return asked.once(_held_before, time_us)


def _held_before(asked: Knowledge, time_us: int) -> Holdings:
    facts, families = asked.facts, asked.definitions.families
    found: list[tuple[Integers, Integers, NDArray[np.bool_]]] = []
    for products in asked.definitions.products:
        rows = np.flatnonzero(facts.is_of((products.held, products.ended)) & (facts.time_us < time_us))
        if products.product:
            named = facts.texts[products.product]
            known = {named.code(name): family for name, family in products.families.items()}
            rows = rows[np.isin(named.codes[rows], [code for code in known if code != NONE])]
            product = named.codes[rows]
        else:
            known, product = {0: products.family}, np.zeros(len(rows), np.int64)
        member = facts.member.codes[rows] if products.of == "member" else np.zeros(len(rows), np.int64)
        line = facts.texts[products.line].codes[rows] if products.line else np.zeros(len(rows), np.int64)
        # An identifier may have changed hands, and then what its next holder has is another product.
        last = last_of((facts.told.codes[rows], asked.household[rows], member, product, line))
        last = last[facts.is_of((products.held,))[rows[last]]]
        family = np.array([families.index(known[code]) for code in product[last].tolist()], np.int64)
        lines = [facts.texts[products.product].code(name) for name in products.lines] if products.product else []
        found.append((rows[last], family, np.isin(product[last], lines)))
    fact = np.concatenate([one for one, _, _ in found]) if found else np.empty(0, np.int64)
    return Holdings(
        fact=fact,
        household=asked.household[fact],
        family=np.concatenate([one for _, one, _ in found]) if found else np.empty(0, np.int64),
        is_line=np.concatenate([one for _, _, one in found]) if found else np.empty(0, np.bool_),
    )


def last_of(keys: tuple[Integers, ...]) -> NDArray[np.intp]:
    """Return the places that are the last with their keys, in order."""
    if not len(keys[0]):
        return np.empty(0, np.intp)
    order = np.lexsort(keys[::-1])
    is_last = np.ones(len(order), np.bool_)
    is_last[:-1] = ~np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in keys])
    return np.sort(order[is_last])


def holding_signals(asked: Knowledge) -> str:
    """Return the signals without which nobody knows what is held; empty where there are some."""
    starts = sorted({one.held for one in asked.definitions.products})
    if any(asked.has(name) for name in starts):
        return ""
    return ", ".join(starts) or "products (the definitions name none)"


def penetration(asked: Knowledge, period: Period) -> list[Figure]:
    """Return K1: families per household that has one, the share with three or more, and lines per household.

    At the end of the period; the denominator is of that moment, too.
    """
    missing, families = holding_signals(asked), asked.definitions.families
    held = held_before(asked, period.end_us)
    household, family = held.by_family()
    having, per_household = np.unique(household, return_counts=True)
    base, lines = one_of_each(having), held.is_line
    events = Addends(household=held.household, number=held.fact, part=held.family)
    figure = partial(Figure, kpi="K1", period=period, missing=missing, base=base, parts=families, note=_unnamed(asked))
    return [
        figure(
            measure="families",
            unit="families per household",
            counted=one_of_each(household, family),
            split="family",
            events=events,
        ),
        figure(
            measure="three_or_more",
            unit="share of households",
            counted=one_of_each(having[per_household >= MANY]),
            events=events,
        ),
        figure(
            measure="lines",
            unit="lines per household",
            counted=one_of_each(held.household[lines], held.family[lines]),
            split="family",
            events=Addends(household=held.household[lines], number=held.fact[lines], part=held.family[lines]),
        ),
    ]


def _unnamed(asked: Knowledge) -> Noted:
    """Say which products are held and are of no family."""
    facts, found = asked.facts, set[str]()
    for products in asked.definitions.products:
        if products.product:
            named = facts.texts[products.product]
            codes = np.unique(named.codes[facts.is_of((products.held,))])
            found.update(named.names[code] for code in codes.tolist() if code != NONE)
            found -= products.families.keys()
    text = "products that the definitions name no family of are not counted: {}"
    return Noted(text=text, names=frozenset(found))


def churn(asked: Knowledge, period: Period) -> list[Figure]:
    """Return the churn rate: of households that held anything when the month began, those that hold nothing any more.

    The denominator is frozen when the month begins; a month that is not over is not made longer.
    """
    before, after = held_before(asked, period.start_us), held_before(asked, period.end_us)
    base = before.households
    gone = base[~np.isin(base, after.households)]
    ends = _changes(asked, period, [one.ended for one in asked.definitions.products])
    ends = ends[np.isin(asked.household[ends], gone)]
    return [
        Figure(
            kpi="churn",
            measure="rate",
            period=period,
            unit="share of households",
            missing=holding_signals(asked),
            counted=one_of_each(gone),
            base=one_of_each(base),
            events=Addends(household=asked.household[ends], number=ends),
        )
    ]


def net_additions(asked: Knowledge, period: Period) -> list[Figure]:
    """Return how many more products are held at the end of the period than at its beginning."""
    before, after = held_before(asked, period.start_us), held_before(asked, period.end_us)
    products = asked.definitions.products
    events = _changes(asked, period, [name for one in products for name in (one.held, one.ended)])
    change = np.concatenate([np.ones(len(after.fact), np.int64), -np.ones(len(before.fact), np.int64)])
    return [
        Figure(
            kpi="net_additions",
            measure="products",
            period=period,
            unit="products",
            missing=holding_signals(asked),
            counted=Addends(
                household=np.concatenate([after.household, before.household]),
                number=change,
                part=np.concatenate([after.family, before.family]),
            ),
            parts=asked.definitions.families,
            split="family",
            events=Addends(household=asked.household[events], number=events, part=family_of_events(asked, events)),
        )
    ]


def _changes(asked: Knowledge, period: Period, types: list[str]) -> Integers:
    facts = asked.facts
    is_within = (facts.time_us >= period.start_us) & (facts.time_us < period.end_us)
    return np.flatnonzero(facts.is_of(types) & is_within)


def family_of_events(asked: Knowledge, events: Integers) -> Integers:
    """(events,) the family that each is about, NO_PART for none."""
    facts, families = asked.facts, asked.definitions.families
    found = np.full(len(events), NO_PART, np.int64)
    for products in asked.definitions.products:
        own = facts.is_of((products.held, products.ended))[events]
        if not products.product:
            found[own] = families.index(products.family)
            continue
        named = facts.texts[products.product]
        for name, family in products.families.items():
            found[own & (named.codes[events] == named.code(name)) & (named.codes[events] != NONE)] = families.index(
                family
            )
    return found


def to_thirty_days(period: Period) -> Fraction:
    """Return by what a sum of a period is multiplied to be one of 30 days."""
    return Fraction(30) / period.days if period.days else Fraction(0)
