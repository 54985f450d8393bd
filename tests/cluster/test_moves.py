"""Moves from shard to shard: a coordinator and real shards in one process, without Ray and without a network.

Laws:
    whichever step fails, whoever dies at it, the partition has one owner, who serves it again; nothing is lost;
    a coordinator that is made anew carries on with what was asked, and with the move that was under way;
    what was asked for is done and stays so: scaled out and in, drained and filled again, evened out;
    what cannot be is refused, and says why; asking twice is asking once;
    by itself it moves only where things have been uneven for a while.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actors import failpoints
from actors.failpoints import Failpoint
from actors.log.location import InFiles, LogLocation, log_location
from actors.partition.caller import Caller
from actors.partition.scoring_settings import ScoringConfig
from actors.shard.config import ShardConfig
from cluster import balancer, moves, shard_actor
from cluster.coordinator import Coordinator
from cluster.leases import LeaseSettings
from cluster.metadata import MetadataStore, MoveRow, sqlite_url
from cluster.moves import MoveStep
from cluster.shard_actor import ShardActor, Stores
from hearth.internal.v1 import shard_pb2
from hearth.v1 import signal_pb2
from serving.signal_batches import batch_from_signals
from tests.actors.harness import corner, in_loop, signal
from tests.cluster.test_coordinator import until
from tests.parts.kafka_broker import shared_broker
from wire.batches import ipc_bytes
from wire.failures import CallFailed
from wire.partitions import partition_of

WITHIN_S = 30.0
PARTITIONS = 4
_BORN = [
    [one for number in range(100) if partition_of((one := f"h{number}").encode(), PARTITIONS) == partition]
    for partition in range(PARTITIONS)
]
"""Households by the partition in which they lie."""
METHODS = ("start", "until_gone", "assign", "prepare", "hand_over", "forget", "report", "use_model", "drain")


class Died(Exception):
    """What Ray says of a call to an actor that is gone."""


class Actor:
    """What Ray makes of a shard: calls by `remote`, another process of the same name after a death."""

    def __init__(self, make: Callable[[], ShardActor]) -> None:
        self._make = make
        self.actor = make()
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begun: list[str] = []
        """Methods that were called."""
        for name in METHODS:
            setattr(self, name, _Method(self, name))

    async def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        self.begun.append(name)
        if name == "until_gone":
            return await asyncio.shield(self._gone)
        call = asyncio.ensure_future(getattr(self.actor, name)(*arguments, **named))
        await asyncio.wait({call, self._gone}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            raise Died
        return call.result()

    def die(self) -> str:
        """Be gone at once, its locks with it; return which holder it was."""
        died, before = self.actor, self._gone
        for owned in died._shard._owned.values():
            owned.owner._term.lose(Died())
            owned.owner._log.close()
        died._shard._owned.clear()
        died._lease._stopping.set()
        died._lease._on_revoked = lambda: None  # which would end this process
        self.actor, self._gone = self._make(), asyncio.get_running_loop().create_future()
        before.set_exception(Died())
        before.exception()
        return died._lease.holder


class _Method:
    def __init__(self, actor: Actor, name: str) -> None:
        self._actor, self._name = actor, name

    def remote(self, *arguments: Any, **named: Any) -> "asyncio.Future[Any]":
        return asyncio.ensure_future(self._actor.call(self._name, *arguments, **named))


class World:
    """A coordinator, its shards, and a source that insists."""

    def __init__(self, folder: Path, *, uneven_after_s: float = 0.0, log: LogLocation | None = None) -> None:
        self.folder = folder
        self.log = log or InFiles(folder / "log")
        self.url = sqlite_url(folder / "metadata.sqlite")
        self.metadata = MetadataStore(self.url)
        self.uneven_after_s = uneven_after_s
        self.actors: dict[str, Actor] = {}
        self.spares: dict[str, Actor] = {}
        self.acknowledged: set[int] = set()
        self._numbers = itertools.count()
        self.coordinator = self.new_coordinator()

    def new_coordinator(self) -> Coordinator:
        return Coordinator(
            metadata_url=self.url,
            partition_count=PARTITIONS,
            plan_bytes=corner().canonical_bytes,
            lease_margin_ms=500,
            uneven_after_s=self.uneven_after_s,
        )

    def make(self, number: int) -> Actor:
        stores = Stores(
            log=self.log,
            segment_bytes=1 << 20,
            snapshots=str(self.folder / "snapshots"),
            metadata_url=self.url,
            clock_jump_us_max=5_000_000,
            partition_count=PARTITIONS,
        )
        config = ShardConfig(name=f"shard-{number}", address=f"unix:{self.folder}/{number}", partition_count=PARTITIONS)
        return Actor(lambda: ShardActor(config, stores=stores, lease=LeaseSettings(), scoring=ScoringConfig()))

    async def start(self, shards: int, spares: int = 0) -> None:
        self.actors = {f"shard-{number}": self.make(number) for number in range(shards)}
        self.spares = {f"shard-{number}": self.make(number) for number in range(shards, shards + spares)}
        await self.coordinator.start(dict(self.actors), dict(self.spares))

    async def coordinator_dies(self) -> None:
        """Its tasks end where they stand, and another is told of the shards."""
        old = self.coordinator
        tasks = (*old._tasks, *old._watching.values(), *old._placement.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.coordinator = self.new_coordinator()
        await self.coordinator.start(dict(self.actors), dict(self.spares))

    def everyone(self) -> dict[str, Actor]:
        return self.actors | self.spares

    async def staff(self) -> None:
        """Do the launcher's part."""
        placement = (await self.coordinator.report())["placement"]
        for _ in range(placement["missing"]):
            number = next(n for n in itertools.count() if f"shard-{n}" not in self.everyone())
            self.actors[f"shard-{number}"] = self.make(number)
        await self.coordinator.add_shards(dict(self.actors))
        for name in placement["retirable"]:
            if await self.coordinator.retire(name):
                del self.actors[name]

    async def ask(self, verb: str, argument: str = "") -> dict[str, Any]:
        return await self.coordinator.place(verb, argument)

    async def has_looked(self, times: int) -> None:
        """Return once the balancer has looked so many times."""
        balance = self.coordinator._balancer
        looked, look = 0, balance.look

        async def counted() -> None:
            nonlocal looked
            await look()
            looked += 1

        balance.look = counted  # type: ignore[method-assign]
        await until(lambda: looked > times)
        balance.look = look  # type: ignore[method-assign]

    async def settled(self) -> dict[str, Any]:
        """Return how things stand once all that was asked for is so."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                await self.staff()
                told = await self.ask("look")
                if told["is_settled"]:
                    return told
                await asyncio.sleep(0.02)

    def owners(self) -> dict[int, str]:
        """Return who owns each partition, as the metadata store has it."""
        return {one.partition: one.holder.partition("/")[0] for one in self.metadata.ownerships()}

    def partitions_of(self, name: str) -> set[int]:
        return {partition for partition, owner in self.owners().items() if owner == name}

    def counts(self) -> dict[str, int]:
        return {name: len(self.partitions_of(name)) for name in self.actors}

    async def ingest(self, partition: int = 0) -> None:
        """Send one signal to whoever serves the partition until it is acknowledged."""
        number = next(self._numbers)
        household = _BORN[partition][number % 5]
        one = signal(f"p{number}", household, "pay", time.time_ns() // 1_000, member="m", fields={"amount": 1.0})
        payload = ipc_bytes(batch_from_signals([one]))
        async with asyncio.timeout(WITHIN_S):
            while True:
                for actor in self.everyone().values():
                    if partition in actor.actor._shard._owned:
                        try:
                            answer = await actor.actor._shard.call(
                                shard_pb2.METHOD_INGEST, partition, payload, Caller(10.0), ""
                            )
                        except CallFailed:
                            continue
                        counts = signal_pb2.IngestResponse.FromString(answer).counts
                        assert counts.applied + counts.duplicate == 1, counts
                        self.acknowledged.add(number)
                        return
                await asyncio.sleep(0.005)

    async def one_serves(self, partition: int = 0) -> str:
        """Return who serves a partition, once somebody does: the owner, and nobody else."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                serving = [name for name, one in self.everyone().items() if partition in one.actor._shard._owned]
                assert len(serving) <= 1, serving
                if serving == [self.owners()[partition]] and partition not in self.coordinator._mover.in_gap:
                    routes = await self.coordinator.routes()
                    address = self.everyone()[serving[0]].actor._address
                    if routes.owners.get(partition) == address:
                        return serving[0]
                await asyncio.sleep(0.01)

    async def applied(self, partition: int = 0) -> int:
        """Return how many signals a partition's owner has applied; it may be on its way again meanwhile."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                shard = self.everyone()[await self.one_serves(partition)].actor._shard
                if partition in shard._owned:
                    applied = shard.report()[partition]["applied"]
                    assert isinstance(applied, int)
                    return applied


@asynccontextmanager
async def world(folder: Path, shards: int, spares: int = 0, **named: Any) -> AsyncIterator[World]:
    it = World(folder, **named)
    try:
        await it.start(shards, spares)
        yield it
    finally:
        failpoints.arm(lambda _: None)
        await it.coordinator.stop()
        it.metadata.close()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancer, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(moves, "FAILED_PAUSE_S", 0.05)
    # Otherwise the process of a shard that died, which is the test's, would be ended.
    monkeypatch.setattr(shard_actor, "node_identity", lambda: "elsewhere")


# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", ["segments", "kafka"])
@in_loop
async def test_partitions_are_divided_among_more_shards_and_fewer_while_signals_come(tmp_path: Path, log: str):
    where = None
    if log == "kafka":
        bootstrap = (await asyncio.to_thread(shared_broker)).bootstrap
        where = log_location(f"kafka://{bootstrap}/moves-{time.time_ns()}?replicas=1&min_insync=1")
    async with world(tmp_path, 1, log=where) as it:
        is_over = asyncio.Event()

        async def source(partition: int) -> None:
            while not is_over.is_set():
                await it.ingest(partition)

        sources = [asyncio.ensure_future(source(partition)) for partition in range(PARTITIONS)]
        told = await it.ask("scale", "4")
        assert (told["wanted"], told["missing"], told["is_settled"]) == (4, 3, False)
        told = await it.settled()
        assert it.counts() == {"shard-0": 1, "shard-1": 1, "shard-2": 1, "shard-3": 1}
        assert told["moved"] == 3
        assert 0 < told["pause_p95_ms"] < 10_000

        # Asked again it is so already.
        assert (await it.ask("scale", "4"))["wanted"] == 4
        assert (await it.settled())["moved"] == 3

        await it.ask("scale", "1")
        told = await it.settled()
        assert it.counts() == {"shard-0": 4}
        assert [one["shard"] for one in told["shards"]] == ["shard-0"]
        is_over.set()
        await asyncio.gather(*sources)
        assert sum([await it.applied(partition) for partition in range(PARTITIONS)]) == len(it.acknowledged)


@in_loop
async def test_a_drained_shard_has_nothing_until_that_is_undone(tmp_path: Path):
    async with world(tmp_path, 2) as it:
        await it.ask("drain", "shard-1")
        told = await it.settled()
        assert it.counts() == {"shard-0": 4, "shard-1": 0}
        assert {one["shard"]: one["state"] for one in told["shards"]} == {"shard-0": "serving", "shard-1": "drained"}
        assert (await it.ask("drain", "shard-1"))["is_settled"]

        # Whoever is made anew knows.
        await it.coordinator_dies()
        assert (await it.settled())["shards"][1]["state"] == "drained"

        await it.ask("undrain", "shard-1")
        await it.settled()
        assert it.counts() == {"shard-0": 2, "shard-1": 2}
        assert (await it.ask("undrain", "shard-1"))["is_settled"]


@in_loop
async def test_a_drained_node_has_nothing_on_any_of_its_shards(tmp_path: Path):
    async with world(tmp_path, 3) as it:
        for seen, node in zip(it.coordinator._shards.values(), ("here", "there", "there"), strict=True):
            assert seen.started is not None
            seen.started["host"] = node
        await it.ask("drain", "there")
        told = await it.settled()
        assert it.counts() == {"shard-0": 4, "shard-1": 0, "shard-2": 0}
        assert told["drained_nodes"] == ["there"]
        refused = (await it.ask("drain", "here"))["refused"]
        assert "without here no shard is left" in refused


@in_loop
async def test_what_cannot_be_is_refused_and_says_why(tmp_path: Path):
    async with world(tmp_path, 1, spares=1) as it:
        for verb, argument, why in (
            ("scale", "5", "there are 4 partitions"),
            ("scale", "0", "ask for 1 to 4"),
            ("drain", "shard-0", "without shard-0 no shard is left"),
            ("drain", "nowhere", "'nowhere' is neither a shard (shard-0, shard-1) nor a node"),
            ("undrain", "nowhere", "neither a shard"),
            ("fly", "", "fly is not known"),
        ):
            assert why in (await it.ask(verb, argument))["refused"]
        await it.coordinator.note_slots({"a": 2, "b": 0})
        refused = (await it.ask("scale", "2"))["refused"]
        assert "2 shards and 1 spares need 3 shard slots, and the cluster has a 2, b 0" in refused
        assert it.metadata.wishes() == {}
        # Ray's autoscaler adds nodes for what waits.
        assert (await it.ask("scale-awaiting-nodes", "3"))["missing"] == 2
        await it.ask("scale", "1")
        await it.coordinator.note_slots({"a": 2, "b": 1})
        assert (await it.ask("scale", "2"))["wanted"] == 2


@in_loop
async def test_of_too_many_shards_those_that_are_drained_go_first(tmp_path: Path):
    async with world(tmp_path, 3) as it:
        await it.ask("drain", "shard-1")
        await it.settled()
        await it.ask("scale", "2")
        await it.settled()
        assert set(it.actors) == {"shard-0", "shard-2"}
        assert "undo that first" in (await it.ask("drain", "shard-0")).get("refused", "undo that first")


@in_loop
async def test_it_moves_by_itself_only_where_things_have_been_uneven_for_a_while(tmp_path: Path):
    async with world(tmp_path, 2, uneven_after_s=0.3) as it:
        await it.ask("drain", "shard-1")
        await it.settled()
        began_s = asyncio.get_running_loop().time()
        await asyncio.to_thread(it.metadata.forget_wishes)
        it.coordinator._balancer._wishes.clear()
        await until(lambda: it.counts() == {"shard-0": 2, "shard-1": 2})
        assert asyncio.get_running_loop().time() - began_s >= 0.3
    (tmp_path / "never").mkdir()
    async with world(tmp_path / "never", 2) as it:
        await it.ask("drain", "shard-1")
        await it.settled()
        it.coordinator._balancer._wishes.clear()
        await it.has_looked(20)
        assert it.counts() == {"shard-0": 4, "shard-1": 0}


@in_loop
async def test_a_spare_that_stood_in_gives_back_what_it_has_when_shards_are_evened_out(tmp_path: Path):
    async with world(tmp_path, 1, spares=1) as it:
        home = it.actors["shard-0"]
        await until(lambda: it.coordinator._shards["shard-1"].is_able)
        died = home.die()
        await asyncio.to_thread(it.metadata.revoke, died, None)
        await until(lambda: it.partitions_of("shard-1") == set(range(PARTITIONS)))
        await it.ask("rebalance")
        told = await it.settled()
        assert it.partitions_of("shard-0") == set(range(PARTITIONS))
        assert [one["state"] for one in told["shards"]] == ["serving", "standing by"]


@in_loop
async def test_a_shard_makes_way_to_others_spares_included_and_nothing_goes_back_meanwhile(tmp_path: Path):
    async with world(tmp_path, 1, spares=1) as it:
        await until(lambda: it.coordinator._shards["shard-1"].is_able)
        assert (await it.ask("restart"))["is_restart_wanted"]
        await it.ask("rebalance")
        await it.ask("make-way", "shard-0")
        await until(lambda: it.partitions_of("shard-1") == set(range(PARTITIONS)))
        await it.has_looked(20)
        assert it.partitions_of("shard-1") == set(range(PARTITIONS))
        assert "nobody is there" in (await it.ask("make-way", "shard-1"))["refused"]
        await it.coordinator.note_restart({"done": ["shard-1"], "left": ["shard-0"]})
        assert (await it.ask("look"))["restart"] == {"done": ["shard-1"], "left": ["shard-0"]}

        await it.ask("made-way", "shard-0")
        await it.ask("restarted")
        told = await it.settled()
        assert told["restart"] is None
        assert it.partitions_of("shard-0") == set(range(PARTITIONS))


@in_loop
async def test_a_lone_shard_cannot_be_replaced_while_all_goes_on(tmp_path: Path):
    async with world(tmp_path, 1) as it:
        assert "hearth scale --shards 2" in (await it.ask("restart"))["refused"]


# --- what goes wrong on the way ---------------------------------------------------------------------------------------


class Trouble:
    """Does something once, at a failpoint on a move's way, in the loop; the step itself is held until it is done."""

    def __init__(self, failpoint: Failpoint, do: Callable[[], Any]) -> None:
        self.is_met = False
        self._failpoint, self._do = failpoint, do
        failpoints.arm(self._reached)

    def _reached(self, failpoint: Failpoint) -> None:
        if failpoint is self._failpoint and not self.is_met:
            self.is_met = True
            self._do()


class Broken(Exception):
    """A step that fails."""


def breaks() -> None:
    raise Broken


STEPS = (Failpoint.MOVE_PREPARED, Failpoint.MOVE_LET_GO, Failpoint.MOVE_PASSED_ON, Failpoint.EPOCH_OPENED)


async def one_moves(it: World, trouble: Trouble) -> None:
    """Ask for a move, see the trouble on its way, and what it comes to: one owner that has lost nothing."""
    for _ in range(5):
        await it.ingest()
    await it.ask("drain", "shard-0")
    await until(lambda: trouble.is_met)
    await it.one_serves()
    for _ in range(5):
        await it.ingest()
    assert await it.applied() == len(it.acknowledged)
    # And what was asked for is done in the end.
    await it.settled()
    assert it.partitions_of("shard-0") == set()
    assert await it.one_serves() == "shard-1"
    await it.ingest()
    assert await it.applied() == len(it.acknowledged)
    await until(lambda: it.metadata.moves() == [])  # the last step is noted once the other serves


@pytest.mark.parametrize("step", STEPS)
@in_loop
async def test_a_step_that_fails_leaves_one_owner_who_serves(tmp_path: Path, step: Failpoint):
    async with world(tmp_path, 2) as it:
        await one_moves(it, Trouble(step, breaks))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("who", ["shard-0", "shard-1"])
@in_loop
async def test_whoever_dies_at_a_step_leaves_one_owner_who_serves(tmp_path: Path, step: Failpoint, who: str):
    async with world(tmp_path, 2) as it:

        def dies() -> None:
            died = it.actors[who].die()
            it.metadata.revoke(died, None)
            raise Died

        await one_moves(it, Trouble(step, dies))


@pytest.mark.parametrize("step", STEPS)
@in_loop
async def test_a_coordinator_that_dies_at_a_step_leaves_one_owner_and_the_next_one_goes_on(
    tmp_path: Path, step: Failpoint
):
    async with world(tmp_path, 2) as it:
        dying: list[asyncio.Future[None]] = []
        loop = asyncio.get_running_loop()

        def dies() -> None:
            loop.call_soon_threadsafe(lambda: dying.append(asyncio.ensure_future(it.coordinator_dies())))

        trouble = Trouble(step, dies)
        for _ in range(5):
            await it.ingest()
        await it.ask("drain", "shard-0")
        await until(lambda: bool(dying))
        await dying[0]
        assert trouble.is_met
        for _ in range(5):
            await it.ingest()
        await it.settled()
        assert it.partitions_of("shard-0") == set()
        assert await it.one_serves() == "shard-1"
        assert await it.applied() == len(it.acknowledged)
        await until(lambda: it.metadata.moves() == [])  # the last step is noted once the other serves


@in_loop
async def test_a_move_that_was_under_way_is_carried_on_by_the_next_coordinator(tmp_path: Path):
    async with world(tmp_path, 2) as it:
        source, target = (it.actors[name].actor._lease.holder for name in ("shard-0", "shard-1"))
        partition = min(it.partitions_of("shard-0"))
        row = MoveRow(partition=partition, source=source, target=target, step=MoveStep.PREPARE.value, why="asked")
        it.metadata.note_move(row)
        it.metadata.note_move(MoveRow(partition=3, source="gone/1", target=target, step="hand-over", why="asked"))
        await it.coordinator_dies()
        await until(lambda: not it.metadata.moves())
        assert it.owners()[partition] == "shard-1"
        assert len(it.partitions_of("shard-1")) == 3


@in_loop
async def test_what_is_given_to_a_shard_after_it_was_handed_over_is_not_opened(tmp_path: Path):
    """A message of a coordinator that is gone, which was long on its way."""
    async with world(tmp_path, 2) as it:
        partition = min(it.partitions_of("shard-0"))
        await it.ask("drain", "shard-0")
        await it.settled()
        with pytest.raises(Exception, match=f"partition {partition} is shard-1/"):
            await it.actors["shard-0"].actor.assign(partition, plan_bytes=corner().canonical_bytes, epoch=99)
        assert it.owners()[partition] == "shard-1"
        assert await it.one_serves(partition) == "shard-1"


@in_loop
async def test_a_source_that_does_not_answer_goes_on_serving_and_the_move_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(moves, "HAND_OVER_DEADLINE_S", 0.2)
    async with world(tmp_path, 2) as it:
        shard = it.actors["shard-0"].actor._shard
        hangs = asyncio.Event()

        async def hang(*_: Any) -> Any:
            hangs.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(shard, "hand_over", hang)
        await it.ask("drain", "shard-0")
        await hangs.wait()
        await until(lambda: not it.coordinator._mover.in_gap)
        # It serves still, and says so.
        await it.ingest()
        told = await it.ask("look")
        assert told["failed"]
        assert not told["is_settled"]
