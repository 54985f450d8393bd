"""The log on Kafka, beyond the contract: its bytes, its topic, and what other writers and producers do to it.

Laws:
    a message is read as it was written or refused, whatever bit is wrong with it;
    a topic that could lose what was acknowledged is refused, and it is said why;
    a group that lies in the log twice is read once, from wherever reading begins, and counted;
    a group that is missing is damage;
    the highest epoch is found from the end of the log, whoever wrote last;
    a broker that is away shows as an error within the deadline.
"""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from actors.log.contract import (
    AppendFailed,
    DamagedLog,
    Epoch,
    LogUnavailable,
    Offset,
    OffsetOutOfRange,
    PartitionId,
    Record,
    RecordKind,
    RecordTooLong,
    StaleEpoch,
    UnknownFormat,
)
from actors.log.frame import PAYLOAD_BYTES_MAX
from actors.log.kafka import KafkaLog, KafkaStore, kafka_store
from actors.log.kafka_client import KafkaClients, KafkaSettings
from actors.log.kafka_frame import (
    FORMAT,
    HEADER_BYTES,
    GroupHeader,
    NewerGroup,
    NotAGroup,
    decode_header,
    decode_records,
    encode_group,
    first_offset,
)
from actors.log.kafka_reader import GroupReader
from actors.log.kafka_url import kafka_settings
from tests.parts.kafka_broker import Broker, shared_broker
from tests.parts.kafka_logs import RefusingClients, settings_for, write_past_the_log

TWO = PartitionId(2)
WRITER = bytes(range(16))

_names = (f"log-{number}" for number in count())


@pytest.fixture(scope="module")
def broker() -> Broker:
    return shared_broker()


@pytest.fixture
def settings(broker: Broker) -> KafkaSettings:
    return settings_for(broker, next(_names))


@pytest.fixture
def store(settings: KafkaSettings) -> Iterator[KafkaStore]:
    made = KafkaStore(settings)
    yield made
    made.close()


def record(payload: bytes = b"x", *, kind: RecordKind = RecordKind.SIGNALS, epoch: int = 1) -> Record:
    return Record(kind=kind, version=1, epoch=Epoch(epoch), stamp_us=1_700_000_000_000_000, payload=payload)


def message(
    *records: Record, writer: bytes = WRITER, sequence: int = 0, follows: int = 0, epoch: int = 1, partition: int = TWO
) -> bytes:
    header = GroupHeader(PartitionId(partition), len(records), writer, sequence, follows, Epoch(epoch))
    return encode_group(header, records)


def payloads(log: KafkaLog, start: int | None = None) -> list[bytes]:
    return [stored.record.payload for stored in log.read(log.first_offset if start is None else Offset(start))]


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_no_cut_and_no_flipped_bit_is_read_as_something_else():
    whole = message(record(b"first"), record(b"", kind=RecordKind.TICK), record(b"third", epoch=7), epoch=7)
    header = decode_header(whole)
    assert [stored.record for stored in decode_records(whole, header, 5)] == [
        record(b"first"),
        record(b"", kind=RecordKind.TICK),
        record(b"third", epoch=7),
    ]
    for length in range(len(whole)):
        with pytest.raises(NotAGroup):
            decode_header(whole[:length])
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotAGroup):
            decode_header(bytes(flipped))


def sealed(content: bytes) -> bytes:
    """Return a message whose checksum is right, whatever is in it."""
    from xxhash import xxh3_64_intdigest

    return xxh3_64_intdigest(content[8:]).to_bytes(8, "little") + content[8:]


def test_a_newer_format_or_kind_is_said_to_be_newer():
    whole = bytearray(message(record()))
    whole[12] = FORMAT + 1
    with pytest.raises(NewerGroup, match=f"format {FORMAT + 1}"):
        decode_header(sealed(bytes(whole)))
    whole = bytearray(message(record()))
    whole[HEADER_BYTES + 6] = 99
    newer = sealed(bytes(whole))
    with pytest.raises(NewerGroup, match="unknown kind 99"):
        decode_records(newer, decode_header(newer), 0)


@pytest.mark.parametrize("spoil", [lambda whole: whole + b"more", lambda whole: whole[:-1]])
def test_records_that_do_not_fill_their_message_are_damage(spoil: Callable[[bytes], bytes]):
    whole = sealed(spoil(message(record(b"payload"))))
    with pytest.raises(NotAGroup):
        decode_records(whole, decode_header(whole), 0)


# --- the topic --------------------------------------------------------------------------------------------------------


def admin_of(settings: KafkaSettings) -> AdminClient:
    return AdminClient({"bootstrap.servers": settings.bootstrap, "log_level": 0})


def test_the_topic_is_created_as_a_log_needs_it(settings: KafkaSettings, store: KafkaStore):
    assert store.partitions() == ()
    store.open(TWO).close()
    resource = ConfigResource(ResourceType.TOPIC, settings.topic)
    admin = admin_of(settings)
    found = admin.describe_configs([resource])[resource].result()
    assert {name: found[name].value for name in ("retention.ms", "retention.bytes", "cleanup.policy")} == {
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "cleanup.policy": "delete",
    }
    assert found["unclean.leader.election.enable"].value == "false"
    assert int(found["max.message.bytes"].value) == settings.group_bytes_max
    assert store.partitions() == ()
    assert list(store.read_only()) == []


@pytest.mark.parametrize(
    ("partitions", "config", "told"),
    [
        (4, {}, "it has 4 partitions, must have 5"),
        (5, {"retention.ms": "1000"}, "retention.ms is 1000, must be -1"),
        (5, {"retention.bytes": "1000"}, "retention.bytes is 1000, must be -1"),
        (5, {"cleanup.policy": "compact"}, "cleanup.policy is compact, must be delete"),
        (5, {"unclean.leader.election.enable": "true"}, "unclean.leader.election.enable is true, must be false"),
        (5, {"max.message.bytes": "1000"}, "max.message.bytes is 1000, must be at least 83886080"),
    ],
)
def test_a_topic_that_could_lose_something_is_refused_and_says_why(
    settings: KafkaSettings, store: KafkaStore, partitions: int, config: dict[str, str], told: str
):
    safe = {"retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": str(settings.group_bytes_max)}
    config = {**safe, "unclean.leader.election.enable": "false", **config}
    topic = NewTopic(settings.topic, num_partitions=partitions, replication_factor=1, config=config)
    admin = admin_of(settings)
    admin.create_topics([topic])[settings.topic].result()
    with pytest.raises(LogUnavailable) as caught:
        store.open(TWO)
    assert caught.value.reason == f"topic {settings.topic} cannot hold a log: {told}"


def test_fewer_brokers_than_replicas_are_refused(broker: Broker):
    settings = settings_for(broker, next(_names), replication_factor=3, min_insync_replicas=2)
    with pytest.raises(LogUnavailable, match=r"cannot be created: .*replication factor"):
        KafkaStore(settings).open(TWO)


def test_a_topic_with_fewer_replicas_than_asked_for_is_refused(settings: KafkaSettings, store: KafkaStore):
    store.open(TWO).close()
    stricter = KafkaSettings(bootstrap=settings.bootstrap, prefix=settings.prefix, partition_count=5)
    with pytest.raises(LogUnavailable, match=r"it has 1 replicas, must have 3; min.insync.replicas is 1, must be at l"):
        KafkaStore(stricter).open(TWO)


def test_opening_from_many_threads_at_once_creates_one_topic(settings: KafkaSettings):
    stores = [KafkaStore(settings) for _ in range(3)]
    opened: list[KafkaLog] = []
    threads = [
        threading.Thread(target=lambda one=one, number=number: opened.append(one.open(PartitionId(number))))
        for one in stores
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [log.end_offset for log in opened] == [0] * 6
    for log in opened:
        log.close()


# --- twice ------------------------------------------------------------------------------------------------------------


def written_twice(settings: KafkaSettings, store: KafkaStore) -> KafkaLog:
    """Return a log: a, b, of another writer z, b again, c, and z again."""
    store.open(TWO).close()
    b = message(record(b"b"), record(b"b'"), sequence=1, follows=1)
    z = message(record(b"z"), writer=bytes(16), follows=0)
    c = message(record(b"c"), sequence=2, follows=4)
    write_past_the_log(settings, TWO, message(record(b"a")), b, z, b, c, z)
    return store.open(TWO)


def test_a_group_that_lies_in_the_log_twice_is_read_once_from_wherever_reading_begins(
    settings: KafkaSettings, store: KafkaStore
):
    log = written_twice(settings, store)
    everything = list(log.read(log.first_offset))
    assert [stored.record.payload for stored in everything] == [b"a", b"b", b"b'", b"z", b"c"]
    assert log.repetitions == 2
    for place in range(6):
        start = first_offset(place)
        assert list(log.read(start)) == [stored for stored in everything if stored.offset >= start]
    assert log.repetitions == 2
    assert [stored for _, stored in store.read_only()] == everything


def test_without_the_look_at_what_lies_between_a_repeated_group_would_be_read_again(
    settings: KafkaSettings, store: KafkaStore, monkeypatch: pytest.MonkeyPatch
):
    """The negative control of the test above."""
    log = written_twice(settings, store)
    monkeypatch.setattr(GroupReader, "_is_repeated", lambda *_: False)
    assert payloads(log, first_offset(3)) == [b"b", b"b'", b"c", b"z"]


class TwiceProducer:
    """Sends a group twice and reports where it stands the second time, as if the first answer had got lost."""

    def __init__(self, producer: Producer, between: Callable[[], None]) -> None:
        self._producer = producer
        self._between = between

    def produce(self, topic: str, value: bytes, **named: Any) -> None:
        self._producer.produce(topic, value, partition=named["partition"])
        self._producer.flush()
        self._between()
        self._producer.produce(topic, value, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


class TwiceClients(KafkaClients):
    between: Callable[[], None] = staticmethod(lambda: None)

    def producer(self) -> Producer:
        return TwiceProducer(super().producer(), lambda: self.between())  # type: ignore[return-value]


def test_an_owner_whose_groups_are_all_sent_twice_knows_where_each_stands(settings: KafkaSettings):
    clients = TwiceClients(settings)
    log = KafkaStore(settings, clients=clients).open(TWO)

    def write_foreign() -> None:
        write_past_the_log(settings, TWO, message(record(b"foreign"), writer=bytes(16), follows=0))

    known: list[tuple[int, bytes]] = []
    read_to = log.end_offset
    for number in range(4):
        clients.between = write_foreign if number == 2 else lambda: None
        offset = log.append([record(b"%d" % number)])
        # As an owner does: what stands between the end it knew and its own group comes first.
        between = [stored for stored in log.read(read_to) if stored.offset < offset]
        known += [(stored.offset, stored.record.payload) for stored in between]
        known.append((offset, b"%d" % number))
        read_to = log.end_offset
    log.refresh()
    known += [(stored.offset, stored.record.payload) for stored in log.read(read_to)]
    assert known == [(stored.offset, stored.record.payload) for stored in log.read(log.first_offset)]
    assert [payload for _, payload in known] == [b"0", b"1", b"2", b"foreign", b"3"]
    assert log.repetitions == 4
    log.close()


# --- missing, foreign, damaged ----------------------------------------------------------------------------------------


def test_a_missing_group_is_damage_and_what_lies_before_is_good(settings: KafkaSettings, store: KafkaStore):
    store.open(TWO).close()
    write_past_the_log(settings, TWO, message(record(b"a")), message(record(b"b"), sequence=2, follows=1, epoch=1))
    log = store.open(TWO)
    reading = log.read(log.first_offset)
    assert next(reading).record.payload == b"a"
    with pytest.raises(DamagedLog, match=r"\.log/2 offset 1 .*: group 2 of a writer whose group 1 is missing"):
        next(reading)


def test_a_writer_whose_first_group_is_missing_is_damage(settings: KafkaSettings, store: KafkaStore):
    store.open(TWO).close()
    write_past_the_log(settings, TWO, message(record(b"b"), sequence=1))
    log = store.open(TWO)
    with pytest.raises(DamagedLog, match="group 1 of a writer whose group 0 is missing"):
        payloads(log)


def test_a_log_that_became_shorter_shows_by_the_next_group(settings: KafkaSettings, store: KafkaStore):
    store.open(TWO).close()
    write_past_the_log(settings, TWO, message(record(b"a")), message(record(b"b"), sequence=1, follows=3))
    log = store.open(TWO)
    with pytest.raises(DamagedLog, match="the log went to offset 3 before: acknowledged groups are gone"):
        payloads(log)


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (None, DamagedLog, "0 bytes are too few for a group"),
        (b"tea" * 40, DamagedLog, "not a group of a Hearth log"),
        (message(record())[:-1], DamagedLog, "checksum does not match"),
        (message(record(), partition=3), DamagedLog, "the group belongs to partition 3"),
        (sealed(message(record())[:12] + b"\x09" + message(record())[13:]), UnknownFormat, "format 9"),
    ],
    ids=["nothing", "foreign", "damaged", "misplaced", "newer"],
)
def test_what_no_log_wrote_is_refused_with_its_place(
    settings: KafkaSettings, store: KafkaStore, content: bytes | None, error: type[Exception], told: str
):
    store.open(TWO).close()
    write_past_the_log(settings, TWO, message(record(b"a")), content, message(record(b"c"), sequence=1, follows=2))
    log = store.open(TWO)
    reading = log.read(log.first_offset)
    assert next(reading).record.payload == b"a"
    with pytest.raises(error, match=rf"kafka://.*/{settings.topic}/2 offset 1 .*{told}"):
        next(reading)
    write_past_the_log(settings, TWO, content)
    with pytest.raises(error, match=told):
        store.open(TWO)


def test_a_log_whose_records_someone_deleted_is_not_taken_for_a_new_one(settings: KafkaSettings, store: KafkaStore):
    from confluent_kafka import TopicPartition

    log = store.open(TWO)
    log.append([record(epoch=5)])
    log.close()
    place = TopicPartition(settings.topic, TWO, 1)
    admin = admin_of(settings)
    admin.delete_records([place])[place].result()
    with pytest.raises(DamagedLog, match="all records were deleted, and the newest epoch with them"):
        store.open(TWO)


# --- epochs -----------------------------------------------------------------------------------------------------------


def test_the_highest_epoch_is_found_whoever_wrote_last(settings: KafkaSettings):
    """Every owner in turn is outdated and writes again at the end, where opening begins to look."""
    stores = [KafkaStore(settings) for _ in range(4)]
    owners = []
    for epoch, store in enumerate(stores, start=1):
        owner = store.open(TWO)
        assert owner.last_epoch == epoch - 1
        owner.append([record(kind=RecordKind.EPOCH, epoch=epoch)])
        owners.append(owner)
    for epoch, owner in reversed(list(enumerate(owners, start=1))):
        owner.append([record(b"last words", epoch=epoch)])
        opened = stores[0].open(TWO)
        assert opened.last_epoch == 4
        opened.close()
    assert owners[3].refresh() > 0
    assert owners[3].drop_before(owners[3].end_offset) > 0
    opened = stores[0].open(TWO)
    assert opened.last_epoch == 4
    for log in [opened, *owners]:
        log.close()


def test_the_epoch_of_the_last_group_alone_would_be_wrong(settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch):
    """The negative control of the test above."""
    outdated, owner = KafkaStore(settings).open(TWO), KafkaStore(settings).open(TWO)
    outdated.append([record(epoch=1)])
    owner.append([record(kind=RecordKind.EPOCH, epoch=2)])
    outdated.append([record(epoch=1)])
    monkeypatch.setattr(KafkaLog, "_vouched_before", lambda _self, _low, end: end - 1)
    assert KafkaStore(settings).open(TWO).last_epoch == 1


def test_an_outdated_owner_writes_at_most_one_more_group_and_then_knows(settings: KafkaSettings):
    outdated, owner = KafkaStore(settings).open(TWO), KafkaStore(settings).open(TWO)
    outdated.append([record(epoch=1)])
    owner.append([record(kind=RecordKind.EPOCH, epoch=2)])
    outdated.append([record(b"landed", epoch=1)])
    assert outdated.last_epoch == 2
    with pytest.raises(StaleEpoch):
        outdated.append([record(epoch=1)])
    owner.append([record(epoch=2)])
    assert payloads(owner) == [b"x", b"x", b"landed", b"x"]


# --- dropping ---------------------------------------------------------------------------------------------------------


def test_a_group_is_kept_as_long_as_one_that_repeats_it(settings: KafkaSettings, store: KafkaStore):
    log = written_twice(settings, store)
    # From 3 on it may go, by the snapshot; but 3 repeats 1, and 5 repeats what stands between 0 and 5.
    assert log.drop_before(first_offset(3)) == 0
    everything = [b"a", b"b", b"b'", b"z", b"c"]
    assert payloads(log) == everything
    for _ in range(3):
        log.append([record(b"more")])
    log.append([record(kind=RecordKind.EPOCH, epoch=9)])
    assert log.drop_before(first_offset(7)) == first_offset(7)
    log.close()
    log = store.open(TWO)
    assert (log.first_offset, log.last_epoch) == (first_offset(7), 9)
    assert payloads(log) == [b"more", b"more", b"x"]


def test_reading_what_another_has_given_up_meanwhile_says_so_at_once(settings: KafkaSettings, store: KafkaStore):
    log, behind = store.open(TWO), KafkaStore(settings).open(TWO)
    for _ in range(6):
        log.append([record()])
    behind.refresh()
    log.drop_before(first_offset(4))
    with pytest.raises(OffsetOutOfRange, match=f"asked for offset {first_offset(1)}, the log holds .{first_offset(4)}"):
        payloads(behind, first_offset(1))
    assert payloads(behind, first_offset(4)) == [b"x", b"x"]
    for one in (log, behind):
        one.close()


# --- appends that fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writes_it", [False, True])
def test_a_group_of_unknown_outcome_is_there_whole_or_not_at_all(settings: KafkaSettings, writes_it: bool):
    clients = RefusingClients(settings, writes_it=writes_it)
    store = KafkaStore(settings, clients=clients)
    log = store.open(TWO)
    log.append([record(b"kept")])
    clients.refuse_next()
    with pytest.raises(AppendFailed, match="Message timed out"):
        log.append([record(b"1 of 2"), record(b"2 of 2")])
    with pytest.raises(AppendFailed):
        log.append([record()])
    log.close()
    assert payloads(store.open(TWO)) == ([b"kept", b"1 of 2", b"2 of 2"] if writes_it else [b"kept"])


def test_the_longest_record_fits_and_a_longer_group_is_refused_before_it_is_sent(
    settings: KafkaSettings, store: KafkaStore
):
    log = store.open(TWO)
    longest = record(bytes(PAYLOAD_BYTES_MAX))
    log.append([longest])
    with pytest.raises(RecordTooLong):
        log.append([longest, longest])
    log.append([record(b"next")])
    assert [len(payload) for payload in payloads(log)] == [PAYLOAD_BYTES_MAX, 4]


# --- nobody there -----------------------------------------------------------------------------------------------------


def test_a_broker_that_is_away_is_an_error_within_the_deadline():
    settings = KafkaSettings(bootstrap="127.0.0.1:9", prefix="nobody", request_timeout_s=0.5)
    store = KafkaStore(settings)
    with pytest.raises(LogUnavailable, match=r"kafka://127\.0\.0\.1:9/nobody"):
        store.open(TWO)
    with pytest.raises(LogUnavailable, match=r"kafka://127\.0\.0\.1:9/nobody"):
        store.partitions()


def test_without_the_library_it_is_said_what_to_install():
    code = "import sys; sys.modules['confluent_kafka'] = None; import actors.log.kafka"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "pip install hearth[kafka]" in done.stderr


def test_a_topic_tells_how_many_partitions_it_has_to_whom_does_not_know(settings: KafkaSettings, store: KafkaStore):
    log = store.open(TWO)
    log.append([record()])
    log.close()
    url = f"kafka://{settings.bootstrap}/{settings.prefix}?replicas=1"
    unaware = kafka_store(url)
    assert unaware.partitions() == (TWO,)
    assert [stored.record for _, stored in unaware.read_only()] == [record()]
    with pytest.raises(LogUnavailable, match="the topic has 5 partitions"):
        unaware.open(PartitionId(5))
    with pytest.raises(LogUnavailable, match="it has 5 partitions, must have 8"):
        kafka_store(url, partition_count=8).open(TWO)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("kafka://broker:9092", "not of the form kafka://"),
        ("http://broker:9092/town", "not of the form kafka://"),
        ("kafka://broker:9092/a/b", "not of the form kafka://"),
        ("kafka://broker:9092/town?partition=8", "'partition' is not known"),
        ("kafka://broker:9092/town?replicas=0", "replicas is '0'"),
        ("kafka://broker:9092/town?replicas=2&min_insync=3", "min_insync 3 exceeds replicas 2"),
        ("kafka://broker:9092/town?partitions=many", "partitions is 'many', not a number"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url: str, told: str):
    with pytest.raises(ValueError, match=told):
        kafka_settings(url)


def test_a_url_names_brokers_prefix_and_safety():
    settings = kafka_settings("kafka://one:9092,two:9092/town?partitions=64&replicas=5&min_insync=3")
    assert (settings.bootstrap, settings.topic) == ("one:9092,two:9092", "town.log")
    assert (settings.partition_count, settings.replication_factor, settings.min_insync_replicas) == (64, 5, 3)
