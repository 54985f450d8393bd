"""Laws: the partitions of a shard on another node go to whoever is there once its lease has run out, though Ray still
takes it for alive; it is given nothing meanwhile, and it is told to end. Slots are dealt out in rounds.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.coordinator import Coordinator
from cluster.metadata import MetadataStore, sqlite_url
from cluster.state_plane import deal_out
from tests.actors.harness import in_loop

PARTITIONS = 4


class FarShard:
    """A shard as the coordinator sees it, on a node of its own; its lease is renewed whenever it is asked."""

    def __init__(self, metadata: MetadataStore, name: str) -> None:
        self.name = name
        self.holder = f"{name}/1"
        self.is_hung = False
        self.assigned: dict[int, int] = {}
        self._metadata = metadata

    def __getattr__(self, method: str) -> Any:
        call = getattr(type(self), f"_{method}")
        return type("Method", (), {"remote": lambda _, *given, **named: call(self, *given, **named)})()

    async def _start(self) -> dict[str, Any]:
        node = f"node of {self.name}"
        self._metadata.register(self.holder, node=node, process_id=1, process_started_s=1.0, address="", term_ms=1_500)
        return {
            "address": self.name,
            "holder": self.holder,
            "node": node,
            "process_id": 1,
            "process_started_s": 0.0,
        }

    async def _until_gone(self) -> None:
        await asyncio.Event().wait()

    async def _report(self) -> dict[int, dict[str, Any]]:
        if self.is_hung:
            await asyncio.Event().wait()
        self._metadata.renew(self.holder)
        return {partition: {"epoch": epoch, "is_lost": False} for partition, epoch in self.assigned.items()}

    async def _assign(self, partition: int, *, plan_bytes: bytes, epoch: int) -> int:
        assert not self.is_hung, "a hung shard was given a partition"
        self.assigned[partition] = epoch
        return epoch

    async def _use_model(self, model: object) -> None: ...

    async def _drain(self) -> None: ...


@in_loop
async def test_partitions_leave_a_hung_shard_of_another_node_with_its_lease(tmp_path: Path):
    url = sqlite_url(tmp_path / "metadata.sqlite")
    metadata = MetadataStore(url)
    first, second, spare = (FarShard(metadata, name) for name in ("shard-0", "shard-1", "shard-2"))
    ended: list[Any] = []
    coordinator = Coordinator(
        metadata_url=url, partition_count=PARTITIONS, plan_bytes=b"", lease_margin_ms=300, end_actor=ended.append
    )
    await coordinator.start({"shard-0": first, "shard-1": second}, {"shard-2": spare})
    await until(lambda: "shard-2/1" in {one.holder for one in metadata.leases()})
    await until(lambda: set(second.assigned) == {1, 3})

    second.is_hung = True
    await until(lambda: set(spare.assigned) == {1, 3})
    await until(lambda: len({one.holder for one in metadata.ownerships()}) == 2)
    routes = await coordinator.routes()

    assert routes.owners == {0: "shard-0", 1: "shard-2", 2: "shard-0", 3: "shard-2"}
    assert ended == [second]
    assert {one.holder for one in metadata.ownerships()} == {"shard-0/1", "shard-2/1"}
    second.is_hung = False
    await coordinator.stop()
    metadata.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a store tells nobody
        await asyncio.sleep(0.02)


def test_slots_are_dealt_out_in_rounds():
    assert deal_out({"a": 1, "b": 3, "c": 2}) == ["a", "b", "c", "b", "c", "b"]
    assert deal_out({}) == []
