"""What a command shows a Hearth that asks who calls: certificate and token, and by what it knows Hearth itself.

An option goes before its variable: `--ca` before HEARTH_CA, and so on. Nothing of it is ever logged or printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc

from cluster.environment import ENVIRONMENT_PREFIX, environment_variable
from cluster.errors import UsageWrong
from wire.addresses import host_is_loopback

SYSTEM: Final = "system"
"""Instead of a file of authorities: those that this machine trusts anyway."""
AUTHORIZATION: Final = "authorization"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Whom we trust and who we are. All empty: no TLS, and nobody in particular. Travels to actors pickled."""

    ca: str = ""
    """PEM file of authorities, or "system"; then the connection is encrypted."""
    cert: str = ""
    """PEM file of our certificate, with its `key`."""
    key: str = ""
    token: str = ""
    """A JWT, or @FILE with one, which is read again for each call: others may renew it."""

    def __repr__(self) -> str:
        return f"Credentials(ca={self.ca!r}, cert={self.cert!r})"


given: ContextVar[Credentials | None] = ContextVar("given", default=None)
"""The options of the command that runs."""


def credentials(**options: str | None) -> Credentials:
    """Return what is given by options, the command's unless named here, and by variables behind them."""
    command = given.get() or Credentials()
    found = {}
    for name in (field.name for field in fields(Credentials)):
        variable = environment_variable(ENVIRONMENT_PREFIX + name.upper())
        found[name] = options.get(name) or getattr(command, name) or variable or ""
    return Credentials(**found)


@contextmanager
def open_channel(
    target: str, options: Sequence[tuple[str, int]], known: Credentials | None = None
) -> Iterator[grpc.Channel]:
    """Yield a channel to a Hearth, encrypted where authorities are given, with the token on each call.

    Raises:
        UsageWrong: what is given cannot be read, or a token would travel unencrypted to another machine.
    """
    known = credentials() if known is None else known
    if not known.ca:
        if known.cert or known.key:
            raise UsageWrong("--cert and --key are for an encrypted connection: say with --ca whom to trust there")
        if known.token and not _stays_here(target):
            raise UsageWrong(f"the token would travel to {target} unencrypted; say with --ca whom to trust there")
        channel = grpc.insecure_channel(target, options=options)
    else:
        channel = grpc.secure_channel(target, _tls(known), options=options)
    with channel:
        yield grpc.intercept_channel(channel, _Bearer(token_reader(known.token))) if known.token else channel


def _stays_here(target: str) -> bool:
    return target.startswith("unix:") or host_is_loopback(target.rpartition(":")[0].strip("[]"))


def _tls(known: Credentials) -> grpc.ChannelCredentials:
    if bool(known.cert) != bool(known.key):
        raise UsageWrong("--cert and --key belong together: give both or neither")
    return grpc.ssl_channel_credentials(
        root_certificates=None if known.ca == SYSTEM else _read(known.ca, "ca"),
        private_key=_read(known.key, "key") if known.key else None,
        certificate_chain=_read(known.cert, "cert") if known.cert else None,
    )


def _read(path: str, name: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as wrong:
        raise UsageWrong(f"--{name} {path} cannot be read: {wrong.strerror}") from wrong


def token_reader(token: str) -> Callable[[], str]:
    """Return what returns the token at each call.

    Raises:
        UsageWrong: it is to come from a file that cannot be read.
    """
    if not token.startswith("@"):
        return lambda: token

    def read() -> str:
        return _read(token[1:], "token").decode(errors="replace").strip()

    read()
    return read


class _Details(NamedTuple):
    """A call as interceptors are told of it."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token to each call. gRPC's own way asks for TLS, which a Hearth on this machine need not have."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_token(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_token(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(self._with_token(client_call_details), request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(self._with_token(client_call_details), request_iterator)

    def _with_token(self, details: Any) -> _Details:
        metadata = [*(details.metadata or ()), (AUTHORIZATION, f"Bearer {self._token()}")]
        return _Details(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready, details.compression
        )
