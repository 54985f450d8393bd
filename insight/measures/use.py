"""How households use what they could: K3 retention depth, and K5 how often wallets are used."""

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from insight.measures.coded import NONE
from insight.measures.definitions import DAY_US, PPM
from insight.measures.figures import Addends, Figure, Integers, Noted, Period, missing_of, one_of_each
from insight.measures.holdings import held_before, holding_signals, last_of
from insight.measures.knowledge import Knowledge
from insight.measures.revenue import sale_of

HABIT_US = 30 * DAY_US
_PER_PPM = Fraction(1, PPM)


def uses_asked_since_us(periods: Iterable[Period]) -> int:
    """Return since when use counts for any of these periods; what was used before is asked for by nobody."""
    return min(one.end_us for one in periods) - HABIT_US


def retention_depth(asked: Knowledge, period: Period) -> list[Figure]:
    """Return K3: Σ w·a / Σ w over the categories, a = min(1, use / target) · 2^(−days since use / half-life).

    At the end of the period, of its last 30 days, per household that holds a product then. Every category that the
    definitions name is one it could use, so that another one that it uses never lowers it. Contracts are no input.
    Each category's part is whole millionths, rounded to even, so that parts add up.
    """
    facts, uses = asked.facts, asked.definitions.uses
    base = held_before(asked, period.end_us).households
    is_base = np.zeros(len(asked.households) + 1, np.bool_)  # the last is nobody: what has no household is of none
    is_base[base] = True
    recent = facts.between(period.end_us - HABIT_US, period.end_us)
    is_of_base = is_base[asked.household[recent]]
    weights = sum(one.weight for one in uses.values())
    households: list[Integers] = []
    events: list[Integers] = []
    numerators: list[Integers] = []
    for use in uses.values():
        rows = recent.start + np.flatnonzero(facts.is_of(use.events, recent) & is_of_base)
        counts = np.bincount(asked.household[rows], minlength=len(asked.households))
        household = np.flatnonzero(counts)
        times = counts[household]
        newest = np.zeros(len(asked.households), np.int64)
        newest[asked.household[rows]] = facts.time_us[rows]  # in the order of time, so the last stays
        newest = newest[household]
        habit = np.minimum(1.0, times / use.target) * np.exp2(-(period.end_us - newest) / use.half_life)
        households.append(household)
        events.append(rows)
        numerators.append(np.rint(habit * (use.weight * PPM) / weights).astype(np.int64))
    is_used = any(asked.has(name) for one in uses.values() for name in one.events)
    rows = _joined(events)
    return [
        Figure(
            kpi="K3",
            measure="depth",
            period=period,
            unit="0 to 1, counted in millionths",
            scale=_PER_PPM,
            missing=holding_signals(asked) or ("" if is_used else "uses (none of their events ever came)"),
            note=_unused(asked),
            counted=Addends(household=_joined(households), number=_joined(numerators), part=_parts_of(households)),
            base=one_of_each(base),
            parts=tuple(uses),
            split="category",
            events=Addends(household=asked.household[rows], number=rows, part=_parts_of(events)),
        )
    ]


def wallet_frequency(asked: Knowledge, period: Period) -> list[Figure]:
    """Return K5: successful transactions that were not reversed, per wallet with at least one in the month.

    A reversal restates the month of its transaction, whenever it comes. A wallet is a member's; the denominator is
    frozen with the numerator: whose only transaction was reversed used no wallet.
    """
    facts, wallet = asked.facts, asked.definitions.wallet
    if wallet is None:
        return [
            Figure(
                kpi="K5",
                measure="frequency",
                period=period,
                unit="transactions per wallet",
                missing="wallet (the definitions name none)",
            )
        ]
    done, reversed_rows = asked.once(_transactions)
    unmatched = int((reversed_rows == NONE).sum())
    good = done[~np.isin(done, reversed_rows)]
    good = good[(facts.time_us[good] >= period.start_us) & (facts.time_us[good] < period.end_us)]
    household = asked.household[good]
    last = last_of((facts.told.codes[good], facts.member.codes[good], household))
    note = Noted(text="{} reversals name no transaction that is known, and take none back", count=unmatched)
    return [
        Figure(
            kpi="K5",
            measure="frequency",
            period=period,
            unit="transactions per wallet",
            missing=missing_of({name: asked.has(name) for name in wallet.transactions}),
            note=note,
            counted=one_of_each(household),
            base=one_of_each(household[last]),
            events=Addends(household=household, number=good),
        )
    ]


def _unused(asked: Knowledge) -> Noted:
    absent = [name for name, one in asked.definitions.uses.items() if not any(asked.has(event) for event in one.events)]
    return Noted(text=f"no use of {', '.join(absent)} ever came: counted as none" if absent else "")


def _joined(parts: list[Integers]) -> Integers:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _parts_of(parts: list[Integers]) -> Integers:
    return np.repeat(np.arange(len(parts)), [len(one) for one in parts])


def _transactions(asked: Knowledge) -> tuple[Integers, Integers]:
    """Return the transactions, and which of them each reversal takes back, NONE for none."""
    facts, wallet = asked.facts, asked.definitions.wallet
    assert wallet is not None
    done = np.flatnonzero(facts.is_of(wallet.transactions))
    reversals = np.flatnonzero(facts.is_of(wallet.reversals))
    return done, sale_of(asked, reversals, done, field=wallet.of)
