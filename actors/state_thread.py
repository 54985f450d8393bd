"""The one thread of a shard that touches columns: decisions first, then a slice of ingest."""

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeVar

Result = TypeVar("Result")


OUTRUN_MAX = 64
"""Jobs that came later and may go before a slice of ingest: signals are folded under a flood of decisions, too."""


class Urgency(IntEnum):
    """Which waiting job goes first."""

    DECISION = 0
    INGEST = 1


class StateThread:
    """Runs jobs one at a time, most urgent first, in order within one urgency; none waits for ever."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.PriorityQueue[tuple[float, int, Callable[[], None] | None]] = queue.PriorityQueue()
        self._order = itertools.count()
        self.turns = 0
        """Jobs run since the start; bumped in the thread, before whoever waits for the job hears of its end."""
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, urgency: Urgency, job: Callable[..., Result], *arguments: Any) -> Result:
        """Run a job in the thread; return what it returns, raise what it raises. Not cancelled once it has started."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()

        def work() -> None:
            try:
                result = job(*arguments)
            except BaseException as wrong:  # noqa: BLE001 - whatever it is belongs to the caller
                loop.call_soon_threadsafe(_fail, done, wrong)
            else:
                loop.call_soon_threadsafe(_finish, done, result)

        order = next(self._order)
        self._jobs.put((order if urgency is Urgency.DECISION else order + OUTRUN_MAX, order, work))
        return await done

    def stop(self) -> None:
        """Finish what waits, then end the thread."""
        self._jobs.put((float("inf"), next(self._order), None))
        self._thread.join()

    def _work(self) -> None:
        while True:
            _, _, work = self._jobs.get()
            if work is None:
                return
            self.turns += 1
            work()


def _finish(done: asyncio.Future[Result], result: Result) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], wrong: BaseException) -> None:
    if not done.done():
        done.set_exception(wrong)
