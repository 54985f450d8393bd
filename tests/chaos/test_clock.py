"""The machine's wall clock jumps by ± 1 h and ± 1 day while a shard decides, ticks, contacts and keeps quiet hours.

Laws, judged by a time that never jumps:
    no cap and no quiet hour is broken;
    no timer fires early, late or twice: ticks are at the same instants as in the same days without a jump, and the
        state's hash at the end is the same;
    while the wall clock is away nothing is answered, and the clock says that it is unconfirmed;
    once a person has confirmed a wall clock that was put right, time goes on from there and never back;
    leases do not move.
Negative control: a clock that follows the wall breaks the quiet hours, the caps and the timers.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from actors.clock import WallClock
from actors.log.contract import RecordKind
from cluster.leases import LeaseHolder, LeaseSettings, LeaseWatch
from cluster.metadata import MetadataStore
from hearth.v1 import signal_pb2
from household.digest import state_digest
from household.ledger import next_due_us
from household.state import PartitionState
from tests.actors.harness import (
    DAY,
    HOUR,
    MINUTE,
    MONDAY,
    Hearth,
    corner,
    in_loop,
    outcome,
    reason_of,
    records,
    running,
    signal,
)
from wire.failures import CallFailed

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

DAY_COUNT = 3
STEP_US = 20 * MINUTE
HOUSEHOLD_COUNT = 4
JUMPS_US = (HOUR, -HOUR, DAY, -DAY)
JUMP_SHARE = 0.4
"""Of the steps, how many the wall clock is away in."""
JUMPS_BY_SEED = {1: JUMPS_US[:2], 2: JUMPS_US[2:], 3: JUMPS_US}
SETTLE_TURNS = 12
ARRIVES_TURNS = 200
"""Where a clock follows the wall, what is recorded as handed over may never arrive."""

PLAN = corner(
    ("outbound: [push, sms]", "outbound: sms"),
    ("valid: 1h", "valid: 1d"),
    ("check: {source: app}", "check: {source: app, action_window: 3h}"),
)


class Machine:
    """A machine whose wall clock is set by others."""

    def __init__(self) -> None:
        self.true_us = MONDAY
        self.jumped_us = 0

    def now_ns(self) -> int:
        return self.true_us * 1_000

    def wall_us(self) -> int:
        return self.true_us + self.jumped_us

    def steady(self) -> WallClock:
        return WallClock(boot=self, wall_us=self.wall_us)


class FollowsWall:
    """The mistake: says whatever the wall clock says."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def now_us(self) -> int:
        return self._machine.wall_us()

    def is_confirmed(self) -> bool:
        return True

    def confirm(self) -> None: ...


@dataclass
class Days:
    """What happened, by the time that never jumps."""

    handed_over_us: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """By household, which has one member."""
    to_acknowledge: list[tuple[str, str]] = field(default_factory=list)
    """Household and action."""
    ticks_us: list[int] = field(default_factory=list)
    """When time moved on for what waits and expires."""
    digest: str = ""
    away_count: int = 0
    answered_while_away: list[int] = field(default_factory=list)


async def live(directory: Path, clock_of: Callable[[Machine], object], *, jump_seed: int | None, seed: int = 7) -> Days:
    """Let some days pass in a few households, and return what happened."""
    machine, days = Machine(), Days()
    chance, jumps = np.random.default_rng(seed), np.random.default_rng(jump_seed)
    async with running(directory, clock_of(machine), plan=PLAN) as hearth, hearth.subscribed("sms") as deliveries:

        async def listen() -> None:
            async for delivery in deliveries:
                days.handed_over_us[delivery.household].append(machine.true_us)
                days.to_acknowledge.append((delivery.household, delivery.action.action_id))

        listening = asyncio.create_task(listen())
        for number in range(HOUSEHOLD_COUNT):
            await hearth.ingest(_consent(f"h{number}", machine))
        for step in range(DAY_COUNT * DAY // STEP_US):
            if jump_seed is not None and jumps.random() < JUMP_SHARE:
                machine.jumped_us = int(jumps.choice(JUMPS_BY_SEED[jump_seed]))
                await _while_away(hearth, machine, days, step)
                machine.jumped_us = 0
            await _step(hearth, machine, chance, step)
            for _ in range(ARRIVES_TURNS):
                if not await hearth.in_state(lambda state: _on_their_way(state, days)):
                    break
                await hearth.turn()
            for household, action_id in sorted(days.to_acknowledge):
                await hearth.ack(household, action_id, request_id=action_id)
            days.to_acknowledge.clear()
            machine.true_us += STEP_US
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        days.digest = await hearth.in_state(_digest_wherever_records_lie)
    days.ticks_us = [one.record.stamp_us for one in records(directory) if one.record.kind is RecordKind.TICK]
    return days


async def _while_away(hearth: Hearth, machine: Machine, days: Days, step: int) -> None:
    days.away_count += 1
    visit = signal(f"v{step}", "h0", "visit", machine.true_us, member="m")
    answers = [
        await outcome(hearth.decide("h0", visit, member="m", request_id=f"away-{step}")),
        await outcome(hearth.ingest(*_newcomer(step, machine))),
    ]
    if not all(isinstance(one, CallFailed) and reason_of(one) == "CLOCK_UNCONFIRMED" for one in answers):
        days.answered_while_away.append(step)
        await _settle(hearth)
    await hearth.tick()
    hearth.shard._deliveries.look_anew()
    await _some_turns(hearth)


def _consent(household: str, machine: Machine) -> signal_pb2.Signal:
    consent = {"marketing": True}
    return signal(f"{household}-consent", household, "consent", machine.true_us, member="m", fields=consent)


def _checks(step: int, household: str, machine: Machine) -> list[signal_pb2.Signal]:
    return [signal(f"{step}-{household}-{n}", household, "check", machine.true_us, member="m") for n in (1, 2)]


def _newcomer(step: int, machine: Machine) -> list[signal_pb2.Signal]:
    """No cap holds it back: it is contacted at once, if this is not a quiet hour."""
    household = f"newcomer-{step}"
    return [_consent(household, machine), *_checks(step, household, machine)]


async def _step(hearth: Hearth, machine: Machine, chance: np.random.Generator, step: int) -> None:
    # What this very hour lets out goes before another decision may withdraw it: or threads would say which is first.
    await _settle(hearth)
    await hearth.ingest(*_newcomer(step, machine))
    await _decided(hearth)
    for number in chance.permutation(HOUSEHOLD_COUNT)[: int(chance.integers(1, HOUSEHOLD_COUNT))]:
        await hearth.ingest(*_checks(step, f"h{number}", machine))
        await _decided(hearth)
    if chance.random() < 0.3:
        await _settle(hearth)
        asking = f"h{chance.integers(HOUSEHOLD_COUNT)}"
        visit = signal(f"v{step}", asking, "visit", machine.true_us, member="m")
        await hearth.decide(asking, visit, member="m", request_id=f"request-{step}")
    await _settle(hearth)


async def _decided(hearth: Hearth) -> None:
    # Each decision before the next signals, so that the log is the same every time.
    await hearth.until(lambda: not hearth.counter("pending"))


async def _settle(hearth: Hearth) -> None:
    """Let everything that is due happen."""
    await hearth.tick()
    while await hearth.in_state(lambda state: _is_tick_due(hearth, state)) or hearth.counter("pending"):
        await hearth.turn()
    hearth.shard._deliveries.look_anew()
    now = asyncio.get_running_loop().time()
    while await hearth.in_state(lambda _: _can_be_handed_over(hearth, now)):
        await hearth.turn()
    await _some_turns(hearth)


def _is_tick_due(hearth: Hearth, state: PartitionState) -> bool:
    due_us = next_due_us(state)
    return due_us is not None and due_us <= hearth.clock.now_us()


def _can_be_handed_over(hearth: Hearth, now: float) -> bool:
    owner = hearth.shard._owned[0].owner
    deliveries = hearth.shard._deliveries
    (subscription,) = deliveries._subscriptions
    had = {key: share.channel for key, share in deliveries.shares.of(owner.partition).items()}
    return bool(deliveries.due(owner, subscription, had, deliveries.listened(), now))


def _on_their_way(state: PartitionState, days: Days) -> set[str]:
    """Return the actions that are recorded as handed over and have not reached the gateway yet."""
    handed = {one.action_id for one in state.outbox if one.handed_us}
    return handed - {action_id for _, action_id in days.to_acknowledge}


def _digest_wherever_records_lie(state: PartitionState) -> str:
    """Of the state at its end: how many hand-overs one record tells of hangs on threads, and moves all behind it."""
    for table in (state.decisions, state.requests):
        table.set(table.slots_in_order(), offset=0)
    return state_digest(state)


async def _some_turns(hearth: Hearth) -> None:
    for _ in range(SETTLE_TURNS):
        await hearth.turn()


def broken_laws(days: Days, calm: Days) -> set[str]:
    broken = set()
    for handed_over_us in days.handed_over_us.values():
        if any(_is_quiet(time_us) for time_us in handed_over_us):
            broken.add("quiet hours")
        if any(later - earlier < DAY for earlier, later in pairwise(handed_over_us)):
            broken.add("caps")
    if days.ticks_us != calm.ticks_us:
        broken.add("timers")
    if days.digest != calm.digest:
        broken.add("state")
    if days.answered_while_away:
        broken.add("unavailable")
    return broken


def _is_quiet(time_us: int) -> bool:
    hour = time_us % DAY // HOUR
    return hour >= 21 or hour < 9


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Days:
    return asyncio.run(live(tmp_path_factory.mktemp("calm"), Machine.steady, jump_seed=None))


def test_the_days_hold_what_jumps_could_break(calm: Days) -> None:
    assert broken_laws(calm, calm) == set()
    contacts = [len(calm.handed_over_us[f"h{number}"]) for number in range(HOUSEHOLD_COUNT)]
    assert contacts == [DAY_COUNT] * HOUSEHOLD_COUNT
    assert len(calm.handed_over_us) > 40
    assert len(calm.ticks_us) > 24


@pytest.mark.parametrize("seed", JUMPS_BY_SEED)
def test_jumps_of_the_wall_clock_change_nothing_that_was_answered(calm: Days, tmp_path: Path, seed: int) -> None:
    days = asyncio.run(live(tmp_path, Machine.steady, jump_seed=seed))
    assert days.away_count > 20
    assert broken_laws(days, calm) == set()


def test_negative_control_a_clock_that_follows_the_wall_breaks_the_laws(calm: Days, tmp_path: Path) -> None:
    broken = [
        broken_laws(asyncio.run(live(tmp_path / f"{seed}", FollowsWall, jump_seed=seed)), calm)
        for seed in JUMPS_BY_SEED
    ]
    assert set.union(*broken) == {"quiet hours", "caps", "timers", "state", "unavailable"}


@pytest.mark.parametrize("wrong_by_us", JUMPS_US)
@in_loop
async def test_a_wall_clock_put_right_and_confirmed_is_followed_and_time_never_goes_back(
    tmp_path: Path, wrong_by_us: int
) -> None:
    machine = Machine()
    machine.jumped_us = wrong_by_us
    clock = machine.steady()
    async with running(tmp_path, clock, plan=PLAN) as hearth:
        said_us = [clock.now_us()]
        await hearth.ingest(signal("1", "h", "visit", clock.now_us(), member="m"))
        machine.jumped_us = 0
        assert not clock.is_confirmed()
        refused = await outcome(hearth.decide("h", member="m"))
        assert isinstance(refused, CallFailed)
        assert reason_of(refused) == "CLOCK_UNCONFIRMED"
        clock.confirm()
        assert clock.is_confirmed()
        for _ in range(6):
            await hearth.decide("h", member="m")
            said_us.append(clock.now_us())
            machine.true_us += STEP_US
        assert said_us == sorted(said_us)
        assert said_us[-1] == max(said_us[0], machine.true_us - STEP_US)


@pytest.mark.parametrize("jump_us", JUMPS_US)
def test_leases_do_not_move(jump_us: int) -> None:
    machine, store, settings = Machine(), MetadataStore("sqlite://"), LeaseSettings()
    lease = LeaseHolder(
        store,
        holder="a/1",
        node="n",
        process_id=1,
        process_started_s=1.0,
        on_revoked=lambda: None,
        settings=settings,
        clock=machine,
    )
    watch = LeaseWatch(margin_ms=settings.margin_ms, clock=machine)
    lease.register("")
    assert watch.expired(store.leases()) == []
    machine.jumped_us = jump_us
    assert lease.is_held()
    assert watch.expired(store.leases()) == []
    machine.true_us += settings.term_ms * 1_000 - 1
    assert lease.is_held()
    machine.true_us += 1
    assert not lease.is_held()
    machine.true_us += settings.margin_ms * 1_000 - 1
    assert watch.expired(store.leases()) == []
    machine.true_us += 1
    assert [one.holder for one in watch.expired(store.leases())] == ["a/1"]
    store.close()
