"""Drives a running Hearth with a simulated town: signals in, questions asked, offers answered, deliveries taken over.

Everything goes over the public protocol; `python -m loadtest.drive` is the command.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from loadtest.conversation import Conversations, Curiosity, Visit
from loadtest.credentials import NOBODY, GatewayCredentials
from loadtest.gateway import Gateway, GaveUp
from loadtest.lanes import Asking, LaneStep, lane_of, step_of
from loadtest.tally import RECENT, Tally
from loadtest.town import Town, TownSignals

PACE_S = 0.1
"""At a chosen speed, signals go out in portions of about this long."""

OUTSTANDING_MAX = 2_000
"""Open-model questions under way at once; more are not started, and counted."""

US_PER_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveSettings:
    """How to drive."""

    target: str
    credentials: GatewayCredentials = NOBODY
    lanes: int = 4
    batch_rows: int = 8_192
    """Rows of one Ingest, at most."""
    speed: float = 0.0
    """Signals per second; 0 is as fast as Hearth takes them."""
    ask_share: float = 0.2
    """Share of contacts that come as a question; the others are signals only."""
    decide_rate: float = 0.0
    """Questions per second besides, at times that do not depend on the answers (open model)."""
    concurrent_contacts: int = 32
    progress_every_s: float = 0.25
    """At most five a second."""
    connect_s: float = 60.0
    settle_s: float = 0.5
    """The run ends when no delivery has come for this long, or after six times as long."""
    curiosity: Curiosity = field(default_factory=Curiosity)

    def __post_init__(self) -> None:
        assert self.lanes >= 1
        assert 1 <= self.batch_rows <= 65_536, "Ingest takes at most 65,536 rows"
        assert self.progress_every_s >= 0.2


class Drive:
    """One run. `run` returns the report; `stop` ends it early, after what is under way."""

    def __init__(
        self, town: Town, settings: DriveSettings, on_progress: Callable[[dict[str, Any]], None] = lambda _: None
    ) -> None:
        self._town = town
        self._settings = settings
        self._on_progress = on_progress
        self.tally = Tally()
        self._gateway = Gateway(settings.target, seed=town.seed, credentials=settings.credentials)
        self._conversations = Conversations(self._gateway, town, self.tally, settings.curiosity)
        self._asking = Asking(share=settings.ask_share)
        self._lanes = [asyncio.Queue[TownSignals | None](1) for _ in range(settings.lanes)]
        self._contacts_under_way = asyncio.Semaphore(settings.concurrent_contacts)
        self._recent: deque[Visit] = deque(maxlen=4_096)
        self._stopping = asyncio.Event()
        self._reached_us = town.start_us
        self._open = Counter[str]()
        self._began = 0.0

    def stop(self) -> None:
        """Send nothing new. Calling it again changes nothing."""
        self._stopping.set()

    async def run(self) -> dict[str, Any]:
        """Play the town to its end and return the report.

        Raises:
            GaveUp: Hearth did not take the signals.
        """
        loop = asyncio.get_running_loop()
        beside: list[asyncio.Task[None]] = []
        try:
            await self._gateway.ready(self._settings.connect_s)
            self._began = loop.time()
            beside = [asyncio.create_task(self._progress()), asyncio.create_task(self._deliveries())]
            if self._settings.decide_rate > 0:
                beside.append(asyncio.create_task(self._open_model()))
            async with asyncio.TaskGroup() as group:
                for queue in self._lanes:
                    group.create_task(self._lane(queue))
                group.create_task(self._produce())
            elapsed_s = loop.time() - self._began
            await self._last_deliveries()
            return self._report(elapsed_s)
        except* GaveUp as failures:
            raise failures.exceptions[0] from None
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._gateway.close()

    async def _produce(self) -> None:
        """Draw the town in a thread and hand its pieces to the lanes, no faster than asked."""
        loop = asyncio.get_running_loop()
        pieces, sent = self._town.pieces(self._piece_rows()), 0
        while not self._stopping.is_set():
            piece = await asyncio.to_thread(_next_or_none, pieces)
            if piece is None:
                break
            if self._settings.speed > 0:
                await self._pause(self._began + sent / self._settings.speed - loop.time())
            sent += piece.count
            lanes = lane_of(piece.households, len(self._lanes))
            # No lane runs ahead of another: on the stream clock, what the slower one sends would be late.
            await asyncio.gather(*(queue.join() for queue in self._lanes))
            for number, queue in enumerate(self._lanes):
                await queue.put(piece.take(lanes == number))
        for queue in self._lanes:
            await queue.put(None)

    def _piece_rows(self) -> int:
        whole = self._settings.batch_rows * self._settings.lanes
        portion = int(self._settings.speed * PACE_S)
        return max(self._settings.lanes, min(whole, portion)) if self._settings.speed > 0 else whole

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            try:
                await asyncio.wait_for(self._stopping.wait(), seconds)
            except TimeoutError:
                return

    async def _lane(self, queue: asyncio.Queue[TownSignals | None]) -> None:
        while (piece := await queue.get()) is not None:
            while piece.count:
                piece = await self._step(piece)
            queue.task_done()

    async def _step(self, signals: TownSignals) -> TownSignals:
        step = step_of(self._town, signals, self._asking)
        await self._ingest(step.before)
        async with asyncio.TaskGroup() as group:
            for contact in self._contacts(step):
                group.create_task(self._contact(contact))
        return step.after

    async def _ingest(self, signals: TownSignals) -> None:
        loop = asyncio.get_running_loop()
        for first in range(0, signals.count, self._settings.batch_rows):
            portion = signals.take(slice(first, first + self._settings.batch_rows))
            began = loop.time()
            answer = await self._gateway.ingest(self._town.wire.batch(portion))
            self.tally.ingest.add(loop.time() - began)
            accounted = self.tally.signals.add(portion.count, answer.counts, answer.rejections)
            self.tally.accounted.hold(accounted, f"a batch of {portion.count}: {answer.counts}")
            self._reached_us = max(self._reached_us, int(portion.times_us[-1]))

    def _contacts(self, step: LaneStep) -> Iterator[Visit]:
        wire, channels = self._town.wire, self._town.plan.channels
        for row in range(step.contacts.count):
            message = wire.message(step.contacts, row)
            yield Visit(
                id=message.event_id,
                household=message.household,
                member=message.member,
                channel=channels[int(step.channels[row])].name,
                time_us=int(step.contacts.times_us[row]),
                signal=message,
            )

    async def _contact(self, contact: Visit) -> None:
        async with self._contacts_under_way:
            self._reached_us = max(self._reached_us, contact.time_us)
            self._recent.append(contact)
            await self._conversations.contact(contact)

    async def _open_model(self) -> None:
        """Ask at a fixed rate, without signals, for members lately in contact; latency counts from the due time."""
        loop = asyncio.get_running_loop()
        under_way: set[asyncio.Task[None]] = set()
        number = 0
        while True:
            due = self._began + number / self._settings.decide_rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            if self._recent and len(under_way) < OUTSTANDING_MAX:
                contact = self._recent[number * 7 % len(self._recent)]
                task = asyncio.create_task(self._open_question(contact, number, due))
                under_way.add(task)
                self._open["asked"] += 1
                task.add_done_callback(under_way.discard)
            elif self._recent:
                self._open["not_started"] += 1
            else:
                self._open["nobody_yet"] += 1
            number += 1

    async def _open_question(self, contact: Visit, number: int, due: float) -> None:
        try:
            request_id = f"q-{self._town.seed}-{number}-{contact.id}"[:128]
            await self._conversations.ask(contact, request_id, contact.channel, due=due, carries_signal=False)
        except GaveUp:
            return

    async def _deliveries(self) -> None:
        by_group: dict[str, list[str]] = {}
        for channel in self._town.plan.channels:
            if channel.outbound:
                # Where there are groups, the first is the one that sends.
                by_group.setdefault(channel.groups[0] if channel.groups else "", []).append(channel.name)
        async with asyncio.TaskGroup() as group:
            for name, channels in by_group.items():
                group.create_task(self._deliveries_of(channels, name))

    async def _deliveries_of(self, channels: list[str], group_name: str) -> None:
        async with asyncio.TaskGroup() as group:
            async for delivery in self._gateway.subscribe(channels, "loadtest", group=group_name):
                group.create_task(self._conversations.delivered(delivery, self._reached_us))

    async def _last_deliveries(self) -> None:
        """Wait for what is on its way to be delivered."""
        for _ in range(6):
            before = self.tally.deliveries
            await asyncio.sleep(self._settings.settle_s)
            if self.tally.deliveries == before:
                return

    async def _progress(self) -> None:
        loop = asyncio.get_running_loop()
        last_at, last_signals, last_decisions = self._began, 0, 0
        while True:
            await asyncio.sleep(self._settings.progress_every_s)
            now, signals, decisions = loop.time(), self.tally.signals.received, self.tally.decisions.total
            span_s = max(now - last_at, 1e-9)
            self._on_progress(
                self._standing()
                | {
                    "signals_per_s": round((signals - last_signals) / span_s, 1),
                    "decisions_per_s": round((decisions - last_decisions) / span_s, 1),
                }
            )
            last_at, last_signals, last_decisions = now, signals, decisions

    def _standing(self) -> dict[str, Any]:
        town, tally = self._town, self.tally
        span_us = town.end_us - town.start_us
        return {
            "elapsed_s": round(asyncio.get_running_loop().time() - self._began, 3),
            "town_time": _as_text(self._reached_us),
            "done": round(min(1.0, max(0.0, (self._reached_us - town.start_us) / span_us)), 4),
            "signals": tally.signals.as_report(),
            "decisions": {
                "total": tally.decisions.total,
                "nothing": tally.decisions.nothing,
                "by_channel": dict(tally.decisions.by_channel),
                "by_action": dict(tally.decisions.by_action.most_common(12)),
            },
            "outcomes": dict(tally.outcomes),
            "deliveries": tally.deliveries,
            "latency_ms": tally.decide.percentiles(RECENT),
            "violations": tally.violations,
            "retries": sum(self._gateway.troubles.retries.values()),
        }

    def _report(self, elapsed_s: float) -> dict[str, Any]:
        town, troubles = self._town, self._gateway.troubles
        report = self.tally.as_report()
        report["signals"]["per_s"] = round(self.tally.signals.received / elapsed_s, 1)
        return report | {
            "elapsed_s": round(elapsed_s, 3),
            "stopped_early": self._stopping.is_set(),
            "open_model": {"rate": self._settings.decide_rate, **self._open},
            "retries": troubles.retries,
            "failures": troubles.failures,
            "failure_examples": troubles.examples,
            "town": {
                "seed": town.seed,
                "households": town.households,
                "members": town.people.size,
                "from": _as_text(town.start_us),
                "to": _as_text(town.end_us),
                "reached": _as_text(self._reached_us),
                "playbook": town.plan.name,
                "playbook_version": town.plan.version,
            },
        }


def _next_or_none(pieces: Iterator[TownSignals]) -> TownSignals | None:
    return next(pieces, None)


def _as_text(time_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat()
