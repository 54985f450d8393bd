"""One trial: a shard in its own process under load, killed and started again, and in the end judged.

async with trial(folder, seed=1) as one:
    await one.kills(20)
    verdict = await one.judged()
"""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from actors.failpoints import Failpoint
from actors.log.contract import LogUnavailable
from serving.shard_channel import ClientSettings, ShardChannel
from tests.chaos.load import Load
from tests.chaos.oracles import Verdict, judge
from tests.chaos.plain_replay import records_in
from tests.chaos.restarts import Nursery, ask
from tests.chaos.shard_process import PARTITIONS

SERVES_WITHIN_S = 60.0
DIES_WITHIN_S = 60.0
RESTS_WITHIN_S = 120.0
GOES_ON_S = 0.3
"""Under load, after a death, before the next."""

SETTINGS = ClientSettings(connect_timeout_s=1.0, backoff_first_s=0.02, backoff_max_s=0.05)


class NeverReached(AssertionError):
    """A failpoint was armed and load was there, and the process did not come by."""


class Trial:
    """A data directory, its shard and its clients."""

    def __init__(self, folder: Path, nursery: Nursery, channel: ShardChannel, *, seed: int, words: tuple[str, ...]):
        self.directory = folder / "log"
        self.socket = folder / "shard.sock"
        self.load = Load(channel, PARTITIONS, seed=seed)
        self.deaths: Counter[str] = Counter()
        """By failpoint, or `random`."""
        self._nursery = nursery
        self._channel = channel
        self._words = words
        self._chance = random.Random(seed)

    async def start(self, *words: str) -> None:
        """Start a shard; do not wait until it serves."""
        await self._nursery.start("--dir", str(self.directory), "--socket", str(self.socket), *self._words, *words)

    async def serves(self) -> None:
        """Wait until the shard owns all its partitions."""
        deadline_s = time.monotonic() + SERVES_WITHIN_S
        while True:
            with contextlib.suppress(OSError, ValueError):
                if len(await ask(self.socket, "report")) == PARTITIONS:
                    return
            assert time.monotonic() < deadline_s, "the shard does not serve"
            await asyncio.sleep(0.02)

    async def kills(self, count: int, *, after_s: tuple[float, float] = (0.02, 1.0)) -> None:
        """Kill the shard so many times, each after a random time since its start, and start it again."""
        for _ in range(count):
            await asyncio.sleep(self._chance.uniform(*after_s))
            self._nursery.kill()
            assert await self._nursery.ended(10.0) == signal.SIGKILL
            self.deaths["random"] += 1
            await self.start()
        await self.serves()

    async def dies_at(self, failpoint: Failpoint, hit: int) -> None:
        """Let the shard die at a failpoint when it comes there for the `hit`-th time; start it again without.

        Raises:
            NeverReached: it lives on.
        """
        self._nursery.kill()
        assert await self._nursery.ended(10.0) == signal.SIGKILL
        await self.start("--failpoint", failpoint.value, "--hit", str(hit))
        try:
            assert await self._nursery.ended(DIES_WITHIN_S) == signal.SIGKILL
        except TimeoutError:
            seen = await ask(self.socket, "reached")
            raise NeverReached(f"{failpoint}, hit {hit}; reached: {seen}") from None
        self.deaths[failpoint.value] += 1
        await self.start()
        await self.serves()
        await asyncio.sleep(GOES_ON_S)

    async def judged(self) -> Verdict:
        """End the load, wait until everything rests, and judge."""
        await asyncio.wait_for(self.load.end(), RESTS_WITHIN_S)
        await self._at_rest()
        await self.load.close()
        digests, records = await self._at_rest()
        history, ledger = self.load.history, self.load.ledger
        return await asyncio.to_thread(judge, records, history, ledger, live_digests=digests)

    async def _at_rest(self) -> tuple[dict[int, str], dict]:
        """Return the live digests and the records they belong to, once no moment is pending."""
        deadline_s = time.monotonic() + RESTS_WITHIN_S
        before: dict = {}
        while True:
            try:
                records = await asyncio.to_thread(records_in, self.directory, archive=Path(f"{self.directory}.archive"))
            except LogUnavailable:
                # A living owner has just dropped the segment file that was to be read next; it is in the archive now.
                assert time.monotonic() < deadline_s, "the log cannot be read"
                continue
            now = await ask(self.socket, "digests")
            is_pending = any(one["pending"] for one in now.values())
            if now == before and (not is_pending or time.monotonic() > deadline_s):
                return {int(partition): one["digest"] for partition, one in now.items()}, records
            assert time.monotonic() < deadline_s + 10.0, f"nothing comes to rest: {now}"
            before = now
            await asyncio.sleep(0.2)


@asynccontextmanager
async def trial(folder: Path, nursery: Nursery, *words: str, seed: int) -> AsyncIterator[Trial]:
    """Run a shard under load; `words` are further arguments of every start."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    channel = ShardChannel(f"unix:{folder / 'shard.sock'}", SETTINGS)
    one = Trial(folder, nursery, channel, seed=seed, words=words)
    try:
        await one.start()
        await one.serves()
        one.load.begin()
        yield one
    finally:
        one.load.cancel()
        await channel.close()
        if nursery.shard:
            with contextlib.suppress(ProcessLookupError):
                nursery.kill()
            await nursery.ended(10.0)
