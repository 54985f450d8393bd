"""Where a log is: in files of a folder, or on Kafka. Decided here alone, from the text that names it.

Whoever does something else for one than for the other matches on the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from actors.log.contract import LogStore, Offset, PartitionId, StoredRecord
    from actors.log.reading import LogMark, ReadLogs

KAFKA_SCHEME: Final = "kafka:"

REJECTS_FOLDER: Final = "rejects"
"""In the data directory, beside the log's own."""


@dataclass(frozen=True, slots=True)
class InFiles:
    """The embedded log: segment files of a folder, for one node."""

    directory: Path

    def __str__(self) -> str:
        return str(self.directory)

    @property
    def rejects(self) -> InFiles:
        """Where its reject logs are.

        >>> str(InFiles(Path("/data/log")).rejects)
        '/data/rejects'
        """
        return InFiles(self.directory.parent / REJECTS_FOLDER)


@dataclass(frozen=True, slots=True)
class OnKafka:
    """Topics of a Kafka cluster, by the URL that names them; what it says in full is in kafka_url.py."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def prefix(self) -> str:
        """What its topics' names begin with: the same log whichever brokers it is reached by."""
        return urlsplit(self.url).path

    @property
    def rejects(self) -> OnKafka:
        """Where its reject logs are.

        >>> OnKafka("kafka://broker:9092/town?replicas=1").rejects.url
        'kafka://broker:9092/town-rejects?replicas=1'
        """
        parts = urlsplit(self.url)
        if not parts.path.strip("/"):
            return self  # what is no right URL does not become one
        return OnKafka(parts._replace(path=f"{parts.path.rstrip('/')}-{REJECTS_FOLDER}").geturl())


LogLocation = InFiles | OnKafka


def log_location(text: str) -> LogLocation:
    """Return where the log is that a text names: a URL of Kafka, whether it is a right one or not, or a folder.

    >>> log_location("kafka://broker:9092/town"), log_location("kafka:town"), str(log_location("/data/log"))
    (OnKafka(url='kafka://broker:9092/town'), OnKafka(url='kafka:town'), '/data/log')
    """
    return OnKafka(text) if text.lower().startswith(KAFKA_SCHEME) else InFiles(Path(text))


def is_same_log(one: LogLocation, other: LogLocation) -> bool:
    """Return whether two name one log.

    >>> is_same_log(OnKafka("kafka://one:9092/town"), OnKafka("kafka://two:9092,one:9092/town?replicas=1"))
    True
    >>> is_same_log(OnKafka("kafka://one:9092/town"), InFiles(Path("/town")))
    False
    """
    match one, other:
        case OnKafka(), OnKafka():
            return one.prefix == other.prefix
        case _:
            return one == other


def log_store(location: LogLocation, *, segment_bytes: int, partition_count: int | None = None) -> LogStore:
    """Return the logs of a location, for those who own them.

    Args:
        location: of the logs.
        segment_bytes: when a file of the embedded log is full.
        partition_count: what a log on Kafka is created with; None leaves that to its URL.

    Raises:
        ValueError: its URL names what is wrong.
        ImportError: the Kafka client is not installed.
    """
    match location:
        case InFiles(directory):
            from actors.log.segments import SegmentSettings, SegmentStore

            return SegmentStore(directory, settings=SegmentSettings(segment_bytes=segment_bytes))
        case OnKafka(url):
            from actors.log.kafka import kafka_store

            return kafka_store(url, partition_count=partition_count)
        case _:
            assert_never(location)


def logs_beside_owner(location: LogLocation) -> ReadLogs:
    """Return what reads whole logs, partition after partition, without owning them; raises as `log_store` does."""
    match location:
        case InFiles(directory):
            from actors.log.reading import read_only_logs

            return partial(read_only_logs, directory)
        case OnKafka(url):
            from actors.log.kafka import kafka_store

            return kafka_store(url).read_only
        case _:
            assert_never(location)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReader:
    """Reads partitions' logs without owning them; nothing is created."""

    partitions: Callable[[], tuple[PartitionId, ...]]
    """Those that were ever written to."""
    read: Callable[[PartitionId, Offset], Iterator[StoredRecord]]
    """A partition's records from an offset on, or from where its log begins if that is later."""
    grown: Callable[[PartitionId, LogMark | None], tuple[int, LogMark]] | None = None
    """How much a partition has grown since a mark, without reading it; None where reading from there costs no more."""


def partition_reader(location: LogLocation) -> PartitionReader:
    """Return what reads single partitions of a location; raises as `log_store` does."""
    match location:
        case InFiles(directory):
            from actors.log.reading import grown_since, partitions_in, read_partition

            return PartitionReader(
                partitions=partial(partitions_in, directory),
                read=partial(read_partition, directory),
                grown=partial(grown_since, directory),
            )
        case OnKafka(url):
            from actors.log.kafka import kafka_store

            store = kafka_store(url)
            return PartitionReader(partitions=store.partitions, read=partial(_read_shared, store))
        case _:
            assert_never(location)


def _read_shared(store: LogStore, partition: PartitionId, start: Offset) -> Iterator[StoredRecord]:
    # Opening a log on Kafka writes nothing there, and nobody is kept out.
    with closing(store.open(partition)) as log:
        yield from log.read(max(start, log.first_offset))
