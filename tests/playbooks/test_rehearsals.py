"""Laws of rehearsals: what comes as expected passes, what comes otherwise is told with its place, time and what came;
a file that cannot be meant is refused at the right place; those of the playbook we ship all pass.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from cluster.errors import UsageWrong
from household.plan import Plan
from playbooks.compiler import TELCO, compile_playbook
from playbooks.rehearsing.playing import play
from playbooks.rehearsing.reading import GROUPS_FILE, read_rehearsals
from playbooks.rehearsing.script import Variant
from playbooks.source import test_files as files_of_tests
from tests.household.journey_world import playbook_text
from written.problems import Problems

INVITE = """
trigger: {on: wallet.topup, when: household.topups >= 2}
again: 30d
goal: {when: household.payments >= 3}
exits: {visited: {on: app.visit}}
states:
  invite: {act: invite, within: 1h, blocked: exit, failed: lost, then: first}
  first: {wait: [{on: wallet.payment, then: paid}, {on: hearth.decline, then: lost}], timeout: {after: 7d, then: end}}
  paid: {pause: {after: 2d}, then: end}
  lost: end
"""

HEAD = """
journey: story
groups:
  invited:
    - {signal: app.consent}
    - {signal: wallet.topup, at: 1h, times: 2, every: 10m}
"""

GOLDEN = """
  golden:
    also: [duplicates, restarts]
    steps:
      - invited
      - expect: {entered: true, said: invite, on: push, to: anna, state: first, until: +7d}
      - expect: {known: {household.topups: 2}}
      - {at: due - 1us}
      - expect: nothing
      - {signal: wallet.payment, with: {kind: coffee}}
      - expect: {state: paid, until: +2d, said: nothing}
"""


@pytest.fixture(scope="module")
def playbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    (folder / "playbook.yaml").write_text(playbook_text(INVITE, control="20%"))
    (folder / "tests").mkdir()
    return folder


@pytest.fixture(scope="module")
def plan(playbook: Path) -> Plan:
    return compile_playbook(playbook)


def written(playbook: Path, text: str, name: str = "one.yaml") -> Path:
    path = playbook / "tests" / name
    path.write_text(text)
    return path


def came(playbook: Path, plan: Plan, steps: str, *, more: str = "") -> list[str]:
    """Play one test; return what is wrong with it, empty if nothing is."""
    problems = Problems()
    listed = "".join(f"      - {line}\n" for line in steps.strip().splitlines())
    path = written(playbook, f"{HEAD}tests:\n  one:\n{more}    steps:\n{listed}")
    tests = read_rehearsals(path, plan, problems, name="one.yaml")
    assert not problems, problems.in_reading_order()
    return [str(done.problem) for done in (play(one, plan) for one in tests) if done.problem is not None]


def test_what_comes_as_expected_passes(playbook: Path, plan: Plan):
    problems = Problems()
    tests = read_rehearsals(written(playbook, f"{HEAD}tests:{GOLDEN}"), plan, problems)
    assert not problems, problems.in_reading_order()
    assert [play(one, plan).problem for one in tests] == [None]


@pytest.mark.parametrize(
    ("expect", "wanted"),
    [
        ("nothing", "expected nothing"),
        ("{entered: false}", "expected that nobody enters"),
        ("{said: nothing}", "expected nothing said"),
        ("{said: remind}", "expected remind said"),
        ("{said: invite, on: sms}", "expected invite said on sms"),
        ("{said: invite, to: bert}", "expected invite said to bert"),
        ("{said: invite, price: 5}", "expected invite for 5.00 EUR"),
        ("{state: paid}", "expected state 'paid'"),
        ("{until: +8d}", "expected that it waits until"),
        ("{exited: goal}", "expected that it exits: GOAL"),
        ("{withheld: invite}", "expected invite withheld"),
        ("{taken_back: invite}", "expected invite taken back"),
        ("{because: QUIET_HOURS}", "expected the reason QUIET_HOURS"),
        ("{answered: invite}", "expected the answer invite"),
        ("{known: {household.topups: 3}}", "expected household.topups to be 3"),
    ],
)
def test_what_comes_otherwise_is_told_with_place_and_time(playbook: Path, plan: Plan, expect: str, wanted: str):
    (problem,) = came(playbook, plan, f"invited\nexpect: {expect}", more="    members: [anna, bert]\n")
    assert problem.startswith("one.yaml:12:9: one: Mon 2025-06-16 11:10 (day 0.04): ")
    assert wanted in problem
    if "what came" in problem:
        assert "said invite on push" in problem


def test_what_came_otherwise_in_another_way_of_playing_names_it(playbook: Path, plan: Plan):
    steps = "invited\nexpect: {entered: true}\n{reply: decline}\nexpect: {state: lost, exited: completed}"
    assert came(playbook, plan, steps, more="    also: [duplicates, restarts]\n") == []
    # Without an id the signal is another one each time, which no variant must hide.
    again = (
        "{signal: wallet.topup, id: t}\n{again: t}\nexpect: nothing\n{signal: wallet.topup}\nexpect: {entered: true}"
    )
    assert came(playbook, plan, again, more="    also: [duplicates]\n") == []


def test_the_control_arm_is_a_household_that_is_drawn_into_it(playbook: Path, plan: Plan):
    steps = "invited\nexpect: {entered: true, withheld: invite, said: nothing, state: first}"
    assert came(playbook, plan, steps, more="    arm: control\n") == []
    assert came(playbook, plan, steps) != []


def test_gateways_that_fail_or_are_absent(playbook: Path, plan: Plan):
    failing = "invited\nexpect: {said: invite, exited: completed, state: lost}"
    assert came(playbook, plan, failing, more="    gateways: {push: fails}\n") == []
    absent = "invited\nexpect: {said: nothing, state: invite}\n{signal: app.visit, at: +1m}\n"
    absent += "expect: {exited: exit_rule, taken_back: invite}"
    assert came(playbook, plan, absent, more="    gateways: {push: absent}\n") == []


def test_who_asks_is_answered(playbook: Path, plan: Plan):
    (problem,) = came(playbook, plan, "{ask: app}\nexpect: {answered: shown}")
    assert "what came: Mon 2025-06-16 10:00 (day 0) answered nothing on app" in problem
    assert came(playbook, plan, "{ask: app}\nexpect: {answered: nothing, because: UNKNOWN_HOUSEHOLD}") == []


@pytest.mark.parametrize(
    ("line", "place", "wrong"),
    [
        ("- {signal: wallet.topp}", "10:18", "event type 'wallet.topp' is no signal's; did you mean 'wallet.topup'?"),
        ("- {signal: hearth.accept}", "10:18", "write 'reply: accept'"),
        ("- {signal: loan.asked}", "10:9", "'loan.asked' needs the field 'loan'"),
        ("- {signal: wallet.payment, with: {kind: tea}}", "10:47", "'kind' is 'tea'"),
        ("- {signal: wallet.payment, with: {amonut: 5}}", "10:41", "has no key 'amonut'"),
        ("- {signal: wallet.topup, at: soon}", "10:36", "'at' of a step of test 'one' is 'soon'"),
        ("- {signal: wallet.topup, by: bert}", "10:36", "'bert' is no member"),
        ("- {ask: push}", "10:15", "nobody asks on 'push'"),
        ("- {reply: yes}", "10:17", "'yes' is no reply"),
        ("- {again: t}", "10:17", "no signal before has the id 't'"),
        ("- invted", "10:9", "a step of test 'one' is 'invted'"),
        ("- {group: invted}", "10:17", "group 'invted' is not defined; did you mean 'invited'?"),
        ("- {signal: app.visit, ask: app}", "10:9", "has 'signal' and 'ask'"),
        ("- expect: {state: frist}", "10:25", "has no state 'frist'; did you mean 'first'?"),
        ("- expect: {said: invte}", "10:24", "offer 'invte' is not defined"),
        ("- expect: {sayd: invite}", "10:18", "'expect' has no key 'sayd'"),
        ("- expect: {on: push}", "10:18", "nothing is said to be"),
        ("- expect: {exited: gaol}", "10:26", "no instance ends with 'gaol'; did you mean 'goal'?"),
        ("- expect: {said: invite, same_as: it}", "10:41", "nothing before was called 'it'"),
        ("- expect: {known: {household.topup: 2}}", "10:26", "feature 'household.topup' is not defined"),
        ("- {at: 1d}", "8:3", "expects nothing"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_place(playbook: Path, plan: Plan, line: str, place: str, wrong: str):
    problems = Problems()
    rest = "" if "expect" in line or line == "- {at: 1d}" else "      - expect: nothing\n"
    text = f"{HEAD}tests:\n  one:\n    steps:\n      {line}\n{rest}"
    read_rehearsals(written(playbook, text), plan, problems, name="one.yaml")
    told = [str(one) for one in problems.in_reading_order()]
    assert any(one.startswith(f"one.yaml:{place}: ") and wrong in one for one in told), told


def test_the_folder_of_tests_is_no_part_of_the_playbook(playbook: Path, plan: Plan):
    written(playbook, f"{HEAD}tests:{GOLDEN}")
    assert compile_playbook(playbook).version == plan.version


def test_the_command_tells_what_failed_and_where(playbook: Path):
    path = written(
        playbook, f"{HEAD}tests:{GOLDEN}{GOLDEN.replace('golden', 'other').replace('+2d', '+3d')}", "two.yaml"
    )
    done = CliRunner().invoke(app, ["playbook", "test", str(path)])
    assert done.exit_code == 1, done.output
    assert f"{path}: 1 of 2 as expected" in done.output
    assert "other: Mon 2025-06-23 11:09:59.999999 (day 7.04): expected that it waits until" in done.output
    found = json.loads(CliRunner().invoke(app, ["playbook", "test", str(path), "--json"]).output)
    assert [(one["name"], one["ok"]) for one in found["tests"]] == [("golden", True), ("other", False)]
    assert found["tests"][1]["line"] == 28
    wrong = written(playbook, "tests:\n  one: {steps: [{signl: app.visit}]}\n", "wrong.yaml")
    done = CliRunner().invoke(app, ["playbook", "test", str(wrong)])
    assert done.exit_code == 2
    assert f"{wrong}:2:17: " in done.output
    done = CliRunner().invoke(app, ["playbook", "test", str(path), "--only", "nobody"])
    assert isinstance(done.exception, UsageWrong)


@pytest.fixture(scope="module")
def telco() -> Plan:
    return compile_playbook(TELCO)


@pytest.mark.parametrize("file", [one.name for one in files_of_tests(TELCO) if one.name != GROUPS_FILE])
def test_the_playbook_we_ship_does_what_its_tests_say(telco: Plan, file: str):
    problems = Problems()
    tests = read_rehearsals(TELCO / "tests" / file, telco, problems, name=file)
    assert not problems, problems.in_reading_order()
    assert tests
    assert [str(one.problem) for one in (play(test, telco) for test in tests) if one.problem is not None] == []


COMMON = ("golden_path", "boundary", "disorder", "control", "goal_before_the_next_step", "no_consent")
JOURNEYS = sorted(one.name for one in (TELCO / "tests").glob("j?_*.yaml"))


@pytest.mark.parametrize("file", JOURNEYS)
def test_each_journey_is_tested_in_all_the_ways_in_which_journeys_go_wrong(telco: Plan, file: str):
    problems = Problems()
    tests = read_rehearsals(TELCO / "tests" / file, telco, problems, name=file)
    assert not problems, problems.in_reading_order()
    for name in COMMON:
        assert any(one.name.startswith(name) for one in tests), name
    # Duplicates, a restart and another version at every step of the way, for who is treated and who is not.
    for name in ("golden_path", "control"):
        assert {one.also for one in tests if one.name == name} == {tuple(Variant)}
    assert all(one.arm == "control" for one in tests if one.name == "control")
    assert sum(one.name.startswith("boundary") for one in tests) >= 4


def test_the_six_journeys_are_tested():
    assert [name[:2] for name in JOURNEYS] == ["j1", "j2", "j3", "j4", "j5", "j6"]
