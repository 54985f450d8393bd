"""`hearth repair`: what is wrong in a data directory, in plain words, and what can be done; with --apply, does it.

Nothing is deleted: what has to go is set aside under `repaired/<time>/` of the data directory.
"""

import fcntl
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.config import HearthConfig, utc_now
from cluster.data_dir import LAYOUT_NAME, LAYOUT_VERSION, LOCK_NAME
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import print_json
from cluster.remembered_playbook import PLAYBOOK_NAME, told_facts

LOG_NAME = "log"
SNAPSHOTS_NAME = "snapshots"
METADATA_NAME = "metadata.sqlite"
REPAIRED_NAME = "repaired"

HOUSEHOLDS_ASKED = 50
"""Per partition: that so many fall into a wrong number of partitions by chance does not happen."""

EPOCHS_AHEAD_MAX = 1_000_000
"""A database that is further ahead of the log than this was not counted up to it: each term is one step."""


@dataclass(slots=True, kw_only=True)
class Finding:
    """What is known of one partition or file, for people and as JSON."""

    what: str
    """Which partition or file."""
    state: str
    ok: bool
    lines: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return {"what": self.what, "state": self.state, "ok": self.ok, "explanation": self.lines, **self.facts}


def repair(config: HearthConfig, *, partition: int | None, is_applied: bool, as_json: bool) -> int:
    """Print what is wrong; with `is_applied` put right what can be; exit code 0 when all is well at the end."""
    data_dir = config.data_dir.absolute()
    if not (data_dir / LOG_NAME).is_dir() and config.log is not None:
        raise UsageWrong(f"the log of {data_dir} is {config.log}: there is nothing here to repair; see docs/runbook.md")
    if not (data_dir / LOG_NAME).is_dir():
        raise UsageWrong(f"{data_dir} holds no log of a Hearth; name its data directory with --data-dir")
    with held(data_dir):
        findings = _work(data_dir, partition, is_applied)
    is_ok = all(finding.ok for finding in findings)
    if as_json:
        print_json({"ok": is_ok, "applied": is_applied, "findings": [finding.as_json() for finding in findings]})
    else:
        _print(findings, is_ok=is_ok, is_applied=is_applied)
    return 0 if is_ok else 1


@contextmanager
def held(data_dir: Path) -> Iterator[None]:
    """Keep every Hearth off a data directory, whatever else is wrong with it.

    Raises:
        CommandFailed: one runs on it.
    """
    descriptor = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise CommandFailed(f"a Hearth runs on {data_dir} (process {holder}); stop it first, then repair") from None
    finally:
        os.close(descriptor)


def _work(data_dir: Path, only: int | None, is_applied: bool) -> list[Finding]:
    from actors.log.contract import LogError, PartitionId
    from actors.log.files import Files
    from actors.log.segment_files import lock_partition

    log_dir = data_dir / LOG_NAME
    partitions = _partitions(log_dir)
    if only is not None and only not in partitions:
        raise UsageWrong(f"{log_dir} holds no partition {only}; it holds {', '.join(map(str, partitions)) or 'none'}")
    aside = data_dir / REPAIRED_NAME / utc_now().strftime("%Y%m%dT%H%M%S.%fZ")
    findings, last_epochs = [], {}
    with ExitStack() as locks:
        for partition in partitions if only is None else [only]:
            try:
                descriptor = lock_partition(PartitionId(partition), log_dir, Files())
            except LogError as refused:
                raise CommandFailed(str(refused)) from refused
            locks.callback(os.close, descriptor)
            finding, last_epochs[partition] = _partition(data_dir, partition, aside, is_applied)
            findings.append(finding)
        if only is None:
            findings.append(_metadata(data_dir, partitions, last_epochs, aside, is_applied))
            findings.append(_layout(data_dir, partitions, aside, is_applied))
            findings += _playbook(data_dir, aside, is_applied)
    return findings


def _partitions(log_dir: Path) -> list[int]:
    """Return the partitions that have a log, or had one until a repair was interrupted."""
    from actors.log.segment_files import partition_of_directory

    names = {entry.name.removesuffix(".rebuilt") for entry in log_dir.iterdir() if entry.is_dir()}
    numbers = (partition_of_directory(name) for name in names)
    return sorted(number for number in numbers if number is not None)


def _partition(data_dir: Path, partition: int, aside: Path, is_applied: bool) -> tuple[Finding, int]:
    """Return what is to be said of a partition, and the last epoch of its log."""
    from actors.log.contract import PartitionId
    from actors.log.examination import examine
    from actors.log.remedy import RemedyKind, choose

    number = PartitionId(partition)
    directory = data_dir / LOG_NAME / partition_directory_name(partition)
    examination = examine(number, directory)
    snapshots = kept_snapshots(data_dir, partition)
    remedy = choose(examination, snapshots)
    finding = Finding(
        what=f"partition {partition}",
        state=str(examination.verdict),
        ok=remedy.kind is RemedyKind.NOTHING and not remedy.snapshots_aside,
        lines=_explained(examination, remedy, snapshots),
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


def _explained(examination: Any, remedy: Any, snapshots: Sequence[Any]) -> list[str]:
    from actors.log.examination import LogVerdict

    begins, end = examination.prefix.first, examination.prefix.end
    lines = [f"{one.path}, byte {one.position}: {one.what}" for one in examination.problems[:5]]
    if len(examination.problems) > 5:
        lines.append(f"... and {len(examination.problems) - 5} more places")
    match examination.verdict:
        case LogVerdict.HEALTHY:
            lines.append(f"offsets {begins} to {end}, every record read and verified")
        case LogVerdict.TORN:
            lines.append(
                f"the last {examination.torn_bytes} bytes are a group that a crash interrupted while it was written: "
                f"never acknowledged, cut off at offset {end} when the log is opened. (Damage done later to the very "
                "last group looks the same; no snapshot says that there was one.)"
            )
        case LogVerdict.DAMAGED:
            lines.append(f"good up to offset {end}; this cannot come from a crash, so opening refuses it")
            lines += [
                f"behind the damage {run.count} good records were found, offsets {run.first} to {run.end}"
                for run in examination.runs[1:]
                if run.count
            ]
        case LogVerdict.NEWER | LogVerdict.UNREADABLE | LogVerdict.INTERRUPTED:
            pass
    good = [one for one in snapshots if not one.problem]
    if examination.verdict in (LogVerdict.DAMAGED, LogVerdict.TORN) and good:
        newest = max(one.position for one in good)
        if newest > end:
            lines.append(
                f"a good snapshot of offset {newest} proves that the log went further than {end}, "
                "and holds what those records did"
            )
    lines += [f"snapshot {one.path.name} is no good: {one.problem}" for one in snapshots if one.problem]
    return lines + _remedy_lines(remedy)


def _remedy_lines(remedy: Any) -> list[str]:
    from actors.log.remedy import RemedyKind

    lines: list[str] = []
    match remedy.kind:
        case RemedyKind.NOTHING:
            pass
        case RemedyKind.REBUILD:
            lines.append(f"--apply puts a log of the good records {remedy.begins} to {remedy.end} in its place")
            if remedy.snapshot is not None and remedy.begins > 0:
                lines.append(
                    f"what came before is in snapshot {remedy.snapshot.path.name}; the old records stay in the folder "
                    "set aside, `hearth explain` no longer finds decisions among them"
                )
            if not remedy.lost:
                lines.append("nothing that was acknowledged is lost from the partition's state")
        case RemedyKind.FINISH:
            lines.append("an earlier repair was interrupted; --apply finishes it")
        case RemedyKind.NEWER_VERSION:
            lines.append("nothing to repair: run the version of Hearth that wrote it")
        case RemedyKind.OTHER_STORAGE:
            lines.append(
                "the disk refuses to show it: see to the disk (dmesg, smartctl), or restore a backup elsewhere"
            )
        case RemedyKind.BACKUP:
            lines.append(
                "the log begins after offset 0, and no good snapshot covers what came before: restore the data "
                "directory from a backup; what is here cannot become a partition again"
            )
    for first, end in remedy.lost:
        lines.append(
            f"acknowledged records from offset {first} to before {end} would be set aside; a backup of the data "
            "directory that has them keeps more: restore it instead if there is one"
        )
    if remedy.snapshots_aside:
        lines.append(f"--apply sets {len(remedy.snapshots_aside)} damaged snapshot(s) aside; none is needed")
    return lines


def _apply(finding: Finding, examination: Any, remedy: Any, aside: Path) -> None:
    from actors.log.remedy import RemedyKind
    from actors.log.repair import finish, rebuild, set_aside

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


def kept_snapshots(data_dir: Path, partition: int) -> tuple[Any, ...]:
    """Return a partition's snapshots, newest first, each read to its last byte."""
    from actors.log.contract import PartitionId
    from actors.log.remedy import KeptSnapshot
    from actors.snapshots.store import snapshot_store

    root = data_dir / SNAPSHOTS_NAME
    if not root.is_dir():
        return ()
    number, store = PartitionId(partition), snapshot_store(str(root))
    kept = []
    for facts in store.list(number):
        path = root / partition_directory_name(partition) / facts.name
        faults = store.load(number, name=facts.name).faults
        problem = "; ".join(f"{fault.file}: {fault.what}" for fault in faults)
        kept.append(KeptSnapshot(path=path, position=facts.position, problem=problem))
    return tuple(kept)


def partition_directory_name(partition: int) -> str:
    """Return how the folder of a partition is called, in the log and beside it."""
    from actors.log.contract import PartitionId
    from actors.log.segment_files import partition_directory

    return partition_directory(PartitionId(partition))


# --- metadata ---------------------------------------------------------------------------------------------------------


def _metadata(
    data_dir: Path, partitions: Sequence[int], last_epochs: dict[int, int], aside: Path, is_applied: bool
) -> Finding:
    path = data_dir / METADATA_NAME
    finding = Finding(what=METADATA_NAME, state="healthy", ok=True)
    if not path.exists():
        finding.lines.append("is not there; it is made from the logs at the next start")
        return finding
    wrong = _metadata_problem(path, partitions, last_epochs)
    if wrong is None:
        finding.lines.append("intact, and agrees with the logs")
        return finding
    finding.state, finding.ok = "damaged", False
    finding.lines += [
        f"{path}: {wrong}",
        "it holds nothing that the logs do not: --apply sets it aside, the next start takes the epochs from the logs",
    ]
    if is_applied:
        _set_files_aside(finding, [path, *path.parent.glob(f"{METADATA_NAME}-*")], aside)
    return finding


def _metadata_problem(path: Path, partitions: Sequence[int], last_epochs: dict[int, int]) -> str | None:
    """Return what is wrong with the database. Looks at a copy: even looking may roll an unfinished change back."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            for file in (path, *path.parent.glob(f"{METADATA_NAME}-*")):
                shutil.copy(file, Path(folder) / file.name)
            with closing(sqlite3.connect(Path(folder) / METADATA_NAME)) as connection:
                connection.text_factory = bytes
                verdict = connection.execute("PRAGMA integrity_check").fetchone()
                if verdict is None or verdict[0] != b"ok":
                    return f"SQLite calls it damaged: {_plain(verdict)}"
                tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
                if not tables:
                    # Its first start did not get further.
                    return None
                if b"ownership" not in tables:
                    return "it has no table of owners"
                rows = connection.execute("SELECT partition, epoch FROM ownership").fetchall()
    except (sqlite3.Error, OSError, ValueError, OverflowError) as refused:
        return str(refused)
    for partition, epoch in rows:
        if not isinstance(partition, int) or not isinstance(epoch, int) or partition not in partitions:
            return f"it names an owner of a partition that has no log: {partition!r}"
        if not 0 <= epoch <= last_epochs.get(partition, 0) + EPOCHS_AHEAD_MAX:
            return f"it has partition {partition} in epoch {epoch}; its log is in {last_epochs.get(partition, 0)}"
    return None


def _plain(verdict: Any) -> str:
    text = verdict[0] if verdict else b""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


# --- layout -----------------------------------------------------------------------------------------------------------


def _layout(data_dir: Path, partitions: Sequence[int], aside: Path, is_applied: bool) -> Finding:
    path = data_dir / LAYOUT_NAME
    finding = Finding(what=LAYOUT_NAME, state="healthy", ok=True)
    stated, wrong = _stated_count(path)
    count = len(partitions)
    if wrong is None and (stated == count or (stated > count and _agrees(data_dir, partitions, stated))):
        finding.lines.append(f"intact: {stated} partitions")
        return finding
    finding.state, finding.ok = "damaged", False
    finding.lines.append(f"{path}: {wrong or f'it says {stated} partitions, there are logs of {count}'}")
    if list(partitions) != list(range(count)) or not _agrees(data_dir, partitions, count):
        finding.lines.append("the logs do not tell how many partitions there were: restore this file from a backup")
        return finding
    finding.lines.append(f"there are logs of {count} partitions, 0 to {count - 1}; --apply writes it anew with {count}")
    if is_applied:
        _set_files_aside(finding, [path] if path.exists() else [], aside)
        content = {"layout": LAYOUT_VERSION, "partition_count": count, "born": utc_now().isoformat(timespec="seconds")}
        if finding.ok:
            _write(path, json.dumps(content) + "\n", finding)
    return finding


def _playbook(data_dir: Path, aside: Path, is_applied: bool) -> list[Finding]:
    """Return what is wrong with the playbook that is remembered; nothing if nothing is."""
    facts = told_facts(data_dir)
    if facts is None or "problem" not in facts:
        return []
    finding = Finding(what=PLAYBOOK_NAME, state="damaged", ok=False, lines=[facts["problem"]])
    finding.lines.append("--apply sets it aside; `hearth up` then goes on with the newest playbook that is in the log")
    if is_applied:
        _set_files_aside(finding, [data_dir / PLAYBOOK_NAME], aside)
    return [finding]


def _stated_count(path: Path) -> tuple[int, str | None]:
    """Return the partition count that the file states, and what is wrong with it."""
    try:
        layout = json.loads(path.read_text())
        version, born_with = int(layout["layout"]), int(layout["partition_count"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as wrong:
        return 0, f"it cannot be read: {type(wrong).__name__}: {wrong}"
    if version != LAYOUT_VERSION:
        return born_with, f"it says layout {version}, this Hearth reads {LAYOUT_VERSION}"
    return born_with, None


def _agrees(data_dir: Path, partitions: Sequence[int], count: int) -> bool:
    """Return whether households stand where they belong among `count` partitions, as far as some signals tell."""
    from wire.partitions import partition_of

    return count > 0 and all(
        partition_of(household, count) == partition
        for partition in partitions
        for household in _some_households(data_dir, partition)
    )


def _some_households(data_dir: Path, partition: int) -> set[bytes]:
    """Return household keys of the first signals in a partition's log that can be read."""
    import pyarrow as pa

    from actors.log.contract import RecordKind
    from actors.log.inspection import inspect

    found: set[bytes] = set()
    frames = (entry.frame for entry in inspect(data_dir / LOG_NAME / partition_directory_name(partition)))
    try:
        for frame in frames:
            if frame is None or frame.kind != RecordKind.SIGNALS:
                continue
            with pa.ipc.open_stream(pa.py_buffer(frame.payload)) as stream:
                keys = stream.read_next_batch().column("household").to_pylist()
            found.update(key if isinstance(key, bytes) else str(key).encode() for key in keys)
            if len(found) >= HOUSEHOLDS_ASKED:
                break
    except (OSError, pa.ArrowException, KeyError):
        pass
    return found


def _write(path: Path, content: str, finding: Finding) -> None:
    from actors.log.files import Files, write_fully

    files = Files()
    fresh = path.with_name(path.name + ".new")
    try:
        descriptor = files.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            write_fully(files, descriptor, content.encode(), 0)
            files.fsync(descriptor)
        finally:
            files.close(descriptor)
        files.rename(fresh, path)
        files.sync_directory(path.parent)
        finding.ok = True
        finding.lines.append(f"done: {path} was written anew")
    except OSError as refused:
        finding.ok = False
        finding.lines.append(f"not done: {refused}")


def _set_files_aside(finding: Finding, paths: Sequence[Path], aside: Path) -> None:
    from actors.log.repair import set_aside

    try:
        for path in paths:
            set_aside(path, aside / path.name)
            finding.lines.append(f"done: {path.name} is now {aside / path.name}")
        finding.ok = True
    except OSError as refused:
        finding.lines.append(f"not done: {refused}; free space or see to the disk, then again")


def _print(findings: Sequence[Finding], *, is_ok: bool, is_applied: bool) -> None:
    for finding in findings:
        print(f"{finding.what}: {finding.state}")
        for line in finding.lines:
            print(f"    {line}")
    if is_ok:
        print("all is well; hearth up" if is_applied else "all is well")
    elif is_applied:
        print("not everything could be put right; see above")
    else:
        print("nothing was changed; --apply does what is said above")
