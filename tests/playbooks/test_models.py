"""Laws of the section `models`: what it names is in the plan; each mistake is told where it stands, with what is right;
without it a plan is what it was.
"""

from pathlib import Path

import pytest

from household.plan import Plan, TermModels, ValueTerm, plan_from_bytes
from playbooks.compiler import check, compile_playbook
from tests.actors.harness import CORNER


def playbook(tmp_path: Path, section: str) -> Path:
    file = tmp_path / "corner.yaml"
    file.write_text(CORNER + section, encoding="utf-8")
    return file


def compiled(tmp_path: Path, section: str) -> Plan:
    return compile_playbook(playbook(tmp_path, section))


def test_what_gives_each_term_is_in_the_plan_and_its_bytes(tmp_path: Path):
    section = "models: {acceptance: spring, uplift: Up-2.1, churn: {model: leavers, prior: 2%}, value: worth}\n"
    plan = compiled(tmp_path, section)
    assert plan.models == TermModels(
        acceptance="spring", uplift="Up-2.1", churn="leavers", value="worth", churn_prior=0.02
    )
    assert plan.models.named == (
        (ValueTerm.ACCEPTANCE, "spring"),
        (ValueTerm.UPLIFT, "Up-2.1"),
        (ValueTerm.CHURN, "leavers"),
        (ValueTerm.VALUE, "worth"),
    )
    assert plan_from_bytes(plan.canonical_bytes) == plan
    assert compiled(tmp_path, "models: {churn: leavers}\n").models == TermModels(churn="leavers")
    assert compiled(tmp_path, "models: {churn: {prior: 0.5}}\n").models == TermModels(churn_prior=0.5)


def test_a_playbook_without_the_section_has_the_plan_it_had(tmp_path: Path):
    plain = compiled(tmp_path, "")
    assert plain.models == TermModels()
    assert b"models" not in plain.canonical_bytes
    assert b"retains" not in plain.canonical_bytes
    # To write what holds anyway changes nothing.
    assert compiled(tmp_path, "models: {acceptance: acceptance}\n").version == plain.version


@pytest.mark.parametrize(
    ("section", "wrong", "right"),
    [
        ("models: {uplft: up}", "has no key 'uplft'", "did you mean 'uplift'?"),
        ("models: {uplift: up, value: up}", "model 'up' is to give both 'uplift' and 'value'", "train one for 'value'"),
        ("models: {churn: acceptance}", "'acceptance' (which it gives unless another is named) and 'churn'", "train"),
        ("models: {acceptance: a, churn: {model: a}}", "model 'a' is to give both 'acceptance' and 'churn'", "train"),
        ("models: {uplift: ../up}", "'../up' is no name of a model", "write the name of a model in the registry"),
        ("models: {uplift: }", "'uplift' of the section 'models' holds nothing", "give it a value"),
        ("models: {uplift: [a, b]}", "'uplift' of the section 'models' is a list", "write a single value"),
        ("models: {value: {model: w}}", "'value' of the section 'models' is a mapping", "write a single value"),
        (
            "models: {churn: {model: c, prior: 7}}",
            "'prior' of 'churn' of the section 'models' is '7'",
            "between 0 and 1",
        ),
        ("models: {churn: {modl: c}}", "'churn' of the section 'models' has no key 'modl'", "did you mean 'model'?"),
        ("models: [up]", "the section 'models' is a list", "mapping"),
    ],
)
def test_each_mistake_is_told_where_it_stands_with_what_is_right(tmp_path: Path, section: str, wrong: str, right: str):
    found = check(playbook(tmp_path, section + "\n"))
    told = [one for one in found if wrong in one.wrong]
    assert told, found
    assert right in told[0].right
    assert told[0].place.line == len(CORNER.splitlines()) + 1
