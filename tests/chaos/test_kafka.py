"""The log on a real Kafka broker that is killed, paused and written to by others.

Laws:
    what was acknowledged is read once, in order, however often the broker is killed; what was not, is there whole or
    not at all;
    a group that arrives after its append was given up is whole, and void behind a newer epoch;
    of what an outdated owner goes on writing, its decisions, ticks, plans and epochs are void and counted, its signals
    folded once, whether it is read later or while the new owner works;
    groups that a producer sent again are read once, wherever they land, and counted;
    a group that is missing is found wherever it is missing.
Negative controls: a producer that retries in place; a fold that does not look at epochs; a reader that does not look
for repetitions; a reader that does not look at sequences. Each must break its law.
"""

import asyncio
import copy
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

from actors.log.contract import (
    AppendFailed,
    DamagedLog,
    Epoch,
    LogUnavailable,
    Offset,
    PartitionId,
    Record,
    RecordKind,
    StoredRecord,
)
from actors.log.kafka import KafkaLog, KafkaStore
from actors.log.kafka_client import KafkaSettings
from actors.log.kafka_frame import GroupHeader, encode_group, first_offset
from actors.log.kafka_reader import GroupReader
from actors.records import codec
from actors.records.replay import Replay
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from household.digest import household_digests, state_digest
from household.state import FOLD_VERSION
from serving.signal_batches import batch_from_signals
from tests.actors.harness import MINUTE, MONDAY, Hearth, SettableClock, corner, in_loop, records, running
from tests.actors.test_replay import converse, mixed
from tests.chaos.plain_replay import differences, plain_replay, wide
from tests.parts.kafka_broker import Broker, running_broker
from tests.parts.kafka_logs import settings_for, write_past_the_log
from wire.batches import ipc_bytes

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

KILLS = 4
RESTART_S_MAX = 40
"""Of the broker: 3 s where there is nothing else to do."""
APPENDERS = 3
GROUPS_BETWEEN_KILLS = 60
PAUSES = 3
ROUNDS = 40
"""Of the town in small whose records are written by owners, outdated owners and producers that repeat themselves."""
LIVE_ROUNDS = 40
GAP_GROUPS = 14

ZERO = PartitionId(0)

_names = (f"chaos-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running_broker() as running:
        yield running


@pytest.fixture
def settings(broker: Broker) -> KafkaSettings:
    return settings_for(broker, next(_names))


def record(payload: bytes, *, epoch: int = 1, kind: RecordKind = RecordKind.SIGNALS) -> Record:
    return Record(kind=kind, version=1, epoch=Epoch(epoch), stamp_us=MONDAY, payload=payload)


def payloads(log: KafkaLog) -> list[bytes]:
    return [stored.record.payload for stored in log.read(log.first_offset)]


# --- the broker dies, or does not answer ------------------------------------------------------------------------------


@dataclass(slots=True)
class Writer:
    """Appends numbered groups of three, as an owner that takes a new epoch after each append of unknown outcome."""

    store: KafkaStore
    partition: PartitionId
    acknowledged: list[int]
    unknown: list[int]
    epoch: int = 1
    retries_in_place: bool = False

    def run(self, numbers: Sequence[int], stop: threading.Event) -> None:
        log = self.store.open(self.partition)
        for number in numbers:
            if stop.is_set():
                break
            group = [record(b"%d/%d" % (number, row), epoch=self.epoch) for row in range(3)]
            try:
                log.append(group)
                self.acknowledged.append(number)
            except AppendFailed:
                log.close()
                log = self._taken_over()
                if self.retries_in_place:
                    log.append([replace(one, epoch=Epoch(self.epoch)) for one in group])
                    self.acknowledged.append(number)
                else:
                    self.unknown.append(number)
        log.close()

    def _taken_over(self) -> KafkaLog:
        deadline = time.monotonic() + 60
        while True:
            try:
                log = self.store.open(self.partition)
                self.epoch = log.last_epoch + 1
                log.append([record(b"opening", epoch=self.epoch, kind=RecordKind.EPOCH)])
                return log
            except (AppendFailed, LogUnavailable):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def broken(self) -> list[str]:
        """Return how the log differs from what its writer knows."""
        log = self.store.open(self.partition)
        found = [payload for payload in payloads(log) if payload != b"opening"]
        log.close()
        wrong = []
        if len(found) % 3:
            wrong.append("half a group")
        groups = [found[at : at + 3] for at in range(0, len(found), 3)]
        numbers = [int(group[0].split(b"/")[0]) for group in groups]
        for number, group in zip(numbers, groups, strict=True):
            if group != [b"%d/%d" % (number, row) for row in range(3)]:
                wrong.append(f"group {number} is {group}")
        if numbers != sorted(set(numbers)):
            wrong.append(f"out of order or twice: {numbers}")
        if missing := set(self.acknowledged) - set(numbers):
            wrong.append(f"acknowledged and gone: {sorted(missing)}")
        if strange := set(numbers) - set(self.acknowledged) - set(self.unknown):
            wrong.append(f"never written: {sorted(strange)}")
        return wrong


@pytest.mark.parametrize("delivery_timeout_s", [2.0 * RESTART_S_MAX, 1.0], ids=["patient", "impatient"])
def test_what_was_acknowledged_outlives_a_broker_that_is_killed_again_and_again(
    broker: Broker, delivery_timeout_s: float
):
    settings = settings_for(broker, next(_names), delivery_timeout_s=delivery_timeout_s)
    store = KafkaStore(settings)
    writers = [Writer(store, PartitionId(number), [], []) for number in range(APPENDERS)]
    stop = threading.Event()
    with ThreadPoolExecutor(APPENDERS) as pool:
        running = [pool.submit(writer.run, range(1_000_000), stop) for writer in writers]
        try:
            for _ in range(KILLS):
                # Killed in the midst of appends of each of them.
                goals = [len(writer.acknowledged) + GROUPS_BETWEEN_KILLS for writer in writers]
                deadline = time.monotonic() + 90
                while any(len(writer.acknowledged) < goal for writer, goal in zip(writers, goals, strict=True)):
                    assert time.monotonic() < deadline, [writer.acknowledged[-1:] for writer in writers]
                    assert not any(one.done() for one in running), [one.exception() for one in running if one.done()]
                    time.sleep(0.005)
                broker.kill()
                broker.restart()
        finally:
            stop.set()
        for one in running:
            one.result(90)
    assert [writer.broken() for writer in writers] == [[]] * APPENDERS
    acknowledged = sum(len(writer.acknowledged) for writer in writers)
    unknown = sum(len(writer.unknown) for writer in writers)
    print(f"{KILLS} kills: {acknowledged} groups acknowledged, {unknown} of unknown outcome")
    # Neither is a law; but without it the one would show nothing about taking over, the other nothing about waiting.
    assert (unknown > 0) == (delivery_timeout_s < RESTART_S_MAX)


def paused_under_an_append(broker: Broker, *, retries_in_place: bool) -> tuple[Writer, int]:
    """Pause the broker past the deadline of an append, several times; return the writer and how many arrived later."""
    settings = settings_for(broker, next(_names), delivery_timeout_s=2.0)
    writer = Writer(KafkaStore(settings), ZERO, [], [], retries_in_place=retries_in_place)
    stop = threading.Event()
    for number in range(PAUSES):
        writer.run([3 * number], stop)
        log = writer.store.open(ZERO)
        log.close()
        pausing = _PauseAtProduce(broker)
        with pausing.armed():
            writer.run([3 * number + 1, 3 * number + 2], stop)
    log = writer.store.open(ZERO)
    late = sum(b"%d/0" % number in payloads(log) for number in writer.unknown)
    log.close()
    return writer, late


class _PauseAtProduce:
    """Pauses the broker when an append is about to be sent, and lets it go on when its deadline has passed."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def armed(self) -> pytest.MonkeyPatch:  # type: ignore[override]
        patch = pytest.MonkeyPatch()
        original = KafkaLog._delivered
        broker, is_done = self._broker, threading.Event()

        def delivered(log: KafkaLog, message: bytes) -> int:
            if is_done.is_set():
                return original(log, message)
            is_done.set()
            # The producer is connected and knows its number, so that the group reaches the broker's socket.
            log._producer.list_topics(timeout=10)
            time.sleep(0.7)
            broker.pause()
            try:
                return original(log, message)
            finally:
                broker.resume()

        patch.setattr(KafkaLog, "_delivered", delivered)
        return _Undone(patch)  # type: ignore[return-value]


class _Undone:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


def test_a_group_that_was_given_up_while_the_broker_was_away_is_whole_or_absent(broker: Broker):
    writer, late = paused_under_an_append(broker, retries_in_place=False)
    assert {3 * number + 1 for number in range(PAUSES)} <= set(writer.unknown)
    assert writer.broken() == []
    print(f"{late} of {len(writer.unknown)} groups arrived after their append had failed")


def test_a_group_that_is_retried_in_place_would_be_there_twice(broker: Broker):
    """The negative control of the test above."""
    writer, _ = paused_under_an_append(broker, retries_in_place=True)
    assert any("twice" in one for one in writer.broken())


# --- an outdated owner ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """A group as a test wrote it, and where it stands on Kafka."""

    place: int
    records: tuple[Record, ...]

    def stored(self) -> list[StoredRecord]:
        first = first_offset(self.place)
        return [StoredRecord(offset=Offset(first + row), record=one) for row, one in enumerate(self.records)]


def a_town(tmp_path: Path, seed: int, rounds: int) -> list[Record]:
    """Return what a live owner wrote: epoch, plan, signals, decisions and ticks of a town in small."""

    async def live() -> None:
        async with running(tmp_path / f"town-{seed}") as hearth:
            await converse(hearth, seed, rounds)

    asyncio.run(live())
    return [stored.record for stored in records(tmp_path / f"town-{seed}")]


def in_groups(some: Sequence[Record], chance: np.random.Generator) -> list[tuple[Record, ...]]:
    groups, at = [], 0
    while at < len(some):
        size = int(chance.integers(1, 6))
        groups.append(tuple(some[at : at + size]))
        at += size
    return groups


def signals_of(seed: int, epoch: int, start_us: int) -> Record:
    batch = batch_from_signals(mixed(seed, 30, start_us=start_us))
    return Record(
        kind=RecordKind.SIGNALS,
        version=codec.SIGNALS_LAYOUT,
        epoch=Epoch(epoch),
        stamp_us=start_us,
        payload=ipc_bytes(batch),
    )


def opening(epoch: int) -> Record:
    content = codec.encode_epoch(codec.EpochOpening(owner="owner", stream_clock=False, fold_version=FOLD_VERSION))
    return Record(
        kind=RecordKind.EPOCH, version=codec.EPOCH_LAYOUT, epoch=Epoch(epoch), stamp_us=MONDAY, payload=content
    )


class Outdated:
    """An owner that was never told: it goes on writing and looks at nothing."""

    def __init__(self, settings: KafkaSettings, partition: PartitionId = ZERO) -> None:
        self._settings = settings
        self._partition = partition
        self._sequence = 0

    def write(self, group: Sequence[Record]) -> None:
        header = GroupHeader(self._partition, len(group), b"outdated owner!!", self._sequence, 0, Epoch(1))
        self._sequence += 1
        write_past_the_log(self._settings, self._partition, encode_group(header, group))


def two_owners(settings: KafkaSettings, town: list[Record]) -> list[Written]:
    """Write a town's first part by its owner, the rest by the same one when it is outdated, a newer one in between."""
    chance = np.random.default_rng(7)
    groups = in_groups(town, chance)
    cut = len(groups) // 2
    first = KafkaStore(settings).open(ZERO)
    written = [Written(first.append(group) >> 20, group) for group in groups[:cut]]
    first.close()

    owner, outdated = KafkaStore(settings).open(ZERO), Outdated(settings)
    written.append(Written(owner.append([opening(2)]) >> 20, (opening(2),)))
    plans = [one for one in town if one.kind is RecordKind.PLAN]
    late = [*groups[cut:], (plans[0],), (opening(1),), (opening(2),)]
    for number, group in enumerate(late):
        outdated.write(group)
        written.append(Written(written[-1].place + 1, group))
        if number % 3 == 0:
            own = (signals_of(100 + number % 6, 2, MONDAY + number * MINUTE),)
            written.append(Written(owner.append(own) >> 20, own))
    owner.close()
    return written


def test_what_an_outdated_owner_goes_on_writing_is_void_but_for_its_signals(settings: KafkaSettings, tmp_path: Path):
    written = two_owners(settings, a_town(tmp_path, 3, ROUNDS))
    everything = [stored for group in written for stored in group.stored()]
    log = KafkaStore(settings).open(ZERO)
    found = list(log.read(log.first_offset))
    assert found == everything
    assert log.last_epoch == 2

    replay = Replay()
    for stored in found:
        replay.fold(stored)
    taken_over = next(at for at, stored in enumerate(everything) if stored.record.epoch == 2)
    void = [
        stored.record.kind
        for stored in everything[taken_over + 1 :]
        if (stored.record.epoch == 1 or stored.record.kind is RecordKind.EPOCH)
        and stored.record.kind is not RecordKind.SIGNALS
    ]
    assert {RecordKind.DECISION, RecordKind.TICK, RecordKind.PLAN, RecordKind.EPOCH} <= set(void)
    owners_word = sum(void.count(kind) for kind in (RecordKind.DECISION, RecordKind.TICK, RecordKind.DELIVERY))
    assert replay.now.counters.voided >= owners_word
    assert replay.void_plans == void.count(RecordKind.PLAN)
    assert replay.void_epochs == void.count(RecordKind.EPOCH)

    # The same without what is void: nothing about any household differs, and exactly so much less was voided.
    expected = Replay()
    for at, stored in enumerate(everything):
        is_late = at > taken_over and (stored.record.epoch == 1 or stored.record.kind is RecordKind.EPOCH)
        if not is_late or stored.record.kind is RecordKind.SIGNALS:
            expected.fold(stored)
    assert household_digests(replay.now) == household_digests(expected.now)
    ours, theirs = replay.now.counters, expected.now.counters
    assert ours.voided - theirs.voided == owners_word
    assert (ours.received, ours.by_status, ours.decisions) == (theirs.received, theirs.by_status, theirs.decisions)
    assert differences(plain_replay(0, found).now, replay.now) == []
    print(f"{len(found)} records, {len(void)} of an outdated owner void")


def test_a_fold_that_does_not_look_at_epochs_would_differ(settings: KafkaSettings, tmp_path: Path):
    """The negative control of the test above."""
    written = two_owners(settings, a_town(tmp_path, 3, ROUNDS))
    right, wrong = Replay(), Replay()
    for stored in (stored for group in written for stored in group.stored()):
        right.fold(stored)
        is_late = stored.record.epoch < right.epoch
        wrong.fold(replace(stored, record=replace(stored.record, epoch=Epoch(2))) if is_late else stored)
    assert household_digests(right.now) != household_digests(wrong.now)


class KafkaHearth(Hearth):
    """The shard of the other tests, on Kafka."""

    def __init__(self, store: KafkaStore, clock: SettableClock, name: str) -> None:
        self.clock = clock
        self.plan = corner()
        self.partitions = (ZERO,)
        config = ShardConfig(name=name, address="unix:", redeliver_after_s=600, tick_interval_s=600)
        self.shard = Shard(config, store, clock=clock)


@in_loop
async def test_a_live_owner_folds_what_an_outdated_one_writes_in_between(settings: KafkaSettings, tmp_path: Path):
    town = await asyncio.to_thread(a_town, tmp_path, 5, 20)
    first = KafkaHearth(KafkaStore(settings), SettableClock(), "shard-0")
    await first.assign(0)
    await converse(first, 1, 5)
    owner = KafkaHearth(KafkaStore(settings), first.clock, "shard-1")
    await owner.assign(0)

    stop, outdated = threading.Event(), Outdated(settings)
    late = [one for one in town if one.kind is not RecordKind.EPOCH]
    groups = itertools.cycle(in_groups(late, np.random.default_rng(1)))

    def go_on() -> int:
        count = 0
        while not stop.is_set():
            outdated.write(next(groups))
            count += 1
        return count

    writing = asyncio.create_task(asyncio.to_thread(go_on))
    try:
        await converse(owner, 2, LIVE_ROUNDS)
    finally:
        stop.set()
        count = await writing
    # The first one writes once more at the very end, and so learns that it is outdated.
    await first.shard.drain()
    await owner.ingest(*mixed(999, 5, start_us=owner.clock.now_us()))
    await owner.until(lambda: owner.counter("pending") == 0)
    live, households, told = await owner.in_state(
        lambda state: (state_digest(state), household_digests(state), copy.deepcopy(wide(state)))
    )
    await owner.shard.drain()

    log = KafkaStore(settings).open(ZERO)
    found = list(log.read(log.first_offset))
    replay = Replay()
    for stored in found:
        replay.fold(stored)
    assert household_digests(replay.now) == households
    assert wide(replay.now) == told
    assert state_digest(replay.now) == live
    assert differences(plain_replay(0, found).now, replay.now) == []
    assert replay.epoch == 2
    assert replay.now.counters.voided > 0
    between = sum(one.record.epoch == 1 for one in found[next(n for n, s in enumerate(found) if s.record.epoch == 2) :])
    assert between > 0
    print(f"{count} groups of an outdated owner, {between} of its records among {len(found)}")


# --- sent again -------------------------------------------------------------------------------------------------------


def repeated(settings: KafkaSettings, town: list[Record]) -> tuple[list[Written], int]:
    """Write a town by two producers that send some groups again, at once or later; return what counts, and the rest."""
    chance = np.random.default_rng(11)
    KafkaStore(settings).open(ZERO).close()
    written: list[Written] = []
    messages: list[bytes] = []
    waiting: list[bytes] = []
    sequences, repetitions = [0, 0], 0
    known = 0
    for group in in_groups(town, chance):
        which = int(chance.integers(2))
        header = GroupHeader(ZERO, len(group), bytes([which] * 16), sequences[which], known, Epoch(1))
        sequences[which] += 1
        message = encode_group(header, group)
        written.append(Written(len(messages), group))
        messages.append(message)
        if chance.integers(4) == 0:
            waiting.append(message)
        if waiting and chance.integers(3) == 0:
            messages += waiting
            repetitions += len(waiting)
            waiting = []
        if chance.integers(2):
            known = len(messages)
    write_past_the_log(settings, ZERO, *messages)
    return written, repetitions


def test_groups_that_were_sent_again_are_folded_once(settings: KafkaSettings, tmp_path: Path):
    written, repetitions = repeated(settings, a_town(tmp_path, 4, ROUNDS))
    assert repetitions > 5
    everything = [stored for group in written for stored in group.stored()]
    log = KafkaStore(settings).open(ZERO)
    found = list(log.read(log.first_offset))
    assert found == everything
    assert log.repetitions == repetitions
    replay, expected = Replay(), Replay()
    for stored in found:
        replay.fold(stored)
    for stored in everything:
        expected.fold(stored)
    assert state_digest(replay.now) == state_digest(expected.now)
    assert differences(plain_replay(0, everything).now, replay.now) == []
    for group in written:
        start = first_offset(group.place)
        assert [stored.offset for stored in log.read(start)] == [
            one.offset for one in everything if one.offset >= start
        ]
    assert log.repetitions == repetitions


def test_a_reader_that_does_not_look_for_repetitions_would_fold_them_twice(
    settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The negative control of the test above."""
    written, _ = repeated(settings, a_town(tmp_path, 4, ROUNDS))
    monkeypatch.setattr(GroupReader, "groups", lambda self, start, end, low: self.messages(start, end))
    log = KafkaStore(settings).open(ZERO)
    right, wrong = Replay(), Replay()
    for stored in (stored for group in written for stored in group.stored()):
        right.fold(stored)
    for stored in log.read(log.first_offset):
        wrong.fold(stored)
    assert state_digest(wrong.now) != state_digest(right.now)
    assert wrong.now.counters.by_status["DUPLICATE"] > right.now.counters.by_status["DUPLICATE"]


# --- missing ----------------------------------------------------------------------------------------------------------


def with_one_missing(settings: KafkaSettings, missing: int) -> KafkaLog:
    """Return a log of two writers in turn, without one of its groups, as a broker would show that lost it."""
    messages = [
        encode_group(
            GroupHeader(ZERO, 1, bytes([number % 2] * 16), number // 2, max(0, number - 1), Epoch(1)),
            [record(b"%d" % number)],
        )
        for number in range(GAP_GROUPS)
    ]
    del messages[missing]
    store = KafkaStore(settings)
    store.open(ZERO).close()
    write_past_the_log(settings, ZERO, *messages)
    return store.open(ZERO)


@pytest.mark.parametrize("missing", [0, 1, 2, GAP_GROUPS // 2, GAP_GROUPS - 3])
def test_a_missing_group_is_found_and_what_lies_before_it_is_good(settings: KafkaSettings, missing: int):
    log = with_one_missing(settings, missing)
    found: list[bytes] = []
    with pytest.raises(DamagedLog):
        found.extend(stored.record.payload for stored in log.read(log.first_offset))
    assert found == [b"%d" % number for number in range(GAP_GROUPS) if number != missing][: len(found)]
    assert len(found) >= missing


def test_a_log_whose_end_is_missing_is_found_by_what_was_acknowledged(settings: KafkaSettings):
    log = with_one_missing(settings, GAP_GROUPS - 1)
    end = log.end_offset
    assert len(payloads(log)) == GAP_GROUPS - 1
    with pytest.raises(DamagedLog, match="was acknowledged"):
        KafkaStore(settings).open(ZERO, acknowledged_end=Offset(end + 1))


def test_a_reader_that_does_not_look_at_sequences_would_miss_it(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
):
    """The negative control of the tests above."""
    monkeypatch.setattr(GroupReader, "groups", lambda self, start, end, low: self.messages(start, end))
    log = with_one_missing(settings, GAP_GROUPS // 2)
    assert len(payloads(log)) == GAP_GROUPS - 1
