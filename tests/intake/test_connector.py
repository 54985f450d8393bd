"""Capture: an operator's topics into Hearth, each event once.

Laws: an offset is committed only behind messages that were acknowledged or kept as rejects; each message is applied
once whatever fails in between, in the order of its source partition; what is no signal is kept with its bytes, and
holds nobody up; what is held in memory is bounded, and nothing of it is dropped; partitions that go take nothing with
them that was not acknowledged; read = sent + unreadable + tombstones.
"""

import random
import time
from collections.abc import Callable, Iterator

import grpc
import pytest

from hearth.v1 import signal_pb2
from intake.capture.connector import CaptureLimits, Connector
from intake.capture.ports import CaptureFailed, Decoded, Message, UnreadableMessage
from intake.errors import IntakeFailed
from tests.intake.capture_fakes import AFTER, BEFORE, FINE, CaptureHearth, MemorySource, serving_capture

LEFT, RIGHT = ("ops", 0), ("ops", 1)
QUICK = CaptureLimits(batch_messages=10, wait_first_s=0.001, wait_longest_s=0.004, settle_s=5.0)


class PlainDecoder:
    """Messages are "household:number"; anything else is no signal."""

    def decode(self, messages):
        signals, unreadable = [], []
        for message in messages:
            household, colon, _ = message.value.decode().partition(":")
            if colon:
                event_id = f"{message.topic}/{message.partition}:{message.offset}"
                signals.append(signal_pb2.Signal(event_id=event_id, type="ops", household=household))
            else:
                unreadable.append(UnreadableMessage(message=message, reason="UNREADABLE", detail="no colon"))
        request = signal_pb2.IngestRequest(signals=signals) if signals else None
        return Decoded(request=request, signal_count=len(signals), unreadable=tuple(unreadable))


def topic(*values: bytes | None, partition: int = 0) -> list[Message]:
    return [
        Message(topic="ops", partition=partition, offset=offset, value=value) for offset, value in enumerate(values)
    ]


def some(count: int, *, partition: int = 0) -> list[Message]:
    return topic(*(b"home-%d:%d" % (number % 3, number) for number in range(count)), partition=partition)


@pytest.fixture
def hearth() -> Iterator[CaptureHearth]:
    with serving_capture(CaptureHearth()) as served:
        yield served


Connect = Callable[..., Connector]


@pytest.fixture
def connect(hearth: CaptureHearth) -> Iterator[Connect]:
    with grpc.insecure_channel(hearth.address) as channel:

        def connected(source: MemorySource, **limits: object) -> Connector:
            settings = {name: getattr(QUICK, name) for name in CaptureLimits.__dataclass_fields__}
            return Connector(source, PlainDecoder(), channel, limits=CaptureLimits(**(settings | limits)))

        yield connected


def until(connector: Connector, is_so: Callable[[], bool]) -> None:
    """Turn until something is so."""
    deadline_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline_s, f"it never was so; {connector.tally}, {connector.trouble}"
        connector.turn()


def ids(hearth: CaptureHearth) -> list[str]:
    return [row["event_id"] for row in hearth.signals]


def test_all_of_a_topic_is_applied_once_in_its_order_and_committed(hearth, connect):
    source = MemorySource({LEFT: some(25), RIGHT: some(7, partition=1)})
    connector = connect(source)

    until(connector, lambda: connector.lag == 0)

    assert [one for one in ids(hearth) if one.startswith("ops/0:")] == [f"ops/0:{offset}" for offset in range(25)]
    assert [one for one in ids(hearth) if one.startswith("ops/1:")] == [f"ops/1:{offset}" for offset in range(7)]
    assert source.committed == {LEFT: 25, RIGHT: 7}
    assert (connector.tally.read, connector.tally.applied, connector.waiting, connector.held_bytes) == (32, 32, 0, 0)
    assert connector.tally.balances


@pytest.mark.parametrize("fault", [BEFORE, AFTER, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL])
def test_nothing_is_committed_before_it_is_acknowledged(hearth, connect, fault):
    hearth.faults = [fault] * 3 + [grpc.StatusCode.RESOURCE_EXHAUSTED]
    source = MemorySource({LEFT: some(5)})
    connector = connect(source)

    until(connector, lambda: connector.tally.retries == 4)
    assert source.commits == []
    assert connector.trouble == "RESOURCE_EXHAUSTED: as told"
    until(connector, lambda: connector.lag == 0)

    assert source.commits == [{LEFT: 5}]
    assert ids(hearth) == [f"ops/0:{offset}" for offset in range(5)]
    assert connector.tally.duplicate == (5 if fault == AFTER else 0)
    assert (connector.trouble, connector.tally.balances) == ("", True)


def test_what_is_unreadable_is_kept_with_its_bytes_before_it_is_committed(hearth, connect):
    hearth.faults = [FINE, grpc.StatusCode.UNIMPLEMENTED, AFTER]
    source = MemorySource({LEFT: topic(b"a:0", b"\xc3\x28 bad"[2:], None, b"b:3")})
    connector = connect(source)

    until(connector, lambda: connector.tally.retries == 2)
    assert source.commits == []
    until(connector, lambda: connector.lag == 0)

    (kept,) = hearth.rejects.values()
    assert (kept.position, kept.reason, kept.detail) == ("kafka:ops/0/1", "UNREADABLE", "no colon")
    assert kept.original == b" bad"
    assert ids(hearth) == ["ops/0:0", "ops/0:3"]
    assert (connector.tally.read, connector.tally.unreadable, connector.tally.tombstones) == (4, 1, 1)
    assert connector.tally.balances


def test_a_topic_of_nothing_but_tombstones_and_poison_is_passed(hearth, connect):
    source = MemorySource({LEFT: topic(*[None, b"poison"] * 300)})
    connector = connect(source)

    until(connector, lambda: connector.lag == 0)

    assert (hearth.ingest_requests, len(hearth.rejects), source.committed) == (0, 300, {LEFT: 600})


def test_one_signal_that_makes_a_request_invalid_is_found_and_kept_and_the_others_go_in(hearth, connect):
    hearth.refuses = lambda row: row["household"] == "worst"
    messages = topic(*[b"worst:" if number == 6 else b"home:%d" % number for number in range(10)])
    source = MemorySource({LEFT: messages})
    connector = connect(source)

    until(connector, lambda: connector.lag == 0)

    assert ids(hearth) == [f"ops/0:{offset}" for offset in range(10) if offset != 6]
    assert {one.position: one.reason for one in hearth.rejects.values()} == {"kafka:ops/0/6": "REFUSED"}
    assert connector.tally.balances


def test_requests_that_are_too_long_are_halved_and_a_message_too_long_for_any_is_kept(hearth, connect):
    long = b"x" * 1_500_000 + b":"
    source = MemorySource({LEFT: topic(b"a:0", long, long, long, b"y" * (16 << 20) + b":", b"a:5")})
    connector = connect(source, batch_bytes=3_400_000, held_bytes_max=64 << 20)

    until(connector, lambda: connector.lag == 0)

    assert ids(hearth) == [f"ops/0:{offset}" for offset in (0, 1, 2, 3, 5)]
    (kept,) = hearth.rejects.values()
    assert (kept.position, kept.reason, len(kept.original)) == ("kafka:ops/0/4", "TOO_LARGE", 1 << 20)


def test_while_hearth_is_away_reading_pauses_and_nothing_is_dropped(hearth, connect):
    hearth.faults = [BEFORE] * 40
    source = MemorySource({LEFT: some(4_000)}, most=50)
    limit = 200 * some(1)[0].held_bytes
    connector = connect(source, batch_bytes=10_000, held_bytes_max=limit, wait_first_s=0.004)
    peak = 0

    def is_done() -> bool:
        nonlocal peak
        peak = max(peak, connector.held_bytes)
        return connector.lag == 0

    until(connector, is_done)

    assert source.pauses > 0
    assert not source.is_paused
    assert peak < 2 * limit
    assert ids(hearth) == [f"ops/0:{offset}" for offset in range(4_000)]


def test_a_commit_that_fails_is_made_up_for_and_nothing_is_sent_again_meanwhile(hearth, connect):
    source = MemorySource({LEFT: some(30)}, failing_commits=2)
    connector = connect(source)

    until(connector, lambda: source.committed == {LEFT: 30})

    assert (connector.tally.failed_commits, connector.tally.duplicate) == (2, 0)


def test_the_last_commit_is_made_up_for_when_nothing_new_comes(hearth, connect):
    source = MemorySource({LEFT: some(5)}, failing_commits=1)
    connector = connect(source)

    until(connector, lambda: source.committed == {LEFT: 5})


# --- rebalances ------------------------------------------------------------------------------------------------------


def test_a_revoked_partition_is_committed_as_far_as_it_was_acknowledged_and_the_rest_forgotten(hearth, connect):
    source = MemorySource({LEFT: some(60), RIGHT: some(60, partition=1)})
    connector = connect(source)
    connector.turn()
    connector.turn()

    source.take_away(LEFT)
    connector.turn()
    acknowledged = sum(one.startswith("ops/0:") for one in ids(hearth))
    assert source.committed.get(LEFT, 0) == acknowledged < 60
    until(connector, lambda: connector.lag == 0)

    assert source.committed[RIGHT] == 60
    assert sum(one.startswith("ops/0:") for one in ids(hearth)) == acknowledged
    assert connector.held_bytes == 0

    source.assign(LEFT)
    until(connector, lambda: connector.lag == 0)
    assert [one for one in ids(hearth) if one.startswith("ops/0:")] == [f"ops/0:{offset}" for offset in range(60)]


def test_a_batch_under_way_that_is_not_acknowledged_in_time_is_given_up_without_a_commit(hearth, connect):
    hearth.holds_after = 0
    source = MemorySource({LEFT: some(5), RIGHT: some(5, partition=1)})
    connector = connect(source, settle_s=0.05)
    until(connector, hearth.reached_gate.is_set)

    source.take_away(LEFT)
    connector.turn()
    assert source.commits == []
    hearth.holds_after = None
    hearth.gate.set()
    until(connector, lambda: connector.lag == 0)

    assert source.committed == {RIGHT: 5}
    assert connector.tally.read == 5, "what is given up is counted where it is finished"
    assert connector.tally.balances


def test_a_lost_partition_is_not_committed_any_more(hearth, connect):
    source = MemorySource({LEFT: some(30), RIGHT: some(30, partition=1)})
    connector = connect(source)
    connector.turn()
    before = dict(source.committed)

    source.take_away(LEFT, is_lost=True)
    until(connector, lambda: connector.lag == 0)

    assert source.committed.get(LEFT, 0) == before.get(LEFT, 0)
    assert source.committed[RIGHT] == 30


# --- the end ---------------------------------------------------------------------------------------------------------


def test_stopping_lets_the_batch_under_way_be_acknowledged_and_commits_it(hearth, connect):
    source = MemorySource({LEFT: some(5)})
    connector = connect(source)
    turns = iter([False, True])

    connector.run(lambda: next(turns), lambda _: None)

    assert (source.committed, source.is_closed) == ({LEFT: 5}, True)
    assert len(hearth.signals) == 5


def test_stopping_while_hearth_is_away_commits_nothing_and_does_not_hang(hearth, connect):
    hearth.faults = [BEFORE] * 1_000
    source = MemorySource({LEFT: some(5)})
    connector = connect(source, wait_first_s=60.0, wait_longest_s=60.0)
    until(connector, lambda: connector.tally.retries == 1)

    connector.run(lambda: True, lambda _: None)

    assert (source.commits, source.is_closed) == ([], True)


def test_a_connector_that_can_never_read_again_says_so_and_leaves(hearth, connect):
    source = MemorySource({LEFT: some(5)}, fails=True)

    with pytest.raises(CaptureFailed, match="fenced"):
        connect(source).run(lambda: False, lambda _: None)

    assert source.is_closed


def test_a_hearth_that_does_not_account_for_its_signals_is_no_reason_to_commit(hearth, connect, monkeypatch):
    monkeypatch.setattr(hearth, "_apply", lambda rows: signal_pb2.IngestResponse())
    source = MemorySource({LEFT: some(5)})

    with pytest.raises(IntakeFailed, match="5 sent, 0 received"):
        connect(source).run(lambda: False, lambda _: None)

    assert source.commits == []


# --- whatever dies ---------------------------------------------------------------------------------------------------


def deaths(hearth: CaptureHearth, connect: Connect, seed: int) -> tuple[int, dict[tuple[str, int], int]]:
    """Let connectors die and be replaced, and partitions move, while a third of all requests fail."""
    chance = random.Random(seed)
    hearth.chance = random.Random(seed)
    messages = {("ops", number): some(300, partition=number) for number in range(3)}
    committed: dict[tuple[str, int], int] = {}
    for _ in range(15):
        source = MemorySource(messages, committed=committed, most=chance.randrange(1, 60), failing_commits=1)
        connector = connect(source)
        for _ in range(chance.randrange(1, 40)):
            if chance.randrange(6) == 0:
                source.take_away(*[one for one in messages if one in source._next and chance.randrange(2)])
                connector.turn()
                source.assign(*[one for one in messages if one not in source._next])
            connector.turn()
        # And it is gone, with all it held.
    source = MemorySource(messages, committed=committed)
    connector = connect(source)
    hearth.chance = None
    until(connector, lambda: committed == dict.fromkeys(messages, 300))
    return len(messages) * 300, committed


@pytest.mark.parametrize("seed", range(4))
def test_whatever_dies_each_event_is_applied_once_and_in_order(hearth, connect, seed):
    count, _ = deaths(hearth, connect, seed)

    assert len(ids(hearth)) == count
    for number in range(3):
        own = [one for one in ids(hearth) if one.startswith(f"ops/{number}:")]
        assert own == [f"ops/{number}:{offset}" for offset in range(300)]


def test_a_connector_that_commits_before_the_ack_loses_events(hearth, connect, monkeypatch):
    read = MemorySource.read

    def hasty(self: MemorySource, **limits: object) -> list[Message]:
        found = read(self, **limits)
        self.committed.update({one.source_partition: one.offset + 1 for one in found})
        return found

    monkeypatch.setattr(MemorySource, "read", hasty)

    count, _ = deaths(hearth, connect, seed=0)

    assert len(ids(hearth)) < count
