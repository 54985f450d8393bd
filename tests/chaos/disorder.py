"""A stream as bad as sources make it, and the judge of what a Hearth made of it.

The stream is drawn from a seed: events of a town in order, 10 % of them twice, some up to 7 days late, shuffled within
1,000, and 1 % poison. The judge reads the log alone: it finds each row's event among those sent, folds them through
tests/household/oracle.py in the order and at the times the log says, and compares.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa

from actors.log.contract import RecordKind
from actors.log.reading import read_only_logs
from actors.log.segments import SegmentStore
from actors.records.replay import Replay
from actors.rejects.entries import read_rejects
from actors.rejects.settings import RejectSettings
from cluster.client import code_of
from hearth.internal.v1 import shard_pb2
from hearth.v1 import signal_pb2
from household.events import FIRST_REJECTION, NO_TIME_US, UNKNOWN_TYPE, Status
from household.plan import Plan
from household.state import PartitionState
from serving.signal_batches import batch_from_signals
from serving.totals import counts_by_name
from tests.actors.harness import (
    CORNER,
    DAY,
    HOUR,
    MINUTE,
    MONDAY,
    SECOND,
    DiskFiles,
    Hearth,
    SettableClock,
    corner,
    outcome,
    reason_of,
    running,
    signal,
)
from tests.household.oracle import Event, Oracle
from tests.household.test_apply_equals_oracle import assert_equal
from wire.batches import ipc_bytes
from wire.failures import CallFailed
from wire.positions import log_position

DUPLICATE_SHARE = 0.10
HELD_BACK_SHARE = 0.10
POISON_SHARE = 0.01
SHUFFLED_WITHIN = 1_000
LATE_UP_TO = 7 * DAY
MEGABYTE = 1 << 20
YEAR = 365 * DAY

LATENESS_7D = ("clock: {lateness: 1d", "clock: {lateness: 7d")
QUIET = (CORNER[CORNER.index("  low:\n") : CORNER.index("  contact: {contact")], "")
"""A playbook in which no signal makes a moment: what a household knows then depends on its own signals alone."""


@dataclass(frozen=True)
class Arrival:
    """A signal as it is sent, what it is to mean, and when it reaches us."""

    at_us: int
    signal: signal_pb2.Signal
    is_poison: bool = False


@dataclass(frozen=True)
class Stream:
    """What is sent, in order; refused requests go in between."""

    arrivals: tuple[Arrival, ...]
    poisoned: frozenset[str]
    """Households that poison names."""

    def batches(self, size: int) -> list[tuple[int, list[signal_pb2.Signal]]]:
        """Return (time, signals) of each request; poison or not, the same requests at the same times."""
        parts = [self.arrivals[start : start + size] for start in range(0, len(self.arrivals), size)]
        newest, made = 0, []
        for part in parts:
            newest = max(newest, *(one.at_us for one in part))
            made.append((newest, [one.signal for one in part if one.signal.type]))
        return made

    def without_poison(self) -> "Stream":
        """Return it with nothing in the place of poison."""
        nothing = signal_pb2.Signal()
        arrivals = [replace(one, signal=nothing) if one.is_poison else one for one in self.arrivals]
        return replace(self, arrivals=tuple(arrivals))


def stream(seed: int, count: int, *, households: int = 60, ends_us: int | None = None) -> Stream:
    """Return `count` events, a minute apart at their source, the last at `ends_us`, as they arrive."""
    chance = np.random.default_rng(seed)
    arrivals: list[Arrival] = []
    for n in range(count):
        at_us = MONDAY + n * MINUTE
        one = _event(chance, f"e{seed}-{n}", f"h{chance.integers(households)}", at_us)
        delay_us = int(chance.integers(LATE_UP_TO)) if chance.random() < HELD_BACK_SHARE else 0
        arrivals.append(Arrival(at_us + delay_us, one))
        if chance.random() < DUPLICATE_SHARE:
            # Soon after, or after as long as anything may be late, and a little longer.
            again_us = int(chance.integers(HOUR if chance.random() < 0.3 else LATE_UP_TO + 12 * HOUR))
            arrivals.append(Arrival(at_us + delay_us + again_us, one))
        if chance.random() < POISON_SHARE:
            home = f"h{chance.integers(5)}" if chance.random() < 0.5 else f"bad{n}"
            made = POISONS[int(chance.integers(len(POISONS)))](f"x{seed}-{n}", home, at_us)
            arrivals.append(Arrival(at_us, made, is_poison=True))
    arrivals.sort(key=lambda one: one.at_us)
    arrivals = _shuffled(chance, arrivals)
    if ends_us is not None:
        # By when things happened: what is sent again arrives up to a week later, and would leave all else too late.
        shift_us = ends_us - (MONDAY + count * MINUTE)
        arrivals = [_moved(one, shift_us) for one in arrivals]
    return Stream(tuple(arrivals), frozenset(one.signal.household for one in arrivals if one.is_poison))


def _shuffled(chance: np.random.Generator, arrivals: list[Arrival]) -> list[Arrival]:
    shuffled: list[Arrival] = []
    for start in range(0, len(arrivals), SHUFFLED_WITHIN):
        part = arrivals[start : start + SHUFFLED_WITHIN]
        shuffled += [part[place] for place in chance.permutation(len(part))]
    return shuffled


def _moved(one: Arrival, shift_us: int) -> Arrival:
    moved = signal_pb2.Signal()
    moved.CopyFrom(one.signal)
    if moved.HasField("time"):
        time_us = moved.time.ToMicroseconds() + shift_us
        moved.time.FromMicroseconds(time_us - time_us % MINUTE)
    return replace(one, at_us=one.at_us + shift_us, signal=moved)


def _event(chance: np.random.Generator, event_id: str, home: str, at_us: int) -> signal_pb2.Signal:
    member = f"m{chance.integers(3)}"
    match int(chance.integers(6)):
        case 0:
            return signal(event_id, home, "visit", at_us, member=member)
        case 1 | 2:
            return signal(event_id, home, "check", at_us, member=member)
        case 3:
            kind = ("opt_out", "opt_in")[chance.integers(2)]
            return signal(event_id, home, kind, at_us, member=member)
        case _:
            fields = {"amount": float(chance.integers(10_000)), "pack": ("film", "kids")[chance.integers(2)]}
            return signal(event_id, home, "pay", at_us, member=member, fields=fields)


def _untimed(event_id: str, home: str, at_us: int) -> signal_pb2.Signal:
    made = signal(event_id, home, "visit", at_us)
    made.ClearField("time")
    return made


Poison = Callable[[str, str, int], signal_pb2.Signal]

POISONS: tuple[Poison, ...] = (
    lambda i, h, t: signal(i, h, "pay", t, fields={"amount": float("nan")}),
    lambda i, h, t: signal(i, h, "pay", t, fields={"amount": float("inf")}),
    lambda i, h, t: signal(i, h, "pay", t, fields={"amount": float("-inf")}),
    lambda i, h, t: signal(i, h, "pay", t, fields={"amount": -1.0}),
    lambda i, h, t: signal(i, h, "pay", t, fields={"amount": "much"}),
    lambda i, h, t: signal(i, h, "pay", t, fields={"amount": 3.0, "pack": "opera"}),
    lambda i, h, t: signal(i, h, "pay", t),
    lambda i, h, t: signal(i, h, "visit", t + 30 * DAY),
    lambda i, h, t: signal(i, h, "visit", t + 100 * YEAR),
    lambda i, h, t: signal(i, h, "visit", t + 300 * YEAR),
    lambda i, h, t: signal(i, h, "visit", -5 * SECOND),
    _untimed,
    lambda i, h, t: signal(i, h, "no.such.type", t),
    lambda i, h, t: signal(i, h, "no.such.type", t, fields={"note": i + "x" * MEGABYTE}),
    lambda i, h, t: signal(i, h, "visit", t, fields={"note": i + "y" * MEGABYTE}),
    lambda i, h, t: signal(i + "z" * 129, h, "visit", t),
    lambda i, h, t: signal("", h, "visit", t),
    lambda i, h, t: signal(i, "k" * 129, "visit", t),
    lambda i, h, t: signal(i, "", "visit", t),
    lambda i, h, t: signal(i, h, "visit", t, member="m" * 129),
    lambda i, h, t: signal(i, h, "pay", t, fields={"amount": 1e300}),
    lambda i, h, t: signal(i, h, "pay", t, fields={"amount": 1.0, "time": 5.0, "type": "x"}),
)


# --- requests that are refused whole ---------------------------------------------------------------------------------


def broken_batches() -> dict[str, bytes]:
    """Return what is no signal batch, by what is wrong with it."""
    good = batch_from_signals([signal("b1", "h1", "pay", MONDAY, fields={"amount": 1.0})])
    whole = ipc_bytes(good)

    def with_column(name: str, column: pa.Array) -> bytes:
        columns = dict(zip(good.schema.names, good.columns, strict=True)) | {name: column}
        return ipc_bytes(pa.RecordBatch.from_pydict(columns))

    bad_text = pa.StringArray.from_buffers(
        1, pa.py_buffer(np.array([0, 4], np.int32).tobytes()), pa.py_buffer(b"\xff\xfe\xfd\xfc")
    )
    bounds = np.array([0, 7], np.int32).tobytes()
    known = with_column("member", pa.array([b"memberX"], pa.binary()))
    at = known.rindex(bounds)  # the body stands behind the metadata
    wild = known[:at] + np.array([0, 1 << 30], np.int32).tobytes() + known[at + len(bounds) :]
    return {
        "nothing": b"",
        "noise": np.random.default_rng(7).bytes(4_096),
        "half a stream": whole[: len(whole) // 2],
        "a flipped byte": whole[:40] + bytes([whole[40] ^ 0xFF]) + whole[41:],
        "a protobuf": signal("b1", "h1", "pay", MONDAY).SerializeToString(),
        "times as texts": with_column("time", pa.array(["now"])),
        "amounts as lists": with_column("n:amount", pa.array([[1.0]])),
        "a type that is no UTF-8": with_column("type", bad_text),
        "offsets beyond the buffer": wild,
        "no column of ids": ipc_bytes(good.select(["household", "member", "type", "time"])),
    }


# --- the judge -------------------------------------------------------------------------------------------------------


def event_by_row(plan: Plan, signals: Sequence[signal_pb2.Signal]) -> Mapping[tuple[bytes, bytes, str, int], Event]:
    """Return what each signal means, by what a row of the log shows of it."""
    return {_key(one): _meaning(plan, one) for one in signals}


def _key(one: signal_pb2.Signal) -> tuple[bytes, bytes, str, int]:
    time_us = one.time.ToMicroseconds() if one.HasField("time") else NO_TIME_US
    return one.event_id.encode(), one.household.encode(), one.type, time_us


def _meaning(plan: Plan, one: signal_pb2.Signal) -> Event:
    values, is_bad = [], False
    for name, value in one.fields.items():
        index = plan.field_by_name.get(name, -1)
        if index < 0:
            continue
        known = plan.fields[index].values
        if value.HasField("text"):
            is_bad |= value.text not in known
            values += [(index, float(known.index(value.text)))] if value.text in known else []
        else:
            is_bad |= not np.isfinite(value.number)
            values.append((index, value.number))
    event_id, home, _, time_us = _key(one)
    return Event(
        id=event_id,
        household=home,
        member=one.member.encode(),
        kind=plan.event_type_by_name.get(one.type, UNKNOWN_TYPE),
        time_us=time_us,
        values=tuple(values),
        is_bad=is_bad,
    )


@dataclass
class Judged:
    """What the oracle makes of a log."""

    oracles: dict[int, Oracle] = field(default_factory=dict)
    replays: dict[int, Replay] = field(default_factory=dict)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    """(position, reason) of every rejected row, in log order."""
    received: Counter[int] = field(default_factory=Counter)

    def total(self, status: Status) -> int:
        """How many events of all partitions came to this."""
        return sum(oracle.counts[status.name] for oracle in self.oracles.values())


def judge(log_dir: Path, plan: Plan, signals: Sequence[signal_pb2.Signal]) -> Judged:
    """Fold a log twice, through the product and through the oracle, and compare all that can be asked.

    Raises:
        AssertionError: they differ, or a row was never sent.
    """
    meanings, judged = event_by_row(plan, signals), Judged()
    for partition, stored in read_only_logs(log_dir):
        replay = judged.replays.setdefault(partition, Replay())
        replay.fold(stored)
        if replay.state is None:
            continue
        oracle = judged.oracles.setdefault(partition, Oracle(plan, stream_clock=replay.stream_clock))
        if stored.record.kind is not RecordKind.SIGNALS:
            if stored.record.kind in (RecordKind.TICK, RecordKind.DECISION):
                oracle.now_us = max(oracle.now_us, stored.record.stamp_us)
            continue
        with pa.ipc.open_stream(stored.record.payload) as opened:
            rows = opened.read_next_batch().select(["event_id", "household", "type", "time"]).to_pylist()
        events = [meanings[row["event_id"], row["household"], row["type"], row["time"]] for row in rows]
        statuses = oracle.apply(events, stamp_us=stored.record.stamp_us)
        judged.received[partition] += len(rows)
        judged.rejected += [
            (log_position(partition, stored.offset, row), status.name)
            for row, status in enumerate(statuses)
            if status >= FIRST_REJECTION
        ]
    for partition, oracle in judged.oracles.items():
        state = judged.replays[partition].now
        assert_equal(state, oracle, [oracle.now_us, oracle.now_us - 3 * DAY])
        assert_balance(state, judged.received[partition])
    return judged


def assert_balance(state: PartitionState, received: int) -> None:
    """Rule 13, with what was received counted in the log itself."""
    counters = state.counters
    by_status = counters.by_status
    assert counters.received == received
    assert received == by_status["APPLIED"] + by_status["DUPLICATE"] + by_status["LATE"] + counters.rejected


def assert_rejects(directory: Path, judged: Judged) -> None:
    """Every rejected row is kept once, under its reason, and nothing else is."""
    kept = [(one.reject.position, one.reject.reason) for one in read_rejects(directory)]
    assert sorted(kept) == sorted(judged.rejected)


# --- through a shard -------------------------------------------------------------------------------------------------

Said = Counter[str]
"""What the answers said, added up."""

Between = Callable[[Hearth], Awaitable[None]]


async def _until_decided(hearth: Hearth) -> None:
    """Wait for the moments, which are decided beside: until all are, the log goes on."""
    await hearth.until(lambda: hearth.counter("pending", 0) + hearth.counter("pending", 1) == 0)


async def _refused(hearth: Hearth) -> None:
    await _until_decided(hearth)
    for name, payload in broken_batches().items():
        before = hearth.counter("records")
        answer = await outcome(hearth.call(shard_pb2.METHOD_INGEST, 0, payload))
        assert isinstance(answer, CallFailed), f"{name} was taken"
        assert reason_of(answer) == "BAD_BATCH", name
        assert hearth.counter("records") == before, name


async def run_through_shard(
    folder: Path, drawn: Stream, plan: Plan, *, batch_size: int = 250
) -> tuple[Said, dict[bytes, str], dict[int, str]]:
    """Send a stream to a shard of two partitions; return the answers' totals and the live digests."""
    clock, said = SettableClock(drawn.arrivals[0].at_us - DAY), Counter[str]()
    store = SegmentStore(folder / "rejects", files=DiskFiles())
    settings = RejectSettings(gather_s=0.0)
    async with running(
        folder / "log", clock, plan=plan, partitions=(0, 1), rejects=store, reject_settings=settings
    ) as hearth:
        for number, (at_us, signals) in enumerate(drawn.batches(batch_size)):
            clock.at_us = max(clock.at_us, at_us)
            if number == 3:
                await _refused(hearth)
            if not signals:
                continue
            counts = (await hearth.ingest(*signals)).counts
            said.update(counts_by_name(counts))
        await _until_decided(hearth)
        for owned in hearth.shard._owned.values():
            assert owned.owner.rejects is not None
            assert await asyncio.to_thread(owned.owner.rejects.settle, 60.0)
        digests = await hearth.household_digests(0) | await hearth.household_digests(1)
        states = {partition: await hearth.digest(partition) for partition in (0, 1)}
    return said, digests, states


def seven_days() -> Plan:
    """Return the playbook that takes what is up to 7 days late."""
    return corner(LATENESS_7D)


# --- through the public port -----------------------------------------------------------------------------------------


def garbage_on_the_port(address: str) -> None:
    """Send what no client would, as bytes of a request and as requests that are wrong as a whole."""
    identity: Callable[[bytes], bytes] = bytes
    with grpc.insecure_channel(address) as channel:
        for method in ("SignalService/Ingest", "DecisionService/Decide", "AdminService/Reject"):
            call = channel.unary_unary(
                f"/hearth.v1.{method}", request_serializer=identity, response_deserializer=identity
            )
            for payload in (b"\xff" * 64, np.random.default_rng(3).bytes(2_048)):
                assert _code(call, payload) is not None, f"{method} took {payload[:8]!r}"
        ingest = channel.unary_unary(
            "/hearth.v1.SignalService/Ingest",
            request_serializer=signal_pb2.IngestRequest.SerializeToString,
            response_deserializer=signal_pb2.IngestResponse.FromString,
        )
        for name, payload in broken_batches().items():
            code = _code(ingest, signal_pb2.IngestRequest(arrow_stream=payload))
            # What is only strange to a shard is set right by the edge: it knows columns by their plain names.
            assert code is grpc.StatusCode.INVALID_ARGUMENT or name == "amounts as lists", (name, code)
        large = signal("l", "h", "visit", MONDAY, fields={"note": "x" * (17 << 20)})
        assert _code(ingest, signal_pb2.IngestRequest(signals=[large])) is grpc.StatusCode.RESOURCE_EXHAUSTED


def _code(call: Callable[..., object], request: object) -> grpc.StatusCode | None:
    """Return how a call failed; None if it did not."""
    try:
        call(request, timeout=20)
    except grpc.RpcError as failed:
        return code_of(failed)
    return None
