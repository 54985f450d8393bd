"""Contact rules against a judge in plain Python: whatever happens, no rule is broken and nothing waits for nothing.

Every kind of rule in every scope, alone and beside another, over random histories of a household in three time zones:
around the nights of clock changes, with restarts, gateways that fail, objections, and instants on the very edges of
windows. The judge is itself judged: each fault that is planted must be found. `tests/benches/contact_rules_bench.py`
plays for longer.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import household.contact_rules.windows as windows
import household.counting as counting
import household.deciding.contact_policy as contact_policy
import household.deciding.hand_over as hand_over
import household.deciding.rules as rules_module
import household.deciding.standing as standing
import household.subjects as subjects
from household.contact_rules.compiled import CompiledRules
from household.contact_rules.share import CapacityShare
from household.deciding.candidate_columns import OBJECTION, Looked
from household.plan import Plan, RuleScope, Span
from household.quiet_hours import quiet_hours
from household.traits import Traits
from tests.household.contact_judge import Rule, calendar_key, is_quiet
from tests.household.contact_world import KINDS, QUIET, SCOPES, STARTS_US, World, play, rule_of
from tests.household.shop import DAY, HOUR, MINUTE, S


@pytest.mark.parametrize("kind", KINDS)
def test_no_rule_is_broken_and_nothing_waits_for_nothing(kind: str):
    hand_overs = 0
    for place, scope in enumerate(SCOPES):
        chance = Random(KINDS.index(kind) * 4 + place)
        rules = [rule_of(kind, scope, chance)]
        if place % 2:
            rules.append(rule_of(chance.choice(KINDS), chance.choice(SCOPES), chance, name="second"))
        counts = play(rules, chance.randrange(10**6), 70)
        assert counts.findings == [], rules
        hand_overs += counts.hand_overs
    assert hand_overs > 10


def test_an_action_counts_once_on_a_channel_also_when_it_is_the_answer_again_beyond_every_window():
    rule = Rule(name="rule", kind="gap", span_us=HOUR, of={"classes": ("offer",)}, effect="next_channel", inbound=True)
    world = World([rule], Random(1), start_us=STARTS_US[3])
    anna, app = world.members[0], world.shop.state.plan.channel_by_name["app"]
    world.decide(anna, channel=app)
    world.shop.pass_time(2 * DAY)
    world.decide(anna, channel=app)
    home, _ = world.shop.state.find(b"home")
    assert [one.time_us for one in world.shop.state.encounters.of(home)] == [STARTS_US[3]]
    assert world.counts.answers == 1
    world.shop.pass_time(2 * DAY)
    assert world.shop.state.encounters.of(home) == ()


# --- planted faults ---------------------------------------------------------------------------------------------------

Patch = pytest.MonkeyPatch


def _rules(**changes: Any) -> Callable[[Plan], Plan]:
    """Let what decides have other rules than the judge."""

    def change(plan: Plan) -> Plan:
        changed = tuple(
            replace(rule, **{name: value(rule) if callable(value) else value for name, value in changes.items()})
            for rule in plan.policy.rules
        )
        return replace(plan, policy=replace(plan.policy, rules=changed))

    return change


def _nothing_at_hand_over(patch: Patch) -> None:
    patch.setattr(hand_over._RulesOf, "broken", lambda *_: ())
    patch.setattr(hand_over._RulesOf, "blocking", lambda *_: "")
    patch.setattr(hand_over._RulesOf, "goes_on", lambda *_: False)


def _day_of_the_operator(patch: Patch) -> None:
    patch.setattr(rules_module, "zone_of", lambda state, *_: state.plan.policy.time_zone)


def _quiet_by_the_operator(patch: Patch) -> None:
    patch.setattr(contact_policy, "zone_of", lambda state, *_: state.plan.policy.time_zone)


def _no_objection(patch: Patch) -> None:
    looked_at = standing.looked_at

    def deaf(*given: Any, **named: Any) -> Looked:
        looked = looked_at(*given, **named)
        return looked._replace(vetoes=[bits & ~OBJECTION for bits in looked.vetoes])

    patch.setattr(standing, "looked_at", deaf)


def _exempt(patch: Patch) -> None:
    def governs(line: Any, traits: Traits | None) -> bool:
        return traits is not None and counting_is_meant(line.governs, traits)

    from household.contact_rules.compiled import is_meant as counting_is_meant

    patch.setattr(CompiledRules, "_governs", staticmethod(governs))


def _exempt_uncounted(patch: Patch) -> None:
    counts = CompiledRules._counts
    patch.setattr(
        CompiledRules,
        "_counts",
        staticmethod(
            lambda line, traits: (
                counts(line, traits) and traits is not None and traits.contact_class not in ("legal", "security")
            )
        ),
    )


def _no_tags(patch: Patch) -> None:
    patch.setattr(
        counting,
        "traits_of",
        lambda plan, offer, journey: rules_module.traits_of(plan, offer, journey)._replace(tags=()),
    )


def _one_direction(patch: Patch) -> None:
    from household.contact_rules import compiled

    lines_of = compiled._lines_of
    patch.setattr(compiled, "_lines_of", lambda index, rule: lines_of(index, rule)[:1])


def _cost_of_the_channel_alone(patch: Patch) -> None:
    patch.setattr(rules_module, "contact_cost_minor", lambda *_: 0)
    patch.setattr(hand_over, "contact_cost_minor", lambda *_: 0)


def _no_refusals(patch: Patch) -> None:
    patch.setattr(counting, "refused", lambda *_, **__: None)


def _capacity_never_used(patch: Patch) -> None:
    patch.setattr(counting, "CapacityUse", lambda rule, from_us, until_us, count: _USE(rule, from_us, until_us, 0))


_USE = counting.CapacityUse


def _double_share(patch: Patch) -> None:
    patch.setattr(CapacityShare, "of", lambda self, whole, *_: 2 * whole)


def _reservations_ignored(patch: Patch) -> None:
    patch.setattr(counting, "reserve_place", lambda *_, **__: None)


def _delivered_unnoticed(patch: Patch) -> None:
    patch.setattr(counting, "reached", lambda *_, **__: None)
    import household.contacts as contacts

    patch.setattr(contacts, "reached", lambda *_, **__: None)


def _answers_uncounted(patch: Patch) -> None:
    patch.setattr(counting, "answered", lambda *_: None)


def _no_address(patch: Patch) -> None:
    for module in (counting, rules_module):
        patch.setattr(module, "subject_of", lambda *_: subjects.NOBODY)


def _minute_by_the_clock(patch: Patch) -> None:
    """Quiet by what clocks show, whichever time they show it."""
    from household.local_time import local_datetime
    from tests.household.contact_world import QUIET

    def holds(self: Any, instant_us: int) -> bool:
        at = local_datetime(self._zone, instant_us)
        minute = at.hour * 60 + at.minute
        return minute >= QUIET[0] or minute < QUIET[1]

    from household.quiet_hours import QuietHours

    patch.setattr(QuietHours, "holds", holds)


def _bounds(span: Span, bounds: Callable[[str, int], tuple[int, int]]) -> Callable[[Patch], None]:
    def patched(patch: Patch) -> None:
        windows._newest.clear()
        patch.setitem(windows._BOUNDS, span, bounds)
        patch.setattr(windows, "_newest", {})

    return patched


def _week_from_sunday(zone: str, instant_us: int) -> tuple[int, int]:
    begin_us, end_us = windows.week_bounds_us(zone, instant_us + DAY)
    return begin_us - DAY, end_us - DAY


def _day_of_utc(zone: str, instant_us: int) -> tuple[int, int]:
    begin_us = instant_us - instant_us % DAY
    return begin_us, begin_us + DAY


def _month_of_30_days(zone: str, instant_us: int) -> tuple[int, int]:
    begin_us = instant_us - instant_us % (30 * DAY)
    return begin_us, begin_us + 30 * DAY


def _rule(kind: str, **more: Any) -> Rule:
    return Rule(name="rule", kind=kind, **{"scope": "household", "most": 1, "span_us": DAY} | more)


MANY = _rule("count", most=2)
DAILY = _rule("count", window="day", span_us=0)
WEEKLY = _rule("count", window="week", span_us=0, most=2)
MONTHLY = _rule("count", window="month", span_us=0, most=2)
CLASSES = {"classes": ("offer", "service", "reward")}

FAULTS: dict[str, tuple[Rule, Callable[[Plan], Plan] | None, Callable[[Patch], None] | None]] = {
    "rules are not looked at again at the hand-over": (MANY, None, _nothing_at_hand_over),
    "a window ends a microsecond late": (MANY, _rules(window_us=lambda rule: rule.window_us + 1), None),
    "a window ends a microsecond early": (MANY, _rules(window_us=lambda rule: rule.window_us - 1), None),
    "one more is let through": (MANY, _rules(most=lambda rule: rule.most + 1), None),
    "a household's contacts count for each member alone": (MANY, _rules(scope=RuleScope.MEMBER), None),
    "a member's contacts count for the household": (
        _rule("count", scope="member"),
        _rules(scope=RuleScope.HOUSEHOLD),
        None,
    ),
    "lines and addresses are not told apart": (_rule("count", scope="address"), None, _no_address),
    "a local day is the operator's": (DAILY, None, _day_of_the_operator),
    "a local day is one of UTC": (DAILY, None, _bounds(Span.DAY, _day_of_utc)),
    "a week begins on Sunday": (WEEKLY, None, _bounds(Span.WEEK, _week_from_sunday)),
    "a month has thirty days": (MONTHLY, None, _bounds(Span.MONTH, _month_of_30_days)),
    "quiet hours are the operator's": (MANY, None, _quiet_by_the_operator),
    "who objected is not asked about": (MANY, None, _no_objection),
    "what is exempt is blocked": (MANY, None, _exempt),
    "what is exempt does not count": (_rule("count", most=2), None, _exempt_uncounted),
    "tags are forgotten at sending": (_rule("count", of={"tags": ("new",)}), None, _no_tags),
    "never A with B holds one way": (
        _rule("never_with", of={"families": ("a",)}, other={"families": ("b",)}),
        None,
        _one_direction,
    ),
    "the next contact costs nothing": (_rule("cost", most=9), None, _cost_of_the_channel_alone),
    "refusals are forgotten": (_rule("refusals", silence_us=3 * DAY, span_us=3 * DAY), None, _no_refusals),
    "a capacity is never used up": (
        _rule("capacity", window="day", of={"channels": ("sms",)}),
        None,
        _capacity_never_used,
    ),
    "a partition takes another's share": (
        _rule("capacity", window="day", of={"channels": ("sms",)}),
        None,
        _double_share,
    ),
    "reservations are ignored": (_rule("count", reserve=True), None, _reservations_ignored),
    "delivery goes unnoticed": (_rule("count", counts="delivered"), None, _delivered_unnoticed),
    "answers do not count": (_rule("count", inbound=True, of=CLASSES), None, _answers_uncounted),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch):
    rule, change, plant = FAULTS[fault]
    if plant is not None:
        plant(monkeypatch)
    for seed in range(40):
        counts = play([rule], seed, 120, start_us=STARTS_US[seed % len(STARTS_US)], change=change)
        if counts.findings:
            return
    pytest.fail("nobody noticed")


# --- the nights of clock changes --------------------------------------------------------------------------------------

NIGHTS = [
    # 02:30 does not exist in Berlin: the quiet hours end with the jump at 01:00 UTC.
    (1_743_210_000 * S + 20 * HOUR, 1_743_296_400 * S),
    # 02:30 exists twice: they end with the first, at 00:30 UTC.
    (1_761_354_000 * S + 20 * HOUR, 1_761_438_600 * S),
]


def _all_quiet_ends(zone: str, from_us: int, until_us: int) -> list[int]:
    hours = quiet_hours(zone, *QUIET)
    quiet = [hours.holds(at_us) for at_us in range(from_us, until_us, 15 * MINUTE)]
    return [from_us + (i + 1) * 15 * MINUTE for i in range(len(quiet) - 1) if quiet[i] and not quiet[i + 1]]


@pytest.mark.parametrize(("evening_us", "end_us"), NIGHTS)
def test_quiet_hours_end_right_on_both_nights_of_a_clock_change(evening_us: int, end_us: int):
    assert _all_quiet_ends("Europe/Berlin", evening_us, evening_us + 12 * HOUR) == [end_us]
    assert quiet_hours("Europe/Berlin", *QUIET).until_us(end_us - HOUR) == end_us
    for step in range(-200, 200):
        at_us = end_us + step * MINUTE
        assert quiet_hours("Europe/Berlin", *QUIET).holds(at_us) == is_quiet("Europe/Berlin", at_us, *QUIET), step


def test_quiet_hours_by_what_clocks_show_are_found_out(monkeypatch: pytest.MonkeyPatch):
    _minute_by_the_clock(monkeypatch)
    with pytest.raises(AssertionError):
        test_quiet_hours_end_right_on_both_nights_of_a_clock_change(*NIGHTS[1])


@given(
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "Africa/Cairo"]),
    start=st.integers(0, 1_439),
    end=st.integers(0, 1_439),
    day=st.integers(0, 400),
    minute=st.integers(0, 1_439),
)
@settings(max_examples=60, deadline=None)
def test_quiet_hours_are_those_of_the_judge(zone: str, start: int, end: int, day: int, minute: int):
    at_us = 1_735_689_600 * S + day * DAY + minute * MINUTE
    assert quiet_hours(zone, start, end).holds(at_us) == (start != end and is_quiet(zone, at_us, start, end))


@given(
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe"]),
    day=st.integers(0, 400),
    offset_us=st.integers(0, DAY - 1),
    span=st.sampled_from([Span.DAY, Span.WEEK, Span.MONTH]),
)
@settings(max_examples=100, deadline=None)
def test_calendar_windows_hold_what_local_calendars_do(zone: str, day: int, offset_us: int, span: Span):
    at_us = 1_735_689_600 * S + day * DAY + offset_us
    from_us, until_us = windows.window_of(span, zone, at_us)
    assert from_us <= at_us < until_us
    key = calendar_key(span, zone, at_us)
    assert calendar_key(span, zone, from_us) == calendar_key(span, zone, until_us - 1) == key
    assert calendar_key(span, zone, from_us - 1) != key != calendar_key(span, zone, until_us)


# --- what a window counts, told at its very edges ---------------------------------------------------------------------


def test_shares_of_a_capacity_add_up_to_the_whole_in_every_window():
    for whole in (0, 1, 5, 64, 1_000):
        for turn in range(70):
            shares = [
                CapacityShare(partition, 64).of(whole, turn * 60 * S, (turn + 1) * 60 * S) for partition in range(64)
            ]
            assert sum(shares) == whole
    some = [CapacityShare(7, 64).of(1, turn * HOUR, (turn + 1) * HOUR) for turn in range(64)]
    assert np.sum(some) == 1, "nobody is always without"
