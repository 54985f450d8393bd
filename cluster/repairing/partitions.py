"""Partitions of a stopped Hearth: looked at, and put right where that is asked for."""

import shutil
from pathlib import Path

from actors.log.contract import PartitionId
from actors.log.examination import Examination, examine
from actors.log.remedy import KeptSnapshot, Remedy, RemedyKind, choose
from actors.log.repair import finish, rebuild, set_aside
from actors.log.segment_files import partition_of_directory
from actors.snapshots.facts import Unfit
from actors.snapshots.store import snapshot_store
from cluster.data_dir import LAYOUT_NAME
from cluster.repairing.finding import LOG_NAME, SNAPSHOTS_NAME, Finding, partition_directory_name
from cluster.repairing.words import explained


def partitions_there(log_dir: Path) -> list[int]:
    """Return the partitions that have a log, or had one until a repair was interrupted."""
    names = {entry.name.removesuffix(".rebuilt") for entry in log_dir.iterdir() if entry.is_dir()}
    numbers = (partition_of_directory(name) for name in names)
    return sorted(number for number in numbers if number is not None)


def look_at_partition(data_dir: Path, partition: int, aside: Path, is_applied: bool) -> tuple[Finding, int]:
    """Return what is to be said of a partition, and the last epoch of its log."""
    number = PartitionId(partition)
    directory = data_dir / LOG_NAME / partition_directory_name(partition)
    examination = examine(number, directory)
    snapshots = kept_snapshots(data_dir, partition)
    remedy = choose(examination, snapshots)
    finding = Finding(
        what=f"partition {partition}",
        state=str(examination.verdict),
        ok=remedy.kind is RemedyKind.NOTHING and not remedy.snapshots_aside,
        lines=explained(examination, remedy, snapshots),
        facts={
            "partition": partition,
            "remedy": str(remedy.kind),
            "begins": remedy.begins,
            "end": remedy.end,
            "records": examination.prefix.count,
            "torn_bytes": examination.torn_bytes,
            "lost": [list(span) for span in remedy.lost],
            "behind": [
                {"first": run.first, "end": run.end, "records": run.count, "kinds": dict(run.kinds)}
                for run in examination.runs[1:]
            ],
            "problems": [
                {"path": str(one.path), "position": one.position, "what": one.what} for one in examination.problems
            ],
            "snapshots": [
                {"path": str(one.path), "position": one.position, "problem": one.problem} for one in snapshots
            ],
        },
    )
    if is_applied and not finding.ok:
        _apply(finding, examination, remedy, aside)
    return finding, examination.last_epoch


def _apply(finding: Finding, examination: Examination, remedy: Remedy, aside: Path) -> None:
    try:
        for snapshot in remedy.snapshots_aside:
            set_aside(snapshot.path, aside / SNAPSHOTS_NAME / snapshot.path.parent.name / snapshot.path.name)
            finding.lines.append(f"done: {snapshot.path} is now under {aside / SNAPSHOTS_NAME}")
        match remedy.kind:
            case RemedyKind.REBUILD:
                applied = rebuild(examination, remedy, aside)
                finding.facts |= {"aside": str(applied.aside), "salvaged": applied.salvaged_count}
                finding.lines.append(f"done: the log was rebuilt; the old one is {applied.aside}")
                if applied.salvaged_log is not None:
                    _keep_layout(examination.directory.parents[1], applied.salvaged_log)
                    finding.facts["salvaged_log"] = str(applied.salvaged_log)
                    finding.lines.append(
                        f"{applied.salvaged_count} good records behind its end are a log of their own; "
                        f"`hearth log export --data-dir {applied.salvaged_log} --kind signals --out FILE` shows the "
                        f"signals, {aside / (examination.directory.name + '.records.jsonl')} lists all"
                    )
            case RemedyKind.FINISH:
                finish(examination.directory)
                finding.lines.append("done: the interrupted repair is finished; run `hearth repair` again to verify it")
            case RemedyKind.NOTHING:
                pass
            case _:
                return
        finding.ok = True
    except OSError as refused:
        finding.lines.append(f"not done, and nothing is lost: {refused}; free space or see to the disk, then again")


def _keep_layout(data_dir: Path, target: Path) -> None:
    """Make a folder of salvaged logs one that `hearth log` reads."""
    if (data_dir / LAYOUT_NAME).is_file() and not (target / LAYOUT_NAME).exists():
        shutil.copy(data_dir / LAYOUT_NAME, target / LAYOUT_NAME)


def kept_snapshots(data_dir: Path, partition: int) -> tuple[KeptSnapshot, ...]:
    """Return a partition's snapshots, newest first, each read to its last byte."""
    root = data_dir / SNAPSHOTS_NAME
    if not root.is_dir():
        return ()
    number, store = PartitionId(partition), snapshot_store(str(root))
    kept = []
    for facts in store.list(number):
        path = root / partition_directory_name(partition) / facts.name
        faults = store.load(number, name=facts.name).faults
        problem = "; ".join(f"{fault.file}: {fault.what}" for fault in faults)
        is_damaged = any(fault.unfit is Unfit.FOR_ANYBODY for fault in faults)
        kept.append(KeptSnapshot(path=path, position=facts.position, problem=problem, is_damaged=is_damaged))
    return tuple(kept)
