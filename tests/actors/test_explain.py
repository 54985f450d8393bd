"""Laws of explanations: a decision is told as it was made. Names, labels, kinds and families are those of its own
playbook, found in memory, snapshots or log, and left out where nothing reaches back to it; what never happened reads
"never"; what a control household was not shown is withheld; where it went, and what stood, is said.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from actors.log.contract import Epoch, Offset, OffsetOutOfRange, PartitionId, Record, RecordKind, StoredRecord
from actors.partition.owner import PartitionOwner
from actors.records import codec
from actors.records.plans import PLANS_KEPT, PlansAtHand
from hearth.internal.v1 import shard_pb2
from hearth.v1 import decision_pb2, household_pb2
from household.plan import Plan
from tests.actors.harness import DAY, HOUR, MONDAY, Hearth, SettableClock, corner, in_loop, running, signal
from tests.actors.test_decider import a_moment, check, consent, visit

NAMED = (
    "  household.payments: {kind: count",
    "  member.since_check_days: {kind: last_seen, events: check, unit: days}\n  household.payments: {kind: count",
)
"""Gives the playbook a time since something."""

LATER = (
    ("currency: EUR", "currency: JPY"),
    ("price: 9.99", "price: 999"),
    ("price: 4.99", "price: 499"),
    ("cost: 0.04", "cost: 4"),
    ("pack: [film, kids]", "pack: [drama, film, kids]"),
    ("household.payments: {kind: count", "household.purchases: {kind: count"),
    ("  films: {family: content", "  movies: {family: care"),
)
"""Another playbook: other offers, families, labels, money."""


def features(record: household_pb2.DecisionRecord) -> dict[str, household_pb2.FeatureValue]:
    return {one.name: one for one in record.features}


@in_loop
async def test_what_never_happened_is_never_wherever_features_are_told(tmp_path: Path):
    async with running(tmp_path, plan=corner(NAMED)) as hearth:
        await hearth.decide("h", visit(), member="m")
        told = features(await hearth.explain("h"))["member.since_check_days"]
        (member,) = (await hearth.get("h")).members
        known = {one.name: one for one in member.features}["member.since_check_days"]
        for one in (told, known):
            assert (one.value, one.label, one.unit) == (math.inf, "never", "days")
        hearth.clock.pass_us(DAY)
        await hearth.ingest(check(time_us=MONDAY))
        await hearth.decide("h", signal("h-visit9", "h", "visit", MONDAY + DAY, member="m"), member="m")
        (member,) = (await hearth.get("h")).members
        assert {one.name: one for one in member.features}["member.since_check_days"].value == 1
        # Not known is not never.
        assert not features(await hearth.explain("h"))["member.pack"].HasField("value")


@in_loop
async def test_an_action_that_was_sent_says_where_and_reads_as_it_did_there(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await a_moment(hearth)
        await hearth.until(lambda: hearth.counter("decisions") == 1)
        record = await hearth.explain("h")
        assert (record.channel, record.send_channel) == ("", "push")
        assert record.slate[0].treatment.channel == "push"
        assert MONDAY < record.send_before.ToMicroseconds() <= MONDAY + HOUR
        assert not record.HasField("answered")
        assert (record.handed_over_channel, record.HasField("handed_over_at")) == ("", False)
        async with hearth.subscribed("push") as deliveries:
            await anext(deliveries)
        record = await hearth.explain("h")
        assert record.handed_over_channel == "push"
        assert record.handed_over_at.ToMicroseconds() == MONDAY


@in_loop
async def test_what_is_withheld_is_not_expired(tmp_path: Path):
    everyone = (
        "contact: {contact: [visit], families: all}",
        "contact: {contact: [visit], families: all, control: 100%}",
    )
    async with running(tmp_path, plan=corner(everyone)) as hearth:
        await hearth.decide("h", visit(), member="m")
        for later_us in (0, 3 * DAY):
            hearth.clock.pass_us(later_us)
            record = await hearth.explain("h")
            assert record.withheld
            assert {action.status for action in record.slate} == {decision_pb2.ACTION_STATUS_WITHHELD}


@in_loop
async def test_the_slate_that_stood_is_named_with_the_action_that_was_given(tmp_path: Path):
    async with running(tmp_path) as hearth:
        first = await hearth.decide("h", visit(), member="m", channel="app")
        again = await hearth.decide("h", member="m", channel="web")
        record = await hearth.explain("h")
        assert (record.decision_id, record.stands, len(record.slate)) == (again.decision_id, first.decision_id, 0)
        assert record.answered.action_id == again.action.action_id
        assert (record.answered.offer, record.answered.treatment.channel) == (again.action.offer, "web")


@in_loop
async def test_how_an_action_ended_is_not_made_up_once_it_is_forgotten(tmp_path: Path):
    films = "standing: true, valid: {}, treatments: {{app: Films}}"
    async with running(tmp_path, plan=corner((films.format("2h"), films.format("9d")))) as hearth:
        answer = await hearth.decide("h", visit(), member="m")
        assert answer.action.offer == "films"
        await hearth.accept("h", answer.action.action_id)
        assert (await hearth.explain("h")).answered.status == decision_pb2.ACTION_STATUS_ACCEPTED
        hearth.clock.pass_us(2 * DAY)
        await hearth.ingest(signal("late", "h", "check", MONDAY + 2 * DAY))
        await hearth.tick()
        assert (await hearth.explain("h")).answered.status == decision_pb2.ACTION_STATUS_UNSPECIFIED


# --- the playbook of then --------------------------------------------------------------------------------------------


def as_told(record: household_pb2.DecisionRecord) -> household_pb2.DecisionRecord:
    """Return what does not depend on what became of its actions."""
    told = household_pb2.DecisionRecord.FromString(record.SerializeToString())
    for action in (*told.slate, told.answered):
        action.ClearField("status")
        action.ClearField("withdrawn_because")
    return told


@in_loop
async def test_a_decision_of_an_older_playbook_keeps_its_features_kinds_and_families(tmp_path: Path):
    clock = SettableClock()
    paid = signal("paid", "h", "pay", MONDAY, member="m", fields={"amount": 5.0, "pack": "film"})
    async with running(tmp_path, clock, plan=corner(NAMED)) as hearth:
        await hearth.decide("h", visit(), paid, member="m")
        then = as_told(await hearth.explain("h"))
    assert features(then)["member.pack"].label == "film"
    assert (then.slate[0].offer, then.slate[0].family, then.slate[0].currency) == ("films", "content", "EUR")
    assert then.time_zone == "UTC"

    # As remembered by the owner that put the next one into force, and as one finds it who has nothing but the log.
    for _ in range(2):
        async with running(tmp_path, clock, plan=corner(*LATER)) as hearth:
            assert as_told(await hearth.explain("h", then.decision_id)) == then
            assert as_told((await hearth.decisions("h"))[-1]) == then
    async with running(tmp_path, clock, plan=corner(*LATER)) as hearth:
        clock.pass_us(3 * HOUR)
        await hearth.decide("h", signal("v2", "h", "visit", clock.now_us(), member="m"), member="m")
        assert (await hearth.explain("h")).currency == "JPY"
        assert as_told(await hearth.explain("h", then.decision_id)) == then


@in_loop
async def test_a_request_that_is_repeated_under_another_playbook_reads_as_it_did(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        first = await hearth.decide("h", visit(), member="m", request_id="r")
    assert (first.action.offer, first.action.family, first.action.currency) == ("films", "content", "EUR")
    async with running(tmp_path, clock, plan=corner(*LATER)) as hearth:
        again = await hearth.decide("h", visit(), member="m", request_id="r")
        assert again.repeated_request
        assert again.action.status == decision_pb2.ACTION_STATUS_WITHDRAWN
        for action in (first.action, again.action):
            action.ClearField("status")
            action.ClearField("withdrawn_because")
        assert again.action == first.action


@in_loop
async def test_where_nothing_has_the_playbook_any_more_that_is_said_instead_of_another_ones_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with running(tmp_path) as hearth:
        await hearth.decide("h", visit(), member="m")
    monkeypatch.setattr(PlansAtHand, "find", lambda self, version, *, before: None)
    async with running(tmp_path, plan=corner(*LATER)) as hearth:
        record = await hearth.explain("h")
        assert record.playbook_missing
        assert not record.features
        action = record.slate[0]
        assert (action.offer, action.kind, action.family, action.currency, action.price_minor) == (
            "films",
            "",
            "",
            "",
            499,
        )
        assert not action.HasField("treatment")


@in_loop
async def test_a_decision_that_the_log_no_longer_has_is_not_said_to_be_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def out_of_range(self: PartitionOwner, offset: int) -> codec.DecisionRecord:
        raise OffsetOutOfRange(PartitionId(0), Offset(offset), Offset(offset + 1), Offset(offset + 2))

    async def asked(hearth: Hearth, decision_id: str) -> tuple[bool, bool]:
        request = household_pb2.ExplainRequest(household="h", decision_id=decision_id).SerializeToString()
        answer = household_pb2.ExplainResponse.FromString(await hearth.call(shard_pb2.METHOD_EXPLAIN, 0, request))
        return answer.found, answer.dropped

    async with running(tmp_path) as hearth:
        decided = await hearth.decide("h", visit(), member="m")
        assert await asked(hearth, decided.decision_id) == (True, False)
        monkeypatch.setattr(PartitionOwner, "read_decision", out_of_range)
        assert await asked(hearth, decided.decision_id) == (True, False), "its slate stands, and is kept with it"
        await hearth.report("h", decided.action.action_id, decision_pb2.OUTCOME_DECLINE)
        assert await asked(hearth, decided.decision_id) == await asked(hearth, "") == (False, True)
        assert await asked(hearth, "no such") == (False, False)
        assert await hearth.decisions("h") == []


class Log:
    """As much of a log as is read here."""

    def __init__(self, plans: dict[int, Plan], first: int = 0) -> None:
        self.plans = plans
        self.first_offset = Offset(first)
        self.was_read: list[int] = []

    def read(self, start: Offset) -> Iterator[StoredRecord]:
        for offset in range(start, 100):
            self.was_read.append(offset)
            kind = RecordKind.PLAN if offset in self.plans else RecordKind.TICK
            payload = codec.encode_plan(self.plans[offset]) if offset in self.plans else b""
            record = Record(kind=kind, version=1, epoch=Epoch(1), stamp_us=offset, payload=payload)
            yield StoredRecord(offset=Offset(offset), record=record)


def a_plan(number: int) -> Plan:
    return Plan(name=f"plan {number}")


def test_each_record_is_looked_at_once_at_most_and_many_plans_are_found_though_few_are_kept():
    plans = {offset: a_plan(offset) for offset in range(2 * PLANS_KEPT)}
    log = Log(plans)
    at_hand = PlansAtHand(log, lambda: ())  # type: ignore[arg-type]
    for _ in range(2):
        for offset, plan in plans.items():
            found = at_hand.find(plan.version, before=Offset(50))
            assert found is not None
            assert found.name == f"plan {offset}"
    looks = [offset for offset in log.was_read if offset >= 2 * PLANS_KEPT]
    assert looks == list(range(2 * PLANS_KEPT, 51)), "read again"
    assert at_hand.find(a_plan(99).version, before=Offset(50)) is None


def test_a_plan_whose_record_was_dropped_is_that_of_a_snapshot_or_none():
    old, new = a_plan(1), a_plan(2)
    log = Log({60: new}, first=40)
    assert PlansAtHand(log, lambda: ()).find(old.version, before=Offset(50)) is None  # type: ignore[arg-type]
    assert PlansAtHand(log, lambda: (old,)).find(old.version, before=Offset(50)) == old  # type: ignore[arg-type]

    def out_of_reach() -> tuple[Plan, ...]:
        raise OSError("the store is away")

    at_hand = PlansAtHand(log, out_of_reach)  # type: ignore[arg-type]
    assert at_hand.find(old.version, before=Offset(50)) is None
    assert at_hand.find(new.version, before=Offset(70)) == new


# --- why nothing was said --------------------------------------------------------------------------------------------


def opt_out(time_us: int = MONDAY) -> object:
    return signal(f"out-{time_us}", "h", "opt_out", time_us, member="m")


@in_loop
async def test_no_consent_is_told_when_that_is_why(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await hearth.decide("h", visit(), member="m")
        await hearth.ingest(opt_out())
        stood = await hearth.decide("h", member="m")
        assert not stood.HasField("action")
        assert "NO_CONSENT" in stood.reasons
        assert "CHANNEL_CANNOT_CARRY" not in stood.reasons

    async with running(tmp_path / "other") as hearth:
        await hearth.ingest(opt_out())
        weighed = await hearth.decide("h", visit(), member="m")
        assert list(weighed.reasons) == ["ALL_VETOED", "NO_CONSENT", "CONTACT:contact"]
        nothing_to_weigh = await hearth.decide("h", check(), member="m")
        assert list(nothing_to_weigh.reasons) == ["NO_CANDIDATES", "NO_CONSENT"]


@in_loop
async def test_each_veto_is_told_when_it_is_why(tmp_path: Path):
    async with running(tmp_path) as hearth:
        answer = await hearth.decide("h", consent(), check("h", 1), check("h", 2), member="m")
        assert answer.action.offer == "topup"
        await hearth.decline("h", answer.action.action_id, member="m")
        hearth.clock.pass_us(2 * HOUR)
        now_us = hearth.clock.now_us()
        again = await hearth.decide("h", check("h", 3, now_us), member="m")
        assert not again.HasField("action")
        assert list(again.reasons)[:2] == ["ALL_VETOED", "DECLINED_OFFER"]


# --- money -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("currency", "minor", "text"), [("EUR", 999, "9.99 EUR"), ("JPY", 500, "500 JPY"), ("KWD", 1250, "1.250 KWD")]
)
@in_loop
async def test_a_price_in_a_text_has_the_decimals_of_its_currency(tmp_path: Path, currency: str, minor: int, text: str):
    plan = corner()
    of_films = plan.offer_by_name["films"]
    films = plan.offers[of_films]
    treatments = tuple(replace(one, text="Films for {price} {currency}") for one in films.treatments)
    offers = list(plan.offers)
    offers[of_films] = replace(films, price_minor=minor, treatments=treatments)
    async with running(tmp_path, plan=replace(plan, currency=currency, offers=tuple(offers))) as hearth:
        answer = await hearth.decide("h", visit(), member="m")
        assert (answer.action.price_minor, answer.action.treatment.text) == (minor, f"Films for {text}")
