"""Kafka as Hearth uses it: settings, and the clients made from them. The one place that imports the library.

Importing this module, and so `kafka`, where confluent-kafka is missing says what to install.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from actors.log.contract import LogUnavailable, PartitionId
from actors.log.frame import PAYLOAD_BYTES_MAX
from actors.log.kafka_frame import HEADER_BYTES, RECORD_HEADER_BYTES
from actors.passing_over import passing_over

try:
    from confluent_kafka import (
        OFFSET_END,
        Consumer,
        KafkaError,
        KafkaException,
        Message,
        Producer,
        TopicPartition,
    )
    from confluent_kafka.admin import (  # type: ignore[attr-defined] # typed, and not marked as exported
        AdminClient,
        ConfigResource,
        NewTopic,
        ResourceType,
        TopicMetadata,
    )
except ImportError as missing:
    raise ImportError("a log on Kafka needs confluent-kafka, which is not here: pip install hearth[kafka]") from missing

# The log's other modules take the library from here, so that its absence is told in one place.
__all__ = [
    "OFFSET_END",
    "AdminClient",
    "ConfigResource",
    "Consumer",
    "Consumers",
    "KafkaClients",
    "KafkaError",
    "KafkaException",
    "KafkaSettings",
    "Message",
    "NewTopic",
    "Producer",
    "ResourceType",
    "TopicMetadata",
    "TopicPartition",
    "reason_of",
    "unavailable",
]

logger = logging.getLogger(__name__)

PARTITION_COUNT = 256

IDLE_CONSUMERS_MAX = 4
"""Kept for the next read; each holds a connection and some threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """Where the log is and how safe it must be."""

    bootstrap: str
    """host:port of some brokers, with commas between."""
    prefix: str
    """The log is the topic `<prefix>.log`."""
    partition_count: int | None = None
    """Fixed when the cluster is born; a topic with another number is refused. None takes the topic's own, and
    `PARTITION_COUNT` where it must be created."""
    replication_factor: int = 3
    min_insync_replicas: int = 2
    """Replicas that have a group when it is acknowledged. 1 means that one broken disk may lose it."""
    delivery_timeout_s: float = 30.0
    """How long `append` may take, a change of the partition's leader included; then its outcome is unknown."""
    request_timeout_s: float = 15.0
    """How long any other call may go without progress."""
    record_bytes_max: int = PAYLOAD_BYTES_MAX
    group_bytes_max: int = 80 << 20
    """The topic's max.message.bytes; below the brokers' socket.request.max.bytes, 100 MiB unless changed."""
    compression: str = "none"
    client: Mapping[str, str] = field(default_factory=dict)
    """More librdkafka settings for every client, such as security.protocol and sasl.*."""

    def __post_init__(self) -> None:
        # A group of one record of the longest kind must fit, or that record could never be written.
        assert HEADER_BYTES + RECORD_HEADER_BYTES + self.record_bytes_max <= self.group_bytes_max
        assert 1 <= self.min_insync_replicas <= self.replication_factor
        assert self.partition_count is None or self.partition_count > 0

    @property
    def topic(self) -> str:
        return f"{self.prefix}.log"


class KafkaClients:
    """Makes clients; a test may make worse ones."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._common: dict[str, Any] = {
            "bootstrap.servers": settings.bootstrap,
            "client.id": "hearth",
            "log_level": 0,  # what is wrong reaches the caller as an error, not the console
            "socket.nagle.disable": True,
            "socket.timeout.ms": _ms(settings.request_timeout_s),
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "error_cb": _note,
            **settings.client,
        }

    def producer(self) -> Producer:
        """Return a producer for one log: its groups in order, none twice by its own retries, each on all replicas."""
        timeout_ms = _ms(self._settings.delivery_timeout_s)
        return Producer(
            {
                **self._common,
                "acks": "all",
                "enable.idempotence": True,
                "max.in.flight.requests.per.connection": 1,
                "delivery.timeout.ms": timeout_ms,
                "request.timeout.ms": max(timeout_ms // 3, 1),
                "linger.ms": 0,
                "message.max.bytes": self._settings.group_bytes_max,
                "compression.type": self._settings.compression,
                "retry.backoff.ms": 50,
                "retry.backoff.max.ms": 500,
            }
        )

    def consumer(self) -> Consumer:
        """Return a consumer that reads where it is told to: in no group, without positions of its own."""
        return Consumer(
            {
                **self._common,
                # The library asks for the name of a group, and never joins it: partitions are assigned by hand.
                "group.id": f"{self._settings.topic}.no-group",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_uncommitted",
                "check.crcs": True,
                # A read ends at a known place. Waiting there for more would hold up the next read of this connection.
                "fetch.wait.max.ms": 5,
                "fetch.error.backoff.ms": 50,
                "fetch.queue.backoff.ms": 10,
                "queued.max.messages.kbytes": 32 << 10,
            }
        )

    def admin(self) -> AdminClient:
        """Return a client for topics and watermarks."""
        return AdminClient(self._common)


class Consumers:
    """Consumers of one store. Making one takes a connection, so some wait for the next read."""

    def __init__(self, make: Callable[[], Consumer]) -> None:
        self._make = make
        self._idle: list[Consumer] = []

    @contextmanager
    def borrowed(self) -> Iterator[Consumer]:
        """Lend a consumer without an assignment."""
        try:
            consumer = self._idle.pop()
        except IndexError:
            consumer = self._make()
        is_sound = True
        try:
            yield consumer
        except KafkaException:
            is_sound = False
            raise
        finally:
            with passing_over(KafkaException, RuntimeError, because="a consumer that is broken has nothing assigned"):
                consumer.unassign()
            if is_sound and len(self._idle) < IDLE_CONSUMERS_MAX:
                self._idle.append(consumer)
            else:
                consumer.close()

    def close(self) -> None:
        """Close those that wait. Lending goes on."""
        while self._idle:
            self._idle.pop().close()


@contextmanager
def unavailable(partition: PartitionId, path: str) -> Iterator[None]:
    """Name partition and topic where Kafka refuses."""
    try:
        yield
    except KafkaException as error:
        raise LogUnavailable(partition, path, reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """Return what Kafka said, in words."""
    cause = error.args[0] if isinstance(error, KafkaException) and error.args else error
    return cause.str() if hasattr(cause, "str") else str(cause)


def _note(error: object) -> None:
    # A broker that is away shows where something is asked of it; here it would show once for each and every client.
    logger.debug("kafka: %s", error)


def _ms(seconds: float) -> int:
    return int(seconds * 1_000)
