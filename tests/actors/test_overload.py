"""Laws: nothing is begun for a caller who has left or is too late, and nothing stops that was handed to the log; who
waits for an answer is not kept by batches, nor are batches by those who wait.
"""

import asyncio
import threading
from pathlib import Path

import pytest

from actors.partition.caller import Caller, CallerGone
from actors.partition.group import Waiting
from actors.shard.exchange import Queues
from actors.state_thread import OUTRUN_MAX, StateThread, Urgency
from hearth.internal.v1 import shard_pb2
from hearth.v1 import decision_pb2
from serving.signal_batches import batch_from_signals
from tests.actors.harness import (
    MONDAY,
    DiskFiles,
    Hearth,
    ScriptedScorer,
    in_loop,
    outcome,
    reason_of,
    running,
    signal,
)
from tests.actors.test_exchange import Handler, serving
from wire.batches import ipc_bytes


def decide_payload(household: str, *, request_id: str, with_signal: bool = False) -> bytes:
    request = decision_pb2.DecideRequest(request_id=request_id, household=household, channel="app")
    call = shard_pb2.DecideCall(request=request)
    if with_signal:
        visit = signal(f"e-{request_id}", household, "visit", MONDAY)
        call.signal_batch = ipc_bytes(batch_from_signals([visit]))
    return call.SerializeToString()


def decide(hearth: Hearth, caller: Caller, household: str = "h", **named) -> "asyncio.Task[bytes]":
    payload = decide_payload(household, **named)
    return asyncio.ensure_future(hearth.shard.call(shard_pb2.METHOD_DECIDE, 0, payload, caller, ""))


def ingest(hearth: Hearth, caller: Caller, event_id: str, count: int = 1) -> "asyncio.Task[bytes]":
    signals = [signal(f"{event_id}-{row}", f"h-{event_id}-{row}", "visit", MONDAY) for row in range(count)]
    payload = ipc_bytes(batch_from_signals(signals))
    return asyncio.ensure_future(hearth.shard.call(shard_pb2.METHOD_INGEST, 0, payload, caller, ""))


async def turn() -> None:
    """Let everybody else in this loop take one."""
    await asyncio.sleep(0)


@in_loop
async def test_a_call_that_comes_too_late_costs_nothing(tmp_path: Path):
    async with running(tmp_path) as hearth:
        with pytest.raises(CallerGone):
            await decide(hearth, Caller(0.0), request_id="r", with_signal=True)

        assert (hearth.counter("received"), hearth.counter("decisions")) == (0, 0)


@in_loop
async def test_a_decision_is_not_written_for_a_caller_who_left_while_it_was_scored(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        await hearth.ingest(signal("e", "h", "visit", MONDAY))
        scorer.hold()
        caller = Caller(None)
        asked = decide(hearth, caller, request_id="r")
        await scorer.asked.wait()
        caller.leave()
        scorer.free.set()

        with pytest.raises(CallerGone):
            await asked
        assert hearth.counter("decisions") == 0
        # The same id is free: nothing was decided under it.
        assert not (await hearth.decide("h", request_id="r")).repeated_request


@in_loop
async def test_nothing_is_scored_for_a_caller_who_left_while_another_decision_of_the_household_was_made(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        await hearth.ingest(signal("e", "h", "visit", MONDAY))
        scorer.hold()
        first = decide(hearth, Caller(None), request_id="first")
        await scorer.asked.wait()
        caller = Caller(None)
        second = decide(hearth, caller, request_id="second")
        await hearth.turn()
        caller.leave()
        scorer.free.set()
        await first

        with pytest.raises(CallerGone):
            await second
        assert len(scorer.batches) == 1


@in_loop
async def test_what_waits_for_the_log_is_dropped_and_what_was_handed_to_it_is_seen_through(tmp_path: Path):
    files = DiskFiles()
    async with running(tmp_path, files=files) as hearth:
        files.hold()
        in_the_log, waiting, stays = Caller(None), Caller(None), Caller(None)
        first = ingest(hearth, in_the_log, "first")
        await files.held()
        second, third = ingest(hearth, waiting, "second"), ingest(hearth, stays, "third")
        await hearth.turn()
        in_the_log.leave()
        waiting.leave()
        files.release()

        await first
        await third
        with pytest.raises(CallerGone):
            await second
        assert hearth.counter("applied") == 2
        assert hearth.counter("waiting_bytes") == 0


@in_loop
async def test_signals_with_which_somebody_waits_go_before_the_batches(tmp_path: Path):
    waiting = Waiting()
    stays, left = Caller(None), Caller(None)
    batches = [bytes([number]) * 600_000 for number in range(4)]
    for batch in batches:
        waiting.add_signals(batch, caller=stays, is_urgent=False)
    waiting.add_signals(b"of a question", caller=stays, is_urgent=True)
    dropped = waiting.add_signals(b"of one who left", caller=left, is_urgent=True).done
    left.leave()

    assert [one.payload for one in waiting.take(stamp_us=0).signals] == [b"of a question", batches[0]]
    assert isinstance(dropped.exception(), CallerGone)
    # Nobody waits any more: the group is as large as it may be.
    assert [one.payload for one in waiting.take(stamp_us=0).signals] == batches[1:]
    assert waiting.signal_bytes == 0


@in_loop
async def test_a_report_names_a_channel_of_the_playbook(tmp_path: Path):
    async with running(tmp_path) as hearth:
        payload = shard_pb2.ReportCall(household="h", action_id="a", channel="")
        failure = await outcome(hearth.call(shard_pb2.METHOD_REPORT, 0, payload.SerializeToString()))
        told = await outcome(hearth.report("h", "a", decision_pb2.OUTCOME_CLICK, channel="pigeon"))

        for one in (failure, told):
            assert reason_of(one) == "UNKNOWN_CHANNEL"
            assert "app, push, sms, web" in one.status.message
        assert hearth.counter("received") == 0


def test_who_comes_is_late_if_the_first_in_line_has_waited_as_long_as_he_may():
    queues = Queues()
    gone, also_gone, first = Caller(None), Caller(None), Caller(None)
    queues.join(0, gone, 0.0)
    queues.join(0, also_gone, 0.0)
    assert queues.is_late(0, 1.0, now_s=1.0)
    assert not queues.is_late(0, 1.0, now_s=0.9)
    assert not queues.is_late(1, 1.0, now_s=1.0)  # another partition

    gone.leave()
    also_gone.leave()
    assert not queues.is_late(0, 1.0, now_s=1.0)
    queues.leave(0, gone)
    queues.leave(0, also_gone)
    queues.join(0, first, 2.0)
    assert queues.is_late(0, 0.5, now_s=2.5)
    queues.leave(0, first)
    assert not queues.is_late(0, 0.5, now_s=2.5)


@in_loop
async def test_whoever_stood_in_line_on_a_stream_that_ended_has_left(tmp_path: Path):
    handler = Handler()
    gate = handler.gate(b"held")
    async with serving(tmp_path, handler) as (servicer, stub):
        exchange = stub.Exchange()
        calls = [
            shard_pb2.Call(id=number, method=shard_pb2.METHOD_GET, payload=b"held", timeout_ms=10_000)
            for number in (1, 2)
        ]
        await exchange.write(shard_pb2.ExchangeRequest(calls=calls))
        for _ in calls:
            await handler.started.get()
        await exchange.write(shard_pb2.ExchangeRequest(left=[2, 99]))
        first, second = handler.callers
        while second.is_waiting:
            await turn()
        assert first.is_waiting
        exchange.cancel()
        while first.is_waiting:
            await turn()
        gate.set()
        await servicer.settled()


def test_a_slice_of_ingest_has_its_turn_under_a_flood_of_decisions():
    async def test() -> None:
        thread = StateThread("flooded")
        done: list[str] = []
        is_held = threading.Event()
        jobs = [asyncio.ensure_future(thread.run(Urgency.DECISION, is_held.wait))]
        await asyncio.sleep(0)
        jobs.append(asyncio.ensure_future(thread.run(Urgency.INGEST, done.append, "ingest")))
        for number in range(3 * OUTRUN_MAX):
            jobs.append(asyncio.ensure_future(thread.run(Urgency.DECISION, done.append, str(number))))
        await asyncio.sleep(0)
        is_held.set()
        await asyncio.gather(*jobs)
        await asyncio.to_thread(thread.stop)

        assert done.index("ingest") == OUTRUN_MAX - 1

    asyncio.run(test())
