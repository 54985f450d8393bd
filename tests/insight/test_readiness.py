"""Laws of what a journey is expected to bring and of how long its trial takes: of households that entered it in the
thirty days before one asks and of no others, of those that are treated, and with the control group that it has.
"""

import pytest

from insight.experiments.planning import households_needed, households_needed_anytime
from insight.measures.definitions import read_definitions
from insight.measures.journeys import JourneyRecords, Met
from insight.measures.knowledge import ask
from insight.measures.reading import read_facts
from insight.readiness import JourneyReadiness, control_share, readiness
from tests.actors.harness import corner
from tests.insight.measures_log import START, exported
from tests.insight.measures_reference import DAY
from tests.insight.test_journey_measures import entry

AS_OF = START + 40 * DAY
PLAN = corner(
    ("offers: topup\n", "offers: topup\n    control: 30%\n"), ("    margin: 5\n", "    margin: 5\n    cost: 0.30\n")
)
# Prior times margin, less what making it costs.
VALUE_MINOR = 0.3 * 500 - 30


def ready(records: JourneyRecords, *, effect: float | None = None) -> JourneyReadiness:
    definitions = read_definitions()
    asked = ask(read_facts([exported([])], definitions, ()), definitions, time_us=AS_OF, journeys=records)
    (low,) = [one for one in PLAN.journeys if one.name == "low"]
    return readiness(PLAN, low, asked, effect=effect)


def test_households_count_that_entered_in_the_thirty_days_before_one_asks():
    at = {"too long ago": AS_OF - 30 * DAY - 1, "first": AS_OF - 30 * DAY, "last": AS_OF - 1, "later": AS_OF}
    met = tuple(Met(experiment="low", household=f"met {name}", arm="treated", time_us=one) for name, one in at.items())
    entries = tuple(entry("low", name, one) for name, one in at.items())
    again = (entry("low", "first", AS_OF - DAY), entry("another", "else", AS_OF - DAY))
    assert ready(JourneyRecords(entries=(*entries, *again), met=met)).entries == 4


def test_what_it_is_worth_is_of_those_that_are_treated_and_how_many_are_needed_hangs_on_control():
    found = ready(JourneyRecords(entries=tuple(entry("low", f"H{number}", AS_OF - 5) for number in range(10))))
    assert (found.control_share, found.value_minor, found.effect) == (0.3, VALUE_MINOR, 0.3)
    assert found.expected_minor == pytest.approx(VALUE_MINOR * 10 * 0.7)
    # Half of what is sought comes without it: 0.15 · 0.85 in each arm, of which one has three tenths.
    variance = 0.15 * 0.85 / 0.7 + 0.15 * 0.85 / 0.3
    assert found.needed_once == households_needed(variance=variance, effect=0.3)
    assert found.needed_anytime == households_needed_anytime(variance=variance, effect=0.3)
    assert found.days_needed == pytest.approx(found.needed_anytime * 30 / 10)
    sought = ready(JourneyRecords(), effect=0.1)
    assert sought.needed_once == households_needed(variance=0.05 * 0.95 / 0.7 + 0.05 * 0.95 / 0.3, effect=0.1)
    assert sought.days_needed is None


def test_control_is_the_journeys_own():
    assert [control_share(PLAN, one) for one in PLAN.journeys] == [0.3, 0.0]
