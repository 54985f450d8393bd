"""Settings of the log on Kafka, from the URL that names it."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from actors.log.kafka_client import (
    KafkaSettings,
)

_URL_FORM = "kafka://HOST:PORT[,HOST:PORT...]/PREFIX[?partitions=256&replicas=3&min_insync=2&delivery_timeout_s=30]"


def kafka_settings(url: str, *, partition_count: int | None = None) -> KafkaSettings:
    """Return what a URL says, such as kafka://broker-1:9092,broker-2:9092/hearth?replicas=3.

    `partition_count` is what the topic must have where the URL does not say.

    >>> kafka_settings("kafka://127.0.0.1:9092/town?partitions=8&replicas=1&min_insync=1").topic
    'town.log'

    Raises:
        ValueError: it names what is wrong.
    """
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    if parts.scheme != "kafka" or not parts.netloc or not prefix or "/" in prefix:
        raise ValueError(f"{url!r} is not of the form {_URL_FORM}")
    numbers: dict[str, float] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in ("partitions", "replicas", "min_insync", "delivery_timeout_s"):
            raise ValueError(f"{name!r} is not known in {url!r}; the form is {_URL_FORM}")
        try:
            numbers[name] = float(text)
        except ValueError:
            raise ValueError(f"{name} is {text!r}, not a number, in {url!r}") from None
        if not 0 < numbers[name] < 1e6 or (name != "delivery_timeout_s" and not numbers[name].is_integer()):
            raise ValueError(f"{name} is {text!r}, which cannot be, in {url!r}")
    replicas = int(numbers.get("replicas", 3))
    min_insync = int(numbers.get("min_insync", min(2, replicas)))
    if min_insync > replicas:
        raise ValueError(f"min_insync {min_insync} exceeds replicas {replicas} in {url!r}")
    count = int(numbers["partitions"]) if "partitions" in numbers else partition_count
    return KafkaSettings(
        bootstrap=parts.netloc,
        prefix=prefix,
        partition_count=count,
        replication_factor=replicas,
        min_insync_replicas=min_insync,
        delivery_timeout_s=numbers.get("delivery_timeout_s", 30.0),
    )
