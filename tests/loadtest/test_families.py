"""Families change and a CRM tells of it: late, twice or wrongly, at the end it is known who is together."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from actors.records.signals import decode_signals
from hearth.v1 import signal_pb2
from household.apply import apply_epoch, apply_signals
from household.events import Status
from household.plan import Feature, FeatureKind, Plan, Scope
from household.state import NO_MEMBER, PartitionState
from loadtest.families import FamilyTown
from loadtest.gateway import arrow_stream
from loadtest.town import MONDAY_US, Town
from loadtest.town.families import Families, HappeningKind
from serving.arrow_streams import batch_from_arrow_stream
from serving.signal_batches import batch_from_signals
from wire.batches import ipc_bytes

PACE = 20.0
CAUGHT_UP_US = 8 * 86_400_000_000
"""Behind the end of the town: by then the CRM has told all."""


@pytest.fixture(scope="module")
def counting(plan: Plan) -> Plan:
    """Return the shipped plan with how many data sessions a household ever had."""
    sessions = plan.event_type_by_name["network.data_session"]
    count = Feature(
        name="household.sessions_ever",
        kind=FeatureKind.COUNT,
        scope=Scope.HOUSEHOLD,
        result="double",
        events=(sessions,),
    )
    return replace(plan, features=(*plan.features, count))


def living(plan: Plan, *, seed: int = 1, days: float = 5.0, wrong_share: float = 0.2) -> FamilyTown:
    town = Town(seed=seed, households=40, start_us=MONDAY_US, days=days, plan=plan, intensity=0.3)
    return FamilyTown(town, pace=PACE, wrong_share=wrong_share)


def folded(told: FamilyTown, *, without: str = "") -> PartitionState:
    """Return the state of one partition that was sent all, but for what the CRM calls so."""
    plan = told.town.plan
    state = PartitionState(plan=plan, stream_clock=True)
    apply_epoch(state, epoch=1)
    for part in told.sent(2_000):
        if isinstance(part, list):
            batch = batch_from_signals([one for one in part if one.type != f"hearth.graph.{without}"])
        else:
            batch = batch_from_arrow_stream(arrow_stream(part))
        if batch.num_rows:
            applied = apply_signals(
                state, decode_signals(ipc_bytes(batch), plan), stamp_us=told.town.end_us + CAUGHT_UP_US
            )
            assert set(applied.statuses.tolist()) <= {Status.APPLIED, Status.DUPLICATE}
    return state


def known_together(state: PartitionState) -> set[frozenset[str]]:
    """Return the members of each household."""
    homes = state.graph.membership.households.values()
    members = (frozenset(one for one in home.subjects if one.startswith("member:")) for home in homes)
    return {home for home in members if home}


def together(told: FamilyTown) -> set[frozenset[str]]:
    return {frozenset(map(told.crm.member, persons)) for persons in told.families.together()}


def known_holders(state: PartitionState) -> dict[str, str]:
    timelines = state.graph.membership.timelines.items()
    return {name: one.holder for name, one in timelines if one.holder and name.startswith("msisdn:")}


def holders(told: FamilyTown) -> dict[str, str]:
    return {told.crm.number(number): told.crm.line(person) for number, person in told.families.holders().items()}


@pytest.mark.parametrize("seed", range(6))
def test_who_is_together_and_who_has_which_number_is_known_when_all_is_told(counting: Plan, seed: int):
    told = living(counting, seed=seed)
    state = folded(told)
    assert known_together(state) == together(told)
    assert known_holders(state) == holders(told)
    assert sessions_known(told, state) == sessions_lived(told)


def sessions_known(told: FamilyTown, state: PartitionState) -> dict[frozenset[int], int]:
    """Return how many data sessions each household had, as far as is known; of people, by where they live."""
    place = [one.name for one in state.plan.features].index("household.sessions_ever")
    found: dict[frozenset[int], int] = {}
    for persons in told.families.together():
        row, _ = state.find(told.crm.member(min(persons)).encode())
        readings = state.readings(row, NO_MEMBER, state.now_us)
        found[persons] = 0 if np.isnan(readings[place]) else int(readings[place])
    return found


def sessions_lived(told: FamilyTown) -> dict[frozenset[int], int]:
    """Return the same by who had them."""
    sessions, people = told.town.plan.event_type_by_name["network.data_session"], told.town.people
    counts: Counter[int] = Counter()
    for piece in told.town.pieces(10_000):
        rows = np.flatnonzero(piece.kinds == sessions)
        counts.update((people.first_member[piece.households[rows]] + piece.members[rows]).tolist())
    return {persons: sum(counts[one] for one in persons) for persons in told.families.together()}


def test_control_what_the_crm_never_takes_back_shows(counting: Plan):
    told = living(counting)
    assert known_together(folded(told, without="unmerge")) != together(told)


@pytest.mark.parametrize("kind", ["join", "merge", "split", "unlink"])
def test_control_what_is_not_told_shows(counting: Plan, kind: str):
    told = living(counting, seed=2)
    state = folded(told, without=kind)
    is_known = known_together(state) == together(told) and known_holders(state) == holders(told)
    assert not is_known or sessions_known(told, state) != sessions_lived(told)


def test_more_days_change_nothing_before(plan: Plan):
    town = living(plan).town
    short, long = (
        Families(seed=1, people=town.people, start_us=MONDAY_US, days=days, pace=PACE).happenings for days in (3, 6)
    )
    assert long[: len(short)] == short
    assert len(long) > len(short)
    assert {one.kind for one in long} == set(HappeningKind)


def test_the_crm_tells_late_twice_and_wrongly(plan: Plan):
    crm = living(plan).crm
    signals: Counter[str] = Counter(one.signal.event_id for one in crm.tellings)
    assert max(signals.values()) == 2
    assert any(one.signal.fields["cause"].text.startswith("mistake") for one in crm.tellings)
    late_us = [one.told_us - told_us(one.signal) for one in crm.tellings if one.told_us > MONDAY_US]
    assert min(late_us) >= 0
    assert max(late_us) > 86_400_000_000
    assert [one.told_us for one in crm.tellings] == sorted(one.told_us for one in crm.tellings)


def told_us(signal: signal_pb2.Signal) -> int:
    return signal.time.ToMicroseconds()


def test_sources_name_people_by_what_they_know(plan: Plan):
    told = living(plan)
    named: Counter[str] = Counter()
    for part in told.sent(5_000):
        if not isinstance(part, list):
            assert not any(part.column("member").to_pylist())
            households, identifiers = (part.column(one).to_pylist() for one in ("household", "identifier"))
            for household, identifier in zip(households, identifiers, strict=True):
                assert bool(household) != bool(identifier)
                named[identifier.partition(":")[0] or "household"] += 1
    assert set(named) == {"msisdn", "member", "household"}
