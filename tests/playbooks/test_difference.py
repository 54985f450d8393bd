"""What one version of a playbook changes of another, and what hangs on what.

Laws: what is told is told in names, whatever the plans' numbers; what only moved has not changed; of a journey's states
those that are gone are named; what hangs on a part is found directly and by way of others.
"""

from pathlib import Path

import pytest

from household.plan import Plan
from playbooks.difference import affected, difference
from tests.actors.harness import corner
from tests.household.journey_world import plan_of
from tests.household.test_journeys import INVITE


def test_a_price_is_one_change_and_its_journey_is_touched():
    found = difference(corner(), corner(("price: 9.99", "price: 8.99")))
    assert [(one.kind, one.name, one.what, one.fields) for one in found.parts] == [
        ("offer", "topup", "changed", (("price_minor", 999, 899),))
    ]
    assert [(one.kind, one.name) for one in found.touched] == [("journey", "low")]


def test_what_only_has_another_number_has_not_changed():
    check, opt_out = "  check: {source: app}\n", "  opt_out: {source: app}\n"
    assert difference(corner(), corner((check, ""), (opt_out, opt_out + check))).parts == ()


def test_what_is_added_and_removed_is_told(tmp_path: Path):
    found = difference(corner(), corner(("  phone: {", "  telephone: {")))
    told = {(one.kind, one.name, one.what) for one in found.parts}
    assert {("offer", "phone", "removed"), ("offer", "telephone", "added")} <= told


def test_states_that_are_gone_are_named(tmp_path: Path):
    before = plan_of(tmp_path, INVITE)
    after = plan_of(tmp_path, INVITE.replace("  remind:", "  nudge:").replace("then: remind", "then: nudge"))
    assert difference(before, after).states_gone == {"story": ("remind",)}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return corner()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("films", {("journey", "contact")}),
        ("offer films", {("journey", "contact")}),
        ("member.checks_7d", {("journey", "low")}),
        ("push", {("journey", "low"), ("cap", "member_day"), ("offer", "topup")}),
        ("marketing", {("feature", "member.marketing"), ("channel", "push"), ("channel", "sms"), ("event", "consent")}),
    ],
)
def test_what_hangs_on_a_part(plan: Plan, name: str, expected: set[tuple[str, str]]):
    touched, unknown = affected(plan, [name])
    assert not unknown
    assert expected <= {(one.kind, one.name) for one in touched}


def test_a_name_that_is_none_is_told(plan: Plan):
    assert affected(plan, ["flims"]) == ((), ("flims",))
