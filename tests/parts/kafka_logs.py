"""Logs on a test's broker: their settings, clients that fail as told, and messages written past the log."""

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, Producer

from actors.log.kafka_client import KafkaClients, KafkaSettings
from tests.parts.kafka_broker import Broker

PARTITIONS = 5


def settings_for(broker: Broker, prefix: str, **changes: Any) -> KafkaSettings:
    """Return settings for a log of one replica with patience for a broker that shares its processor."""
    defaults: dict[str, Any] = {
        "bootstrap": broker.bootstrap,
        "prefix": prefix,
        "partition_count": PARTITIONS,
        "replication_factor": 1,
        "min_insync_replicas": 1,
        "delivery_timeout_s": 20.0,
        "request_timeout_s": 20.0,
    }
    return KafkaSettings(**{**defaults, **changes})


class RefusingClients(KafkaClients):
    """Lets the next group be written, or not, and reports in both cases that its time is over."""

    def __init__(self, settings: KafkaSettings, *, writes_it: bool = False) -> None:
        super().__init__(settings)
        self.writes_it = writes_it
        self.is_refusing = False

    def refuse_next(self) -> None:
        self.is_refusing = True

    def producer(self) -> Producer:
        return _RefusingProducer(super().producer(), self)  # type: ignore[return-value]


class _RefusingProducer:
    def __init__(self, producer: Producer, clients: RefusingClients) -> None:
        self._producer = producer
        self._clients = clients
        self._timed_out: Callable[[], None] | None = None

    def produce(self, topic: str, value: bytes, *, partition: int, on_delivery: Callable[[Any, Any], None]) -> None:
        if not self._clients.is_refusing:
            self._producer.produce(topic, value, partition=partition, on_delivery=on_delivery)
            return
        self._clients.is_refusing = False
        if self._clients.writes_it:
            self._producer.produce(topic, value, partition=partition)
            self._producer.flush()
        self._timed_out = lambda: on_delivery(KafkaError(KafkaError._MSG_TIMED_OUT), _NeverSent())

    def poll(self, timeout_s: float) -> int:
        if self._timed_out is None:
            return self._producer.poll(timeout_s)
        self._timed_out()
        self._timed_out = None
        return 1

    def purge(self, **what: bool) -> None:
        self._producer.purge(**what)

    def close(self) -> None:
        self._producer.close()


class _NeverSent:
    def offset(self) -> None:
        return None


def write_past_the_log(settings: KafkaSettings, partition: int, *messages: bytes | None) -> None:
    """Write messages into a log's topic as some other program could, one after another."""
    producer = Producer({"bootstrap.servers": settings.bootstrap, "acks": "all", "linger.ms": 0, "log_level": 0})
    for message in messages:
        failures: list[object] = []
        producer.produce(
            settings.topic, message, partition=partition, on_delivery=lambda error, _, to=failures: to.append(error)
        )
        assert producer.flush(20) == 0
        assert failures == [None]
