"""Journeys with states in a live shard.

Laws: what time brings up is decided and handed over with nobody asking; what was on its way in one owner's term goes on
in the next's; the log folds to what was served; of many that are due at once each tick moves some.
"""

from pathlib import Path

import pytest

from household.digest import state_digest
from household.plan import Plan
from household.state import PartitionState
from household.tables.instances import MOVED_AT_ONCE
from tests.actors.harness import DAY, HOUR, MINUTE, MONDAY, Hearth, SettableClock, in_loop, replayed, running, signal
from tests.household.journey_world import plan_of

JOURNEY = """
trigger: {on: wallet.topup}
again: once
goal: {on: app.visit}
states:
  invite: {act: invite, within: 1h, blocked: skip, then: waiting}
  waiting: {wait: {on: wallet.payment}, then: paid, timeout: {after: 3d, then: remind}}
  remind: {act: remind, within: 1h, blocked: skip, then: end}
  paid: end
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_of(tmp_path_factory.mktemp("journey"), JOURNEY)


def where(state: PartitionState) -> list[str]:
    return [f"{one.step}:{one.ending}" for one in state.instances]


async def enters(hearth: Hearth, household: str = "h") -> None:
    now_us = hearth.clock.now_us()
    await hearth.ingest(
        signal(f"{household}-c", household, "app.consent", now_us, member="m"),
        signal(f"{household}-t", household, "wallet.topup", now_us, member="m"),
    )


async def delivered(hearth: Hearth, deliveries) -> str:
    """Return the offer that is handed over next, acknowledged."""
    delivery = (await anext(deliveries)).action
    await hearth.ack("h", delivery.action_id, channel="push")
    return delivery.offer


@in_loop
async def test_what_time_brings_up_is_handed_over_with_nobody_asking(tmp_path: Path, plan: Plan):
    async with (
        running(tmp_path / "log", SettableClock(MONDAY + HOUR), plan=plan) as hearth,
        hearth.subscribed("push") as sent,
    ):
        await enters(hearth)
        assert await delivered(hearth, sent) == "invite"
        assert await hearth.in_state(where) == ["waiting:LIVE"]

        hearth.clock.pass_us(3 * DAY)
        await hearth.tick()

        assert await delivered(hearth, sent) == "remind"
        assert await hearth.in_state(where) == ["remind:COMPLETED"]
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == await hearth.digest()


@in_loop
async def test_what_was_on_its_way_goes_on_with_the_next_owner(tmp_path: Path, plan: Plan):
    clock = SettableClock(MONDAY + HOUR)
    async with running(tmp_path / "one", clock, plan=plan) as hearth, hearth.subscribed("push") as sent:
        await enters(hearth)
        assert await delivered(hearth, sent) == "invite"
        hearth.disk_copy(tmp_path / "two")
    clock.pass_us(3 * DAY + MINUTE)
    async with running(tmp_path / "two", clock, plan=plan) as hearth, hearth.subscribed("push") as sent:
        await hearth.tick()
        assert await delivered(hearth, sent) == "remind"
        assert await hearth.in_state(where) == ["remind:COMPLETED"]


@in_loop
async def test_of_many_that_are_due_at_once_a_tick_moves_some_until_none_is_left(tmp_path: Path, plan: Plan):
    count = 2 * MOVED_AT_ONCE + 5
    async with running(tmp_path / "log", SettableClock(MONDAY + HOUR), plan=plan) as hearth:
        now_us = hearth.clock.now_us()
        await hearth.ingest(*(signal(f"t{n}", f"h{n}", "wallet.topup", now_us, member="m") for n in range(count)))
        await hearth.until(lambda: hearth.counter("pending") == 0)
        hearth.clock.pass_us(4 * DAY)
        await hearth.tick()
        await hearth.until(lambda: hearth.counter("pending") == 0)
        for _ in range(20):
            await hearth.tick()
        assert set(await hearth.in_state(where)) == {"remind:COMPLETED"}
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == await hearth.digest()
