"""The section `experiments`: what it compiles to, and what is said of one that cannot be, or is hardly meant."""

from pathlib import Path

import pytest

from household.plan import Arm, Draw, Layer
from household.plan.experiments import ALL_BP
from playbooks.compiler import TELCO, check, compile_playbook, examine

PLAYBOOK = """
playbook: {name: trial}
events: {visit: {source: app}, pay: {source: wallet}}
channels: {app: {inbound: true}}
families: [content]
offers:
  film: {family: content, prior: 5%, margin: 3, standing: true, treatments: {app: Film}}
  gift: {kind: reward, family: content, prior: 5%, margin: 3, standing: true, treatments: {app: Gift}}
journeys:
  welcome: {contact: visit, families: all, control: 10%}
  thanks: {contact: pay, families: all, control: 10%}
experiments:
  everything: {layer: universal, control: 1%}
  both: {layer: programme, journeys: [welcome, thanks], control: 2.5%, salt: of-its-own}
  film_worth_it: {layer: action, offers: film, control: 5%, arms: {gentle: 45%, eager: 0.25%}}
  gifts: {layer: reward, control: 5%}
"""


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    text = PLAYBOOK
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "trial.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_experiments_become_arms_in_basis_points_with_control_first(tmp_path: Path):
    plan = compile_playbook(written(tmp_path))
    everything, both, film, gifts = plan.experiments

    assert (everything.layer, everything.salt) == (Layer.UNIVERSAL, "trial/everything")
    assert everything.arms == (Arm(name="control", share_bp=100), Arm(name="treated", share_bp=9_900))
    assert (both.salt, both.journeys, both.control_bp) == ("of-its-own", (0, 1), 250)
    assert film.offers == (plan.offer_by_name["film"],)
    assert [(arm.name, arm.share_bp) for arm in film.arms] == [
        ("control", 500),
        ("gentle", 4_500),
        ("eager", 25),
        ("treated", 4_975),
    ]
    assert (gifts.layer, gifts.offers) == (Layer.REWARD, ())
    assert [one.draw for one in plan.all_experiments] == [Draw.SALTED] * 4 + [Draw.OF_JOURNEY] * 2


def test_a_playbook_without_experiments_is_the_plan_it_was(tmp_path: Path):
    without = PLAYBOOK[: PLAYBOOK.index("experiments:")]
    path = tmp_path / "trial.yaml"
    path.write_text(without, encoding="utf-8")

    assert b"experiments" not in compile_playbook(path).canonical_bytes


@pytest.mark.parametrize(
    ("old", "new", "at", "wrong", "right"),
    [
        ("layer: universal", "layer: univrsal", 13, "'layer' of experiment 'everything' is 'univrsal'", "universal"),
        ("{layer: universal, control", "{control", 13, "needs 'layer'", "add 'layer: …'"),
        (", control: 1%", "", 13, "experiment 'everything' needs 'control'", "add"),
        ("gentle: 45%", "gentle: 99%", 15, "are 104.25% of all households together", "100% or less"),
        ("control: 1%", "control: 110%", 13, "'control' of experiment 'everything' is '110%'", "such as 5%"),
        ("eager: 0.25%", "eager: 0.255%", 15, "no whole number of basis points", "hundredths of a percent"),
        ("eager: 0.25%", "treated: 0.25%", 15, "an arm of experiment 'film_worth_it' is called 'treated'", "rest"),
        ("[welcome, thanks]", "[welcom, thanks]", 14, "journey 'welcom' is not defined", "welcome"),
        ("offers: film", "offers: flm", 15, "offer 'flm' is not defined", "film"),
        ("journeys: [welcome, thanks], ", "", 14, "says not what it is about", "journeys"),
        ("offers: film, control", "journeys: [thanks], offers: film, control", 15, "names journeys", "name offers"),
        ("universal, control", "universal, offers: film, control", 13, "names offers", "remove 'offers'"),
        ("reward, control: 5%", "reward, control: 5%, salt: of-its-own", 16, "have one salt", "a salt of its own"),
        ("  gifts: {layer: reward", "  thanks: {layer: reward", 16, "the name of a journey", "another name"),
        ("programme", "journey", 14, "has a control group of its own", "remove one"),
        ("reward, control", "reward, contrl: 1%, control", 16, "has no key 'contrl'", "control"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(tmp_path: Path, old: str, new: str, at: int, wrong: str, right: str):
    problems = check(written(tmp_path, (old, new)))

    assert any(one.place.line == at and wrong in one.wrong and right in one.right for one in problems), problems


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ("universal, control: 1%", "universal, control: 0%", "experiment 'everything' has no control group"),
        ("universal, control: 1%", "universal, control: 100%", "'everything' is everyone"),
        ("universal, control: 1%", "universal, control: 60%", "'everything' is 60% of the households"),
        ("kind: reward, ", "", "experiment 'gifts' is about rewards, and no offer is one"),
    ],
)
def test_what_is_hardly_meant_is_a_warning(tmp_path: Path, old: str, new: str, warning: str):
    assert examine(written(tmp_path)).warnings == ()
    (found,) = examine(written(tmp_path, (old, new))).warnings

    assert warning in found.wrong


def test_a_journey_that_a_programme_measures_needs_no_control_of_its_own(tmp_path: Path):
    without = ("thanks: {contact: pay, families: all, control: 10%}", "thanks: {contact: pay, families: all}")

    assert examine(written(tmp_path, without)).warnings == ()
    (found,) = examine(written(tmp_path, without, ("[welcome, thanks]", "[welcome]"))).warnings
    assert "journey 'thanks' has no control group" in found.wrong


def test_the_shipped_playbook_has_four_layers_beside_its_journeys_own():
    plan = compile_playbook(TELCO)

    assert {one.layer for one in plan.experiments} == set(Layer) - {Layer.JOURNEY}
    assert all(journey.control_share > 0.0 for journey in plan.journeys)
    assert all(sum(arm.share_bp for arm in one.arms) == ALL_BP for one in plan.all_experiments)
