"""A channel to a running Hearth, and what to say when a call fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2

from cluster.data_dir import find_running
from cluster.errors import CommandFailed, UsageWrong

if TYPE_CHECKING:
    from google.protobuf import any_pb2

CONNECT_DEADLINE_S = 5.0
CALL_DEADLINE_S = 30.0
DESCRIBE_DEADLINE_S = 5.0
MESSAGE_BYTES_MAX = 64 << 20


class NotRunning(CommandFailed):
    """No Hearth answers there; the message says how to start one."""


def find_target(*, target: str | None, data_dir: Path, default_port: int) -> str:
    """Return the address to call: the one given, that of the Hearth on the data directory, or the default port's."""
    if target is not None:
        if ":" not in target:
            raise UsageWrong(f"--target {target} has no port; write it as HOST:PORT, e.g. {target}:{default_port}")
        return target
    running = find_running(data_dir)
    return running.address if running is not None else f"127.0.0.1:{default_port}"


@contextmanager
def connect(target: str) -> Iterator[grpc.Channel]:
    """Yield a channel to a Hearth that answers.

    Raises:
        NotRunning: nothing answered within CONNECT_DEADLINE_S.
    """
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(target, options=options) as channel:
        # Any answer will do, that of a Hearth which is not ready yet included.
        code = _code_of_health_check(channel)
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise NotRunning(
                f"no Hearth answers at {target}; start one with `hearth up` in another terminal, "
                "or name a running one with --target HOST:PORT"
            )
        yield channel


def _code_of_health_check(channel: grpc.Channel) -> grpc.StatusCode:
    try:
        _check_health(channel)
    except grpc.RpcError as failed:
        return code_of(failed)
    return grpc.StatusCode.OK


def code_of(failed: grpc.RpcError) -> grpc.StatusCode:
    """Return how a call ended."""
    call = _as_call(failed)
    return call.code() if call is not None else grpc.StatusCode.UNKNOWN


def _as_call(failed: grpc.RpcError) -> grpc.Call | None:
    # grpc's errors are calls as well; their types do not say so.
    error: object = failed
    return error if isinstance(error, grpc.Call) else None


def health_of(channel: grpc.Channel) -> str:
    """Return "ready", "not ready", or "unknown" when the health service does not answer."""
    try:
        answer = _check_health(channel)
    except grpc.RpcError:
        return "unknown"
    return "ready" if answer.status == health_pb2.HealthCheckResponse.SERVING else "not ready"


def _check_health(channel: grpc.Channel) -> health_pb2.HealthCheckResponse:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return check(health_pb2.HealthCheckRequest(), timeout=CONNECT_DEADLINE_S)


def explain_failure(failed: grpc.RpcError, *, doing: str, target: str) -> CommandFailed:
    """Return the sentence for a call that failed, with the details that Hearth sent along."""
    call = _as_call(failed)
    if call is None:
        return CommandFailed(f"{doing} failed at {target}: {failed}")
    code, details = call.code(), call.details() or ""
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            advice = "is it running and ready? `hearth status` tells; then try again"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            advice = "it took too long; try again, a repeat does no harm"
        case grpc.StatusCode.UNIMPLEMENTED:
            advice = "what answers there is not a Hearth of this version"
        case _:
            advice = ""
    parts = [part for part in (details.rstrip("."), *_violations(failed), advice) if part]
    return CommandFailed(f"{doing} failed at {target}: {code.name}: {'; '.join(parts)}")


def is_too_large(failed: grpc.RpcError) -> bool:
    """Tell a message that is too long from a Hearth that is too busy; the latter says when to try again."""
    if code_of(failed) != grpc.StatusCode.RESOURCE_EXHAUSTED:
        return False
    from google.rpc import error_details_pb2

    return not any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in _details(failed))


def _violations(failed: grpc.RpcError) -> list[str]:
    from google.rpc import error_details_pb2

    found = []
    for detail in _details(failed):
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            found += [f"{one.field}: {one.description}" for one in bad_request.field_violations]
    return found


def _details(failed: grpc.RpcError) -> list[any_pb2.Any]:
    call = _as_call(failed)
    if call is None:
        return []
    from grpc_status import rpc_status

    try:
        status = rpc_status.from_call(call)
    except ValueError:
        return []
    return list(status.details) if status is not None else []


def declared_fields(channel: grpc.Channel) -> Mapping[str, str] | None:
    """Return the fields that the playbook in force knows, and as what they travel: number, flag or text.

    None where the Hearth at the other end cannot tell.
    """
    from hearth.v1 import signal_pb2, signal_pb2_grpc

    stub = signal_pb2_grpc.SignalServiceStub(channel)
    try:
        described = stub.Describe(signal_pb2.DescribeRequest(), timeout=DESCRIBE_DEADLINE_S)
    except grpc.RpcError:
        return None
    travels_as = {"number": "number", "flag": "flag"}
    return {field.name: travels_as.get(field.kind, "text") for one in described.types for field in one.fields}
