"""`hearth log export`: what the log holds, as one Parquet file."""

from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import Reach, log_reader, write_parquet, write_whole
from cluster.output import meter, print_json, say

KINDS = ("decisions", "signals", "moments")


def export(config: HearthConfig, *, kind: str, out: Path, as_json: bool) -> int:
    """Write the records of one kind to `out`, whole or not at all; works beside a running Hearth."""
    if kind not in KINDS:
        raise UsageWrong(f"--kind {kind} is not known; the kinds are {', '.join(KINDS)}")
    reach = Reach(log_reader(config))
    rows = write_whole(out, lambda file: _write(config, reach, kind=kind, file=file))
    since = _since(reach)
    if as_json:
        size_bytes = out.stat().st_size
        print_json({"kind": kind, "rows": rows, "file": str(out), "bytes": size_bytes, "complete_since": since})
    else:
        if since is not None:
            say(f"older log was dropped behind snapshots: complete since {since} (setting log_retention_hours)")
        print(f"{rows:,} {kind} in {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


def _since(reach: Reach) -> str | None:
    since_us = reach.complete_since_us
    return None if since_us is None else datetime.fromtimestamp(since_us / 1e6, tz=UTC).isoformat(timespec="seconds")


def _write(config: HearthConfig, reach: Reach, *, kind: str, file: Path) -> int:
    from actors.exports.log_export import export_table
    from actors.log.contract import LogError
    from actors.records.payload import PayloadUnreadable
    from actors.snapshots.store import snapshot_store
    from household.plan import PlanUnreadable

    try:
        with meter(f"exporting {kind}", unit="rows") as show:
            tables = export_table(reach, kind, snapshot_store(config.snapshot_location))
            try:
                # Before the first table stands all reading of snapshots.
                first = next(tables)
            except OSError as failed:
                raise CommandFailed(f"the snapshots cannot be listed: {failed}") from failed
            return write_parquet(chain([first], tables), file, show)
    except (LogError, PayloadUnreadable, PlanUnreadable) as failed:
        raise CommandFailed(f"the log cannot be read: {failed}") from failed
