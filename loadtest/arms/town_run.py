"""A whole town under all arms: its quarters, lived side by side in processes, and the pilot that both learned from."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from household.plan import Plan
from loadtest.arms.assumptions import Assumptions
from loadtest.arms.learning import SeenAction, learned
from loadtest.arms.outcomes import ArmOutcomes, joined
from loadtest.arms.quarter import Stay, live_quarter, pilot
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook

QUARTER_HOUSEHOLDS = 5_000
"""Of a town they depend on nothing but its size, so that who lives in which does not hang on who works on it."""

SEEDS_APART = 1_000
"""Quarters of a town have seeds of their own, and towns of neighbouring seeds none in common."""

PILOT_SEED = 900
"""Of the quarters of a town's pilot, above those of the town."""
PILOT_DAYS = 28
PILOT_QUARTERS = 2

AssumedTown = tuple[Stay, Assumptions]

SharedOut = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""What shares work out: `map`, or that of a pool."""


def quarters(stay: Stay, *, of: int = QUARTER_HOUSEHOLDS) -> list[Stay]:
    """Return the quarters of a town.

    >>> [(one.seed, one.households) for one in quarters(Stay(seed=1, households=12_000, days=90))]
    [(1000, 5000), (1001, 5000), (1002, 2000)]
    """
    return [
        replace(stay, seed=stay.seed * SEEDS_APART + number, households=min(of, stay.households - first))
        for number, first in enumerate(range(0, stay.households, of))
    ]


def live_towns(
    towns: list[AssumedTown],
    *,
    pilot_households: int,
    playbook: Path = SHIPPED_PLAYBOOK,
    processes: int = 2,
    quarter: int = QUARTER_HOUSEHOLDS,
) -> list[ArmOutcomes]:
    """Return what becomes of several towns, in their order; the same however many processes share the work.

    Args:
        towns: each with what is assumed of its people.
        pilot_households: of each town, others than those that are measured, from whom both arms have learned; 0 for
            the priors.
        playbook: that the arms are treated by.
        processes: that share the work; 1 for this one alone.
        quarter: households of which each part of a town consists.
    """
    run = _Run(playbook=playbook, pilot_households=pilot_households, quarter=quarter)
    if processes == 1:
        return run.of(towns, map)
    # Spawned: a fork of a process with threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return run.of(towns, pool.map)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A quarter on its way to a process."""

    stay: Stay
    assumed: Assumptions
    playbook: Path
    model: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    playbook: Path
    pilot_households: int
    quarter: int

    def of(self, towns: Sequence[AssumedTown], share: SharedOut) -> list[ArmOutcomes]:
        models = self._models(towns, share) if self.pilot_households else [b""] * len(towns)
        parts = [
            [self._part(one, assumed, model) for one in quarters(stay, of=self.quarter)]
            for (stay, assumed), model in zip(towns, models, strict=True)
        ]
        lived: Iterator[ArmOutcomes] = share(_live, [one for own in parts for one in own])
        return [joined(list(islice(lived, len(own)))) for own in parts]

    def _models(self, towns: Sequence[AssumedTown], share: SharedOut) -> list[bytes]:
        pilots = [self._part(one, assumed) for stay, assumed in towns for one in self._pilots(stay)]
        told: Iterator[list[SeenAction]] = share(_pilot, pilots)
        plan = compile_playbook(self.playbook)
        return [
            learned([one for part in islice(told, PILOT_QUARTERS) for one in part], plan, seed=stay.seed)
            for stay, _ in towns
        ]

    def _part(self, stay: Stay, assumed: Assumptions, model: bytes = b"") -> _Part:
        return _Part(stay=stay, assumed=assumed, playbook=self.playbook, model=model)

    def _pilots(self, stay: Stay) -> list[Stay]:
        first, households = stay.seed * SEEDS_APART + PILOT_SEED, -(-self.pilot_households // PILOT_QUARTERS)
        return [
            replace(stay, seed=first + number, households=households, days=PILOT_DAYS)
            for number in range(PILOT_QUARTERS)
        ]


def _pilot(part: _Part) -> list[SeenAction]:
    return pilot(part.stay, _compiled(part.playbook), part.assumed)


def _live(part: _Part) -> ArmOutcomes:
    return live_quarter(part.stay, _compiled(part.playbook), part.assumed, part.model)


@cache
def _compiled(playbook: Path) -> Plan:
    return compile_playbook(playbook)
