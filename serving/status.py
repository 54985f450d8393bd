"""What can go wrong with a request, and how each condition looks on the wire: one table, one place that sends it.

Every error that leaves Hearth carries a google.rpc.Status with an ErrorInfo (`reason`, domain "hearth"), with a
RetryInfo where sending it again makes sense, and with a BadRequest where the request itself is wrong.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

DOMAIN: Final = "hearth"
STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"

MESSAGE_LENGTH_MAX: Final = 1_024
"""Characters. Message and details travel in trailers, which clients cut off at 8 KiB by default."""
VIOLATION_COUNT_MAX: Final = 10


class Condition(Enum):
    """The ways in which a request fails; the name is the `reason` of its ErrorInfo."""

    INVALID_REQUEST = "INVALID_REQUEST"
    MALFORMED = "MALFORMED"
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    OVERLOADED = "OVERLOADED"
    NO_OWNER = "NO_OWNER"
    WRONG_OWNER = "WRONG_OWNER"
    SHARD_UNREACHABLE = "SHARD_UNREACHABLE"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    UNKNOWN_SERVICE = "UNKNOWN_SERVICE"
    NOT_LOCAL = "NOT_LOCAL"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a condition is answered."""

    code: grpc.StatusCode
    retry_after_ms: int | None
    """When to try again; None where the same request would fail again, or where the caller's own policy decides."""


ANSWERS: Final[dict[Condition, Answer]] = {
    Condition.INVALID_REQUEST: Answer(code=grpc.StatusCode.INVALID_ARGUMENT, retry_after_ms=None),
    Condition.MALFORMED: Answer(code=grpc.StatusCode.INVALID_ARGUMENT, retry_after_ms=None),
    Condition.REQUEST_TOO_LARGE: Answer(code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_ms=None),
    Condition.OVERLOADED: Answer(code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_ms=100),
    Condition.NO_OWNER: Answer(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=500),
    Condition.WRONG_OWNER: Answer(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=200),
    Condition.SHARD_UNREACHABLE: Answer(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=500),
    Condition.OUTCOME_UNKNOWN: Answer(code=grpc.StatusCode.UNAVAILABLE, retry_after_ms=200),
    Condition.DEADLINE_EXCEEDED: Answer(code=grpc.StatusCode.DEADLINE_EXCEEDED, retry_after_ms=None),
    Condition.UNKNOWN_SERVICE: Answer(code=grpc.StatusCode.NOT_FOUND, retry_after_ms=None),
    Condition.NOT_LOCAL: Answer(code=grpc.StatusCode.PERMISSION_DENIED, retry_after_ms=None),
    Condition.INTERNAL: Answer(code=grpc.StatusCode.INTERNAL, retry_after_ms=None),
}
"""Whatever has a delay is safe to send again: all that changes something is idempotent by request_id or event id."""

CODES: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}
"""Number on the wire → grpc.StatusCode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One mistake in a request."""

    field: str
    """Path in the request message, e.g. "signals[3].household"."""
    description: str
    """What is wrong and what would be right."""


class RequestFailed(Exception):
    """A request cannot be answered; carries the google.rpc.Status its caller gets.

    Attributes:
        status: code, message and details as they go on the wire.
    """

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC code of the status; UNKNOWN for a number that gRPC does not have."""
        return CODES.get(self.status.code, grpc.StatusCode.UNKNOWN)

    @property
    def reason(self) -> str:
        """The reason of its ErrorInfo; empty if it has none."""
        return reason_of(self.status)


class InvalidRequest(RequestFailed):
    """The request itself is wrong; sending it again would fail again."""

    def __init__(self, *violations: FieldViolation) -> None:
        assert violations, "an invalid request names what is wrong"
        super().__init__(status_of(Condition.INVALID_REQUEST, _summary(violations), violations=violations))


class RequestTooLarge(RequestFailed):
    """The request is over a limit of size; its parts would be accepted one by one."""

    def __init__(self, message: str) -> None:
        super().__init__(status_of(Condition.REQUEST_TOO_LARGE, message))


def failed(condition: Condition, message: str) -> RequestFailed:
    """Return the exception for a condition; the caller raises it."""
    return RequestFailed(status_of(condition, message))


def invalid(field: str, description: str) -> InvalidRequest:
    """Return the exception for one wrong field; the caller raises it."""
    return InvalidRequest(FieldViolation(field=field, description=description))


def overloaded(retry_after_ms: int) -> RequestFailed:
    """Return the exception for a call that is not let in since it could not be answered in time."""
    return RequestFailed(_overloaded_status(retry_after_ms))


@functools.lru_cache(maxsize=1_024)
def _overloaded_status(retry_after_ms: int) -> status_pb2.Status:
    # Made for thousands a second, when there is the least time for it.
    message = "more is asked than can be answered in time; nothing of this request was done: try again a little later"
    return status_of(Condition.OVERLOADED, message, retry_after_ms=retry_after_ms)


def status_of(
    condition: Condition,
    message: str,
    *,
    violations: Sequence[FieldViolation] = (),
    retry_after_ms: int | None = None,
) -> status_pb2.Status:
    """Return the google.rpc.Status of a condition; at most the first 10 violations and 1,024 characters of message.

    `retry_after_ms`: instead of that of the condition.
    """
    answer = ANSWERS[condition]
    retry_after_ms = answer.retry_after_ms if retry_after_ms is None else retry_after_ms
    status = status_pb2.Status(code=answer.code.value[0], message=shortened(message))
    if violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in violations[:VIOLATION_COUNT_MAX]:
            bad_request.field_violations.add(
                field=shortened(violation.field, 256), description=shortened(violation.description, 512)
            )
        status.details.add().Pack(bad_request)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=condition.value, domain=DOMAIN))
    if retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(retry_after_ms)
        status.details.add().Pack(retry)
    return status


def reason_of(status: status_pb2.Status) -> str:
    """Return the reason of a status' ErrorInfo, or an empty string.

    >>> reason_of(status_of(Condition.NO_OWNER, "partition 3 has no owner"))
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
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=error.code().value[0], message=error.details() or "")


async def abort(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> NoReturn:
    """End a call with a status, its details included (trailer `grpc-status-details-bin`).

    Raises:
        asyncio.CancelledError: the client has left meanwhile. That is no defect, and gRPC makes no traceback of it.
    """
    code = CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    try:
        await context.abort(code, status.message, trailers(status))
    except (grpc.aio.UsageError, grpc.aio.InternalError) as gone:
        if not has_left(context):
            raise
        raise asyncio.CancelledError from gone


def has_left(context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """Return whether a call has ended for its client, who then hears nothing of it any more."""
    return bool(context.done() or context.cancelled())


def set_status(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> None:
    """Say how a call ends, details included; it ends when its handler returns."""
    context.set_code(CODES.get(status.code, grpc.StatusCode.UNKNOWN))
    context.set_details(status.message)
    context.set_trailing_metadata(trailers(status))


def trailers(status: status_pb2.Status) -> tuple[tuple[str, bytes]]:
    """Return what carries a status' details."""
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
