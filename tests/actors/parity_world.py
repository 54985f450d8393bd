"""A life in which features move while decisions are under way: signals of the same household in the same groups, late
ones, repeats, households merged at once or told of late, moments, another playbook, snapshots and restarts. What was
scored is remembered.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from household.plan import Plan
from household.scoring import Scored
from tests.actors.harness import HOUR, MINUTE, Hearth, ScriptedScorer, SettableClock, corner, running, signal

TERMS: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    (("price: 4.99", "price: 5.99"),),
    (("span: 7d, bucket: 6h", "span: 3d, bucket: 6h"),),
)
"""What each term's playbook has otherwise: nothing, a price (the same feature schema), a feature (another)."""


class Remembering(ScriptedScorer):
    """Remembers every row that it was asked about, and lets some turns pass before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: set[bytes] = set()

    async def score(self, rows: NDArray[np.float32], *, deadline_s: float | None = None) -> Scored:
        self.rows.update(row.tobytes() for row in rows)
        for _ in range(len(rows) % 7):
            await asyncio.sleep(0)
        return await super().score(rows, deadline_s=deadline_s)


@dataclass(slots=True)
class Life:
    """What is known of it from outside the log."""

    households: int
    plans: list[Plan] = field(default_factory=list)
    """Of each term."""
    scored: set[bytes] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    """Ids of actions that were taken."""
    asks: int = 1
    """As many as there are to be."""
    asked: int = 0
    end_us: int = 0


async def live(
    directory: Path,
    *,
    snapshots: Path,
    asks_per_term: int,
    partitions: Sequence[int] = (0,),
    together: int = 24,
    households: int = 40,
    seed: int = 1,
) -> Life:
    """Live, and leave a log; so many of the households come at once."""
    life, draw, clock = (
        Life(households=households, asks=asks_per_term * len(TERMS)),
        np.random.default_rng(seed),
        SettableClock(),
    )
    for term, changes in enumerate(TERMS):
        plan = corner(*changes)
        life.plans.append(plan)
        scorer = Remembering()
        async with running(
            directory, clock=clock, plan=plan, partitions=partitions, snapshots=snapshots, look_every_s=3600.0
        ) as hearth:
            await hearth.use(scorer)
            for first in range(0, asks_per_term, together):
                await asyncio.gather(
                    *(_come(hearth, life, draw, clock, term, first + one) for one in range(together)),
                )
                clock.pass_us(int(draw.integers(1, 20)) * MINUTE)
            for partition in partitions:
                await hearth.snapshot(partition)
        life.scored |= scorer.rows
    life.end_us = clock.now_us()
    return life


async def _come(
    hearth: Hearth, life: Life, draw: np.random.Generator, clock: SettableClock, term: int, number: int
) -> None:
    """Let one household be heard of and ask, the two at once."""
    # Fewer households than visits: most have a past.
    name = f"h{draw.integers(0, life.households)}"
    event = f"{term}-{number}"
    now_us, pays = clock.now_us(), int(draw.integers(0, 4))
    late_us = [int(draw.integers(0, 20)) * HOUR for _ in range(pays)]
    paid = [
        signal(
            f"{event}-p{one}",
            name,
            "pay",
            now_us - late_us[one],
            member="m",
            fields={"amount": float(draw.random() * 100), "pack": "film" if draw.random() < 0.5 else "kids"},
        )
        for one in range(pays)
    ]
    visit = signal(f"{event}-v", name, "visit", now_us, member="m")
    checks = [signal(f"{event}-c{one}", name, "check", now_us, member="m") for one in range(int(draw.integers(0, 3)))]
    others: list[asyncio.Task[object]] = []
    if paid or checks:
        # Some of it twice; it may be folded before the ask, between its draft and its record, or after.
        others.append(asyncio.create_task(hearth.ingest(*paid, *checks, *paid[:1])))
    # A tenth of all households are merged into others, whatever the length of the life.
    if draw.random() < 0.1 * life.households / life.asks:
        other = f"h{draw.integers(0, life.households)}"
        if other != name and hearth.partition_of(other) == hearth.partition_of(name):
            told = {"other": other, "cause": f"merger-{event}"}
            # Every other one is told late: what was decided meanwhile stays as it was seen then.
            since_us = now_us - int(draw.integers(0, 2)) * int(draw.integers(1, 20)) * HOUR
            others.append(
                asyncio.create_task(
                    hearth.ingest(signal(f"{event}-g", name, "hearth.graph.merge", since_us, fields=told))
                )
            )
    for _ in range(int(draw.integers(0, 5))):
        await asyncio.sleep(0)
    own = [visit, signal(f"{event}-o", name, "pay", now_us, member="m", fields={"amount": 1.5})]
    answer = await hearth.decide(name, *own[: int(draw.integers(0, 3))], member="m" if draw.random() < 0.8 else "")
    life.asked += 1
    if answer.action.action_id and draw.random() < 0.5:
        await hearth.accept(name, answer.action.action_id)
        life.accepted.add(answer.action.action_id)
    await asyncio.gather(*others)
