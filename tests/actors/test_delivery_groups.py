"""Who is handed what, where several gateways listen.

Laws: the subscribers of one group share a channel's actions, each goes to one of them; what one of them had and did not
acknowledge goes to another as soon as it leaves, or after a while; another group has copies only where a playbook lists
it, at least once until it acknowledges, and only the first listed group's word settles; nothing is handed over that is
not recorded before.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from actors.log.contract import RecordKind
from household.digest import state_digest
from tests.actors.harness import (
    DAY,
    HOUR,
    Hearth,
    SettableClock,
    corner,
    in_loop,
    kinds,
    reason_of,
    replayed,
    running,
)
from tests.actors.test_delivery import nothing_comes, to_send
from wire.failures import CallFailed

SOON_S = 0.001

COPIED = corner(("push: {outbound: true,", "push: {outbound: true, groups: [main, archive],"))


async def taken(hearth: Hearth, *gateways) -> list[list[str]]:
    """Return the action ids that each gateway is handed until nothing comes any more."""
    found: list[list[str]] = [[] for _ in gateways]

    async def take(place: int) -> None:
        async for delivery in gateways[place]:
            found[place].append(delivery.action.action_id)

    tasks = [asyncio.create_task(take(place)) for place in range(len(gateways))]
    quiet, before = 0, 0
    while quiet < 30:
        await hearth.turn()
        count = sum(map(len, found))
        quiet, before = (quiet + 1, before) if count == before else (0, count)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return found


# --- one group --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [("", ""), ("a", "a"), ("a", "b")])
@in_loop
async def test_subscribers_of_a_channel_share_its_actions_whatever_group_they_name(tmp_path: Path, groups):
    async with running(tmp_path) as hearth, AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(hearth.subscribed("push", group=group)) for group in groups]
        wanted = {await to_send(hearth, f"h{number}") for number in range(20)}
        first, second = await taken(hearth, *gateways)
        assert sorted(first + second) == sorted(wanted), "each goes to one of them, once"
        assert min(len(first), len(second)) >= 5, "and each has its part"


@in_loop
async def test_actions_that_come_one_by_one_go_round(tmp_path: Path):
    async with running(tmp_path) as hearth, AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(hearth.subscribed("push")) for _ in range(3)]
        waiting = {asyncio.ensure_future(anext(one)): place for place, one in enumerate(gateways)}
        had = []
        for number in range(9):
            await hearth.turn()
            action_id = await to_send(hearth, f"h{number}")
            (done,), _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            place = waiting.pop(done)
            assert done.result().action.action_id == action_id
            await hearth.ack(f"h{number}", action_id)
            had.append(place)
            waiting[asyncio.ensure_future(anext(gateways[place]))] = place
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        assert sorted(had) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@in_loop
async def test_what_a_gateway_had_when_it_left_goes_to_another_of_its_group_at_once(tmp_path: Path):
    async with running(tmp_path) as hearth:
        async with hearth.subscribed("push") as dying:
            action_id = await to_send(hearth)
            assert (await anext(dying)).attempt == 1
            async with nothing_comes(hearth, "push"):
                pass
        async with hearth.subscribed("push") as other:
            again = await anext(other)
        assert (again.action.action_id, again.attempt) == (action_id, 2)


@in_loop
async def test_what_a_gateway_never_acknowledges_goes_to_another(tmp_path: Path):
    async with (
        running(tmp_path, redeliver_after_s=0.05) as hearth,
        hearth.subscribed("push") as silent,
        hearth.subscribed("push") as other,
    ):
        action_id = await to_send(hearth)
        told = await asyncio.gather(anext(silent), anext(other))
        assert sorted((one.attempt, one.action.action_id) for one in told) == [(1, action_id), (2, action_id)]


@in_loop
async def test_a_gateway_hears_of_its_channels_only_among_others(tmp_path: Path):
    async with running(tmp_path) as hearth, hearth.subscribed("push") as deliveries, nothing_comes(hearth, "sms"):
        action_id = await to_send(hearth)
        assert (await anext(deliveries)).action.action_id == action_id


# --- groups that the playbook lists -----------------------------------------------------------------------------------


@in_loop
async def test_each_listed_group_has_every_action_and_the_first_one_settles(tmp_path: Path):
    async with (
        running(tmp_path / "log", plan=COPIED) as hearth,
        hearth.subscribed("push", group="main") as main,
        hearth.subscribed("push", group="archive") as archive,
    ):
        action_id = await to_send(hearth)
        assert (await anext(main)).action.action_id == action_id
        assert (await anext(archive)).action.action_id == action_id
        assert (await hearth.ack("h", action_id, group="archive")).effective
        assert (hearth.counter("outbox"), hearth.counter("delivered")) == (1, 0)
        assert not (await hearth.ack("h", action_id, group="archive")).effective
        for group in ("", "mian"):
            with pytest.raises(CallFailed, match=r"'push'.* main, archive"):
                await hearth.ack("h", action_id, group=group)
        assert (await hearth.ack("h", action_id, group="main")).effective
        assert (hearth.counter("outbox"), hearth.counter("delivered")) == (0, 1)
        wanted = await hearth.digest()
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == wanted


@in_loop
async def test_a_copy_is_still_owed_after_the_action_is_delivered_and_over_a_restart(tmp_path: Path):
    async with running(tmp_path / "log", plan=COPIED) as hearth, hearth.subscribed("push", group="main") as main:
        action_id = await to_send(hearth)
        await anext(main)
        await hearth.ack("h", action_id, group="main")
        assert hearth.counter("delivered") == 1
        left = hearth.disk_copy(tmp_path / "left")
    async with running(left, plan=COPIED) as hearth:
        async with hearth.subscribed("push", group="archive") as archive:
            assert (await anext(archive)).action.action_id == action_id
        async with hearth.subscribed("push", group="archive") as archive:
            assert (await anext(archive)).attempt == 2, "not acknowledged yet"
            await hearth.ack("h", action_id, group="archive")
        for group in ("archive", "main"):
            async with hearth.subscribed("push", group=group) as deliveries:
                assert await taken(hearth, deliveries) == [[]]
        assert (hearth.counter("outbox"), hearth.counter("delivered"), hearth.counter("expired")) == (0, 1, 0)


@in_loop
async def test_nothing_is_copied_that_was_not_handed_over(tmp_path: Path):
    async with running(tmp_path, plan=COPIED) as hearth, hearth.subscribed("push", group="archive") as archive:
        await to_send(hearth)
        assert await taken(hearth, archive) == [[]]


@pytest.mark.parametrize("group", ["", "mian"])
@in_loop
async def test_a_group_that_is_not_listed_is_refused_by_the_names_of_those_that_are(tmp_path: Path, group: str):
    async with running(tmp_path, plan=COPIED) as hearth, hearth.subscribed("sms", "push", group=group) as deliveries:
        with pytest.raises(CallFailed, match=r"'push'.* main, archive") as refused:
            await anext(deliveries)
        assert reason_of(refused.value) == "UNKNOWN_GROUP"


@in_loop
async def test_a_channel_that_the_playbook_does_not_have_is_refused(tmp_path: Path):
    async with running(tmp_path) as hearth, hearth.subscribed("push", "fax") as deliveries:
        with pytest.raises(CallFailed, match=r"'fax'.*app, push, sms, web") as refused:
            await anext(deliveries)
        assert reason_of(refused.value) == "UNKNOWN_CHANNEL"


# --- what is recorded before ------------------------------------------------------------------------------------------


@in_loop
async def test_nothing_is_handed_over_that_is_not_recorded_and_a_redelivery_costs_no_record(tmp_path: Path):
    async with running(tmp_path / "log", redeliver_after_s=SOON_S) as hearth, hearth.subscribed("push") as deliveries:
        await to_send(hearth)
        hearth.files.hold()
        waiting = asyncio.ensure_future(anext(deliveries))
        await hearth.files.held()
        for _ in range(30):
            await hearth.turn()
        assert not waiting.done()
        hearth.files.release()
        await waiting
        for _ in range(5):
            await anext(deliveries)
        assert kinds(hearth.disk_copy(tmp_path / "copy")).count(RecordKind.DELIVERY) == 1


@in_loop
async def test_a_hand_over_is_known_to_the_next_owner_and_counts(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path / "log", clock) as hearth, hearth.subscribed("push") as deliveries:
        first = await to_send(hearth)
        await anext(deliveries)
        left = hearth.disk_copy(tmp_path / "left")
    async with running(left, clock) as hearth:
        clock.pass_us(2 * HOUR)
        await hearth.tick()
        assert hearth.counter("expired") == 1
        await to_send(hearth)
        async with nothing_comes(hearth, "push", "sms"):
            pass
        assert not (await hearth.ack("h", first)).effective, "it counts already"
        assert (await hearth.ack("h", first, delivered=False)).effective
        clock.pass_us(2 * HOUR)
        second = await to_send(hearth)
        async with hearth.subscribed("push") as deliveries:
            assert (await anext(deliveries)).action.action_id == second
        clock.pass_us(DAY)
