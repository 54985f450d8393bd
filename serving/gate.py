"""Refuses calls unread: before gRPC receives the message of a call, it is looked whether a line has room for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio

from serving.admission import Lines
from serving.boundary import set_status
from wire.failures import CallFailed

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
OnRefusal = Callable[[str], None]
"""Told of the method of each call that was refused unread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """In which lines the callers of a method stand."""

    lines: Lines
    patience: float = 1.0

    def let_in(self) -> None:
        """Count a caller from the gate on."""
        self.lines.present += 1

    def ended(self, _call: object) -> None:
        """Count a caller no longer who was let in."""
        self.lines.present -= 1


class Gate(grpc.ServiceRpcHandler):
    """The methods of one service, some of them with an admission."""

    def __init__(
        self, service: str, methods: Mapping[str, Handler], admissions: Mapping[str, Admission], on_refusal: OnRefusal
    ) -> None:
        """Take the methods and their admissions, both by full name: /service/method."""
        self._service = service
        # Under this name, by which Ray Serve's server learns what passes it through, as of gRPC's own handlers.
        self._method_handlers = dict(methods)
        self._gated = {
            method: (admissions[method], _refusing(method, admissions[method].lines, on_refusal))
            for method in methods
            if method in admissions
        }

    def service_name(self) -> str:
        """Return the full name of the service."""
        return self._service

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Return what answers a call: its method, or a refusal."""
        method = str(handler_call_details.method)
        gated = self._gated.get(method)
        if gated is not None:
            admission, refusing = gated
            if admission.lines.is_full(patience=admission.patience):
                return refusing
        return self._method_handlers.get(method)


def _refusing(method: str, lines: Lines, on_refusal: OnRefusal) -> Handler:
    async def refuse(_messages: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        failure: CallFailed = lines.refusal()
        set_status(context, failure.status)
        on_refusal(method)

    # To gRPC a stream of messages: it receives none before the handler asks for one, and this one never does.
    return grpc.stream_stream_rpc_method_handler(refuse)
