"""Warnings for sense about journeys, and what is sensitive or withdrawn.

Law: each is told once, at its place, with what to do; what is sound beside it is told nothing.
"""

from pathlib import Path

import pytest

from playbooks.compiler import examine
from tests.household.journey_world import playbook_text

SOUND = """
trigger: {on: wallet.topup}
goal: {on: wallet.payment}
outbound: [push, sms]
states:
  wait_a_week: {pause: {after: 7d, at: "18:00"}, then: ask}
  ask: {act: invite, slot: {from: 7d, to: 14d}, within: 1h, blocked: skip, missed: end, then: end}
"""
OTHER = """
  other:
    title: Another
    owner: wallet team
    contact_class: offer
    purpose: marketing
    budget: 1
    control: 10%
    outbound: [push, sms]
    trigger: {on: app.visit}
    goal: {on: wallet.payment}
    states: {tell: {act: remind, within: 1h, blocked: skip, then: end}}
"""
SENSITIVE = "when: household.payments >= 2"


def told(folder: Path, *changes: tuple[str, str], more: str = "", behind: str = "") -> list[str]:
    text = playbook_text(SOUND, control="10%", more=more) + behind
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "playbook.yaml"
    path.write_text(text)
    examined = examine(path)
    lines = text.splitlines()
    return [
        f"{lines[one.place.line - 1].strip()}: {one.wrong}; {one.right}"
        for one in (*examined.problems, *examined.warnings)
        if "nothing brings up" not in one.wrong and "never said" not in one.wrong
    ]


QUIET = ('{after: 7d, at: "18:00"}', '{after: 7d, at: "22:00"}')
BOTH = ("sms: {outbound: true,", "sms: {outbound: true, quiet_hours: true,")
RULE = '  quiet_hours: {from: "21:00"'
ORDER = "  rules: {apart: {of: {journeys: story}, not_after: {journeys: other}, window: 7d, scope: member}}\n"
EXCLUDES = ("  invite: {kind: offer,", "  invite: {excludes: remind, kind: offer,")
SMS_TOO = ("{push: Still there}", "{push: Still there, sms: Still there}")


def test_what_is_sound_is_told_nothing(tmp_path: Path):
    assert told(tmp_path) == []
    assert told(tmp_path, SMS_TOO, behind=OTHER) == []


@pytest.mark.parametrize(
    ("changes", "line", "text"),
    [
        ([("from: 7d, to: 14d", "from: 1d, to: 2d")], "ask:", "is always over: it ends 2d after the entry"),
        ([QUIET, BOTH], "ask:", "begins at 22:00 and ends within the quiet hours, 21:00 to 09:00"),
        (
            [("outbound: [push, sms]", "outbound: [push]")],
            "outbound:",
            "speaks on 'push' alone, and 'ask.act' says not",
        ),
        ([("{on: wallet.topup}", "{on: hearth.accept}")], "trigger:", "which its own offers bring about"),
    ],
)
def test_what_is_hardly_meant_is_told_at_its_place(
    tmp_path: Path, changes: list[tuple[str, str]], line: str, text: str
):
    [found] = told(tmp_path, *changes)
    assert found.startswith(line)
    assert text in found


@pytest.mark.parametrize(
    "changes",
    [
        [QUIET],
        [QUIET, BOTH, ("from: 7d", "from: 8d")],
        [QUIET, BOTH, ("within: 1h, blocked", "within: 1h, hold: 12h, blocked")],
        [QUIET, BOTH, ("contact_class: offer", "contact_class: legal")],
        [("{on: wallet.topup}", "{on: hearth.accept}"), ("goal:", "entries: {most: 1, window: 30d}\n    goal:")],
        [("outbound: [push, sms]", "outbound: [push]"), ("missed: end,", "missed: end, failed: end_it,"),
         ("  ask:", "  end_it: end\n      ask:")],
    ],
)  # fmt: skip
def test_what_is_meant_is_told_nothing(tmp_path: Path, changes: list[tuple[str, str]]):
    assert told(tmp_path, *changes) == []


def test_journeys_that_exclude_each_other_need_an_order(tmp_path: Path):
    [found] = told(tmp_path, EXCLUDES, SMS_TOO, behind=OTHER)
    assert found.startswith("other:: journeys 'story' and 'other' may each offer what excludes the other's")
    assert "'of: {journeys: other}, not_after: {journeys: story}'" in found
    assert told(tmp_path, EXCLUDES, SMS_TOO, (RULE, ORDER + RULE), behind=OTHER) == []


def test_nobody_is_chosen_by_what_is_sensitive(tmp_path: Path):
    asks = ("trigger: {on: wallet.topup}", f"trigger: {{on: wallet.topup, {SENSITIVE}}}")
    assert [one for one in told(tmp_path, asks) if "sensitive" in one] == []
    found = told(
        tmp_path, asks, ("{kind: count,", "{scored: false, kind: count,"), more="sensitive: household.payments\n"
    )
    assert [one for one in found if "'when' of journey 'story' chooses people by 'household.payments'" in one]
    seen = told(tmp_path, more="sensitive: [household.payments, kidn]\n")
    assert seen[0].startswith("household.payments:")
    assert "models see feature 'household.payments', which is sensitive" in seen[0]
    assert "'kidn' is neither a field nor a feature; did you mean 'kind'?" in seen[1]


def test_what_the_law_protects_most_is_known_by_its_name(tmp_path: Path):
    religion = ("kind: [coffee, airport]", "religion: [one, other]"), ("kind: optional", "religion: optional")
    asks = ("trigger: {on: wallet.topup}", "trigger: {on: wallet.payment, when: event.religion == 'one'}")
    [found] = told(tmp_path, *religion, asks)
    assert "chooses people by 'religion', which is sensitive; leave it out" in found


def test_what_is_withdrawn_is_told_where_it_is_referred_to(tmp_path: Path):
    [found] = told(tmp_path, more="withdrawn: {offer invite: use remind}\n")
    assert found.startswith("story:")
    assert "journey 'story' refers to offer 'invite', which is withdrawn; instead: use remind" in found
    [found] = told(tmp_path, more="withdrawn: {feature household.payment: none}\n")
    assert "feature 'household.payment' is not defined; did you mean 'household.payments'?" in found
    [found] = told(tmp_path, more="withdrawn: {colour red: none}\n")
    assert "is no part of a playbook; write its kind and its name" in found
    [found] = told(tmp_path, more="withdrawn: {offer shown: []}\n")
    assert "nothing says what to use instead" in found
