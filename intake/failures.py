"""What a call to Hearth that failed says: its code, what Hearth told with it, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

if TYPE_CHECKING:
    from google.protobuf import any_pb2
    from google.rpc import status_pb2

PASSING: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        # Not by whoever is told so: gRPC ends calls unread that arrive as their server stops, or that are too many.
        grpc.StatusCode.CANCELLED,
    }
)
"""How calls end that the same call made again may not."""


def code_of(failed: grpc.RpcError) -> grpc.StatusCode:
    """Return how a call ended."""
    call = _as_call(failed)
    return call.code() if call is not None else grpc.StatusCode.UNKNOWN


def code_and_details(failed: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Return how a call ended and what was said of it."""
    call = _as_call(failed)
    return (call.code(), call.details() or "") if call is not None else (grpc.StatusCode.UNKNOWN, str(failed))


def _as_call(failed: grpc.RpcError) -> grpc.Call | None:
    # grpc's errors are calls as well; their types do not say so.
    error: object = failed
    return error if isinstance(error, grpc.Call) else None


def told_of(failed: grpc.RpcError, *, doing: str, target: str) -> str:
    """Return the sentence for people, with the details that Hearth sent along and its reason, which the runbook has."""
    call = _as_call(failed)
    if call is None:
        return f"{doing} failed at {target}: {failed}"
    code, details, reason = call.code(), call.details() or "", _reason(failed)
    match code:
        case grpc.StatusCode.UNAVAILABLE if reason:
            advice = "`hearth status` tells how it is"
        case grpc.StatusCode.UNAVAILABLE:
            advice = "is it running and ready? `hearth status` tells; then try again"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            advice = "it took too long; try again, a repeat does no harm"
        case grpc.StatusCode.UNIMPLEMENTED:
            advice = "what answers there is not a Hearth of this version"
        case _:
            advice = ""
    parts = [part for part in (details.rstrip("."), *_violations(failed), advice) if part]
    return f"{doing} failed at {target}: {code.name}: {'; '.join(parts)}{f' ({reason})' if reason else ''}"


def is_too_large(failed: grpc.RpcError) -> bool:
    """Tell a message that is too long from a Hearth that is too busy; the latter says when to try again."""
    if code_of(failed) != grpc.StatusCode.RESOURCE_EXHAUSTED:
        return False
    from google.rpc import error_details_pb2

    return not any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in _details(failed))


def advised_s(failed: grpc.RpcError) -> float:
    """Return after which time Hearth asks to be tried again; 0 if it said nothing of it."""
    from google.rpc import error_details_pb2

    for detail in _details(failed):
        advice = error_details_pb2.RetryInfo()
        if detail.Unpack(advice):
            return float(advice.retry_delay.ToMilliseconds()) / 1_000
    return 0.0


def _reason(failed: grpc.RpcError) -> str:
    """Return what the table of reasons calls it; empty where it is not Hearth that refused."""
    from wire.failures import reason_of

    status = _status(failed)
    return reason_of(status) if status is not None else ""


def _violations(failed: grpc.RpcError) -> list[str]:
    from google.rpc import error_details_pb2

    found = []
    for detail in _details(failed):
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            found += [f"{one.field}: {one.description}" for one in bad_request.field_violations]
    return found


def _details(failed: grpc.RpcError) -> list[any_pb2.Any]:
    status = _status(failed)
    return list(status.details) if status is not None else []


def _status(failed: grpc.RpcError) -> status_pb2.Status | None:
    call = _as_call(failed)
    if call is None:
        return None
    from grpc_status import rpc_status

    try:
        return rpc_status.from_call(call)
    except ValueError:
        return None
