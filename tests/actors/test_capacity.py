"""Laws of a capacity that all households share: hand-overs that are recorded together never exceed it."""

import asyncio
from pathlib import Path

import pytest

from actors.shard.warm import fold_once
from household.deciding.hand_over import next_step
from tests.actors.harness import MINUTE, MONDAY, SettableClock, corner, in_loop, running
from tests.actors.test_delivery import changed, to_send

HOUSEHOLDS = ("a", "b", "c", "d", "e")

TWO_A_MINUTE = (
    "  quiet_hours:",
    "  rules: {gateway: {of: {channels: [push]}, capacity: 2, window: minute}}\n  quiet_hours:",
)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Have what weighs rules compiled before, where it is not yet: it may take longer than a test may."""
    fold_once()


@in_loop
async def test_hand_overs_of_one_record_stay_within_a_capacity_and_the_others_follow(tmp_path: Path):
    clock = SettableClock(MONDAY)
    async with running(tmp_path, clock, plan=corner(TWO_A_MINUTE)) as hearth:
        ids = {await to_send(hearth, household) for household in HOUSEHOLDS}
        came: set[str] = set()
        async with hearth.subscribed("push") as push:
            coming = asyncio.ensure_future(anext(push))
            for most in (2, 4, 5):
                while len(came) < most:
                    came.add((await coming).action.action_id)
                    coming = asyncio.ensure_future(anext(push))
                for _ in range(30):
                    await hearth.turn()
                assert not coming.done(), f"more than {most} were handed over"
                used = await hearth.in_state(lambda state: [one.count for one in state.capacities])
                assert max(used) <= 2
                clock.pass_us(MINUTE)
                changed(hearth)
            coming.cancel()
            await asyncio.wait([coming])
        assert came == ids


@in_loop
async def test_a_capacity_that_does_not_speak_of_a_member_holds_nobody_back(tmp_path: Path):
    never = TWO_A_MINUTE[0], TWO_A_MINUTE[1].replace("minute}", 'minute, when: "member.checks_7d > 100"}')
    async with running(tmp_path, plan=corner(never)) as hearth:
        ids = tuple([await to_send(hearth, household) for household in HOUSEHOLDS])
        notes = await hearth.shard._owned[0].owner.note_deliveries(
            ids, lambda state, action_id: next_step(state, action_id, frozenset({"push"}))
        )
        assert notes.keys() == set(ids)
