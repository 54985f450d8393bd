"""How outbound actions reach gateways.

Laws: an action is handed over at least once, under its action id, and again until it is acknowledged; never at or after
its send_before, never after it was accepted, declined or withdrawn, never without consent or in quiet hours as of the
hand-over itself; a gateway that listens hears of partitions that come later, too; what was taken over is not handed out
again, by this owner or the next. Who shares what with whom: tests/actors/test_delivery_groups.py.
"""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.partition.owner import PartitionOwner
from actors.shard.delivery import Deliveries
from hearth.v1 import decision_pb2
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
    replayed,
    running,
    signal,
)
from tests.household.side import sides_of

SOON_S = 0.001


async def to_send(hearth: Hearth, household: str = "h") -> str:
    """Bring up an action to send; return its id."""
    now_us = hearth.clock.now_us()
    await hearth.ingest(
        signal(f"{household}-c{now_us}", household, "consent", now_us, member="m", fields={"marketing": True}),
        signal(f"{household}-1{now_us}", household, "check", now_us, member="m"),
        signal(f"{household}-2{now_us}", household, "check", now_us, member="m"),
    )
    await hearth.until(lambda: all(hearth.counter("pending", n) == 0 for n in hearth.shard.report()))
    return (await hearth.explain(household)).slate[0].action_id


@asynccontextmanager
async def nothing_comes(hearth: Hearth, *channels: str):
    """Listen through the block and some turns beyond; fail if anything is handed over."""
    async with hearth.subscribed(*channels) as deliveries:
        waiting = asyncio.ensure_future(anext(deliveries))
        yield
        for _ in range(30):
            await hearth.turn()
        came = waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not came, "something was handed over"


def changed(hearth: Hearth) -> None:
    """Let every subscription look again, as it does from time to time."""
    hearth.shard._deliveries.look_anew()


# --- at least once ----------------------------------------------------------------------------------------------------


@in_loop
async def test_an_action_is_handed_over_as_its_channel_shows_it(tmp_path: Path):
    async with running(tmp_path) as hearth, hearth.subscribed("push", "sms") as deliveries:
        action_id = await to_send(hearth)
        delivery = await anext(deliveries)
        assert (delivery.household, delivery.member, delivery.attempt) == ("h", "m", 1)
        assert (delivery.action.action_id, delivery.action.offer) == (action_id, "topup")
        assert (delivery.action.treatment.channel, delivery.action.price_minor) == ("push", 999)
        assert delivery.send_before.ToMicroseconds() == MONDAY + 15 * MINUTE
        assert delivery.decision_id == (await hearth.explain("h")).decision_id


@in_loop
async def test_an_action_is_handed_over_again_under_its_id_until_it_is_acknowledged(tmp_path: Path):
    async with running(tmp_path / "log", redeliver_after_s=SOON_S) as hearth, hearth.subscribed("push") as deliveries:
        action_id = await to_send(hearth)
        seen = [await anext(deliveries) for _ in range(4)]
        assert [one.action.action_id for one in seen] == [action_id] * 4
        assert [one.attempt for one in seen] == [1, 2, 3, 4]
        acknowledged = await hearth.ack("h", action_id)
        assert acknowledged.effective
        other = await to_send(hearth, "g")
        assert [(await anext(deliveries)).action.action_id for _ in range(3)] == [other] * 3
        assert (hearth.counter("delivered"), hearth.counter("outbox")) == (1, 1)
        wanted = await hearth.digest()
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == wanted


@in_loop
async def test_what_is_due_and_may_not_be_sent_is_not_looked_at_again_and_again(tmp_path: Path, monkeypatch):
    looks = []
    due = Deliveries.due

    def counted(deliveries: Deliveries, owner: PartitionOwner, *rest) -> list:
        looks.append(owner)
        return due(deliveries, owner, *rest)

    monkeypatch.setattr(Deliveries, "due", counted)
    lease = SettableLease()
    async with running(tmp_path, redeliver_after_s=0.1, lease=lease) as hearth, hearth.subscribed("push") as deliveries:
        action_id = await to_send(hearth)
        assert (await anext(deliveries)).action.action_id == action_id
        lease.held = False
        waiting = asyncio.ensure_future(anext(deliveries))
        await asyncio.sleep(0.5)
        assert len(looks) < 8
        lease.held = True
        changed(hearth)
        assert (await waiting).action.action_id == action_id


@in_loop
async def test_a_second_acknowledgement_changes_nothing_and_says_so(tmp_path: Path):
    async with running(tmp_path) as hearth:
        action_id = await to_send(hearth)
        first = await hearth.ack("h", action_id, request_id="a")
        again = await hearth.ack("h", action_id, request_id="a")
        other = await hearth.ack("h", action_id, request_id="b")
        assert [first.effective, again.effective, other.effective] == [True, False, False]
        assert [first.reason, again.reason, other.reason] == ["", "ALREADY_REPORTED", "ACTION_NOT_LIVE"]
        assert hearth.counter("delivered") == 1


@in_loop
async def test_a_refusal_for_good_gives_the_contact_back(tmp_path: Path):
    async with running(tmp_path) as hearth:
        action_id = await to_send(hearth)
        async with hearth.subscribed("push", "sms") as deliveries:
            for channel, left in (("push", 1), ("sms", 0)):
                delivery = await anext(deliveries)
                assert (delivery.action.action_id, delivery.action.treatment.channel) == (action_id, channel)
                assert (await hearth.ack("h", action_id, delivered=False)).effective
                contacts = await hearth.in_state(lambda state: [len(one.contacts) for one in sides_of(state).values()])
                assert (contacts, hearth.counter("outbox"), hearth.counter("delivered")) == ([left], left, 0)


@in_loop
async def test_what_was_not_acknowledged_is_handed_over_by_the_next_owner_under_the_same_id(tmp_path: Path):
    async with running(tmp_path / "log") as hearth, hearth.subscribed("push") as deliveries:
        taken, left_over = await to_send(hearth, "a"), await to_send(hearth, "b")
        assert {(await anext(deliveries)).action.action_id for _ in range(2)} == {taken, left_over}
        await hearth.ack("a", taken)
        left = hearth.disk_copy(tmp_path / "left")
    async with running(left) as next_owner, next_owner.subscribed("push") as deliveries:
        assert (await anext(deliveries)).action.action_id == left_over
        await next_owner.ack("b", left_over)
    async with running(left) as third, nothing_comes(third, "push"):
        pass


# --- who listens ------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_gateway_hears_of_its_channels_only(tmp_path: Path):
    async with running(tmp_path) as hearth, nothing_comes(hearth, "sms", "app"):
        await to_send(hearth)


@in_loop
async def test_a_gateway_that_listened_before_hears_of_partitions_that_come_later(tmp_path: Path):
    async with running(tmp_path, partitions=(0, 1)) as hearth, hearth.subscribed("push") as deliveries:
        of_one = [name for name in map("h{}".format, range(99)) if hearth.partition_of(name) == 1]
        of_none = next(name for name in map("h{}".format, range(99)) if hearth.partition_of(name) == 0)
        first = await to_send(hearth, of_none)
        assert (await anext(deliveries)).action.action_id == first
        await hearth.shard.release(1)
        await hearth.assign(1)
        second = await to_send(hearth, of_one[0])
        assert (await anext(deliveries)).action.action_id == second
        third = await to_send(hearth, of_one[1])
        await hearth.shard.release(0)
        await hearth.shard.release(1)
        waiting = asyncio.ensure_future(anext(deliveries))
        for _ in range(20):
            await hearth.turn()
        assert not waiting.done(), "a partition that was given up is handed out no more"
        await hearth.assign(1)
        assert (await waiting).action.action_id == third, "what was handed over lately is not handed over again yet"


@in_loop
async def test_a_lost_partition_hands_out_nothing(tmp_path: Path):
    async with running(tmp_path, redeliver_after_s=SOON_S) as hearth, hearth.subscribed("push") as deliveries:
        await to_send(hearth)
        assert (await anext(deliveries)).attempt == 1
        hearth.files.break_syncs()
        with pytest.raises(Exception, match="cannot prove"):
            await hearth.ingest(signal("x", "h", "visit", MONDAY))
        waiting = asyncio.ensure_future(anext(deliveries))
        for _ in range(30):
            await hearth.turn()
        assert not waiting.done()
        hearth.files.mend()
        await hearth.assign(0)
        assert (await waiting).attempt >= 1


@in_loop
async def test_a_drain_ends_the_subscriptions(tmp_path: Path):
    async with running(tmp_path) as hearth, hearth.subscribed("push") as deliveries:
        waiting = asyncio.ensure_future(anext(deliveries))
        await hearth.turn()
        await hearth.shard.drain()
        with pytest.raises(StopAsyncIteration):
            await waiting


# --- never too late, never against the member's will ------------------------------------------------------------------


@pytest.mark.parametrize(("after_us", "comes"), [(15 * MINUTE - 1, True), (15 * MINUTE, False), (DAY, False)])
@in_loop
async def test_nothing_is_handed_over_at_or_after_its_send_before(tmp_path: Path, after_us: int, comes: bool):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        action_id = await to_send(hearth)
        # No tick has been written: it is the clock that tells.
        clock.pass_us(after_us)
        assert hearth.counter("outbox") == 1
        if not comes:
            async with nothing_comes(hearth, "push"):
                pass
        else:
            async with hearth.subscribed("push") as deliveries:
                assert (await anext(deliveries)).action.action_id == action_id


@pytest.mark.parametrize("by", ["accept", "decline", "opt_out", "consent", "newer"])
@in_loop
async def test_nothing_is_handed_over_that_was_settled_or_taken_back(tmp_path: Path, by: str):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        action_id = await to_send(hearth)
        assert hearth.counter("outbox") == 1
        match by:
            case "accept":
                await hearth.accept("h", action_id, member="m")
            case "decline":
                await hearth.decline("h", action_id, member="m")
            case "opt_out":
                await hearth.ingest(signal("out", "h", "opt_out", MONDAY, member="m"))
            case "consent":
                await hearth.ingest(signal("no", "h", "consent", MONDAY, member="m", fields={"marketing": False}))
            case "newer":
                clock.pass_us(HOUR)
                answer = await hearth.decide("h", signal("v", "h", "visit", clock.now_us(), member="m"), member="m")
                assert answer.action.action_id != action_id
        async with nothing_comes(hearth, "push"):
            pass
        if by in ("accept", "decline"):
            assert (hearth.counter("outbox"), hearth.counter("withdrawn")) == (0, 1)


@in_loop
async def test_an_opt_out_while_a_gateway_is_busy_with_the_action_before_stops_the_next(tmp_path: Path):
    async with running(tmp_path) as hearth:
        for name in ("a", "b", "c"):
            await to_send(hearth, name)
        async with hearth.subscribed("push") as deliveries:
            assert (await anext(deliveries)).household == "a"
            # The other two were due together with the first.
            await hearth.ingest(signal("out", "b", "opt_out", MONDAY, member="m"))
            assert (await anext(deliveries)).household == "c"
            contacts = await hearth.in_state(lambda state: [one.contacts for one in sides_of(state).values()])
            assert [[one.is_handed for one in of_each] for of_each in contacts] == [[True], [False], [True]]


@in_loop
async def test_an_action_that_may_not_be_sent_at_this_hour_waits_for_the_morning_or_expires(tmp_path: Path):
    late = ("check: {source: app}", "check: {source: app, action_window: 1d}")
    plan = corner(("outbound: [push, sms]", "outbound: sms"), ("valid: 1h", "valid: 1d"), late)
    clock = SettableClock(MONDAY + 10 * HOUR + 59 * MINUTE)
    async with running(tmp_path, clock, plan=plan) as hearth:
        action_id = await to_send(hearth)
        clock.pass_us(MINUTE)
        async with nothing_comes(hearth, "sms"):
            pass
        async with hearth.subscribed("sms") as deliveries:
            waiting = asyncio.ensure_future(anext(deliveries))
            await hearth.turn()
            clock.at_us = MONDAY + 22 * HOUR + 59 * MINUTE
            changed(hearth)
            await hearth.turn()
            assert not waiting.done()
            clock.at_us = MONDAY + 23 * HOUR
            changed(hearth)
            assert (await waiting).action.action_id == action_id


@in_loop
async def test_what_waits_is_not_asked_again_at_each_change_of_another(tmp_path: Path, monkeypatch):
    asked = []
    look_at = Deliveries._look_at

    def counted(deliveries: Deliveries, state, outbound, *rest):
        asked.append(outbound.action_id)
        return look_at(deliveries, state, outbound, *rest)

    monkeypatch.setattr(Deliveries, "_look_at", counted)
    late = ("check: {source: app}", "check: {source: app, action_window: 1d}")
    plan = corner(("outbound: [push, sms]", "outbound: sms"), ("valid: 1h", "valid: 1d"), late)
    clock = SettableClock(MONDAY + 10 * HOUR + 59 * MINUTE)
    async with running(tmp_path, clock, plan=plan, look_every_s=3_600.0) as hearth:
        action_id = await to_send(hearth)
        clock.pass_us(MINUTE)  # quiet hours begin
        async with nothing_comes(hearth, "sms"):
            asked.clear()
            for _ in range(5):
                hearth.shard._deliveries.look()
                await hearth.turn()
            assert len(asked) <= 1
            asked.clear()
            changed(hearth)
            await hearth.until(lambda: bool(asked))
            for _ in range(10):
                await hearth.turn()
            assert asked == [action_id]


# --- caps -------------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_contact_counts_once_however_often_it_is_handed_over_and_the_cap_holds(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock, redeliver_after_s=SOON_S) as hearth, hearth.subscribed("push") as deliveries:
        first = await to_send(hearth)
        for _ in range(3):
            await anext(deliveries)
        await hearth.ack("h", first)
        clock.pass_us(2 * HOUR)
        await to_send(hearth)
        assert (await hearth.explain("h")).slate[0].offer == "topup"
        assert hearth.counter("outbox") == 0
        clock.pass_us(DAY - 2 * HOUR)
        later = await to_send(hearth)
        assert (await anext(deliveries)).action.action_id == later


# --- reports that change nothing --------------------------------------------------------------------------------------


@in_loop
async def test_a_report_that_changes_nothing_says_why(tmp_path: Path):
    async with running(tmp_path) as hearth:
        action_id, other = await to_send(hearth, "h"), await to_send(hearth, "g")
        six_minutes_before = MONDAY - 6 * MINUTE

        async def reason(household: str, action_id: str, **named) -> str:
            answer = await hearth.report(household, action_id, decision_pb2.OUTCOME_ACCEPT, **named)
            assert not answer.effective
            return answer.reason

        assert await reason("h", "made-up") == "ACTION_UNKNOWN"
        assert await reason("h", other) == "ACTION_OF_ANOTHER_HOUSEHOLD"
        assert await reason("h", action_id, time_us=six_minutes_before) == "ACTION_NOT_YET_DECIDED"
        assert (await hearth.accept("h", action_id, request_id="once")).effective
        assert await reason("h", action_id, request_id="once") == "ALREADY_REPORTED"
        assert await reason("h", action_id) == "ACTION_NOT_LIVE"
        assert (await hearth.ack("h", "made-up")).reason == "ACTION_UNKNOWN"
        assert (await hearth.ack("h", action_id)).reason == "ACTION_NOT_LIVE"
