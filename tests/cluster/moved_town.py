"""A data directory whose households became one in pairs, in which most changed their partition; and the same in one."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from actors.log.segments import SegmentStore
from hearth.v1 import decision_pb2
from household.plan import Plan
from tests.actors.doors import Doors, graph
from tests.actors.harness import CORNER, DAY, HOUR, MINUTE, MONDAY, corner, signal, timestamp
from tests.actors.inventory_town import Town, a_town
from tests.actors.test_relocations import come_together
from tests.cluster.journal import Journal
from wire.partitions import partition_of

HOUSEHOLDS = tuple(f"h{number}" for number in range(12))
PAIRS = tuple(zip(HOUSEHOLDS[::2], HOUSEHOLDS[1::2], strict=True))
PARTITIONS = 3
CHANGES = (
    ("contact: {contact: [visit], families: all}", "contact: {contact: [visit], families: all, control: 30%}"),
    (
        "families: [mobile",
        "segments: {paying: household.payments >= 1, idle: household.payments < 1}\nfamilies: [mobile",
    ),
)
BEFORE_US, MOVED_US, AFTER_US = (MONDAY + number * MINUTE for number in (70, 80, 105))
"""When all had been decided for, when they become one, and when all had paid again."""

_TEMPORARY = TemporaryDirectory(prefix="hearth-moved-town-")


@dataclass(slots=True, kw_only=True)
class MovedTown:
    """What happened."""

    data: Path
    playbook: Path
    partitions: int
    moved: set[str] = field(default_factory=set)
    """Who lies elsewhere than where their names say."""
    decided: dict[str, str] = field(default_factory=dict)
    """Household → its decision before it moved."""
    accepted: set[str] = field(default_factory=set)
    """Households that took what they were given before, after they had moved."""
    journal: Journal
    """What was written to its logs."""
    moving: range = range(0)
    """The steps of it while households moved."""

    @property
    def where(self) -> tuple[str, ...]:
        """Arguments that name it."""
        return ("--data-dir", str(self.data))


def plan() -> Plan:
    """Return the playbook in force."""
    return corner(*CHANGES)


@cache
def moved_town(partitions: int = PARTITIONS) -> MovedTown:
    """Return a town of so many partitions, which nobody is to change."""
    folder = Path(_TEMPORARY.name) / str(partitions)
    data, text = folder / "data", CORNER
    data.mkdir(parents=True)
    for old, new in CHANGES:
        text = text.replace(old, new)
    (folder / "corner.yaml").write_text(text, encoding="utf-8")
    (data / "layout.json").write_text(json.dumps({"layout": 1, "partition_count": partitions, "born": "now"}))
    journal = Journal(data / "log")
    town = MovedTown(data=data, playbook=folder / "corner.yaml", partitions=partitions, journal=journal)
    asyncio.run(_lived(town))
    return town


async def _lived(told: MovedTown) -> None:
    logs = lambda: SegmentStore(told.data / "log", files=told.journal.files())  # noqa: E731
    named = {"shard_count": 2, "partition_count": told.partitions, "plan": plan()}
    async with a_town(told.data / "log", logs=logs, **named) as town:
        doors = Doors(town)
        await _pay(town, doors, "first")
        town.clock.at_us = MONDAY + HOUR
        given = dict[str, str]()
        for one in HOUSEHOLDS:
            answer = await _asked(town, doors, one)
            told.decided[one] = answer.decision_id
            if answer.HasField("action"):
                given[one] = answer.action.action_id
        town.clock.at_us = MOVED_US
        before = len(told.journal.steps)
        for number, (one, other) in enumerate(PAIRS):
            await doors.told(graph("merge", f"g{number}", MOVED_US, one, other=other))
            await come_together(town)
        told.moving = range(before, len(told.journal.steps))
        town.clock.at_us = MOVED_US + 10 * MINUTE
        for one, action_id in given.items():
            reported = await doors.report(
                household=one,
                member="ann",
                action_id=action_id,
                outcome=decision_pb2.OUTCOME_ACCEPT,
                channel="app",
                time=timestamp(town.clock.at_us),
            )
            if reported.effective:
                told.accepted.add(one)
        town.clock.at_us = MOVED_US + 20 * MINUTE
        await _pay(town, doors, "second")
        town.clock.at_us = MOVED_US + 30 * MINUTE
        for one, _ in PAIRS:
            await _asked(town, doors, one)
        town.clock.at_us = MONDAY + 4 * DAY
        await _pay(town, doors, "third")
        for one in HOUSEHOLDS:
            found = await doors.get(household=one)
            if found.partition != partition_of(one.encode(), told.partitions):
                told.moved.add(one)


def cuts(folder: Path) -> Iterator[Path]:
    """Yield a data directory as it was after each step while households moved; each is the next one's beginning."""
    town, data = moved_town(), folder / "cut"
    (data / "log").mkdir(parents=True)
    shutil.copy(town.data / "layout.json", data)
    for number, step in enumerate(town.journal.steps[: town.moving.stop]):
        step(data / "log")
        if number in town.moving:
            yield data


async def _pay(town: Town, doors: Doors, which: str) -> None:
    now_us = town.clock.at_us
    await doors.told(
        *(signal(f"{which}-{one}", one, "pay", now_us, member="ann", fields={"amount": 2.0}) for one in HOUSEHOLDS)
    )


async def _asked(town: Town, doors: Doors, one: str) -> decision_pb2.DecideResponse:
    visit = signal(f"v{town.clock.at_us}-{one}", one, "visit", town.clock.at_us, member="ann")
    return await doors.decide(household=one, member="ann", request_id=f"{one}-{town.clock.at_us}", signals=[visit])
