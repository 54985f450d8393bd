"""A grpc.aio server that takes many calls at once, and refuses those without room before it makes anything of them.

`grpc.aio` takes the next call of a method some turns of its loop after the last one. While the loop is busy, calls wait
for seconds where nobody knows of them; and before one can be refused it has cost three tasks and as many turns. Here,
for each method that has an admission, a number of takers wait for calls beside each other; a refusal is one step of
one of them, at a third of the cost. A call that is let in goes grpc.aio's own way.

This leans on private parts of grpcio, as Serve's listener does on Serve's: all of them are here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from grpc._cython import cygrpc
from grpc.aio import _server as aio_server

from serving.gate import Admission, Handler, OnRefusal
from wire.failures import overloaded_end

logger = logging.getLogger(__name__)

TAKER_COUNT: Final = 128
"""Calls of one method that are taken in one turn of the loop. To refuse them all takes it some 10 ms."""

NO_FLAGS: Final = 0


class AcceptingServer(aio_server.Server):  # type: ignore[misc] # grpcio has no types for it
    """A grpc.aio server, some of whose methods have an admission. Must be made and used in one event loop."""

    def __init__(self, options: Sequence[tuple[str, int]]) -> None:
        """Take gRPC's options."""
        # In place of what the class above does: it would make a server below that is never used, and never freed.
        self._loop = asyncio.get_running_loop()
        self._server = _Core(self._loop, None, (), (), aio_server._augment_channel_arguments(options, None), None)

    def add_gated_methods(
        self, methods: Mapping[str, Handler], admissions: Mapping[str, Admission], on_refusal: OnRefusal
    ) -> None:
        """Register methods that have an admission, both by full name: /service/method. Once, before the start."""
        self._server.gate(methods, admissions, on_refusal)


class _Core(cygrpc.AioServer):  # type: ignore[misc] # grpcio has no types for it
    """The server below grpc.aio's: how it comes by the calls of gated methods is replaced."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._admissions: dict[str, Admission] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def gate(self, methods: Mapping[str, Handler], admissions: Mapping[str, Admission], on_refusal: OnRefusal) -> None:
        """Take the methods and their admissions."""
        self.add_registered_method_handlers(dict(methods))
        self._admissions.update((method, admissions[method]) for method in methods)
        self._on_refusal = on_refusal
        self._resolver = cygrpc._MethodResolver([], dict(methods))

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        """Called once per registered method when the server starts, and again after each call that came of it."""
        name = None if method is None else method.decode()
        if name not in self._admissions:
            return super()._make_request_call_future(method)  # type: ignore[no-any-return]
        loop = asyncio.get_running_loop()
        for _ in range(TAKER_COUNT):
            taker = self._started(loop, self._take_calls(name, loop))
            taker.add_done_callback(self._serving_task_crash_handler)
        return loop.create_future()  # never done: its calls are the takers'

    async def _take_calls(self, method: str, loop: asyncio.AbstractEventLoop) -> None:
        """Take one call after the other until the server stops."""
        admission, name = self._admissions[method], method.encode()
        while self.is_running():
            try:
                call = await self._request_registered_call(name)
            except cygrpc._RequestCallError:
                continue  # the server stops, most likely
            if admission.lines.is_full(patience=admission.patience):
                await self._refuse(call, method, admission, loop)
            else:
                # Counted now: it is in line only some turns later, and those who come in this turn must know of it.
                admission.let_in()
                answer = cygrpc._handle_rpc(method, self._resolver, (), call, loop, False)
                task = self._started(loop, cygrpc._schedule_rpc_coro(answer, call, loop, method))
                task.add_done_callback(admission.ended)

    async def _refuse(self, call: Any, method: str, admission: Admission, loop: asyncio.AbstractEventLoop) -> None:
        code, message, trailers = overloaded_end(admission.lines.refused())
        try:
            self._on_refusal(method)
        except Exception:  # the gRPC boundary: a defect must reach the log, and the caller be told
            logger.exception("telling of a refusal failed")
        operations = (
            cygrpc.SendInitialMetadataOperation((), NO_FLAGS),
            cygrpc.ReceiveCloseOnServerOperation(NO_FLAGS),
            cygrpc.SendStatusFromServerOperation(trailers, code, message, NO_FLAGS),
        )
        with contextlib.suppress(cygrpc.ExecuteBatchError):  # its caller has left
            await cygrpc.execute_batch(call, operations, loop)

    def _started(self, loop: asyncio.AbstractEventLoop, work: Any) -> asyncio.Task[None]:
        """Start something and keep it: a loop holds tasks weakly."""
        task: asyncio.Task[None] = loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
