"""The test's end of tests/chaos/shard_process.py: starts shards, kills them, sees them end, asks them."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

START_S_MAX = 120.0
"""For imports and, the first time on a machine, the compilation of the kernels."""


class Nursery:
    """A process that forks shards, one at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said: asyncio.Queue[dict] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())
        self.shard = 0
        """Process id of the shard that runs; 0 for none."""

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._said.put_nowait(json.loads(line))
        self._said.put_nowait({"gone": self._process.pid})

    async def _expect(self, what: str, within_s: float) -> dict:
        async with asyncio.timeout(within_s):
            said = await self._said.get()
        assert what in said, f"{what} was expected, the nursery said {said}"
        return said

    async def start(self, *words: str) -> int:
        """Fork a shard with these arguments; return its process id at once, before it serves."""
        assert self.shard == 0, "one shard at a time"
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self.shard = (await self._expect("started", 10.0))["started"]
        return self.shard

    def kill(self) -> None:
        """Kill the shard as a power cut would, memory and all."""
        os.kill(self.shard, signal.SIGKILL)

    async def ended(self, within_s: float) -> int:
        """Wait until the shard has ended; return the signal that ended it.

        Raises:
            TimeoutError: it goes on.
        """
        said = await self._expect("ended", within_s)
        self.shard = 0
        return said["signal"]

    async def close(self) -> None:
        """Kill the shard and the nursery."""
        if self.shard:
            with contextlib.suppress(ProcessLookupError):
                self.kill()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._reading.cancel()


@asynccontextmanager
async def nursery(errors: Path) -> AsyncIterator[Nursery]:
    """Run a nursery, whose shards write what they have to say to the file `errors`."""
    with errors.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.shard_process", "--nursery"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'protos'}"},
        )
    one = Nursery(process)
    try:
        await one._expect("ready", START_S_MAX)
        yield one
    finally:
        await one.close()


async def ask(socket: Path, question: str) -> dict:
    """Ask a running shard's wrapper; see `debug` in shard_process.py.

    Raises:
        OSError: there is none.
    """
    reader, writer = await asyncio.open_unix_connection(f"{socket}.debug")
    try:
        writer.write(question.encode() + b"\n")
        return json.loads(await reader.readline())
    finally:
        writer.close()
