"""Laws: whoever would wait too long is refused at once, unread, with a time to come again; how long is told from the
pace at which others were answered; a call whose caller has left is taken back; bytes that are no request are the
caller's mistake, of every method.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2

from hearth.v1 import decision_pb2, signal_pb2
from serving.admission import FULL_SHARE, RETRY_MS_MAX, RETRY_MS_MIN, Line, Lines
from serving.batches import Batches
from tests.serving.test_edge import (
    Code,
    World,
    ack_request,
    decide_request,
    details_of,
    failure_of,
    report_request,
    signals_of,
    with_world,
)
from wire.failures import CallFailed


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def line_of(clock: Clock, lines: Lines | None = None, **named: Any) -> Line:
    settings: dict[str, Any] = {"wait_s_max": 0.2, "length_min": 4, "monotonic_s": clock} | named
    return Line(lines or Lines(), **settings)


def answer(line: Line, clock: Clock, *, count: int, per_s: float, waiting: int = 2) -> None:
    """Let so many be answered at a pace, while some more wait."""
    for _ in range(waiting):
        line.join(timeout_s=None)
    for _ in range(count):
        clock.now_s += 1 / per_s
        line.join(timeout_s=None)
        line.leave(is_answered=True)
    for _ in range(waiting):
        line.leave(is_answered=False)


def fill(line: Line, *, timeout_s: float = 1.0, patience: float = 1.0) -> int:
    """Return how many get in line before one is refused."""
    count = 0
    while True:
        try:
            line.join(timeout_s=timeout_s, patience=patience)
        except CallFailed:
            return count
        count += 1


# --- how long the line is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per_s", "room"), [(100.0, 20), (1_000.0, 200), (10_000.0, 2_000), (5.0, 4)])
def test_as_many_may_wait_as_are_answered_in_the_longest_wait(per_s: float, room: int):
    clock = Clock()
    line = line_of(clock)
    answer(line, clock, count=int(per_s), per_s=per_s)

    assert fill(line) == pytest.approx(room, rel=0.02, abs=1)


def test_a_line_of_which_nothing_is_known_takes_a_few():
    assert fill(line_of(Clock())) == 4


def test_a_short_deadline_is_refused_where_a_long_one_is_let_in():
    clock = Clock()
    line = line_of(clock)
    answer(line, clock, count=1_000, per_s=1_000.0)
    waiting = fill(line, timeout_s=0.05)

    assert waiting == pytest.approx(40, abs=1)  # eight tenths of 50 ms at a thousand a second
    line.join(timeout_s=1.0)


def test_the_pace_of_late_counts_and_not_that_of_long_ago():
    clock = Clock()
    line = line_of(clock)
    answer(line, clock, count=1_000, per_s=1_000.0)
    clock.now_s += 3_600.0  # nobody in line: tells nothing of the pace
    assert line.wait_s() == pytest.approx(0.001, rel=0.05)
    answer(line, clock, count=100, per_s=100.0)

    assert line.wait_s() == pytest.approx(0.01, rel=0.05)


def test_calls_that_run_out_of_time_are_no_answers():
    clock = Clock()
    line = line_of(clock)
    answer(line, clock, count=200, per_s=100.0)
    for _ in range(20):
        line.join(timeout_s=None)
    clock.now_s += 1.0
    for _ in range(20):
        line.leave(is_answered=False)

    assert fill(line) == 4


def test_outcomes_go_on_for_a_while_when_questions_are_refused():
    line = line_of(Clock(), length_min=40)

    assert fill(line) == 40
    assert fill(line, patience=1.5) == 20


def test_one_full_line_is_not_all_of_them():
    lines, clock = Lines(), Clock()
    first, second = line_of(clock, lines), line_of(clock, lines)
    assert fill(first) == 4
    assert not lines.is_full()
    assert fill(second) == 4
    assert lines.is_full()
    assert lines.is_full(patience=1 / FULL_SHARE)
    first.close()
    for _ in range(4):
        first.leave(is_answered=True)
    assert lines.room == second.room


def test_the_more_are_refused_the_later_they_may_come_again_and_not_all_at_once():
    lines = Lines()
    waits: list[float] = []
    for _ in range(400):
        (retry,) = [
            found for detail in lines.refusal().status.details if detail.Unpack(found := error_details_pb2.RetryInfo())
        ]
        waits.append(retry.retry_delay.ToMilliseconds())
    assert waits[0] == RETRY_MS_MIN
    assert len(set(waits[:16])) > 5
    assert waits[-1] == RETRY_MS_MAX
    for _ in range(1_000):
        lines.let_in()
    assert lines.retry_after_ms() <= 2 * RETRY_MS_MIN


# --- in the edge -----------------------------------------------------------------------------------------------------


async def hold(world: World, count: int) -> list["asyncio.Task[Any]"]:
    """Let so many questions to each shard be under way, unanswered."""
    tasks: list[asyncio.Task[Any]] = []
    for shard in world.shards:
        shard.gate = shard.gate or asyncio.Event()
    for index, shard in enumerate(world.shards):
        households = [f"h{n}" for n in range(200) if world.shard_of(f"h{n}") is world.shards[index]][:count]
        tasks += [asyncio.ensure_future(world.decisions.Decide(decide_request(one), timeout=5)) for one in households]
        for _ in range(count):
            await shard.started.get()
    return tasks


async def let_go(world: World, tasks: list["asyncio.Task[Any]"]) -> None:
    for shard in world.shards:
        assert shard.gate is not None
        shard.gate.set()
    await asyncio.gather(*tasks)


@with_world()
async def test_a_refused_call_is_not_even_parsed_and_says_when_to_come_again(world: World):
    tasks = await hold(world, 27)
    tasks.append(asyncio.ensure_future(world.decisions.Decide(decide_request("one more"), timeout=5)))
    await world.shard_of("one more").started.get()
    raw = world.channel.unary_unary("/hearth.v1.DecisionService/Decide")

    error = await failure_of(raw(b"\xff\xff"))
    assert error.code() is Code.RESOURCE_EXHAUSTED
    assert details_of(error) == {"reason": "OVERLOADED", "retry_ms": RETRY_MS_MIN}
    assert ("/hearth.v1.DecisionService/Decide", Code.RESOURCE_EXHAUSTED) in world.observed

    # What has happened is still taken, and batches have a line of their own.
    told = [
        asyncio.ensure_future(world.decisions.Report(report_request(), timeout=5)),
        asyncio.ensure_future(world.delivery.Ack(ack_request(), timeout=5)),
        asyncio.ensure_future(world.signals.Ingest(signal_pb2.IngestRequest(signals=signals_of(3)))),
    ]
    await let_go(world, [*tasks, *told])
    assert (await world.decisions.Decide(decide_request())) == decision_pb2.DecideResponse(
        decision_id="d1", reasons=["NOTHING_BETTER"]
    )


@with_world()
async def test_a_shard_with_a_full_line_leaves_the_others_theirs(world: World):
    busy, idle = world.shards
    busy.gate = asyncio.Event()
    of_busy = [f"h{n}" for n in range(1_000) if world.shard_of(f"h{n}") is busy]
    tasks = [asyncio.ensure_future(world.decisions.Decide(decide_request(one), timeout=5)) for one in of_busy[:32]]
    for _ in tasks:
        await busy.started.get()

    error = await failure_of(world.decisions.Decide(decide_request(of_busy[32])))
    assert details_of(error)["reason"] == "OVERLOADED"
    assert len(busy.calls) == 32
    other = next(f"h{n}" for n in range(1_000) if world.shard_of(f"h{n}") is idle)
    assert (await world.decisions.Decide(decide_request(other))).decision_id == "d1"

    busy.gate.set()
    await asyncio.gather(*tasks)


@with_world(ingest_bytes_min=1_000, ingest_bytes_max=1_000)
async def test_batches_beyond_what_may_wait_are_refused_and_a_stream_of_them_is_slowed_down(world: World):
    for shard in world.shards:
        shard.gate = asyncio.Event()
    batch = signal_pb2.IngestRequest(signals=signals_of(60))
    first = asyncio.ensure_future(world.signals.Ingest(batch))
    for shard in world.shards:
        await shard.started.get()

    assert details_of(await failure_of(world.signals.Ingest(batch)))["reason"] == "OVERLOADED"

    async def batches():
        for _ in range(5):
            yield signal_pb2.IngestStreamRequest(batch=batch)

    stream = asyncio.ensure_future(world.signals.IngestStream(batches()))
    for shard in world.shards:
        shard.gate.set()
    await first
    assert (await stream).counts.applied == 300


def test_room_goes_to_one_of_many_streams_and_is_kept_while_its_batch_is_converted():
    async def test():
        batches = Batches(wait_s_max=1.0, bytes_min=1_000, bytes_max=1_000)
        with_room: list[int] = []
        converted = asyncio.Event()

        async def stream(number: int) -> None:
            async with batches.room(600):
                with_room.append(number)
                await converted.wait()

        with batches.joined(600, timeout_s=1.0):
            streams = [asyncio.ensure_future(stream(number)) for number in range(3)]
            await asyncio.wait(streams, timeout=0)
            assert with_room == []
        for _ in range(5):
            await asyncio.sleep(0)
        assert with_room == [0]
        converted.set()
        await asyncio.gather(*streams)
        assert with_room == [0, 1, 2]

    asyncio.run(asyncio.wait_for(test(), 10))


@with_world()
async def test_the_shard_is_told_who_has_left(world: World):
    shard = world.shard_of("h1")
    shard.gate = asyncio.Event()
    stays = asyncio.ensure_future(world.decisions.Decide(decide_request(), timeout=5))
    leaves = asyncio.ensure_future(world.decisions.Decide(decide_request(request_id="r2"), timeout=5))
    for _ in range(2):
        await shard.started.get()
    assert [caller.is_waiting for caller in shard.callers] == [True, True]
    (gone,) = [caller for call, caller in zip(shard.calls, shard.callers, strict=True) if b"r2" in call[2]]
    leaves.cancel()
    while gone.is_waiting:
        await world.health.Check(health_pb2.HealthCheckRequest())  # goes round the edge's loop and ours
    assert [caller.is_waiting for caller in shard.callers].count(True) == 1

    shard.gate.set()
    assert (await stays).decision_id == "d1"


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """Return what was logged, but for what gRPC's poller says: it serves every loop of the process, those that earlier
    tests have closed, too, and complains of them."""
    own = [one for one in caplog.records if "PollerCompletionQueue._handle_events" not in one.getMessage()]
    return "\n".join(map(caplog.handler.format, own))


@pytest.mark.parametrize("timeout_s", [0.05, 5.0])
def test_a_client_that_has_left_leaves_no_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture, timeout_s: float):
    @with_world(timeout_s=0.05)
    async def test(world: World):
        for shard in world.shards:
            shard.gate = asyncio.Event()
        async with grpc.aio.insecure_channel(world.address) as channel:
            calls: list[Any] = []
            for path in ("DecisionService/Decide", "DecisionService/Report", "HouseholdService/Get"):
                call = channel.unary_unary(f"/hearth.v1.{path}")
                for number in range(20):
                    request = report_request() if path.endswith("Report") else decide_request(f"h{number}")
                    calls.append(call(request.SerializeToString(), timeout=timeout_s))
            if timeout_s < 1:
                await asyncio.gather(*calls, return_exceptions=True)
            else:
                await world.shards[0].started.get()  # the others are under way, too, or are never begun
        while world.services.in_flight_count:
            await world.health.Check(health_pb2.HealthCheckRequest())

    with caplog.at_level(logging.INFO):
        test(tmp_path)
    assert "Traceback" not in logged(caplog)


# --- what is no request ----------------------------------------------------------------------------------------------

METHODS = [
    ("SignalService/Ingest", "unary_unary"),
    ("SignalService/IngestStream", "stream_unary"),
    ("SignalService/Describe", "unary_unary"),
    ("DecisionService/Decide", "unary_unary"),
    ("DecisionService/Report", "unary_unary"),
    ("DeliveryService/Subscribe", "unary_stream"),
    ("DeliveryService/Ack", "unary_unary"),
    ("HouseholdService/Get", "unary_unary"),
    ("HouseholdService/Explain", "unary_unary"),
    ("HouseholdService/Decisions", "unary_unary"),
    ("HouseholdService/Quarantine", "unary_unary"),
    ("HouseholdService/Change", "unary_unary"),
    ("PlaybookService/Push", "unary_unary"),
    ("PlaybookService/Halt", "unary_unary"),
    ("PlaybookService/Submit", "unary_unary"),
    ("PlaybookService/Approve", "unary_unary"),
    ("PlaybookService/ShowPlaybook", "unary_unary"),
    ("AdminService/Snapshot", "unary_unary"),
    ("AdminService/Reject", "unary_unary"),
    ("AdminService/ConfirmClock", "unary_unary"),
    ("AdminService/ShowPlacement", "unary_unary"),
    ("AdminService/Scale", "unary_unary"),
    ("AdminService/Drain", "unary_unary"),
    ("AdminService/Rebalance", "unary_unary"),
    ("AdminService/Restart", "unary_unary"),
    ("grpc.health.v1.Health/Check", "unary_unary"),
    ("grpc.health.v1.Health/Watch", "unary_stream"),
]
NO_MESSAGES = [b"\xff\xff\xff", b"\x0a\x05abc", b"\x07", b"\x0a\x02\xff\xfe"]
"""A tag that does not end, a length beyond the end, a wire type that there is not, and text that is no UTF-8."""


@with_world()
async def test_every_method_is_in_the_list(world: World):
    served = {name.removeprefix("/").removeprefix("hearth.v1.") for name in world.services._handlers()}
    assert served == {name for name, _ in METHODS}


@pytest.mark.parametrize(("name", "arity"), METHODS)
def test_bytes_that_are_no_request_are_an_invalid_argument(tmp_path: Path, caplog, name: str, arity: str):
    @with_world()
    async def test(world: World):
        path = f"/{name}" if name.startswith("grpc.") else f"/hearth.v1.{name}"
        call = getattr(world.channel, arity)(path)
        has_texts = not name.startswith("AdminService/") and not name.endswith(("/Describe", "/Quarantine"))
        messages = NO_MESSAGES if has_texts else NO_MESSAGES[:3]
        for message in messages:
            if arity == "stream_unary":
                error = await failure_of(call(iter([message])))
            elif arity == "unary_stream":
                error = await failure_of(call(message).read())
            else:
                error = await failure_of(call(message))
            assert error.code() is Code.INVALID_ARGUMENT, (name, message, error)
            assert details_of(error) == {"reason": "MALFORMED"}
        assert not world.shards[0].calls
        assert not world.shards[1].calls

    with caplog.at_level(logging.INFO):
        test(tmp_path)
    assert "Traceback" not in logged(caplog)


def test_where_no_line_is_left_nobody_is_refused_for_want_of_room():
    clock, lines = Clock(), Lines()
    servers = [line_of(clock, lines, length_min=length) for length in (0.1, 0.2, 0.3)]
    for line in servers:
        line.close()
        line.close()
    lines.present = 1
    assert not lines.is_full()
    assert lines.room == 0
