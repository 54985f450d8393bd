"""Laws of K4 and K6: who took nothing up is censored, never dropped; a conversion is a family that was not held, within
the window of the first entry; who is still within it is told apart; and what control does by itself is taken off.
"""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from insight.measures.conversion import cross_category, increments
from insight.measures.definitions import read_definitions
from insight.measures.figures import FigureRow
from insight.measures.journeys import JourneyEntry, JourneyRecords, Met
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
    assert found.low is not None
    assert found.high is not None
    assert 0.2 < found.low < found.value < found.high < 0.6

    rows = kpis(asked, months=2, by="arm", grouping=by_arm(asked, "one"))
    arms = {
        one.group: (one.numerator, one.denominator) for one in rows if one.name.startswith("K6.conversion/2026-09/")
    }
    assert arms == {"control": (4, 40), "treated": (30, 60)}


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
