"""The playbook in force, spread: every partition's owner goes over to it, and whoever was not there is told later.

Partitions that decide by another version than the one in force are looked for all the time, so nothing is lost by
whoever dies meanwhile: a shard, or the coordinator, which learns anew what is in force.
"""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from typing import Any

from cluster.shard_seen import ShardSeen, within

logger = logging.getLogger(__name__)

READY_DEADLINE_S = 10.0
TOLD_DEADLINE_S = 5.0
PAUSE_S = 0.05


class NotReady(Exception):
    """A shard cannot go over to a plan, or does not say whether it can; nothing was changed."""


class PlaybookSpread:
    """Sees to it that every partition decides by one plan. In the coordinator's loop."""

    def __init__(self, shards: Mapping[str, ShardSeen], *, plan_bytes: bytes, partition_count: int) -> None:
        """Take the shards, by name, as they come to be known, and the plan that is in force at first."""
        self._shards = shards
        self.partition_count = partition_count
        self._plan_bytes, self._number = plan_bytes, 0

    @property
    def plan_bytes(self) -> bytes:
        """The plan in force: whoever opens a partition decides by it."""
        return self._plan_bytes

    @property
    def version(self) -> str:
        """Of that plan."""
        return hashlib.sha256(self._plan_bytes).hexdigest()[:16]

    @property
    def live(self) -> int:
        """Partitions that decide by it, as far as their shards have said."""
        version = self.version
        return len(
            {
                partition
                for seen in self._shards.values()
                for partition, facts in seen.partitions.items()
                if facts.get("plan_version") == version
            }
        )

    def use(self, plan_bytes: bytes, number: int) -> None:
        """Take another plan for the one in force: from here on it is spread. `number` is of the change."""
        self._plan_bytes, self._number = plan_bytes, number

    async def ready(self, plan_bytes: bytes) -> None:
        """Have every shard that is there read a plan and lay it out.

        Raises:
            NotReady
        """

        async def ask(seen: ShardSeen) -> None:
            asked = seen.started
            try:
                await within(READY_DEADLINE_S, seen.handle.ready_plan.remote(plan_bytes))
            except Exception as wrong:
                # One that has died meanwhile is made anew, and reads it then.
                if seen.started is asked:
                    told = str(wrong).strip().splitlines() or [type(wrong).__name__]
                    raise NotReady(f"{seen.name} cannot go over to it: {told[-1]}; nothing was changed") from wrong

        await asyncio.gather(*(ask(one) for one in self._shards.values() if one.started is not None))

    async def spread_within(self, patience_s: float) -> None:
        """Tell all partitions, until they all decide by it or it has taken so long."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + patience_s
        while True:
            await self.spread()
            if self.live >= self.partition_count or loop.time() >= until_s:
                return
            await asyncio.sleep(PAUSE_S)

    async def spread(self) -> None:
        """Tell every partition once that is known to decide by another version."""
        version = self.version
        await asyncio.gather(
            *(
                self._tell(seen, partition, facts)
                for seen in self._shards.values()
                for partition, facts in list(seen.partitions.items())
                if facts.get("plan_version", version) != version
            )
        )

    async def _tell(self, seen: ShardSeen, partition: int, facts: dict[str, Any]) -> None:
        plan_bytes, number, version = self._plan_bytes, self._number, self.version
        try:
            await within(TOLD_DEADLINE_S, seen.handle.use_plan.remote(partition, plan_bytes, number))
        except Exception as wrong:  # noqa: BLE001 - whatever it is, its next report shows whether it is to be told again
            told = str(wrong).partition("\n")[0] or type(wrong).__name__
            logger.warning("partition %d does not decide by playbook %s yet: %s", partition, version, told)
            return
        facts["plan_version"] = version
        if (present := seen.partitions.get(partition)) is not None:
            present["plan_version"] = version

    async def instances(self) -> dict[str, dict[str, int]]:
        """Return how many instances live: journey → state → count, as far as shards answer."""
        serving = [one for one in self._shards.values() if one.started is not None and one.partitions]
        counted: dict[str, dict[str, int]] = {}
        for answer in await asyncio.gather(
            *(within(READY_DEADLINE_S, one.handle.instances.remote()) for one in serving)
        ):
            for (journey, state), count in answer.items():
                of_journey = counted.setdefault(journey, {})
                of_journey[state] = of_journey.get(state, 0) + count
        return counted
