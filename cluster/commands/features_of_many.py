"""`hearth models dataset --as-of`: the features of many households, each as of a time that a file names, as Parquet."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.backup import read_layout
from cluster.commands.dataset import log_failures, write_set
from cluster.commands.promotion import plan_of
from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import log_reader
from cluster.output import meter, print_json
from insight.tables import BadTable, column, read_table, texts

if TYPE_CHECKING:
    from actors.exports.across_partitions import OnItsWay
    from actors.log.contract import PartitionId
    from actors.log.location import PartitionReader
    from actors.snapshots.store import SnapshotStore
    from household.plan import Plan
    from household.state import PartitionState

HOUSEHOLD, MEMBER, TIME = "household", "member", "time"
ROWS_TOGETHER: Final = 65_536
ROUNDS_MOST: Final = 64
"""As often a household changes its partition at most."""
GONE_ON: Final = "gone on"
"""To another partition, where it is looked up."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Wanted:
    """Whose features, and as of when: the rows of the file."""

    table: pa.Table
    households: NDArray[np.object_]
    members: NDArray[np.object_]
    times_us: NDArray[np.int64]
    partitions: NDArray[np.int32]
    """(rows,) each."""


@dataclass(slots=True, kw_only=True)
class _Counts:
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def write_features(config: HearthConfig, file: Path, *, out: Path, as_json: bool) -> int:
    """Write the rows of a file with the features of their households as of their times, whole or not at all."""
    from actors.log.location import partition_reader
    from actors.snapshots.store import snapshot_store

    log_reader(config)  # tells whether there is a log
    plan, counts = plan_of(config), _Counts()
    try:
        wanted = _read(file, plan, int(read_layout(config.data_dir)["partition_count"]))
    except BadTable as wrong:
        raise UsageWrong(f"--as-of: {wrong}") from wrong
    reader, snapshots = partition_reader(config.log_location), snapshot_store(config.snapshot_location)
    with log_failures(), meter("folding the log", unit="rows") as show:
        write_set(_tables(reader, snapshots, plan, wanted, counts), out, show)
    left_out = {reason: count for reason, count in counts.left_out.items() if count}
    if as_json:
        print_json({"out": str(out), "rows": counts.rows, "left_out": left_out})
    else:
        print(f"{counts.rows:,} rows in {out}, each with {len(plan.scored_features)} features as of its time")
        for reason, count in left_out.items():
            print(f"  left out, {reason}: {count:,}")
    return 0


def _read(file: Path, plan: "Plan", partition_count: int) -> _Wanted:
    """Return what a file asks for.

    Raises:
        BadTable: a column is missing, or of another kind, or has the name of a feature.
    """
    from wire.partitions import partition_of

    table, name = read_table(file), str(file)
    taken = next((one for one in table.column_names if one in _names(plan)), None)
    if taken is not None:
        raise BadTable(f"{name}: column {taken!r} has the name of a feature; call it otherwise")
    when = column(table, TIME, file=name)
    if not pa.types.is_timestamp(when.type) or when.null_count:
        raise BadTable(f"{name}: column {TIME!r} is {when.type}, and should be a timestamp in every row")
    households = texts(table, HOUSEHOLD, file=name).fill_null("")
    members = texts(table, MEMBER, file=name).fill_null("") if MEMBER in table.column_names else None
    encoded = households.combine_chunks().dictionary_encode()
    of_key = np.array([partition_of(key.encode(), partition_count) for key in encoded.dictionary.to_pylist()], np.int32)
    return _Wanted(
        table=table,
        households=np.asarray(households.to_numpy(), object),
        members=np.full(table.num_rows, "", object) if members is None else np.asarray(members.to_numpy(), object),
        times_us=np.asarray(when.cast(pa.timestamp("us", when.type.tz)).cast(pa.int64()).to_numpy(), np.int64),
        partitions=of_key[encoded.indices.to_numpy()] if len(of_key) else np.empty(0, np.int32),
    )


def _names(plan: "Plan") -> list[str]:
    return [plan.features[index].name for index in plan.scored_features]


def _schema(plan: "Plan", asked: pa.Schema) -> pa.Schema:
    from household.scoring import feature_schema

    schema = feature_schema(plan)
    metadata = {"hearth.kind": "features", "hearth.feature_schema_hash": schema.hash}
    metadata |= {"hearth.playbook_version": plan.version}
    columns = [pa.field(name, pa.float32()) for name in _names(plan)]
    return pa.schema([*asked, *columns], metadata)


def _tables(
    reader: "PartitionReader", snapshots: "SnapshotStore", plan: "Plan", wanted: _Wanted, counts: _Counts
) -> Iterator[pa.Table]:
    """Yield the rows partition by partition; at least one table, though it be empty.

    Rows whose household lay elsewhere by then are looked up there, in another round.
    """
    schema = _schema(plan, wanted.table.schema)
    yield schema.empty_table()
    there, folding = set(reader.partitions()), _Folding(reader, snapshots, plan, wanted, counts)
    places = wanted.partitions
    rows = np.arange(len(places))
    for _ in range(ROUNDS_MOST):
        for partition in np.unique(places).tolist():
            of_partition = rows[places == partition]
            if partition not in there:
                counts.left_out["unknown_household"] += len(of_partition)
                continue
            kept, vectors = folding.told(partition, of_partition)
            counts.rows += len(kept)
            for start in range(0, len(kept), ROWS_TOGETHER):
                some = slice(start, start + ROWS_TOGETHER)
                asked = wanted.table.take(pa.array(kept[some]))
                yield pa.table([*asked.columns, *(pa.array(one) for one in vectors[some].T)], schema=schema)
        rows, places = folding.gone_on()
        if not len(rows):
            return
    counts.left_out["between_partitions"] += len(rows)


class _Folding:
    """Folds partitions up to the times that are asked for."""

    def __init__(
        self, reader: "PartitionReader", snapshots: "SnapshotStore", plan: "Plan", wanted: _Wanted, counts: _Counts
    ) -> None:
        self._reader, self._snapshots, self._plan = reader, snapshots, plan
        self._wanted, self._counts = wanted, counts
        self._gone: dict[int, int] = {}
        """Row → where its household had gone by then."""
        self._ways: dict[int, OnItsWay] = {}
        """Row → what had left with its household, where that was not known to have come."""

    def gone_on(self) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Return (rows,) what is to be looked up elsewhere, and (rows,) in which partitions; once."""
        found = np.array([*self._gone], np.intp), np.array([*self._gone.values()], np.int32)
        self._gone.clear()
        return found

    def told(self, partition: "PartitionId", rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the rows that this partition can tell, in the file's order, and (rows, features) of each."""
        from actors.exports.point_in_time import LogTooShort, Point, states_at, whole_from

        points = [Point(number=at, as_of_us=int(self._wanted.times_us[row])) for at, row in enumerate(rows.tolist())]
        vectors = np.full((len(rows), len(self._plan.scored_features)), np.nan, np.float32)
        why = np.full(len(rows), "before_the_log", object)
        try:
            start = whole_from(self._reader, self._snapshots, partition)
            for point, state in states_at(start, self._reader.read(partition, start.position), points):
                why[point.number] = self._look(state, int(rows[point.number]), vectors[point.number])
        except LogTooShort as short:
            raise CommandFailed(f"the features cannot be folded: {short}") from short
        for at in np.flatnonzero(why == "before_the_log").tolist():
            if (way := self._ways.pop(int(rows[at]), None)) is not None:
                why[at] = self._read(way.state, int(rows[at]), vectors[at])
        is_told = why == ""
        self._counts.left_out.update(why[~is_told & (why != GONE_ON)].tolist())
        return rows[is_told], vectors[is_told]

    def _look(self, state: "PartitionState", row: int, vector: NDArray[np.float32]) -> str:
        """Read the features of a row where its household lies; return why that cannot be, or is not to be done here."""
        from actors.exports.across_partitions import next_place, on_its_way

        household = self._wanted.households[row].encode()
        way = self._ways.pop(row, None)
        if way is not None and not way.has_come(state):
            return self._read(way.state, row, vector)
        target = next_place(state, household)
        if target is None:
            return self._read(state, row, vector)
        self._gone[row] = target
        way = on_its_way(state, household)
        if way is not None:
            self._ways[row] = way
        return GONE_ON

    def _read(self, state: "PartitionState", row: int, vector: NDArray[np.float32]) -> str:
        from household.scoring import schema_hash, state_vector
        from household.state import NO_HOUSEHOLD

        wanted = self._wanted
        # An identifier means who has it by then, and nothing of who had it before.
        time_us = int(wanted.times_us[row])
        keys = state.graph.named(wanted.households[row].encode(), wanted.members[row].encode(), time_us)
        household, member = state.find(*keys)
        if household == NO_HOUSEHOLD:
            return "unknown_household"
        if schema_hash(state.plan) != schema_hash(self._plan):
            return "other_schema"
        vector[:] = state_vector(state.plan, state.readings(household, member, time_us))
        return ""
