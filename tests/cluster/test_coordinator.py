"""How the coordinator keeps every partition owned, with shards that are told what to do instead of real ones.

Laws:
    a partition that a living shard holds without serving it is opened again by that shard, whoever was meant for it;
    the metadata store may be away at any moment: what watches goes on, and a new coordinator is none the worse for it;
    one partition that takes long to open keeps no other waiting;
    a coordinator that was just made takes no routes away from anybody;
    what a shard said before it died does not count for the one made in its place;
    a process is told from a later one of its id by what setting the clock does not change.
"""

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.coordinator import REPORT_DEADLINE_S, Coordinator, NotIntroduced
from cluster.metadata import MetadataStore, MetadataUnavailable, sqlite_url
from cluster.node import end, is_gone, node_identity, process_started_s
from cluster.shard_seen import ShardSeen, StartedShard
from serving.models.in_force import PRIORS_IN_FORCE, ModelInForce
from tests.actors.harness import in_loop

WITHIN_S = 10.0


class Remote:
    """What Ray makes of a method."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self.method = method

    def remote(self, *arguments: Any, **named: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self.method(*arguments, **named))


class Died(Exception):
    """The process of an actor is gone."""


class FakeShard:
    """A shard that holds its lease and opens what it is given, unless it is told otherwise."""

    def __init__(self, name: str, metadata: MetadataStore, *, process_id: int = 1, node: str = "elsewhere") -> None:
        self.name = name
        self.metadata = metadata
        self.process_id = process_id
        self.node = node
        self.life = 1
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.may_report = asyncio.Event()
        self.may_report.set()
        self.may_open: dict[int, asyncio.Event] = {}
        self.refusals: list[int] = []
        """Partitions whose next assignment fails."""
        self.gives_up = False
        """Whether it says so to the metadata store when it cannot open what it was given."""
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.model = PRIORS_IN_FORCE
        self.refused_models: set[str] = set()
        self.owned: dict[int, dict[str, Any]] = {}
        self.starts = 0
        self.asked = 0
        """Questions that are not answered yet."""
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for method in ("start", "until_gone", "assign", "report", "use_model", "drain"):
            setattr(self, method, Remote(getattr(self, f"_{method}")))

    @property
    def holder(self) -> str:
        return f"{self.name}/{self.life}"

    def die(self) -> str:
        """Return which holder it was."""
        died = self.holder
        self.owned = {}
        self.life += 1
        before, self._gone = self._gone, asyncio.get_running_loop().create_future()
        before.set_exception(Died())
        return died

    async def _start(self) -> StartedShard:
        self.starts += 1
        await self.may_start.wait()
        named: dict[str, Any] = {
            "node": self.node,
            "process_id": self.process_id,
            "process_started_s": process_started_s(self.process_id),
        }
        self.metadata.register(self.holder, address="", term_ms=2_500, **named)
        return StartedShard(address=f"of {self.holder}", holder=self.holder, **named)

    async def _until_gone(self) -> None:
        await asyncio.shield(self._gone)

    async def _assign(self, partition: int, *, plan_bytes: bytes, epoch: int) -> int:
        if partition in self.refusals:
            self.refusals.remove(partition)
            if self.gives_up:
                self.metadata.give_up(partition, holder=self.holder, epoch=epoch)
            raise OSError("not now")
        if partition in self.may_open:
            await self.may_open[partition].wait()
        self.owned[partition] = {"epoch": epoch, "is_lost": False}
        return epoch

    async def _report(self) -> dict[int, dict[str, Any]]:
        self.asked += 1
        await self.may_report.wait()
        self.asked -= 1
        self.metadata.renew(self.holder)
        return {partition: dict(facts) for partition, facts in self.owned.items()}

    async def _use_model(self, model: ModelInForce) -> None:
        await self.may_load.wait()
        if model.version in self.refused_models:
            raise OSError(f"{model.version} is damaged")
        self.model = model

    async def _drain(self) -> None: ...


class World:
    """A coordinator and what it is told of."""

    def __init__(self, directory: Path, partition_count: int) -> None:
        self.url = sqlite_url(directory / "metadata.sqlite")
        self.metadata = MetadataStore(self.url)
        self.coordinator = Coordinator(
            metadata_url=self.url, partition_count=partition_count, plan_bytes=b"", lease_margin_ms=500
        )

    async def until_served_by(self, shard: FakeShard, *partitions: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while True:
                owners = await self.owners()
                if all(owners.get(one) == f"of {shard.holder}" for one in partitions):
                    return
                await asyncio.sleep(0.02)

    async def until_known(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not self.coordinator._knows_its_shards:  # noqa: ASYNC110 - another task makes it so
                await asyncio.sleep(0.02)

    async def owners(self) -> dict[int, str]:
        return dict((await self.coordinator.routes()).owners)


@asynccontextmanager
async def world(directory: Path, partition_count: int = 1) -> AsyncIterator[World]:
    made = World(directory, partition_count)
    try:
        yield made
    finally:
        await made.coordinator.stop()
        made.metadata.close()


@asynccontextmanager
async def ended(processes: list[asyncio.subprocess.Process]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not is_so():  # noqa: ASYNC110 - other tasks make it so
            await asyncio.sleep(0.02)


@in_loop
async def test_what_a_living_spare_holds_and_could_not_open_is_not_given_to_others_in_vain(tmp_path: Path):
    async with world(tmp_path, partition_count=2) as it:
        home, spare = FakeShard("shard-0", it.metadata), FakeShard("shard-1", it.metadata)
        await it.coordinator.start({"shard-0": home}, {"shard-1": spare})
        await it.until_served_by(home, 0, 1)

        home.may_start.clear()
        spare.refusals = [0]
        it.metadata.revoke(home.die(), None)
        await it.until_served_by(spare, 1)
        # Its home is back before the spare gets to try again.
        home.may_start.set()
        await it.until_served_by(spare, 0)


@in_loop
async def test_what_one_shard_cannot_open_another_is_asked_to_and_then_the_first_again(tmp_path: Path):
    async with world(tmp_path, partition_count=2) as it:
        shards = [FakeShard(f"shard-{number}", it.metadata) for number in range(2)]
        for one in shards:
            one.gives_up = True
        shards[0].refusals = [0, 0, 0]
        await it.coordinator.start({one.name: one for one in shards})
        await it.until_served_by(shards[1], 0, 1)
        assert shards[0].refusals == [0, 0], "asked once"

        shards[1].refusals, shards[0].refusals = [0], []
        shards[1].owned[0]["is_lost"] = True
        await it.until_served_by(shards[0], 0)


def is_back(seen: ShardSeen, shard: FakeShard) -> bool:
    """Return whether a shard that died has begun anew, and may be given partitions."""
    return seen.holder == shard.holder and seen.started is not None and seen.is_able


@in_loop
async def test_whoever_has_stood_in_for_another_is_not_given_its_own_as_well(tmp_path: Path):
    """It would be twice as long in opening all of it, when it dies, while another has nothing to do."""
    async with world(tmp_path, partition_count=4) as it:
        first, second, spare = (FakeShard(f"shard-{number}", it.metadata) for number in range(3))
        await it.coordinator.start({"shard-0": first, "shard-1": second}, {"shard-2": spare})
        await it.until_served_by(first, 0, 2)
        await it.until_served_by(second, 1, 3)
        await until(lambda: it.coordinator._shards["shard-2"].is_able)

        it.metadata.revoke(second.die(), None)
        await it.until_served_by(spare, 1, 3)
        await until(lambda: is_back(it.coordinator._shards["shard-1"], second))
        it.metadata.revoke(first.die(), None)
        await it.until_served_by(second, 0, 2)
        await until(lambda: is_back(it.coordinator._shards["shard-0"], first))
        it.metadata.revoke(spare.die(), None)
        await it.until_served_by(first, 1, 3)


@in_loop
async def test_a_process_that_dies_while_it_is_asked_is_missed_at_once(tmp_path: Path):
    processes = [await asyncio.create_subprocess_exec("sleep", "1000") for _ in range(2)]
    async with ended(processes), world(tmp_path) as it:
        here = [FakeShard(f"shard-{n}", it.metadata, process_id=processes[n].pid, node=node_identity()) for n in (0, 1)]
        await it.coordinator.start({"shard-0": here[0]}, {"shard-1": here[1]})
        await it.until_served_by(here[0], 0)
        await until(lambda: it.coordinator._shards["shard-1"].started is not None)

        here[0].may_report.clear()
        await until(lambda: here[0].asked > 0)
        processes[0].kill()
        async with asyncio.timeout(REPORT_DEADLINE_S / 2):
            await it.until_served_by(here[1], 0)


@in_loop
async def test_what_a_shard_is_just_opening_counts_among_what_it_has_to_do(tmp_path: Path):
    async with world(tmp_path, partition_count=4) as it:
        first, second, spare = (FakeShard(f"shard-{number}", it.metadata) for number in range(3))
        await it.coordinator.start({"shard-0": first, "shard-1": second}, {"shard-2": spare})
        await it.until_served_by(first, 0, 2)
        await until(lambda: it.coordinator._shards["shard-2"].is_able)

        spare.may_open = {1: asyncio.Event(), 3: asyncio.Event()}
        it.metadata.revoke(second.die(), None)
        await until(lambda: it.coordinator._placement.assigning == {1: "shard-2", 3: "shard-2"})
        await until(lambda: is_back(it.coordinator._shards["shard-1"], second))
        it.metadata.revoke(first.die(), None)
        await it.until_served_by(second, 0, 2)
        for opened in spare.may_open.values():
            opened.set()
        await it.until_served_by(spare, 1, 3)


@in_loop
async def test_a_process_that_cannot_be_ended_keeps_no_other_lease_from_being_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    may_end = threading.Event()
    monkeypatch.setattr("cluster.takeover.end", lambda *_: may_end.wait(WITHIN_S))
    async with world(tmp_path) as it:
        stuck, other = [await asyncio.create_subprocess_exec("sleep", "1000") for _ in range(2)]
        async with ended([stuck, other]):
            register(it.metadata, "shard-8/1", stuck.pid, term_ms=200)
            register(it.metadata, "shard-9/1", other.pid, term_ms=1_500)
            try:
                await it.coordinator.start({"shard-0": FakeShard("shard-0", it.metadata)})
                await until(lambda: sum(one.is_revoked for one in it.metadata.leases()) == 2)
                await until(lambda: len(it.coordinator._takeover.ending) == 2)
            finally:
                may_end.set()


@in_loop
async def test_what_a_living_spare_has_lost_it_opens_again(tmp_path: Path):
    async with world(tmp_path) as it:
        home, spare = FakeShard("shard-0", it.metadata), FakeShard("shard-1", it.metadata)
        await it.coordinator.start({"shard-0": home}, {"shard-1": spare})
        await it.until_served_by(home, 0)
        home.may_start.clear()
        it.metadata.revoke(home.die(), None)
        await it.until_served_by(spare, 0)
        starts = home.starts
        home.may_start.set()
        await until(lambda: home.starts >= starts and it.coordinator._shards["shard-0"].started is not None)

        first = spare.owned[0]["epoch"]
        spare.owned[0]["is_lost"] = True
        await until(lambda: spare.owned[0]["epoch"] > first)
        await it.until_served_by(spare, 0)


@in_loop
async def test_a_coordinator_begins_though_the_metadata_store_is_away(tmp_path: Path):
    missing = tmp_path / "later"
    async with world(missing) as it:
        shard = FakeShard("shard-0", it.metadata)
        starting = asyncio.create_task(it.coordinator.start({"shard-0": shard}))
        await until(lambda: shard.starts > 0)
        missing.mkdir()
        await starting
        await it.until_served_by(shard, 0)


@in_loop
async def test_a_shard_that_dies_while_the_metadata_store_is_away_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    processes = [await asyncio.create_subprocess_exec("sleep", "1000") for _ in range(2)]
    async with ended(processes), world(tmp_path) as it:
        shard = FakeShard("shard-0", it.metadata, process_id=processes[0].pid, node=node_identity())
        await it.coordinator.start({"shard-0": shard})
        await it.until_served_by(shard, 0)

        def away(holder: str, seen_renewals: int | None) -> bool:
            raise MetadataUnavailable("test", "away")

        monkeypatch.setattr(it.coordinator._metadata, "revoke", away)
        processes[0].kill()
        await processes[0].wait()
        shard.process_id = processes[1].pid
        shard.die()
        await until(lambda: shard.starts == 2)
        monkeypatch.undo()
        await it.until_served_by(shard, 0)


@in_loop
async def test_a_revocation_that_was_never_answered_moves_the_partitions_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with world(tmp_path) as it:
        home, spare = FakeShard("shard-0", it.metadata), FakeShard("shard-1", it.metadata)
        await it.coordinator.start({"shard-0": home}, {"shard-1": spare})
        await it.until_served_by(home, 0)

        def unanswered(holder: str, seen_renewals: int | None) -> bool:
            it.metadata.revoke(holder, seen_renewals)
            raise MetadataUnavailable("test", "no answer")

        monkeypatch.setattr(it.coordinator._metadata, "revoke", unanswered)
        home.may_report.clear()
        await it.until_served_by(spare, 0)


@in_loop
async def test_a_partition_that_takes_long_to_open_keeps_no_other_waiting(tmp_path: Path):
    async with world(tmp_path, partition_count=2) as it:
        shards = [FakeShard(f"shard-{number}", it.metadata) for number in range(2)]
        shards[0].may_open[0] = asyncio.Event()
        starting = asyncio.create_task(it.coordinator.start({one.name: one for one in shards}))
        await it.until_known()
        await it.until_served_by(shards[1], 1)
        shards[1].owned[1]["is_lost"] = True
        first = shards[1].owned[1]["epoch"]
        await until(lambda: shards[1].owned[1]["epoch"] > first)
        assert not starting.done()
        shards[0].may_open[0].set()
        await starting
        await it.until_served_by(shards[0], 0)


@in_loop
async def test_a_model_that_takes_long_to_load_keeps_no_partition_waiting(tmp_path: Path):
    async with world(tmp_path) as it:
        shard = FakeShard("shard-0", it.metadata)
        never = asyncio.Event()
        shard.use_model = Remote(lambda *_: never.wait())  # type: ignore[attr-defined]
        await it.coordinator.start({"shard-0": shard})
        telling = asyncio.create_task(it.coordinator.use_model(ModelInForce(version="some")))
        await asyncio.sleep(0)
        first = shard.owned[0]["epoch"]
        shard.owned[0]["is_lost"] = True
        await until(lambda: shard.owned[0]["epoch"] > first)
        never.set()
        await telling


@in_loop
async def test_a_shard_is_given_nothing_before_it_has_the_model_in_force(tmp_path: Path):
    async with world(tmp_path, partition_count=2) as it:
        shards = [FakeShard(f"shard-{number}", it.metadata) for number in range(2)]
        shards[1].may_load.clear()
        model = ModelInForce(version="v1")
        starting = asyncio.create_task(it.coordinator.start({one.name: one for one in shards}, {}, model))
        await until(lambda: shards[0].model == model)
        for _ in range(20):
            await asyncio.sleep(0)
        assert [one.owned for one in shards] == [{}, {}], "a decision here would be by the priors"
        assert not (await it.coordinator.routes()).ready
        shards[1].may_load.set()
        await starting
        assert (await it.coordinator.routes()).ready
        assert [sorted(one.owned) for one in shards] == [[0], [1]]
        report = await it.coordinator.report()
        assert (report["model_version"], report["model_trouble"]) == ("v1", {})

        # One that Ray has made anew has to load it again before it is given anything.
        shards[0].may_load.clear()
        shards[0].model = PRIORS_IN_FORCE
        shards[0].die()
        it.metadata.revoke("shard-0/1", None)
        await until(lambda: sorted(shards[1].owned) == [0, 1])
        assert shards[0].owned == {}


@in_loop
async def test_a_shard_that_cannot_load_the_model_serves_all_the_same_and_is_told_of(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("cluster.model_spread.MODEL_PAUSE_S", 0.05)
    async with world(tmp_path) as it:
        shard = FakeShard("shard-0", it.metadata)
        shard.refused_models.add("v1")
        model = ModelInForce(version="v1")
        await it.coordinator.start({"shard-0": shard}, {}, model)
        await it.until_served_by(shard, 0)
        assert (await it.coordinator.report())["model_trouble"] == {"shard-0": "v1 is damaged"}

        shard.refused_models.clear()
        await until(lambda: shard.model == model)
        assert (await it.coordinator.report())["model_trouble"] == {}


@in_loop
async def test_a_new_coordinator_has_no_routes_until_it_has_looked_at_the_shards_there_are(tmp_path: Path):
    async with world(tmp_path, partition_count=2) as it:
        shards = [FakeShard(f"shard-{number}", it.metadata) for number in range(2)]
        await it.coordinator.start({one.name: one for one in shards})
        for number, shard in enumerate(shards):
            await it.until_served_by(shard, number)

        # One of them hangs: the other is known all the same, and nothing is moved.
        shards[0].may_start.clear()
        async with world(tmp_path, partition_count=2) as anew:
            with pytest.raises(NotIntroduced):
                await anew.coordinator.routes()
            await anew.coordinator.add_spares({"shard-2": FakeShard("shard-2", anew.metadata)})
            starting = asyncio.create_task(anew.coordinator.start({one.name: one for one in shards}))
            await anew.until_known()
            assert await anew.owners() == {1: "of shard-1/1"}
            shards[0].may_start.set()
            await starting
            await anew.until_served_by(shards[0], 0)


@in_loop
async def test_what_was_assigned_to_one_that_died_meanwhile_is_not_taken_for_served(tmp_path: Path):
    async with world(tmp_path) as it:
        shard = FakeShard("shard-0", it.metadata)
        shard.may_open[0] = asyncio.Event()
        starting = asyncio.create_task(it.coordinator.start({"shard-0": shard}))
        await it.until_known()
        await until(lambda: it.metadata.ownership(0).holder == "shard-0/1")
        # Ray carries out a call that a dead actor left behind in the one that it makes in its place.
        shard.may_start.clear()
        it.metadata.revoke(shard.die(), None)
        await until(lambda: it.coordinator._shards["shard-0"].started is None)
        shard.may_open[0].set()
        await starting
        assert it.coordinator._shards["shard-0"].partitions == {}


def test_a_process_is_the_same_after_the_clock_was_set(monkeypatch: pytest.MonkeyPatch):
    started_s = process_started_s()
    boot_s = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_s + 3_600.0)
    assert not is_gone(os.getpid(), started_s)
    assert is_gone(os.getpid(), started_s + 1.0)


def test_a_process_that_was_ended_is_gone_before_anybody_has_waited_for_it():
    process = subprocess.Popen(["sleep", "1000"])
    try:
        assert not is_gone(process.pid)
        deadline_s = time.monotonic() + WITHIN_S
        process.kill()
        while not is_gone(process.pid):
            assert time.monotonic() < deadline_s
        assert end(process.pid, 0.0)
    finally:
        process.kill()
        process.wait()
    assert is_gone(process.pid)


@in_loop
async def test_one_that_is_stopped_and_that_a_new_coordinator_has_never_heard_of_is_ended(tmp_path: Path):
    """It keeps its logs locked for as long as it is there, lease or not."""
    async with world(tmp_path) as it:
        process = await asyncio.create_subprocess_exec("sleep", "60")
        async with ended([process]):
            register(it.metadata, "shard-9/1", process.pid, term_ms=200)
            assert it.metadata.take(0, holder="shard-9/1", seen_epoch=0, epoch=1)
            process.send_signal(signal.SIGSTOP)
            shard = FakeShard("shard-0", it.metadata)
            await it.coordinator.start({"shard-0": shard})
            async with asyncio.timeout(WITHIN_S):
                assert await process.wait() == -signal.SIGKILL
            await it.until_served_by(shard, 0)


def register(metadata: MetadataStore, holder: str, process_id: int, *, term_ms: int) -> None:
    facts: dict[str, Any] = {"process_id": process_id, "process_started_s": process_started_s(process_id)}
    assert metadata.register(holder, node=node_identity(), address="", term_ms=term_ms, **facts)


@in_loop
async def test_one_that_dies_before_a_new_coordinator_has_heard_of_it_keeps_nobody_waiting(tmp_path: Path):
    async with world(tmp_path) as it:
        process = await asyncio.create_subprocess_exec("sleep", "60")
        async with ended([process]):
            register(it.metadata, "shard-9/1", process.pid, term_ms=600_000)
            assert it.metadata.take(0, holder="shard-9/1", seen_epoch=0, epoch=1)
            shard = FakeShard("shard-0", it.metadata)
            await it.coordinator.start({"shard-0": shard})
            await until(lambda: it.coordinator._shards["shard-0"].started is not None)
            assert await it.owners() == {}, "the other one lives and may serve it"
            process.kill()
            await it.until_served_by(shard, 0)
