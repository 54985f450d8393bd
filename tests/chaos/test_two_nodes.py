"""Laws, on a Hearth that spans two Ray nodes of this machine, on a real Kafka broker and a real PostgreSQL, under load:
- a node is drained and taken away, and another is filled, each partition being away for a second at most;
- all processes of a node killed: its partitions are served by the other node, correctly, within 5 s;
- raylet and workers of a node stopped for 30 s: the same; the stopped shard answers nothing once its lease is over, not
  even what has waited in its socket when it goes on; it ends by itself;
- whatever it still wrote is void or counts once: nothing acknowledged is lost, nothing doubled, one decision per
  request, no order inverted, and the live state is what the topic folds to.

Negative control: a shard that minds neither lease nor other writers answers from the past when it goes on, so the law
of silence is broken. Its late records stand in the topic, where epochs alone make its decisions void.

The tests run in order and share one cluster. What was measured is printed (-s).
"""

import asyncio
import json
import os
import queue
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import psutil
import pytest

from actors.log.contract import Offset, PartitionId, RecordKind, StoredRecord
from actors.log.kafka import kafka_store
from actors.snapshots.store import snapshot_store
from actors.snapshots.verification import verify
from cluster.installation import installation_of
from cluster.metadata import HolderLease, MetadataStore
from hearth.v1 import admin_pb2, admin_pb2_grpc
from tests.actors.harness import CORNER
from tests.chaos.bare_ray import bare_ray
from tests.chaos.cluster_processes import find, kill, until
from tests.chaos.oracles import Law, Verdict, judge
from tests.chaos.ray_nodes import Node, RayNodes, ray_nodes
from tests.chaos.stopped_shard import DirectProbe, Told
from tests.chaos.test_cluster import Traffic
from tests.end_to_end.hearth_process import Hearth, command, running
from tests.parts.kafka_broker import running_broker
from tests.parts.postgresql_server import running_server

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(600)]

Outcome = TypeVar("Outcome")

PARTITIONS = 8
RUN = "tests.chaos.named_nodes"
LEASE_TERM_S = float(os.environ.get("CHAOS_LEASE_TERM_S", "2.0"))
STOPPED_S = float(os.environ.get("CHAOS_STOPPED_S", "30"))
CONTROL_STOPPED_S = 10.0

SERVED_ELSEWHERE_S_MAX = 5.0
SERVED_ELSEWHERE_MAX = 0.25
"""In starts of a bare Ray, where those take long: a slower machine, or one with other work."""

STARTS_WITHIN_S = 120.0
ENDS_WITHIN_S = 15.0
LOAD_S = 3.0
"""Under load between two faults, and before the first."""

Known = dict[int, tuple[str, str, str]]
"""Partition → household, request id and decision id of a question that was answered."""


@dataclass
class World:
    """Everything, in the order of its making."""

    nodes: RayNodes
    head: Node
    other: Node
    hearth: Hearth
    traffic: Traffic
    metadata: MetadataStore
    log_url: str
    folder: Path
    announced: "queue.Queue[str]"
    """What `up` says after its first line: runs that are ready."""

    def lease_on(self, node: str) -> HolderLease:
        """Return the one lease of a shard on a node that has a name."""
        (lease,) = [one for one in self.metadata.leases() if one.node == node and not one.is_revoked]
        return lease

    def partitions_of(self, holder: str) -> set[int]:
        return {one.partition for one in self.metadata.ownerships() if one.holder == holder}

    def stand_in(self) -> HolderLease:
        """Return the lease of the spare, which is on the head."""
        (lease,) = [one for one in self.metadata.leases() if one.holder.startswith("shard-2/") and not one.is_revoked]
        return lease

    def is_on(self, node: str) -> bool:
        return any(one.node == node and not one.is_revoked for one in self.metadata.leases())

    def add_node(self, name: str, **environment: str) -> None:
        """Add a node; return once a shard on it has its lease."""
        self.other = self.nodes.add(name, slots=1, CHAOS_NODE=name, **environment)
        until(lambda: self.is_on(name), within_s=STARTS_WITHIN_S, what=f"a shard on {name}")

    def move_back(self, node: str, known: Known) -> HolderLease:
        """Kill the spare, which stands in for the shard that is on `node`: its partitions go home. Return their lease.

        A spare that is started again has another lease; until it has one, nothing may be taken from its node.
        """
        stand_in = self.stand_in()
        home = self.lease_on(node)
        os.kill(stand_in.process_id, signal.SIGKILL)
        until(lambda: bool(self.partitions_of(home.holder)), within_s=STARTS_WITHIN_S, what="partitions on the node")
        until(
            lambda: (
                len({one.holder for one in self.metadata.ownerships()}) == 2 and not self.partitions_of(stand_in.holder)
            ),
            within_s=STARTS_WITHIN_S,
            what="nothing is left with the spare",
        )
        self.traffic.answers_again(known, set(range(PARTITIONS)))
        until(
            lambda: any(one.holder.startswith("shard-2/") and not one.is_revoked for one in self.metadata.leases()),
            within_s=STARTS_WITHIN_S,
            what="the spare is there again",
        )
        return home


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("two-nodes")
    (folder / "corner.yaml").write_text(CORNER, encoding="utf-8")
    with (
        running_broker() as broker,
        running_server() as server,
        ray_nodes(folder) as nodes,
        pytest.MonkeyPatch.context() as patch,
    ):
        head = nodes.add("a", slots=2)
        other = nodes.add("b", slots=1, CHAOS_NODE="b")
        url = f"kafka://{broker.bootstrap}/two-nodes?replicas=1&min_insync=1"
        settings = {
            "HEARTH_LEASE_TERM_S": str(LEASE_TERM_S),
            "HEARTH_SNAPSHOTS": str(folder / "snapshots"),
            # What has to be folded again is bounded by this, and so is the time that takes on a slow machine.
            "HEARTH_SNAPSHOT_INTERVAL_S": "10",
            "HEARTH_SHARD_COUNT": "2",
            "HEARTH_SPARE_SHARD_COUNT": "1",
            # Who stands in for another keeps what it has, until a test has it moved.
            "HEARTH_REBALANCE_AFTER_S": "0",
        }
        for name, value in (nodes.environment | settings).items():
            patch.setenv(name, value)
        options = (
            *("--playbook", str(folder / "corner.yaml"), "--partitions", str(PARTITIONS)),
            *("--log", url, "--metadata", server.url, "--ray-address", nodes.address),
        )
        with running(
            folder / "data", *options, module="tests.chaos.named_nodes", ready_within_s=2 * STARTS_WITHIN_S
        ) as hearth:
            traffic = Traffic(hearth.address)
            announced: queue.Queue[str] = queue.Queue()
            threading.Thread(target=_listen, args=(hearth.process.stdout, announced), daemon=True).start()
            metadata = MetadataStore(server.url)
            try:
                one = World(nodes, head, other, hearth, traffic, metadata, url, folder, announced)
                until(lambda: one.is_on("b"), within_s=STARTS_WITHIN_S, what="a shard on b")
                until(lambda: len(one.metadata.leases()) == 3, within_s=STARTS_WITHIN_S, what="two shards and a spare")
                yield one
            finally:
                traffic.close()
                metadata.close()


def _listen(stream: Any, announced: "queue.Queue[str]") -> None:
    for line in stream:
        announced.put(line)


def show(line: str) -> None:
    print(f"\n    {line}", file=sys.stderr)


def show_times(what: str, took: dict[int, float]) -> None:
    values = sorted(took.values())
    each = ", ".join(f"{partition}: {seconds:.2f}" for partition, seconds in took.items())
    p95 = values[min(len(values) - 1, int(0.95 * len(values)))]
    show(f"{what}: first correct answers after p50 {statistics.median(values):.2f} s, p95 {p95:.2f} s ({each})")


def loaded(world: World) -> Known:
    """Let some load through; return what was decided in every partition."""
    known = world.traffic.remember()
    time.sleep(LOAD_S)
    return known


@pytest.fixture(scope="module")
def served_within_s() -> float:
    """How soon the partitions of a lost node are to answer elsewhere, its lease included."""
    return max(SERVED_ELSEWHERE_S_MAX, SERVED_ELSEWHERE_MAX * bare_ray()[1])


# --- drained ----------------------------------------------------------------------------------------------------------


def asked(world: World, *words: str) -> dict[str, Any]:
    ended = command(*words, "--json", "--target", world.hearth.address)
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    assert told["settled"]
    return told


def test_a_drained_node_can_be_taken_away_and_another_is_filled(world: World):
    known = loaded(world)
    lease = world.lease_on("b")
    assert len(world.partitions_of(lease.holder)) == PARTITIONS // 2

    drained = asked(world, "drain", "b")
    assert world.partitions_of(lease.holder) == set()
    world.traffic.answers_again(known, set(range(PARTITIONS)))
    for process in world.other.processes():
        process.kill()
    took = world.traffic.answers_again(known, set(range(PARTITIONS)))

    world.add_node("b3")
    filled = asked(world, "rebalance")
    again = world.lease_on("b3")
    # Divided by what they do and hold, too: not always by four.
    assert abs(len(world.partitions_of(again.holder)) - PARTITIONS // 2) <= 1
    assert asked(world, "drain", "b", "--undo")["drained_nodes"] == []
    world.traffic.answers_again(known, set(range(PARTITIONS)))
    show(
        f"a node drained, taken away, and another filled: not served meanwhile p95 {drained['pause_p95_ms']:.0f} and "
        f"{filled['pause_p95_ms']:.0f} ms; when it was taken away all answered within {max(took.values()):.2f} s"
    )
    assert drained["pause_p95_ms"] <= 1_000
    assert filled["pause_p95_ms"] <= 1_000


# --- killed -----------------------------------------------------------------------------------------------------------


def test_a_killed_node_is_replaced_by_the_other(world: World, served_within_s: float):
    known = loaded(world)
    lease = world.lease_on("b3")
    partitions = world.partitions_of(lease.holder)
    assert partitions

    for process in world.other.processes():
        process.kill()
    took = world.traffic.answers_again(known, partitions)

    show_times("all processes of a node killed", took)
    assert max(took.values()) <= served_within_s
    assert {one.holder for one in world.metadata.ownerships()}.isdisjoint({lease.holder})


# --- stopped ----------------------------------------------------------------------------------------------------------


@dataclass
class Stop:
    """A node that was stopped and went on, and what was seen of it."""

    lease: HolderLease
    began_s: float
    took: dict[int, float]
    told: list[Told]
    still_waited: int
    """Calls that lay in its socket when it went on."""
    ended_after_s: float | None
    """Its process, after it went on; None: it lives."""

    def told_late(self) -> list[Told]:
        """What it answered, as carried out, when its lease must have been over."""
        over_s = self.began_s + LEASE_TERM_S
        return [one for one in self.told if not one.reason and one.told_s > over_s]


def stop_and_go_on(world: World, node: str, known: Known, lease: HolderLease, *, stopped_s: float) -> Stop:
    """Stop raylet and workers of a node, see who answers, let them go on, and listen to what the stopped shard says."""
    partitions = world.partitions_of(lease.holder)
    assert partitions, f"nothing is on {node}"
    asked = [(partition, *known[partition][:2]) for partition in sorted(partitions)]
    traffic = world.traffic
    probe = traffic.run(_make_probe(lease.address, world))
    traffic.run(_ask(probe, asked))
    until(lambda: len(probe.told) >= 3 * len(asked), within_s=10, what="the shard answers the probe")

    processes = world.other.processes()
    traffic.run(_ask(probe, asked))
    for process in processes:
        process.suspend()
    began_s = time.monotonic()
    traffic.run(_ask(probe, asked))
    took = traffic.answers_again(known, partitions)
    traffic.run(_ask(probe, asked))
    time.sleep(max(0.0, began_s + stopped_s - time.monotonic()))

    still_waited = probe.waiting
    shard = next(one for one in processes if one.pid == lease.process_id)
    # Its raylet goes on after it: what the shard does, it does by itself.
    for process in reversed(processes):
        if process.pid == shard.pid:
            process.resume()
    resumed_s = time.monotonic()
    _, alive = psutil.wait_procs([shard], timeout=ENDS_WITHIN_S)
    ended_after_s = None if alive else time.monotonic() - resumed_s
    for process in processes:
        _resume(process)
    stop = Stop(lease, began_s, took, list(probe.told), still_waited, ended_after_s)
    traffic.run(probe.close())
    return stop


def _resume(process: psutil.Process) -> None:
    try:
        process.resume()
    except psutil.NoSuchProcess:
        return


async def _make_probe(address: str, world: World) -> DirectProbe:
    return DirectProbe(address, PARTITIONS, world.traffic.load.history, installation_of(world.folder / "data"))


async def _ask(probe: DirectProbe, asked: list[tuple[int, str, str]]) -> None:
    probe.ask(asked)
    await asyncio.sleep(0)


def end_of(world: World) -> None:
    """Kill what is left of the node."""
    for process in world.other.processes():
        process.kill()


def test_a_stopped_node_is_replaced_and_its_shard_answers_nothing_after_its_lease(world: World, served_within_s: float):
    world.add_node("b2")
    known = loaded(world)
    lease = world.move_back("b2", known)
    stop = stop_and_go_on(world, "b2", known, lease, stopped_s=STOPPED_S)
    end_of(world)

    show_times(f"raylet and workers of a node stopped for {STOPPED_S:g} s", stop.took)
    reasons = Counter(one.reason or "CARRIED_OUT" for one in stop.told if one.told_s > stop.began_s)
    show(
        f"{stop.still_waited} calls lay in the stopped shard's socket when it went on; after the stop it told "
        f"{dict(reasons)}, {len(stop.told_late())} of them carried out after its lease; it ended "
        f"{stop.ended_after_s if stop.ended_after_s is None else round(stop.ended_after_s, 2)} s after it went on"
    )
    assert max(stop.took.values()) <= served_within_s
    assert stop.still_waited >= 3 * len(stop.took)
    assert stop.told_late() == []
    assert stop.ended_after_s is not None, "it did not end by itself"
    assert "was revoked" in logs_of(world, "shard")


def logs_of(world: World, name: str) -> str:
    return "".join(path.read_text(errors="replace") for path in (world.folder / "data" / "logs").glob(f"{name}*"))


# --- what stands in the topic -----------------------------------------------------------------------------------------


def records_of(world: World) -> dict[int, list[StoredRecord]]:
    found: dict[int, list[StoredRecord]] = {partition: [] for partition in range(PARTITIONS)}
    for partition, stored in kafka_store(world.log_url).read_only():
        found[partition].append(stored)
    return found


def outdated(records: dict[int, list[StoredRecord]]) -> Counter[str]:
    """Count records that stand behind the epoch record of a newer term, by kind."""
    found: Counter[str] = Counter()
    for stored_records in records.values():
        epoch = 0
        for stored in stored_records:
            if stored.record.kind is RecordKind.EPOCH:
                epoch = max(epoch, stored.record.epoch)
            elif stored.record.epoch < epoch:
                found[stored.record.kind.name] += 1
    return found


def live_state_is_what_the_topic_says(world: World, records: dict[int, list[StoredRecord]]) -> int:
    """Compare a snapshot that each owner writes now with a replay of the topic; return how many records that were."""

    def read(partition: PartitionId, start: Offset) -> Iterator[StoredRecord]:
        return (one for one in records[partition] if one.offset >= start)

    compared = [
        verify(PartitionId(partition), snapshot_store(str(world.folder / "snapshots")), read, from_start=True)
        for partition in range(PARTITIONS)
    ]
    assert [one for one in compared if not one.is_good] == []
    return sum(one.record_count for one in compared)


def snapshot_now(world: World) -> None:
    with grpc.insecure_channel(world.hearth.address) as channel:
        answer = admin_pb2_grpc.AdminServiceStub(channel).Snapshot(admin_pb2.SnapshotRequest(), timeout=60)
    assert len(answer.snapshots) == PARTITIONS


def judged(world: World) -> Verdict:
    """Judge a Hearth at rest."""
    snapshot_now(world)
    records = records_of(world)
    count = live_state_is_what_the_topic_says(world, records)
    verdict = judge(records, world.traffic.load.history, world.traffic.load.ledger)
    late = outdated(records)
    void = sum(not one.is_in_force for replay in verdict.replays.values() for one in replay.decisions)
    show(f"{verdict.summary}; {count:,} records replayed to the live state")
    show(f"written behind a newer term: {dict(late) or 'nothing'}; {void} decisions void")
    return verdict


def test_nothing_is_lost_nothing_doubled_and_the_live_state_is_what_the_topic_says(world: World):
    """The load ends here."""
    world.traffic.run(world.traffic.load.end())
    time.sleep(3.0)  # pending moments are decided at the next tick
    world.traffic.run(world.traffic.load.close())
    verdict = judged(world)

    verdict.assert_clean()
    assert verdict.acknowledged_events > 200
    assert verdict.decisions > 50


# --- negative control -------------------------------------------------------------------------------------------------


def test_negative_control_a_shard_that_minds_no_lease_breaks_the_silence(world: World):
    world.add_node("b3", CHAOS_LEASE="off")
    known = world.traffic.remember()
    lease = world.move_back("b3", known)
    stop = stop_and_go_on(world, "b3", known, lease, stopped_s=CONTROL_STOPPED_S)
    end_of(world)

    show(f"without a lease the stopped shard answered {len(stop.told_late())} calls from the past, and lived on")
    with pytest.raises(AssertionError):
        assert stop.told_late() == []
    assert stop.ended_after_s is None

    # What it wrote then is behind the newer term: the epochs make it void, whatever became of the lease.
    time.sleep(3.0)  # the owner looks for others at each tick
    verdict = judged(world)
    late = outdated(records_of(world))
    assert late["SIGNALS"] > 0
    assert late["DECISION"] > 0
    grave = (Law.LOST, Law.DOUBLED, Law.INVERTED, Law.TWO_DECISIONS, Law.STATE_DIFFERS)
    assert [one for one in verdict.violations if one.law in grave] == []


# --- the launcher -----------------------------------------------------------------------------------------------------


def test_a_killed_run_is_followed_by_another_on_what_is_left_of_the_cluster(world: World):
    """Ray's processes are not its own: those of its actors end with it, Serve's are taken down by the next run."""
    known = world.traffic.remember()
    runs = find(world.hearth.process.pid, RUN)
    began_s = time.monotonic()
    kill(runs)
    until(lambda: set(find(world.hearth.process.pid, RUN)).isdisjoint(runs), within_s=10, what="the run is gone")
    # Until the edge of the old run is taken down it may answer from shards that are about to end.
    until(lambda: bool(find(world.hearth.process.pid, RUN)), within_s=30, what="another run")
    ready_s = until(lambda: world.announced.qsize() > 0, within_s=STARTS_WITHIN_S, what="it says that it is ready")
    world.traffic.answers_again(known, set(range(PARTITIONS)))

    back_s = time.monotonic() - began_s
    show(f"the run killed: the next was ready {ready_s:.0f} s after it began, all answered after {back_s:.0f} s")
    assert json.loads(world.announced.get())["address"] == world.hearth.address


def test_it_stops_in_order(world: World):
    assert world.hearth.stop() == 0
    assert world.hearth.left_behind() == []
