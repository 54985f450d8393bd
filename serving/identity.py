"""What makes two requests under one request id the same: a hash of what they ask for.

Defined over the fields, not over serialized messages, whose bytes differ with versions and with the order of maps. It
is recorded: for what it covers by now it must stay the same for ever.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from google.protobuf.message import Message

from hearth.v1 import decision_pb2, delivery_pb2, signal_pb2

HASH_BYTES = 16


def decide_hash(request: decision_pb2.DecideRequest) -> bytes:
    """Return the hash of a Decide: household, member, channel, identifier, and its signals in order."""
    parts = [b"decide", *_texts(request.household, request.member, request.channel)]
    parts += _named(request.identifier)
    for signal in request.signals:
        parts += _signal(signal)
    return _hash(parts)


def report_hash(request: decision_pb2.ReportRequest) -> bytes:
    """Return the hash of a Report: household, member, channel, action, outcome, and the time it names, if any."""
    texts = _texts(request.household, request.member, request.channel, request.action_id, str(request.outcome))
    return _hash([b"report", *texts, _time(request), *_named(request.identifier)])


def ack_hash(request: delivery_pb2.AckRequest) -> bytes:
    """Return the hash of an Ack: household, action, channel, group, and whether it was delivered; not its detail."""
    texts = _texts(request.household, request.action_id, request.channel, request.group, str(request.delivered))
    return _hash([b"ack", *texts, *_named(request.identifier)])


def _signal(signal: signal_pb2.Signal) -> Iterator[bytes]:
    yield b"signal"
    yield from _texts(signal.event_id, signal.source, signal.type, signal.household, signal.member)
    yield from _named(signal.identifier)
    yield _time(signal)
    for name in sorted(signal.fields):
        value = signal.fields[name]
        kind = value.WhichOneof("kind")
        if kind is None:
            continue  # no value: as if the field were not there
        content = getattr(value, kind)
        yield from _texts("field", name, kind)
        yield struct.pack("<d", content) if kind == "number" else str(content).encode()


def _named(identifier: str) -> list[bytes]:
    """Return what an identifier adds; nothing where there is none."""
    return _texts("identifier", identifier) if identifier else []


def _time(message: Message) -> bytes:
    if not message.HasField("time"):
        return b""
    time = message.time  # type: ignore[attr-defined]
    return f"{time.seconds}.{time.nanos}".encode()


def _texts(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


def _hash(parts: Iterable[bytes]) -> bytes:
    """Hash parts so that no other parts have the same bytes."""
    digest = blake2b(digest_size=HASH_BYTES)
    for part in parts:
        digest.update(struct.pack("<q", len(part)))
        digest.update(part)
    return digest.digest()
