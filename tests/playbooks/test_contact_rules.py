"""Contact rules as they are written: what compiles to what, what is refused and where, and what makes one wonder."""

from pathlib import Path

import pytest

from household.plan import Effect, Limit, Span
from playbooks.compiler import TELCO, check, compile_playbook, examine

PLAYBOOK = """\
playbook: {name: p, currency: EUR}
families: [a, b]
events: {app.check: {source: app, action_window: 1h}}
features: {member.checks: {kind: count, events: app.check}}
channels:
  push: {outbound: true, consent: member.checks >= 0}
  sms: {outbound: true, consent: member.checks >= 0, cost: 0.05}
contact_policy:
  RULES
offers:
  one: {family: a, prior: 0.3, margin: 5, tags: spring, treatments: {push: hi, sms: hi}}
  two: {family: b, prior: 0.2, margin: 5, contact_class: survey, treatments: {push: hi, sms: hi}}
journeys:
  j: {trigger: {on: app.check, when: member.checks >= 1}, offers: [one, two], outbound: [push, sms], control: 10%}
"""


def written(folder: Path, rules: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(PLAYBOOK.replace("RULES", rules), encoding="utf-8")
    return path


def test_packs_are_in_force_when_they_are_on_and_remembered_all_the_same(tmp_path: Path):
    packs = (
        "packs: {"
        "one: {on: true, rules: {first: {scope: member, most: 2, window: week}}}, "
        "two: {rules: {second: {scope: line, gap: 40d, effect: block}}}}"
    )
    policy = compile_playbook(written(tmp_path, packs)).policy
    (rule,) = policy.rules
    assert (rule.name, rule.pack, rule.limit, rule.span) == ("first", "one", Limit.COUNT, Span.WEEK)
    assert rule.effect is Effect.HOLD
    assert policy.remembered_us == 40 * 86_400_000_000


@pytest.mark.parametrize(
    ("rule", "wrong", "right"),
    [
        ("{scope: member, window: 1d}", "has no limit", "most"),
        ("{scope: member, most: 1, gap: 1h, window: 1d}", "several limits", "write one of"),
        ("{most: 1, window: 1d}", "needs 'scope'", "scope"),
        ("{scope: person, most: 1, window: 1d}", "'person'", "member"),
        ("{scope: member, most: 1, window: fortnight}", "'fortnight'", "day"),
        ("{scope: member, gap: 1h, window: 1d}", "window beside its gap", "remove"),
        ("{scope: member, most: 1, window: 1d, of: {tags: winter}}", "tag 'winter' is not defined", "spring"),
        ("{scope: member, most: 1, window: 1d, of: {classes: ofer}}", "class 'ofer' is not defined", "offer"),
        ("{capacity: 5, window: week, of: {channels: sms}}", "'week'", "minute"),
        ("{capacity: 5, window: minute}", "capacity of no channel", "channels"),
        ("{scope: member, most: 1, window: 1d, of: {classes: legal}}", "no rule may keep back", "other classes"),
        ("{scope: member, most: 1, window: 1d, silence: 1d}", "silent after nothing", "refusals"),
        ("{scope: member, cost: much, window: 1d}", "'much'", "amount"),
        ("{scope: member, most: 1, window: 1d, colour: red}", "no key 'colour'", ""),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(tmp_path: Path, rule: str, wrong: str, right: str):
    problems = check(written(tmp_path, f"rules: {{r: {rule}}}"))
    assert len(problems) == 1, problems
    assert problems[0].place.line == 9
    assert wrong in problems[0].wrong
    assert right in problems[0].right


def test_two_rules_of_one_name_are_told(tmp_path: Path):
    rule = "{scope: member, most: 1, window: 1d}"
    (problem,) = check(written(tmp_path, f"{{rules: {{r: {rule}}}, packs: {{p: {{on: true, rules: {{r: {rule}}}}}}}}}"))
    assert "already defined" in problem.wrong


@pytest.mark.parametrize(
    ("rule", "warned"),
    [
        ("{scope: member, most: 0, window: 1d}", "nothing that it means ever goes out"),
        ("{scope: member, most: 0, window: 1d, when: member.checks < 3}", ""),
        ("{scope: member, cost: 0.04, window: 1d, of: {channels: sms}}", "never lets anything pass"),
        ("{scope: member, most: 3, window: 1d, of: {classes: reward}}", "limits nothing"),
        ("{scope: member, most: 3, window: 1d, of: {classes: survey}}", ""),
    ],
)
def test_what_is_hardly_meant_is_warned_of(tmp_path: Path, rule: str, warned: str):
    told = [one.wrong for one in examine(written(tmp_path, f"rules: {{r: {rule}}}")).warnings if "rule" in one.wrong]
    assert len(told) == bool(warned)
    assert all(warned in one for one in told)


def test_the_shipped_playbook_uses_rules_of_many_kinds_and_has_three_packs():
    rules = compile_playbook(TELCO).policy.rules
    assert len(rules) >= 8
    assert len({rule.limit for rule in rules}) == len(Limit)
    assert not [one for one in examine(TELCO).warnings if "contact rule" in one.wrong]
