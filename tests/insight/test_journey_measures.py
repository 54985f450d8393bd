"""Laws of K4 and K6: who took nothing up is censored, never dropped; a conversion is a family that was not held, within
the window of the first entry; who is still within it is told apart; and what control does by itself is taken off.
"""

import warnings
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from insight.measures.conversion import cross_category, increments
from insight.measures.definitions import read_definitions
from insight.measures.figures import FigureRow
from insight.measures.journeys import JourneyEntry, JourneyRecords, Met, read_journeys
from insight.measures.knowledge import Knowledge, ask, months_of
from insight.measures.kpis import by_arm, explained, kpis
from insight.measures.reading import read_facts
from insight.measures.survival import median_time, quantile
from tests.insight.measures_log import START, exported, lived
from tests.insight.measures_reference import DAY, Event, Reference, survivors

WINDOW = 30 * DAY
ZONE = "Europe/Berlin"
FAMILIES = {"one": frozenset({"content", "gaming"}), "two": frozenset({"mobile"})}
AS_OF = [START + 20 * DAY, START + 35 * DAY, START + 52 * DAY, START + 66 * DAY + 3, START + 130 * DAY]


def entry(journey: str, household: str, at: int, *, action: str = "", **more: object) -> JourneyEntry:
    made = JourneyEntry(
        journey=journey,
        household=household,
        time_us=at,
        learnt_us=at + 1_000,
        event_id=f"{household}-{at}",
        channel="push",
        is_withheld=False,
        answered_us=None,
        actions=(action,) if action else (),
    )
    return replace(made, **more)


def told(
    log: list[Event], journeys: JourneyRecords, *, as_of: int, known_by: int | None = None, zone: str = ZONE
) -> Knowledge:
    facts = read_facts([exported(sorted(log, key=lambda one: one.learnt))], read_definitions(), ())
    return ask(facts, read_definitions(), time_us=as_of, known_us=known_by, zone=zone, journeys=journeys)


def entered(seed: int) -> JourneyRecords:
    draw = np.random.default_rng([seed, 9])
    entries = [
        entry(
            ("one", "two")[int(draw.integers(2))], f"H{draw.integers(40):03d}", START + int(draw.integers(0, 70 * DAY))
        )
        for _ in range(120)
    ]
    return JourneyRecords(entries=tuple(entries), families=FAMILIES)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("as_of", AS_OF)
@pytest.mark.parametrize("behind", [None, 4 * DAY])
def test_conversion_is_that_of_the_slow_reference(seed: int, as_of: int, behind: int | None):
    log, journeys = lived(seed=seed, events=1_200), entered(seed)
    known_by = None if behind is None else as_of - behind
    asked = told(log, journeys, as_of=as_of, known_by=known_by)
    slow = Reference(log, as_of=as_of, known_by=2**62 if known_by is None else known_by, zone=ZONE)
    for period in months_of(time_us=as_of, count=2, zone=ZONE):
        first: dict[tuple[str, str], int] = {}
        for one in journeys.entries:
            is_known = known_by is None or one.learnt_us <= known_by
            if is_known and period.start_us <= one.time_us < period.end_us:
                key = one.journey, slow.owner.get(one.household, one.household)
                first[key] = min(first.get(key, one.time_us), one.time_us)
        took, over, still_open = dict.fromkeys(FAMILIES, 0), dict.fromkeys(FAMILIES, 0), 0
        for (journey, household), time in first.items():
            if time + WINDOW > as_of:
                still_open += 1
                continue
            over[journey] += 1
            took[journey] += bool(slow.took(household, FAMILIES[journey], time, time + WINDOW))
        conversion, by_family, is_open = cross_category(asked, period, window_us=WINDOW)
        assert (conversion.counted.total, conversion.base.total) == (sum(took.values()), sum(over.values()))
        for place, journey in enumerate(conversion.parts):
            parts = (int(conversion.counted.is_of(place).sum()), int(conversion.base.is_of(place).sum()))
            assert parts == (took[journey], over[journey])
        assert is_open.counted.total == still_open
        assert by_family.counted.total >= conversion.counted.total


def activated(household: str, product: str, *, day: float) -> Event:
    time = START + round(day * DAY)
    kind, fields = "billing.product_activated", {"product": product}
    return Event(
        id=f"{household}-{product}-{day}", type=kind, household=household, time=time, learnt=time, fields=fields
    )


def row(rows: list[FigureRow], name: str) -> FigureRow:
    (found,) = [one for one in rows if one.name == name]
    return found


def test_a_window_is_half_open_and_what_was_held_before_is_no_conversion():
    entries = [entry("one", f"H{number}", START) for number in range(5)]
    log = [
        activated("H0", "content", day=0),
        activated("H1", "content", day=29.999),
        activated("H2", "content", day=30),
        activated("H3", "content", day=-1),
        activated("H3", "content", day=2),
        activated("H4", "mobile", day=2),
    ]
    asked = told(log, JourneyRecords(entries=tuple(entries), families=FAMILIES), as_of=START + 31 * DAY, zone="UTC")
    rows = kpis(asked, months=2, by="journey")
    found = row(rows, "K6.conversion/2026-09/journey=one")
    assert (found.numerator, found.denominator, found.value) == (2, 5, 0.4)
    assert explained(asked, "K6.conversion/2026-09", months=2) == ["H0-content-0", "H1-content-29.999"]
    early = told(log, JourneyRecords(entries=tuple(entries), families=FAMILIES), as_of=START + 30 * DAY - 1, zone="UTC")
    assert row(kpis(early, months=2), "K6.open/2026-09").numerator == 5
    assert row(kpis(early, months=2), "K6.conversion/2026-09").value is None


OCTOBER = 1_790_812_800_000_000  # 2026-10-01T00:00:00Z


def conversions(
    log: list[Event], records: JourneyRecords, *, as_of: int, known_by: int | None = None, months: int = 2
) -> dict[str, tuple[int, int | None]]:
    """Return what K6 counts, by row, of months of UTC."""
    asked = told(log, records, as_of=as_of, known_by=known_by, zone="UTC")
    rows = kpis(asked, months=months, by="journey")
    return {one.name: (one.numerator, one.denominator) for one in rows if one.kpi == "K6"}


def test_an_entry_is_of_the_month_that_holds_its_instant_and_its_window_ends_at_the_instant():
    entries = [entry("one", "H0", OCTOBER - 1), entry("one", "H1", OCTOBER), entry("one", "H1", OCTOBER + DAY)]
    journeys, log = JourneyRecords(entries=tuple(entries), families=FAMILIES), [activated("H9", "mobile", day=1)]
    found = conversions(log, journeys, as_of=OCTOBER + WINDOW)
    assert (found["K6.conversion/2026-09"], found["K6.conversion/2026-10"]) == ((0, 1), (0, 1))
    assert (found["K6.open/2026-09"], found["K6.open/2026-10"]) == ((0, None), (0, None))
    early = conversions(log, journeys, as_of=OCTOBER + WINDOW - 1)
    assert (early["K6.conversion/2026-10"], early["K6.open/2026-10"]) == ((0, 0), (1, None))


def test_a_journey_without_moments_is_entered_when_its_control_group_is_met():
    def met(experiment: str, household: str, at: int) -> Met:
        return Met(experiment=experiment, household=household, arm="treated", time_us=at)

    journeys = JourneyRecords(
        entries=(entry("one", "H1", OCTOBER),),
        met=(
            met("two", "H1", OCTOBER),
            met("two", "H2", OCTOBER + 2 * DAY),
            met("two", "H2", OCTOBER + 12 * DAY),
            met("two", "H3", OCTOBER - 1),
            met("two", "H4", OCTOBER + 5 * DAY),
            # What has moments is entered by them, and an experiment that is no journey by nobody.
            met("one", "H5", OCTOBER),
            met("a model", "H6", OCTOBER),
        ),
        families=FAMILIES,
    )
    # H2's window is that of its first meeting.
    log = [activated("H1", "mobile", day=10), activated("H2", "mobile", day=43)]
    assert OCTOBER + 32 * DAY < log[1].time < OCTOBER + 42 * DAY
    found = conversions(log, journeys, as_of=OCTOBER + 60 * DAY, months=3)
    assert found["K6.conversion/2026-10/journey=two"] == (1, 3)
    assert found["K6.conversion/2026-10/journey=one"] == (0, 1)
    assert found["K6.conversion/2026-09/journey=two"] == (0, 1)
    known = conversions(log, journeys, as_of=OCTOBER + 60 * DAY, known_by=OCTOBER + 5 * DAY - 1, months=3)
    assert known["K6.conversion/2026-10/journey=two"] == (1, 2)


def test_an_entry_that_was_decided_later_is_not_known():
    late = replace(entry("one", "H1", OCTOBER), learnt_us=OCTOBER + 3 * DAY)
    journeys, as_of = JourneyRecords(entries=(late,), families=FAMILIES), OCTOBER + 40 * DAY
    log = [activated("H9", "mobile", day=1)]
    for known_by, entries in ((OCTOBER + 3 * DAY, 1), (OCTOBER + 3 * DAY - 1, 0)):
        assert conversions(log, journeys, as_of=as_of, known_by=known_by)["K6.conversion/2026-10"] == (0, entries)
        rows = kpis(told(log, journeys, as_of=as_of, known_by=known_by, zone="UTC"), months=2)
        assert row(rows, "K4.conversion_median/2026-10").denominator == entries


def test_what_a_household_held_by_whatever_name_is_no_conversion():
    def changed(kind: str, household: str, *, day: float, member: str = "", **fields: str) -> Event:
        time = OCTOBER + round(day * DAY)
        return Event(id=f"{kind}-{household}-{day}", type=kind, household=household, member=member, time=time,
                     learnt=time, fields=fields)  # fmt: skip

    on, off = "billing.product_activated", "billing.product_deactivated"
    log = [
        # Of two wallets one is closed, so a third is none of a family of which it held nothing.
        changed("wallet.activated", "H1", day=-3, member="M1"),
        changed("wallet.activated", "H1", day=-2, member="M2"),
        changed("wallet.closed", "H1", day=-1, member="M1"),
        changed("wallet.activated", "H1", day=2, member="M3"),
        # A product is the household's, whichever member is named.
        changed(on, "H2", day=-3, member="M1", product="content"),
        changed(off, "H2", day=-2, member="M2", product="content"),
        changed(on, "H2", day=2, product="content"),
        # Merged: what the one still holds the other had, too.
        changed(on, "H3", day=-3, product="content"),
        changed(on, "H4", day=-3, product="content"),
        changed("hearth.graph.merge", "H3", day=-2.5, other="H4", cause="same door"),
        changed(off, "H4", day=-2, product="content"),
        changed(on, "H4", day=2, product="content"),
        # Of two products of a family one is left.
        changed(on, "H5", day=-3, product="mobile"),
        changed(on, "H5", day=-2, product="extra_line"),
        changed(off, "H5", day=-1, product="mobile"),
        changed(on, "H5", day=2, product="family_bundle"),
        # Two families are one conversion, and two that were taken up.
        changed(on, "H6", day=3, product="content"),
        changed("wallet.activated", "H6", day=4, member="M1"),
    ]
    entries = tuple(entry("all", f"H{number}", OCTOBER) for number in (1, 2, 3, 4, 5, 6))
    journeys = JourneyRecords(entries=entries, families={"all": frozenset({"wallet", "content", "mobile"})})
    found = conversions(log, journeys, as_of=OCTOBER + 40 * DAY)
    # Of H1 to H6, of which two are one household: H2 and H6.
    assert found["K6.conversion/2026-10"] == (2, 5)
    assert found["K6.families/2026-10"] == (3, 5)


def test_who_was_merged_is_in_its_first_arm_and_only_whose_window_is_over_is_compared():
    def met(household: str, arm: str, *, at: int = OCTOBER, experiment: str = "one") -> Met:
        return Met(experiment=experiment, household=household, arm=arm, time_us=at)

    names = [f"H{number}" for number in range(8)]
    journeys = JourneyRecords(
        entries=(*(entry("one", name, OCTOBER) for name in names), entry("one", "late", OCTOBER + 20 * DAY)),
        met=(
            *(met(name, "control" if place < 4 else "treated") for place, name in enumerate(names)),
            # Merged with one of control, and met later: it is of control.
            met("H0b", "treated", at=OCTOBER + DAY),
            met("late", "treated", at=OCTOBER + 20 * DAY),
            *(met(name, "control", experiment="two") for name in names[4:]),
            met("H7", "control", at=OCTOBER + 41 * DAY),
        ),
        families=FAMILIES,
    )
    at = OCTOBER + DAY
    merge = Event(id="merge", type="hearth.graph.merge", household="H0", time=at, learnt=at,
                  fields={"other": "H0b", "cause": "same door"})  # fmt: skip
    taken = [(name, product) for name in ("H0", "H4", "H5", "H6", "late") for product in ("content", "gaming")]
    log = [merge, *(activated(name, product, day=12) for name, product in taken)]
    asked = told(log, journeys, as_of=OCTOBER + 40 * DAY, zone="UTC")
    (found,) = [one for one in kpis(asked, months=2) if one.name == "K6.increment/2026-10/journey=one"]
    assert (found.numerator, found.denominator) == (4, 4)
    assert found.value == pytest.approx(3 / 4 - 1 / 4)
    split = by_arm(asked, "one")
    assert split.groups[split.of_household[asked.by_key["H0b"]]] == "control"


def test_one_household_in_an_arm_is_nothing_to_compare():
    entries = tuple(entry("one", f"H{number}", OCTOBER) for number in range(4))
    met = tuple(
        Met(experiment="one", household=f"H{number}", arm="treated" if number else "control", time_us=OCTOBER)
        for number in range(4)
    )
    journeys = JourneyRecords(entries=entries, met=met, families=FAMILIES)
    rows = kpis(told([activated("H1", "content", day=12)], journeys, as_of=OCTOBER + 40 * DAY, zone="UTC"), months=2)
    found = row(rows, "K6.increment/2026-10/journey=one")
    assert (found.value, found.missing) == (None, "1 in control and 3 treated: nothing to compare")


def test_the_increment_is_over_control():
    met = [
        Met(experiment="one", household=f"H{number}", arm="control" if number < 40 else "treated", time_us=START)
        for number in range(100)
    ]
    entries = [entry("one", f"H{number}", START + 5, is_withheld=number < 40) for number in range(100)]
    log = [activated(f"H{number}", "content", day=3) for number in (*range(4), *range(40, 70))]
    journeys = JourneyRecords(entries=tuple(entries), met=tuple(met), families=FAMILIES)
    asked = told(log, journeys, as_of=START + 40 * DAY, zone="UTC")
    september = months_of(time_us=asked.time_us, count=2, zone="UTC")[0]
    (found,) = increments(asked, september, window_us=WINDOW)
    assert found.value == pytest.approx(30 / 60 - 4 / 40)
    assert (found.numerator, found.denominator) == (60, 40)
    assert found.low is not None
    assert found.high is not None
    assert 0.2 < found.low < found.value < found.high < 0.6

    rows = kpis(asked, months=2, by="arm", grouping=by_arm(asked, "one"))
    arms = {
        one.group: (one.numerator, one.denominator) for one in rows if one.name.startswith("K6.conversion/2026-09/")
    }
    assert arms == {"control": (4, 40), "treated": (30, 60)}


def test_entries_are_read_with_the_first_answer_to_an_action_of_theirs():
    def decision(
        name: str, *, asked: bool, given: str | None, arm: str = "treated", at: int = 500
    ) -> dict[str, object]:
        slate = [{"action_id": f"{name}-1", "journey": "one"}, {"action_id": f"{name}-2", "journey": "two"}]
        drawn = [{"experiment": "one", "arm": arm, "share": 0.7, "layer": "journey"}]
        return {
            "decision_id": name, "household": "H1", "asked": asked, "channel": "web", "withheld": False,
            "decided_at": at, "playbook_version": "1", "action_id": given, "slate": slate, "arms": drawn,
        }  # fmt: skip

    decisions = [
        decision("given", asked=True, given="given-1", at=600),
        decision("another", asked=True, given="another-2"),
        decision("sent", asked=False, given="sent-1"),
        decision("both", asked=True, given="both-1", at=600),
        decision("first", asked=False, given=None, arm="control", at=400),
    ]
    moments = [
        {"decision_id": one["decision_id"], "journey": "one", "household": "H1", "time": 100, "event_id": "e"}
        for one in [*decisions, {"decision_id": "unknown"}]
    ]
    handed = [
        ("sent-1", "claimed", 550),
        ("sent-1", "handed", 700),
        ("sent-1", "handed", 900),
        ("both-1", "handed", 650),
    ]
    deliveries = [dict(zip(("action_id", "step", "recorded_at"), one, strict=True)) for one in handed]
    records = read_journeys(
        moments=pa.Table.from_pylist(moments),
        decisions=pa.Table.from_pylist(decisions),
        deliveries=pa.Table.from_pylist(deliveries),
        plans=(),
    )
    assert [one.answered_us for one in records.entries] == [600, None, 700, 600, None]
    assert [one.actions for one in records.entries][:2] == [("given-1",), ("another-1",)]
    # It is in the arm of the first decision that hung on it.
    assert [(one.arm, one.time_us, one.share_bp) for one in records.met] == [("control", 400, 7_000)]


# --- K4 ---------------------------------------------------------------------------------------------------------------


def test_who_was_not_taken_up_is_censored_and_control_is_left_out():
    def accepted(action: str, at: int) -> Event:
        fields = {"action_id": action}
        return Event(id=f"yes-{action}", type="hearth.accept", household="H1", time=at, learnt=at, fields=fields)

    minute = 60_000_000
    entries = [
        entry("one", "H1", START, action="a1", answered_us=START + 1_500_000),
        entry("one", "H2", START, action="a2", answered_us=START + 500_000),
        entry("one", "H3", START, action="a3"),
        entry("one", "H4", START, action="a4", is_withheld=True, answered_us=START + 1),
        entry("two", "H5", START, action="a5", answered_us=START + 9_000_000),
    ]
    log = [accepted("a1", START + 10 * minute), accepted("a2", START + 30 * minute)]
    journeys = JourneyRecords(entries=tuple(entries), families=FAMILIES, is_handed_known=True)
    rows = kpis(told(log, journeys, as_of=START + DAY, zone="UTC"), months=1, by="journey")

    handed = {one.measure: one.value for one in rows if one.kpi == "K4" and not one.by}
    assert (handed["handed_p50"], handed["handed_p95"], handed["handed_p99"]) == (1_500.0, 9_000.0, 9_000.0)
    whole, of_one = (row(rows, f"K4.conversion_median/2026-09{by}") for by in ("", "/journey=one"))
    # Two of four have done it after thirty minutes; two of three after the same.
    assert (whole.value, whole.numerator, whole.denominator) == (30.0, 2, 4)
    assert (of_one.value, of_one.numerator, of_one.denominator) == (30.0, 2, 3)
    early = kpis(told(log, journeys, as_of=START + 20 * minute, zone="UTC"), months=1)
    assert row(early, "K4.conversion_median/2026-09").value is None
    assert row(early, "K4.conversion_median/2026-09").note == "fewer than half have taken it up"


def test_of_a_hundred_the_fiftieth_the_ninety_fifth_and_the_ninety_ninth_are_told():
    entries = tuple(
        entry("one", f"H{number}", OCTOBER, answered_us=OCTOBER + number * 1_000) for number in range(1, 101)
    )
    rows = kpis(told([], JourneyRecords(entries=entries, families=FAMILIES), as_of=OCTOBER + DAY, zone="UTC"), months=1)
    assert [row(rows, f"K4.handed_{name}/2026-10").value for name in ("p50", "p95", "p99")] == [50.0, 95.0, 99.0]


def test_a_channel_has_what_was_asked_or_sent_on_it():
    entries = (
        entry("one", "H1", OCTOBER, answered_us=OCTOBER + 1_000),
        entry("two", "H2", OCTOBER, answered_us=OCTOBER + 2_000, channel="web"),
        entry("two", "H3", OCTOBER, answered_us=OCTOBER + 3_000, channel=""),
    )
    journeys = JourneyRecords(entries=entries, families=FAMILIES)
    for by, wanted in (("channel", {"push": 1.0, "web": 2.0, "none": 3.0}), ("journey", {"one": 1.0, "two": 3.0})):
        rows = kpis(told([], journeys, as_of=OCTOBER + DAY, zone="UTC"), months=1, by=by)
        assert {one.group: one.value for one in rows if one.measure == "handed_p99" and one.by} == wanted


def test_what_was_not_handed_over_before_one_asks_is_none_and_a_month_is_half_open():
    as_of = OCTOBER + DAY
    entries = (
        entry("one", "H1", OCTOBER - 1, answered_us=OCTOBER + 999),
        entry("one", "H2", OCTOBER, answered_us=as_of - 1),
        entry("one", "H3", OCTOBER + 1, answered_us=as_of),
        entry("one", "H4", OCTOBER + 2, answered_us=as_of + 1),
        entry("one", "H5", OCTOBER + 3),
    )
    rows = kpis(told([], JourneyRecords(entries=entries, families=FAMILIES), as_of=as_of, zone="UTC"), months=2)
    handed = {one.period: (one.value, one.numerator, one.denominator) for one in rows if one.measure == "handed_p99"}
    assert handed == {"2026-09": (1.0, 1, 1), "2026-10": ((DAY - 1) / 1_000, 1, 4)}
    at_once = replace(entries[0], time_us=as_of)
    rows = kpis(told([], JourneyRecords(entries=(at_once,)), as_of=as_of, zone="UTC"), months=1)
    assert row(rows, "K4.conversion_median/2026-10").denominator == 0


def test_who_asks_as_it_was_known_gets_the_hand_overs_and_arms_of_then():
    entries = tuple(entry("one", f"H{number}", OCTOBER, answered_us=OCTOBER + number * DAY) for number in (1, 2, 3))
    met = tuple(
        Met(experiment="one", household=f"H{number}", arm="treated", time_us=OCTOBER + number * DAY)
        for number in (1, 2, 3)
    )
    journeys = JourneyRecords(entries=entries, met=met, families=FAMILIES)
    log = [activated(f"H{number}", "content", day=-1) for number in (1, 2, 3)]
    asked = told(log, journeys, as_of=OCTOBER + 5 * DAY, known_by=OCTOBER + 2 * DAY, zone="UTC")
    rows = kpis(asked, months=1, by="arm", grouping=by_arm(asked, "one"))
    assert row(rows, "K4.handed_p99/2026-10").numerator == 2
    arms = {one.group: one.denominator for one in rows if one.by == "arm" and one.measure == "three_or_more"}
    assert arms == {"treated": 2, "not met": 1}


def test_the_first_yes_to_any_of_its_actions_is_the_conversion():
    def said(kind: str, action: str, *, minutes: int) -> Event:
        time = OCTOBER + minutes * 60_000_000
        return Event(id=f"{kind}-{action}-{minutes}", type=kind, household="H1", time=time, learnt=time,
                     fields={"action_id": action})  # fmt: skip

    log = [
        said("hearth.click", "a1", minutes=1),
        said("hearth.impression", "a1", minutes=2),
        said("hearth.convert", "a2", minutes=5),
        said("hearth.accept", "a1", minutes=9),
        said("hearth.accept", "a2", minutes=12),
    ]
    journeys = JourneyRecords(entries=(entry("one", "H1", OCTOBER, actions=("a1", "a2")),), families=FAMILIES)
    for as_of, median in ((OCTOBER + DAY, 5.0), (log[2].time, None), (log[2].time + 1, 5.0)):
        rows = kpis(told(log, journeys, as_of=as_of, zone="UTC"), months=1)
        assert row(rows, "K4.conversion_median/2026-10").value == median


@pytest.mark.parametrize("seed", range(20))
def test_the_median_is_that_of_the_fractions_and_its_interval_that_of_scipy(seed: int):
    draw = np.random.default_rng(seed)
    times, ends = draw.integers(1, 60, 80), draw.integers(1, 90, 80)
    durations, is_done = np.minimum(times, ends), times <= ends
    found = median_time(durations, is_done)

    assert found.value == survivors(durations.tolist(), is_done.tolist())
    data = stats.CensoredData.right_censored(durations, ~is_done)
    curve = stats.ecdf(data).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where nobody, or everybody, is left there is no interval
        span = curve.confidence_interval(method="log-log")
    for ours, theirs in ((found.value, curve), (found.low, span.low), (found.high, span.high)):
        below = theirs.quantiles[theirs.probabilities <= 0.5 + 1e-12]
        assert ours == (int(below[0]) if len(below) else None)


def test_a_quantile_is_a_duration_that_was_measured():
    durations = np.array([40, 10, 30, 20])
    assert [quantile(durations, share) for share in (0.25, 0.5, 0.51, 1.0)] == [10, 20, 30, 40]
    assert quantile(np.array([], np.int64), 0.5) is None
