"""The traffic of tests/chaos/load.py over the public port at a fixed rate, however long the answers take, each call
tried once more as docs/gateway.md has it, and counted: how many were answered, how soon, and which failed for good.

What failed twice goes on being tried all the same, so that the judges know what became of it.
"""

import asyncio
import contextlib
import itertools
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hearth.v1 import delivery_pb2
from loadtest.tally import Latencies
from tests.chaos.history import Call
from tests.chaos.public_client import PublicChannel, PublicLoad

IN_TIME_S = 1.0
"""An answer that takes longer, its second attempt told, is no goodput: the deadline of a Decide that brings none."""
SEND_SHARE = 0.3
"""Of what is begun; the others are visits: a question, and what comes of its answer."""
ATTEMPTS = 2
TRIED_AGAIN_S = 0.2
"""After what has failed for good, until the judges can tell what became of it."""


@dataclass(slots=True)
class Count:
    """What became of the calls of a while."""

    calls: int = 0
    in_time: int = 0
    """Answered within IN_TIME_S, at the first attempt or the second."""
    retried: int = 0
    failed: int = 0
    """Neither the first attempt nor the second was answered."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why attempts failed, and with `failed` before it why calls did."""
    took: Latencies = field(default_factory=Latencies)
    seconds: float = 0.0
    """How long it was."""

    def add(self, other: "Count") -> None:
        """Take what another counted as well."""
        for name in ("calls", "in_time", "retried", "failed", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons.update(other.reasons)
        self.took.ms.extend(array("d", other.took.ms))

    @property
    def goodput(self) -> float:
        """Calls per second that were answered in time."""
        return self.in_time / self.seconds

    def told(self) -> dict[str, Any]:
        """Return it for a report."""
        return {
            "calls": self.calls,
            "in_time": self.in_time,
            "in_time_per_s": round(self.goodput, 1),
            "retried": self.retried,
            "failed": self.failed,
            "reasons": dict(self.reasons.most_common()),
            "seconds": round(self.seconds, 1),
            "took_ms": self.took.percentiles(),
        }


class ManyConnections:
    """Several connections to one address, used in turn, as those of several gateways: each may meet another edge."""

    def __init__(self, address: str, count: int) -> None:
        self._channels = [PublicChannel(address) for _ in range(count)]
        self._turn = itertools.cycle(self._channels)

    @property
    def signals(self) -> Any:
        return next(self._turn).signals

    @property
    def decisions(self) -> Any:
        return next(self._turn).decisions

    @property
    def delivery(self) -> Any:
        return next(self._turn).delivery

    def deliveries(self, channels: Sequence[str], group: str = "") -> AsyncIterator[delivery_pb2.SubscribeResponse]:
        """Yield outbound actions of the first until the stream breaks."""
        return self._channels[0].deliveries(channels, group)

    async def close(self) -> None:
        """Close them."""
        await asyncio.gather(*(channel.close() for channel in self._channels))


class SteadyLoad(PublicLoad):
    """Visits and batches of signals begun at a fixed rate; one gateway that takes what is handed over."""

    def __init__(self, connections: ManyConnections, partition_count: int, *, seed: int) -> None:
        super().__init__(connections, partition_count, seed=seed)  # type: ignore[arg-type]
        self.count = Count()
        self._since_s = 0.0
        self._under_way: set[asyncio.Task[None]] = set()
        self._broken: list[BaseException] = []

    def begin_at(self, rate: float) -> None:
        """Start the traffic: so many visits and batches a second, of about three calls each."""
        self._gateway = asyncio.create_task(self._take_deliveries())
        self._tasks = [asyncio.create_task(self._keep_beginning(rate))]
        self.counted()

    def counted(self) -> Count:
        """Return what was counted since the last time, and count anew. A call counts where it ends."""
        now_s = time.monotonic()
        done, self.count = self.count, Count()
        done.seconds, self._since_s = now_s - self._since_s, now_s
        return done

    async def end(self) -> None:
        """Begin nothing new, and let every call that is under way be answered; the gateway goes on."""
        await super().end()
        while self._under_way:
            await asyncio.wait(self._under_way)
        if self._broken:
            raise self._broken[0]

    def cancel(self) -> None:
        """Stop everything where it is."""
        super().cancel()
        for task in self._under_way:
            task.cancel()

    async def _keep_beginning(self, rate: float) -> None:
        began_s = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began_s + number / rate - time.monotonic()))
            if self._is_ending:
                return
            step = self._send if self._chance.random() < SEND_SHARE else self._visit
            task = asyncio.create_task(step())
            self._under_way.add(task)
            task.add_done_callback(self._note_end)

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (wrong := task.exception()) is not None:
            self._broken.append(wrong)

    async def _surely(self, attempt: Callable[[], Awaitable[Call]]) -> Call:
        began_s = time.monotonic()
        for number in itertools.count(1):
            call = await attempt()
            if number <= ATTEMPTS and (call.is_ok or number == ATTEMPTS):
                self._note(call, time.monotonic() - began_s, attempts=number)
            if call.is_ok:
                return call
            if number <= ATTEMPTS:
                self.count.reasons[call.reason] += 1
            await asyncio.sleep(call.retry_after_s if number < ATTEMPTS else TRIED_AGAIN_S)
        raise AssertionError

    def _note(self, call: Call, took_s: float, *, attempts: int) -> None:
        count = self.count
        count.calls += 1
        count.retried += attempts > 1
        count.took.add(took_s)
        if call.is_ok:
            count.in_time += took_s <= IN_TIME_S
        else:
            count.failed += 1
            count.reasons[f"failed: {call.kind} {call.reason}"] += 1


@contextlib.asynccontextmanager
async def steady_load(
    address: str, partition_count: int, *, rate: float, connections: int = 4, seed: int = 1
) -> AsyncIterator[SteadyLoad]:
    """Run the traffic at so many visits and batches a second; whoever wants a verdict ends it before."""
    many = ManyConnections(address, connections)
    load = SteadyLoad(many, partition_count, seed=seed)
    load.begin_at(rate)
    try:
        yield load
    finally:
        load.cancel()
        await many.close()
