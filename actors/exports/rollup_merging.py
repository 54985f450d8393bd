"""Many small rollups as one large one: what is rolled up while Hearth runs is small, and each file costs a look."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.exports.rollup_files import (
    FORMAT,
    RECORD_SCHEMA,
    Rollup,
    files_of,
    rollup_told,
    texts_in,
    whole,
    write_signals,
)


def merged(folder: Path, rollups: Sequence[Rollup]) -> Rollup | None:
    """Write rollups that follow one another as one, a bucket after another, and return it.

    Returns:
        None where a column is of another kind in one of them, or the log has dropped some of what is in them.
    """
    if any(one.since > one.first for one in rollups):
        return None
    try:
        schema = pa.unify_schemas([pq.read_schema(one.signals).remove_metadata() for one in rollups])
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None
    kinds: Counter[str] = Counter()
    for one in rollups:
        for kind, bits in one.kinds.items():
            kinds[kind] |= bits
    told = {
        "format": FORMAT,
        "first": rollups[0].first,
        "end": rollups[-1].end,
        "last": rollups[-1].last,
        "buckets": np.sum([one.buckets for one in rollups], axis=0).tolist(),
        "kinds": dict(kinds),
        "newest_us": max(one.newest_us for one in rollups),
        "ahead_us": max(one.ahead_us for one in rollups),
        "columns": texts_in(schema),
    }
    signals_file, records_file = files_of(folder, rollups[0].first, rollups[-1].end)
    with whole(records_file) as unfinished, pq.ParquetWriter(unfinished, RECORD_SCHEMA, compression="zstd") as writer:
        for one in rollups:
            with pq.ParquetFile(one.records) as file:
                for batch in file.iter_batches(batch_size=8_192):
                    writer.write_batch(batch)
    with whole(signals_file) as unfinished:
        buckets = range(len(rollups[0].buckets))
        write_signals(unfinished, schema, told, (_of_all(rollups, bucket, schema) for bucket in buckets))
    return rollup_told(told, signals_file, records_file)


def _of_all(rollups: Sequence[Rollup], bucket: int, schema: pa.Schema) -> pa.Table:
    pieces = [piece for one in rollups if (piece := one.table(bucket, schema.names)) is not None]
    if not pieces:
        return schema.empty_table()
    there = pa.concat_tables(pieces, promote_options="default")
    return pa.table(
        {
            one.name: there.column(one.name).cast(one.type)
            if one.name in there.column_names
            else pa.nulls(there.num_rows, one.type)
            for one in schema
        }
    )


def left_over(folder: Path, rollups: Sequence[Rollup]) -> list[Path]:
    """Return the files in a folder that are of no such rollup."""
    ours = {file for one in rollups for file in (one.signals, one.records)}
    return [file for file in sorted(folder.glob("*.parquet*")) if file not in ours]
