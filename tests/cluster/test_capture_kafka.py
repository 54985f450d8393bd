"""The connector on a real broker. Skipped where none can be had.

Laws: what is on a topic is applied once and committed, and a second run finds nothing left; it is so while members come
and go; a member that was replaced ends; what retention took is counted. (tests/chaos/test_capture.py kills both ends.)
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cluster.capture_actor import CaptureActor, connector
from intake.capture.connector import CaptureLimits, Connector
from intake.capture.ports import CaptureFailed
from intake.capture.settings import CaptureSettings
from tests.intake.capture_fakes import CaptureHearth, serving_capture
from tests.intake.test_decoders import MAPPING, event
from tests.parts.kafka_broker import Broker, running_broker

pytestmark = pytest.mark.timeout(180)

WITHIN_S = 60


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running_broker() as running:
        yield running


@pytest.fixture
def hearth() -> Iterator[CaptureHearth]:
    with serving_capture(CaptureHearth()) as served:
        yield served


@pytest.fixture
def topic(broker: Broker, request: pytest.FixtureRequest) -> str:
    """A topic of three partitions with 300 messages."""
    from confluent_kafka.admin import AdminClient, NewTopic

    name = "ops." + request.node.name[:60]
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(WITHIN_S)
    publish(broker, name, range(300))
    return name


def publish(broker: Broker, topic: str, numbers: range) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in numbers:
        plain = event(id=f"e{number}", who={"household": f"home-{number % 7}"}, amount=number)
        producer.produce(topic, json.dumps(plain).encode(), partition=number % 3)
    assert producer.flush(WITHIN_S) == 0


def publish_in_transactions(broker: Broker, topic: str, numbers: range, *, is_given_up: bool = False) -> None:
    """One transaction for each three: a message and an end in every partition."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"of-{topic}"})
    producer.init_transactions(WITHIN_S)
    for start in range(numbers.start, numbers.stop, 3):
        producer.begin_transaction()
        for number in range(start, start + 3):
            plain = event(id=f"e{number}", who={"household": f"home-{number % 7}"}, amount=number)
            producer.produce(topic, json.dumps(plain).encode(), partition=number % 3)
        if is_given_up:
            assert producer.flush(WITHIN_S) == 0
            producer.abort_transaction(WITHIN_S)
        else:
            producer.commit_transaction(WITHIN_S)


Connect = Callable[..., Connector]


@pytest.fixture
def connect(broker: Broker, hearth: CaptureHearth, topic: str, tmp_path: Path) -> Iterator[Connect]:
    mapping = tmp_path / "ops.yaml"
    mapping.write_text(json.dumps(MAPPING))
    limits = CaptureLimits(batch_messages=20, wait_first_s=0.01, wait_longest_s=0.1)
    with ExitStack() as stack:

        def connected(member: str = "") -> Connector:
            settings = CaptureSettings(
                topics=(topic,),
                bootstrap=broker.bootstrap,
                mapping=str(mapping),
                group=topic,
                member=member,
                kafka={"session.timeout.ms": 6_000, "heartbeat.interval.ms": 200},
            )
            return stack.enter_context(connector(settings, hearth.address, limits=limits))

        yield connected


@contextmanager
def within(what: str) -> Iterator[Callable[[], None]]:
    """Yield what is to be called in a loop; it fails when the time is up."""
    deadline_s = time.monotonic() + WITHIN_S

    def check() -> None:
        assert time.monotonic() < deadline_s, f"{what} did not happen within {WITHIN_S} s"

    yield check


def drain(*connectors: Connector, hearth: CaptureHearth, count: int) -> None:
    with within(f"{count} signals applied and committed") as check:
        while len(hearth.signals) < count or any(one.lag != 0 for one in connectors):
            check()
            for one in connectors:
                one.turn()


def committed(broker: Broker, topic: str) -> tuple[int, int]:
    """Return what the group has committed and the ends of the topic, over its partitions."""
    from confluent_kafka import Consumer, TopicPartition

    reader = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": topic})
    try:
        places = [TopicPartition(topic, partition) for partition in range(3)]
        offsets = sum(one.offset for one in reader.committed(places, timeout=WITHIN_S))
        return offsets, sum(reader.get_watermark_offsets(one, timeout=WITHIN_S)[1] for one in places)
    finally:
        reader.close()


def check_each_once(hearth: CaptureHearth, count: int) -> None:
    """By household and number: each event once, in the order of its partition."""
    numbers = [int(row["event_id"][1:]) for row in hearth.signals]
    assert sorted(numbers) == list(range(count))
    for partition in range(3):
        own = [number for number in numbers if number % 3 == partition]
        assert own == sorted(own)


def test_a_topic_is_applied_once_and_a_second_run_finds_nothing_left(connect, hearth):
    first = connect()
    drain(first, hearth=hearth, count=300)
    first.stop()
    assert (first.tally.read, first.tally.applied, first.tally.balances) == (300, 300, True)

    second = connect()
    drain(second, hearth=hearth, count=300)

    assert second.tally.read == 0
    check_each_once(hearth, 300)
    second.stop()


def test_members_come_and_go_and_each_event_is_applied_once(connect, hearth, broker, topic):
    first = connect()
    drain(first, hearth=hearth, count=300)
    second = connect()
    with within("a second member with partitions of its own") as check:
        while second.lag is None:
            check()
            first.turn()
            second.turn()
    publish(broker, topic, range(300, 600))
    drain(first, second, hearth=hearth, count=600)
    assert min(first.tally.read - 300, second.tally.read) > 0, "both had a part in it"
    first.stop()
    publish(broker, topic, range(600, 700))

    drain(second, hearth=hearth, count=700)

    check_each_once(hearth, 700)
    second.stop()


def test_a_member_that_was_replaced_ends(connect, hearth):
    first = connect(member="only")
    drain(first, hearth=hearth, count=300)
    second = connect(member="only")

    def turn_both() -> None:
        with within("the end of the first") as check:
            while True:
                check()
                second.turn()
                first.turn()

    with pytest.raises(CaptureFailed, match="another connector of this group and member name"):
        turn_both()

    first.stop()
    second.stop()


def test_as_an_actor_it_runs_until_it_is_stopped_and_tells_how_far_it_is(broker, hearth, topic, tmp_path):
    (tmp_path / "ops.yaml").write_text(json.dumps(MAPPING))
    settings = CaptureSettings(
        topics=(topic,), bootstrap=broker.bootstrap, mapping=str(tmp_path / "ops.yaml"), group=topic
    )

    actor = CaptureActor(settings, hearth.address)
    with within("all of it") as check:
        while actor.status().get("lag") != 0:
            check()
            time.sleep(0.01)
    last = actor.stop()

    assert (last["state"], last["applied"], last["read"]) == ("stopped", 300, 300)
    assert actor.stop() == last
    failed = CaptureActor(settings.model_copy(update={"mapping": "nowhere.yaml"}), hearth.address).stop()
    assert failed["state"] == "failed"
    assert "nowhere.yaml" in str(failed["trouble"])


def test_what_retention_took_before_it_was_read_is_counted(connect, hearth, broker, topic):
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    first = connect()
    drain(first, hearth=hearth, count=300)
    first.stop()
    publish(broker, topic, range(300, 600))
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for deleted in admin.delete_records([TopicPartition(topic, 1, 130)]).values():
        deleted.result(WITHIN_S)

    second = connect()
    drain(second, hearth=hearth, count=570)

    assert second.gone_count == 30
    second.stop()


def test_the_ends_of_transactions_and_what_was_given_up_in_one_are_no_lag(
    broker: Broker, hearth: CaptureHearth, topic: str, connect: Connect
):
    publish_in_transactions(broker, topic, range(300, 330))
    publish_in_transactions(broker, topic, range(330, 342), is_given_up=True)
    first = connect()

    drain(first, hearth=hearth, count=330)
    first.stop()

    check_each_once(hearth, 330)
    # Whoever takes over begins behind them, and is not behind by what never comes.
    second = connect()
    drain(second, hearth=hearth, count=330)
    publish_in_transactions(broker, topic, range(330, 333))
    drain(second, hearth=hearth, count=333)
    second.stop()
    assert second.tally.read == 3
    offset_sum, end_sum = committed(broker, topic)
    assert end_sum - offset_sum <= 3
