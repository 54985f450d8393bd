"""Reading one partition of a log on Kafka: every group verified, in order, each once.

Owns how a group that lies in the log twice is told from two groups, and what counts as a hole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from actors.log.contract import (
    DamagedLog,
    LogUnavailable,
    Offset,
    OffsetOutOfRange,
    PartitionId,
    StoredRecord,
    UnknownFormat,
)
from actors.log.kafka_client import (
    OFFSET_END,
    Consumers,
    KafkaError,
    KafkaException,
    KafkaSettings,
    TopicPartition,
    reason_of,
    unavailable,
)
from actors.log.kafka_frame import (
    GroupHeader,
    NewerGroup,
    NotAGroup,
    decode_header,
    decode_records,
    first_offset,
    place_of,
)

MESSAGES_MAX = 1_000
"""Taken from the library at once: one call per message costs as much as the message."""

READ_BYTES = 8 << 20
"""Held at once, about: after the first batch, as many messages are asked for as would fill it."""

_FIRST_BATCH = 16
_POLL_S = 0.5
_RETRY_S = 0.05


class PlacedGroup(NamedTuple):
    """A verified message and where it stands on Kafka."""

    place: int
    header: GroupHeader
    message: bytes


class GroupReader:
    """Reads one partition. Safe from any thread; each iteration has a consumer of its own."""

    def __init__(self, settings: KafkaSettings, partition: PartitionId, consumers: Consumers) -> None:
        self.path = f"kafka://{settings.bootstrap}/{settings.topic}/{partition}"
        self._settings = settings
        self._partition = partition
        self._consumers = consumers
        self._repetitions: set[int] = set()

    @property
    def repetitions(self) -> int:
        """Messages that repeat a group, among those read so far."""
        return len(self._repetitions)

    def watermarks(self) -> tuple[int, int]:
        """Ask where the partition begins and ends, on its leader.

        Raises:
            LogUnavailable.
        """
        deadline = time.monotonic() + self._settings.request_timeout_s
        asked = TopicPartition(self._settings.topic, self._partition)
        with unavailable(self._partition, self.path), self._consumers.borrowed() as consumer:
            while True:
                remaining_s = max(deadline - time.monotonic(), 0.001)
                try:
                    answer = consumer.get_watermark_offsets(asked, timeout=remaining_s)
                except KafkaException:
                    # A new leader says so until it knows how far the log was acknowledged.
                    if time.monotonic() + _RETRY_S > deadline:
                        raise
                    time.sleep(_RETRY_S)
                    continue
                if answer is None:
                    raise LogUnavailable(self._partition, self.path, "no answer about where it ends")
                return answer[0], answer[1]

    def first_since(self, time_us: int) -> int | None:
        """Return the place of the first message that the broker wrote at that time or later; None for none.

        Raises:
            LogUnavailable.
        """
        asked = TopicPartition(self._settings.topic, self._partition, max(0, time_us // 1_000))
        with unavailable(self._partition, self.path), self._consumers.borrowed() as consumer:
            (found,) = consumer.offsets_for_times([asked], timeout=self._settings.request_timeout_s)
        if found.error is not None:
            raise LogUnavailable(self._partition, self.path, reason_of(KafkaException(found.error)))
        if found.offset < 0 and found.offset != OFFSET_END:
            raise LogUnavailable(self._partition, self.path, f"no answer about what was written since {time_us}")
        return found.offset if found.offset >= 0 else None

    def messages(self, start: int, end: int) -> Iterator[PlacedGroup]:
        """Yield all messages of [start, end), those that repeat a group included.

        Raises:
            DamagedLog, UnknownFormat, LogUnavailable.
            OffsetOutOfRange: given up meanwhile.
        """
        if start >= end:
            return
        with unavailable(self._partition, self.path), self._consumers.borrowed() as consumer:
            consumer.assign([TopicPartition(self._settings.topic, self._partition, start)])
            place, count, problem = start, _FIRST_BATCH, "no answer"
            deadline = time.monotonic() + self._settings.request_timeout_s
            while place < end:
                received = consumer.consume(min(count, end - place), timeout=_POLL_S)
                size = 0
                for message in received:
                    error = message.error()
                    if error is not None:
                        problem = reason_of(KafkaException(error))
                        if error.code() == KafkaError._AUTO_OFFSET_RESET:
                            self._check_is_there(place)
                            consumer.assign([TopicPartition(self._settings.topic, self._partition, place)])
                        continue
                    found, value = message.offset(), message.value()
                    if found != place:
                        raise self._damaged(place, 0, f"Kafka goes on at offset {found}")
                    content = value if isinstance(value, bytes) else b""
                    yield PlacedGroup(place, self._verified(place, content), content)
                    place += 1
                    size += len(content)
                if size:
                    count = max(1, min(MESSAGES_MAX, READ_BYTES * len(received) // size))
                    deadline = time.monotonic() + self._settings.request_timeout_s
                elif time.monotonic() > deadline:
                    raise LogUnavailable(self._partition, self.path, f"reading stopped at offset {place}: {problem}")

    def groups(self, start: int, end: int, *, low: int) -> Iterator[PlacedGroup]:
        """Yield each group of [start, end) once, of a log that begins at `low`.

        A group may lie there twice, where a producer sent it again. It stands at `follows` or behind, and so does what
        repeats it: one that stands exactly there is the first. Of another, what lies between tells.
        """
        sequences: dict[bytes, int] = {}
        for group in self.messages(start, end):
            header, place = group.header, group.place
            if header.follows > place:
                what = f"the log went to offset {header.follows} before: acknowledged groups are gone"
                raise self._damaged(place, 0, what)
            last = sequences.get(header.writer, -1 if start == 0 else None)
            if self._is_repeated(header, last, start, low):
                self._repetitions.add(place)
                continue
            if last is not None and header.sequence > last + 1:
                what = f"group {header.sequence} of a writer whose group {last + 1} is missing"
                raise self._damaged(place, 0, what)
            sequences[header.writer] = header.sequence
            yield group

    def _check_is_there(self, place: int) -> None:
        """Raise if the log, as it is now, no longer has a message that it had."""
        low, high = self.watermarks()
        if place < low:
            raise OffsetOutOfRange(self._partition, first_offset(place), first_offset(low), first_offset(high))
        if place >= high:
            raise self._damaged(place, 0, f"the log ends at {high}, it went further: acknowledged groups are gone")

    def _is_repeated(self, header: GroupHeader, last: int | None, start: int, low: int) -> bool:
        """Return whether a group stands in the log before, by its writer's last one that was read, if any was.

        What lies before `start` is looked at only where the group could stand there.
        """
        if last is not None:
            return header.sequence <= last
        before = self.messages(max(header.follows, low), start)
        return any((one.header.writer, one.header.sequence) == (header.writer, header.sequence) for one in before)

    def records(self, start: Offset, end: int, *, low: int) -> Iterator[StoredRecord]:
        """Yield the records from an offset to the message at `end`."""
        for group in self.groups(place_of(start), end, low=low):
            for stored in self.records_of(group):
                if stored.offset >= start:
                    yield stored

    def records_of(self, group: PlacedGroup) -> list[StoredRecord]:
        """Return the records of a group.

        Raises:
            DamagedLog, UnknownFormat.
        """
        try:
            return decode_records(group.message, group.header, group.place)
        except NotAGroup as wrong:
            raise self._damaged(group.place, wrong.position, wrong.what) from None
        except NewerGroup as newer:
            raise UnknownFormat(self._partition, self._at(group.place), newer.what) from None

    def header_at(self, place: int) -> GroupHeader:
        """Return the header of one message."""
        return next(self.messages(place, place + 1)).header

    def _verified(self, place: int, message: bytes) -> GroupHeader:
        try:
            header = decode_header(message)
        except NotAGroup as wrong:
            raise self._damaged(place, wrong.position, wrong.what) from None
        except NewerGroup as newer:
            raise UnknownFormat(self._partition, self._at(place), newer.what) from None
        if header.partition != self._partition:
            raise self._damaged(place, 0, f"the group belongs to partition {header.partition}")
        return header

    def _damaged(self, place: int, position: int, what: str) -> DamagedLog:
        return DamagedLog(self._partition, self._at(place), position, what)

    def _at(self, place: int) -> str:
        return f"{self.path} offset {place} (record {first_offset(place)})"
