"""Replay = live, to the last bit.

Laws: a log folds to the same state whoever folds it, in whole batches or in the live owner's slices, in one go or with
restarts in between; what the digest shows does not depend on rows, slabs or batch boundaries; and it shows every
difference that matters.
"""

import asyncio
import dataclasses
import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from actors.log.contract import STATE_KINDS, Epoch, Offset, Record, RecordKind, StoredRecord
from actors.partition.recovery import SLICE_ROWS, OnFolded, _Steps
from actors.records import codec
from actors.records.payload import PayloadUnreadable
from actors.records.replay import Replay
from hearth.v1 import signal_pb2
from household.digest import household_digests, state_digest
from household.state import PartitionState
from household.tables.actions import ActionStatus
from household.tables.contract import Shape
from household.tables.pauses import Pause
from serving.signal_batches import batch_from_signals
from tests.actors.harness import (
    HOUR,
    MINUTE,
    MONDAY,
    SECOND,
    Hearth,
    SettableClock,
    corner,
    in_loop,
    kinds,
    records,
    replayed,
    running,
    signal,
)
from wire.batches import ipc_bytes


def mixed(seed: int, count: int, *, households: int = 40, start_us: int = MONDAY) -> list[signal_pb2.Signal]:
    """Return signals of all types, some of them twice, late, out of order, or not acceptable."""
    chance = np.random.default_rng(seed)
    made: list[signal_pb2.Signal] = []
    for n in range(count):
        name, member = f"h{chance.integers(households)}", f"m{chance.integers(3)}"
        at = start_us + n * SECOND + int(chance.integers(-HOUR, MINUTE))
        match int(chance.integers(12)):
            case 0:
                made.append(signal(f"s{seed}-{n}", name, "visit", at, member=member))
            case 1 | 2 | 3:
                made.append(signal(f"s{seed}-{n}", name, "check", at, member=member))
            case 4:
                given = bool(chance.integers(4))
                made.append(signal(f"s{seed}-{n}", name, "consent", at, member=member, fields={"marketing": given}))
            case 5 if made:
                made.append(made[int(chance.integers(len(made)))])
            case 6:
                made.append(signal(f"s{seed}-{n}", name, "visit", at - 26 * HOUR, member=member))
            case 7:
                made.append(signal(f"s{seed}-{n}", name, "no.such.type", at, member=member))
            case 8 if chance.integers(8) == 0:
                made.append(signal(f"s{seed}-{n}", name, "opt_out", at, member=member))
            case _:
                fields = {"amount": float(chance.integers(10_000)) / 7, "pack": ("film", "kids")[chance.integers(2)]}
                made.append(signal(f"s{seed}-{n}", name, "pay", at, member=member, fields=fields))
    return made


async def converse(hearth: Hearth, seed: int, rounds: int) -> None:
    """Play a town in small: signals, questions, answers to what was shown, acknowledgements, time."""
    chance = np.random.default_rng(seed)
    async with hearth.subscribed("push", "sms") as deliveries:
        handed = asyncio.ensure_future(anext(deliveries))
        for number in range(rounds):
            await hearth.ingest(*mixed(1_000 * seed + number, 60, start_us=hearth.clock.now_us()))
            name, member = f"h{chance.integers(40)}", f"m{chance.integers(3)}"
            channel = ("app", "web")[chance.integers(2)]
            shown = await hearth.decide(
                name, member=member, channel=channel, request_id=f"ask{seed}-{number % 20}-{name}-{member}-{channel}"
            )
            if shown.HasField("action"):
                answer = (hearth.accept, hearth.decline, hearth.get)[chance.integers(3)]
                await (answer(name) if answer == hearth.get else answer(name, shown.action.action_id, member=member))
            if handed.done():
                delivery = handed.result()
                delivered = bool(chance.integers(4))
                await hearth.ack(delivery.household, delivery.action.action_id, delivered=delivered)
                handed = asyncio.ensure_future(anext(deliveries))
            hearth.clock.pass_us(int(chance.integers(20 * MINUTE)))
            await hearth.tick()
        handed.cancel()
        await asyncio.wait([handed])
    # What the gateway was about to be handed is recorded as kept back.
    await hearth.shard._deliveries.shares.settled()


# --- replay = live ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream_clock", [False, True])
@in_loop
async def test_a_replay_gives_the_state_of_the_live_owner(tmp_path: Path, stream_clock: bool):
    async with running(tmp_path / "log", stream_clock=stream_clock) as hearth:
        await converse(hearth, 1, 40)
        await hearth.until(lambda: hearth.counter("pending") == 0)
        live, households = await hearth.digest(), await hearth.household_digests()
        copy = hearth.disk_copy(tmp_path / "copy")
        report = hearth.shard.report()[0]
        assert min(int(report[name]) for name in ("duplicate", "late", "rejected", "decisions", "delivered")) > 0
        assert int(report["expired"]) > 0
    state = replayed(copy)
    assert household_digests(state) == households
    assert state_digest(state) == live
    assert set(kinds(copy)) == STATE_KINDS - {RecordKind.INVENTORY, RecordKind.RELOCATION}
    for stored in records(copy):
        if stored.record.kind is RecordKind.DECISION and not stream_clock:
            # Decided as of the clock, between two records: the stamp catches up, or a replay would know less.
            assert codec.decode_decision(stored.record.payload).decision.decided_us <= stored.record.stamp_us


@in_loop
async def test_restarts_in_between_change_nothing_that_is_known(tmp_path: Path):
    clock = SettableClock()
    for number in range(3):
        async with running(tmp_path, clock) as hearth:
            await converse(hearth, 10 + number, 8)
            await hearth.until(lambda: hearth.counter("pending") == 0)
            wanted = await hearth.digest()
            households = await hearth.household_digests()
        assert state_digest(replayed(tmp_path)) == wanted
        assert household_digests(replayed(tmp_path)) == households
    assert kinds(tmp_path).count(RecordKind.EPOCH) == 3


@pytest.mark.parametrize("stream_clock", [False, True])
@in_loop
async def test_whole_batches_of_a_replay_equal_the_slices_of_the_live_owner(tmp_path: Path, stream_clock: bool):
    async with running(tmp_path / "log", stream_clock=stream_clock) as hearth:
        shown = [await hearth.decide(f"h{n}", signal(f"v{n}", f"h{n}", "visit", MONDAY), member="m") for n in range(3)]
        outcomes = []
        for n, answer in enumerate(shown):
            kind = ("hearth.accept", "hearth.decline", "hearth.impression")[n]
            one = signal(f"o{n}", f"h{n}", kind, MONDAY + n * SECOND, member="m")
            one.fields["action_id"].text = answer.action.action_id
            outcomes.append(one)
        many = mixed(7, 5_000)
        many[10:10], many[2_000:2_000] = outcomes[:2], outcomes[2:]
        assert len(many) > 4 * SLICE_ROWS
        answer = await hearth.ingest(*many)
        assert answer.counts.received == 5_003
        await hearth.until(lambda: hearth.counter("pending") == 0)
        live = await hearth.digest()
        copy = hearth.disk_copy(tmp_path / "copy")
    assert state_digest(replayed(copy)) == live


def folded(parts: list[list[signal_pb2.Signal]], *, stream_clock: bool = False) -> PartitionState:
    """Return what some signal records fold to."""
    opening = codec.EpochOpening(owner="shard-0", stream_clock=stream_clock, fold_version=1)
    payloads = [(RecordKind.EPOCH, codec.encode_epoch(opening)), (RecordKind.PLAN, codec.encode_plan(corner()))]
    payloads += [(RecordKind.SIGNALS, ipc_bytes(batch_from_signals(part))) for part in parts if part]
    replay = Replay()
    for offset, (kind, payload) in enumerate(payloads):
        record = Record(kind=kind, version=1, epoch=Epoch(1), stamp_us=MONDAY + 2 * HOUR, payload=payload)
        replay.fold(StoredRecord(offset=Offset(offset), record=record))
    return replay.now


def small_records(signals: list[signal_pb2.Signal], sizes: list[int]) -> list[StoredRecord]:
    """Return a log of small signal records, ticks between them, under two plans."""
    opening = codec.EpochOpening(owner="shard-0", stream_clock=False, fold_version=1)
    payloads = [(RecordKind.EPOCH, codec.encode_epoch(opening)), (RecordKind.PLAN, codec.encode_plan(corner()))]
    for number, (start, stop) in enumerate(itertools.pairwise(itertools.accumulate(sizes, initial=0))):
        if number == len(sizes) // 2:
            payloads.append((RecordKind.PLAN, codec.encode_plan(corner(("film, kids", "kids, film, news")))))
        if number % 5 == 0:
            payloads.append((RecordKind.TICK, b""))
        payloads.append((RecordKind.SIGNALS, ipc_bytes(batch_from_signals(signals[start:stop]))))
    stamps = (MONDAY + n * MINUTE for n in itertools.count())
    return [
        StoredRecord(
            offset=Offset(offset),
            record=Record(kind=kind, version=1, epoch=Epoch(1), stamp_us=next(stamps), payload=payload),
        )
        for offset, (kind, payload) in enumerate(payloads)
    ]


def fold_in_steps(replay: Replay, stored: list[StoredRecord], on_folded: OnFolded | None = None) -> None:
    """Fold as a restart does."""
    steps = _Steps(replay, stored, on_folded)
    while steps.take():
        pass


def test_records_decoded_together_fold_as_each_alone():
    """Beyond what is decoded at once, over a change of plan, and over records too large to go with others."""
    signals = mixed(5, 5_000)
    sizes = [1, 2, 3] * 60 + [700, 1] + [2] * 100 + [SLICE_ROWS + 7] + [1] * 20
    stored = small_records(signals, sizes)
    alone, together, told = Replay(), Replay(), []
    for one in stored:
        alone.fold(one)
    fold_in_steps(together, stored, lambda one, statuses, first: told.append((one.offset, first, len(statuses))))
    assert state_digest(together.now) == state_digest(alone.now)
    assert together.fold_count == alone.fold_count == len(stored)
    rows = Counter[int]()
    for offset, first, count in told:
        assert first == rows[offset], "a row is told of twice or not at all"
        rows[offset] += count
    kept = [one.offset for one in stored if one.record.kind is RecordKind.SIGNALS]
    assert list(rows.items()) == list(zip(kept, sizes, strict=True))


def test_what_comes_before_an_unreadable_record_is_folded():
    stored = small_records(mixed(6, 40), [1] * 40)
    stored[30] = dataclasses.replace(stored[30], record=dataclasses.replace(stored[30].record, payload=b"no batch"))
    replay, alone = Replay(), Replay()
    with pytest.raises(PayloadUnreadable):
        fold_in_steps(replay, stored)
    for one in stored[:30]:
        alone.fold(one)
    assert replay.fold_count == 30
    assert state_digest(replay.now) == state_digest(alone.now)


@pytest.mark.parametrize("stream_clock", [False, True])
@pytest.mark.parametrize("size", [1, 7, 100, 1_500])
def test_the_same_signals_in_any_batches_give_the_same_digest(size: int, stream_clock: bool):
    signals = mixed(3, 1_500)
    parts = [signals[at : at + size] for at in range(0, len(signals), size)]
    whole = folded([signals], stream_clock=stream_clock)
    assert state_digest(folded(parts, stream_clock=stream_clock)) == state_digest(whole)
    assert whole.counters.by_status["DUPLICATE"] > 0


# --- what the digest shows --------------------------------------------------------------------------------------------


def test_neither_rows_nor_slabs_show_in_a_households_digest():
    """Households one after another, or all mixed: other rows, other runs in the slab, the same content."""
    signals = [one for one in mixed(5, 2_000) if one.household in ("h1", "h2", "h3")]
    mixed_up, apart = (
        folded([signals]),
        folded([[one for one in signals if one.household == f"h{n}"] for n in (3, 1, 2)]),
    )
    assert mixed_up.find(b"h3")[0] != apart.find(b"h3")[0]
    assert household_digests(mixed_up) == household_digests(apart)
    assert state_digest(mixed_up) != ""


def test_a_household_shows_in_its_own_digest_only():
    signals = [signal(f"p{n}", f"h{n % 5}", "pay", MONDAY, fields={"amount": 1.0}) for n in range(50)]
    before = household_digests(folded([signals]))
    after = household_digests(folded([[*signals, signal("more", "h2", "pay", MONDAY, fields={"amount": 1.0})]]))
    assert {key for key in before if before[key] != after[key]} == {b"h2"}
    assert len(set(before.values())) == 1, "the key is not part of the content"


@pytest.mark.parametrize(
    "change",
    [
        lambda one: setattr(one, "member", "other"),
        lambda one: setattr(one.time, "nanos", one.time.nanos + 1_000),
        lambda one: one.fields["amount"].__setattr__("number", 1.0000000000000002),
        lambda one: one.fields["pack"].__setattr__("text", "kids"),
        lambda one: setattr(one, "event_id", "another"),
        lambda one: setattr(one, "type", "visit"),
    ],
)
def test_any_change_of_a_signal_shows(change):
    def made() -> signal_pb2.Signal:
        return signal("p", "h", "pay", MONDAY, member="m", fields={"amount": 1.0, "pack": "film"})

    changed = made()
    change(changed)
    assert state_digest(folded([[made()]])) == state_digest(folded([[made()]]))
    assert state_digest(folded([[made()]])) != state_digest(folded([[changed]]))


@in_loop
async def test_whatever_is_known_beyond_the_features_shows(tmp_path: Path):
    async with running(tmp_path / "log") as hearth:
        await converse(hearth, 2, 12)
        await hearth.ingest(
            signal("c", "x", "consent", hearth.clock.now_us(), member="m", fields={"marketing": True}),
            *(signal(f"k{n}", "x", "check", hearth.clock.now_us(), member="m") for n in range(2)),
        )
        await hearth.until(lambda: hearth.counter("pending") == 0)
        copy = hearth.disk_copy(tmp_path / "copy")
    clean = state_digest(replayed(copy))

    def differs(change) -> bool:
        state = replayed(copy)
        change(state)
        return state_digest(state) != clean

    def without_one(name: str):
        def change(state: PartitionState) -> None:
            table = next(one for one in state.tables if one.declaration.name == name)
            table.forget(table.slots_in_order()[-1:])

        return change

    changes = {
        "now": lambda state: setattr(state, "now_us", state.now_us + 1),
        "epoch": lambda state: setattr(state, "epoch", 9),
        "clock": lambda state: setattr(state, "stream_clock", True),
        "a counter": lambda state: setattr(state.counters, "delivered", 999),
        "a known id": lambda state: state.dedupe.arrays.times.__setitem__(int(np.argmax(state.dedupe.arrays.times)), 7),
        "a status": lambda state: state.actions.put(replace(next(iter(state.actions)), status=ActionStatus.DECLINED)),
        "a request": without_one("requests"),
        "the outbox": without_one("outbox"),
        "a settled moment": without_one("settled"),
        "a slate": without_one("slates"),
        "a contact": without_one("contacts"),
        "a decline": without_one("declined_offers"),
        "a declined family": without_one("declined_families"),
        "a decision": without_one("decisions"),
        "a fired trigger": lambda state: state.cells.flat.__setitem__(slice(0, state.cells_used), -1.0),
    }
    assert {name for name, change in changes.items() if not differs(change)} == set()

    def turned(state: PartitionState) -> None:
        """The same content in another order."""
        for table in state.tables:
            if table.declaration.digest is None or table.declaration.digest.shape is not Shape.LIST:
                slots = table.slots_in_order()
                rows = [(table.owner(slot), table.row(slot)) for slot in slots.tolist()]
                table.forget(slots)
                for owner, row in reversed(rows):
                    table.put(row, owner=owner)

    assert not differs(turned)


def test_a_household_of_which_everything_was_forgotten_is_as_one_without_history():
    state = folded([[signal("v", "h", "visit", MONDAY)]])
    before = state_digest(state)
    state.declined_offers.put(Pause("fibre", MONDAY), owner=0)
    assert state_digest(state) != before
    state.declined_offers.remove(0, "fibre")
    assert state_digest(state) == before


# --- records ----------------------------------------------------------------------------------------------------------


@in_loop
async def test_an_intact_record_that_is_not_what_its_kind_says_stops_the_replay(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await hearth.decide("h", signal("v", "h", "visit", MONDAY), member="m")
    stored = records(tmp_path)
    for kind in (RecordKind.SIGNALS, RecordKind.DECISION, RecordKind.EPOCH):
        replay = Replay()
        at = next(n for n, one in enumerate(stored) if one.record.kind is kind)
        for one in stored[:at]:
            replay.fold(one)
        spoilt = dataclasses.replace(stored[at], record=dataclasses.replace(stored[at].record, payload=b"\xc1spoilt"))
        with pytest.raises(PayloadUnreadable):
            replay.fold(spoilt)


def test_a_batch_without_events_is_a_record_like_any_other():
    empty = ipc_bytes(batch_from_signals([signal("v", "h", "visit", MONDAY)]).slice(0, 0))
    assert pa.ipc.open_stream(empty).read_next_batch().num_rows == 0
    state = folded([[signal("v", "h", "visit", MONDAY)]])
    replay = Replay(state=state, epoch=1)
    record = Record(kind=RecordKind.SIGNALS, version=1, epoch=Epoch(1), stamp_us=MONDAY, payload=empty)
    before = state_digest(state)
    replay.fold(StoredRecord(offset=Offset(3), record=record))
    assert state_digest(replay.now) == before
