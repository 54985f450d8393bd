"""What households bring, net of refunds and of partners' share: K2 ecosystem ARPU by category, and ARPU of old.

A refund restates the month of the sale it names; one that names none that is known counts when it happens, apart.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from insight.measures.coded import NONE
from insight.measures.definitions import PPM
from insight.measures.figures import Addends, Figure, Integers, Noted, Period, missing_of, one_of_each
from insight.measures.holdings import held_before, to_thirty_days
from insight.measures.knowledge import Knowledge

REFUND_OF_NOTHING = "refunds of unknown sales"
PER_HOUSEHOLD, PER_LINE = "minor units per household and 30 days", "minor units per line and 30 days"


class Revenue:
    """Every sale and refund that is known, with the time it counts at."""

    def __init__(self, asked: Knowledge) -> None:
        """Look them up."""
        facts, definitions = asked.facts, asked.definitions
        self.categories = (*dict.fromkeys(one.category for one in definitions.revenue), REFUND_OF_NOTHING)
        self._share_ppm = np.zeros(facts.count, np.int64)
        category = np.full(facts.count, NONE, np.int64)
        source = np.full(facts.count, NONE, np.int64)
        for place, one in enumerate(definitions.revenue):
            own = facts.is_of(one.events)
            source[own] = place
            category[own], self._share_ppm[own] = self.categories.index(one.category), one.share
        sales = np.flatnonzero(category != NONE)
        amount = facts.amount_minor[sales] * self._share_ppm[sales] // PPM
        parts = [(sales, sales, facts.time_us[sales], category[sales], amount)]
        for refunds in definitions.refunds:
            rows = np.flatnonzero(facts.is_of(refunds.events))
            sale = sale_of(asked, rows, sales, field=refunds.of)
            is_known = sale != NONE
            share = np.where(is_known, self._share_ppm[sale], PPM)
            parts.append(
                (
                    rows,
                    np.where(is_known, sale, rows),
                    np.where(is_known, facts.time_us[sale], facts.time_us[rows]),
                    np.where(is_known, category[sale], len(self.categories) - 1),
                    -(facts.amount_minor[rows] * share // PPM),
                )
            )
        self.fact, self.sale, self.time_us, self.category, self.net_minor = (
            np.concatenate([part[place] for part in parts]) for place in range(5)
        )
        margin_ppm = np.array([*(one.margin or 0 for one in definitions.revenue), PPM], np.int64)[source[self.sale]]
        self.margin_minor: Integers = np.sign(self.net_minor) * (np.abs(self.net_minor) * margin_ppm // PPM)
        """What is left of each once it is delivered; a refund of nothing known takes all of it back."""
        self.household: Integers = asked.household[self.sale]
        self.is_ours: NDArray[np.bool_] = (self._share_ppm[self.sale] == PPM) & (
            self.category < len(self.categories) - 1
        )

    def within(self, start_us: int, end_us: int) -> NDArray[np.bool_]:
        """(sales and refunds,) which count in a period."""
        return np.asarray((self.time_us >= start_us) & (self.time_us < end_us))


def sale_of(asked: Knowledge, rows: Integers, sales: Integers, *, field: str) -> Integers:
    """(rows,) the row of what each takes back, which it names by its event id; NONE where that is not known.

    It is looked for among `sales` that were told of the same name, then among those of the same household: what was
    sold to one that was merged since is taken back under the name that stands.
    """
    facts = asked.facts
    named = facts.texts[field]
    wanted = [named.names[code] if code != NONE else "" for code in named.codes[rows].tolist()]
    if not any(wanted):
        return np.full(len(rows), NONE, np.int64)
    ids = facts.event_id.take(sales).texts
    sales = sales[
        pc.is_in(ids, value_set=pa.array(sorted(set(wanted) - {""}), ids.type)).to_numpy(zero_copy_only=False)
    ]
    texts = facts.event_id.take(sales).texts.to_pylist()
    found = np.full(len(rows), NONE, np.int64)
    for whose in (asked.household, facts.told.codes):
        by_identity = dict(zip(zip(whose[sales].tolist(), texts, strict=True), sales.tolist(), strict=True))
        named_so = zip(whose[rows].tolist(), wanted, strict=True)
        rows_of = np.array([by_identity.get(one, NONE) for one in named_so], np.int64).reshape(len(rows))
        found = np.where(rows_of != NONE, rows_of, found)
    return found


def ecosystem_arpu(asked: Knowledge, period: Period) -> list[Figure]:
    """Return K2: net revenue of the period over active households, made a month's of 30 days.

    Active is who holds a product at the end of the period, or brought something in it: frozen then.
    """
    revenue, held = asked.once(Revenue), held_before(asked, period.end_us)
    own = revenue.within(period.start_us, period.end_us)
    active = np.union1d(held.households, revenue.household[own])
    return [_arpu(asked, period, revenue, own, kpi="K2", measure="arpu", unit=PER_HOUSEHOLD, base=one_of_each(active))]


def arpu_of_old(asked: Knowledge, period: Period) -> list[Figure]:
    """Return the ARPU of old: what is all ours, per line that is held at the end of the period."""
    revenue, held = asked.once(Revenue), held_before(asked, period.end_us)
    own = revenue.within(period.start_us, period.end_us) & revenue.is_ours
    base = one_of_each(held.household[held.is_line])
    return [_arpu(asked, period, revenue, own, kpi="ARPU", measure="per_line", unit=PER_LINE, base=base)]


def _arpu(
    asked: Knowledge,
    period: Period,
    revenue: Revenue,
    own: NDArray[np.bool_],
    *,
    kpi: str,
    measure: str,
    unit: str,
    base: Addends,
) -> Figure:
    household, part = revenue.household[own], revenue.category[own]
    return Figure(
        kpi=kpi,
        measure=measure,
        period=period,
        scale=to_thirty_days(period),
        unit=unit,
        missing=_missing(asked),
        note=_note(asked),
        counted=Addends(household=household, number=revenue.net_minor[own], part=part),
        base=base,
        parts=revenue.categories,
        split="category",
        events=Addends(household=household, number=revenue.fact[own], part=part),
    )


def _missing(asked: Knowledge) -> str:
    types = sorted({name for one in asked.definitions.revenue for name in one.events})
    return "" if any(asked.has(name) for name in types) else ", ".join(types) or "revenue (the definitions name none)"


def _note(asked: Knowledge) -> Noted:
    """Say what would restate it and never came."""
    absent = missing_of({name: asked.has(name) for one in asked.definitions.refunds for name in one.events})
    return Noted(text=f"nothing is taken off for refunds: {absent} never came" if absent else "")
