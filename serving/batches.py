"""Batches of signals on their way through the edge: how many bytes of them may wait, and who converts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from serving.admission import Line, Lines

Result = TypeVar("Result")


class Batches:
    """The line of the batches, in bytes, apart from that of the questions: neither makes the other wait for ever.

    Must be created and used in one event loop.
    """

    def __init__(self, *, wait_s_max: float, bytes_min: int, bytes_max: int) -> None:
        self.lines = Lines()
        self._line = Line(
            self.lines,
            wait_s_max=wait_s_max,
            length_min=bytes_min,
            length_max=bytes_max,
            monotonic_s=asyncio.get_running_loop().time,
        )
        self._kept = 0
        """Bytes of batches that have room and are not in line yet."""
        self._left = asyncio.Event()
        # One: converting holds Python's lock for the most part, and several threads that want it would between them
        # leave the loop one turn in so many.
        self._converter = ThreadPoolExecutor(1, thread_name_prefix="hearth-batches")

    @contextmanager
    def joined(self, size: int, *, timeout_s: float | None) -> Iterator[None]:
        """Stand in line with a batch of so many bytes; without a timeout, within `room`, in any case.

        Raises:
            CallFailed: OVERLOADED; it would not be taken in time.
        """
        self._line.join(timeout_s=timeout_s, weight=size)
        is_answered = False
        try:
            yield
            is_answered = True
        finally:
            self._line.leave(weight=size, is_answered=is_answered)
            self._left.set()

    @asynccontextmanager
    async def room(self, size: int) -> AsyncIterator[None]:
        """Wait for room for so many bytes, and keep it for who joins within: a stream is slowed down, not refused."""
        while (held := self._line.length + self._kept) and held + size > self._line.room:
            self._left.clear()
            await self._left.wait()
        self._kept += size
        try:
            yield
        finally:
            self._kept -= size
            self._left.set()

    async def in_thread(self, convert: Callable[..., Result], *arguments: Any) -> Result:
        """Convert beside the loop, one batch after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._converter, convert, *arguments)
