"""`hearth export assignments`: the arms that households are in, as one file, and whether they hold their shares."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa

from cluster.config import HearthConfig
from cluster.errors import CommandFailed
from cluster.exporting import log_reader, write_parquet, write_whole
from cluster.output import meter, print_json, say
from insight.experiments.sample_ratio import ALL_BP, Counted, SampleRatio, sample_ratios


def export_assignments(config: HearthConfig, *, out: Path, as_json: bool) -> int:
    """Write all recorded arms to `out`, whole or not at all; works beside a running Hearth."""
    counts: Counter[tuple[str, str, str, float]] = Counter()
    rows = write_whole(out, lambda file: _write(config, file, counts))
    ratios = sample_ratios(
        Counted(experiment=name, version=version, arm=arm, share_bp=round(share * ALL_BP), households=households)
        for (name, version, arm, share), households in counts.items()
    )
    if as_json:
        told = [
            {"experiment": one.experiment, "households": one.counts, "p_value": one.p_value, "is_off": one.is_off}
            for one in ratios
        ]
        print_json({"rows": rows, "file": str(out), "bytes": out.stat().st_size, "experiments": told})
        return 0
    print(f"{rows:,} assignments in {out} ({out.stat().st_size / 1e6:.1f} MB)")
    for one in ratios:
        print(f"  {one.experiment}: {_told(one)}")
        if one.is_off:
            say(f"the arms of {one.experiment} are not what was drawn: no difference between them means anything")
    return 0


def _told(one: SampleRatio) -> str:
    arms = (f"{count:,} {arm} (expected {one.expected[arm]:,.0f})" for arm, count in sorted(one.counts.items()))
    return f"{', '.join(arms)}; p = {one.p_value:.3g}"


def _write(config: HearthConfig, file: Path, counts: Counter[tuple[str, str, str, float]]) -> int:
    from actors.exports.assignments import assignment_tables
    from actors.log.contract import LogError
    from actors.records.payload import PayloadUnreadable
    from actors.snapshots.store import snapshot_store
    from household.plan import PlanUnreadable

    def counted(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            keys = (table[name].to_pylist() for name in ("experiment", "version", "arm", "share"))
            counts.update(zip(*keys, strict=True))
            yield table

    try:
        with meter("exporting assignments", unit="rows") as show:
            tables = counted(assignment_tables(log_reader(config), snapshot_store(config.snapshot_location)))
            return write_parquet(chain([next(tables)], tables), file, show)
    except (LogError, PayloadUnreadable, PlanUnreadable) as failed:
        raise CommandFailed(f"the log cannot be read: {failed}") from failed
