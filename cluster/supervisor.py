"""Keeps Hearth going: runs it as a child process, cleans up after it, and starts it anew when it fell.

Some things cannot be mended within a run: Ray's raylet gone, or the process that is Ray's driver. Then the run ends as
a whole, every process of it is killed, and the next run begins on the same port. What was acknowledged is in the log.

A run is another process because Ray and Serve keep their state in globals: one interpreter cannot have them twice.
"""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cluster.children import Child, child, nobody_left
from cluster.config import HearthConfig
from cluster.errors import CommandFailed
from cluster.logs import keep_ray_logs
from cluster.output import say
from cluster.restarts import TEMPORARY_FAILURE, RestartBudget, RestartPolicy
from cluster.run_dir import run_dir

RUNNER_MODULE = "cluster.runner"

STOP_MARGIN_S = 40.0
"""What a run may take to end beyond the drain of its requests: Serve and Ray are stopped in order."""

Hear = Callable[[dict[str, Any]], None]
"""Is given each message of a run: `{"ready": True, "address": …}` once it answers, `{"model": …}` at each new model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """How a run ended."""

    code: int
    """Its exit code; below 0 the number of the signal that killed it."""
    was_ready: bool

    def __str__(self) -> str:
        if self.code >= 0:
            return f"ended by itself with exit code {self.code}"
        return f"was killed by {signal.Signals(-self.code).name}"


def supervise(
    config: HearthConfig,
    hear: Hear,
    *,
    check: Callable[[], None] = lambda: None,
    policy: RestartPolicy | None = None,
    runner_module: str | None = None,
) -> int:
    """Run Hearth until SIGINT or SIGTERM, through any number of runs that the policy allows; return the exit code.

    A first run that never became ready is not repeated unless it says that its failure is temporary: what hindered it
    would hinder the next. Nothing that was started is left at the end.

    Args:
        config: settled: absolute data directory, which this process holds; a port that is free.
        hear: is given what the runs say, in this thread.
        check: looks whether there can be a run at all, and raises if not, while the first one imports what it needs.
        policy: how often a run that fell is followed by another.
        runner_module: what a run is, instead of RUNNER_MODULE.

    Raises:
        CommandFailed: the first run was killed while it started, or runs fell more often than the policy allows.
    """
    budget = RestartBudget(policy or RestartPolicy())
    with _stop_asked() as stop:
        was_ready = False
        while True:
            ended = _run(config, hear, stop, check, runner_module or RUNNER_MODULE, is_first=not was_ready)
            check = _nothing
            was_ready = was_ready or ended.was_ready
            if stop.is_set():
                return max(ended.code, 0)
            if ended.code == 0:
                return 0
            if not was_ready and ended.code != TEMPORARY_FAILURE:
                return _refuse(ended)
            pause_s = budget.spend(time.monotonic())
            if pause_s is None:
                raise CommandFailed(
                    f"Hearth {ended}; it fell {budget.policy.count_max + 1} times within "
                    f"{budget.policy.window_s / 60:g} minutes and is not started again; "
                    f"its log files are in {config.data_dir / 'logs'}"
                )
            say(f"warning: Hearth {ended}; all that is left of it is gone, and it is started again")
            if stop.wait(pause_s):
                return 0


def _refuse(ended: _Ended) -> int:
    """Return the exit code of a run that has said itself why it could not begin."""
    if ended.code < 0:
        raise CommandFailed(f"Hearth {ended} while it started")
    return ended.code


def _nothing() -> None:
    """Nothing is left to be checked."""


@contextlib.contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """Yield what is set once this process is told to stop."""
    stop = threading.Event()
    before = {name: signal.signal(name, lambda *_: stop.set()) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _run(
    config: HearthConfig,
    hear: Hear,
    stop: threading.Event,
    check: Callable[[], None],
    runner_module: str,
    *,
    is_first: bool,
) -> _Ended:
    """Make one run, until it ends or is told to; nothing of it is left then."""
    stop_deadline_s = config.drain_deadline_s + STOP_MARGIN_S
    with run_dir() as folder:
        settings = config.model_dump(mode="json")
        order = json.dumps({"settings": settings, "run_dir": str(folder), "is_first": is_first})
        # What is left of a fallen run is killed on the spot: its shards would hold their logs, its edges the port.
        with (
            nobody_left(patience_s=0.0),
            child(runner_module, [], is_ordered=True, stop_deadline_s=stop_deadline_s) as running,
        ):
            check()
            running.hand_over(order)
            was_ready = _listen(running, hear, stop)
        ended = _Ended(code=running.process.wait(), was_ready=was_ready)
        if ended.code != 0:
            keep_ray_logs(folder, config.data_dir / "logs")
        return ended


def _listen(running: Child, hear: Hear, stop: threading.Event) -> bool:
    """Hand on what a run says until it ends or is to be stopped; return whether it was ready."""
    was_ready = False
    for line in running.lines(until=stop.is_set):
        message = _parse(line)
        if message is None:
            say(line.rstrip())
            continue
        was_ready = was_ready or bool(message.get("ready"))
        hear(message)
    return was_ready


def _parse(line: str) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
