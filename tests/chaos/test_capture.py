"""Capture under fire: a real broker, two connectors as processes of their own, a Hearth that fails a third of calls.

Laws: while connectors are killed with SIGKILL and started again, and the broker is killed and restarted, each event of
the topic is applied once (per household, against an independent count over the topic), events of one household in one
source partition in order; each poisoned message is kept once with its bytes; in the end all of it is committed, and the
connectors that live to be stopped say how it adds up.
Negative control: connectors that commit before the ack lose events.
"""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.intake.capture_fakes import CaptureHearth, serving_capture
from tests.intake.test_decoders import MAPPING, event
from tests.parts.kafka_broker import Broker, running_broker

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

TOPIC = "ops.chaos"
PARTITIONS = 4
MESSAGE_COUNT = 20_000
KILL_COUNT = 16
REQUESTS_BETWEEN_KILLS = 25
"""At most; the random number of requests after which the next connector dies."""
BROKER_KILLS = (4, 10)
"""Before which of the connectors' kills the broker is killed."""
CONTROL_MESSAGE_COUNT = 6_000
CONTROL_KILL_COUNT = 4
WORKING_WITHIN_S = 90
DRAINED_WITHIN_S = 240

POISON = (b"{", b'{"id": "\xc3"}', b"\x00\xff" * 500, b"[]", b'{"id": "p", "kind": "ops"}')


@dataclass
class Publisher:
    """Puts messages on the topic, as many as are allowed so far: events, repeats, poison, tombstones, keyed anyhow."""

    broker: Broker
    count: int
    chance: random.Random
    published: int = 0
    allowed: int = 0
    is_done: threading.Event = field(default_factory=threading.Event)
    failures: list[object] = field(default_factory=list)

    def run(self) -> None:
        from confluent_kafka import Producer

        producer = Producer(
            {"bootstrap.servers": self.broker.bootstrap, "enable.idempotence": True, "log_level": 0, "linger.ms": 5}
        )
        sent: list[bytes] = []
        while self.published < self.count:
            due = self.allowed
            for number in range(self.published, due):
                producer.produce(
                    TOPIC,
                    self.value(number, sent),
                    key=b"%d" % self.chance.randrange(1_000),
                    partition=self.chance.randrange(PARTITIONS),
                    on_delivery=lambda error, _: error and self.failures.append(error),
                )
            self.published = due
            producer.poll(0.02)
        if producer.flush(DRAINED_WITHIN_S):
            self.failures.append("not everything was flushed")
        self.is_done.set()

    def value(self, number: int, sent: list[bytes]) -> bytes | None:
        die = self.chance.randrange(1_000)
        if die < 10:
            return self.chance.choice(POISON)
        if die < 15:
            return None
        if sent and die < 115:
            return self.chance.choice(sent)
        plain = event(id=f"e{number}", who={"household": f"home-{self.chance.randrange(50)}"}, amount=number)
        if die < 160:
            del plain["id"]
            return json.dumps(plain).encode()
        sent.append(json.dumps(plain).encode())
        return sent[-1]


@dataclass
class Connectors:
    """Processes that run `hearth capture`."""

    command: list[str]
    folder: Path
    running: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)

    def start(self, member: str) -> None:
        with (self.folder / f"{member}.err").open("a") as log:
            self.running[member] = subprocess.Popen(
                [*self.command, "--member", member],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.folder,
                env={"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/protos", "PATH": "/usr/bin:/bin"},
            )

    def kill(self, member: str) -> None:
        process = self.running.pop(member)
        process.kill()
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL or self.is_fenced(member, process), (
            f"{member} had ended before: {self.told(member)}"
        )

    def is_fenced(self, member: str, process: "subprocess.Popen[str]") -> bool:
        """Tell whether one has ended since another of its name joined.

        A request to join by one that was killed may reach the broker behind that of the next of its name, and fence it
        out: it is then as dead as by a kill.
        """
        return process.returncode == 1 and "is there another connector of this group" in self.told(member)

    def revive(self) -> None:
        """Start those again that were fenced out."""
        for member, process in list(self.running.items()):
            if process.poll() is not None:
                assert self.is_fenced(member, process), f"{member} has ended: {self.told(member)}"
                self.start(member)

    def stop(self) -> list[dict[str, int]]:
        """Stop them as Ctrl-C does; return what they say it came to."""
        summaries = []
        for process in self.running.values():
            process.send_signal(signal.SIGINT)
        for member, process in list(self.running.items()):
            out, _ = process.communicate(timeout=60)
            del self.running[member]
            assert process.returncode == 0, self.told(member)
            summaries.append(json.loads(out))
        return summaries

    def told(self, member: str) -> str:
        return (self.folder / f"{member}.err").read_text()[-2_000:]


@contextmanager
def connectors(hearth: CaptureHearth, broker: Broker, folder: Path, *, how: str) -> Iterator[Connectors]:
    mapping, kafka = folder / "ops.yaml", folder / "kafka.yaml"
    mapping.write_text(json.dumps(MAPPING))
    kafka.write_text(json.dumps({"session.timeout.ms": 6_000, "heartbeat.interval.ms": 200}))
    options = ["--topics", TOPIC, "--bootstrap", broker.bootstrap, "--target", hearth.address, "--json"]
    options += ["--group", "chaos", "--mapping", str(mapping), "--kafka-settings", str(kafka)]
    found = Connectors(
        [sys.executable, str(Path(__file__).with_name("capture_process.py")), how, "capture", *options], folder
    )
    try:
        yield found
    finally:
        for process in found.running.values():
            process.kill()
            process.communicate(timeout=30)


def under_fire(
    hearth: CaptureHearth, broker: Broker, folder: Path, *, how: str, count: int, kills: int, seed: int
) -> list[dict[str, int]]:
    """Publish, kill and restart at random times, wait until all is committed; return the survivors' summaries."""
    from confluent_kafka.admin import AdminClient, NewTopic

    chance = random.Random(seed)
    hearth.chance = random.Random(seed + 1)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(60)
    del admin  # it would tell of each time the broker is away
    publisher = Publisher(broker, count, random.Random(seed + 2))
    thread = threading.Thread(target=publisher.run, daemon=True)
    thread.start()
    with connectors(hearth, broker, folder, how=how) as found:
        found.start("one")
        found.start("two")
        for number in range(kills):
            publisher.allowed = count * (number + 1) // (kills + 1)
            if number in BROKER_KILLS and kills > CONTROL_KILL_COUNT:
                broker.restart()
            wait_for_requests(hearth, 1 + chance.randrange(REQUESTS_BETWEEN_KILLS), found)
            member = chance.choice(["one", "two"])
            found.kill(member)
            found.start(member)
        publisher.allowed = count
        hearth.chance = None
        thread.join(DRAINED_WITHIN_S)
        assert publisher.is_done.is_set()
        assert publisher.failures == []
        found.revive()
        wait_until_committed(broker, found)
        return found.stop()


def wait_for_requests(hearth: CaptureHearth, more: int, found: Connectors) -> None:
    """Wait until connectors are at work: so many more requests have come."""
    wanted = hearth.ingest_requests + more
    deadline_s = time.monotonic() + WORKING_WITHIN_S
    while hearth.ingest_requests < wanted:
        assert time.monotonic() < deadline_s, [found.told(member) for member in found.running]
        time.sleep(0.001)


def wait_until_committed(broker: Broker, found: Connectors) -> None:
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "chaos", "log_level": 0})
    places = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
    deadline_s = time.monotonic() + DRAINED_WITHIN_S
    missing: object = None
    while time.monotonic() < deadline_s:
        try:
            ends = [consumer.get_watermark_offsets(place, timeout=5)[1] for place in places]
            committed = [one.offset for one in consumer.committed(places, timeout=5)]
        except KafkaException as failed:
            missing = failed
            continue
        if committed == ends:
            consumer.close()
            return
        missing = committed, ends
        time.sleep(0.2)
    raise AssertionError(f"not committed: {missing}; {[found.told(one) for one in found.running]}")


@dataclass
class Topic:
    """What is on the topic, read once more, from its beginning, with nothing of Hearth's."""

    households: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Event id → where it stands, repeats included."""
    poison: dict[str, bytes] = field(default_factory=dict)


def read_again(broker: Broker, count: int) -> Topic:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "count", "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
    topic, read = Topic(), 0
    deadline_s = time.monotonic() + DRAINED_WITHIN_S
    while read < count and time.monotonic() < deadline_s:
        for message in consumer.consume(1_000, 0.5):
            assert message.error() is None
            read += 1
            value, place = message.value(), (message.partition(), message.offset())
            if value in POISON:
                topic.poison[f"kafka:{TOPIC}/{place[0]}/{place[1]}"] = value
            elif value is not None:
                plain = json.loads(value)
                event_id = plain.get("id", f"{TOPIC}/{place[0]}:{place[1]}")
                if event_id not in topic.places:
                    topic.households[plain["who"]["household"]] += 1
                topic.places.setdefault(event_id, []).append(place)
    consumer.close()
    assert read == count
    return topic


def lost(hearth: CaptureHearth, topic: Topic) -> int:
    return len(topic.places.keys() - {row["event_id"] for row in hearth.signals})


def check_order(hearth: CaptureHearth, topic: Topic) -> None:
    newest: dict[tuple[str, int], int] = {}
    for row in hearth.signals:
        places = topic.places[row["event_id"]]
        if len(places) == 1:
            partition, offset = places[0]
            key = row["household"], partition
            assert newest.get(key, -1) < offset, f"{row} came late"
            newest[key] = offset


@pytest.mark.parametrize("seed", [1])
def test_whatever_is_killed_each_event_is_applied_once(tmp_path, seed, capsys):
    started_s = time.monotonic()
    with running_broker(tmp_path) as broker, serving_capture(CaptureHearth()) as hearth:
        summaries = under_fire(
            hearth,
            broker,
            tmp_path,
            how="sound",
            count=MESSAGE_COUNT,
            kills=KILL_COUNT,
            seed=seed,
        )
        topic = read_again(broker, MESSAGE_COUNT)

    assert lost(hearth, topic) == 0
    assert Counter(row["household"] for row in hearth.signals) == topic.households
    check_order(hearth, topic)
    assert {one.position: one.original for one in hearth.rejects.values()} == topic.poison
    for summary in summaries:
        assert summary["read"] == summary["sent"] + summary["unreadable"] + summary["tombstones"]
        assert summary["gone"] == 0
    with capsys.disabled():
        print(
            f"\n{MESSAGE_COUNT:,} messages, {KILL_COUNT} connectors and {len(BROKER_KILLS)} times the broker killed: "
            f"{len(hearth.signals):,} applied once, {len(topic.poison)} rejects kept, 0 lost, "
            f"{hearth.ingest_requests} requests, {time.monotonic() - started_s:.0f} s"
        )


def test_connectors_that_commit_before_the_ack_lose_events(tmp_path):
    with running_broker(tmp_path) as broker, serving_capture(CaptureHearth()) as hearth:
        under_fire(
            hearth,
            broker,
            tmp_path,
            how="hasty",
            count=CONTROL_MESSAGE_COUNT,
            kills=CONTROL_KILL_COUNT,
            seed=3,
        )
        topic = read_again(broker, CONTROL_MESSAGE_COUNT)

    assert lost(hearth, topic) > 0
