"""A channel to a running Hearth, and what to say when a call fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from cluster.credentials import open_channel
from cluster.data_dir import DATA_DIR, LAYOUT_NAME, find_running
from cluster.environment import ENVIRONMENT_PREFIX, environment_variable
from cluster.errors import CommandFailed, UsageWrong
from intake.failures import code_of, told_of

CONNECT_DEADLINE_S = 5.0
CALL_DEADLINE_S = 30.0
DESCRIBE_DEADLINE_S = 5.0
MESSAGE_BYTES_MAX = 64 << 20

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""What a server listens on, and what of it this machine is."""


class NotRunning(CommandFailed):
    """No Hearth answers there; the message says how to start one."""


def find_target(*, target: str | None, data_dir: Path, default_port: int) -> str:
    """Return the address to call: the one given, that of the Hearth on the data directory, or the default port's.

    Raises:
        UsageWrong: the address given has no port.
        NotRunning: a data directory was named, and no Hearth is ready on it: whoever listens at the default port is
            another one, and what was meant for this one would befall that.
    """
    if target is not None:
        if ":" not in target:
            raise UsageWrong(f"--target {target} has no port; write it as HOST:PORT, e.g. {target}:{default_port}")
        return target
    running = find_running(data_dir)
    if running is not None:
        return reachable(running.address)
    by_default = Path(environment_variable(f"{ENVIRONMENT_PREFIX}DATA_DIR") or DATA_DIR)
    if data_dir != by_default or (data_dir != Path(DATA_DIR) and (data_dir / LAYOUT_NAME).exists()):
        raise NotRunning(
            f"no Hearth is ready on {data_dir}; start it with `hearth up --data-dir {data_dir}`, or name a running one "
            "with --target HOST:PORT"
        )
    return f"127.0.0.1:{default_port}"


def reachable(address: str) -> str:
    """Return how this machine reaches what listens at an address, which may be "on all of them".

    >>> reachable("0.0.0.0:7077"), reachable("[::]:7077"), reachable("10.0.0.9:7077")
    ('127.0.0.1:7077', '[::1]:7077', '10.0.0.9:7077')
    """
    host, _, port = address.rpartition(":")
    return f"{EVERYWHERE.get(host, host)}:{port}"


@contextmanager
def connect(target: str) -> Iterator[grpc.Channel]:
    """Yield a channel to a Hearth that answers.

    Raises:
        NotRunning: nothing answered within CONNECT_DEADLINE_S.
        UsageWrong: the credentials given cannot be used.
    """
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX), ("grpc.enable_http_proxy", 0)]
    with open_channel(target, options) as channel:
        # Any answer will do, that of a Hearth which is not ready yet included.
        code = _code_of_health_check(channel)
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise NotRunning(
                f"no Hearth answers at {target}; start one with `hearth up` in another terminal, "
                "or name a running one with --target HOST:PORT; one that speaks TLS needs --ca FILE (docs/security.md)"
            )
        yield channel


def _code_of_health_check(channel: grpc.Channel) -> grpc.StatusCode:
    try:
        _check_health(channel)
    except grpc.RpcError as failed:
        return code_of(failed)
    return grpc.StatusCode.OK


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
    """Return what a command ends with whose call failed."""
    return CommandFailed(told_of(failed, doing=doing, target=target))


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
