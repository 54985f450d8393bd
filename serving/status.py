"""How a call of the public port ends: with a status, its details included."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import grpc.aio
from google.rpc import status_pb2

from wire.failures import code_of, trailers


async def abort(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> NoReturn:
    """End a call with a status, its details included (trailer `grpc-status-details-bin`).

    Raises:
        asyncio.CancelledError: the client has left meanwhile. That is no defect, and gRPC makes no traceback of it.
    """
    try:
        await context.abort(code_of(status), status.message, trailers(status))
    except (grpc.aio.UsageError, grpc.aio.InternalError) as gone:
        if not has_left(context):
            raise
        raise asyncio.CancelledError from gone


def has_left(context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """Return whether a call has ended for its client, who then hears nothing of it any more."""
    return bool(context.done() or context.cancelled())


def set_status(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> None:
    """Say how a call ends, details included; it ends when its handler returns."""
    context.set_code(code_of(status))
    context.set_details(status.message)
    context.set_trailing_metadata(trailers(status))
