"""`hearth models leaks`: columns of a training set that know what they are to predict, before anybody trains on it."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cluster.commands.models import plain
from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import print_json, say
from insight.tables import BadTable, column, read_table

if TYPE_CHECKING:
    from household.plan import Plan
    from serving.models.leaks import LeakyColumn
    from serving.models.training_sets import TrainingSet

COMPARED_ROWS: Final = 50_000
"""Of a training set, among which decisions of the log are looked for."""
COMPARED_MAX: Final = 2_000
"""Decisions of a training set whose columns are compared with what was served."""
SCANNED_MAX: Final = 200_000
"""Decisions of the log among which they are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakColumns:
    """What is what in a training set of any origin."""

    label: str
    time: str | None
    """Of the decision, or of the moment as of which the row is; None where there is none."""
    left_out: Collection[str]
    """LeakColumns that nothing is learned from."""


def look_for_leaks(file: Path, columns: LeakColumns, *, as_json: bool) -> int:
    """Print the leaks of a Parquet or CSV file; exit code 1 if there are any."""
    from serving.models.leaks import find_leaks

    try:
        table = _labelled(read_table(file), columns.label)
        label = label_of(table, columns.label, file=file)
        decided_us = None if columns.time is None else _times_of(table, columns.time, file=file)
        computed = _told_columns(table, file=file)
    except BadTable as wrong:
        raise UsageWrong(str(wrong)) from wrong
    unknown = [one for one in columns.left_out if one not in table.column_names]
    if unknown:
        raise UsageWrong(f"--without {unknown[0]}: {file} has no such column")
    beside = {columns.label, columns.time, *columns.left_out, *_told_beside(table, computed)}
    wanted = [name for name in table.column_names if name not in beside]
    leaks = find_leaks(table, wanted, label, label_name=columns.label, known=computed, decided_us=decided_us)
    if as_json:
        told = [plain(asdict(one)) for one in leaks]
        print_json({"file": str(file), "rows": table.num_rows, "columns": wanted, "leaks": told})
    elif leaks:
        print(f"{len(leaks)} of {len(wanted)} columns know what they are to predict:")
        for one in leaks:
            print(f"  {one}")
    else:
        print(f"no leak among {len(wanted)} columns of {table.num_rows:,} rows")
    return 1 if leaks else 0


def _labelled(table: pa.Table, label: str) -> pa.Table:
    """Return the rows that have a label: what is not known yet says nothing of what knows it."""
    if label not in table.column_names or not (missing := table[label].null_count):
        return table
    say(f"{missing:,} of {table.num_rows:,} rows have no {label}, and are left out")
    return table.filter(table[label].is_valid())


def label_of(table: pa.Table, name: str, *, file: Path) -> NDArray[np.bool_]:
    """Return (rows,) a label of two values, the later in order being true: flags, 0 and 1, No and Yes.

    Raises:
        BadTable: it has other values, or misses some.
    """
    found = column(table, name, file=str(file))
    if pa.types.is_nested(found.type):
        raise BadTable(f"{file}: column {name!r} is {found.type}, and a label is one of two values")
    values = pc.unique(found).to_pylist()
    if found.null_count:
        raise BadTable(f"{file}: column {name!r} misses {found.null_count:,} labels; leave those rows out")
    if len(values) != 2:
        raise BadTable(f"{file}: column {name!r} has {len(values)} different values, and a label has two")
    return np.asarray(pc.equal(found, max(values)).to_numpy(), np.bool_)


def _times_of(table: pa.Table, name: str, *, file: Path) -> NDArray[np.int64]:
    found = column(table, name, file=str(file))
    try:
        if pa.types.is_timestamp(found.type) or pa.types.is_date(found.type):
            found = found.cast(pa.timestamp("us", getattr(found.type, "tz", None)))
        elif pa.types.is_string(found.type):
            found = found.cast(pa.timestamp("us", "UTC"))
        else:
            raise BadTable(f"{file}: column {name!r} is {found.type}, and should be a time")
    except pa.ArrowInvalid as wrong:
        raise BadTable(f"{file}: column {name!r} is no time: {wrong}") from wrong
    if found.null_count:
        raise BadTable(f"{file}: column {name!r} misses {found.null_count:,} times")
    return np.asarray(found.cast(pa.int64()).to_numpy(), np.int64)


def _told_columns(table: pa.Table, *, file: Path) -> list[str]:
    """Return the columns that `hearth models dataset` computed, where it wrote the file."""
    from serving.models.tables import BadExport
    from serving.models.training_sets import columns_told

    try:
        return columns_told(table.schema)
    except BadExport as wrong:
        raise BadTable(f"{file}: {wrong}") from wrong


def _told_beside(table: pa.Table, told: list[str]) -> list[str]:
    """Return what stands beside the columns in a file of `hearth models dataset`."""
    return [name for name in table.column_names if name not in told] if told else []


def refuse_leaks(leaks: "Sequence[LeakyColumn]") -> CommandFailed:
    """Return what a command says that does not learn from leaks."""
    named = "".join(f"\n  {one}" for one in leaks)
    return CommandFailed(
        f"{len(leaks)} of the columns know what they are to predict, and nothing was trained or registered:{named}\n"
        "take them out, or vouch for one with --not-a-leak NAME"
    )


def unlike_what_was_served(config: HearthConfig, source: "TrainingSet", sample: pa.Table) -> "list[LeakyColumn]":
    """Return the columns of a training set that tell of its decisions what they were not served.

    Looks for some of its decisions in the log, if it names them and if the log still has them.
    """
    from actors.exports.point_in_time import decisions_in_force
    from actors.log.contract import LOG_START
    from actors.log.location import partition_reader
    from cluster.commands.dataset import log_failures
    from serving.models.leaks import unlike_served
    from serving.models.training_sets import keys_of

    row_of = {decision: row for row, (_, decision) in enumerate(keys_of(sample))}
    if not row_of:
        return []
    rows, served, scanned = list[int](), list[NDArray[np.float32]](), 0
    with log_failures():
        reader = partition_reader(config.log_location)
        for partition in reader.partitions():
            for _, decision in decisions_in_force(reader.read(partition, LOG_START)):
                scanned += 1
                row = row_of.get(decision.decision_id)
                if row is not None and decision.schema_hash == source.schema.hash:
                    rows.append(row)
                    served.append(np.asarray(decision.state_vector, np.float32))
                if len(rows) >= COMPARED_MAX or scanned >= SCANNED_MAX:
                    break
            if len(rows) >= COMPARED_MAX or scanned >= SCANNED_MAX:
                break
    if not rows:
        say("none of its decisions was found in the log, so its columns could not be compared with what was served")
        return []
    names = source.schema.names[: len(source.schema.scored)]
    told = source.rows_of(sample.take(pa.array(rows)))[:, : len(names)]
    return unlike_served(names, told, np.stack(served))


def check_training_set(
    config: HearthConfig, plan: "Plan", file: Path, *, vouched_for: Collection[str]
) -> "tuple[TrainingSet, pa.Table]":
    """Look through what a model was trained on elsewhere; return it, and a sample of it.

    Raises:
        CommandFailed: a column knows what it is to predict.
        UsageWrong: it is no training set of the feature schema.
    """
    from household.scoring import feature_schema
    from serving.models.examples import TrainingConfig
    from serving.models.leaks import SAMPLED
    from serving.models.tables import BadExport
    from serving.models.training_at_size import leaks_of
    from serving.models.training_sets import DECISION, HOUSEHOLD, TrainingSet

    try:
        source = TrainingSet(file, feature_schema(plan))
        sample = source.sample(SAMPLED, also=(HOUSEHOLD, DECISION))
        unlike = unlike_what_was_served(config, source, sample.slice(0, COMPARED_ROWS))
        leaks = [one for one in unlike if one.column not in vouched_for]
        leaks += leaks_of(source, sample, TrainingConfig(allowed=frozenset(vouched_for)))
    except BadExport as wrong:
        raise UsageWrong(f"--trained-on: {wrong}") from wrong
    if leaks:
        raise refuse_leaks(leaks)
    return source, sample
