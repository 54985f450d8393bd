"""Who belongs together, against a reference in plain Python: any list of graph events and signals, in any order."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from household.apply import apply_epoch, apply_tick
from household.digest import state_digest
from household.events import Status
from household.freeze import Freeze, thaw
from household.graph import telling
from household.graph.graph import Graph
from household.graph.membership import Membership
from household.graph.timeline import Timeline
from household.migration import migrated
from household.plan import Scope
from household.state import NO_MEMBER, PartitionState
from household.tables.recent_signals import RECENT_SIGNALS
from tests.household.graph_reference import Said
from tests.household.graph_worlds import (
    ALL_KINDS,
    EXACT,
    HOUR_US,
    NOW_US,
    Heard,
    assert_conserved,
    assert_taken_back,
    expected_of_households,
    fold,
    folded,
    graph_digest,
    random_told,
    reference_of,
    some_told,
    told_of_households,
)

LISTS = 300


@pytest.mark.parametrize("first", range(0, LISTS, 50))
def test_any_list_in_any_order_is_one_state_and_what_the_reference_says(first):
    for seed in range(first, first + 50):
        dice, told = some_told(seed)
        expected, reference = expected_of_households(told), reference_of(told)
        digests = set()
        for _ in range(4):
            dice.shuffle(told)
            state = folded(told, batch_rows=dice.choice((1, 3, 1_000)))
            digests.add(state_digest(state))
            read = told_of_households(state)
            assert {name: read.get(name) for name in expected} == expected, f"seed {seed}"
            assert {name for name, readings in read.items() if readings[0]} == set(expected), f"seed {seed}"
            assert_same_graph(state, reference, seed)
        assert len(digests) == 1, f"seed {seed}"


def assert_same_graph(state, reference, seed):
    membership = state.graph.membership
    ours = {(name, frozenset(one.ids), frozenset(one.subjects)) for name, one in membership.households.items()}
    theirs = {(one.id, frozenset(one.ids), frozenset(one.people)) for one in reference.homes}
    assert ours == theirs, f"seed {seed}"
    assert {key[-4:] for key in membership.quarantined} == reference.aside, f"seed {seed}"
    for identifier, timeline in membership.timelines.items():
        assert timeline.holder == reference.holder(identifier), f"seed {seed}: {identifier}"


@pytest.mark.parametrize("scope", list(Scope))
def test_one_scope_may_have_no_features_at_all(scope):
    """Rows of nothing all begin at one place."""
    plan = replace(EXACT, features=tuple(one for one in EXACT.features if one.scope is scope and not one.window))
    windows = tuple(replace(one, scope=scope) for one in EXACT.windows)
    plan = replace(plan, windows=windows)
    for seed in range(20):
        _, told = some_told(seed)
        state = folded(told, plan=plan)
        for row in range(state.households.count):
            for member in range(state.members.count):
                state.readings(row, member, NOW_US)


def test_told_twice_is_told_once():
    for seed in range(20):
        _, told = some_told(seed)
        once = folded(told)
        again = fold(once, told)
        assert set(again.statuses.tolist()) <= {Status.DUPLICATE}
        assert graph_digest(once) == graph_digest(folded(told))


def test_a_merge_taken_back_is_a_log_without_it_byte_for_byte():
    count = 0
    for seed in range(150):
        dice, told = some_told(seed)
        causes = {one.why for one in told if isinstance(one, Said) and one.kind == "merge"}
        for cause in causes:
            count += 1
            assert_taken_back(dice, told, cause, seed)
    assert count > 100


def test_whatever_the_kinds_of_features_graph_events_may_come_at_any_time_between_the_signals():
    for seed in range(60):
        dice, told = some_told(seed)
        heard = [one for one in told if isinstance(one, Heard)]
        digests = set()
        for _ in range(4):
            order = list(heard)
            for said in (one for one in told if isinstance(one, Said)):
                order.insert(dice.randint(0, len(order)), said)
            digests.add(state_digest(folded(order, plan=ALL_KINDS, batch_rows=dice.choice((1, 5, 1_000)))))
        assert len(digests) == 1, f"seed {seed}"


def test_everything_is_conserved_after_every_event():
    for seed in range(60):
        dice, told = some_told(seed)
        dice.shuffle(told)
        assert_conserved(told)


def test_an_orphan_that_was_merged_with_others_leaves_them_once_somebody_holds_it():
    number, house, ben = "msisdn:+441", "home-1", "member:ben"
    told = [
        Heard(b"s1", NOW_US - 9 * HOUR_US, 7.0, identifier=number),
        Heard(b"s2", NOW_US - 9 * HOUR_US, 5.0, household=house),
        Said(b"g1", "merge", NOW_US - 8 * HOUR_US, household=house, other=number),
        Said(b"g2", "link", NOW_US - 7 * HOUR_US, identifier=number, subjects=(ben,)),
    ]
    state = folded([])
    for one in told:
        fold(state, [one])
        told_of_households(state)  # as if each were asked about in between
    read = told_of_households(state)
    assert (read[house][0], read[ben][0]) == (1.0, 1.0)
    assert read == told_of_households(folded(told))


def test_an_identifier_that_ends_as_a_span_of_another_would_is_itself():
    account, flat = "account:12345", "account:12345#2"
    told = [
        Said(b"g1", "link", NOW_US - 9 * HOUR_US, identifier=account, subjects=("member:anna",)),
        Heard(b"s1", NOW_US - 8 * HOUR_US, 7.0, identifier=account),
        Heard(b"s2", NOW_US - 8 * HOUR_US, 5.0, identifier=flat),
    ]
    state = folded(told)
    for one in (state, thaw(frozen_of(state))):
        read = told_of_households(one)
        assert (read["member:anna"][0], read[flat][0]) == (1.0, 1.0)


def test_another_plan_finds_who_belongs_together_as_it_was_unless_it_believes_otherwise():
    for seed in range(20):
        dice, told = some_told(seed)
        state = folded(told)
        before, wanted = state.graph.membership, told_of_households(state)
        new = migrated(state, replace(EXACT, name="next"))
        assert new.graph.membership is before
        assert told_of_households(new) == told_of_households(thaw(frozen_of(new))) == wanted, f"seed {seed}"
        fold(new, random_told(dice, said_count=3, heard_count=0))
        assert told_of_households(new) == told_of_households(thaw(frozen_of(new))), f"seed {seed}"
        stricter = migrated(new, replace(EXACT, name="strict", graph=replace(EXACT.graph, members_most=1)))
        assert stricter.graph.membership is not before
        assert told_of_households(stricter) == told_of_households(thaw(frozen_of(stricter))), f"seed {seed}"


def test_a_recycled_number_gives_its_next_holder_nothing():
    number = "msisdn:+441"
    old, new = "member:anna", "member:ben"
    told = [
        Said(b"g1", "link", NOW_US - 9 * HOUR_US, identifier=number, subjects=(old,)),
        Heard(b"s1", NOW_US - 8 * HOUR_US, 7.0, identifier=number),
        Said(b"g2", "recycle", NOW_US - 7 * HOUR_US, identifier=number),
        Said(b"g3", "link", NOW_US - 5 * HOUR_US, identifier=number, subjects=(new,)),
        Heard(b"s2", NOW_US - 6 * HOUR_US, 1.0, identifier=number),
        Heard(b"s3", NOW_US - 4 * HOUR_US, 2.0, identifier=number),
    ]
    for order in itertools.permutations(told):
        read = told_of_households(folded(list(order)))
        assert (read[old][0], read[new][0]) == (1.0, 2.0)
        assert (read[old][-1], read[new][-1]) == (7.0, 3.0)


def test_what_was_settled_stays_and_what_comes_late_is_cut_exactly():
    number, day = "msisdn:+441", 24 * HOUR_US
    state = folded([Heard(b"s%d" % i, NOW_US - i * HOUR_US, 1.0, identifier=number) for i in range(1, 9)])
    recent = state.tables.of(RECENT_SIGNALS)
    assert len(recent) == 8
    for hours, left in ((18, 6), (30, 0)):
        assert apply_tick(state, epoch=1, stamp_us=NOW_US + hours * HOUR_US)
        assert len(recent) == left
        if left:
            cut = Said(b"g1", "recycle", NOW_US - 3 * HOUR_US - 1, identifier=number)
            fold(state, [cut])
            assert read_of(state, number)[0] == 5.0
            assert read_of(state, f"{number}#{cut.time_us}")[0] == 3.0
    other = Said(b"g2", "recycle", NOW_US - 2 * HOUR_US - 1, identifier=number)
    fold(state, [other])
    assert sum(count for count, *_ in told_of_households(state).values()) == 8.0
    assert read_of(state, f"{number}#{cut.time_us}")[0] == 3.0, "older than the lateness: it cannot be told apart"
    assert day == state.plan.clock.lateness_us


def read_of(state, key):
    return state.readings(state.households.find(key.encode()), NO_MEMBER, NOW_US)[::2]


def test_a_state_that_was_put_away_goes_on_as_the_one_that_was_not():
    for seed in range(40):
        dice, told = some_told(seed)
        place = dice.randint(0, len(told))
        state = folded(told[:place], plan=ALL_KINDS)
        again = thaw(frozen_of(state))
        for one in (state, again):
            fold(one, told[place:])
        assert state_digest(state) == state_digest(again), f"seed {seed}"
        assert told_of_households(state) == told_of_households(again)


def frozen_of(state):
    freeze = Freeze(state)
    while not freeze.step():
        pass
    return freeze.end()


def test_what_is_being_frozen_is_the_moment_it_began_whatever_graph_events_come_meanwhile():
    for seed in range(40):
        dice, told = some_told(seed)
        place = dice.randint(0, len(told))
        state = folded(told[:place])
        before = state_digest(state)
        freeze = Freeze(state)
        fold(state, told[place:])
        while not freeze.step(1):
            pass
        assert state_digest(thaw(freeze.end())) == before, f"seed {seed}"


def test_another_plan_keeps_all_of_it():
    for seed in range(40):
        dice, told = some_told(seed)
        place = dice.randint(0, len(told))
        state = migrated(folded(told[:place]), replace(EXACT, name="other"))
        fold(state, [one for one in told[place:] if isinstance(one, Heard)])
        read = told_of_households(state)
        assert sum(count for count, *_ in read.values()) == sum(isinstance(one, Heard) for one in told)


def test_older_terms_know_no_graph():
    state = PartitionState(plan=EXACT, stream_clock=False, fold_version=2)
    apply_epoch(state, epoch=1, fold_version=2)
    told = [
        Said(b"g1", "join", NOW_US, subjects=("member:anna",), household="h1"),
        Heard(b"s1", NOW_US, 1.0, identifier="msisdn:+441"),
        Heard(b"s2", NOW_US, 1.0, household="h1"),
    ]
    assert fold(state, told).statuses.tolist() == [Status.BAD_KEY, Status.BAD_KEY, Status.APPLIED]


@pytest.mark.parametrize("fault", ["cut", "span", "unmerge", "orphan", "tie", "group", "quarantine", "recycle"])
def test_a_planted_fault_is_found(fault, monkeypatch):
    match fault:
        case "cut":
            monkeypatch.setattr(telling, "fold_anew", lambda *_: None)
        case "span":
            monkeypatch.setattr(Graph, "are_cut", lambda _, rows: np.zeros(rows.shape[0], np.bool_))
        case "unmerge":
            monkeypatch.setattr(Membership, "_make_anew", lambda *_: None)
        case "orphan":
            monkeypatch.setattr(Graph, "_orphan_keys", lambda *_: [])
        case "tie":
            monkeypatch.setattr(Membership, "_merge", merged_by_name)
        case "group":
            monkeypatch.setattr(PartitionState, "seen_together", lambda one, home, member: (one.cells, home, member))
        case "quarantine":
            monkeypatch.setattr(Membership, "_put_aside", lambda *_: None)
        case "recycle":
            monkeypatch.setattr(Timeline, "recycle", Timeline.unlink)
    with pytest.raises(AssertionError):
        assert_some_lists()


def assert_some_lists():
    for seed in range(50):
        dice, told = some_told(seed)
        dice.shuffle(told)
        expected = expected_of_households(told)
        state = folded(told)
        read = told_of_households(state)
        assert {name: read.get(name) for name in expected} == expected
        assert_same_graph(state, reference_of(told), seed)


def merged_by_name(self, event):
    """Merge as Membership does, but let the smaller id survive whoever was seen first."""
    ours, theirs = self._seen(event.household, event.time_us), self._seen(event.other, event.time_us)
    if event.cause in self._unmerged or ours == theirs:
        return
    stays, goes = sorted((ours, theirs))
    gone, kept = self.households.pop(goes), self.households[stays]
    kept.ids |= gone.ids
    kept.subjects |= gone.subjects
    self._survivor[goes] = stays


def test_who_leaves_a_household_that_has_more_than_herself_moves_out():
    anna = "member:anna"
    told = [
        Said(b"g1", "merge", NOW_US - 4, household="h1", other=anna),
        Said(b"g2", "leave", NOW_US - 2, subjects=(anna,)),
        Heard(b"s1", NOW_US - 3, 5.0, household="h1"),
        Heard(b"s2", NOW_US - 1, 2.0, identifier=anna),
    ]
    again = Said(b"g3", "join", NOW_US - 3, subjects=(anna,), household="h1")
    for one in (told, [*told, again]):
        read = told_of_households(folded(one))
        assert sorted(spent for *_, spent in read.values()) == [2.0, 5.0]
