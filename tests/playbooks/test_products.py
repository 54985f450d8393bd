"""Products, budgets, and what an action is worth, in a playbook: what they compile to, what is said of what cannot be.

Laws: each product is a feature and each family a segment, as if they were written; a bundle is of all its families; one
family more is configuration only; each line counts for itself, whichever household it belongs to by now.
"""

from pathlib import Path

import pytest

from household.plan import BudgetUnit, FeatureKind, Product, Selector, Span
from household.scoring import feature_schema
from playbooks.compiler import TELCO, check, compile_playbook, examine

PLAYBOOK = """
playbook: {name: trial, currency: EUR}
fields:
  product: [sim, fibre, everything, film, heat]
  line: text
events:
  taken: {source: billing, fields: {product: required, line: optional}}
  given_up: {source: billing, fields: {product: required, line: optional}}
  visit: {source: app, half_life: 5m}
  alert: {source: billing}
  cleared: {source: billing}
channels:
  app: {inbound: true}
  sms: {outbound: true, consent: "true"}
families: [mobile, broadband, content]
products:
  events: taken
  off_events: given_up
  field: product
  line: line
  lines: 3
  held: {sim: mobile, fibre: broadband, everything: [mobile, broadband, content], film: content}
features:
  household.suspected: {kind: product_held, events: alert, off_events: cleared, scored: false}
contact_policy: {fraud: household.suspected}
offers:
  second:
    family: mobile
    prior: 5%
    margin: 3
    increment: 1.5
    standing: true
    eligible: segment.has_mobile
    treatments: {app: Two}
  films:
    family: content
    prior: 5%
    margin: 3
    standing: true
    eligible: household.lines_with_film == 0 || segment.has_mobile
    treatments: {app: Film, sms: Film}
  gift: {kind: reward, family: content, prior: 5%, margin: 3, standing: true, treatments: {app: Gift}}
budgets:
  texts: {of: {channels: sms}, money: 50.00, window: month}
  gifts: {of: {classes: reward}, actions: 200, window: day, step: 20%}
journeys:
  ask: {contact: visit, families: all}
"""


WARM = """\
  warm:
    {family: energy, prior: 5%, margin: 3, standing: true, eligible: "!segment.has_energy", treatments: {app: Warm}}
"""

TAKEN_NAME = "  household.lines_with_sim: {kind: count, events: visit}\n  household.suspected:"


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    text = PLAYBOOK
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "trial.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_each_product_is_a_feature_and_each_family_a_segment(tmp_path: Path):
    plan = compile_playbook(written(tmp_path))
    features = {one.name: one for one in plan.features}
    sim = features["household.lines_with_sim"]

    assert (sim.kind, sim.keep, sim.scored, sim.result) == (FeatureKind.LINES_HOLDING, 3, True, "int")
    assert plan.programs[sim.where].text == "event.product == 'sim'"
    assert [one.name for one in plan.segments] == ["has_mobile", "has_broadband", "has_content"]
    assert plan.programs[plan.segments[0].program].text == (
        "household.lines_with_sim >= 1 || household.lines_with_everything >= 1"
    )
    assert plan.products[2] == Product(
        name="everything",
        families=("mobile", "broadband", "content"),
        feature=plan.features.index(features["household.lines_with_everything"]),
    )


def test_one_family_more_is_configuration_only(tmp_path: Path):
    plan = compile_playbook(
        written(
            tmp_path,
            ("families: [mobile, broadband, content]", "families: [mobile, broadband, content, energy]"),
            ("film: content}", "film: content, heat: energy}"),
            (
                "  gift:",
                WARM + "  gift:",
            ),
        )
    )

    assert "household.lines_with_heat" in feature_schema(plan).names, "models see it, and exports have it as a column"
    assert plan.segments[-1].name == "has_energy"
    assert plan.offers[plan.offer_by_name["warm"]].family in plan.families
    assert plan.journeys[0].offers == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("old", "new", "wrong", "right"),
    [
        ("film: content}", "film: contend}", "family 'contend' of product 'film' is not defined", "mean 'content'?"),
        ("film: content}", "flim: content}", "product 'flim' is no value of field 'product'", "did you mean 'film'?"),
        ("film: content}", "film: [content, x]}", "family 'x' of product 'film' is not defined", ""),
        ("field: product\n", "field: line\n", "field 'line', which is to name products, lists none", ""),
        ("field: product\n", "field: produce\n", "field 'produce' is not defined", "did you mean 'product'?"),
        ("  line: line\n", "", "the section 'products' needs 'line'", ""),
        ("  lines: 3", "  lines: 0", "'lines' of the section 'products' is '0'", "write a whole number from 1 to 32"),
        ("events: taken", "events: takes", "event 'takes' is not defined", ""),
        ("  household.suspected:", TAKEN_NAME, "feature 'household.lines_with_sim' is already defined", "remove it"),
        ("money: 50.00, window: month", "window: month", "budget 'texts' has no amount", "write 'actions:'"),
        ("money: 50.00,", "money: 50.00, actions: 3,", "budget 'texts' has two amounts", ""),
        ("window: month", "window: minute", "'window' of budget 'texts' is 'minute'", "write day, month, week"),
        ("{channels: sms}", "{channels: snail}", "channel 'snail' is not defined", ""),
        ("step: 20%", "step: 0", "'step' of budget 'gifts' is 0", ""),
        ("increment: 1.5", "increment: dear", "'increment' of offer 'second' is 'dear'", ""),
        ("half_life: 5m", "half_life: soon", "'half_life' of event 'visit' is 'soon'", ""),
        ("fraud: household.suspected", "fraud: household.suspec", "'household.suspec' is not known here", "did you"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(tmp_path: Path, old: str, new: str, wrong: str, right: str):
    problems = check(written(tmp_path, (old, new)))

    assert any(wrong in one.wrong and right in one.right for one in problems), [
        (one.wrong, one.right) for one in problems
    ]


def test_budgets_become_amounts_in_windows(tmp_path: Path):
    plan = compile_playbook(written(tmp_path))
    texts, gifts = plan.budgets

    assert (texts.unit, texts.amount, texts.span, texts.step) == (BudgetUnit.MONEY, 5_000, Span.MONTH, 0.1)
    assert texts.of == Selector(channels=(1,))
    assert (gifts.unit, gifts.amount, gifts.span, gifts.step) == (BudgetUnit.ACTIONS, 200, Span.DAY, 0.2)


def test_increment_half_life_prior_weight_and_fraud_are_part_of_the_plan(tmp_path: Path):
    plan = compile_playbook(written(tmp_path))

    assert [one.increment_minor for one in plan.offers] == [150, None, None]
    assert [one.brings_minor for one in plan.offers] == [150, 300, 300]
    assert plan.event_types[plan.event_type_by_name["visit"]].half_life_us == 300_000_000
    assert plan.arbitration.prior_weight == 100
    assert plan.programs[plan.policy.fraud].text == "household.suspected"


def test_an_increment_above_the_margin_makes_one_wonder(tmp_path: Path):
    warnings = examine(written(tmp_path, ("increment: 1.5", "increment: 4"))).warnings

    assert "write an increment from 0 to the margin" in [one.right for one in warnings]


def test_the_shipped_playbook_uses_all_of_it():
    plan = compile_playbook(TELCO)

    assert len(plan.products) == 8
    assert max(len(one.families) for one in plan.products) > 1
    assert len(plan.budgets) >= 3
    assert plan.policy.fraud >= 0
