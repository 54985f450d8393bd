"""A shard in a process of its own, without Ray: real segment files and syncs, the wall clock, the real ShardService.

    python -m tests.chaos.shard_process --dir D --socket S [--failpoint NAME --hit N] [--break SWITCH]

starts one and runs until killed. With `--nursery` it imports and compiles once and then, for each line of such
arguments (JSON) on its standard input, forks a shard, names its process id on standard output, and when it has ended
says by which signal; so a restart costs no imports. `Nursery` in tests/chaos/restarts.py is the other end.

A failpoint that is armed kills the process, with SIGKILL and nothing after it, when it is reached for the n-th time.

Switches (`--break`) take one guarantee away, by patching here and nowhere else; with each the judges must find
something, or they would find nothing anyway:

    ack-before-append    a group counts as durable when it is still in memory
    dedupe-off           each batch finds the window of known event ids empty
    forget-requests      a new owner does not know the request ids of the one before
    fresh-keys           each hand-over of an action has another action id
    no-recheck           vetoes and moments are not looked at again when the group is formed
"""

import argparse
import asyncio
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import actors.partition.attempts
import actors.shard.delivery
import actors.shard.shard
from actors import failpoints
from actors.failpoints import Failpoint
from actors.log.contract import Offset, PartitionId, PartitionLog, Record, StoredRecord
from actors.log.files import Files
from actors.log.segments import SegmentSettings, SegmentStore
from actors.partition.decider import PartitionDecider
from actors.partition.lineup import Lineup
from actors.records.replay import Replay
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from actors.shard.warm import warm_kernels
from actors.snapshots.store import snapshot_store
from actors.snapshots.taking import SnapshotPolicy
from actors.state_thread import Urgency
from household.columns.dedupe import DedupeWindow
from household.digest import state_digest
from household.plan import Plan
from household.scoring import Scored
from playbooks.compiler import compile_playbook
from tests.actors.harness import corner

PARTITIONS = 4
SEGMENT_BYTES = 96 << 10
"""Small, so that segments roll and old ones are dropped within seconds."""

SNAPSHOT_S = 0.3
"""Between snapshots of a partition, so that restarts begin from them, and from torn ones."""

BREAKS = ("ack-before-append", "dedupe-off", "forget-requests", "fresh-keys", "no-recheck")

REQUEST_WINDOW = "1h"
"""The log is kept for at least so long: what shall see old log dropped needs a shorter one."""

LAZY_S = 0.15
"""How long a group stays in memory under ack-before-append."""

SCORER_S = 0.004
"""How long the scorer takes, so that things happen while a decision waits for it."""


def plan(request_window: str = REQUEST_WINDOW) -> Plan:
    """The plan of these suites: the small playbook of tests/actors, with times that pass within a test."""
    return corner(
        ("request_window: 1d", f"request_window: {request_window}"),
        ("check: {source: app}", "check: {source: app, action_window: 3s}"),
        ("cooldown: 1h", "cooldown: 1s"),
        ("window: 1d, most: 1", "window: 1d, most: 2"),
    )


class ArchivingFiles(Files):
    """Keeps what the log gives up, beside it: a judge replays the whole log."""

    def __init__(self, directory: Path, archive: Path) -> None:
        self._directory = directory
        self._archive = archive

    def unlink(self, path: Path) -> None:
        if path.suffix == ".seg":
            kept = self._archive / path.relative_to(self._directory)
            kept.parent.mkdir(parents=True, exist_ok=True)
            if not kept.exists():
                os.link(path, kept)
        super().unlink(path)


class SlowPriors:
    """Scores by chance of the row's content, after a while."""

    def __init__(self, *, knows_all: bool) -> None:
        """Take whether rows hold no unknown values, as in the playbook of these suites."""
        self._knows_all = knows_all

    async def score(self, rows, *, deadline_s=None) -> Scored:
        rows = rows if self._knows_all else np.nan_to_num(rows)
        await asyncio.sleep(SCORER_S)
        scores = 0.2 + 0.1 * (abs(rows).sum(axis=1) % 3)
        return Scored(scores=scores.astype("float32"), model_version="slow", degraded=False)


# --- what is broken on purpose ----------------------------------------------------------------------------------------


class LazyLog:
    """Says that a group is durable and writes it a little later."""

    def __init__(self, log: PartitionLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, list[Record]]] = []
        self._ended = False
        threading.Thread(target=self._write_later, daemon=True).start()

    def __getattr__(self, name: str):
        return getattr(self._log, name)

    @property
    def end_offset(self) -> Offset:
        with self._lock:
            return Offset(self._log.end_offset + sum(len(records) for _, records in self._waiting))

    def append(self, records: Sequence[Record]) -> Offset:
        with self._lock:
            first = self._log.end_offset + sum(len(waiting) for _, waiting in self._waiting)
            self._waiting.append((time.monotonic() + LAZY_S, list(records)))
            return Offset(first)

    def read(self, start: Offset) -> Iterator[StoredRecord]:
        self._write(float("inf"))
        return self._log.read(start)

    def refresh(self) -> Offset:
        return self.end_offset

    def drop_before(self, offset: Offset) -> Offset:
        with self._lock:
            return self._log.first_offset

    def close(self) -> None:
        self._ended = True
        self._write(float("inf"))
        self._log.close()

    def _write_later(self) -> None:
        while not self._ended:
            time.sleep(LAZY_S / 8)
            self._write(time.monotonic())

    def _write(self, until: float) -> None:
        with self._lock:
            while self._waiting and self._waiting[0][0] <= until:
                self._log.append(self._waiting.pop(0)[1])


class LazyStore(SegmentStore):
    def open(self, partition: PartitionId, **named) -> PartitionLog:
        return LazyLog(super().open(partition, **named))  # type: ignore[return-value]


def break_guarantee(switch: str) -> None:
    """Take one guarantee away from this process."""
    match switch:
        case "" | "ack-before-append":
            return
        case "dedupe-off":
            fold_signals = Replay.fold_signals

            def fold_forgetful(self, batch, stamp_us):
                self.now.dedupe = DedupeWindow()
                return fold_signals(self, batch, stamp_us)

            Replay.fold_signals = fold_forgetful  # type: ignore[method-assign]
        case "forget-requests":
            begin = PartitionDecider.__init__

            def begin_forgetful(self, owner, *others, **named) -> None:
                owner.state.requests.forget(owner.state.requests.slots_in_order())
                begin(self, owner, *others, **named)

            PartitionDecider.__init__ = begin_forgetful  # type: ignore[method-assign]
        case "fresh-keys":
            message = actors.shard.delivery._message

            def delivery_renamed(state, outbound, channel, attempt):
                made = message(state, outbound, channel, attempt)
                if made is not None:
                    made.action.action_id += f"-{os.getpid()}-{attempt}"
                return made

            actors.shard.delivery._message = delivery_renamed
        case "no-recheck":
            global SCORER_S
            SCORER_S *= 25  # or it would take long until one arrives while a decision waits
            actors.partition.attempts.still_allowed = lambda *_, **__: True
        case _:
            raise SystemExit(f"{switch} is not one of {', '.join(BREAKS)}")


# --- the process ------------------------------------------------------------------------------------------------------


def arm(name: str, hit: int) -> Counter[str]:
    """Count what is reached; kill this process when `name` is reached for the `hit`-th time."""
    counts: Counter[str] = Counter()

    def on_reached(failpoint: Failpoint) -> None:
        counts[failpoint.value] += 1
        if failpoint.value == name and counts[name] == hit:
            os.kill(os.getpid(), signal.SIGKILL)

    failpoints.arm(on_reached)
    return counts


def make_shard(arguments: argparse.Namespace) -> Shard:
    """Compose a shard as cluster/shard_actor.py does."""
    directory, archive = Path(arguments.dir), Path(f"{arguments.dir}.archive")
    store = LazyStore if arguments.breaks == "ack-before-append" else SegmentStore
    files = ArchivingFiles(directory, archive)
    logs = store(directory, settings=SegmentSettings(segment_bytes=SEGMENT_BYTES), files=files)
    config = ShardConfig(
        name=arguments.name,
        address=f"unix:{arguments.socket}",
        redeliver_after_s=0.4,
        tick_interval_s=0.1,
        snapshots=SnapshotPolicy(events=1_000, interval_s=SNAPSHOT_S, log_retention_s=0.0),
    )
    snapshots = snapshot_store(f"{directory}.snapshots") if arguments.snapshots else None
    return Shard(config, logs, snapshots=snapshots, rejects=SegmentStore(Path(f"{directory}.rejects")))


async def serve(arguments: argparse.Namespace, reached: Counter[str]) -> None:
    """Run a shard with all its partitions until killed, or drained by a line on its control socket."""
    shard = make_shard(arguments)

    async def make() -> Lineup:
        return Lineup(champion=SlowPriors(knows_all=not arguments.playbook))

    await shard.start()
    await shard.use_lineup(make)
    in_force = compile_playbook(arguments.playbook) if arguments.playbook else plan(arguments.request_window)
    plan_bytes = in_force.canonical_bytes
    for partition in range(PARTITIONS):
        await shard.assign(partition, plan_bytes=plan_bytes, epoch=1)
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            writer.write(json.dumps(await debug(shard, reached, line.decode().strip(), ended)).encode() + b"\n")
            await writer.drain()

    await asyncio.start_unix_server(answer, f"{arguments.socket}.debug")
    await ended.wait()


async def debug(shard: Shard, reached: Counter[str], asked: str, ended: asyncio.Event) -> object:
    """Answer one line of the test: what only this wrapper knows, nothing of the product."""
    match asked:
        case "digests":
            return {partition: await digest(shard, partition) for partition in sorted(shard._owned)}
        case "report":
            return shard.report()
        case "reached":
            return dict(reached)
        case "drain":
            await shard.drain()
            ended.set()
            return {}
    return {"error": f"{asked} is not known"}


async def digest(shard: Shard, partition: int) -> dict[str, object]:
    """Return the digest of a partition, and what it still has to do: the digest is one moment's."""
    owner = shard._owned[partition].owner
    return await shard._state_thread.run(
        Urgency.INGEST,
        lambda: {
            "digest": state_digest(owner.state),
            "pending": len(owner.state.pending),
            "outbox": len(owner.state.outbox),
            "records": owner.fold_count,
        },
    )


def run(arguments: argparse.Namespace) -> None:
    """Run one shard in this process."""
    break_guarantee(arguments.breaks)
    reached = arm(arguments.failpoint, arguments.hit)
    asyncio.run(serve(arguments, reached))


def nursery() -> None:
    """Fork shards, one at a time, as asked on standard input."""
    die_with_parent()
    warm_kernels()
    plan()
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            die_with_parent()
            status = 1
            try:
                run(parsed(json.loads(line)))
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(json.dumps({"started": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"ended": child, "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}), flush=True)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the one that started it ends, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir")
    parser.add_argument("--socket")
    parser.add_argument("--name", default="shard-0")
    parser.add_argument("--failpoint", default="", choices=["", *(one.value for one in Failpoint)])
    parser.add_argument("--hit", type=int, default=1)
    parser.add_argument("--break", dest="breaks", default="", choices=["", *BREAKS])
    parser.add_argument("--request-window", default=REQUEST_WINDOW)
    parser.add_argument("--playbook", type=Path, help="another than that of these suites")
    parser.add_argument("--snapshots", action="store_true", help="take snapshots, begin from them, drop old log")
    parser.add_argument("--nursery", action="store_true")
    return parser.parse_args(words)


if __name__ == "__main__":
    given = parsed(sys.argv[1:])
    if given.nursery:
        nursery()
    else:
        run(given)
