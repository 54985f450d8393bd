"""`hearth models train --from`: learning from a training set on disk, whatever its size."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.commands.leaks import COMPARED_ROWS, refuse_leaks, unlike_what_was_served
from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.interruptions import INTERRUPTED, interruptions
from cluster.output import meter
from household.plan import Plan

if TYPE_CHECKING:
    from serving.models.bundle import BundleDraft
    from serving.models.examples import TrainingConfig
    from serving.models.training_at_size import ShowTraining


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a version is trained."""

    source: Path | None = None
    """A training set; None for the log."""
    device: str = "cpu"
    threads: int | None = None
    """None: one where it fits into memory, else as many as there are processors."""
    vouched_for: frozenset[str] = frozenset()
    """Columns that are no leaks, whatever they look like."""


def all_threads() -> int:
    """Return how many threads this process may run at once."""
    return len(os.sched_getaffinity(0))


def train_on_disk(
    config: HearthConfig, plan: Plan, source: Path, *, seed: int, learning: "TrainingConfig", device: str
) -> "BundleDraft":
    """Return a model of a training set on disk; Ctrl-C leaves nothing behind.

    Raises:
        UsageWrong: it is no training set of the playbook in force.
        CommandFailed: it leaks, its label is another, it was stopped, or the device is not there.
        NotEnoughData
    """
    from household.scoring import feature_schema
    from serving.models.dataset import ACCEPTED
    from serving.models.leaks import LeaksFound
    from serving.models.tables import BadExport
    from serving.models.training_at_size import (
        Device,
        DeviceMissing,
        TrainingRun,
        TrainingStopped,
        check_device,
        train_from,
    )
    from serving.models.training_sets import DECISION, HOUSEHOLD, TrainingSet

    try:
        check_device(Device(device))
        opened = TrainingSet(source, feature_schema(plan))
        if opened.label_name != ACCEPTED:
            raise UsageWrong(f"the label of {source} is {opened.label_name!r}; versions predict {ACCEPTED!r}")
        with interruptions() as is_stopped, _stages() as show:
            leaks = unlike_what_was_served(config, opened, opened.sample(COMPARED_ROWS, also=(HOUSEHOLD, DECISION)))
            leaks = [one for one in leaks if one.column not in learning.allowed]
            if leaks:
                raise refuse_leaks(leaks)
            run = TrainingRun(device=Device(device), is_stopped=is_stopped, show=show)
            return train_from(opened, plan, seed=seed, config=learning, run=run)
    except BadExport as wrong:
        raise UsageWrong(str(wrong)) from wrong
    except DeviceMissing as missing:
        raise UsageWrong(str(missing)) from missing
    except LeaksFound as found:
        raise refuse_leaks(found.leaks) from found
    except TrainingStopped as stopped:
        raise CommandFailed("stopped; no version was saved", INTERRUPTED) from stopped


@contextmanager
def _stages() -> Iterator["ShowTraining"]:
    """Yield what shows progress, with a bar of its own for each stage: what stands before the comma of its note."""
    with ExitStack() as bars:
        stage, shown = "", None

        def show(done: int, total: int | None, note: str) -> None:
            nonlocal stage, shown
            now, _, rest = note.partition(", ")
            if now != stage or shown is None:
                bars.close()
                stage, shown = now, bars.enter_context(meter(now, unit="rows" if now != "trees" else ""))
            shown(done, total, rest)

        yield show
