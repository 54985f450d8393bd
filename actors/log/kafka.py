"""The log on Kafka: one topic, one partition of it per partition of Hearth, one message per group.

Owns appending, epochs and what another writer's groups mean for the owner. The bytes are in `kafka_frame`,
reading in `kafka_reader`, the topic in `kafka_topic`, the promises in `contract`, the reasons in
docs/decisions/0010-kafka-log.md.

Kafka cannot lock: two owners may have a partition open, and what the outdated one goes on writing lands in the log.
Epochs decide what it means (rule 5), so nothing here raises `LogLocked`.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from actors.failpoints import Failpoint, reached
from actors.log.contract import (
    LOG_START,
    AppendFailed,
    DamagedLog,
    Epoch,
    LogError,
    LogUnavailable,
    Offset,
    OffsetOutOfRange,
    PartitionId,
    Record,
    RecordKind,
    RecordTooLong,
    StaleEpoch,
    StoredRecord,
)
from actors.log.kafka_client import (
    AdminClient,
    Consumers,
    KafkaClients,
    KafkaException,
    KafkaSettings,
    Message,
    Producer,
    TopicPartition,
    reason_of,
    unavailable,
)
from actors.log.kafka_follower import KafkaFollower
from actors.log.kafka_frame import (
    GROUP_RECORDS_MAX,
    GroupHeader,
    encode_group,
    first_offset,
    group_bytes,
    place_of,
)
from actors.log.kafka_reader import GroupReader
from actors.log.kafka_topic import TopicRefused, ensure_topic, partition_count
from actors.log.kafka_url import kafka_settings

REPORT_MARGIN_S = 5.0
"""How much longer than its own deadline the library may take to say what became of a group."""

LOOK_AHEAD_GROUPS = 16
"""Looked at before dropping: what a kept group may repeat is kept with it."""


class KafkaStore:
    """The `LogStore` on Kafka. One per process; its partitions may be opened from several threads."""

    def __init__(self, settings: KafkaSettings, *, clients: KafkaClients | None = None) -> None:
        self._settings = settings
        self._clients = clients or KafkaClients(settings)
        self._consumers = Consumers(self._clients.consumer)
        self._ensuring = threading.Lock()
        self._topic: tuple[AdminClient, int] | None = None
        """Once the topic is known to be good: a client that answers for it, and how many partitions it has."""

    def open(self, partition: PartitionId, *, acknowledged_end: Offset = LOG_START) -> KafkaLog:
        reader = self._reader(partition)
        with unavailable(partition, reader.path):
            try:
                admin, count = self._ensured()
            except TopicRefused as refused:
                raise LogUnavailable(partition, reader.path, str(refused)) from None
        if not 0 <= partition < count:
            raise LogUnavailable(partition, reader.path, f"the topic has {count} partitions")
        return KafkaLog(partition, self._settings, reader, self._clients.producer, admin, acknowledged_end)

    def follow(self, partition: PartitionId, start: Offset) -> KafkaFollower:
        # Opening writes nothing here and keeps nobody out; and a producer takes half a second to get its number.
        log = self.open(partition, acknowledged_end=start)
        return KafkaFollower(log, start)

    def partitions(self) -> tuple[PartitionId, ...]:
        """Partitions to which anything was ever written, in ascending order; none where there is no topic."""
        with unavailable(PartitionId(0), f"kafka://{self._settings.bootstrap}/{self._settings.topic}"):
            admin = self._clients.admin()
            count = partition_count(admin, self._settings)
        every = (PartitionId(number) for number in range(count))
        return tuple(partition for partition in every if self._reader(partition).watermarks()[1] > 0)

    def read_only(self) -> Iterator[tuple[int, StoredRecord]]:
        """Yield (partition, record) of everything there is, partition after partition, in log order.

        For exports and other tools, beside a running Hearth; creates nothing, owns nothing.

        Raises:
            DamagedLog, UnknownFormat, LogUnavailable.
        """
        for partition in self.partitions():
            reader = self._reader(partition)
            low, high = reader.watermarks()
            for stored in reader.records(first_offset(low), high, low=low):
                yield partition, stored

    def close(self) -> None:
        """Let go of connections that wait for the next read. Its logs are closed by their owners."""
        self._consumers.close()

    def _reader(self, partition: PartitionId) -> GroupReader:
        return GroupReader(self._settings, partition, self._consumers)

    def _ensured(self) -> tuple[AdminClient, int]:
        with self._ensuring:
            if self._topic is None:
                admin = self._clients.admin()
                self._topic = admin, ensure_topic(admin, self._settings)
            return self._topic


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extent:
    """What this object knows of the log, in places on Kafka. Replaced as a whole; a reader sees one moment."""

    low: int
    end: int
    epoch: Epoch


class KafkaLog:
    """The `PartitionLog` on Kafka. Made by `KafkaStore.open`.

    An append whose outcome is unknown closes the producer, so nothing more is sent by it; a request that the broker
    already had, read or not, may still be carried out. Such a group stands in the log whole, and behind the epoch
    record of the next owner what it decided is void.
    """

    def __init__(
        self,
        partition: PartitionId,
        settings: KafkaSettings,
        reader: GroupReader,
        make_producer: Callable[[], Producer],
        admin: AdminClient,
        acknowledged_end: Offset,
    ) -> None:
        self._partition = partition
        self._settings = settings
        self._reader = reader
        self._admin = admin
        self._writer = uuid.uuid4().bytes
        self._sequence = 0
        self._appending = threading.Lock()
        self._failure: str | None = None
        """Why, and not the error: its traceback would keep the owner, whose log this is, and all its state."""
        self._is_closed = False
        low, end = reader.watermarks()
        if first_offset(end) < acknowledged_end:
            what = f"the log ends at offset {first_offset(end)}, {acknowledged_end} was acknowledged"
            raise DamagedLog(partition, reader.path, 0, what)
        self._extent = _Extent(low=low, end=end, epoch=self._highest_epoch(low, end))
        self._producer = make_producer()

    @property
    def first_offset(self) -> Offset:
        return first_offset(self._usable().low)

    @property
    def end_offset(self) -> Offset:
        return first_offset(self._usable().end)

    @property
    def last_epoch(self) -> Epoch:
        return self._usable().epoch

    @property
    def repetitions(self) -> int:
        return self._reader.repetitions

    def append(self, records: Sequence[Record]) -> Offset:
        assert records, "a group has at least one record"
        with self._alone():
            return self._append(records)

    def read(self, start: Offset) -> Iterator[StoredRecord]:
        """As the contract says; `start` may also be the offset behind any record, whether or not one stands there."""
        extent = self._usable()
        first, end = first_offset(extent.low), first_offset(extent.end)
        if not first <= start <= end:
            raise OffsetOutOfRange(self._partition, start, first, end)
        return self._reader.records(start, extent.end, low=extent.low)

    def refresh(self) -> Offset:
        with self._alone():
            extent = self._usable()
            low, end = self._reader.watermarks()
            if end < extent.end:
                what = f"the log ends at offset {first_offset(end)}, {first_offset(extent.end)} was acknowledged"
                raise DamagedLog(self._partition, self._reader.path, 0, what)
            epoch = self._highest_among(extent.end, end, extent.epoch)
            self._extent = _Extent(low=low, end=end, epoch=epoch)
            return first_offset(end)

    def written_before(self, time_us: int) -> Offset:
        extent = self._usable()
        place = self._reader.first_since(time_us)
        return first_offset(min(max(extent.low, place), extent.end) if place is not None else extent.end)

    def drop_before(self, offset: Offset) -> Offset:
        with self._alone():
            extent = self._usable()
            target = self._droppable(min(place_of(offset), extent.end), extent)
            if target > extent.low:
                with unavailable(self._partition, self._reader.path):
                    place = TopicPartition(self._settings.topic, self._partition, target)
                    answer = self._admin.delete_records([place], request_timeout=self._settings.request_timeout_s)
                    low = next(iter(answer.values())).result().low_watermark
                self._extent = replace(extent, low=low)
                reached(Failpoint.LOG_DROPPED)
            return first_offset(self._extent.low)

    def begin_piece(self) -> None:
        """Nothing: whoever opens it looks at its last message."""
        self._usable()

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            if self._failure is None:
                self._silence()

    def _usable(self) -> _Extent:
        assert not self._is_closed, f"partition {self._partition}: the log is closed"
        if self._failure is not None:
            raise AppendFailed(self._partition, self._reader.path, self._failure)
        return self._extent

    @contextmanager
    def _alone(self) -> Iterator[None]:
        is_alone = self._appending.acquire(blocking=False)
        assert is_alone, f"partition {self._partition}: one group in flight"
        try:
            yield
        finally:
            self._appending.release()

    def _append(self, records: Sequence[Record]) -> Offset:
        extent = self._usable()
        epoch = self._checked_epoch(records, extent.epoch)
        header = GroupHeader(
            partition=self._partition,
            record_count=len(records),
            writer=self._writer,
            sequence=self._sequence,
            follows=extent.end,
            epoch_so_far=epoch,
        )
        try:
            landed = self._delivered(encode_group(header, records))
            reached(Failpoint.GROUP_SYNCED)
            place, between = self._own_place(extent, landed)
        except AppendFailed:
            raise
        except (KafkaException, LogError) as error:
            raise self._failed(reason_of(error)) from error
        except BaseException:
            # Whatever interrupted it, the outcome is unknown.
            self._failed("interrupted")
            raise
        self._sequence += 1
        # Not behind `landed`: between the group and its repetition may stand what nobody has read yet.
        self._extent = replace(extent, end=place + 1, epoch=Epoch(max(epoch, between)))
        return first_offset(place)

    def _checked_epoch(self, records: Sequence[Record], epoch: Epoch) -> Epoch:
        """Return the epoch after these records, or raise before anything is written."""
        assert len(records) <= GROUP_RECORDS_MAX, f"a group has at most {GROUP_RECORDS_MAX} records"
        limit = self._settings.record_bytes_max
        for record in records:
            if record.epoch < epoch or (record.kind is RecordKind.EPOCH and record.epoch == epoch):
                raise StaleEpoch(self._partition, record.epoch, epoch)
            if len(record.payload) > limit:
                raise RecordTooLong(self._partition, len(record.payload), limit)
            epoch = record.epoch
        length = group_bytes(records)
        if length > self._settings.group_bytes_max:
            raise RecordTooLong(self._partition, length, self._settings.group_bytes_max)
        return epoch

    def _delivered(self, message: bytes) -> int:
        """Send a message and wait until all replicas have it; return where it stands."""
        outcome: list[tuple[object, int]] = []

        def report(error: object, sent: Message) -> None:
            offset = sent.offset()
            outcome.append((error, -1 if offset is None else offset))

        deadline = time.monotonic() + self._settings.delivery_timeout_s + REPORT_MARGIN_S
        self._producer.produce(self._settings.topic, message, partition=self._partition, on_delivery=report)
        reached(Failpoint.GROUP_WRITTEN)
        while not outcome:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise self._failed(f"no outcome within {self._settings.delivery_timeout_s} s")
            self._producer.poll(remaining_s)
        error, landed = outcome[0]
        if error is not None:
            raise KafkaException(error)
        if landed < 0:
            raise self._failed("Kafka has it and did not say where")
        return landed

    def _own_place(self, extent: _Extent, landed: int) -> tuple[int, Epoch]:
        """Return where the group stands that was reported at `landed`, and the highest epoch others put before it.

        Usually there is nothing in between. A group that was sent twice may be reported where it stands again.
        """
        if landed < extent.end:
            raise self._failed(f"it landed at {landed}, the log went to {extent.end}: acknowledged groups are gone")
        place, epoch = landed, extent.epoch
        for group in self._reader.messages(extent.end, landed):
            epoch = max(epoch, group.header.epoch_so_far)
            if group.header.writer == self._writer and group.header.sequence == self._sequence:
                place = min(place, group.place)
        return place, epoch

    def _failed(self, reason: str) -> AppendFailed:
        """Make the object dead; return the error that says so."""
        if self._failure is None:
            self._failure = reason
            self._silence()
        return AppendFailed(self._partition, self._reader.path, self._failure)

    def _silence(self) -> None:
        """Take back what was not sent yet, and let the producer go."""
        self._producer.purge(in_queue=True, in_flight=True)
        self._producer.close()

    def _highest_epoch(self, low: int, end: int) -> Epoch:
        """Return the highest epoch of any record ever, from the end of the log alone.

        The last group's writer vouches for all before `follows`; its writer may not have seen what lies from there on,
        so those groups are asked too, each of which vouches for more.
        """
        if end == 0:
            return Epoch(0)
        if low == end:
            # drop_before keeps the last group for what it vouches for, so this was not Hearth.
            what = "all records were deleted, and the newest epoch with them"
            raise DamagedLog(self._partition, self._reader.path, 0, what)
        return self._highest_among(self._vouched_before(low, end), end, Epoch(0))

    def _vouched_before(self, low: int, end: int) -> int:
        """Return the place from which on the groups must be asked for the highest epoch."""
        last = self._reader.header_at(end - 1)
        return max(low, min(last.follows, end - 1))

    def _highest_among(self, start: int, end: int, epoch: Epoch) -> Epoch:
        return max([epoch, *(group.header.epoch_so_far for group in self._reader.messages(start, end))])

    def _droppable(self, target: int, extent: _Extent) -> int:
        """Return how far to drop so that epochs stay known and no kept group repeats a dropped one."""
        if target <= extent.low:
            return extent.low
        target = min(target, self._vouched_before(extent.low, extent.end))
        while target > extent.low:
            ahead = self._reader.messages(target, min(target + LOOK_AHEAD_GROUPS, extent.end))
            earliest = min(group.header.follows for group in ahead)
            if earliest >= target:
                break
            target = max(earliest, extent.low)
        return target


def kafka_store(url: str, *, partition_count: int | None = None) -> KafkaStore:
    """Return the log store that a URL names; nothing is asked of Kafka yet.

    Raises:
        ValueError: it names what is wrong.
    """
    return KafkaStore(kafka_settings(url, partition_count=partition_count))
