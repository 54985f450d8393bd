"""`hearth backup`, `hearth restore` and `hearth verify`."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import assert_never

import grpc

from actors.log.contract import PartitionId
from actors.log.location import InFiles, OnKafka, partition_reader
from actors.snapshots.store import snapshot_store
from actors.snapshots.verification import Verified
from actors.snapshots.verification import verify as verify_partition
from cluster.backup import back_up, read_backup, read_layout
from cluster.backup import restore as restore_backup
from cluster.client import connect, explain_failure, reachable
from cluster.config import HearthConfig
from cluster.data_dir import find_running
from cluster.errors import UsageWrong
from cluster.output import meter, print_json, say
from cluster.remembered_playbook import told_facts, told_line
from hearth.v1 import admin_pb2, admin_pb2_grpc

SNAPSHOT_DEADLINE_S = 600.0


def backup(config: HearthConfig, *, target: Path, as_json: bool) -> int:
    """Copy the data directory, beside a running Hearth or not."""
    match config.log_location:
        case OnKafka():
            raise UsageWrong(
                "the log is on Kafka: its replication and the snapshots are the backup; see docs/runbook.md"
            )
        case InFiles(directory) if directory != config.data_dir / "log":
            raise UsageWrong(f"the log is in {directory}, which is not in {config.data_dir}: back it up beside that")
        case InFiles():
            pass
        case _:
            assert_never(config.log_location)
    with meter("backing up", unit="bytes") as show:
        made = back_up(config.data_dir.absolute(), target.absolute(), show)
    facts = {"backup": str(made.path), "created": made.created, "files": len(made.files), "bytes": made.size_bytes}
    playbook = told_facts(made.path)
    if as_json:
        print_json(facts | {"playbook": playbook})
    else:
        print(f"{made.size_bytes / 1e6:,.1f} MB in {len(made.files):,} files backed up to {made.path}")
        print(f"  {told_line(playbook)}")
    return 0


def restore(config: HearthConfig, *, source: Path, as_json: bool) -> int:
    """Make the data directory of a backup."""
    found = read_backup(source.absolute())
    with meter("restoring", unit="bytes") as show:
        restore_backup(found, config.data_dir.absolute(), show)
    playbook = told_facts(config.data_dir)
    if as_json:
        facts = {"data_dir": str(config.data_dir), "backed_up": found.created, "bytes": found.size_bytes}
        print_json(facts | {"playbook": playbook})
    else:
        print(
            f"{config.data_dir} is as it was when it was backed up at {found.created}; "
            f"start it with `hearth up --data-dir {config.data_dir}`"
        )
        print(f"  {told_line(playbook)}")
    return 0


def verify(config: HearthConfig, *, from_start: bool, as_json: bool) -> int:
    """Replay every partition, compare with what its running owner writes down; exit code 1 on a difference."""
    count = int(read_layout(config.data_dir)["partition_count"])
    try:
        read = partition_reader(config.log_location).read
    except (ImportError, ValueError) as wrong:
        raise UsageWrong(str(wrong)) from wrong
    _snapshot_now(config)
    snapshots = snapshot_store(config.snapshot_location)
    results: list[Verified] = []
    with meter("verifying", unit="partitions") as show:
        for number in range(count):
            results.append(verify_partition(PartitionId(number), snapshots, read, from_start=from_start))
            show(number + 1, count)
    playbook = told_facts(config.data_dir)
    is_good = all(result.is_good for result in results) and "problem" not in (playbook or {})
    if as_json:
        partitions = [asdict(result) | {"ok": result.is_good} for result in results]
        print_json({"ok": is_good, "playbook": playbook, "partitions": partitions})
    else:
        for line in _lines(results):
            print(line)
        print(told_line(playbook))
    return 0 if is_good else 1


def _lines(results: list[Verified]) -> Iterator[str]:
    for one in results:
        where = f"partition {one.partition}"
        if one.problem:
            yield f"{where}: cannot be verified: {one.problem}"
        elif one.is_good:
            yield (
                f"{where}: {one.record_count:,} records from offset {one.start} to {one.end} replayed, "
                f"{one.household_count:,} households, state {one.state_hash} is the same"
            )
        else:
            households = ", ".join(one.differing) or "none (what belongs to the partition as a whole differs)"
            yield (
                f"{where}: DIFFERENT: state {one.state_hash} at offset {one.end}, a replay from {one.start} gives "
                f"{one.replayed_hash}; households: {households}"
            )


def _snapshot_now(config: HearthConfig) -> None:
    """Have the running Hearth write down its state; without one, the newest snapshots are verified as they are."""
    running = find_running(config.data_dir)
    if running is None:
        say("no Hearth runs on this data directory: its newest snapshots are verified")
        return
    with connect(reachable(running.address)) as channel:
        try:
            admin_pb2_grpc.AdminServiceStub(channel).Snapshot(admin_pb2.SnapshotRequest(), timeout=SNAPSHOT_DEADLINE_S)
        except grpc.RpcError as failed:
            if failed.code() is grpc.StatusCode.PERMISSION_DENIED:
                say("to have its state written down is not yours to do: the newest snapshots are verified")
                return
            raise explain_failure(failed, doing="taking snapshots", target=running.address) from failed
