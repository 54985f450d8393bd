"""The topic of a log on Kafka: created as a log needs it, and refused where it could lose what was acknowledged."""

from __future__ import annotations

import time
from collections.abc import Mapping

from actors.log.kafka_client import (
    PARTITION_COUNT,
    AdminClient,
    ConfigResource,
    KafkaError,
    KafkaException,
    KafkaSettings,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

_POLL_S = 0.02

_TOPIC_SETTINGS = {
    "cleanup.policy": "delete",  # compaction would take groups out of the middle
    "retention.ms": "-1",  # only drop_before gives anything up
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",  # a replica that lags would come back without acknowledged groups
}


class TopicRefused(Exception):
    """The topic cannot hold a log as it is, or cannot be made so."""


def ensure_topic(admin: AdminClient, settings: KafkaSettings) -> int:
    """Create the topic where it is missing, check that it is as a log needs it; return how many partitions it has.

    Raises:
        TopicRefused: it names what is wrong.
        KafkaException: no broker answered.
    """
    deadline = time.monotonic() + settings.request_timeout_s
    found = _described(admin, settings)
    if found is None:
        _create(admin, settings)
        found = _wait_for_leaders(admin, settings, deadline)
    wrong = faults(found, _configuration(admin, settings), settings)
    if wrong:
        raise TopicRefused(f"topic {settings.topic} cannot hold a log: {'; '.join(wrong)}")
    return len(found.partitions)


def partition_count(admin: AdminClient, settings: KafkaSettings) -> int:
    """Return how many partitions the topic has; 0 where there is none."""
    topic = _described(admin, settings)
    return 0 if topic is None else len(topic.partitions)


def faults(topic: TopicMetadata, configuration: Mapping[str, str], settings: KafkaSettings) -> list[str]:
    """Return what is wrong with a topic, each with what it must be."""
    wrong = []
    if len(topic.partitions) != (settings.partition_count or len(topic.partitions)):
        wrong.append(f"it has {len(topic.partitions)} partitions, must have {settings.partition_count}")
    fewest = min((len(one.replicas) for one in topic.partitions.values()), default=0)
    if fewest < settings.replication_factor:
        wrong.append(f"it has {fewest} replicas, must have {settings.replication_factor}")
    wrong += [
        f"{name} is {configuration.get(name)}, must be {value}"
        for name, value in _TOPIC_SETTINGS.items()
        if configuration.get(name) != value
    ]
    least = {"min.insync.replicas": settings.min_insync_replicas, "max.message.bytes": settings.group_bytes_max}
    wrong += [
        f"{name} is {configuration.get(name)}, must be at least {value}"
        for name, value in least.items()
        if int(configuration.get(name) or 0) < value
    ]
    return wrong


def _described(admin: AdminClient, settings: KafkaSettings) -> TopicMetadata | None:
    # Asking for one topic by name would create it where brokers create topics on demand.
    topics = admin.list_topics(timeout=settings.request_timeout_s).topics
    topic = topics.get(settings.topic)
    return None if topic is None or topic.error is not None else topic


def _create(admin: AdminClient, settings: KafkaSettings) -> None:
    topic = NewTopic(
        settings.topic,
        num_partitions=settings.partition_count or PARTITION_COUNT,
        replication_factor=settings.replication_factor,
        config={
            **_TOPIC_SETTINGS,
            "min.insync.replicas": str(settings.min_insync_replicas),
            "max.message.bytes": str(settings.group_bytes_max),
            # A broker refuses the stamp of a machine whose clock is an hour ahead; ours are in the records.
            "message.timestamp.type": "LogAppendTime",
        },
    )
    timeout_s = settings.request_timeout_s
    try:
        admin.create_topics([topic], operation_timeout=timeout_s, request_timeout=timeout_s)[settings.topic].result()
    except KafkaException as error:
        code = error.args[0].code()
        if code in (KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.TOPIC_EXCEPTION, KafkaError.POLICY_VIOLATION):
            raise TopicRefused(f"topic {settings.topic} cannot be created: {error.args[0].str()}") from error
        if code != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def _wait_for_leaders(admin: AdminClient, settings: KafkaSettings, deadline: float) -> TopicMetadata:
    while True:
        topic = _described(admin, settings)
        if topic is not None and topic.partitions and all(one.leader >= 0 for one in topic.partitions.values()):
            return topic
        if time.monotonic() > deadline:
            raise TopicRefused(f"topic {settings.topic} has partitions without a leader")
        time.sleep(_POLL_S)


def _configuration(admin: AdminClient, settings: KafkaSettings) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, settings.topic)
    answer = admin.describe_configs([resource], request_timeout=settings.request_timeout_s)
    return {name: entry.value for name, entry in answer[resource].result().items()}
