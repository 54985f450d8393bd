"""Reads what a model of uplift, churn or value is learned from: Parquet of `hearth models dataset`, or another's.

Held in memory, as trials and lists of those who left are some million rows at most. docs/models.md has the columns.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow.lib import ArrowException

from household.plan import ValueTerm
from household.scoring import NEVER, FeatureSchema
from serving.models.dataset import ACCEPTED, CONTROL, LABEL, TREATED
from serving.models.tables import BadExport, check_columns, flags, floats, metadata_of, text, times
from serving.models.term_training import TermExamples
from serving.models.training_sets import DECIDED, HOUSEHOLD, PROPENSITY

ROWS_MAX: Final = 5_000_000
LABEL_MAX: Final = 2.0**40
"""Beyond any acceptance in minor units, and beyond what a model of a value may say (serving/models/probe.py)."""
ARM: Final = "arm"
ARMS: Final = "arms"
TREATED_PROPENSITY: Final = "treated_propensity"
OF_A_TRIAL: Final = (ARM, TREATED, TREATED_PROPENSITY, ARMS, PROPENSITY)
"""Columns that tell of treatment, of which each is read if it is there."""
TIME: Final = "time"
"""Of rows that no decision made, beside `decided_at`."""


def read_observed(path: Path, schema: FeatureSchema, term: ValueTerm) -> TermExamples:
    """Return the rows of a file, or of a folder of them, that have a label.

    Raises:
        BadExport: it cannot be read, a column is missing or of another kind, or it is of another feature schema.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not all(one.is_file() for one in files):
        raise BadExport(f"{path} is neither a Parquet file nor a folder of them")
    try:
        sources = [pq.ParquetFile(one, memory_map=True) for one in files]
        found = sources[0].schema_arrow
        _check(path, found, schema, term)
        rows = sum(one.metadata.num_rows for one in sources)
        if rows > ROWS_MAX:
            raise BadExport(f"{path} has {rows:,} rows; at most {ROWS_MAX:,} are learned from, so take a part of them")
        table = pa.concat_tables([one.read(_wanted(found, schema, term)) for one in sources])
    except (ArrowException, OSError) as wrong:
        raise BadExport(f"{path} cannot be read: {' '.join(str(wrong).split())}") from wrong
    labelled = table.filter(table[LABEL].is_valid())
    is_told = HOUSEHOLD in found.names
    households: NDArray[np.generic] = text(labelled, HOUSEHOLD) if is_told else np.arange(labelled.num_rows)
    return TermExamples(
        rows=_rows_of(labelled, schema.names_for(term)),
        outcome=_outcome(path, labelled),
        observed_us=times(labelled, _time_of(found)),
        households=households,
        is_treated=_is_treated(path, labelled) if term is ValueTerm.UPLIFT and _has_arms(found) else None,
        propensity=_propensity(labelled, found) if term is ValueTerm.UPLIFT else None,
        left_out=table.num_rows - labelled.num_rows,
    )


def _check(path: Path, found: pa.Schema, schema: FeatureSchema, term: ValueTerm) -> None:
    metadata = metadata_of(found)
    made_for = metadata.get("hearth.feature_schema_hash", schema.hash)
    if made_for != schema.hash:
        raise BadExport(f"{path} is of feature schema {made_for}, the playbook in force has {schema.hash}")
    if term is ValueTerm.UPLIFT and metadata.get("hearth.label") == ACCEPTED:
        raise BadExport(
            f"the label of {path} is {ACCEPTED!r}, which a household that was told nothing can never be; an uplift "
            "needs an outcome that both may have: `hearth models dataset --label EVENT`"
        )
    if term is ValueTerm.CHURN and metadata.get("hearth.label") == ACCEPTED:
        raise BadExport(
            f"the label of {path} is {ACCEPTED!r}, and a hazard is of who left: `hearth models dataset --label EVENT` "
            "of what says so, or `--as-of FILE` for a list of households with a label of your own"
        )
    read = (DECIDED, TIME, HOUSEHOLD, *(OF_A_TRIAL if term is ValueTerm.UPLIFT else ()))
    check_columns(path, found, needed=(*schema.names_for(term), LABEL), read=read)
    for name in schema.names_for(term):
        kind = found.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            raise BadExport(f"{path}: {name} is {kind}, a number is needed")
    label = found.field(LABEL).type
    if term is ValueTerm.VALUE:
        if not (pa.types.is_floating(label) or pa.types.is_integer(label)):
            raise BadExport(f"{path}: {LABEL} is {label}; of a value it is what an acceptance brought, in minor units")
    elif not pa.types.is_boolean(label):
        raise BadExport(f"{path}: {LABEL} is {label}, bool is needed")
    if not pa.types.is_timestamp(found.field(_time_of(found)).type):
        raise BadExport(f"{path}: {_time_of(found)} is {found.field(_time_of(found)).type}, a timestamp is needed")


def _time_of(found: pa.Schema) -> str:
    for name in (DECIDED, TIME):
        if name in found.names:
            return name
    raise BadExport(f"column {DECIDED} is missing, as of which each row is; {TIME} will do for rows of no decision")


def _wanted(found: pa.Schema, schema: FeatureSchema, term: ValueTerm) -> list[str]:
    also: tuple[str, ...] = (LABEL, _time_of(found), HOUSEHOLD)
    if term is ValueTerm.UPLIFT:
        also = (*also, *OF_A_TRIAL)
    return [*schema.names_for(term), *(name for name in also if name in found.names)]


def _outcome(path: Path, table: pa.Table) -> NDArray[np.float64]:
    """Return (n,) what came of each row: 0 or 1, or what it brought."""
    outcome = np.asarray(table[LABEL].cast(pa.float64()).to_numpy(), np.float64)
    wrong = np.flatnonzero(~(np.abs(outcome) <= LABEL_MAX))
    if len(wrong):
        raise BadExport(
            f"{path}: {LABEL} is {outcome[wrong[0]]:g} in {len(wrong):,} of {len(outcome):,} rows that have one, first "
            f"in row {wrong[0]:,} of these; a number within ±{LABEL_MAX:g} is needed, and null where nothing is known"
        )
    return outcome


def _rows_of(table: pa.Table, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return (n, columns) the rows as they are scored: NaN for null, NEVER for never."""
    rows = np.empty((table.num_rows, len(names)), np.float32)
    for place, name in enumerate(names):
        column = table[name].cast(pa.float32(), safe=False)
        rows[:, place] = (column.fill_null(float("nan")) if column.null_count else column).to_numpy()
    np.clip(rows, -NEVER, NEVER, out=rows)
    return rows


def _has_arms(found: pa.Schema) -> bool:
    return ARM in found.names or TREATED in found.names


def _is_treated(path: Path, table: pa.Table) -> NDArray[np.bool_]:
    if ARM not in table.column_names:
        return flags(table, TREATED)
    arms = text(table, ARM)
    if other := sorted(set(np.unique(arms).tolist()) - {TREATED, CONTROL}):
        raise BadExport(f"{path}: {ARM} is {other[0]!r}; {TREATED!r} or {CONTROL!r} is needed")
    return np.asarray(arms == TREATED, np.bool_)


def _propensity(table: pa.Table, found: pa.Schema) -> NDArray[np.float64] | None:
    """Return (n,) the probability of being treated: as the file tells it, or of the control groups that each row met.

    A `propensity` beside `arms` is another one, with which an offer came first.
    """
    if TREATED_PROPENSITY in found.names:
        return floats(table, TREATED_PROPENSITY)
    if ARMS not in found.names:
        return floats(table, PROPENSITY) if PROPENSITY in found.names else None
    lists = table[ARMS].combine_chunks()
    met = lists.flatten()
    if not len(met):
        return None
    experiment = np.asarray(met.field("experiment").fill_null("").to_numpy(zero_copy_only=False), object)
    is_control = np.asarray(met.field(ARM).fill_null("").to_numpy(zero_copy_only=False), object) == CONTROL
    share = np.asarray(met.field("share").to_numpy(zero_copy_only=False), np.float64)
    parents = np.asarray(pc.list_parent_indices(lists), np.intp)
    chance = np.ones(table.num_rows)
    for name in np.unique(experiment[is_control].astype(str)).tolist():
        left_alone = float(share[is_control & (experiment == name)].max())
        chance[parents[experiment == name]] *= 1.0 - left_alone
    return chance
