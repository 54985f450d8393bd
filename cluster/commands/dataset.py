"""`hearth models dataset`: what models saw as of each decision, and what became of it, as Parquet."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from cluster.commands.promotion import plan_of
from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import ROW_GROUP_ROWS, log_reader, write_parquet, write_whole
from cluster.output import meter, print_json, say

if TYPE_CHECKING:
    from actors.exports.log_export import Survey
    from actors.exports.point_in_time import Parity
    from actors.log.contract import PartitionId
    from actors.log.reading import ReadLogs
    from household.plan import Plan
    from intake.progress import Meter
    from serving.models.dataset import DatasetConfig, DatasetCounts

FILE_ROWS: Final = 8 * ROW_GROUP_ROWS
"""Of each file of a folder."""

PARQUET: Final = ".parquet"
OTHER_KINDS: Final = frozenset({".csv", ".tsv", ".json", ".jsonl", ".arrow", ".feather", ".pq", ".txt", ".xlsx", ".gz"})
"""What is asked for by a name that ends so is no folder."""


def write_dataset(
    config: HearthConfig, *, out: Path, label: str, window_hours: float, is_checked: bool, as_json: bool
) -> int:
    """Write the training set of all decisions in the log, whole or not at all; works beside a running Hearth.

    Exit code 1 if `is_checked` and a row is not what the log folds to.
    """
    from serving.models.dataset import DatasetConfig

    log_reader(config)  # tells whether there is a log
    wanted = DatasetConfig(label=label, window_us=round(window_hours * 3.6e9))
    counts = written_set(config, plan_of(config), out, wanted)
    parity = _checked(config) if is_checked else None
    left_out = {reason: count for reason, count in counts.left_out.items() if count}
    if as_json:
        told: dict[str, object] = {"out": str(out), "rows": counts.rows, "labelled": counts.labelled}
        told |= {"positives": counts.positives, "control": counts.control, "left_out": left_out}
        if parity is not None:
            told["parity"] = {
                "decisions": parity.decisions,
                "equal": parity.equal,
                "before_start": parity.before_start,
                "first_difference": parity.first_difference or None,
            }
        print_json(told)
    else:
        known = f"{counts.labelled:,} with a label, {counts.positives:,} of them true, {counts.control:,} of control"
        print(f"{counts.rows:,} rows in {out}: {known}")
        for reason, count in left_out.items():
            print(f"  left out, {reason}: {count:,}")
        if parity is not None:
            print(f"  features folded anew: equal {parity.equal:,} of {parity.decisions:,}")
    if parity is not None and parity.before_start:
        say(f"{parity.before_start:,} decisions are older than what the log still folds, and could not be compared")
    if parity is not None and parity.equal < parity.decisions:
        say(f"what was served is not what the log folds to, first at {parity.first_difference}")
        return 1
    return 0


def written_set(
    config: HearthConfig, plan: "Plan", out: Path, wanted: "DatasetConfig | None" = None
) -> "DatasetCounts":
    """Write the training set of a log, whole or not at all; return what went into it.

    Raises:
        UsageWrong: it cannot be there, or its label is no event type.
        CommandFailed: the log cannot be read, or the set not be written.
    """
    from actors.exports.log_export import survey
    from actors.snapshots.store import snapshot_store
    from serving.models.dataset import DatasetConfig, DatasetCounts

    check_place(out)
    wanted, counts = wanted or DatasetConfig(), DatasetCounts()
    with log_failures():
        surveyed = survey(log_reader(config))
        _check_label(wanted.label, [*surveyed.plans_with(snapshot_store(config.snapshot_location)).values(), plan])
        with meter("writing the training set", unit="rows") as show:
            tables = _tables(config, surveyed, plan, wanted, counts, spill_to=_folder_of(out))
            write_set(tables, out, show)
    return counts


def _folder_of(out: Path) -> Path:
    """Return the folder that there is already, in or under which a set is written."""
    return next(folder for folder in out.absolute().parents if folder.is_dir())


@contextmanager
def log_failures() -> Iterator[None]:
    """Let a log that cannot be read end a command."""
    from actors.log.contract import LogError
    from actors.records.payload import PayloadUnreadable
    from household.plan import PlanUnreadable
    from serving.models.tables import BadExport

    try:
        yield
    except (LogError, PayloadUnreadable, PlanUnreadable, BadExport, OSError) as failed:
        raise CommandFailed(f"the log cannot be read: {failed}") from failed


def _check_label(label: str, plans: "list[Plan]") -> None:
    from serving.models.dataset import ACCEPTED

    known = {one.name for plan in plans for one in plan.event_types}
    if label != ACCEPTED and label not in known:
        there_are = ", ".join(sorted(known))
        raise UsageWrong(
            f"--label {label} is neither {ACCEPTED!r} nor an event type of a playbook; there are {there_are}"
        )


def _tables(
    config: HearthConfig,
    surveyed: "Survey",
    plan: "Plan",
    wanted: "DatasetConfig",
    counts: "DatasetCounts",
    *,
    spill_to: Path,
) -> Iterator[pa.Table]:
    """Yield the training set partition by partition; at least one table, though it be empty.

    What was reported lies in a folder as far as it is much: on the disk of the set, which has room for more than that.
    """
    from actors.exports.decisions import FIXED
    from actors.exports.log_export import export_table
    from actors.log.contract import LOG_START
    from actors.log.location import partition_reader
    from actors.snapshots.store import snapshot_store
    from serving.models.dataset import DecisionOutcomes, dataset_schema, dataset_tables

    reader, snapshots = partition_reader(config.log_location), snapshot_store(config.snapshot_location)
    plans = list(surveyed.plans_with(snapshots).values())

    def read(partitions: "Sequence[PartitionId]") -> "ReadLogs":
        return lambda: ((one, stored) for one in partitions for stored in reader.read(one, LOG_START))

    def outcomes_in(partitions: "Sequence[PartitionId]") -> DecisionOutcomes:
        found = DecisionOutcomes(wanted, spill_to)
        for signals in export_table(read(partitions), "signals", snapshots, surveyed=surveyed):
            with _spilling(spill_to):
                found.add(signals)
        return found

    yield dataset_schema(plan, FIXED, wanted).empty_table()
    # A decision's record stays where it was written, and what became of it is told where the household lies by then.
    everywhere = outcomes_in(reader.partitions()) if surveyed.is_any_relocated else None
    for partition in reader.partitions():
        yield from dataset_tables(
            export_table(read([partition]), "decisions", snapshots, surveyed=surveyed),
            outcomes_in([partition]) if everywhere is None else everywhere,
            plan,
            plans=plans,
            # What has not ended by the newest record of any partition is not known yet.
            newest_us=surveyed.newest_us,
            config=wanted,
            counts=counts,
        )


@contextmanager
def _spilling(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as failed:
        raise CommandFailed(
            f"what was reported of actions cannot be held in {folder} while the set is written: "
            f"{failed.strerror or failed}"
        ) from failed


def _checked(config: HearthConfig) -> "Parity":
    from actors.exports.point_in_time import LogTooShort, Parity, parity_of
    from actors.log.location import partition_reader
    from actors.snapshots.store import snapshot_store

    reader, snapshots = partition_reader(config.log_location), snapshot_store(config.snapshot_location)
    found, partitions = Parity(), reader.partitions()
    with log_failures(), meter("folding the log once more", unit="partitions") as show:
        for place, partition in enumerate(partitions, start=1):
            try:
                found.add(parity_of(reader, snapshots, partition))
            except LogTooShort as short:
                raise CommandFailed(f"the features cannot be folded anew: {short}") from short
            show(place, len(partitions), f"equal {found.equal:,} of {found.decisions:,}")
    return found


def write_set(tables: Iterator[pa.Table], out: Path, show: "Meter") -> None:
    """Write one file, or a folder of files with some rows each; it bears its name once it is whole.

    Raises:
        UsageWrong: it cannot be there.
        CommandFailed: it cannot be written.
    """
    check_place(out)
    if out.suffix == PARQUET:
        write_whole(out, lambda file: write_parquet(tables, file, show))
        return
    unfinished = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for number, part in enumerate(_files(tables)):
            write_parquet(part, unfinished / f"part-{number:05d}{PARQUET}", show)
        if out.is_dir():
            out.rmdir()
        unfinished.rename(out)
    except OSError as failed:
        raise CommandFailed(f"{out} cannot be written: {failed.strerror or failed}") from failed
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_place(out: Path) -> None:
    """Raise where no set can be written.

    Raises:
        UsageWrong: it is there, or would look like a file of another kind.
    """
    if out.suffix == PARQUET:
        if not out.absolute().parent.is_dir():
            raise UsageWrong(f"the folder of {out} does not exist; make it first")
        if out.is_dir():
            raise UsageWrong(f"{out} is a folder; name a file that ends in {PARQUET}, or a folder that does not")
        return
    if out.suffix.lower() in OTHER_KINDS and not out.is_dir():
        raise UsageWrong(f"{out}: a set is Parquet; name a file that ends in {PARQUET}, or a folder")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageWrong(f"{out} is there already; name an empty folder, or a file that ends in {PARQUET}")


def _files(tables: Iterator[pa.Table]) -> Iterator[Iterator[pa.Table]]:
    """Yield the tables of each file, which are to be taken before the next file's."""
    for first in tables:
        rows = first.num_rows

        def of_one(first: pa.Table = first) -> Iterator[pa.Table]:
            nonlocal rows
            yield first
            while rows < FILE_ROWS and (table := next(tables, None)) is not None:
                rows += table.num_rows
                yield table

        yield of_one()
