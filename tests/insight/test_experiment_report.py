"""Laws: a household counts once its time is over, by its first arm and what it did in that time; a control group that
was treated is found, and so is a sample ratio that is off, and neither is launched; exposed are compared with ghosts.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from insight.experiments.exposure import Exposures, Report, exposures
from insight.experiments.households import Lives, Member, Outcomes, outcomes
from insight.experiments.report import ExperimentConfig, ExperimentReport, families_of, report
from insight.experiments.verdict import LaunchVerdict, Stakes
from insight.measures.definitions import read_definitions
from insight.measures.journeys import JourneyRecords, Met
from insight.measures.knowledge import Knowledge, ask
from insight.measures.reading import read_facts
from tests.actors.harness import corner
from tests.insight.measures_log import START, exported
from tests.insight.measures_reference import DAY, Event

WINDOW = 10 * DAY
AS_OF = START + 60 * DAY
FAMILIES = {"low": frozenset({"content"})}
NOTHING = Exposures(first_us={}, ghost_us={}, leaks=())
PLAN = corner(("offers: topup\n", "offers: topup\n    control: 30%\n"))


def met_by(counts: dict[str, int], *, share_bp: dict[str, int], at: int = START) -> list[Met]:
    return [
        Met(experiment="low", household=f"{arm}-{number}", arm=arm, time_us=at, share_bp=share_bp[arm], layer="journey")
        for arm, count in counts.items()
        for number in range(count)
    ]


def activation(household: str, *, day: float, product: str = "content") -> Event:
    time = START + round(day * DAY)
    fields = {"product": product}
    kind = "billing.product_activated"
    return Event(
        id=f"{household}-{day}-{product}", type=kind, household=household, time=time, learnt=time, fields=fields
    )


def paid(household: str, *, day: float, amount: float) -> Event:
    time = START + round(day * DAY)
    fields = {"amount_minor": amount}
    return Event(
        id=f"{household}-{day}", type="billing.topup", household=household, time=time, learnt=time, fields=fields
    )


def asked_of(log: list[Event], met: list[Met], *, as_of: int = AS_OF, known_by: int | None = None) -> Knowledge:
    definitions = read_definitions()
    facts = read_facts([exported(sorted(log, key=lambda one: one.time))], definitions, ())
    return ask(facts, definitions, time_us=as_of, known_us=known_by, journeys=JourneyRecords(met=tuple(met)))


def reported(
    log: list[Event],
    met: list[Met],
    *,
    found: Exposures = NOTHING,
    as_of: int = AS_OF,
    known_by: int | None = None,
    **named: Any,
) -> ExperimentReport:
    config = ExperimentConfig(window_us=WINDOW, **named)
    (one,) = report(asked_of(log, met, as_of=as_of, known_by=known_by), found, FAMILIES, config=config)
    return one


HALF = {"control": 5_000, "treated": 5_000}


def test_what_households_did_in_their_time_is_what_is_compared():
    met = met_by({"control": 300, "treated": 300}, share_bp=HALF)
    log = [activation(f"treated-{number}", day=2) for number in range(150)]
    log += [activation(f"control-{number}", day=9.999) for number in range(30)]
    # Not in their time: before, at its end (half-open), and of a family that it is not about.
    log += [activation(f"control-{number}", day=-1) for number in range(200, 220)]
    log += [activation(f"control-{number}", day=10) for number in range(100, 200)]
    log += [activation(f"control-{number}", day=3, product="gaming") for number in range(220, 240)]
    log += [paid(f"treated-{number}", day=4, amount=1_000.0) for number in range(60)]
    log += [paid(f"treated-{number}", day=-4, amount=500.0) for number in range(60)]
    one = reported(log, met)

    by_measure = {reading.measure: reading for reading in one.readings}
    assert list(by_measure) == ["conversion", "arpu", "activation"], "of the treated nobody held what could be kept"
    assert (by_measure["conversion"].treated, by_measure["conversion"].control) == (0.5, 0.1)
    assert by_measure["activation"].control == pytest.approx(50 / 300)
    # A thousand of a fifth in ten days, as it were of thirty.
    assert (by_measure["arpu"].treated, by_measure["arpu"].control) == (600.0, 0.0)
    assert by_measure["arpu"].is_adjusted
    assert one.over == {"control": 300, "treated": 300}
    (verdict,) = one.verdicts
    assert verdict.verdict is LaunchVerdict.LAUNCH, verdict.why


# --- what one household did in its time -------------------------------------------------------------------------------

MICROSECOND = 1 / DAY
TEN_DAYS = WINDOW // DAY


def did(type_: str, *, day: float, id_: str = "", member: str = "", **fields: Any) -> Event:
    time = START + round(day * DAY)
    return Event(id=id_ or f"{type_}-{day}-{fields}", type=type_, household="h", member=member, time=time, learnt=time,
                 fields=fields)  # fmt: skip


def became(log: list[Event], *, families: frozenset[str] = FAMILIES["low"]) -> Outcomes:
    """Return what became of the one household, which is met at START."""
    asked = asked_of(log, [])
    every = frozenset(asked.definitions.families)
    member = Member(household="h", arm="treated", from_us=START)
    return outcomes(Lives(asked), [member], families, window_us=WINDOW, every_family=every)


def on(product: str, *, day: float) -> Event:
    return did("billing.product_activated", day=day, product=product)


def off(product: str, *, day: float) -> Event:
    return did("billing.product_deactivated", day=day, product=product)


@pytest.mark.parametrize(
    ("log", "families", "conversion", "activation"),
    [
        ([on("content", day=0)], "content", 1, 1),
        ([on("content", day=-MICROSECOND)], "content", 0, 0),
        ([on("content", day=TEN_DAYS - MICROSECOND)], "content", 1, 1),
        ([on("content", day=TEN_DAYS)], "content", 0, 0),
        ([on("gaming", day=1)], "content", 0, 1),
        # Of the family it held something, under another product.
        ([on("mobile", day=-3), on("extra_line", day=2)], "mobile", 0, 0),
        ([on("mobile", day=-3), off("mobile", day=-2), on("extra_line", day=2)], "mobile", 1, 1),
        ([did("billing.topup", day=0, amount_minor=1.0)], "mobile", 1, 1),
        ([did("billing.topup", day=TEN_DAYS, amount_minor=1.0)], "mobile", 0, 0),
        ([did("billing.topup", day=1, amount_minor=1.0)], "content", 0, 1),
        (
            [
                did("wallet.activated", day=-3, member="M1"),
                did("wallet.activated", day=-2, member="M2"),
                did("wallet.closed", day=-1, member="M1"),
                did("wallet.activated", day=2, member="M3"),
            ],
            "wallet",
            0,
            0,
        ),
    ],
)
def test_taking_up_is_of_a_family_that_was_not_held_in_its_time(
    log: list[Event], families: str, conversion: int, activation: int
):
    found = became(log, families=frozenset({families})).outcome
    assert (found["conversion"].tolist(), found["activation"].tolist()) == ([conversion], [activation])


def test_what_it_brought_is_net_in_its_time_and_so_is_what_it_brought_before():
    log = [
        did("billing.topup", day=-TEN_DAYS - MICROSECOND, amount_minor=10_000.0),
        did("billing.topup", day=-TEN_DAYS, amount_minor=100.0),
        did("billing.topup", day=-MICROSECOND, amount_minor=20.0),
        did("billing.topup", day=0, id_="sale", amount_minor=3_000.0),
        did("partner.purchase", day=TEN_DAYS - MICROSECOND, amount_minor=2_000.0),
        did("billing.topup", day=TEN_DAYS, amount_minor=20_000.0),
        # It comes later, and is of the sale.
        did("billing.refund", day=TEN_DAYS + 5, sale="sale", amount_minor=1_000.0),
        on("mobile", day=-3),
        on("extra_line", day=-2),
        on("content", day=0),
    ]
    found = became(log)
    assert found.outcome["arpu"].tolist() == [3.0 * (3_000 - 1_000 + 100)]
    assert found.before.tolist() == [[120.0, 2.0]]


@pytest.mark.parametrize(
    ("log", "kept", "of"),
    [
        ([on("mobile", day=-MICROSECOND)], 1, 1),
        ([on("mobile", day=0)], 0, 0),
        ([on("mobile", day=-3), on("content", day=-2), off("mobile", day=4)], 1, 1),
        ([on("mobile", day=-3), off("mobile", day=TEN_DAYS - MICROSECOND)], 0, 1),
        ([on("mobile", day=-3), off("mobile", day=TEN_DAYS)], 1, 1),
        ([on("mobile", day=-3), off("mobile", day=2), on("content", day=5)], 1, 1),
        ([on("mobile", day=-3), off("mobile", day=-2)], 0, 0),
    ],
)
def test_it_is_kept_while_it_holds_anything(log: list[Event], kept: int, of: int):
    found = became(log)
    assert (found.outcome["retention"].tolist(), found.per["retention"].tolist()) == ([kept], [of])


def test_retention_is_of_those_who_held_something():
    met = met_by({"control": 200, "treated": 200}, share_bp=HALF)
    log = [activation(f"{arm}-{number}", day=-3) for arm in ("control", "treated") for number in range(100)]
    ended = [
        Event(id=f"end-{n}", type="billing.product_deactivated", household=f"control-{n}", time=START + 5 * DAY,
              learnt=START + 5 * DAY, fields={"product": "content"})
        for n in range(40)
    ]  # fmt: skip
    one = reported([*log, *ended, *(activation(f"treated-{n}", day=6) for n in range(150, 170))], met)

    (retention,) = [reading for reading in one.readings if reading.measure == "retention"]
    assert (retention.treated, retention.control) == (1.0, 0.6)


def test_a_household_counts_once_its_time_and_what_may_come_late_is_over():
    early, late = met_by({"treated": 3}, share_bp=HALF), met_by({"control": 2}, share_bp=HALF, at=AS_OF - 12 * DAY)
    counted = reported([activation("x", day=1)], [*early, *late], lateness_us=2 * DAY).over
    waiting = reported([activation("x", day=1)], [*early, *late], lateness_us=2 * DAY, as_of=AS_OF - 1).over
    assert (counted, waiting) == ({"treated": 3, "control": 2}, {"treated": 3})


def test_who_met_it_later_or_was_not_known_of_is_not_counted():
    met = [
        *met_by({"treated": 3}, share_bp=HALF),
        *met_by({"control": 2}, share_bp=HALF, at=START + 1),
        *(replace(one, household=f"later {one.household}") for one in met_by({"control": 1}, share_bp=HALF, at=AS_OF)),
    ]
    log, over = [activation("x", day=1)], START + WINDOW
    assert reported(log, met).arms == {"treated": 3, "control": 2}
    assert reported(log, met, as_of=AS_OF + 1).arms == {"treated": 3, "control": 3}
    assert reported(log, met, known_by=START).arms == {"treated": 3}
    assert reported(log, met, known_by=over).over == {"treated": 3}
    assert reported(log, met, known_by=over + 1).over == {"treated": 3, "control": 2}


def test_each_version_is_held_to_its_own_shares():
    first = met_by({"control": 100, "treated": 900}, share_bp={"control": 1_000, "treated": 9_000})
    then = met_by({"control": 500, "treated": 500}, share_bp=HALF)
    met = [replace(one, version="1") for one in first]
    met += [replace(one, version="2", household=f"new {one.household}") for one in then]
    assert reported([activation("x", day=1)], met).ratio.p_value == 1.0


def test_what_keeps_fewer_is_not_launched_however_many_take_it_up():
    met = met_by({"control": 600, "treated": 600}, share_bp=HALF)
    log = [activation(f"treated-{number}", day=2) for number in range(300, 600)]
    for arm, lost in (("control", 10), ("treated", 200)):
        log += [activation(f"{arm}-{number}", day=-3, product="gaming") for number in range(300)]
        log += [
            Event(id=f"end-{arm}-{n}", type="billing.product_deactivated", household=f"{arm}-{n}", time=START + DAY,
                  learnt=START + DAY, fields={"product": "gaming"})
            for n in range(lost)
        ]  # fmt: skip
    (verdict,) = reported(log, met).verdicts
    assert verdict.verdict is LaunchVerdict.DO_NOT
    assert "it harms what is not to be harmed: retention" in verdict.why


def test_a_sample_ratio_that_is_off_is_found_and_not_launched():
    log = [activation(f"treated-{number}", day=2) for number in range(800)]
    fair = reported(log, met_by({"control": 1_000, "treated": 1_000}, share_bp=HALF))
    lost = reported(log, met_by({"control": 800, "treated": 1_000}, share_bp=HALF))

    assert (fair.ratio.is_off, fair.verdicts[0].verdict) == (False, LaunchVerdict.LAUNCH)
    assert (lost.ratio.is_off, lost.verdicts[0].verdict) == (True, LaunchVerdict.DO_NOT)
    assert "sample ratio is off: 800 control (900 expected)" in lost.verdicts[0].why.replace(
        "1,000 treated (900 expected), ", ""
    )


def test_without_control_nothing_is_launched():
    one = reported([activation("treated-1", day=2)], met_by({"treated": 500}, share_bp={"treated": 10_000}))
    assert one.verdicts[0].verdict is LaunchVerdict.DO_NOT
    assert "nobody is in control" in one.verdicts[0].why


def test_before_the_first_household_in_control_it_is_too_early():
    one = reported([activation("treated-1", day=2)], met_by({"treated": 1}, share_bp={"treated": 9_000}))
    assert one.verdicts[0].verdict is LaunchVerdict.NOT_YET


def test_several_arms_each_have_a_verdict():
    share = {"control": 4_000, "a": 3_000, "b": 3_000}
    met = met_by({"control": 800, "a": 600, "b": 600}, share_bp=share)
    log = [activation(f"a-{number}", day=2) for number in range(300)]
    log += [activation(f"{arm}-{number}", day=2) for arm in ("b", "control") for number in range(60)]
    one = reported(log, met, stakes=Stakes(worthwhile=0.2))

    assert {verdict.arm: verdict.verdict for verdict in one.verdicts} == {
        "a": LaunchVerdict.LAUNCH,
        "b": LaunchVerdict.DO_NOT,
    }
    assert {reading.confidence for reading in one.readings} == {0.975}


# --- exposures ------------------------------------------------------------------------------------------------------


def decided(
    household: str, *, at: int, action: str | None, offer: str = "topup", journey: str | None = "low", **more: Any
) -> dict[str, Any]:
    return {
        "decision_id": f"d-{household}-{at}",
        "household": household,
        "decided_at": at,
        "playbook_version": PLAN.version,
        "reasons": more.get("reasons", []),
        "action_id": action,
        "slate": [{"action_id": f"a-{household}-{at}", "offer": offer, "journey": journey}],
        "ghosts": more.get("ghosts", []),
    }


ARMS = {("low", "c"): ("control", START), ("low", "t"): ("treated", START)}


def test_who_was_exposed_and_who_would_have_been():
    ghost = {"offer": "topup", "journey": "low", "time": START + 7, "experiments": ["low"]}
    rows = [
        decided("t", at=START + 9, action=f"a-t-{START + 9}"),
        decided("t", at=START + 5, action=None),
        decided("t", at=START + 20, action=f"a-t-{START + 20}"),
        decided("c", at=START + 7, action=None, ghosts=[ghost]),
        decided("c", at=START + 8, action=None, ghosts=[ghost | {"time": START + 8}]),
    ]
    found = exposures(rows, [PLAN], ARMS)

    assert dict(found.first_us) == {("low", "t"): START + 9}
    assert dict(found.ghost_us) == {("low", "c"): START + 7}
    assert found.leaks == ()


@pytest.mark.parametrize(
    ("rows", "reports", "where"),
    [
        ([decided("c", at=START + 3, action=f"a-c-{START + 3}")], [], f"decision d-c-{START + 3}"),
        (
            [decided("c", at=START + 3, action=None)],
            [Report(household="c", action_id=f"a-c-{START + 3}", time_us=START + 4, event_id="seen")],
            f"report seen of action a-c-{START + 3}",
        ),
    ],
)
def test_a_control_group_that_was_treated_is_found(rows: list[dict[str, Any]], reports: list[Report], where: str):
    found = exposures(rows, [PLAN], ARMS, reports)
    assert [(leak.experiment, leak.household, leak.where) for leak in found.leaks] == [("low", "c", where)]
    one = reported([activation("t", day=1)], met_by({"control": 100, "treated": 100}, share_bp=HALF), found=found)
    assert one.verdicts[0].verdict is LaunchVerdict.DO_NOT
    assert "household c is in control and was exposed" in one.verdicts[0].why


def test_what_control_may_have_is_no_leak():
    rows = [
        # Before it met the experiment, another offer than the journey's, and one that only stood on the slate.
        decided("c", at=START - 1, action=f"a-c-{START - 1}"),
        decided("c", at=START + 2, action=f"a-c-{START + 2}", offer="films", journey=None, reasons=["CONTACT:contact"]),
        decided("c", at=START + 3, action="another"),
        decided("n", at=START + 4, action=f"a-n-{START + 4}"),
    ]
    assert exposures(rows, [PLAN], ARMS).leaks == ()


def test_what_a_contact_brings_up_is_of_the_journeys_that_it_starts():
    plan = corner(("contact: [visit], families: all}", "contact: [visit], families: all, control: 30%}"))
    row = decided(
        "c", at=START + 2, action=f"a-c-{START + 2}", offer="films", journey=None, reasons=["CONTACT:contact"]
    )
    arms = {("contact", "c"): ("control", START)}
    found = exposures([row | {"playbook_version": plan.version}], [plan], arms)
    assert [leak.experiment for leak in found.leaks] == ["contact"]
    assert families_of([plan])["contact"] == frozenset({"content", "care"})


def test_exposed_are_compared_with_ghosts():
    met = met_by({"control": 200, "treated": 200}, share_bp=HALF)
    log = [activation(f"treated-{n}", day=8) for n in range(50)] + [
        activation(f"control-{n}", day=8) for n in range(20)
    ]
    found = Exposures(
        first_us={("low", f"treated-{n}"): START + 5 * DAY for n in range(100)},
        ghost_us={("low", f"control-{n}"): START + 5 * DAY for n in range(100)},
        leaks=(),
    )
    one = reported(log, met, found=found)
    by_unit = {"assigned": one.readings[0], "exposed": one.exposed[0]}
    assert (by_unit["assigned"].treated, by_unit["assigned"].control) == (0.25, 0.1)
    assert (by_unit["exposed"].treated, by_unit["exposed"].control) == (0.5, 0.2)
    assert by_unit["exposed"].households == 200


def test_the_time_still_needed_is_that_of_the_arm_that_is_met_most_slowly():
    met = [
        Met(experiment="low", household=f"{arm}-{day}-{n}", arm=arm, time_us=START + day * DAY, share_bp=share_bp,
            layer="journey")
        for day in range(20)
        for arm, a_day, share_bp in (("control", 20, 4_000), ("fast", 25, 5_000), ("slow", 5, 1_000))
        for n in range(a_day)
    ]  # fmt: skip
    log = [
        activation(one.household, day=(one.time_us - START) / DAY + 3)
        for place, one in enumerate(met)
        if place % 5 == 0
    ]
    one = reported(log, met, stakes=Stakes(worthwhile=0.02))
    fast, slow = (verdict.households_needed for verdict in one.verdicts)
    assert fast is not None
    assert slow is not None
    by_arm = [(needed - there) / a_day for needed, there, a_day in ((fast, 900, 45), (slow, 500, 25))]
    assert by_arm[0] < by_arm[1]
    assert one.days_needed == pytest.approx(by_arm[1])


def test_the_time_still_needed_follows_the_pace():
    draw = np.random.default_rng(3)
    met = [
        Met(experiment="low", household=f"h-{n}", arm=("control", "treated")[n % 2], time_us=START + n % 20 * DAY,
            share_bp=5_000, layer="journey")
        for n in range(1_000)
    ]  # fmt: skip
    log = [activation(f"h-{n}", day=n % 20 + 3) for n in range(1_000) if draw.random() < 0.2]
    one = reported(log, met, stakes=Stakes(worthwhile=0.05))

    (verdict,) = one.verdicts
    assert verdict.households_needed is not None
    assert one.days_needed == pytest.approx((verdict.households_needed - 1_000) / 50)
