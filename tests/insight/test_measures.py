"""Laws: every figure is that of the slow reference to the last unit, as of five times and as known at others, with
events that come again, late and taken back, and with households that merge; parts that do not overlap add up; what is
restated is the month it happened in; and each number names its events.
"""

import itertools
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from insight.measures.adding_up import Sums
from insight.measures.definitions import DefinitionsInvalid, read_definitions
from insight.measures.figures import FigureRow, Grouping
from insight.measures.knowledge import Knowledge, ask, months_of
from insight.measures.kpis import WINDOW_US, NoSuchRow, by_segment, explained, kpis
from insight.measures.reading import read_facts
from loadtest.town import MONDAY_US
from tests.insight.measures_log import START, exported, lived, town_log
from tests.insight.measures_reference import DAY, Event, Reference
from tests.insight.town import shipped_plan

ZONE = "Europe/Berlin"
AS_OF = [START + 9 * DAY, START + 33 * DAY + 5, START + 50 * DAY, START + 71 * DAY + 77, START + 120 * DAY]
SEEDS = [1, 2, 3]
MONTHS = 3


def asked_of(log: list[Event], *, as_of: int, known_by: int | None = None, zone: str = ZONE) -> Knowledge:
    half = len(log) // 2
    tables = [exported(log[:half]), exported(log[half:])]
    facts = read_facts(tables, read_definitions(), ())
    return ask(facts, read_definitions(), time_us=as_of, known_us=known_by, zone=zone)


def found(rows: list[FigureRow]) -> dict[str, tuple[int, int | None]]:
    return {row.name: (row.numerator, row.denominator) for row in rows if not row.missing}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("as_of", AS_OF)
@pytest.mark.parametrize("behind", [None, 3 * DAY, 15 * DAY])
def test_every_figure_is_that_of_the_slow_reference(seed: int, as_of: int, behind: int | None):
    compare(lived(seed=seed), as_of=as_of, behind=behind)


@pytest.fixture(scope="module")
def town() -> list[Event]:
    return town_log(seed=4, households=50, days=45)


@pytest.mark.parametrize("days", [4, 17.3, 28, 44, 80])
@pytest.mark.parametrize("behind", [None, 3 * DAY])
def test_so_they_are_over_the_log_of_the_town(town: list[Event], days: float, behind: int | None):
    assert len(town) > 8_000
    compare(town, as_of=MONDAY_US + round(days * DAY), behind=behind)


BORDERS = [
    round(datetime(2026, month, 1, tzinfo=ZoneInfo(ZONE)).timestamp() * 1e6) + back
    for month in (9, 10, 11, 12)
    for back in (0, -30 * DAY)
]
"""Beginnings of months, and of the thirty days before them: an instant off, and an event is in another month."""


def on_borders(log: list[Event], *, seed: int) -> list[Event]:
    """Return a log of which all but merges happens on a border or a microsecond beside it, half of it told at once."""
    draw, moved, found = np.random.default_rng(seed), dict[str, int](), list[Event]()
    for event in log:
        if event.type.startswith("hearth.graph"):
            found.append(event)
            continue
        border = BORDERS[int(draw.integers(len(BORDERS)))] + int(draw.integers(-1, 2))
        time = moved.setdefault(event.id, border)
        late = (event.learnt - event.time) * int(draw.integers(2))
        found.append(replace(event, time=time, learnt=time + late))
    return sorted(found, key=lambda one: one.learnt)


# 2026-10-25 has 25 hours; half an hour after it, it is that day in UTC still.
@pytest.mark.parametrize(
    "as_of", [*BORDERS[4:], BORDERS[4] + 1, BORDERS[4] - 7 * DAY + DAY // 2, BORDERS[4] - 6 * DAY + DAY // 48]
)
@pytest.mark.parametrize("behind", [None, 0])
def test_so_they_are_where_all_happens_on_the_borders_of_months(as_of: int, behind: int | None):
    compare(on_borders(lived(seed=7), seed=7), as_of=as_of, behind=behind)


def compare(log: list[Event], *, as_of: int, behind: int | None) -> None:
    """Hold every figure of the last months against the slow reference."""
    known_by = 2**62 if behind is None else as_of - behind
    slow = Reference(log, as_of=as_of, known_by=known_by, zone=ZONE)
    rows = kpis(asked_of(log, as_of=as_of, known_by=known_by), months=MONTHS, by="category")
    fast, values = found(rows), {row.name: row.value for row in rows}

    for back, period in zip(reversed(range(MONTHS)), months_of(time_us=as_of, count=MONTHS, zone=ZONE), strict=True):
        start, end, days = slow.month(back)
        assert (period.start_us, period.end_us, period.days) == (start, end, days)
        assert period.is_over == (back > 0 or as_of in BORDERS[::2])
        month = period.name
        for name, wanted in slow.k1(end).items():
            assert fast[f"K1.{name}/{month}"] == wanted
        by_category, active = slow.k2(start, end)
        assert fast[f"K2.arpu/{month}"] == (sum(by_category.values()), active)
        parts = {
            name: counted for name, (counted, _) in fast.items() if name.startswith(f"K2.arpu/{month}/") and counted
        }
        assert parts == {
            f"K2.arpu/{month}/category={name}": counted for name, counted in by_category.items() if counted
        }
        if active:
            wanted_value = Fraction(sum(by_category.values())) * 30 / days / active
            assert values[f"K2.arpu/{month}"] == float(wanted_value)
        ppm, base = slow.k3(end)
        assert fast[f"K3.depth/{month}"] == (sum(ppm.values()), base)
        parts = {name: number for name, number in fast.items() if name.startswith(f"K3.depth/{month}/") and number[0]}
        assert parts == {f"K3.depth/{month}/category={name}": (own, base) for name, own in ppm.items() if own}
        assert fast[f"K5.frequency/{month}"] == slow.k5(start, end)
        assert fast[f"ARPU.per_line/{month}"] == slow.arpu(start, end)
        assert fast[f"churn.rate/{month}"] == slow.churn(start, end)
        assert fast[f"net_additions.products/{month}"] == (slow.net_additions(start, end), None)
        told = {event.type for event in log}
        for row, pair, wanted in (
            ("renewal.rate", {"billing.contract_due", "billing.contract_renewed"}, slow.renewal),
            ("resolution.minutes", {"call_centre.complaint", "call_centre.resolved"}, slow.resolution),
        ):
            if pair <= told:
                assert fast[f"{row}/{month}"] == wanted(start, end)
            else:
                assert f"{row}/{month}" not in fast


@pytest.mark.parametrize("by", ["family", "category"])
def test_parts_add_up_to_the_whole(by: str):
    asked = asked_of(lived(seed=5), as_of=AS_OF[3])
    rows = kpis(asked, months=MONTHS, by=by)
    split = 0
    for whole in (row for row in rows if not row.by and not row.missing):
        parts = [row for row in rows if row.by == by and row.name.startswith(f"{whole.name}/")]
        if parts:
            split += 1
            assert sum(row.numerator for row in parts) == whole.numerator
            assert {row.denominator for row in parts} == {whole.denominator}
    assert split >= 3 * MONTHS


def test_disjoint_households_add_up_to_the_whole():
    asked = asked_of(lived(seed=6), as_of=AS_OF[3])
    half = np.arange(len(asked.households)) % 3
    rows = kpis(asked, months=MONTHS, by="arm", grouping=Grouping(by="arm", of_household=half, groups=("a", "b", "c")))
    for whole in (row for row in rows if not row.by and not row.missing and row.kpi not in ("K4", "K6")):
        parts = [row for row in rows if row.by == "arm" and row.name.startswith(f"{whole.name}/")]
        assert sum(row.numerator for row in parts) == whole.numerator, whole.name
        if whole.denominator is not None:
            assert sum(row.denominator or 0 for row in parts) == whole.denominator, whole.name


def test_a_part_is_what_its_households_alone_have():
    log, groups = lived(seed=8), ("a", "b", "c")
    # No group may hold one part of what was ever merged, and another the rest.
    together = {event.household: {event.household} for event in log}
    for event in log:
        if "other" in event.fields:
            whole = together[event.household] | together[event.fields["other"]]
            together |= dict.fromkeys(whole, whole)
    of = {name: groups[int(min(whole)[1:]) % len(groups)] for name, whole in together.items()}
    asked = asked_of(log, as_of=AS_OF[3])
    rows = kpis(asked, months=MONTHS, by="segment", grouping=by_segment(asked, of))
    for group in groups:
        alone = [event for event in log if of[event.household] == group]
        wanted = found(kpis(asked_of(alone, as_of=AS_OF[3]), months=MONTHS))
        own = [row for row in rows if row.group == group]
        parts = {row.name.removesuffix(f"/segment={group}"): (row.numerator, row.denominator) for row in own}
        assert len(parts) >= 10 * MONTHS
        assert parts == {name: wanted[name] for name in parts}


def test_parts_that_are_added_one_after_another_are_the_whole():
    log = [event for event in lived(seed=11) if not event.type.startswith("hearth.graph")]
    sums = Sums(time_us=AS_OF[3], zone=ZONE, months=MONTHS, by="category", window_us=WINDOW_US)
    for part in range(3):
        sums.add(asked_of([event for event in log if int(event.household[1:]) % 3 == part], as_of=AS_OF[3]))
    whole = kpis(asked_of(log, as_of=AS_OF[3]), months=MONTHS, by="category")
    assert found(sums.rows()) == found(whole)


@pytest.mark.parametrize("as_of", AS_OF)
def test_a_family_has_what_the_slow_reference_says(as_of: int):
    log = lived(seed=10)
    slow = Reference(log, as_of=as_of, known_by=2**62, zone=ZONE)
    rows = {
        row.name: (row.numerator, row.denominator) for row in kpis(asked_of(log, as_of=as_of), months=2, by="family")
    }
    for back, period in zip((1, 0), months_of(time_us=as_of, count=2, zone=ZONE), strict=True):
        start, end, _ = slow.month(back)
        before, after = slow.held(start), slow.held(end)
        households = len({house for house, _, _ in after})
        for family in {family for _, family, _ in (*before, *after)}:
            own = [one for one in after if one[1] == family]
            split = f"{period.name}/family={family}"
            change = len(own) - sum(one[1] == family for one in before)
            assert rows[f"net_additions.products/{split}"] == (change, None)
            if own:
                assert rows[f"K1.families/{split}"] == (len({house for house, _, _ in own}), households)
            if any(is_line for _, _, is_line in own):
                assert rows[f"K1.lines/{split}"] == (sum(is_line for _, _, is_line in own), households)


# --- the fixtures of the formulas -----------------------------------------------------------------------------------


def one(
    type_: str, household: str = "H1", *, day: float = 1.0, id_: str = "", learnt: float = 0.0, **fields: object
) -> Event:
    time = NOVEMBER + round(day * DAY)
    member = str(fields.pop("member", ""))
    return Event(
        id=id_ or f"{type_}-{household}-{day}-{fields}",
        type=type_,
        household=household,
        member=member,
        time=time,
        learnt=time + round(learnt * DAY),
        fields=dict(fields),
    )


NOVEMBER = 1_793_491_200_000_000  # 2026-11-01T00:00:00Z
DECEMBER = NOVEMBER + 30 * DAY


def value(
    log: list[Event], name: str, *, as_of: int = DECEMBER, known_by: int | None = None, months: int = 1
) -> float | None:
    asked = asked_of(sorted(log, key=lambda event: event.learnt), as_of=as_of, known_by=known_by, zone="UTC")
    (row,) = [row for row in kpis(asked, months=months, by="category") if row.name == name]
    return row.value


def activated(household: str, *products: str, day: float = 1.0) -> list[Event]:
    return [one("billing.product_activated", household, day=day, product=product) for product in products]


def test_one_two_three_and_four_families_are_two_and_a_half_and_one_half():
    log = [
        *activated("H1", "mobile", "extra_line"),
        *activated("H2", "mobile", "broadband"),
        *activated("H3", "mobile", "broadband", "content"),
        *activated("H4", "mobile", "broadband", "content", "gaming"),
        one("app.session_started", "H5"),
    ]
    assert value(log, "K1.families/2026-11") == 2.5
    assert value(log, "K1.three_or_more/2026-11") == 0.5
    assert value(log, "K1.lines/2026-11") == 2.0


def test_two_sims_are_two_lines_of_one_family_and_who_gives_up_one_has_the_other():
    sims = [one("billing.product_activated", product="mobile", line=f"SIM-{name}", id_=name) for name in "AB"]
    assert value(sims, "K1.lines/2026-11") == 2.0
    assert value(sims, "K1.families/2026-11") == 1.0
    log = [*sims, one("billing.product_deactivated", day=9, product="mobile", line="SIM-A")]
    assert value(log, "K1.lines/2026-11") == 1.0
    assert value(log, "net_additions.products/2026-11") == 1.0
    assert value(log, "churn.rate/2026-12", as_of=DECEMBER + 9 * DAY) == 0.0


def test_twenty_euros_become_forty_five_and_the_partner_keeps_its_part():
    before = [*activated("H1", "mobile"), one("billing.bill_issued", day=2, amount_minor=2_000.0)]
    more = [
        one("billing.topup", day=3, amount_minor=1_500.0),
        one("partner.purchase", day=4, amount_minor=20_000.0),
    ]
    assert value(before, "K2.arpu/2026-11") == 2_000.0
    assert value([*before, *more], "K2.arpu/2026-11") == 4_500.0
    assert value([*before, *more], "K2.arpu/2026-11/category=partner") == 1_000.0


def test_a_month_counts_as_one_of_thirty_days():
    january = NOVEMBER + 61 * DAY
    log = [*activated("H1", "mobile"), one("billing.bill_issued", day=70, amount_minor=3_100.0)]
    assert value(log, "K2.arpu/2027-01", as_of=january + 31 * DAY) == 3_000.0


def test_a_refund_restates_the_month_of_the_sale_and_only_for_who_knows_of_it():
    log = [
        *activated("H1", "mobile"),
        one("billing.bill_issued", day=2, id_="sale", amount_minor=3_000.0),
        one("billing.refund", day=40, amount_minor=1_000.0, sale="sale"),
    ]
    later, then = NOVEMBER + 45 * DAY, NOVEMBER + 35 * DAY
    assert value(log, "K2.arpu/2026-11", as_of=later, months=2) == 2_000.0
    assert value(log, "K2.arpu/2026-12", as_of=later, months=2) == 0.0
    assert value(log, "K2.arpu/2026-11", as_of=then, months=2) == 3_000.0
    assert value(log, "K2.arpu/2026-11", as_of=later, known_by=then, months=2) == 3_000.0


def test_depth_is_what_the_formula_says_and_another_category_never_lowers_it():
    used = [one("wallet.payment", day=day, member="M1", amount_minor=5.0) for day in (16, 16.5)]
    log = [*activated("H1", "mobile"), *used]
    # Two of four times, last used 13.5 days before the end, of a half-life of 14; its weight is 2 of 10.
    depth = 0.5 * 2 ** -(13.5 / 14) * 2 / 10
    assert value(log, "K3.depth/2026-11") == round(depth * 1e6) / 1e6
    more = [*log, *activated("H1", "gaming"), one("network.gaming_session", day=5, minutes=10.0)]
    assert value(more, "K3.depth/2026-11") > value(log, "K3.depth/2026-11")


def test_a_part_of_nobody_is_no_error():
    """As where all that came of some households is what a graph event says, which names none as its own."""
    said = one("hearth.graph.leave", "", day=16, subject="member:a")
    assert value([said], "K3.depth/2026-11") is None


def test_a_reversal_restates_the_old_month():
    log = [
        one("wallet.payment", day=2, id_="p1", member="M1"),
        one("wallet.payment", day=3, id_="p2", member="M1"),
        one("wallet.payment", day=4, id_="p3", member="M2"),
        one("wallet.refund", day=33, payment="p2"),
        one("wallet.refund", day=34, payment="p3"),
    ]
    assert value(log, "K5.frequency/2026-11", as_of=DECEMBER) == 1.5
    assert value(log, "K5.frequency/2026-11", as_of=DECEMBER + 20 * DAY, months=2) == 1.0


def test_one_id_of_two_sources_is_two_events_and_one_that_came_again_is_one():
    paid = one("billing.topup", day=2, id_="1", amount_minor=500.0)
    again = replace(paid, learnt=paid.learnt + DAY, fields={"amount_minor": 900.0})
    log = [*activated("H1", "mobile"), paid, again, replace(paid, source="till")]
    assert value(log, "K2.arpu/2026-11") == 1_000.0


def test_arpu_of_old_is_what_is_all_ours_per_line():
    log = [
        *activated("H1", "mobile", "extra_line", "content"),
        *activated("H2", "broadband"),
        one("billing.bill_issued", day=2, id_="sale", amount_minor=3_000.0),
        one("billing.topup", "H3", day=2, amount_minor=600.0),
        one("partner.purchase", day=3, amount_minor=9_000.0),
        one("billing.refund", day=40, amount_minor=300.0, sale="sale"),
        one("billing.refund", day=5, amount_minor=50.0, sale="unknown"),
    ]
    assert value(log, "ARPU.per_line/2026-11", as_of=DECEMBER) == 1_200.0
    assert value(log, "ARPU.per_line/2026-11", as_of=DECEMBER + 20 * DAY, months=2) == 1_100.0


def test_use_that_names_nobody_is_nobodys():
    log = [*activated("H1", "mobile"), one("wallet.payment", day=16, member="M1", amount_minor=5.0)]
    assert value([one("wallet.payment", "", day=0.5), *log], "K3.depth/2026-11") == value(log, "K3.depth/2026-11")


def test_contracts_are_no_input_of_depth():
    log = [*activated("H1", "mobile"), one("wallet.payment", day=16, member="M1", amount_minor=5.0)]
    contracts = [one("billing.contract_due", day=15), one("billing.contract_renewed", day=17)]
    assert value([*log, *contracts], "K3.depth/2026-11") == value(log, "K3.depth/2026-11") > 0.0


def test_a_contract_is_renewed_by_the_first_renewal_that_answers_no_other_whenever_it_comes():
    log = [
        one("billing.contract_renewed", "H1", day=1),
        one("billing.contract_due", "H1", day=2),
        one("billing.contract_due", "H2", day=3),
        one("billing.contract_due", "H3", day=4),
        one("billing.contract_due", "H3", day=5),
        one("billing.contract_renewed", "H3", day=6),
        one("billing.contract_due", "H4", day=29),
        one("billing.contract_renewed", "H4", day=33),
    ]
    assert value(log, "renewal.rate/2026-11") == 1 / 5
    assert value(log, "renewal.rate/2026-11", as_of=DECEMBER + 9 * DAY, months=2) == 2 / 5


def test_a_case_takes_from_its_complaint_until_what_resolves_it():
    log = [
        one("call_centre.complaint", day=2, case="a"),
        one("call_centre.complaint", day=2.5, case="b"),
        one("call_centre.resolved", day=3, case="b"),
        one("call_centre.resolved", day=4, case="a"),
        one("call_centre.complaint", day=5, case="c"),
    ]
    assert value(log, "resolution.minutes/2026-11") == (48 + 12) * 60 / 2
    asked = asked_of(log, as_of=DECEMBER, zone="UTC")
    (row,) = [row for row in kpis(asked, months=1) if row.kpi == "resolution"]
    assert row.note == "1 cases are still open, and not counted"


def test_net_additions_are_products_at_the_end_less_those_at_the_beginning():
    log = [
        *activated("H1", "mobile", "extra_line", day=-2),
        *activated("H2", "mobile", day=4),
        *activated("H3", "content", "gaming", "smart_home", day=5),
        one("billing.product_deactivated", "H1", day=9, product="mobile"),
        one("billing.product_deactivated", "H3", day=9, product="gaming"),
    ]
    assert value(log, "net_additions.products/2026-11") == 2.0


def test_churn_is_of_those_who_were_there_when_the_month_began():
    gone = one("billing.product_deactivated", "H1", day=10, product="mobile")
    log = [
        *activated("H1", "mobile", day=-9),
        *activated("H2", "mobile", day=-9),
        *activated("H3", "mobile", day=5),
        gone,
    ]
    assert value(log, "churn.rate/2026-11") == 0.5
    assert value(log, "net_additions.products/2026-11") == 0.0


def test_what_was_merged_is_one_household_and_what_was_taken_back_is_two():
    log = [*activated("H1", "mobile"), *activated("H2", "broadband")]
    merge = one("hearth.graph.merge", "H1", day=5, other="H2", cause="same door")
    assert value(log, "K1.families/2026-11") == 1.0
    assert value([*log, merge], "K1.families/2026-11") == 2.0
    assert (
        value([*log, merge, one("hearth.graph.unmerge", "H1", day=6, cause="same door")], "K1.families/2026-11") == 1.0
    )


def test_what_was_sold_to_one_that_was_merged_is_taken_back_under_the_name_that_stands():
    log = [
        one("billing.topup", "H2", day=2, id_="sale", amount_minor=500.0),
        one("wallet.payment", "H2", day=2, id_="p1", member="M1"),
        one("wallet.payment", "H2", day=3, id_="p2", member="M1"),
        one("billing.refund", "H1", day=6, sale="sale", amount_minor=200.0),
        one("wallet.refund", "H1", day=6, payment="p1"),
    ]
    merge = one("hearth.graph.merge", "H1", day=5, other="H2", cause="same door")
    assert value([*log, merge], "K2.arpu/2026-11/category=connectivity") == 300.0
    assert value([*log, merge], "K5.frequency/2026-11") == 1.0
    # Of a household that it has nothing to do with it takes nothing back.
    assert value(log, "K2.arpu/2026-11/category=refunds of unknown sales") == -100.0
    assert value(log, "K5.frequency/2026-11") == 2.0


def test_of_two_sales_of_one_name_that_of_the_name_it_was_told_of_is_taken_back():
    log = [
        one("billing.topup", "H1", day=2, id_="sale", amount_minor=500.0),
        one("partner.purchase", "H2", day=3, id_="sale", amount_minor=10_000.0),
        one("hearth.graph.merge", "H1", day=5, other="H2", cause="same door"),
        one("billing.refund", "H1", day=6, sale="sale", amount_minor=200.0),
        one("billing.refund", "H2", day=6, sale="sale", amount_minor=1_000.0),
    ]
    assert value(log, "K2.arpu/2026-11/category=connectivity") == 300.0
    assert value(log, "K2.arpu/2026-11/category=partner") == 450.0


def test_what_is_told_of_an_identifier_is_whose_it_was_when_it_happened():
    number = "msisdn:+491700000001"

    def told(type_: str, *, day: float, **fields: object) -> Event:
        return one(type_, "", day=day, identifier=number, **fields)

    log = [
        *(one("app.session_started", household, day=0.5) for household in ("H1", "H2")),
        one("hearth.graph.join", "H1", day=0.1, subject="member:anna"),
        one("hearth.graph.join", "H2", day=0.1, subject="member:ben"),
        told("hearth.graph.link", day=1, subject="member:anna"),
        told("billing.product_activated", day=2, product="mobile"),
        told("billing.topup", day=3, id_="sale", amount_minor=800.0),
        told("wallet.payment", day=3, id_="p1"),
        told("wallet.payment", day=3.5),
        told("hearth.graph.link", day=5, subject="member:ben"),
        told("billing.product_activated", day=6, product="mobile"),
        told("billing.topup", day=6, amount_minor=50.0),
        told("wallet.payment", day=7),
        told("wallet.payment", day=8),
        # Whoever has the number by now: it is taken back of whoever had it then.
        told("billing.refund", day=9, sale="sale", amount_minor=100.0),
        told("wallet.refund", day=9, payment="p1"),
    ]
    asked = asked_of(log, as_of=DECEMBER, zone="UTC")
    rows = kpis(asked, months=1, by="segment", grouping=by_segment(asked, {"H1": "anna's", "H2": "ben's"}))
    numbers = {row.name.replace("/2026-11", ""): (row.numerator, row.denominator) for row in rows if not row.missing}
    # What the number's next holder has is another product, and its wallet is another one.
    assert (numbers["K1.families"], numbers["K1.lines"]) == ((2, 2), (2, 2))
    assert (numbers["K2.arpu/segment=anna's"], numbers["K2.arpu/segment=ben's"]) == ((700, 1), (50, 1))
    assert (numbers["K5.frequency/segment=anna's"], numbers["K5.frequency/segment=ben's"]) == ((1, 1), (2, 1))


def test_a_late_event_counts_when_it_happened():
    log = [*activated("H1", "mobile"), one("billing.topup", day=20, learnt=25, amount_minor=900.0)]
    assert value(log, "K2.arpu/2026-11", as_of=DECEMBER, known_by=DECEMBER) == 0.0
    assert value(log, "K2.arpu/2026-11", as_of=DECEMBER) == 900.0
    learnt = log[-1].learnt
    for known_by, wanted in ((learnt, 900.0), (learnt - 1, 0.0)):
        assert value(log, "K2.arpu/2026-11", as_of=learnt + DAY, known_by=known_by, months=2) == wanted


# --- what a number is made of -----------------------------------------------------------------------------------------


def test_each_number_names_its_events():
    log = [
        *activated("H1", "mobile"),
        one("billing.bill_issued", day=2, id_="bill", amount_minor=3_000.0),
        one("partner.purchase", day=3, id_="bought", amount_minor=1_000.0),
        one("billing.refund", day=4, id_="back", amount_minor=500.0, sale="bill"),
        one("billing.topup", day=5, id_="no money", amount_minor=None),
    ]
    asked = asked_of(log, as_of=DECEMBER, zone="UTC")
    assert explained(asked, "K2.arpu/2026-11", months=1) == ["bill", "bought", "back"]
    assert explained(asked, "K2.arpu/2026-11/category=connectivity", months=1) == ["bill", "back"]
    assert explained(asked, "K2.arpu/2026-11/category=partner", months=1) == ["bought"]
    for name in ("K2.arpu/2025-11", "K9.arpu/2026-11", "K2.arpu/2026-11/category=none", "K2"):
        with pytest.raises(NoSuchRow, match="no row"):
            explained(asked, name, months=1)


def test_each_of_the_others_names_its_events():
    def product(change: str, household: str, *, day: float, id_: str, product: str = "mobile") -> Event:
        return one(f"billing.product_{change}", household, day=day, id_=id_, product=product)

    log = [
        *(product("activated", household, day=-5, id_=f"{household} had") for household in ("H1", "H2", "H3")),
        product("deactivated", "H1", day=0, id_="H1 left"),
        product("activated", "H2", day=3, id_="H2 more", product="content"),
        product("deactivated", "H2", day=4, id_="H2 less", product="content"),
        product("deactivated", "H3", day=30, id_="next month"),
        one("partner.purchase", "H2", day=4, id_="bought", amount_minor=900.0),
        one("billing.topup", "H2", day=5, id_="paid", amount_minor=700.0),
        one("app.session_started", "H2", day=-2, id_="too long ago"),
        one("app.session_started", "H2", day=0, id_="visited"),
        one("app.session_started", "H1", day=9, id_="of one who holds nothing"),
        one("billing.contract_due", "H2", day=0, id_="due"),
        one("billing.contract_renewed", "H2", day=40, id_="renewed"),
        one("billing.contract_due", "H2", day=30, id_="due later"),
        one("call_centre.complaint", "H2", day=0, id_="opened"),
        one("call_centre.resolved", "H2", day=31, id_="resolved"),
        one("call_centre.complaint", "H2", day=30, id_="opened later"),
        one("call_centre.resolved", "H2", day=32, id_="resolved later"),
    ]
    asked = asked_of(sorted(log, key=lambda event: event.time), as_of=DECEMBER + 20 * DAY, zone="UTC")
    behind = {
        "churn.rate": ["H1 left"],
        "net_additions.products": ["H1 left", "H2 more", "H2 less"],
        "K1.lines": ["H2 had", "H3 had"],
        "K1.three_or_more": ["H2 had", "H3 had"],
        "K3.depth": ["visited", "bought"],
        "ARPU.per_line": ["paid"],
        "renewal.rate": ["due", "renewed"],
        "resolution.minutes": ["opened", "resolved"],
    }
    for row, ids in behind.items():
        assert explained(asked, f"{row}/2026-11", months=2) == ids, row


def test_a_number_is_made_of_its_events_and_of_no_others():
    log = lived(seed=9)
    whole = {row.name: row.numerator for row in kpis(asked_of(log, as_of=AS_OF[3]), months=2)}
    asked = asked_of(log, as_of=AS_OF[3])
    for name in ("K2.arpu/2026-11", "K5.frequency/2026-11", "K1.families/2026-11"):
        ids = set(explained(asked, name, months=2))
        graph_or_sold = {event.id for event in log if event.type.startswith("hearth.graph")} | ids
        if name.startswith("K2"):
            graph_or_sold |= {event.fields["sale"] for event in log if event.id in ids and "sale" in event.fields}
        only = [event for event in log if event.id in graph_or_sold]
        assert {row.name: row.numerator for row in kpis(asked_of(only, as_of=AS_OF[3]), months=2)}[name] == whole[name]
        less = [event for event in log if event.id not in ids]
        assert {row.name: row.numerator for row in kpis(asked_of(less, as_of=AS_OF[3]), months=2)}[name] != whole[name]


def test_what_playbooks_reject_counts_nothing_and_is_told():
    late, shipped = one("billing.topup", day=5, amount_minor=900.0), shipped_plan()
    types = (replace(one, name="other") if one.name == "billing.refund" else one for one in shipped.event_types)
    plan = replace(shipped, event_types=tuple(types))
    ahead = replace(late, id="ahead", time=late.time + 2 * 3_600_000_000, learnt=late.time)
    log = [
        *activated("H1", "mobile"),
        late,
        ahead,
        one("billing.topup", day=6, amount_minor=200_000.0),  # more than the playbook lets through
        one("billing.refund", day=7, amount_minor=100.0, sale=late.id),  # of a type that it does not declare
        one("billing.topup", "é" * 65, day=5, amount_minor=500.0),
        one("wallet.payment", "H1", day=5, amount_minor=500.0, member="m" * 129),
        replace(late, id="past", time=-1),
    ]
    facts = read_facts([exported(log)], read_definitions(), [plan])
    assert dict(facts.left_out) == {
        "billing.refund: no playbook knows it": 1,
        "billing.topup: amount_minor is no amount": 1,
        "from the future": 1,
        "before 1970 or after 2200": 1,
        "household is too long": 1,
        "member is too long": 1,
    }
    rows = kpis(ask(facts, read_definitions(), time_us=DECEMBER), months=1)
    assert [row.numerator for row in rows if row.name == "K2.arpu/2026-11"] == [900]


def test_a_report_without_a_time_is_of_when_it_was_recorded():
    accepted = one("hearth.accept", day=5, learnt=1, action_id="a")
    table = exported([accepted, one("billing.topup", day=6, amount_minor=1.0)])
    nothing = pa.array([None, None], table.schema.field("time").type)
    place = table.schema.get_field_index("time")
    facts = read_facts([table.set_column(place, "time", nothing)], read_definitions(), ())
    assert facts.time_us.tolist() == [accepted.learnt]
    assert dict(facts.left_out) == {"no time": 1}


@pytest.mark.parametrize("zone", ["UTC", "America/Havana", "Asia/Kathmandu", "Pacific/Apia", "Africa/Casablanca"])
@pytest.mark.parametrize("as_of", [0, 1, 40 * DAY, NOVEMBER, NOVEMBER + 3_600_000_000, DECEMBER - 1])
def test_months_follow_one_another_and_none_comes_twice(zone: str, as_of: int):
    found = months_of(time_us=as_of, count=14, zone=zone)
    assert 1 <= len(found) <= 14
    assert len({one.name for one in found}) == len(found)
    assert all(one.end_us == after.start_us for one, after in itertools.pairwise(found))
    assert all(one.is_over and one.days in (28, 29, 30, 31) for one in found[:-1] if one.start_us >= 0)
    assert found[-1].end_us <= max(as_of, 1)


def test_what_is_missing_is_named():
    rows = kpis(asked_of([one("app.session_started")], as_of=DECEMBER, zone="UTC"), months=1)
    missing = {row.kpi: row.missing for row in rows}
    assert missing["K1"] == "billing.product_activated, wallet.activated"
    assert missing["K2"] == "billing.bill_issued, billing.topup, partner.purchase"
    assert missing["K5"] == "wallet.payment"
    assert missing["renewal"] == "billing.contract_due, billing.contract_renewed"
    assert missing["resolution"] == "call_centre.complaint, call_centre.resolved"
    assert all(row.value is None for row in rows if row.missing)


def test_an_empty_log_is_no_error():
    assert all(row.value is None or row.value == 0 for row in kpis(asked_of([], as_of=DECEMBER), months=2, by="family"))


def test_every_product_of_the_shipped_playbook_has_a_family_and_one_of_none_is_told():
    (products,) = [field.values for field in shipped_plan().fields if field.name == "product"]
    (named,) = [one.families for one in read_definitions().products if one.families]
    assert set(products) == set(named)
    rows = kpis(asked_of(activated("H1", "mobile", "unheard_of"), as_of=DECEMBER, zone="UTC"), months=1)
    (row,) = [row for row in rows if row.name == "K1.families/2026-11"]
    assert (row.numerator, row.note[-12:]) == (1, ": unheard_of")


def test_another_family_is_a_line_in_the_definitions(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(
        "products:\n  - {held: energy.on, ended: energy.off, family: energy}\n"
        "revenue:\n  - {events: energy.bill, amount: amount_minor, category: energy}\n"
    )
    log = [one("energy.on"), one("energy.bill", amount_minor=700.0)]
    own = read_definitions(file)
    rows = kpis(ask(read_facts([exported(log)], own, ()), own, time_us=DECEMBER), months=1, by="family")
    assert [row.numerator for row in rows if row.name == "K1.families/2026-11/family=energy"] == [1]
    assert [row.value for row in rows if row.name == "K2.arpu/2026-11"] == [700.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("products:\n  - {held: a, ended: b}\n", "write either `family`, or `product` and `families`"),
        ("uses:\n  app: {events: a, target: 1, half_life: week, weight: 1}\n", "'week' is no span of time"),
        ("revenue:\n  - {events: a, amount: b, category: c, share: 120%}\n", "'120%' is no share"),
        ("revenu: []\n", "revenu: Extra inputs are not permitted"),
        ("products: [\n", "own.yaml:2:1"),
    ],
)
def test_definitions_that_are_wrong_say_what_and_where(tmp_path, text: str, told: str):
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(DefinitionsInvalid) as wrong:
        read_definitions(file)
    assert told in str(wrong.value)
