"""What a gateway could not deliver goes to the next channel of its journey.

Laws: under the same id, with that channel's own caps, consent and quiet hours; a word about the channel before changes
nothing of it, but that it was delivered there after all; after the last channel there is none.
"""

import asyncio
from pathlib import Path

from household.digest import state_digest
from tests.actors.harness import (
    HOUR,
    MINUTE,
    MONDAY,
    Hearth,
    SettableClock,
    corner,
    in_loop,
    replayed,
    running,
)
from tests.actors.test_delivery import changed, nothing_comes, to_send
from tests.household.side import side_of


async def failed_on_push(hearth: Hearth) -> str:
    """Let a gateway of push refuse an action for good; return its id."""
    async with hearth.subscribed("push") as push:
        action_id = await to_send(hearth)
        assert (await anext(push)).channel == "push"
        assert (await hearth.ack("h", action_id, delivered=False)).effective
    return action_id


@in_loop
async def test_what_cannot_be_delivered_on_one_channel_goes_to_the_next_of_its_journey(tmp_path: Path):
    async with running(tmp_path / "log") as hearth, hearth.subscribed("sms") as sms:
        action_id = await failed_on_push(hearth)
        delivery = await anext(sms)
        assert (delivery.action.action_id, delivery.channel, delivery.attempt) == (action_id, "sms", 1)
        assert delivery.action.treatment.channel == "sms"
        late = await hearth.ack("h", action_id, delivered=False, channel="push")
        assert not late.effective, "said again, of a channel that is over"
        assert (await hearth.ack("h", action_id, channel="sms")).effective
        contacts = await hearth.in_state(lambda state: [one.channel for one in side_of(state).contacts])
        assert contacts == [hearth.plan.channel_by_name["sms"]], "one contact was made, on sms"
        wanted = await hearth.digest()
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == wanted


@in_loop
async def test_the_next_channels_own_quiet_hours_are_kept(tmp_path: Path):
    clock = SettableClock(MONDAY + 11 * HOUR + 30 * MINUTE)  # 21:30; sms is quiet until 09:00
    plan = corner(("valid: 1h", "valid: 1d"), ("check: {source: app}", "check: {source: app, action_window: 1d}"))
    async with running(tmp_path, clock, plan=plan) as hearth, hearth.subscribed("sms") as sms:
        action_id = await failed_on_push(hearth)
        waiting = asyncio.ensure_future(anext(sms))
        for _ in range(30):
            await hearth.turn()
        assert not waiting.done()
        clock.at_us = MONDAY + 23 * HOUR
        changed(hearth)
        assert (await waiting).action.action_id == action_id


@in_loop
async def test_a_late_word_that_the_first_channel_did_deliver_stops_the_second(tmp_path: Path):
    async with running(tmp_path) as hearth:
        action_id = await failed_on_push(hearth)
        assert (await hearth.ack("h", action_id, channel="push")).effective
        assert (hearth.counter("outbox"), hearth.counter("delivered")) == (0, 1)
        async with nothing_comes(hearth, "sms", "push"):
            pass
        contacts = await hearth.in_state(lambda state: [one.channel for one in side_of(state).contacts])
        assert contacts == [hearth.plan.channel_by_name["push"]]


@in_loop
async def test_after_the_last_channel_there_is_none(tmp_path: Path):
    async with running(tmp_path) as hearth, hearth.subscribed("sms") as sms:
        action_id = await failed_on_push(hearth)
        await anext(sms)
        assert (await hearth.ack("h", action_id, delivered=False)).effective
        contacts = await hearth.in_state(lambda state: side_of(state).contacts)
        assert (contacts, hearth.counter("outbox"), hearth.counter("delivered")) == ([], 0, 0)
