"""Freezing and thawing a partition's state.

Laws: whatever is folded while a freeze goes on, in whatever steps it is taken, what is thawed equals what was known
when it began, to the last bit; it folds on as the state it was taken of, moment for moment and row for row; and that
state does not notice that it was frozen. A freeze across a change of plan is stale and gives nothing. The controls at
the end break each of the three mechanisms in turn (rows of columns, and of tables, kept before they change, ids marked
as new) and must be seen.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from household.apply import Applied, apply_decision, apply_epoch, apply_signals, apply_tick
from household.columns.dedupe import DedupeWindow, window_of
from household.columns.windows import new_slab
from household.decision import Decision
from household.decision_bytes import encode_decision
from household.digest import state_digest
from household.freeze import Freeze, Frozen, thaw
from household.ledger import next_due_us
from household.migration import migrated
from household.plan import EventTimeRules, Plan
from household.state import PartitionState
from household.tables.frozen import TableFreeze
from tests.household.oracle import Event, batch_of
from tests.household.shop import APP, DAY, EAGER, HOUR, MINUTE, NONE, Shop
from tests.household.side import sides_of
from tests.household.test_apply_equals_oracle import BUSY, busy_events
from tests.household.worlds import START_US, S, event_lists, plans

Record = Callable[[PartitionState], object]
"""Folds one record and returns what came of it."""


def signals(events: list[Event], stamp_us: int) -> Record:
    # A batch is made anew each time: folding fills in times.
    return lambda state: apply_signals(state, batch_of(state.plan, events), stamp_us=stamp_us)


def told(came: object) -> object:
    """What came of a record, comparable."""
    return (came.statuses.tolist(), came.moments, came.effects) if isinstance(came, Applied) else came


def order(state: PartitionState) -> tuple[object, ...]:
    """Return what a digest does not show and a fold may depend on: rows and the order of tables."""
    return (
        [state.households.key(row) for row in range(state.households.count)],
        [(int(state.members.arrays.parents[row]), state.members.key(row)) for row in range(state.members.count)],
        [list(table) for table in state.tables],
        [[table.owner(slot) for slot in table.slots_in_order().tolist()] for table in state.tables],
        [table.next_due_us() for table in state.tables],
        next_due_us(state),
        state.tidied_us,
        state.dedupe.count,
        state.dedupe.arrays.times.shape,
    )


def known(state: PartitionState) -> tuple[object, ...]:
    return (state_digest(state), *order(state))


def check(begin: Callable[[], PartitionState], records: list[Record], at: int, steps: list[int]) -> Frozen:
    """Fold records with a freeze begun before record `at` and hold every law."""
    plain, wanted = begin(), []
    for record in records:
        wanted.append((known(plain), told(record(plain))))
    wanted.append((known(plain), None))

    state = begin()
    for record in records[:at]:
        record(state)
    frozen = frozen_while(state, records[at:], steps)
    assert known(state) == wanted[-1][0], "the running state noticed"

    thawed = thaw(frozen)
    for place in range(at, len(records)):
        assert known(thawed) == wanted[place][0]
        assert told(records[place](thawed)) == wanted[place][1]
    assert known(thawed) == wanted[-1][0]
    assert known(thaw(frozen)) == wanted[at][0], "folding on from it changed what was frozen"
    return frozen


def frozen_while(state: PartitionState, records: list[Record], steps: list[int]) -> Frozen:
    """Fold records while a freeze goes on; `steps[i]` rows are copied after record i."""
    freeze = Freeze(state)
    for place, record in enumerate(records):
        record(state)
        if place < len(steps) and steps[place]:
            freeze.step(steps[place])
    while not freeze.step(3):
        pass
    frozen = freeze.end()
    assert frozen is not None
    assert state.freeze is None
    assert state.dedupe.arrays.fresh.size == 0
    return frozen


# --- features and known ids -------------------------------------------------------------------------------------------


def small_tables(plan: Plan, *, stream_clock: bool) -> PartitionState:
    """Return a state whose slab and id window have to grow at once."""
    state = PartitionState(plan=plan, stream_clock=stream_clock)
    state.cells = state.cells._replace(slab=new_slab(4))
    state.dedupe = small_window()
    return state


def small_window() -> DedupeWindow:
    nothing = np.empty(0, np.uint64)
    return window_of(nothing, nothing, np.empty(0, np.int64), length=8)


@settings(max_examples=80, deadline=None)
@given(
    plan=plans(),
    events=event_lists(),
    size=st.integers(1, 9),
    at=st.integers(0, 40),
    steps=st.lists(st.integers(0, 4), max_size=40),
    stream_clock=st.booleans(),
    small=st.booleans(),
)
def test_features_and_known_ids_thaw_as_they_were_whatever_is_folded_meanwhile(
    plan, events, size, at, steps, stream_clock, small
):
    records = [
        signals(events[start : start + size], START_US + 60 * S + start * S) for start in range(0, len(events), size)
    ]

    def begin() -> PartitionState:
        return (small_tables if small else PartitionState)(plan=plan, stream_clock=stream_clock)

    check(begin, records, min(at, len(records)), steps)


@pytest.mark.parametrize("lateness_s", [pytest.param(1_000, marks=pytest.mark.chaos), 20])
@pytest.mark.parametrize("step", [0, 1, 40, 500])
def test_ids_rows_and_windows_may_need_room_during_a_freeze(step: int, lateness_s: int):
    plan = replace(BUSY, clock=EventTimeRules(lateness_us=lateness_s * S, future_us=10**12))
    events = busy_events(1_500, homes=300, span_s=2_000, seed=4)
    records = [signals(events[start : start + 50], START_US) for start in range(0, len(events), 50)]

    def begin() -> PartitionState:
        state = PartitionState(plan=plan, stream_clock=True)
        state.cells = state.cells._replace(slab=new_slab(2_000))
        return state

    state = begin()
    for record in records[:9]:
        record(state)
    assert state.dedupe.arrays.times.size > 450 * 2, "the window needs room soon after"
    before = (state.dedupe.arrays.times, state.cells.slab.bucket, state.cells.flat, state.households.arrays.hashes)
    frozen = check(begin, records, 9, [step] * 30)
    for record in records[9:]:
        record(state)
    after = (state.dedupe.arrays.times, state.cells.slab.bucket, state.cells.flat, state.households.arrays.hashes)
    assert all(one is not other for one, other in zip(before, after, strict=True)), "all of them were replaced"
    assert frozen.households.count < state.households.count


def test_windows_are_laid_down_without_gaps_but_those_of_their_capacity():
    events = busy_events(1_000, homes=20, span_s=2_000, seed=4)
    state = PartitionState(plan=BUSY, stream_clock=True)
    apply_signals(state, batch_of(BUSY, events), stamp_us=START_US)
    frozen = frozen_while(state, [], [])
    again = frozen_while(thaw(frozen), [], [])
    assert frozen.slab.bucket.shape[0] < state.cells.slab.free[-1], "runs that were given back are gone"
    assert again.slab.bucket.shape == frozen.slab.bucket.shape
    np.testing.assert_array_equal(again.household_cells, frozen.household_cells)


def test_nothing_thaws_to_nothing():
    check(lambda: PartitionState(plan=BUSY, stream_clock=False), [], 0, [])


def test_a_plan_without_features_or_members_thaws():
    plan = replace(BUSY, windows=(), features=(), journeys=())
    records = [signals(busy_events(60, homes=9, span_s=50, seed=2), START_US)]
    frozen = check(lambda: PartitionState(plan=plan, stream_clock=True), records, 1, [])
    assert frozen.household_cells.shape == (9, 0)


# --- decisions and what becomes of them -------------------------------------------------------------------------------


@dataclass
class Notebook:
    """Records as a shop's partition folds them."""

    plan: Plan
    records: list[Record] = field(default_factory=list)

    def state(self) -> PartitionState:
        return PartitionState(plan=self.plan, stream_clock=False)


class NotedShop(Shop):
    """A shop that notes each record it folds."""

    def __init__(self, plan: Plan = EAGER) -> None:
        super().__init__(plan)
        self.notebook = Notebook(plan, [lambda state: apply_epoch(state, epoch=1)])

    def fold(self, *events: Event) -> Applied:
        self.notebook.records.append(signals(list(events), self.now_us))
        return super().fold(*events)

    def record(self, decision: Decision) -> bool:
        offset, now_us, payload = self.offset + 1, self.now_us, encode_decision(decision, member_keys={})
        self.notebook.records.append(
            lambda state: apply_decision(state, decision, payload, epoch=1, offset=offset, stamp_us=now_us)
        )
        return super().record(decision)

    def pass_time(self, elapsed_us: int) -> None:
        now_us = self.now_us + elapsed_us
        self.notebook.records.append(lambda state: apply_tick(state, epoch=1, stamp_us=now_us))
        super().pass_time(elapsed_us)


def lived(seed: int, rounds: int) -> NotedShop:
    """Return a shop in which some households were offered things, sent things, and said what they thought of them."""
    chance, shop = np.random.default_rng(seed), NotedShop()
    offered: list[tuple[str, str, str]] = []
    for number in range(rounds):
        who = {"household": f"h{chance.integers(4)}", "member": ("anna", "ben", "")[chance.integers(3)]}
        match int(chance.integers(9)):
            case 0 | 1 if who["member"]:
                shop.third_check(**who)
            case 2 if who["member"]:
                shop.third_check(**who)
                decision = shop.decide(NONE, **who)
                offered += [(one.action_id, who["household"], who["member"]) for one in decision.slate]
            case 3 | 4:
                decision = shop.decide(APP, request_id=f"r{number % 7}", **who)
                offered += [(one.action_id, who["household"], who["member"]) for one in decision.slate]
            case 5 | 6 if offered:
                action_id, household, member = offered[-1 - int(chance.integers(min(6, len(offered))))]
                outcome = ("accept", "decline", "delivered", "undelivered", "impression")[chance.integers(5)]
                shop.report(outcome, action_id, household=household, member=member)
            case 7:
                shop.pass_time(int(chance.integers(1, 40)) * HOUR)
            case _:
                shop.signal("app.consent", is_on=1.0, age=float(chance.integers(20, 40)), **who)
        shop.now_us += int(chance.integers(3)) * 10 * MINUTE
    return shop


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rounds=st.integers(1, 40),
    at=st.floats(0, 1),
    steps=st.lists(st.integers(0, 3), max_size=30),
)
def test_decisions_and_what_became_of_them_thaw_as_they_were(seed, rounds, at, steps):
    notebook = lived(seed, rounds).notebook
    check(notebook.state, notebook.records, round(at * len(notebook.records)), steps)


def test_the_lives_above_hold_everything_that_can_become_of_an_action():
    found: dict[str, int] = {}
    for seed in range(25):
        state = lived(seed, 40).state
        for action in state.actions:
            found[action.status] = found.get(action.status, 0) + 1
        for name in ("expired", "withdrawn", "delivered", "served", "nothing", "moments"):
            found["count " + name] = found.get("count " + name, 0) + getattr(state.counters, name)
        for one in sides_of(state).values():
            for name in ("pending", "settled", "slates", "contacts", "declined_offers", "decisions"):
                found[name] = found.get(name, 0) + len(getattr(one, name))
        found["outbox"] = found.get("outbox", 0) + len(state.outbox)
        found["requests"] = found.get("requests", 0) + len(state.requests)
    assert min(found.values()) > 0
    assert {"live", "accepted", "declined", "expired", "withdrawn", "outbox", "requests"} <= found.keys()


def test_what_a_tick_forgets_is_in_what_was_frozen_before():
    shop = Shop(EAGER)
    shop.third_check(household="old")
    shop.decide(NONE, household="old")
    shop.now_us += 3 * DAY
    shop.third_check(household="new")
    shop.decide(NONE, household="new")
    frozen = frozen_while(shop.state, [], [])
    old, new = (shop.state.find(name)[0] for name in (b"old", b"new"))
    shop.pass_time(MINUTE)

    assert len(frozen.tables["slates"].frozen) == 2
    assert [shop.state.slates.owner(slot) for slot in shop.state.slates.slots_in_order().tolist()] == [new]
    assert not shop.state.slates.of(old)


# --- how a freeze ends ------------------------------------------------------------------------------------------------


def visited(shop: Shop, count: int) -> Shop:
    for number in range(count):
        shop.signal("app.visit", household=f"h{number}")
    return shop


def test_another_plan_makes_an_unfinished_freeze_stale():
    shop = visited(Shop(), 9)
    freeze = Freeze(shop.state)
    freeze.step(3)
    assert not freeze.is_stale
    shop.state = migrated(shop.state, EAGER)

    assert freeze.is_stale
    assert not freeze.step(1_000)
    visited(shop, 3)
    assert freeze.end() is None
    assert shop.state.dedupe.arrays.fresh.size == 0
    assert state_digest(thaw(frozen_while(shop.state, [], []))) == state_digest(shop.state)


def test_another_plan_changes_nothing_of_what_was_frozen():
    """The writer may still be at it."""
    shop = Shop()
    shop.third_check()
    assert shop.decide(NONE).send_channel
    channels = tuple(reversed(shop.state.plan.channels))
    frozen = frozen_while(shop.state, [], [])
    digest = state_digest(shop.state)
    plan = replace(shop.state.plan, channels=channels)
    channels_before = [one.channel for one in thaw(frozen).contacts]
    assert channels_before != [one.channel for one in migrated(shop.state, plan).contacts]
    assert state_digest(thaw(frozen)) == digest


def test_the_same_plan_again_does_not_make_a_freeze_stale():
    shop = visited(Shop(), 3)
    freeze = Freeze(shop.state)
    assert migrated(shop.state, shop.state.plan) is shop.state
    assert not freeze.is_stale
    while not freeze.step(1):
        pass
    assert freeze.end() is not None


def test_a_freeze_given_up_lets_go_and_another_may_begin():
    shop = visited(Shop(), 9)
    freeze = Freeze(shop.state)
    freeze.step(2)
    assert freeze.end() is None
    assert freeze.end() is None
    visited(shop, 2)
    assert shop.state.freeze is None
    assert state_digest(thaw(frozen_while(shop.state, [], []))) == state_digest(shop.state)


def test_two_freezes_at_once_are_a_defect():
    shop = visited(Shop(), 1)
    freeze = Freeze(shop.state)
    with pytest.raises(AssertionError, match="under way"):
        Freeze(shop.state)
    freeze.end()


def test_a_step_copies_no_more_rows_than_it_was_given():
    shop = visited(Shop(), 30)
    freeze = Freeze(shop.state)
    for expected in (10, 20, 30):
        freeze.step(10)
        assert int(freeze._households.is_kept.sum()) == expected
    freeze.end()


def test_a_frozen_state_may_be_frozen_again_while_it_is_held():
    shop = Shop()
    shop.third_check()
    digests, frozen = [], []
    for number in range(4):
        digests.append(state_digest(shop.state))
        frozen.append(frozen_while(shop.state, [lambda state: shop.decide(APP, request_id=f"r{number}")], []))  # noqa: B023
    assert len(set(digests)) == 4
    assert [state_digest(thaw(one)) for one in frozen] == digests


# --- controls: each mechanism, broken, must show ----------------------------------------------------------------------


def test_control_rows_that_are_not_kept_before_they_change_show(monkeypatch: pytest.MonkeyPatch):
    shop = visited(Shop(), 5)
    digest = state_digest(shop.state)
    monkeypatch.setattr(Freeze, "keep", lambda *_: None)
    frozen = frozen_while(shop.state, [lambda state: shop.signal("app.balance_check", household="h3")], [1])
    assert state_digest(thaw(frozen)) != digest


def test_control_rows_of_tables_that_are_not_kept_before_they_change_show(monkeypatch: pytest.MonkeyPatch):
    shop = Shop()
    shop.third_check()
    digest = state_digest(shop.state)
    monkeypatch.setattr(TableFreeze, "keep", lambda *_: None)
    frozen = frozen_while(shop.state, [lambda state: shop.decide(NONE)], [1])
    assert state_digest(thaw(frozen)) != digest


def test_control_ids_that_are_not_marked_as_new_show():
    shop = visited(Shop(), 5)
    freeze = Freeze(shop.state)
    shop.state.dedupe.end_marking()
    visited(shop, 1)
    with pytest.raises(AssertionError, match="ids found"):
        freeze.step(1_000)
