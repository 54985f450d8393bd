"""What is recorded as handed over and was not.

Laws: from its record on a contact counts; so each that is recorded is made, or it is recorded that it was kept back,
whoever leaves meanwhile and whatever becomes of the action; nobody takes an action while that is being recorded of it;
a contact that was made is never given back by it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.log.contract import RecordKind
from hearth.v1 import decision_pb2, delivery_pb2
from household.digest import state_digest
from tests.actors.harness import (
    DAY,
    HOUR,
    MINUTE,
    MONDAY,
    Hearth,
    SettableClock,
    SettableLease,
    corner,
    in_loop,
    kinds,
    replayed,
    running,
    signal,
)
from tests.actors.test_delivery import changed, to_send
from tests.household.side import sides_of

OVERNIGHT = corner(
    ("outbound: [push, sms]", "outbound: sms"),
    ("valid: 1h", "valid: 1d"),
    ("check: {source: app}", "check: {source: app, action_window: 1d}"),
)
Deliveries = AsyncGenerator[delivery_pb2.SubscribeResponse, None]

EVENING, NIGHT, MORNING = (MONDAY + hours * HOUR for hours in (10, 11, 23))
"""Quiet hours are from 21:00 to 9:00."""


async def contacts(hearth: Hearth) -> dict[str, list[bool]]:
    """Return by household whether each of its contacts counts."""

    def read(state):
        return {state.households.key(row).decode(): one.contacts for row, one in sides_of(state).items()}

    found = await hearth.in_state(read)
    return {household: [one.is_handed for one in made] for household, made in found.items()}


async def turns(hearth: Hearth, count: int = 30) -> None:
    for _ in range(count):
        await hearth.turn()


async def contacts_in_the_end(hearth: Hearth, wanted: dict[str, list[bool]]) -> dict[str, list[bool]]:
    """Return the contacts, once they are as wanted or have had their time: what is said again takes a group more."""
    for _ in range(100):
        if (found := await contacts(hearth)) == wanted:
            return found
        await turns(hearth)
    return found


async def nothing_more(hearth: Hearth, gateway: Deliveries) -> None:
    """Let a gateway go on; fail if it is handed anything. It has left then."""
    waiting = asyncio.ensure_future(anext(gateway))
    await turns(hearth)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])


@asynccontextmanager
async def busy_with_the_first_of(
    hearth: Hearth, channel: str, *names: str
) -> AsyncIterator[tuple[list[str], Deliveries]]:
    """Let a gateway be handed the first of some actions that are recorded together; yield their ids, and its stream."""
    ids = [await to_send(hearth, name) for name in names]
    async with hearth.subscribed(channel) as gateway:
        assert (await anext(gateway)).household == names[0]
        yield ids, gateway


# --- while it is being recorded ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaves", ["nobody", "who had it"])
@in_loop
async def test_nobody_takes_an_action_while_it_is_recorded_that_it_was_kept_back(tmp_path: Path, leaves: str):
    clock = SettableClock(EVENING)
    async with running(tmp_path / "log", clock, plan=OVERNIGHT, look_every_s=0.001) as hearth:
        async with busy_with_the_first_of(hearth, "sms", "a", "b") as (ids, slow):
            await hearth.ack("a", ids[0])
            hearth.files.hold()
            clock.at_us = NIGHT
            next_one = asyncio.ensure_future(anext(slow))
            await hearth.files.held()
            clock.at_us = MORNING
            if leaves != "nobody":
                next_one.cancel()
                await asyncio.wait([next_one])
            async with hearth.subscribed("sms") as other:
                waiting = asyncio.ensure_future(anext(other))
                await turns(hearth)
                assert not waiting.done(), "its contact would be taken back"
                hearth.files.release()
                both = {next_one, waiting} if leaves == "nobody" else {waiting}
                (first, *_), left = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                assert first.result().action.action_id == ids[1]
                assert await contacts(hearth) == {"a": [True], "b": [True]}
                for one in left:
                    one.cancel()
                    await asyncio.wait([one])
        wanted = await hearth.digest()
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == wanted


# --- whatever becomes of it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["decline", "accept", "expiry", "expiry while the gateway is stuck"])
@in_loop
async def test_what_ends_between_its_record_and_its_turn_counts_no_contact(tmp_path: Path, by: str):
    clock = SettableClock()
    async with running(tmp_path / "log", clock) as hearth:
        async with busy_with_the_first_of(hearth, "push", "a", "b", "c") as (ids, slow):
            assert await contacts(hearth) == {"a": [True], "b": [True], "c": [True]}
            left = [True]
            match by:
                case "decline":
                    await hearth.decline("b", ids[1], member="m")
                case "accept":
                    await hearth.accept("b", ids[1], member="m")
                case _:
                    clock.pass_us(15 * MINUTE)
                    await hearth.tick()
                    assert hearth.counter("expired") == 3
                    left = []
            if by == "expiry while the gateway is stuck":
                hearth.shard._deliveries.shares.settle()
                await hearth.shard._deliveries.shares.settled()
            elif left:
                assert (await anext(slow)).household == "c"
            else:
                await nothing_more(hearth, slow)
            wanted_contacts = {"a": [True], "b": [], "c": left}
            assert await contacts_in_the_end(hearth, wanted_contacts) == wanted_contacts
        wanted = await hearth.digest()
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == wanted


@in_loop
async def test_it_is_recorded_again_where_its_household_was_busy_in_that_very_group(tmp_path: Path):
    clock = SettableClock(EVENING)
    async with (
        running(tmp_path, clock, plan=OVERNIGHT) as hearth,
        busy_with_the_first_of(hearth, "sms", "a", "b") as (ids, slow),
    ):
        hearth.files.hold()
        clock.at_us = NIGHT
        first = asyncio.ensure_future(hearth.ingest(signal("x", "a", "visit", NIGHT)))
        await hearth.files.held()
        # Both wait for the next group.
        report = asyncio.ensure_future(hearth.report("b", ids[1], decision_pb2.OUTCOME_IMPRESSION, member="m"))
        next_one = asyncio.ensure_future(anext(slow))
        await turns(hearth)
        hearth.files.release()
        await asyncio.gather(first, report)
        await turns(hearth)
        assert await contacts_in_the_end(hearth, {"a": [True], "b": [False]}) == {"a": [True], "b": [False]}
        next_one.cancel()
        await asyncio.wait([next_one])


# --- whoever leaves ---------------------------------------------------------------------------------------------------


@in_loop
async def test_what_a_gateway_leaves_behind_of_what_was_recorded_counts_when_another_has_it(tmp_path: Path):
    async with running(tmp_path / "log") as hearth:
        async with busy_with_the_first_of(hearth, "push", "a", "b", "c") as (ids, _):
            pass
        await hearth.shard._deliveries.shares.settled()
        assert await contacts(hearth) == {"a": [True], "b": [False], "c": [False]}
        async with hearth.subscribed("push") as other:
            assert {(await anext(other)).action.action_id for _ in range(3)} == set(ids)
        assert await contacts(hearth) == {"a": [True], "b": [True], "c": [True]}
        assert kinds(hearth.disk_copy(tmp_path / "copy")).count(RecordKind.DELIVERY) == 3


@in_loop
async def test_who_leaves_while_a_hand_over_is_recorded_counts_no_contact(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await to_send(hearth)
        hearth.files.hold()
        async with hearth.subscribed("push") as leaving:
            waiting = asyncio.ensure_future(anext(leaving))
            await hearth.files.held()
            waiting.cancel()
            await asyncio.wait([waiting])
        hearth.files.release()
        await hearth.shard._deliveries.shares.settled()
        assert await contacts(hearth) == {"h": [False]}


@in_loop
async def test_what_could_not_be_recorded_without_a_lease_is_recorded_with_the_next(tmp_path: Path):
    lease = SettableLease()
    async with running(tmp_path, lease=lease) as hearth:
        async with busy_with_the_first_of(hearth, "push", "a", "b"):
            lease.held = False
        shares = hearth.shard._deliveries.shares
        await shares.settled()
        assert await contacts(hearth) == {"a": [True], "b": [True]}
        lease.held = True
        shares.settle()
        await shares.settled()
        assert await contacts(hearth) == {"a": [True], "b": [False]}


@in_loop
async def test_what_an_owner_before_recorded_is_handed_over_and_not_taken_back(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        async with busy_with_the_first_of(hearth, "push", "a", "b") as (ids, slow):
            await hearth.shard.release(0)
            await hearth.assign(0)
            changed(hearth)
            async with hearth.subscribed("push") as other:
                assert (await anext(other)).action.action_id == ids[1]
            assert await contacts(hearth) == {"a": [True], "b": [True]}
            clock.pass_us(DAY)
            await nothing_more(hearth, slow)
        assert await contacts(hearth) == {"a": [True], "b": [True]}
