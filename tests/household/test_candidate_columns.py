"""What one call says of all candidates is what each offer's own conditions say, asked one by one in plain Python."""

from collections.abc import Iterator
from dataclasses import replace

import msgpack
import numpy as np
import pytest

from actors.records.signals import events_from_batch
from household.apply import apply_epoch, apply_signals
from household.columns.program import evaluate
from household.deciding.candidate_columns import CandidateColumns
from household.deciding.looking import looked_at
from household.deciding.reasons import Reason
from household.deciding.vetoes import vetoes_of
from household.decision_bytes import decode_decision, encode_decision
from household.migration import migrated
from household.plan import NONE, Journey, Plan
from household.state import NO_MEMBER, PartitionState
from household.traits import is_legal, is_suppressed
from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town import MONDAY_US, Town
from playbooks.compiler import compile_playbook
from tests.benches.recovery_bench import signal_batches
from tests.household.shop import APP, Shop


@pytest.fixture(scope="module")
def state() -> PartitionState:
    """A partition of the shipped playbook, some days old, in which some conditions stand for objection and fraud."""
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    made = PartitionState(plan=plan, stream_clock=True)
    apply_epoch(made, epoch=1)
    for batch in signal_batches(Town(seed=3, households=60, start_us=MONDAY_US, days=1.5, plan=plan), 8_192):
        apply_signals(made, events_from_batch(batch, plan), stamp_us=MONDAY_US)
    asked = np.array(sorted({one.eligible for one in plan.offers} - {NONE}))
    holds = np.array([made.conditions(asked, row, NO_MEMBER, made.now_us) for row in range(made.households.count)])
    objection, fraud, *_ = asked[(holds == 1.0).any(axis=0) & (holds == 0.0).any(axis=0)].tolist()
    return migrated(made, replace(plan, policy=replace(plan.policy, objection=objection, fraud=fraud)))


def sets_of(plan: Plan) -> Iterator[tuple[list[tuple[Journey, bool]], int]]:
    for journey in plan.journeys:
        for channel in (NONE, 0, len(plan.channels) - 1):
            yield [(journey, journey.trigger is not None)], channel


def said_one_by_one(
    state: PartitionState, columns: CandidateColumns, channel: int, household: int, member: int
) -> tuple[dict[int, tuple[str, ...]], list[int]]:
    plan, readings = state.plan, state.readings(household, member, state.now_us).tolist()

    def holds(program: int) -> bool:
        found = plan.programs[program]
        return program != NONE and evaluate(found.ops, found.args, readings, []) == 1.0

    consent = NONE if channel == NONE else plan.channels[channel].consent
    vetoes, prices = {}, []
    for index, journey in columns.journey_by_offer.items():
        offer, against = plan.offers[index], []
        if not is_legal(plan, index, journey):
            against += [Reason.OBJECTION] * holds(plan.policy.objection)
            against += [Reason.NO_CONSENT] * (consent != NONE and not holds(consent))
        if holds(plan.policy.fraud) and is_suppressed(plan, index, journey):
            against.append(Reason.FRAUD)
        if offer.eligible != NONE and not holds(offer.eligible):
            against.append(Reason.NOT_ELIGIBLE)
        vetoes[index] = tuple(against)
        special = (one.price_minor for one in offer.segment_prices if holds(plan.segments[one.segment].program))
        prices.append(next(special, offer.price_minor))
    return vetoes, prices


def test_one_call_says_what_each_condition_says(state: PartitionState):
    seen = set[str]()
    for household in range(state.households.count):
        for member in (NO_MEMBER, *state.members.children(household)[:1]):
            for journeys, channel in sets_of(state.plan):
                columns = state.candidate_sets.of(journeys, channel)
                looked = looked_at(state, columns, household, member)
                vetoes, prices = said_one_by_one(state, columns, channel, household, member)
                vetoed = vetoes_of(state, columns, looked, household, member)
                assert vetoed.vetoes == vetoes
                assert vetoed.to_score == tuple(offer for offer, against in vetoes.items() if not against)
                assert [one.vetoes for one in vetoed.unscored] == list(vetoes.values())
                assert looked.prices_minor == prices
                assert np.array_equal(looked.readings, state.readings(household, member, state.now_us), equal_nan=True)
                seen.update(*vetoes.values())
                seen.update(["SPECIAL"] * (prices != [one.price_minor for one in columns.offers]))
    assert seen == {"OBJECTION", "FRAUD", "NOT_ELIGIBLE", "NO_CONSENT", "SPECIAL"}


def test_sets_are_laid_out_once_and_told_apart_by_channel_and_by_what_they_bring_up(state: PartitionState):
    sets, plan = state.candidate_sets, state.plan
    journeys = [(journey, journey.trigger is not None) for journey in plan.journeys]
    assert sets.of(journeys[:1], 0) is sets.of(journeys[:1], 0)
    assert sets.of(journeys[:1], 0) is not sets.of(journeys[:1], 1)
    # A journey that acts otherwise by its states has the same name and other offers.
    other = replace(journeys[0][0], offers=journeys[0][0].offers[:1])
    assert len(sets.of([(other, True)], 0).offers) == 1 != len(sets.of(journeys[:1], 0).offers)
    behind = sets.with_others(sets.of(journeys[:1], 0), {40: "late"}, 0)
    assert list(behind.journey_by_offer.items())[-1] == (40, "late")
    assert 40 not in sets.of(journeys[:1], 0).journey_by_offer


def test_a_decision_is_packed_as_one_map_of_its_fields():
    shop = Shop()
    shop.signal("app.visit")
    shop.report("decline", shop.decide(APP).slate[0].action_id)
    shop.now_us += 1
    shop.signal("wallet.activated")
    decision = shop.decide(APP)
    payload = encode_decision(decision, member_keys={})
    plain = msgpack.unpackb(payload)
    assert msgpack.packb(plain) == payload
    assert plain["candidates"] == [
        [one.offer, one.score, one.value_minor, list(one.vetoes), *([list(one.terms.written)] if one.terms else [])]
        for one in decision.candidates
    ]
    assert {one.score is None for one in decision.candidates} == {True, False}
    assert encode_decision(decode_decision(payload)[0], member_keys={}) == payload
