"""Topics of a Kafka cluster as a source: read as a member of a consumer group, committed when told."""

from collections.abc import Callable
from typing import Any

from intake.capture.ports import CaptureFailed, CommitFailed, Message, SourcePartition
from intake.capture.settings import CaptureSettings
from intake.errors import InputWrong

PREFETCH_KIB = 16_384
SESSION_TIMEOUT_MS = 10_000
"""A connector that was killed is missed after so long; under a member name its successor is taken in at once."""

COMMITTED_WITHIN_S = 5.0


class KafkaSource:
    """Topics of a Kafka cluster, read as a member of a consumer group: these are the operator's, not Hearth's logs."""

    def __init__(self, settings: CaptureSettings) -> None:
        try:
            import confluent_kafka
        except ImportError as missing:
            raise InputWrong("capture needs the Kafka client: install hearth[kafka]") from missing
        self._kafka = confluent_kafka
        self.trouble = ""
        try:
            self._consumer = confluent_kafka.Consumer(_client_settings(settings) | {"error_cb": self._note})
        except (confluent_kafka.KafkaException, ValueError, TypeError) as wrong:
            raise InputWrong(f"the Kafka client refuses its settings: {wrong}") from wrong
        self._topics = list(settings.topics)
        self._assigned: set[SourcePartition] = set()
        self._expected: dict[SourcePartition, int] = {}
        """Next offset to be read, where known: what it was committed to be, or behind what was read."""
        self._ended: dict[SourcePartition, int] = {}
        """Where its end was when it was reached. Behind its last message may stand what never comes to be read: the
        ends of transactions, and what was written in those that were given up."""
        self._is_paused = False
        self._revoked: Callable[[frozenset[SourcePartition], bool], None] = lambda partitions, is_lost: None
        self.gone_count = 0

    def begin(self, revoked: Callable[[frozenset[SourcePartition], bool], None]) -> None:
        """Join the group with the first read."""
        self._revoked = revoked
        self._consumer.subscribe(
            self._topics,
            on_assign=self._on_assign,
            on_revoke=lambda _, found: self._on_gone(found, is_lost=False),
            on_lost=lambda _, found: self._on_gone(found, is_lost=True),
        )

    def read(self, *, most: int, timeout_s: float) -> list[Message]:
        """Return what has come; joins, leaves and is given partitions meanwhile."""
        messages = []
        found: Any
        for found in self._consumer.consume(most, timeout_s):
            error = found.error()
            if error is not None and error.code() == self._kafka.KafkaError._PARTITION_EOF:
                self._ended[found.topic(), found.partition()] = found.offset()
                continue
            if error is not None:
                self._note(error)
                continue
            message = Message(
                topic=found.topic(), partition=found.partition(), offset=found.offset(), value=found.value()
            )
            # Read before the same call took its partition away: its new member reads it.
            if message.source_partition in self._assigned:
                self._look_for_a_gap(message)
                messages.append(message)
        if messages:
            self.trouble = ""
        return messages

    def commit(self, next_offsets: dict[SourcePartition, int]) -> None:
        """Commit and wait for the broker to say so; of partitions that are not ours any more, nothing."""
        offsets = [
            self._kafka.TopicPartition(*place, self._past_what_never_comes(place, offset))
            for place, offset in next_offsets.items()
            if place in self._assigned
        ]
        if not offsets:
            return
        try:
            for one in self._consumer.commit(offsets=offsets, asynchronous=False):
                if one.error is not None:
                    raise CommitFailed(f"{one.topic}/{one.partition}: {one.error}")
        except self._kafka.KafkaException as failed:
            raise CommitFailed(str(failed)) from failed

    def pause(self) -> None:
        """Read nothing more."""
        self._is_paused = True
        self._consumer.pause(self._partitions())

    def resume(self) -> None:
        """Read again."""
        self._is_paused = False
        self._consumer.resume(self._partitions())

    def lag(self, next_offsets: dict[SourcePartition, int]) -> int | None:
        """Return how far the group is behind, by what the brokers told last."""
        behind = 0
        for one in self._partitions():
            place = one.topic, one.partition
            offset = self._past_what_never_comes(place, next_offsets.get(place, self._expected.get(place, 0)))
            _, high = self._consumer.get_watermark_offsets(one, cached=True)
            if high < 0:
                return None
            behind += max(high - offset, 0)
        return behind if self._assigned else None

    def _past_what_never_comes(self, place: SourcePartition, offset: int) -> int:
        """Return the end of a partition if nothing that was read stands between an offset and it; else the offset."""
        return max(offset, self._ended.get(place, 0)) if offset >= self._expected.get(place, 0) else offset

    def close(self) -> None:
        """Leave the group; what was not committed is read again by whoever comes next."""
        self._consumer.close()

    def _partitions(self) -> list[Any]:
        return [self._kafka.TopicPartition(topic, partition) for topic, partition in sorted(self._assigned)]

    def _on_assign(self, consumer: Any, found: list[Any]) -> None:
        try:
            committed = consumer.committed(found, timeout=COMMITTED_WITHIN_S)
        except self._kafka.KafkaException as failed:
            self.trouble, committed = str(failed), []
        self._expected.update({(one.topic, one.partition): one.offset for one in committed if one.offset >= 0})
        self._assigned.update((one.topic, one.partition) for one in found)
        consumer.assign(found)
        if self._is_paused:
            consumer.pause(found)

    def _on_gone(self, found: list[Any], *, is_lost: bool) -> None:
        partitions = frozenset((one.topic, one.partition) for one in found)
        self._revoked(partitions, is_lost)
        self._assigned -= partitions
        for one in partitions:
            self._expected.pop(one, None)
            self._ended.pop(one, None)

    def _look_for_a_gap(self, message: Message) -> None:
        """Count what a topic's retention took away before it was read. Other gaps are compaction's or transactions'."""
        place = message.source_partition
        expected = self._expected.get(place)
        self._expected[place] = message.offset + 1
        if expected is not None and message.offset > expected:
            topic, partition = place
            low, _ = self._consumer.get_watermark_offsets(self._kafka.TopicPartition(topic, partition), cached=True)
            self.gone_count += max(min(low, message.offset) - expected, 0)

    def _note(self, error: Any) -> None:
        if error.fatal() or error.code() == self._kafka.KafkaError._FATAL:
            raise CaptureFailed(f"Kafka: {error.str()}; is there another connector of this group and member name?")
        self.trouble = f"Kafka: {error.str()}"


def _client_settings(settings: CaptureSettings) -> dict[str, object]:
    return {
        "client.id": "hearth-capture",
        "log_level": 2,  # what is amiss is told by `trouble`
        "session.timeout.ms": SESSION_TIMEOUT_MS,
        "queued.max.messages.kbytes": PREFETCH_KIB,
        **settings.kafka,
        "bootstrap.servers": settings.bootstrap,
        "group.id": settings.group,
        **({"group.instance.id": settings.member} if settings.member else {}),
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    }
