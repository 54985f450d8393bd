"""Which playbook is in force on a data directory: the one it remembers, until another is asked for.

A data directory keeps the plan itself, compiled: the files it came from may be edited, moved or deleted meanwhile. One
that remembers none, as those of older versions, has it in its log. The playbook that comes with Hearth is for a log
that has none: never for households that were decided on by another.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from actors.log.contract import LOG_START, LogError, Offset, PartitionId, RecordKind
from actors.log.location import partition_reader
from actors.passing_over import passing_over
from actors.records import codec
from actors.records.payload import PayloadUnreadable
from actors.snapshots.store import SnapshotStore, snapshot_store
from actors.snapshots.verification import Read
from cluster.access import now_text, user_name
from cluster.config import HearthConfig, utc_now
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import say
from cluster.playbook_history import History, as_in_force, as_written, finished, note_start
from cluster.playbook_versions import files_of
from cluster.remembered_playbook import PlaybookFacts, PlaybookForgotten, recall, remember
from household.plan import Plan, PlanUnreadable, plan_from_bytes
from playbooks.compiler import compile_playbook, examine
from playbooks.diagnostics import PlaybookInvalid

FROM_LOG = "the log"
"""Source of a playbook of which nothing but its plan in the log is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookInForce:
    """A playbook, and what is known of where it came from."""

    plan: Plan
    facts: PlaybookFacts
    warning_count: int = field(default=0, compare=False)
    """What its check warns of, where it was compiled just now."""

    def __str__(self) -> str:
        return str(self.facts)


def _in_force(plan: Plan, *, source: str, since: str = "", warning_count: int = 0) -> PlaybookInForce:
    facts = PlaybookFacts(name=plan.name, version=plan.version, source=source, since=since)
    return PlaybookInForce(plan=plan, facts=facts, warning_count=warning_count)


def compiled(path: Path, *, before: Plan | None = None) -> PlaybookInForce:
    """Return the playbook in a file or folder; `before`: in force until now, whose instances it has to know.

    Raises:
        UsageWrong: there is none, or it does not compile; with its first mistake, and how to see all.
    """
    if not path.exists():
        raise UsageWrong(f"there is no playbook {path}; name its folder with --playbook")
    examined = examine(path, before=before)
    if examined.plan is None:
        count = len(examined.problems)
        raise UsageWrong(
            f"the playbook has {count} mistake{'s' if count != 1 else ''}: {examined.problems[0]}; "
            f"`hearth playbook check {path}` shows all"
        )
    return _in_force(examined.plan, source=str(path.absolute()), warning_count=len(examined.warnings))


def remembered(data_dir: Path) -> PlaybookInForce | None:
    """Return the playbook that a data directory remembers; None if it remembers none.

    Raises:
        PlaybookForgotten: the file is damaged, or a version of Hearth wrote it that knew more than this one.
    """
    found = recall(data_dir)
    if found is None:
        return None
    facts, canonical = found
    try:
        return _in_force(plan_from_bytes(canonical), source=facts.source, since=facts.since)
    except PlanUnreadable as unreadable:
        raise PlaybookForgotten(
            f"this Hearth cannot read the playbook that {data_dir} remembers ({unreadable}); run the version of Hearth "
            "that wrote it, or name the playbook with --playbook"
        ) from unreadable


def playbook_in_force(config: HearthConfig) -> PlaybookInForce:
    """Return the playbook that is asked for, or else the one in force, or else the one that comes with Hearth.

    Raises:
        CommandFailed: the one that is asked for does not compile; or nobody can tell which one is in force.
    """
    if config.playbook is not None:
        return compiled(config.playbook)
    known = remembered(config.data_dir)
    if known is not None:
        return known
    in_log = newest_in_log(config)
    return in_log if in_log is not None else compiled(config.playbook_path)


def plan_bytes_in_force(config: HearthConfig) -> bytes:
    """Return the plan in force as it goes to the shards: where it is remembered, neither compiled nor read once more.

    Raises:
        CommandFailed: as `playbook_in_force`.
    """
    found = recall(config.data_dir) if config.playbook is None else None
    return found[1] if found is not None else playbook_in_force(config).plan.canonical_bytes


def settle(config: HearthConfig, asked: PlaybookInForce | None) -> tuple[PlaybookInForce, list[str]]:
    """Return the playbook that is in force from now on, and what is to be said of it; the data directory remembers it.

    Args:
        config: with the data directory, which this process holds.
        asked: the one that was named for this start; None goes on with the one in force.

    Raises:
        CommandFailed: nobody can tell which one is in force, or it cannot be written down.
    """
    known, history = None, History()
    try:
        history = finished(config.data_dir)
        known = remembered(config.data_dir)
    except PlaybookForgotten:
        if asked is None:
            raise
    before = known or (newest_in_log(config) if asked is None else None)
    chosen = asked or before or compiled(config.playbook_path)
    # What somebody has paused or stopped stays so, whatever is put into force; who is pinned goes on as until now.
    in_force_until_now = before.plan if before is not None else None
    plan = chosen.plan if asked is None else as_in_force(asked.plan, history.halted, before=in_force_until_now)
    is_same = before is not None and before.plan.version == plan.version
    if asked is not None and before is not None and not is_same and Path(asked.facts.source).exists():
        compiled(Path(asked.facts.source), before=before.plan)
    since = before.facts.since if before is not None and is_same else ""
    source = chosen.facts.source
    settled = _in_force(plan, source=source, since=since or utc_now().isoformat(timespec="seconds"))
    files = dict(files_of(Path(source))) if chosen is not before else {}
    note_start(config.data_dir, plan, files=files, source=source, by=f"user:{user_name()}", time=now_text())
    if settled != known:
        remember(config.data_dir, settled.facts, settled.plan.canonical_bytes)
    return settled, [*_sentences(settled, asked=asked, before=before, is_same=is_same)]


def _sentences(
    settled: PlaybookInForce, *, asked: PlaybookInForce | None, before: PlaybookInForce | None, is_same: bool
) -> Iterator[str]:
    if asked is not None and before is not None and not is_same:
        yield f"{settled} is put into force; until now it was {before}"
    elif asked is None and before is not None and before.facts.source == FROM_LOG:
        yield f"{settled} is in force as before; --playbook PATH puts another one into force"
    elif asked is None and before is not None:
        yield f"{settled} is in force as before"
        yield from _changed_since(settled)
    else:
        yield f"{settled} is in force"
    if asked is not None and asked.warning_count:
        count = asked.warning_count
        yield (
            f"warning: its check has {count} warning{'s' if count != 1 else ''}; "
            f"`hearth playbook check {settled.facts.source}` shows what is hardly meant"
        )


def _changed_since(settled: PlaybookInForce) -> Iterator[str]:
    """Tell whoever edited a playbook's files that this alone changes nothing."""
    source = Path(settled.facts.source)
    if not source.exists():
        yield f"{source} is no longer there; the data directory holds all that is needed"
        return
    with passing_over(OSError, PlaybookInvalid, because="a source that cannot be read has not visibly changed"):
        found = compile_playbook(source).version
        if found != as_written(settled.plan).version:
            yield f"what lies there is version {found} by now; `--playbook {source}` puts it into force"


def newest_in_log(config: HearthConfig) -> PlaybookInForce | None:
    """Return the playbook that a log was last written under; None if it was never written under any.

    Partitions are given the same playbook at every start, so the one that was written to last has the newest. Those
    that cannot be read are passed over.

    Raises:
        CommandFailed: there is a log, and no partition of it could be read.
    """
    snapshots = snapshot_store(config.snapshot_location)
    found: list[tuple[int, Plan]] = []
    wrong: LogError | PlanUnreadable | PayloadUnreadable | OSError | None = None
    try:
        reader = partition_reader(config.log_location)
        partitions, read = reader.partitions(), reader.read
    except (LogError, OSError, ImportError, ValueError) as failed:
        raise _unknown(config, failed) from failed
    if partitions:
        say("looking into the log for the playbook in force ...")
    for partition in partitions:
        try:
            newest = _newest(partition, snapshots, read)
        except (LogError, PlanUnreadable, PayloadUnreadable, OSError) as failed:
            wrong = failed
            continue
        if newest is not None:
            found.append(newest)
    if not found and wrong is not None:
        raise _unknown(config, wrong) from wrong
    return _in_force(max(found, key=lambda one: one[0])[1], source=FROM_LOG) if found else None


def _unknown(config: HearthConfig, why: Exception) -> CommandFailed:
    return CommandFailed(
        f"{config.data_dir} does not say which playbook is in force, and the log cannot be read ({why}); "
        "name the playbook with --playbook"
    )


def _newest(partition: PartitionId, snapshots: SnapshotStore, read: Read) -> tuple[int, Plan] | None:
    """Return the plan in force at the end of a partition's log, and the stamp of its last record."""
    start, plan, payload = LOG_START, None, None
    kept = [facts for facts in snapshots.list(partition) if not facts.problem]
    of_snapshots = snapshots.plans(partition) if kept else ()
    if of_snapshots and of_snapshots[-1].version == kept[0].plan_version:
        # From the last record that is in the snapshot: it tells when that was.
        start, plan = Offset(max(kept[0].position - 1, LOG_START)), of_snapshots[-1]
    epoch, stamp_us = 0, 0
    for stored in read(partition, start):
        record = stored.record
        stamp_us = record.stamp_us
        epoch = max(epoch, record.epoch if record.kind is RecordKind.EPOCH else 0)
        if record.kind is RecordKind.PLAN and record.epoch >= epoch:
            payload = record.payload
    if payload is not None:
        plan = codec.decode_plan(payload)
    return None if plan is None else (stamp_us, plan)
