"""Components taken out of one state and put into another.

Laws: what two states know together is what one knew; each goes on with what lies there as the one did. Controls that
leave something behind are seen.
"""

import random
from dataclasses import replace

import numpy as np
import pytest

from household.apply import apply_epoch, apply_tick
from household.digest import household_digests, state_digest
from household.events import Status
from household.freeze import Freeze, thaw
from household.migration import migrated
from household.plan import Plan
from household.relocation import carrying, folding, places
from household.relocation.births import birth_of, rank_of
from household.relocation.carrying import put_in, taken_out
from household.relocation.component import component_of
from household.relocation.folding import may_leave, news
from household.relocation.ids import known_ids
from household.relocation.notes import Came, Out, RelocationNote
from household.relocation.packing import ComponentUnreadable
from household.state import PartitionState
from household.tables.contract import Owner
from household.tables.graph_events import GRAPH_EVENTS
from household.tables.relocations import Departure
from tests.household.graph_worlds import (
    ALL_KINDS,
    EXACT,
    HOUR_US,
    HOUSES,
    NOW_US,
    NUMBERS,
    PEOPLE,
    Heard,
    Said,
    fold,
    folded,
    random_told,
    told_of_households,
)
from tests.household.relocation_world import Partition, World, said_apart
from tests.household.shop import HOUR
from tests.household.side import requests_of
from tests.household.test_freeze import lived

LISTS = 20

NAMES = (*HOUSES, *PEOPLE, *NUMBERS)


def names_of(state: PartitionState) -> list[str]:
    """Return one name of each component."""
    left, found = set(NAMES) | state.graph.membership._component.keys() if state.graph else set(NAMES), []
    while left := {one for one in left if not one.startswith("\0")}:
        found.append(min(left))
        left -= set(component_of(state, found[-1]).names)
    return found


def gone(state: PartitionState, name: str) -> bytes:
    component = component_of(state, name)
    return taken_out(state, [component], dict.fromkeys(component.names, component.names[0]))


def known(*states: PartitionState) -> dict[bytes, str]:
    """Return what states know of households together; a row in which nothing is says nothing."""
    digests: dict[bytes, str] = {}
    for state in states:
        for key, digest in household_digests(state).items():
            if not is_blank(state, state.households.find(key)):
                assert key not in digests, f"{key!r} is known twice"
                digests[key] = digest
    return digests


def is_blank(state: PartitionState, row: int) -> bool:
    members = state.members.children(row)
    cells, layout = state.cells, state.layout
    rows = [(cells.household_bases[row], layout.household_initial)]
    rows += [(cells.member_bases[one], layout.member_initial) for one in members]
    return (
        all(
            np.array_equal(cells.flat[base : base + initial.shape[0]], initial, equal_nan=True)
            for base, initial in rows
        )
        and not any(one.household == row for table in (state.actions, state.outbox) for one in table)
        and not any(table.of(row) for table in state.tables if table.declaration.owner is Owner.HOUSEHOLD)
    )


def graph_events(*states: PartitionState) -> list[object]:
    rows = [one for state in states for one in state.tables.of(GRAPH_EVENTS)]
    declaration = states[0].tables.of(GRAPH_EVENTS).declaration
    assert declaration.partition_digest is not None
    return sorted(declaration.partition_digest(rows).get("graph_events", []))


@pytest.mark.parametrize("plan", [EXACT, ALL_KINDS], ids=["exact", "all kinds"])
def test_two_states_know_together_what_one_knew_and_go_on_as_it_would(plan):
    moved = 0
    for seed in range(LISTS):
        dice = random.Random(seed)
        told = random_told(dice, said_count=dice.randint(1, 12), heard_count=dice.randint(4, 24))
        causes_apart = [replace(one, cause="") if isinstance(one, Said) and one.cause else one for one in told]
        told = [one for one in causes_apart if not (isinstance(one, Said) and one.kind in ("unmerge", "confirm"))]
        split = dice.randint(0, len(told))
        one, here, there = folded(told[:split], plan=plan), folded(told[:split], plan=plan), folded([], plan=plan)
        for name in names_of(here):
            if dice.random() < 0.5:
                data = gone(here, name)
                put_in(there, data)
                moved += len(data) > 300
        assert known(here, there) == known(one), f"seed {seed}"
        assert graph_events(here, there) == graph_events(one), f"seed {seed}"
        assert_reads_alike(one, here, there)

        # Back again: what was known is known where it was, and what comes next finds it there.
        for name in names_of(there):
            put_in(here, gone(there, name))
        assert known(here, there) == known(one), f"seed {seed}"
        for state in (one, here, there):
            assert thawed_knows_the_same(state)
        for later in told[split:]:
            assert fold(here, [later]).statuses.tolist() == fold(one, [later]).statuses.tolist()
        assert known(here, there) == known(one), f"seed {seed}"
        assert_reads_alike(one, here, there)
    assert moved > LISTS


def assert_reads_alike(one: PartitionState, *others: PartitionState) -> None:
    wanted = {name: readings for name, readings in told_of_households(one).items() if readings[0]}
    found: dict[str, tuple[float, ...]] = {}
    for state in others:
        found |= {name: readings for name, readings in told_of_households(state).items() if readings[0]}
    assert found == wanted


def thawed_knows_the_same(state: PartitionState) -> bool:
    freeze = Freeze(state)
    while not freeze.step():
        pass
    frozen = freeze.end()
    assert frozen is not None
    return household_digests(thaw(frozen)) == household_digests(state)


# --- between partitions -----------------------------------------------------------------------------------------------


def lived_world(seed: int, *, plan: Plan = EXACT, partition_count: int = 3, **post: float) -> World:
    dice = random.Random(seed)
    told = said_apart(random_told(dice, said_count=dice.randint(2, 10), heard_count=dice.randint(4, 16)))
    world = World(dice=dice, plan=plan, partition_count=partition_count, **post)
    world.live(told)
    return world


def same_as_alone(world: World) -> None:
    states, alone = [one.state for one in world.partitions], world.alone()
    assert graph_events(*states) == graph_events(alone)
    assert known(*states) == known(alone)
    assert_reads_alike(alone, *states)


def test_whatever_is_lost_doubled_or_dies_partitions_know_together_what_one_does():
    moves = deaths = 0
    for seed in range(LISTS):
        world = lived_world(seed)
        same_as_alone(world)
        moves += world.moves
        deaths += sum(one.deaths for one in world.partitions)
    assert moves > LISTS
    assert deaths > LISTS


def fails(seeds: range, **post: float) -> bool:
    """Return whether some world shows that something is wrong."""
    for seed in seeds:
        try:
            same_as_alone(lived_world(seed, **post))
        except AssertionError:
            return True
    return False


def test_control_a_departure_that_comes_twice_shows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folding, "has_come", lambda state, came: False)
    assert fails(range(LISTS), doubling=0.9)


def test_control_known_ids_that_stay_behind_show(monkeypatch: pytest.MonkeyPatch):
    nothing = known_ids(PartitionState(plan=EXACT, stream_clock=False), ())
    monkeypatch.setattr(carrying, "known_ids", lambda state, names: nothing)
    assert fails(range(LISTS))


def test_control_an_event_that_holds_before_all_lies_together_shows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(places, "is_here", lambda state, key: True)
    assert fails(range(LISTS))


def test_what_is_being_frozen_does_not_see_what_leaves_and_comes():
    for seed in range(LISTS // 2):
        dice = random.Random(seed)
        told = said_apart(random_told(dice, said_count=8, heard_count=16))
        here, there = folded(told), folded([])
        before, freeze, other = state_digest(here), Freeze(here), Freeze(there)
        nothing = state_digest(there)
        for name in names_of(here):
            put_in(there, gone(here, name))
            freeze.step(1)
        for one, wanted in ((freeze, before), (other, nothing)):
            while not one.step():
                pass
            frozen = one.end()
            assert frozen is not None
            assert state_digest(thaw(frozen)) == wanted, f"seed {seed}"


def test_what_left_goes_over_to_another_plan_with_what_stayed():
    for seed in range(LISTS // 2):
        dice = random.Random(seed)
        told = said_apart(random_told(dice, said_count=8, heard_count=16))
        other = replace(EXACT, name="other", features=EXACT.features[2:])
        here, there, one = folded(told), folded([]), folded(told)
        for offset, name in enumerate(names_of(here), start=1):
            here.departures.put(Departure(offset, 1, gone(here, name)))
        here, there, one = migrated(here, other), migrated(there, other), migrated(one, other)
        with pytest.raises(ComponentUnreadable):
            put_in(folded([]), here.departures[1, 1].data)
        for departure in here.departures:
            put_in(there, departure.data)
        assert known(there) == known(one), f"seed {seed}"


def test_what_was_decided_goes_along():
    for seed in range(6):
        one, here = lived(seed, 30).state, lived(seed, 30).state
        there = PartitionState(plan=one.plan, stream_clock=False)
        apply_epoch(there, epoch=1)
        for row in range(one.households.count):
            put_in(there, gone(here, one.households.key(row).decode()))
        assert known(there) == known(one), f"seed {seed}"
        assert requests_of(there) == requests_of(one)
        assert not any(len(table) for table in here.tables if table.declaration.owner is Owner.HOUSEHOLD)
        assert len(here.actions) == len(here.outbox) == len(here.requests) == 0
        for later_us in (HOUR, 20 * HOUR, 400 * HOUR):
            at_us = one.now_us + later_us
            for state in (one, there):
                apply_tick(state, epoch=1, stamp_us=at_us)
            assert known(there) == known(one), f"seed {seed}, {later_us // HOUR} h later"


def test_nothing_leaves_while_ids_that_do_not_tell_whose_they_are_are_known():
    state = PartitionState(plan=EXACT, stream_clock=False)
    state.fold_version = 3
    apply_epoch(state, epoch=1, fold_version=3)
    fold(state, [Heard(b"s", NOW_US - HOUR_US, 1.0, household="h1")])
    apply_epoch(state, epoch=2, partition=birth_of(b"h1", 3), partition_count=3)
    root = min((f"r{number}" for number in range(99)), key=rank_of)
    assert not may_leave(state, "h1", root)
    # What was told before is known still, by its old name.
    again = fold(state, [Heard(b"s", NOW_US - HOUR_US, 1.0, household="h1")])
    assert again.statuses.tolist() == [Status.DUPLICATE]
    apply_tick(state, epoch=2, stamp_us=NOW_US + EXACT.clock.lateness_us)
    assert may_leave(state, "h1", root)


def born_in(place: int, prefix: str) -> list[str]:
    """Return names of one of three partitions, in the order of names."""
    found = [one for number in range(60) if birth_of((one := f"{prefix}{number}").encode(), 3) == place]
    return sorted(found, key=rank_of)


def test_what_cannot_come_yet_keeps_back_what_left_after_it():
    told = said_apart(random_told(random.Random(3), said_count=8, heard_count=16))
    here, there = folded(told), folded([])
    first, second = (gone(here, name) for name in names_of(here)[:2])
    other = folded([], plan=replace(EXACT, name="other"))
    old = gone(other, "nobody")
    came = [Came(source=1, number=number, data=data) for number, data in ((5, first), (7, second))]
    assert news(there, RelocationNote(came=tuple(reversed(came)))).came == tuple(came)
    assert news(there, RelocationNote(came=(replace(came[0], data=old), came[1]))).came == ()
    # Another source's are not kept back by it.
    elsewhere = replace(came[1], source=2)
    assert news(there, RelocationNote(came=(replace(came[0], data=old), elsewhere))).came == (elsewhere,)


def test_as_much_comes_at_once_as_a_record_holds(monkeypatch: pytest.MonkeyPatch):
    told = said_apart(random_told(random.Random(3), said_count=8, heard_count=16))
    here, there = folded(told), folded([])
    came = [Came(source=1, number=at, data=gone(here, name)) for at, name in enumerate(names_of(here)[:3])]
    monkeypatch.setattr(folding, "LARGEST_BYTES", len(came[0].data) + 1)
    assert news(there, RelocationNote(came=tuple(came))).came == tuple(came[:2])


def test_what_is_larger_than_a_record_stays_and_what_is_not_does_not(monkeypatch: pytest.MonkeyPatch):
    small, large, *_ = born_in(0, "h")[::-1]
    root = min(born_in(1, "h"), key=rank_of)
    partition = Partition(EXACT, 0, 3)
    partition.fold(Heard(b"s", NOW_US - HOUR_US, 1.0, household=small))
    for number, member in enumerate(born_in(0, "member:m")[-9:]):
        partition.fold(Said(b"g%d" % number, "join", NOW_US - HOUR_US, subjects=(member,), household=large))
    size = folding.size_of(partition.state, component_of(partition.state, small))
    assert size < folding.size_of(partition.state, component_of(partition.state, large))
    assert may_leave(partition.state, large, root)
    monkeypatch.setattr(folding, "LARGEST_BYTES", size)
    partition.tell(RelocationNote(outs=(Out(target=1, named=((large, root), (small, root))),)))
    assert [one.partition for one in map(partition.state.places.get, (small.encode(), large.encode())) if one] == [1]
    partition.die()


def test_what_an_event_of_the_same_record_ties_to_an_earlier_name_stays():
    early, *_, late = born_in(0, "h")
    root = next(one for one in born_in(1, "h") if rank_of(early) < rank_of(one) < rank_of(late))
    elsewhere, here = Partition(EXACT, 2, 3), Partition(EXACT, 0, 3)
    assert elsewhere.fold(Said(b"g", "merge", NOW_US, household=early, other=late)) is Status.WAITING
    (waiting,) = elsewhere.state.waiting
    out = Out(target=1, named=((late, root),))
    assert news(here.state, RelocationNote(outs=(out,)))
    here.tell(RelocationNote(events=(waiting.event,), outs=(out,)))
    assert here.state.graph.known(waiting.key)
    assert not len(here.state.departures)
