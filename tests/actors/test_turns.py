"""Laws: a decision has few turns of the state thread; no signal batch is decoded on the event loop, and each keeps its
place in line."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from actors.log.contract import RecordKind
from actors.partition import attempts
from actors.partition.caller import Caller, CallerGone
from actors.records import signals
from actors.records.payload import PayloadUnreadable
from actors.records.signals import TOGETHER_BYTES
from hearth.internal.v1 import shard_pb2
from hearth.v1 import decision_pb2
from serving.signal_batches import batch_from_signals
from tests.actors.harness import (
    MONDAY,
    DiskFiles,
    Hearth,
    ScriptedScorer,
    corner,
    in_loop,
    kinds,
    outcome,
    reason_of,
    records,
    running,
    signal,
)
from wire.batches import ipc_bytes


def visit(household: str = "h", number: int = 0):
    return signal(f"v{household}{number}", household, "visit", MONDAY, member="m")


async def fresh(hearth: Hearth) -> None:
    assert not (await hearth.decide("h", member="m")).repeated_request


async def fresh_with_signals(hearth: Hearth) -> None:
    assert (await hearth.decide("h", visit(number=1), member="m")).signal_counts.applied == 1


async def standing(hearth: Hearth) -> None:
    assert (await hearth.decide("h", member="m", channel="web")).reasons[0] == "SLATE_STANDS"


async def standing_with_signals(hearth: Hearth) -> None:
    assert (await hearth.decide("h", visit(number=2), member="m")).reasons[0] == "SLATE_STANDS"


async def of_nobody(hearth: Hearth) -> None:
    assert (await hearth.decide("nobody")).reasons[0] == "UNKNOWN_HOUSEHOLD"


async def again(hearth: Hearth) -> None:
    assert (await hearth.decide("h", member="m", request_id="before")).repeated_request


async def before(hearth: Hearth) -> None:
    assert not (await hearth.decide("h", member="m", request_id="before")).repeated_request


async def nothing(_hearth: Hearth) -> None: ...


Step = Callable[[Hearth], Coroutine[Any, Any, None]]


@pytest.mark.parametrize(
    ("first", "step", "turns", "turns_scored"),
    [
        (nothing, fresh, 2, 3),
        (nothing, fresh_with_signals, 4, 4),
        (before, standing, 2, 2),
        (before, standing_with_signals, 4, 4),
        (nothing, of_nobody, 2, 2),
        (before, again, 2, 2),
    ],
)
@pytest.mark.parametrize("is_scored", [False, True])
@in_loop
async def test_a_decision_has_few_turns(
    tmp_path: Path, first: Step, step: Step, turns: int, turns_scored: int, is_scored: bool
):
    async with running(tmp_path) as hearth:
        await hearth.use(ScriptedScorer() if is_scored else None)
        await hearth.ingest(visit())
        await first(hearth)
        await hearth.turn()
        began = hearth.shard._state_thread.turns
        await step(hearth)

        assert hearth.shard._state_thread.turns - began == (turns_scored if is_scored else turns)


@pytest.mark.parametrize("is_scored", [False, True])
@in_loop
async def test_a_decision_has_few_turns_while_a_group_is_being_written(tmp_path: Path, is_scored: bool):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        await hearth.use(ScriptedScorer() if is_scored else None)
        await hearth.ingest(visit())
        disk.hold()
        elsewhere = asyncio.create_task(hearth.ingest(visit("elsewhere")))
        await disk.held()
        began = hearth.shard._state_thread.turns
        asked = asyncio.create_task(hearth.decide("h", member="m"))
        for _ in range(20):
            await asyncio.sleep(0)
        disk.release()
        await asyncio.gather(elsewhere, asked)

        of_the_other = 1  # the fold of its signals
        assert hearth.shard._state_thread.turns - began - of_the_other == (3 if is_scored else 2)


@in_loop
async def test_decisions_that_wait_together_have_their_turns_together(tmp_path: Path):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        await hearth.ingest(*(visit(f"h{number}") for number in range(30)))
        disk.hold()
        elsewhere = asyncio.create_task(hearth.ingest(visit("elsewhere")))
        await disk.held()
        began = hearth.shard._state_thread.turns
        asked = [asyncio.create_task(hearth.decide(f"h{number}", member="m")) for number in range(30)]
        for _ in range(20):
            await asyncio.sleep(0)
        disk.release()
        await asyncio.gather(elsewhere, *asked)

        assert hearth.shard._state_thread.turns - began == 3


@in_loop
async def test_a_second_decision_of_a_household_has_few_turns_too(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        await hearth.ingest(visit())
        scorer.hold()
        first = asyncio.create_task(hearth.decide("h", member="m"))
        await scorer.asked.wait()
        second = asyncio.create_task(hearth.decide("h", member="m"))
        for _ in range(20):
            await hearth.turn()
        scorer.free.set()
        began = hearth.shard._state_thread.turns
        await asyncio.gather(first, second)

        # The first has two still to come, the second one behind it.
        assert hearth.shard._state_thread.turns - began <= 2 + 3


@in_loop
async def test_an_owner_that_has_nothing_to_do_takes_no_turn(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await hearth.decide("h", visit(), member="m")
        await hearth.ingest(visit(number=1))
        owner = hearth.shard._owned[0].owner
        began = hearth.shard._state_thread.turns
        for _ in range(3):
            owner.wake()
            await owner.between_groups(lambda: asyncio.sleep(0))

        assert hearth.shard._state_thread.turns == began


@in_loop
async def test_what_goes_wrong_in_one_decision_of_a_group_is_told_to_its_caller_only(tmp_path: Path, monkeypatch):
    sound, answered = attempts.prepare, attempts.response_from_state

    def prepare(state, ask):
        if ask.household == b"h1":
            raise ZeroDivisionError("only h1")
        return sound(state, ask)

    def respond(owner, decision, **named):
        if decision.household == b"h2":
            raise ZeroDivisionError("only h2")
        return answered(owner, decision, **named)

    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        await hearth.ingest(*(visit(f"h{number}") for number in range(4)))
        monkeypatch.setattr(attempts, "prepare", prepare)
        monkeypatch.setattr(attempts, "response_from_state", respond)
        disk.hold()
        elsewhere = asyncio.create_task(hearth.ingest(visit("elsewhere")))
        await disk.held()
        asked = [asyncio.create_task(hearth.decide(f"h{number}", member="m")) for number in range(4)]
        for _ in range(20):
            await asyncio.sleep(0)
        disk.release()
        await elsewhere
        found = await asyncio.gather(*asked, return_exceptions=True)

        assert [str(one) for one in found[1:3]] == ["only h1", "only h2"]
        assert found[0].HasField("action")
        assert found[3].HasField("action")
        # The second is durable: only its answer went wrong.
        assert hearth.counter("decisions") == 3
        monkeypatch.undo()
        assert (await hearth.decide("h1", member="m")).HasField("action")
        assert (await hearth.decide("h2", member="m")).reasons[0] == "SLATE_STANDS"


# --- decoding ---------------------------------------------------------------------------------------------------------

LARGE = 3_000


def many(name: str, count: int = LARGE) -> bytes:
    payload = ipc_bytes(batch_from_signals([visit(name, number) for number in range(count)]))
    assert (len(payload) > TOGETHER_BYTES) == (count == LARGE)
    return payload


def ingest(hearth: Hearth, payload: bytes, caller: Caller | None = None) -> "asyncio.Task[bytes]":
    return asyncio.ensure_future(hearth.shard.call(shard_pb2.METHOD_INGEST, 0, payload, caller or Caller(None), ""))


@contextmanager
def no_decoder(hearth: Hearth):
    """Keep whoever decodes large batches busy."""
    free = threading.Event()
    hearth.shard._decoders.submit(free.wait)
    try:
        yield free
    finally:
        free.set()


@in_loop
async def test_no_batch_is_decoded_on_the_event_loop(tmp_path: Path, monkeypatch):
    threads: set[threading.Thread] = set()
    opened, decoded = pa.ipc.open_stream, signals.events_from_batch

    def open_stream(*arguments, **named):
        threads.add(threading.current_thread())
        return opened(*arguments, **named)

    def events_from_batch(*arguments):
        threads.add(threading.current_thread())
        return decoded(*arguments)

    async with running(tmp_path) as hearth:
        monkeypatch.setattr(pa.ipc, "open_stream", open_stream)
        monkeypatch.setattr(signals, "events_from_batch", events_from_batch)
        payloads = [many("small", 1), many("large"), many("other", 2)]
        await asyncio.gather(*(ingest(hearth, payload) for payload in payloads))
        shown = await hearth.decide("h", visit(), signal("w", "h", "wrong", MONDAY), member="m")
        assert len(shown.rejections) == 1
        assert len((await hearth.ingest(signal("w", "h", "wrong", MONDAY))).rejections) == 1
        await hearth.report("h", shown.action.action_id, decision_pb2.OUTCOME_CLICK)
        for payload in (b"no batch", b"no batch" * TOGETHER_BYTES):
            assert reason_of(await outcome(ingest(hearth, payload))) == "BAD_BATCH"

    assert threads
    assert threading.current_thread() not in threads


@in_loop
async def test_a_batch_that_is_being_decoded_keeps_its_place_and_holds_up_no_question(tmp_path: Path):
    async with running(tmp_path) as hearth:
        large, small = many("large"), many("small", 1)
        with no_decoder(hearth) as free:
            calls = [ingest(hearth, large), ingest(hearth, small)]
            asked = await hearth.decide("h", visit(), member="m")
            assert asked.HasField("action")
            for _ in range(20):
                await hearth.turn()
            assert not any(call.done() for call in calls)
            assert hearth.counter("waiting_bytes") == len(large) + len(small)
            free.set()
            await asyncio.gather(*calls)
        assert hearth.counter("waiting_bytes") == 0
    written = [stored.record.payload for stored in records(tmp_path) if stored.record.kind is RecordKind.SIGNALS]
    assert written[1:] == [large, small]


@pytest.mark.parametrize("bad", [b"no batch", b"no batch" * TOGETHER_BYTES, many("cut")[:-2_000]])
@in_loop
async def test_a_batch_that_cannot_be_read_is_refused_with_the_reason_and_harms_none_beside_it(
    tmp_path: Path, bad: bytes
):
    with pytest.raises(PayloadUnreadable) as wrong:
        signals.decode_signals(bad, corner())
    async with running(tmp_path) as hearth:
        first, behind, large = many("first", 1), many("behind", 1), many("large")
        calls = [ingest(hearth, one) for one in (first, bad, behind, large, bad)]
        found = await asyncio.gather(*calls, return_exceptions=True)

        for refused in (found[1], found[4]):
            assert reason_of(refused) == "BAD_BATCH"
            assert str(wrong.value) in refused.status.message
        assert hearth.counter("applied") == 2 + LARGE
        assert hearth.counter("waiting_bytes") == 0
    assert kinds(tmp_path).count(RecordKind.SIGNALS) == 3


@in_loop
async def test_who_leaves_while_his_batch_is_being_decoded_leaves_his_place(tmp_path: Path):
    async with running(tmp_path) as hearth:
        caller = Caller(None)
        with no_decoder(hearth):
            left, stays = ingest(hearth, many("left"), caller), ingest(hearth, many("stays", 1))
            await hearth.turn()
            caller.leave()
            hearth.shard._owned[0].owner.wake()
            await stays
            with pytest.raises(CallerGone):
                await left
        assert (hearth.counter("applied"), hearth.counter("waiting_bytes")) == (1, 0)


@in_loop
async def test_an_owner_that_closes_waits_for_what_is_being_decoded(tmp_path: Path):
    async with running(tmp_path) as hearth:
        with no_decoder(hearth) as free:
            calls = [ingest(hearth, many("large")), ingest(hearth, many("small", 1))]
            await hearth.turn()
            released = asyncio.ensure_future(hearth.shard.release(0))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not released.done()
            free.set()
            await asyncio.gather(*calls, released)
    assert kinds(tmp_path).count(RecordKind.SIGNALS) == 2
