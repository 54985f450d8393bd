"""Capture connectors composed: what operators' messages mean by a mapping, Kafka behind a port, and the settings.

The connector itself is actors/capture.py. Messages are read here because mappings are: actors may not know cluster/.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import grpc
import msgpack
import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from actors.capture import (
    UNREADABLE,
    CaptureFailed,
    CaptureLimits,
    CommitFailed,
    Connector,
    Decoded,
    Decoder,
    Message,
    SourcePartition,
    Unreadable,
)
from cluster.errors import CommandFailed, UsageWrong
from cluster.reading.json_file import Flat, RowWrong, event_of, text_of_cell
from cluster.reading.mapping import FileMapping, MappingInvalid, load_mapping
from cluster.reading.mapping import Mapping as MessageMapping
from cluster.reading.request import request_of
from cluster.reading.rows import Chunk
from cluster.reading.rows import Unreadable as NoSignal
from cluster.reading.signals import FieldTypes, FileMapper, Mapped, schema_of, shortened_id
from cluster.reading.yaml_file import read_yaml
from hearth.v1 import signal_pb2
from playbooks.diagnostics import PlaybookInvalid

MessageFormat = Literal["json", "msgpack", "protobuf"]

MESSAGE_FORMATS = ("json", "msgpack", "protobuf")

OURS = {
    "bootstrap.servers": "bootstrap",
    "group.id": "group",
    "group.instance.id": "member",
    "enable.auto.commit": "",
    "enable.auto.offset.store": "",
    "auto.offset.reset": "",
    "enable.partition.eof": "",
    "partition.assignment.strategy": "",  # rebalances are answered as the eager ones are
    "group.protocol": "",
}
"""Settings of the Kafka client that are not to be given as such, and the setting that says it instead, if any."""

PREFETCH_KIB = 16_384
SESSION_TIMEOUT_MS = 10_000
"""A connector that was killed is missed after so long; under a member name its successor is taken in at once."""

COMMITTED_WITHIN_S = 5.0
RECONNECT_MS_MAX = 2_000


class CaptureSettings(BaseModel):
    """One connector: which topics, by what mapping, as which member of which group."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    topics: Annotated[tuple[str, ...], Field(min_length=1)]
    """A name that begins with ^ is a pattern."""
    bootstrap: Annotated[str, Field(min_length=1)]
    """HOST:PORT of brokers, with commas."""
    format: MessageFormat = "json"
    mapping: str = ""
    """Mapping file; its patterns are matched with topics. Needed unless messages are protobuf."""
    group: Annotated[str, Field(min_length=1)] = "hearth"
    """Consumer group; its committed offsets say from where to go on."""
    member: str = ""
    """Name of this connector within the group, if it is to keep its partitions across a restart."""
    kafka: dict[str, str | int | bool] = Field(default_factory=dict)
    """More settings of the Kafka client, such as those for TLS and SASL."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.format == "protobuf") == bool(self.mapping):
            raise ValueError(
                "`mapping` says what json and msgpack messages mean; protobuf messages are signals already"
            )
        for name in self.kafka:
            if name in OURS:
                instead = f"; say it with `{OURS[name]}`" if OURS[name] else ""
                raise ValueError(f"kafka: {name} is not to be set{instead}")
        return self


def load_connectors(path: Path) -> list[CaptureSettings]:
    """Return the connectors that a YAML file lists under `connectors`.

    Raises:
        UsageWrong: it cannot be read, or says something that cannot be.
    """
    try:
        content = read_yaml(path, name=str(path), example="connectors:")
    except (OSError, PlaybookInvalid) as failed:
        raise UsageWrong(f"connectors cannot be read from {path}: {'; '.join(str(failed).splitlines())}") from failed
    entries = content.get("connectors") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UsageWrong(f"{path} must begin with `connectors:`, a list; docs/capture.md shows one")
    found = [checked_settings(f"{path}: connectors.{index}", entry) for index, entry in enumerate(entries)]
    return [_with_mapping_beside(settings, path.absolute().parent) for settings in found]


def _with_mapping_beside(settings: CaptureSettings, folder: Path) -> CaptureSettings:
    """Return them with the mapping file that lies where the connectors' file does, if one does."""
    beside = folder / settings.mapping
    return settings.model_copy(update={"mapping": str(beside)}) if beside.is_file() else settings


def checked_settings(where: str, given: object) -> CaptureSettings:
    """Return the settings.

    Raises:
        UsageWrong: something is wrong with them; says what and where.
    """
    try:
        return CaptureSettings.model_validate(given)
    except ValidationError as wrong:
        told = [
            ".".join([where, *map(str, error["loc"])]) + ": " + error["msg"].removeprefix("Value error, ")
            for error in wrong.errors()
        ]
        raise UsageWrong("; ".join(told)) from wrong


@contextmanager
def connector(settings: CaptureSettings, target: str, *, limits: CaptureLimits | None = None) -> Iterator[Connector]:
    """Yield a connector, ready to run; neither Kafka nor Hearth needs to be there yet.

    Raises:
        UsageWrong: the mapping does not fit, or the Kafka client refuses its settings or is not installed.
    """
    decoder = decoder_of(settings)
    source = KafkaSource(settings)
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX)]
    with grpc.insecure_channel(target, options=options) as channel:
        yield Connector(source, decoder, channel, limits=limits)


class CaptureActor:
    """One connector that runs in a thread of its own, from when it is made until it is stopped or fails."""

    def __init__(self, settings: CaptureSettings, target: str) -> None:
        self._settings, self._target = settings, target
        self._is_stopping = threading.Event()
        self._status: dict[str, object] = {"topics": list(settings.topics), "state": "starting"}
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def status(self) -> dict[str, object]:
        """Return how far it is and what is wrong; `state` is starting, running, stopped or failed."""
        if not self._thread.is_alive() and self._status["state"] not in ("stopped", "failed"):
            # A defect: what it was stands in the log of this process.
            return self._status | {"state": "failed", "trouble": "the connector's thread has ended"}
        return dict(self._status)

    def stop(self) -> dict[str, object]:
        """Let what is under way be acknowledged and commit it; return the last status. Twice is as once."""
        self._is_stopping.set()
        self._thread.join()
        return self.status()

    def _run(self) -> None:
        try:
            with connector(self._settings, self._target) as found:
                found.run(self._is_stopping.is_set, self._note)
                self._note(found, state="stopped")
        except (CaptureFailed, CommandFailed) as failed:
            self._status = self._status | {"state": "failed", "trouble": str(failed)}

    def _note(self, found: Connector, state: str = "running") -> None:
        # The client is this thread's: others are told what it saw last.
        lag = found.lag if state == "running" else self._status.get("lag")
        gone = {"lag": lag, "gone": found.gone_count, "waiting": found.waiting, "trouble": found.trouble}
        self._status = {"topics": list(self._settings.topics), "state": state, **found.tally.as_dict(), **gone}


# --- from messages to signals ----------------------------------------------------------------------------------------


def decoder_of(settings: CaptureSettings) -> Decoder:
    """Return what reads this connector's messages.

    Raises:
        MappingInvalid: there is no such mapping, or it does not suit topics.
    """
    if settings.format == "protobuf":
        return SignalDecoder()
    mapping = load_mapping(settings.mapping)
    for topic in settings.topics:
        if not topic.startswith("^"):
            mapping.section_for(Path(topic))
    read = _read_json if settings.format == "json" else _read_msgpack
    return MappedDecoder(mapping, read)


def derived_id(message: Message) -> str:
    """Return the id of an event that brought none: its place, which no other has."""
    return shortened_id(f"{message.topic}/{message.partition}:{message.offset}")


class SignalDecoder:
    """Messages that are serialized hearth.v1.Signal."""

    def decode(self, messages: Sequence[Message]) -> Decoded:
        """Return them as they are, with ids where there were none."""
        signals, unreadable = [], []
        for message in messages:
            try:
                signal = signal_pb2.Signal.FromString(message.value or b"")
            except DecodeError as wrong:
                unreadable.append(
                    Unreadable(message=message, reason=UNREADABLE, detail=f"not a hearth.v1.Signal: {wrong}")
                )
                continue
            signal.event_id = signal.event_id or derived_id(message)
            signals.append(signal)
        request = signal_pb2.IngestRequest(signals=signals) if signals else None
        return Decoded(request=request, signal_count=len(signals), unreadable=tuple(unreadable))


@dataclass(slots=True)
class MappedDecoder:
    """Messages that are maps of names to values, by the sections of a mapping."""

    mapping: MessageMapping
    read: Callable[[bytes, bool], Flat]
    """From a message's bytes, and whether it is a CloudEvent."""
    fields: FieldTypes = field(init=False)
    _mappers: dict[SourcePartition, FileMapper] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fields = {}
        for section in self.mapping.files:
            if isinstance(section.fields, str):
                raise MappingInvalid(
                    f"mapping {self.mapping.name}: a topic cannot be looked through first, so `fields` must name "
                    f"each field and its type (section {section.match})"
                )
            for name, source in section.fields.items():
                if self.fields.setdefault(name, source.type) != source.type:
                    raise MappingInvalid(f"mapping {self.mapping.name}: field {name} has two types; give it one")

    def decode(self, messages: Sequence[Message]) -> Decoded:
        """Return the signals of those that fit the mapping."""
        unreadable: list[Unreadable] = []
        read: dict[SourcePartition, Found] = {}
        for message in messages:
            try:
                is_cloudevents = self._mapper(message.source_partition).section.format == "cloudevents"
                flat = self.read(message.value or b"", is_cloudevents)
            except RowWrong as wrong:
                unreadable.append(Unreadable(message=message, reason=UNREADABLE, detail=str(wrong)))
            else:
                read.setdefault(message.source_partition, {})[message.offset] = message, flat
        tables = []
        for source_partition, found in read.items():
            for mapped in _mapped(self._mapper(source_partition), found):
                tables.append(mapped.signals)
                unreadable += [
                    Unreadable(message=found[row.row][0], reason=UNREADABLE, detail=row.why)
                    for row in mapped.unreadable
                ]
        signal_count = sum(table.num_rows for table in tables)
        request = request_of(pa.concat_tables(tables).combine_chunks()) if signal_count else None
        return Decoded(request=request, signal_count=signal_count, unreadable=tuple(unreadable))

    def _mapper(self, source_partition: SourcePartition) -> FileMapper:
        found = self._mappers.get(source_partition)
        if found is None:
            topic, partition = source_partition
            # As a file of that name: an event without id gets the one that `derived_id` gives.
            found = self._mappers[source_partition] = FileMapper(
                file=f"{topic}/{partition}",
                folder=topic,
                file_index=0,
                section=self.mapping.section_for(Path(topic)),
                fields=self.fields,
            )
        return found


def _read_json(value: bytes, is_cloudevents: bool) -> Flat:
    try:
        return event_of(value.decode(), is_cloudevents=is_cloudevents)
    except (UnicodeDecodeError, RecursionError) as wrong:
        raise RowWrong(f"not valid JSON: {wrong}") from wrong


def _read_msgpack(value: bytes, is_cloudevents: bool) -> Flat:
    try:
        return event_of(msgpack.unpackb(value, timestamp=3), is_cloudevents=is_cloudevents)
    except RowWrong:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as wrong:
        raise RowWrong(f"not a msgpack map: {wrong}") from wrong


Found = dict[int, tuple[Message, Flat]]
"""By offset, in order."""


def _mapped(mapper: FileMapper, found: Found) -> Iterator[Mapped]:
    """Yield what messages of one source partition come to."""
    try:
        yield mapper.map(_chunk(mapper.section, found))
    except (pa.ArrowException, ValueError, OverflowError) as wrong:
        # A value that no column can take would stop its whole partition for ever: find it, and keep it as a reject.
        if len(found) > 1:
            for offset, one in found.items():
                yield from _mapped(mapper, {offset: one})
        else:
            (offset,) = found
            row = NoSignal(file=mapper.file, row=offset, line=0, why=f"cannot be mapped: {wrong}", text="")
            yield Mapped(schema_of(mapper.fields).empty_table(), (row,))


def _chunk(section: FileMapping, found: Found) -> Chunk:
    """Return the columns that the mapping uses, all as text.

    A column's own type would depend on what else happens to stand in the batch, and so would a message's meaning.
    """
    return Chunk(
        columns={
            name: pa.array([text_of_cell(flat.get(name)) for _, flat in found.values()], pa.string())
            for name in section.columns_used()
        },
        rows=np.fromiter(found, np.int64, len(found)),
        lines=np.zeros(len(found), np.int64),
        unreadable=(),
        bytes_done=0,
    )


# --- Kafka -----------------------------------------------------------------------------------------------------------


class KafkaSource:
    """Topics of a Kafka cluster, read as a member of a consumer group: these are the operator's, not Hearth's logs."""

    def __init__(self, settings: CaptureSettings) -> None:
        try:
            import confluent_kafka
        except ImportError as missing:
            raise UsageWrong("capture needs the Kafka client: install hearth[kafka]") from missing
        self._kafka = confluent_kafka
        self.trouble = ""
        try:
            self._consumer = confluent_kafka.Consumer(_client_settings(settings) | {"error_cb": self._note})
        except (confluent_kafka.KafkaException, ValueError, TypeError) as wrong:
            raise UsageWrong(f"the Kafka client refuses its settings: {wrong}") from wrong
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
