"""From messages to signals: serialized ones as they are, JSON and msgpack by the sections of a mapping."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from hearth.v1 import signal_pb2
from intake.capture.ports import Decoded, Decoder, Message, SourcePartition, UnreadableMessage
from intake.capture.settings import CaptureSettings
from intake.reading.json_file import SHOWN_LENGTH_MAX, Flat, RowWrong, event_of
from intake.reading.json_text import JsonObject, object_of, text_of_cell
from intake.reading.mapping import FileMapping, MappingInvalid, load_mapping
from intake.reading.mapping import Mapping as MessageMapping
from intake.reading.rows import Chunk
from intake.reading.rows import UnreadableRow as NoSignal
from intake.reading.signals import FieldTypes, FileMapper, Mapped, schema_of, shortened_id
from intake.request import request_of
from wire.rejects import OutsideReason


def decoder_of(settings: CaptureSettings, *, now: datetime) -> Decoder:
    """Return what reads this connector's messages; `now` is what a mapping means by that word.

    Raises:
        MappingInvalid: there is no such mapping, or it does not suit topics.
    """
    if settings.format == "protobuf":
        return SignalDecoder()
    mapping = load_mapping(settings.mapping, now=now)
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
                    UnreadableMessage(
                        message=message, reason=OutsideReason.UNREADABLE, detail=f"not a hearth.v1.Signal: {wrong}"
                    )
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
        unreadable: list[UnreadableMessage] = []
        read: dict[SourcePartition, Found] = {}
        for message in messages:
            try:
                is_cloudevents = self._mapper(message.source_partition).section.format == "cloudevents"
                flat = self.read(message.value or b"", is_cloudevents)
            except RowWrong as wrong:
                unreadable.append(
                    UnreadableMessage(message=message, reason=OutsideReason.UNREADABLE, detail=str(wrong))
                )
            else:
                read.setdefault(message.source_partition, {})[message.offset] = message, flat
        tables = []
        for source_partition, found in read.items():
            for mapped in _mapped(self._mapper(source_partition), found):
                tables.append(mapped.signals)
                unreadable += [
                    UnreadableMessage(message=found[row.row][0], reason=OutsideReason.UNREADABLE, detail=row.why)
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
        return event_of(value.decode("utf-8-sig"), is_cloudevents=is_cloudevents)
    except (UnicodeDecodeError, RecursionError) as wrong:
        raise RowWrong(f"not valid JSON: {wrong}") from wrong


def _read_msgpack(value: bytes, is_cloudevents: bool) -> Flat:
    try:
        content = msgpack.unpackb(value, timestamp=3, object_pairs_hook=_map_of, ext_hook=_unknown_extension)
        return event_of(content, is_cloudevents=is_cloudevents)
    except RowWrong:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as wrong:
        raise RowWrong(f"not a msgpack map: {wrong}") from wrong


def _map_of(pairs: list[tuple[Any, Any]]) -> JsonObject:
    for name, _ in pairs:
        if not isinstance(name, str):
            raise ValueError(f"the key {ascii(name)[:SHOWN_LENGTH_MAX]} is no text")
    return object_of(pairs)


def _unknown_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code} is not known: {len(data)} bytes")


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
