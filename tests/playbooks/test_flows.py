"""The states of a journey as they are written: what is refused, where, and what would be right.

Law: each mistake is told at its place, once, with what to write; a sound journey is told nothing.
"""

from pathlib import Path

import pytest

from household.plan import END, Again, StepKind, Timer, WhenBlocked, plan_from_bytes
from playbooks.compiler import check, examine
from tests.household.journey_world import plan_of, playbook_text

SOUND = """
trigger: {on: loan.asked}
correlate: loan
parallel: 3
again: 30d
entries: {most: 2, window: 365d}
goal: {on: loan.paid, when: event.amount >= 100.0}
exits: {visited: {on: app.visit}}
merged: exit
states:
  invite: {act: invite, within: 1h, hold: 12h, blocked: exit, failed: lost, then: first}
  first:
    wait: {on: loan.paid, look_back: 10m}
    then: which
    timeout: {after: 7d, at: "18:00", then: later}
  later: {act: remind, slot: {from: 7d, to: 14d}, within: 7d, blocked: skip, missed: lost, failed: lost, then: second}
  second:
    wait: [{on: loan.paid, then: which}, {on: hearth.decline, then: lost}]
    timeout: {weekday: friday, then: rest}
  rest: {pause: {after: 3d}, then: two}
  two: {shares: {which: 50%, lost: 50%}}
  which:
    branch: [{when: household.topups >= 2, then: end}]
    else: lost
  lost: end
"""

REST = "rest: {pause: {after: 3d}, then: two}"
MISTAKES = [
    (REST, "rest: {repeat: first, within: 1h, then: two}", "repeats 'first', which says nothing; name a state with"),
    (REST, "rest: {repeat: invite, within: 1h, then: two}", "and journey 'story' has no other; write at least two"),
    (REST, "rest: {repeat: invit, within: 1h, then: two}", "has no state 'invit'; did you mean 'invite'?"),
    ("then: which\n    timeout", "then: wich\n    timeout", "has no state 'wich'; did you mean 'which'?"),
    ("  lost: end\n", "  lost: end\n  alone: {pause: {after: 1d}, then: end}\n", "no way leads to state 'alone'"),
    ("    timeout: {after: 7d, at: \"18:00\", then: later}\n", "", "waits for an event, and for ever if none comes"),
    ("    else: lost\n", "", "leads nowhere where none of its conditions is true"),
    ("which: 50%", "which: 40%", "are 90 % together"),
    ("which: 50%, lost: 50%", "which: 100%, lost: 0%", "is nothing; let them be 100 % together"),
    ("parallel: 3\n", "", "may have any number of instances at a time"),
    ("correlate: loan\n", "", "has 'parallel' and nothing that tells its instances from each other"),
    ("correlate: loan", "correlate: lone", "field 'lone' is not defined; did you mean 'loan'?"),
    ("wait: {on: loan.paid, look_back", "wait: {on: app.visit, look_back", "event 'app.visit' of state 'first'"),
    ("trigger: {on: loan.asked}", "trigger: {on: wallet.topup}", "event 'wallet.topup' of its trigger"),
    ("trigger: {on: loan.asked}", "trigger: {on: loan.asked, cooldown: 1d}", "write 'again: 7d' in the journey"),
    ("from: 7d, to: 14d", "from: 14d, to: 7d", "ends before it begins"),
    (", missed: lost", "", "needs 'missed'"),
    ("slot: {from: 7d, to: 14d}, ", "", "has 'missed' and no slot"),
    ("blocked: skip, ", "", "does not say what becomes of an instance whose act the contact policy keeps back"),
    ("blocked: skip", "blocked: wait", "the choices are exit, skip"),
    ("within: 7d, ", "", "needs 'within'"),
    ("act: remind", "act: remnd", "offer 'remnd' is not defined; did you mean 'remind'?"),
    ("pause: {after: 3d}", "pause: {}", "says no time"),
    ("weekday: friday", "weekday: freitag", "'weekday' of the timeout of state 'second'"),
    ("again: 30d", "again: sometimes", "write once, after_exit, or how long after the last one has ended: 90d"),
    ("goal: {on: loan.paid, when: event.amount >= 100.0}\n", "", "needs 'goal'"),
    ("goal: {on: loan.paid, when: event.amount >= 100.0}", "goal: {}", "needs 'when'"),
    ("when: event.amount >= 100.0", "when: event.amount >= 100", "write 100.0"),
    ("{on: app.visit}", "{on: app.visits}", "did you mean 'app.visit'?"),
    ("rest: {pause: {after: 3d}, then", "rest: {pause: {after: 3d}, act: invite, then", "has 'pause' and 'act'"),
    ("rest: {pause: {after: 3d}, then", "rest: {then", "has none of wait, pause, act, repeat, branch, shares"),
    ("merged: exit", "merged: both", "did you mean 'keep_both'?"),
    ("window: 365d", "windw: 365d", "needs 'window'"),
    ("failed: lost, then: first}", "failed: invite, then: invite}", "of journey 'story' no way leads to an end"),
    ("2, then: end}]", "2, then: two}]", "goes round without a wait: 'two' → 'which' → 'two'"),
    ("  invite: {act", "  end: {act", "is called 'end'"),
]  # fmt: skip


def problems_of(folder: Path, journey: str, **how: str) -> list[str]:
    path = folder / "playbook.yaml"
    path.write_text(playbook_text(journey, **how))
    return [str(one) for one in check(path)]


def test_a_sound_journey_is_told_nothing(tmp_path: Path):
    assert problems_of(tmp_path, SOUND, control="10%") == []
    assert [one for one in examine(tmp_path / "playbook.yaml").warnings if "journey 'story'" in str(one)] == []


@pytest.mark.parametrize(("written", "wrongly", "told"), MISTAKES, ids=[told[:40] for _, _, told in MISTAKES])
def test_each_mistake_is_told_at_its_place_with_what_would_be_right(
    tmp_path: Path, written: str, wrongly: str, told: str
):
    assert SOUND.count(written) == 1
    problems = problems_of(tmp_path, SOUND.replace(written, wrongly), control="10%")

    assert any(told in one for one in problems), problems
    lines = (tmp_path / "playbook.yaml").read_text().splitlines()
    for one in problems:
        file, line, column, rest = one.split(":", 3)
        assert file == "playbook.yaml"
        assert int(column) <= len(lines[int(line) - 1]) + 1
        assert "; " in rest, "it says what would be right"


@pytest.mark.parametrize("key", ["owner", "goal", "control", "contact_class", "purpose", "budget"])
def test_a_journey_that_nobody_answers_for_or_can_measure_is_refused(tmp_path: Path, key: str):
    lines = [line for line in SOUND.splitlines() if not line.startswith(f"{key}:")]
    problems = problems_of(tmp_path, "\n".join(lines), control="10%", without=key)
    assert [one.split(": ", 1)[1] for one in problems] == [f"journey 'story' needs '{key}'; add '{key}: …'"]


def test_keys_of_states_without_states_are_refused(tmp_path: Path):
    journey = "trigger: {on: app.visit, when: household.topups >= 2}\noffers: [invite]\nagain: once\n"
    assert any("has 'again' and no states" in one for one in problems_of(tmp_path, journey))


def test_what_is_written_is_what_is_compiled(tmp_path: Path):
    plan = plan_of(tmp_path, SOUND, control="10%")
    flow = plan.journeys[0].flow
    assert flow is not None
    assert plan_from_bytes(plan.canonical_bytes) == plan
    assert (flow.again, flow.after_us, flow.parallel, flow.entries_most) == (Again.AFTER, 30 * 86_400_000_000, 3, 2)
    by_name = {step.name: step for step in flow.steps}
    assert [step.name for step in flow.steps] == [
        "invite", "first", "later", "later.act", "second", "rest", "two", "which", "lost",
    ]  # fmt: skip
    assert by_name["first"].timer == Timer(after_us=7 * 86_400_000_000, minute=18 * 60)
    assert by_name["second"].timer == Timer(weekday=4)
    assert flow.steps[by_name["later"].target].name == "later.act"
    assert flow.steps[by_name["later"].missed].name == "lost"
    act = by_name["invite"].act
    assert act is not None
    assert (act.blocked, flow.steps[act.failed].name) == (WhenBlocked.EXIT, "lost")
    assert by_name["lost"].kind is StepKind.END
    assert by_name["which"].ways[0].target == END
    offers = {plan.offers[offer].name for offer in plan.journeys[0].offers}
    assert offers == {"invite", "remind"}
