"""The judge of rollouts finds what it is there to find."""

from dataclasses import replace

from tests.chaos.rollout_judge import Change, Decided, judge

HOUSEHOLDS = [f"h{number}" for number in range(100)]


def trial_of(share: float):
    return lambda household: "v2" if int(household[1:]) < 100 * share else "v1"


CHANGES = (
    Change(what="champion", began_s=0.0, version_of=trial_of(0.0)),
    Change(what="canary", began_s=10.0, version_of=trial_of(0.05), share=0.05),
    Change(what="canary", began_s=20.0, version_of=trial_of(0.5), share=0.5),
)
MADE = [
    Decided(
        decision_id=f"{stage}-{visit}-{household}",
        household=household,
        time_s=10.0 * stage + visit,
        version=CHANGES[stage - 1 if stage and visit == 1 else stage].version_of(household),
        propensity=0.95,
    )
    for stage in range(3)
    for visit in (1, 4, 7)
    for household in HOUSEHOLDS
]


def judged(*altered: Decided):
    by_id = {one.decision_id: one for one in (*MADE, *altered)}
    return judge(CHANGES, by_id.values(), trial="v2", ended_s=30.0, settles_s=5.0)


def one_of(decision_id: str) -> Decided:
    return next(one for one in MADE if one.decision_id == decision_id)


def test_what_is_as_it_should_be_is_told_and_not_complained_of():
    verdict = judged()

    assert (verdict.unnamed, verdict.by_another, verdict.degraded, verdict.moved) == ([], [], [], [])
    assert [(one.in_force_s, one.decisions) for one in verdict.stages] == [(0.0, 300), (1.0, 300), (1.0, 300)]
    assert [one.by_version for one in verdict.stages[1:]] == [{"v1": 95, "v2": 5}, {"v1": 50, "v2": 50}]
    assert [one.standard_errors for one in verdict.stages] == [0.0, 0.0, 0.0]


def test_a_decision_without_a_version_or_a_probability_is_found():
    nameless = replace(one_of("0-1-h7"), version="")
    certain = replace(one_of("0-1-h8"), propensity=None)

    assert judged(nameless, certain).unnamed == ["0-1-h7", "0-1-h8"]


def test_a_decision_by_what_was_before_is_found_where_it_comes_too_late():
    verdict = judged(replace(one_of("2-7-h30"), version="v1"))

    assert verdict.by_another == ["2-7-h30"]
    assert verdict.moved == ["h30"]


def test_a_household_that_leaves_the_canary_is_found():
    left = [replace(one_of(f"2-{visit}-h3"), version="v1") for visit in (4, 7)]

    assert judged(*left).moved == ["h3"]


def test_a_share_that_is_another_is_told_in_standard_errors():
    more = [replace(one_of(f"1-{visit}-h{number}"), version="v2") for visit in (4, 7) for number in range(5, 13)]

    assert judged(*more).stages[1].standard_errors > 3
