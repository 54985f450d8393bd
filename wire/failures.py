"""How a call can fail, and how each failure looks on the wire: one table, one place that packs it.

Every error that leaves Hearth carries a google.rpc.Status with an ErrorInfo (`reason`, domain "hearth"), with a
RetryInfo where sending it again makes sense, and with a BadRequest where the request itself is wrong. What a shard
answers an edge is such a status, too, and goes on to the caller unread.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

Trailers: TypeAlias = tuple[tuple[str, bytes]]
"""What carries a status' details."""

DOMAIN: Final = "hearth"
STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"
"""Trailing metadata that carries a google.rpc.Status."""

MESSAGE_LENGTH_MAX: Final = 1_024
"""Characters. Message and details travel in trailers, which clients cut off at 8 KiB by default."""
VIOLATION_COUNT_MAX: Final = 10


class Failure(Enum):
    """The ways in which a call fails."""

    INVALID_REQUEST = auto()
    MALFORMED = auto()
    REQUEST_TOO_LARGE = auto()
    REQUEST_ID_REUSED = auto()
    UNKNOWN_CHANNEL = auto()
    CHANNEL_NOT_INBOUND = auto()
    UNKNOWN_GROUP = auto()
    BAD_CALL = auto()
    """A call between us that is not the message of its method."""
    BAD_BATCH = auto()
    """A signal batch that an edge would not have made."""
    UNKNOWN_METHOD = auto()
    UNKNOWN_SERVICE = auto()
    NOT_LOCAL = auto()
    NO_CREDENTIALS = auto()
    TOKEN_INVALID = auto()
    """No JWT, not signed in a way that counts, by none of the issuer's keys, or without what it must say."""
    TOKEN_EXPIRED = auto()
    TOKEN_OF_ANOTHER_ISSUER = auto()
    TOKEN_FOR_ANOTHER_AUDIENCE = auto()
    CERTIFICATE_EXPIRED = auto()
    CERTIFICATE_REVOKED = auto()
    KEYS_UNAVAILABLE = auto()
    """The issuer's keys cannot be fetched, so nobody can be known by a token."""
    UNKNOWN_CALLER = auto()
    """A sound certificate whose subject no access rule names."""
    ROLE_NOT_PERMITTED = auto()
    CHANNEL_NOT_PERMITTED = auto()
    CALLER_OVER_LIMIT = auto()
    """One caller asks for more than his share."""
    AUDIT_UNAVAILABLE = auto()
    """What leaves a trace is not done without it."""
    WRONG_INSTALLATION = auto()
    """Between us: whoever calls a shard does not know the secret of its installation."""
    WIRE_TOO_NEW = auto()
    """Between us: whoever calls a shard speaks a later version than it knows."""
    OVERLOADED = auto()
    SIGNALS_WAITING = auto()
    """A partition has as many of them as it may hold."""
    NO_OWNER = auto()
    WRONG_OWNER = auto()
    """What a gateway hears of it: a matter of waiting."""
    NOT_OWNED_HERE = auto()
    """What an edge hears of it: it asks the coordinator, and another shard."""
    MOVED = auto()
    """What an edge hears of a household that lies in another partition, which the metadata name: it asks there."""
    ON_ITS_WAY = auto()
    """What a gateway hears of a household that is changing its partition: a matter of waiting."""
    LEASE_EXPIRED = auto()
    CLOCK_UNCONFIRMED = auto()
    PARTITION_UNAVAILABLE = auto()
    SHARD_UNREACHABLE = auto()
    OUTCOME_UNKNOWN = auto()
    DEADLINE_EXCEEDED = auto()
    NO_SNAPSHOTS = auto()
    NO_REJECTS = auto()
    SNAPSHOT_FAILED = auto()
    PLACEMENT_REFUSED = auto()
    """What is asked of the placement of partitions cannot be."""
    PLAYBOOK_REFUSED = auto()
    """What is asked of the playbook cannot be, or not by whoever asks."""
    NO_COORDINATOR = auto()
    """Whoever places partitions cannot be asked at present; nobody else needs it."""
    INTERNAL = auto()

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC code it travels under."""
        return STATUS_BY_FAILURE[self].code

    @property
    def number(self) -> int:
        """The same as a number."""
        return int(self.code.value[0])

    @property
    def reason(self) -> str:
        """The `reason` of its ErrorInfo, for programs."""
        return STATUS_BY_FAILURE[self].reason or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureStatus:
    """How a failure looks on the wire."""

    code: grpc.StatusCode
    retry_after_ms: int | None = None
    """When to try again; None where the same request would fail again, or where the caller's own policy decides."""
    reason: str = ""
    """Empty for the failure's own name. Two that differ only between us have one reason outside."""


STATUS_BY_FAILURE: Final[Mapping[Failure, FailureStatus]] = {
    Failure.INVALID_REQUEST: FailureStatus(code=grpc.StatusCode.INVALID_ARGUMENT),
    Failure.MALFORMED: FailureStatus(code=grpc.StatusCode.INVALID_ARGUMENT),
    Failure.REQUEST_TOO_LARGE: FailureStatus(code=grpc.StatusCode.RESOURCE_EXHAUSTED),
    Failure.REQUEST_ID_REUSED: FailureStatus(code=grpc.StatusCode.INVALID_ARGUMENT),
    Failure.UNKNOWN_CHANNEL: FailureStatus(code=grpc.StatusCode.INVALID_ARGUMENT),
    Failure.CHANNEL_NOT_INBOUND: FailureStatus(code=grpc.StatusCode.INVALID_ARGUMENT),
    Failure.UNKNOWN_GROUP: FailureStatus(code=grpc.StatusCode.INVALID_ARGUMENT),
    Failure.BAD_CALL: FailureStatus(code=grpc.StatusCode.INVALID_ARGUMENT),
    Failure.BAD_BATCH: FailureStatus(code=grpc.StatusCode.INVALID_ARGUMENT),
    Failure.UNKNOWN_METHOD: FailureStatus(code=grpc.StatusCode.UNIMPLEMENTED),
    Failure.UNKNOWN_SERVICE: FailureStatus(code=grpc.StatusCode.NOT_FOUND),
    Failure.NOT_LOCAL: FailureStatus(code=grpc.StatusCode.PERMISSION_DENIED),
    Failure.NO_CREDENTIALS: FailureStatus(code=grpc.StatusCode.UNAUTHENTICATED),
    Failure.TOKEN_INVALID: FailureStatus(code=grpc.StatusCode.UNAUTHENTICATED),
    Failure.TOKEN_EXPIRED: FailureStatus(code=grpc.StatusCode.UNAUTHENTICATED),
    Failure.TOKEN_OF_ANOTHER_ISSUER: FailureStatus(code=grpc.StatusCode.UNAUTHENTICATED),
    Failure.TOKEN_FOR_ANOTHER_AUDIENCE: FailureStatus(code=grpc.StatusCode.UNAUTHENTICATED),
    Failure.CERTIFICATE_EXPIRED: FailureStatus(code=grpc.StatusCode.UNAUTHENTICATED),
    Failure.CERTIFICATE_REVOKED: FailureStatus(code=grpc.StatusCode.UNAUTHENTICATED),
    Failure.KEYS_UNAVAILABLE: FailureStatus(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=5_000),
    Failure.UNKNOWN_CALLER: FailureStatus(code=grpc.StatusCode.PERMISSION_DENIED),
    Failure.ROLE_NOT_PERMITTED: FailureStatus(code=grpc.StatusCode.PERMISSION_DENIED),
    Failure.CHANNEL_NOT_PERMITTED: FailureStatus(code=grpc.StatusCode.PERMISSION_DENIED),
    Failure.CALLER_OVER_LIMIT: FailureStatus(code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_ms=100),
    Failure.AUDIT_UNAVAILABLE: FailureStatus(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=1_000),
    Failure.WRONG_INSTALLATION: FailureStatus(code=grpc.StatusCode.UNAUTHENTICATED),
    Failure.WIRE_TOO_NEW: FailureStatus(code=grpc.StatusCode.FAILED_PRECONDITION),
    Failure.OVERLOADED: FailureStatus(code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_ms=100),
    Failure.SIGNALS_WAITING: FailureStatus(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_ms=200, reason="OVERLOADED"
    ),
    Failure.NO_OWNER: FailureStatus(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=500),
    Failure.WRONG_OWNER: FailureStatus(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=200),
    Failure.NOT_OWNED_HERE: FailureStatus(code=grpc.StatusCode.FAILED_PRECONDITION, reason="WRONG_OWNER"),
    Failure.MOVED: FailureStatus(code=grpc.StatusCode.FAILED_PRECONDITION),
    Failure.ON_ITS_WAY: FailureStatus(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=100),
    Failure.LEASE_EXPIRED: FailureStatus(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=500),
    Failure.CLOCK_UNCONFIRMED: FailureStatus(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=500),
    Failure.PARTITION_UNAVAILABLE: FailureStatus(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=500),
    Failure.SHARD_UNREACHABLE: FailureStatus(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=500),
    Failure.OUTCOME_UNKNOWN: FailureStatus(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=200),
    Failure.DEADLINE_EXCEEDED: FailureStatus(code=grpc.StatusCode.DEADLINE_EXCEEDED),
    Failure.NO_SNAPSHOTS: FailureStatus(code=grpc.StatusCode.FAILED_PRECONDITION),
    Failure.NO_REJECTS: FailureStatus(code=grpc.StatusCode.FAILED_PRECONDITION),
    Failure.SNAPSHOT_FAILED: FailureStatus(code=grpc.StatusCode.INTERNAL),
    Failure.PLACEMENT_REFUSED: FailureStatus(code=grpc.StatusCode.FAILED_PRECONDITION),
    Failure.PLAYBOOK_REFUSED: FailureStatus(code=grpc.StatusCode.FAILED_PRECONDITION),
    Failure.NO_COORDINATOR: FailureStatus(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=1_000),
    Failure.INTERNAL: FailureStatus(code=grpc.StatusCode.INTERNAL),
}
"""Whatever has a delay is safe to send again: all that changes something is idempotent by request_id or event id."""
assert STATUS_BY_FAILURE.keys() == set(Failure), "a failure without its row"

CODES: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}
"""Number on the wire → grpc.StatusCode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One mistake in a request."""

    field: str
    """Path in the request message, e.g. "signals[3].household"."""
    description: str
    """What is wrong and what would be right."""


class CallFailed(Exception):
    """A call cannot be answered; carries the google.rpc.Status its caller gets.

    Attributes:
        status: code, message and details as they go on the wire. A gateway sees it: no household key belongs in it.
    """

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC code of the status; UNKNOWN for a number that gRPC does not have."""
        return code_of(self.status)

    @property
    def reason(self) -> str:
        """The reason of its ErrorInfo; empty if it has none."""
        return reason_of(self.status)


class InvalidRequest(CallFailed):
    """The request itself is wrong; sending it again would fail again."""

    def __init__(self, *violations: FieldViolation) -> None:
        assert violations, "an invalid request names what is wrong"
        super().__init__(status_of(Failure.INVALID_REQUEST, _summary(violations), violations=violations))


class RequestTooLarge(CallFailed):
    """The request is over a limit of size; its parts would be accepted one by one."""

    def __init__(self, message: str) -> None:
        super().__init__(status_of(Failure.REQUEST_TOO_LARGE, message))


def failed(
    failure: Failure,
    message: str,
    *,
    violations: Sequence[FieldViolation] = (),
    metadata: Mapping[str, str] | None = None,
) -> CallFailed:
    """Return the exception for a failure, with what `status_of` makes of it; the caller raises it."""
    return CallFailed(status_of(failure, message, violations=violations, metadata=metadata))


def invalid(field: str, description: str) -> InvalidRequest:
    """Return the exception for one wrong field; the caller raises it."""
    return InvalidRequest(FieldViolation(field=field, description=description))


def overloaded(retry_after_ms: int) -> CallFailed:
    """Return the exception for a call that is not let in since it could not be answered in time."""
    return CallFailed(_overloaded_status(retry_after_ms))


@functools.lru_cache(maxsize=1_024)
def overloaded_end(retry_after_ms: int) -> tuple[int, str, Trailers]:
    """Return code, message and trailers of such a call: as gRPC sends them, for those that are refused unread."""
    status = _overloaded_status(retry_after_ms)
    return status.code, status.message, trailers(status)


@functools.lru_cache(maxsize=1_024)
def _overloaded_status(retry_after_ms: int) -> status_pb2.Status:
    # Made for thousands a second, when there is the least time for it.
    message = "more is asked than can be answered in time; nothing of this request was done: try again a little later"
    return status_of(Failure.OVERLOADED, message, retry_after_ms=retry_after_ms)


def status_of(
    failure: Failure,
    message: str,
    *,
    violations: Sequence[FieldViolation] = (),
    metadata: Mapping[str, str] | None = None,
    retry_after_ms: int | None = None,
) -> status_pb2.Status:
    """Return the google.rpc.Status of a failure.

    Args:
        failure: says code, reason and when to try again.
        message: for people; its first 1,024 characters are told.
        violations: what is wrong with the request's fields; the first 10 are told.
        metadata: what it concerns, e.g. {"partition": "3"}.
        retry_after_ms: instead of the failure's own.
    """
    row = STATUS_BY_FAILURE[failure]
    retry_after_ms = row.retry_after_ms if retry_after_ms is None else retry_after_ms
    status = status_pb2.Status(code=failure.number, message=shortened(message))
    if violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in violations[:VIOLATION_COUNT_MAX]:
            bad_request.field_violations.add(
                field=shortened(violation.field, 256), description=shortened(violation.description, 512)
            )
        status.details.add().Pack(bad_request)
    info = error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=metadata or {})
    status.details.add().Pack(info)
    if retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(retry_after_ms)
        status.details.add().Pack(retry)
    return status


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """Return the gRPC code of a status; UNKNOWN for a number that gRPC does not have."""
    return CODES.get(status.code, grpc.StatusCode.UNKNOWN)


def moved_to(status: status_pb2.Status) -> int | None:
    """Return the partition that a status of MOVED names; None for any other status."""
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.reason == Failure.MOVED.reason:
            return int(info.metadata["partition"])
    return None


def reason_of(status: status_pb2.Status) -> str:
    """Return the reason of a status' ErrorInfo, or an empty string.

    >>> reason_of(status_of(Failure.NO_OWNER, "partition 3 has no owner"))
    'NO_OWNER'
    """
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            return str(info.reason)
    return ""


def told_status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """Return the status that a server attached to its refusal; without details if it attached none."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def trailers(status: status_pb2.Status) -> Trailers:
    """Return what carries a status' details behind an answer."""
    return ((STATUS_DETAILS_KEY, status.SerializeToString()),)


def shortened(text: str, length_max: int = MESSAGE_LENGTH_MAX) -> str:
    """Return text, cut to a length with a sign that it was.

    >>> shortened("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


def _summary(violations: Sequence[FieldViolation]) -> str:
    first = f"{violations[0].field}: {violations[0].description}"
    return first if len(violations) == 1 else f"{first} (and {len(violations) - 1} more)"
