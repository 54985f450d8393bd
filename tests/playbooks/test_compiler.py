"""Laws: the same files give the same plan; any change of meaning another version; a plan survives its own bytes."""

from pathlib import Path

import pytest

from household.columns.program import evaluate
from household.events import RESERVED_TYPES
from household.plan import NONE, FeatureKind, Scope, plan_from_bytes
from household.traits import class_of
from playbooks.compiler import TELCO, check, compile_playbook, summary
from playbooks.offers import OfferKind

FOLD = Path(__file__).parents[2] / "loadtest" / "household_fold" / "playbook.yaml"

SMALL = """\
playbook: {name: small, currency: EUR}
fields:
  amount: number
  pack: [film_box, kids_world]
events:
  pay: {source: wallet, fields: {amount: required, pack: optional}}
features:
  household.paid_7d: {kind: window_sum, events: pay, field: amount, span: 7d}
  household.payments_7d: {kind: window_count, events: pay, span: 7d, bucket: 6h}
  household.small_7d: {kind: window_count, events: pay, where: event.amount < 10.0, span: 7d, bucket: 6h}
  household.trend: {kind: trend, events: pay, span: 7d, bucket: 1d}
  household.declines: {kind: count, events: hearth.decline}
  member.pack: {kind: profile, events: pay, field: pack, initial: kids_world}
segments:
  big: segment.some && household.paid_7d >= 100.0
  some: household.payments_7d > 0
channels:
  app: {inbound: true}
  sms: {outbound: true, consent: segment.some, cost: 0.04}
families: [content]
offers:
  "start_{pack}":
    for_each: pack
    family: content
    price: 9.99
    segment_prices: {big: 12, some: 8.50}
    prior: 5%
    eligible: segment.big && member.pack == '{pack}'
    excludes: ["start_{pack}"]
    treatments:
      app: {text: "Start {pack.title}", parameters: {pack: "{pack}"}}
  plain: {family: content, prior: 0.1, standing: true, treatments: {app: Hello, sms: Hello}}
journeys:
  paid: {trigger: {on: pay, when: event.amount > 1.5 && segment.some}, offers: ["start_{pack}"], control: 10%}
  contact: {contact: [pay], families: all, outbound: sms}
"""


def compiled(tmp_path: Path, text: str = SMALL):
    path = tmp_path / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return compile_playbook(path)


@pytest.fixture(scope="module")
def telco():
    return compile_playbook(TELCO)


def test_the_same_files_give_the_same_version(tmp_path, telco):
    assert compile_playbook(TELCO).canonical_bytes == telco.canonical_bytes
    assert compiled(tmp_path).version == compiled(tmp_path).version


def test_a_changed_price_gives_another_version(tmp_path):
    assert compiled(tmp_path).version != compiled(tmp_path, SMALL.replace("9.99", "9.98")).version


def test_comments_and_layout_do_not_change_the_version(tmp_path):
    text = "# a comment\n" + SMALL.replace("household.paid_7d >= 100.0", "household.paid_7d   >= 100.0")
    assert compiled(tmp_path).version == compiled(tmp_path, text).version


@pytest.mark.parametrize("path", [TELCO, FOLD], ids=["telco", "fold"])
def test_a_plan_survives_its_own_bytes(path):
    plan = compile_playbook(path)
    again = plan_from_bytes(plan.canonical_bytes)
    assert again == plan
    assert again.version == plan.version


def test_a_folder_and_a_single_file_mean_the_same(tmp_path):
    head, tail = SMALL.split("channels:")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.yaml").write_text(head)
    (folder / "b.yml").write_text("channels:" + tail)
    assert compile_playbook(folder).version == compiled(tmp_path).version


def test_money_is_exact_in_minor_units(tmp_path):
    offer = compiled(tmp_path).offers[0]
    assert offer.price_minor == 999
    assert [(one.segment, one.price_minor) for one in offer.segment_prices] == [(0, 1_200), (1, 850)]
    yen = SMALL.replace("EUR", "JPY").replace("9.99", "999").replace("8.50", "850").replace("cost: 0.04", "cost: 4")
    assert compiled(tmp_path, yen).offers[0].price_minor == 999


def test_one_template_gives_one_offer_per_value(tmp_path):
    plan = compiled(tmp_path)
    assert [offer.name for offer in plan.offers] == ["start_film_box", "start_kids_world", "plain"]
    assert plan.offers[1].treatments[0].text == "Start Kids World"
    assert plan.offers[1].treatments[0].parameters == (("pack", "kids_world"),)
    assert plan.programs[plan.offers[1].eligible].text == "segment.big && member.pack == 'kids_world'"
    assert plan.offers[0].excludes == (1,)
    assert plan.offers[1].excludes == (0,)
    assert plan.journeys[0].offers == (0, 1)


def test_families_bring_their_standing_offers_only(tmp_path):
    assert compiled(tmp_path).journeys[1].offers == (2,)


def test_exclusion_holds_both_ways(tmp_path):
    plan = compiled(
        tmp_path,
        SMALL.replace("{family: content, prior: 0.1,", "{excludes: [start_film_box], family: content, prior: 0.1,"),
    )
    assert plan.offers[0].excludes == (1, 2)
    assert plan.offers[2].excludes == (0,)


def test_features_that_need_the_same_buckets_share_a_window(tmp_path):
    plan = compiled(tmp_path)
    by_name = {feature.name: feature for feature in plan.features}
    assert by_name["household.paid_7d"].window == by_name["household.payments_7d"].window
    assert by_name["household.small_7d"].window != by_name["household.payments_7d"].window
    trend = plan.windows[by_name["household.trend"].window]
    assert (trend.bucket_count, by_name["household.trend"].span_us) == (14, 7 * 86_400_000_000)
    assert len(plan.windows) == 3


def test_the_reserved_types_are_always_there_and_can_be_counted(tmp_path):
    plan = compiled(tmp_path)
    assert tuple(event.name for event in plan.event_types[-len(RESERVED_TYPES) :]) == RESERVED_TYPES
    assert plan.features[4].events == (plan.event_type_by_name["hearth.decline"],)


def test_segments_are_inlined_in_any_order(tmp_path):
    plan = compiled(tmp_path)
    big = plan.programs[plan.segments[0].program]
    readings = [100.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert evaluate(big.ops, big.args, readings, []) == 1.0
    assert evaluate(big.ops, big.args, [100.0, 0.0, *readings[2:]], []) == 0.0


def test_a_profile_starts_at_its_declared_value(tmp_path):
    feature = compiled(tmp_path).features[5]
    assert (feature.initial, feature.values, feature.result) == (1.0, ("film_box", "kids_world"), "string")


def test_equal_conditions_share_a_program(tmp_path):
    plan = compiled(tmp_path)
    assert plan.channels[1].consent != plan.segments[1].program  # the same code, but written differently
    assert len({(one.text, one.ops, one.args) for one in plan.programs}) == len(plan.programs)


def test_the_yardstick_keeps_its_twelve_types_and_six_triggers_in_order():
    plan = compile_playbook(FOLD)
    assert [event.name for event in plan.event_types[:12]] == [
        "balance_check", "topup", "call", "sms", "data_session", "bill_paid",
        "bill_late", "complaint", "plan_view", "device_view", "roaming", "churn_signal",
    ]  # fmt: skip
    assert [journey.name[:3] for journey in plan.journeys] == ["t0_", "t1_", "t2_", "t3_", "t4_", "t5_"]
    for journey in plan.journeys:
        assert journey.trigger is not None
        assert journey.trigger.events == tuple(range(12))
        assert journey.trigger.cooldown_us == 7 * 86_400_000_000
        assert journey.offers == ()
    assert len(plan.features) == 60
    assert len(plan.windows) == 12


def test_telco_has_what_the_operator_needs(telco):
    assert check(TELCO) == ()
    assert {event.source for event in telco.event_types} == {
        "network", "billing", "app", "wallet", "call_centre", "partner", "hearth",
    }  # fmt: skip
    assert {"mobile", "broadband", "wallet", "content", "smart_home", "gaming"} <= set(telco.families)
    assert {offer.family for offer in telco.offers} == set(telco.families)
    assert len(telco.offers) >= 40
    assert {offer.kind for offer in telco.offers} == {kind.value for kind in OfferKind}
    assert len(telco.features) >= 40
    assert {feature.kind for feature in telco.features} == set(FeatureKind)
    assert all(0 < offer.prior_acceptance < 1 and offer.margin_minor > 0 for offer in telco.offers)
    assert all(offer.treatments and offer.eligible != NONE for offer in telco.offers)


def test_telco_never_contacts_without_consent(telco):
    consent, opted_out = (
        next(index for index, feature in enumerate(telco.features) if feature.name == name)
        for name in ("member.consent_marketing", "member.opted_out")
    )
    for channel in telco.channels:
        program = telco.programs[channel.consent]
        for given, out, inbound, outbound in (
            (float("nan"), 0.0, 1.0, float("nan")),
            (0.0, 0.0, 1.0, 0.0),
            (1.0, 0.0, 1.0, 1.0),
            (1.0, 1.0, 0.0, 0.0),
        ):
            readings = [0.0] * len(telco.features)
            readings[consent], readings[opted_out] = given, out
            said = evaluate(program.ops, program.args, readings, [])
            assert str(said) == str(outbound if channel.outbound else inbound)
    assert not telco.features[consent].scored


def test_telco_offers_the_pack_a_member_uses_at_her_segments_price(telco):
    journey = telco.journeys[telco.journey_by_name["s1_low_balance"]]
    assert journey.trigger is not None
    assert journey.trigger.scope is Scope.MEMBER
    packs = telco.fields[telco.field_by_name["streaming_pack"]].values
    assert [telco.offers[index].name for index in journey.offers] == [f"topup_{pack}" for pack in packs]
    names = [feature.name for feature in telco.features]
    readings = [0.0] * len(names)
    readings[names.index("member.wallet_active")] = 1.0
    readings[names.index("member.top_streaming_pack")] = 2.0
    programs = [telco.programs[telco.offers[index].eligible] for index in journey.offers]
    assert [evaluate(one.ops, one.args, readings, []) for one in programs] == [0.0, 0.0, 1.0, 0.0, 0.0]
    assert all(len(telco.offers[index].treatments) == len(telco.channels) for index in journey.offers)
    assert not any(telco.offers[index].standing for index in journey.offers)


def test_telco_answers_contacts_with_the_standing_offers_of_all_families(telco):
    journey = telco.journeys[telco.journey_by_name["j2_unified_inbound"]]
    assert journey.trigger is None
    assert set(journey.offers) == {index for index, offer in enumerate(telco.offers) if offer.standing}
    assert telco.event_type_by_name["app.balance_check"] not in journey.contact_events


def test_the_summary_counts_what_a_plan_holds(tmp_path):
    heading, parts, features, offers = summary(compiled(tmp_path)).lines()
    assert heading.startswith("playbook small, version ")
    assert parts.startswith(
        "8 event types, 2 fields, 6 features, 3 windows, 2 segments, 2 channels, 1 families, 3 offers"
    )
    assert parts.endswith("4 treatments, 2 journeys")
    assert features == "features: 1 count, 1 profile, 1 trend, 2 window_count, 1 window_sum"
    assert offers == "offers: 3 content"


def test_groups_are_kept_in_their_order_and_none_leave_the_version_as_it_was(tmp_path):
    plain = compiled(tmp_path)
    listed = compiled(
        tmp_path, SMALL.replace("sms: {outbound: true,", "sms: {outbound: true, groups: [main, archive],")
    )

    assert [channel.groups for channel in listed.channels] == [(), ("main", "archive")]
    assert b"groups" not in plain.canonical_bytes
    assert plan_from_bytes(listed.canonical_bytes) == listed


def test_a_contact_class_is_an_offers_own_its_journeys_or_that_of_its_kind(tmp_path):
    text = SMALL.replace(
        "plain: {family",
        "notice: {kind: message, family: content, prior: 0.1, standing: true, "
        "treatments: {app: Out}}\n  plain: {contact_class: legal, family",
    )
    plan = compiled(tmp_path, text.replace("control: 10%", "control: 10%, contact_class: survey"))
    own, of_kind = plan.offer_by_name["plain"], plan.offer_by_name["notice"]
    started = plan.journeys[0].offers[0]
    assert [class_of(plan, own, "paid"), class_of(plan, of_kind), class_of(plan, of_kind, "paid")] == [
        "legal",
        "service",
        "survey",
    ]
    assert (class_of(plan, started), class_of(plan, started, "paid")) == ("offer", "survey")
    wrong = SMALL.replace("plain: {family", "plain: {contact_class: ofer, family")
    (tmp_path / "wrong.yaml").write_text(wrong, encoding="utf-8")
    (problem,) = check(tmp_path / "wrong.yaml")
    assert "ofer" in problem.wrong
    assert "offer" in problem.right
