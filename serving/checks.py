"""What is wrong with a request, told field by field before anybody is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import pyarrow as pa

from hearth.v1 import decision_pb2
from household.events import LONGEST_KEY, RESERVED_TYPES
from household.graph.events import GRAPH_PREFIX
from household.graph.identifiers import normalised
from serving.access.principal import Principal
from serving.signal_batches import TYPE_BY_OUTCOME
from wire.batches import CHANNEL_COLUMN, MESSAGE_BYTES_MAX
from wire.failures import FieldViolation, InvalidRequest, RequestTooLarge

DECIDE_SIGNAL_COUNT_MAX: Final = 1_000
"""What came with a question must be folded within the question's deadline; more belongs into Ingest."""


def check(violations: Iterable[FieldViolation]) -> None:
    """Raise InvalidRequest if anything is wrong, with all of it."""
    if found := tuple(violations):
        raise InvalidRequest(*found)


def check_size(message: bytes, *, wrapping: int = 0) -> None:
    """Raise RequestTooLarge if a message has more bytes than one may have, those that wrap it left out."""
    if (byte_count := len(message) - wrapping) > MESSAGE_BYTES_MAX:
        text = f"the request has {byte_count:,} bytes; at most {MESSAGE_BYTES_MAX:,}: send smaller batches"
        raise RequestTooLarge(text)


def check_outcomes(batch: pa.RecordBatch, principal: Principal) -> None:
    """Refuse a gateway that tells, among its signals, what became of actions on channels that are not his.

    Raises:
        CallFailed: CHANNEL_NOT_PERMITTED.
    """
    types = batch.column("type")
    known = types.dictionary if pa.types.is_dictionary(types.type) else types.unique()
    if not any(name in RESERVED_TYPES for name in known.to_pylist()):
        return
    is_told = CHANNEL_COLUMN in batch.schema.names
    channels = batch.column(CHANNEL_COLUMN).to_pylist() if is_told else [None] * batch.num_rows
    told = {channel or "" for name, channel in zip(types.to_pylist(), channels, strict=True) if name in RESERVED_TYPES}
    principal.check_channels(*sorted(told))


def key_violations(**keys: str) -> Iterator[FieldViolation]:
    """Yield what is wrong with keys, by the names of their fields: each has to be given."""
    for name, key in keys.items():
        length = len(key.encode())
        if not 1 <= length <= LONGEST_KEY:
            what = "is missing" if length == 0 else f"has {length} bytes"
            yield FieldViolation(field=name, description=f"{what}; wanted 1..{LONGEST_KEY} bytes")


def text_violations(**texts: str) -> Iterator[FieldViolation]:
    """Yield what is wrong with texts, by the names of their fields: each may be left out."""
    for name, text in texts.items():
        if (length := len(text.encode())) > LONGEST_KEY:
            yield FieldViolation(field=name, description=f"has {length} bytes; wanted at most {LONGEST_KEY}")


class NamesHousehold(Protocol):
    """A request about one household: named by its key, or by an identifier."""

    household: str
    identifier: str


def whose_violations(request: NamesHousehold, member: str = "") -> Iterator[FieldViolation]:
    """Yield what is wrong with how a request names its household; `member`: as it names one besides."""
    identifier, household = request.identifier, request.household
    if not identifier:
        yield from key_violations(household=household)
        return
    if household:
        text = "is given beside a household; name one of the two"
        yield FieldViolation(field="identifier", description=text)
    elif normalised(identifier) is None:
        text = f"{identifier[:100]!r} is not kind:value, for example msisdn:+447700900123"
        yield FieldViolation(field="identifier", description=text)
    if member:
        text = "is given beside an identifier, which says who it is; leave it empty"
        yield FieldViolation(field="member", description=text)


def write_out(request: NamesHousehold) -> None:
    """Let a checked request name its identifier as it is always written."""
    if request.identifier:
        request.identifier = normalised(request.identifier) or request.identifier


def decide_violations(request: decision_pb2.DecideRequest) -> Iterator[FieldViolation]:
    """Yield what is wrong with a question."""
    yield from key_violations(request_id=request.request_id)
    yield from whose_violations(request, request.member)
    yield from key_violations(channel=request.channel)
    yield from text_violations(member=request.member)
    asked = normalised(request.identifier)
    if (count := len(request.signals)) > DECIDE_SIGNAL_COUNT_MAX:
        text = f"{count:,} signals; at most {DECIDE_SIGNAL_COUNT_MAX:,} come with a question: send them by Ingest"
        yield FieldViolation(field="signals", description=text)
        return
    for index, signal in enumerate(request.signals):
        if signal.type.startswith(GRAPH_PREFIX):
            text = "is a graph event: it does not come with a question, send it by Ingest"
            yield FieldViolation(field=f"signals[{index}].type", description=text)
        if asked is not None and not signal.household and normalised(signal.identifier) == asked:
            continue
        if asked is not None:
            text = "does not name the identifier of the question alone; wanted the same: send others by Ingest"
            yield FieldViolation(field=f"signals[{index}].identifier", description=text)
        elif signal.household != request.household:
            text = "names another household than the question; wanted the same: send others by Ingest"
            yield FieldViolation(field=f"signals[{index}].household", description=text)


def outcome_violations(outcome: int) -> Iterator[FieldViolation]:
    """Yield what is wrong with an outcome."""
    if outcome not in TYPE_BY_OUTCOME:
        wanted = ", ".join(decision_pb2.Outcome.Name(known) for known in TYPE_BY_OUTCOME)
        yield FieldViolation(field="outcome", description=f"is {outcome}; wanted one of {wanted}")
