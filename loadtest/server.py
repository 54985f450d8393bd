"""A real Hearth for a benchmark: `hearth up` as a subprocess, and other `hearth` commands on its data directory."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

STARTS_WITHIN_S = 120.0
STOPS_WITHIN_S = 60.0
LOG_SHOWN_BYTES = 4_000


class HearthFailed(Exception):
    """A `hearth` command did not do what it was asked; the message holds what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningHearth:
    """A Hearth that answers."""

    address: str
    pid: int


def hearth_command() -> list[str]:
    """Return how to call `hearth`: the one beside this Python, or on the path, or the module."""
    beside = Path(sys.executable).with_name("hearth")
    found = str(beside) if beside.exists() else shutil.which("hearth")
    return [found] if found else [sys.executable, "-m", "cluster.cli"]


async def run_hearth(*arguments: str) -> str:
    """Run a `hearth` command to its end and return its output.

    Raises:
        HearthFailed: it exited with an error.
    """
    process = await asyncio.create_subprocess_exec(
        *hearth_command(), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complained = await process.communicate()
    if process.returncode != 0:
        tail = complained[-LOG_SHOWN_BYTES:].decode(errors="replace")
        raise HearthFailed(f"hearth {' '.join(arguments)} ended with {process.returncode}:\n{tail}")
    return said.decode()


@asynccontextmanager
async def running_hearth(
    data_dir: Path, playbook: Path, *, clock: str = "stream", options: tuple[str, ...] = ()
) -> AsyncIterator[RunningHearth]:
    """Start `hearth up` and stop it at the end, waiting until it is gone.

    Raises:
        HearthFailed: it ended, or was not ready in time.
    """
    log_path = data_dir.with_name(data_dir.name + ".log")
    arguments = [
        "up",
        "--data-dir",
        str(data_dir),
        "--playbook",
        str(playbook),
        "--clock",
        clock,
        "--port",
        "0",
        "--json",
    ]
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *hearth_command(),
            *arguments,
            *options,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches us; we stop it in our own time
        )
        try:
            running = await _ready(process, log_path)
            drain = asyncio.create_task(_drain(process))
            yield running
            drain.cancel()
        finally:
            await _stop(process)


async def _ready(process: asyncio.subprocess.Process, log_path: Path) -> RunningHearth:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(STARTS_WITHIN_S):
            while line := await process.stdout.readline():
                if line.lstrip().startswith(b"{"):
                    told = json.loads(line)
                    if "address" in told:
                        return RunningHearth(address=str(told["address"]), pid=int(told.get("pid", process.pid)))
    except TimeoutError as late:
        raise HearthFailed(f"hearth up was not ready within {STARTS_WITHIN_S:g} s:\n{_tail(log_path)}") from late
    raise HearthFailed(f"hearth up ended before it was ready:\n{_tail(log_path)}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read on, or a full pipe would stop it."""
    assert process.stdout is not None
    while await process.stdout.readline():
        pass


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOPS_WITHIN_S)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _tail(log_path: Path) -> str:
    return log_path.read_bytes()[-LOG_SHOWN_BYTES:].decode(errors="replace")
