"""A training set on disk, one Parquet file or a folder of them, read a row group at a time.

It may come from `hearth models dataset` or from elsewhere, as long as it has the columns of the feature schema, a
label, and the time of each decision (docs/models.md has the schema).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow.lib import ArrowException

from household.scoring import NEVER, FeatureSchema
from serving.models.dataset import ACCEPTED, LABEL
from serving.models.tables import BadExport, check_columns, floats, metadata_of, text, times

DECIDED: Final = "decided_at"
PROPENSITY: Final = "propensity"
DECISION: Final = "decision_id"
HOUSEHOLD: Final = "household"
BATCH_ROWS: Final = 65_536
"""Rows held at a time; of 60 columns, some 16 MB."""
SAMPLED_FROM: Final = 4
"""How many times the rows of a sample are read for it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingRows:
    """Some rows that have a label, in the order of the file."""

    rows: NDArray[np.float32]
    """(n, columns) as they are scored."""
    label: NDArray[np.bool_]
    decided_us: NDArray[np.int64]
    propensity: NDArray[np.float64]
    """(n,) each; 1 where the set does not tell."""


class TrainingSet:
    """A training set for one feature schema."""

    def __init__(self, path: Path, schema: FeatureSchema) -> None:
        """Look at the files' schemas.

        Raises:
            BadExport: there is none, it cannot be read, or a column is missing or of another kind.
        """
        self.path = path
        self.schema = schema
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not files or not all(one.is_file() for one in files):
            raise BadExport(f"{path} is neither a Parquet file nor a folder of them")
        try:
            self._files = [pq.ParquetFile(one, memory_map=True) for one in files]
        except (ArrowException, OSError) as wrong:
            raise BadExport(f"{path} is no Parquet: {' '.join(str(wrong).split())}") from wrong
        self.columns = self._files[0].schema_arrow
        self._check()

    def _check(self) -> None:
        for one in self._files[1:]:
            if not one.schema_arrow.equals(self.columns):
                raise BadExport(f"{self.path}: its files have different columns")
        metadata = metadata_of(self.columns)
        made_for = metadata.get("hearth.feature_schema_hash", self.schema.hash)
        if made_for != self.schema.hash:
            raise BadExport(
                f"{self.path} is of feature schema {made_for}, the playbook in force has {self.schema.hash}"
            )
        self.label_name = metadata.get("hearth.label", ACCEPTED)
        self.window_us = _whole_number(self.path, metadata, "hearth.window_us")
        self.definition = metadata.get("hearth.label_definition", f"`{LABEL}` of {self.path.name}")
        needed, read = (*self.schema.names, LABEL, DECIDED), (PROPENSITY, DECISION, HOUSEHOLD)
        check_columns(self.path, self.columns, needed=needed, read=read)
        for column in self.schema.columns:
            kind = self.columns.field(column.name).type
            if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
                raise BadExport(f"{self.path}: {column.name} is {kind}, a number is needed")
        if not pa.types.is_boolean(self.columns.field(LABEL).type):
            raise BadExport(f"{self.path}: {LABEL} is {self.columns.field(LABEL).type}, bool is needed")
        if not pa.types.is_timestamp(self.columns.field(DECIDED).type):
            raise BadExport(f"{self.path}: {DECIDED} is {self.columns.field(DECIDED).type}, a timestamp is needed")

    @property
    def row_count(self) -> int:
        """How many rows, with a label or not."""
        return sum(one.metadata.num_rows for one in self._files)

    def labelled(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return (n,) the time and the label of each row that has one, in the order of the files."""
        decided, labels = [np.empty(0, np.int64)], [np.empty(0, np.bool_)]
        for table in self._all([DECIDED, LABEL]):
            decided.append(times(table, DECIDED))
            labels.append(np.asarray(table[LABEL].to_numpy(), np.bool_))
        return np.concatenate(decided), np.concatenate(labels)

    def batches(self) -> Iterator[TrainingRows]:
        """Yield all rows that have a label.

        Raises:
            BadExport: it cannot be read, or a value is infinite.
        """
        has_propensity = PROPENSITY in self.columns.names
        names = [*self.schema.names, LABEL, DECIDED, *([PROPENSITY] if has_propensity else [])]
        for table in self._all(names):
            yield TrainingRows(
                rows=self.rows_of(table),
                label=np.asarray(table[LABEL].to_numpy(), np.bool_),
                decided_us=times(table, DECIDED),
                propensity=floats(table, PROPENSITY) if has_propensity else np.ones(table.num_rows),
            )

    def sample(self, rows_max: int, *, also: Sequence[str] = ()) -> pa.Table:
        """Return some labelled rows from all over the set, the same ones at every call.

        Args:
            rows_max: at most, about.
            also: columns beside those of the feature schema and the label; those that are not there are left out.
        """
        names = [*self.schema.names, LABEL, *(one for one in also if one in self.columns.names)]
        groups = [
            (file, group, file.metadata.row_group(group).num_rows)
            for file in self._files
            for group in range(file.metadata.num_row_groups)
        ]
        # Some row groups from beginning to end: to read all for a few rows would take as long as a training.
        wanted = -(-len(groups) * min(SAMPLED_FROM * rows_max, self.row_count) // max(self.row_count, 1))
        places = np.unique(np.linspace(0, len(groups) - 1, max(wanted, 1)).round().astype(int)).tolist()
        some = [groups[place] for place in places if groups]
        share, draw = min(1.0, rows_max / max(sum(rows for _, _, rows in some), 1)), np.random.default_rng(0)
        found = [pa.schema([self.columns.field(name) for name in names]).empty_table()]
        for file, group, _ in some:
            for table in self._tables(file, names, groups=[group]):
                found.append(table.filter(pa.array(draw.random(table.num_rows) < share)))
        return pa.concat_tables(found, promote_options="permissive")

    def rows_of(self, table: pa.Table) -> NDArray[np.float32]:
        """Return (n, columns) the rows as they are scored: NaN for null, NEVER for never."""
        rows = np.empty((table.num_rows, len(self.schema.names)), np.float32)
        for place, name in enumerate(self.schema.names):
            column = table[name].cast(pa.float32(), safe=False)
            rows[:, place] = (column.fill_null(float("nan")) if column.null_count else column).to_numpy()
        np.clip(rows, -NEVER, NEVER, out=rows)
        return rows

    def _all(self, names: list[str]) -> Iterator[pa.Table]:
        for file in self._files:
            yield from self._tables(file, names)

    def _tables(self, file: pq.ParquetFile, names: list[str], *, groups: list[int] | None = None) -> Iterator[pa.Table]:
        """Yield the rows of a file that have a label, piece by piece."""
        try:
            for batch in file.iter_batches(BATCH_ROWS, columns=names, row_groups=groups):
                table = pa.Table.from_batches([batch])
                if table[LABEL].null_count:
                    table = table.filter(table[LABEL].is_valid())
                if table.num_rows:
                    yield table
        except (ArrowException, OSError) as wrong:
            raise BadExport(f"{self.path} cannot be read: {' '.join(str(wrong).split())}") from wrong


def keys_of(table: pa.Table) -> list[tuple[str, str]]:
    """Return the household and the id of each row's decision; none where the set does not tell."""
    if HOUSEHOLD not in table.column_names or DECISION not in table.column_names:
        return []
    return list(zip(text(table, HOUSEHOLD).tolist(), text(table, DECISION).tolist(), strict=True))


def columns_told(schema: pa.Schema) -> list[str]:
    """Return the names of the columns that a training set says it is to be learned from; empty where it does not.

    Raises:
        BadExport: what it says is no list of names.
    """
    said = metadata_of(schema).get("hearth.columns", "[]")
    try:
        told = json.loads(said)
    except ValueError:
        told = None
    if not isinstance(told, list):
        raise BadExport(f"its metadata `hearth.columns` is {said[:80]!r}, and should be a list of names in JSON")
    return [str(one) for one in told]


def _whole_number(path: Path, metadata: dict[str, str], name: str) -> int:
    """Return a number that a file says of itself; 0 where it does not."""
    said = metadata.get(name, "0")
    if not (said.isascii() and said.isdigit()):
        raise BadExport(f"{path}: its metadata `{name}` is {said[:80]!r}, and should be a whole number")
    return int(said)
