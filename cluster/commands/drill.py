"""`hearth drill`: restores the newest backup into a scratch place, starts it there, and tells what would be lost and
how long it took: the recovery point and the recovery time, measured.
"""

import json
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from actors.log.contract import LOG_START, LogError, Offset, PartitionId
from actors.log.reading import read_partition
from actors.records.replay import Replay
from actors.snapshots.store import snapshot_store
from actors.snapshots.verification import Verified
from actors.snapshots.verification import verify as verify_partition
from cluster.backup import MANIFEST_NAME, Backup, back_up, read_backup, restore
from cluster.children import child
from cluster.config import HearthConfig, utc_now
from cluster.errors import CommandFailed
from cluster.output import meter, print_json, say
from household.digest import state_digest

UP_MODULE = "cluster.cli"
LAST_LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """What a drill measured."""

    backup: str
    created: str
    bytes: int
    rpo_s: float
    """From when the backup was begun to now: what was acknowledged since would be gone."""
    records_since: int
    """Log records in the data directory, if there is one, that the backup does not have."""
    restore_s: float
    """Copying and checking every byte."""
    start_s: float | None
    """Until the restored Hearth was ready; None where it was not to be started."""
    partitions: tuple[Verified, ...]

    @property
    def rto_s(self) -> float:
        """Until it would serve again, without whatever people take to decide on it."""
        return self.restore_s + (self.start_s or 0.0)

    @property
    def is_good(self) -> bool:
        """Whether every partition is what its log says."""
        return all(one.is_good for one in self.partitions)


def drill(config: HearthConfig, *, backups: Path | None, scratch: Path | None, is_started: bool, as_json: bool) -> int:
    """Restore, verify and start; exit code 1 where what was restored is not what its log says."""
    with _scratch(scratch) as folder:
        backup = _newest(backups) if backups is not None else _made(config, folder / "backup")
        begun = datetime.fromisoformat(backup.created)
        data = folder / "data"
        restore_began_s = time.monotonic()
        with meter("restoring", unit="bytes") as show:
            restore(backup, data, show)
        restore_s = time.monotonic() - restore_began_s
        partitions = tuple(_verified(data, number) for number in range(backup.partition_count))
        start_s = _started_s(config, data) if is_started else None
        done = Drilled(
            backup=str(backup.path),
            created=backup.created,
            bytes=backup.size_bytes,
            rpo_s=(utc_now() - begun).total_seconds(),
            records_since=_records_since(config.data_dir / "log", data / "log", backup.partition_count),
            restore_s=restore_s,
            start_s=start_s,
            partitions=partitions,
        )
    _tell(done, as_json=as_json)
    return 0 if done.is_good else 1


@contextmanager
def _scratch(asked: Path | None) -> Iterator[Path]:
    """Yield a folder of the drill's own, and remove what it has put there."""
    if asked is not None and asked.exists() and any(asked.iterdir()):
        raise CommandFailed(f"{asked} is not empty; a drill goes into a folder of its own")
    if asked is not None:
        asked.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="drill-", dir=asked))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _newest(folder: Path) -> Backup:
    """Return the newest whole backup below a folder, or the one that it is."""
    if (folder / MANIFEST_NAME).exists():
        return read_backup(folder.absolute())
    found = []
    for path in sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else ():
        if (path / MANIFEST_NAME).exists():
            found.append(read_backup(path.absolute()))
        else:
            say(f"warning: {path} is passed over: it holds no whole backup")
    if not found:
        raise CommandFailed(f"there is no whole backup in {folder}; `hearth backup {folder}/NAME` makes one")
    return max(found, key=lambda one: datetime.fromisoformat(one.created))


def _made(config: HearthConfig, target: Path) -> Backup:
    with meter("backing up", unit="bytes") as show:
        return back_up(config.data_dir.absolute(), target, show)


def _verified(data: Path, number: int) -> Verified:
    """Return what a replay says of a restored partition; one without a snapshot is folded from its log's start."""
    partition = PartitionId(number)
    snapshots = snapshot_store(str(data / "snapshots"))

    def read(which: PartitionId, start: Offset):  # type: ignore[no-untyped-def] # as read_partition
        return read_partition(data / "log", which, start)

    if any(not facts.problem for facts in snapshots.list(partition)):
        return verify_partition(partition, snapshots, read)
    replay, end, count = Replay(), LOG_START, 0
    try:
        for stored in read(partition, LOG_START):
            replay.fold(stored)
            end, count = stored.offset, count + 1
    except LogError as wrong:
        return Verified(partition=partition, start=LOG_START, end=end, problem=str(wrong))
    empty = Verified(partition=partition, start=LOG_START, end=end, record_count=count)
    if replay.state is None:
        return empty
    digest = state_digest(replay.now)
    households = replay.now.households.count
    return replace(empty, household_count=households, state_hash=digest, replayed_hash=digest)


def _records_since(source: Path, restored: Path, partition_count: int) -> int:
    """Return how many records the running log has beyond the restored one."""
    if not source.is_dir():
        return 0
    since = 0
    for number in range(partition_count):
        partition, last = PartitionId(number), -1
        for stored in read_partition(restored, partition, LOG_START):
            last = stored.offset
        since += sum(1 for stored in read_partition(source, partition, LOG_START) if stored.offset > last)
    return since


def _started_s(config: HearthConfig, data: Path) -> float:
    """Start `hearth up` on what was restored, on a free port; return the seconds until it was ready."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    arguments = ["up", "--json", "--data-dir", str(data), "--port", "0"]
    began_s = time.monotonic()
    with child(UP_MODULE, arguments, note=last.append) as hearth:
        # Whatever hangs, the drill does not.
        alarm = threading.Timer(config.ready_deadline_s, hearth.process.terminate)
        alarm.start()
        try:
            for line in hearth.lines():
                if line.startswith("{") and json.loads(line).get("ready"):
                    return time.monotonic() - began_s
        finally:
            alarm.cancel()
    told = "\n  ".join(last or ["(nothing)"])
    raise CommandFailed(f"what was restored does not start; its last words:\n  {told}")


def _tell(done: Drilled, *, as_json: bool) -> None:
    if as_json:
        partitions = [asdict(one) | {"ok": one.is_good} for one in done.partitions]
        print_json({"ok": done.is_good, **asdict(done), "rto_s": done.rto_s, "partitions": partitions})
        return
    records = sum(one.record_count for one in done.partitions)
    print(
        f"restored {done.bytes / 1e6:,.1f} MB of {done.backup}, begun at {done.created}; every byte as it was backed up"
    )
    for one in done.partitions:
        if not one.is_good:
            print(f"partition {one.partition}: {one.problem or 'DIFFERENT: its state is not what its log says'}")
    if done.is_good:
        print(f"replayed {records:,} records: every partition is what its log says")
    print(f"RPO {done.rpo_s:.1f} s: {done.records_since:,} log records were written since and would be gone")
    started = f" + {done.start_s:.1f} s until ready" if done.start_s is not None else ", and a start"
    print(f"RTO {done.rto_s:.1f} s: {done.restore_s:.1f} s restoring{started}")
