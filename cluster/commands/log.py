"""`hearth log export`: what the log holds, as one Parquet file."""

from pathlib import Path

from cluster.config import HearthConfig
from cluster.data_dir import LAYOUT_NAME
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import write_parquet
from cluster.output import meter, print_json

KINDS = ("decisions", "signals", "moments")


def export(config: HearthConfig, *, kind: str, out: Path, as_json: bool) -> int:
    """Write the records of one kind to `out`, whole or not at all; works beside a running Hearth."""
    if kind not in KINDS:
        raise UsageWrong(f"--kind {kind} is not known; the kinds are {', '.join(KINDS)}")
    if not (config.data_dir / LAYOUT_NAME).is_file():
        raise UsageWrong(f"{config.data_dir} is no data directory of Hearth; name one with --data-dir")
    if not out.absolute().parent.is_dir():
        raise UsageWrong(f"the folder of {out} does not exist; make it first")
    unfinished = out.with_name(out.name + ".part")
    try:
        rows = _write(config.data_dir, kind=kind, file=unfinished)
        unfinished.replace(out)
    except OSError as failed:
        raise CommandFailed(f"{out} cannot be written: {failed.strerror or failed}") from failed
    finally:
        unfinished.unlink(missing_ok=True)
    if as_json:
        print_json({"kind": kind, "rows": rows, "file": str(out), "bytes": out.stat().st_size})
    else:
        print(f"{rows:,} {kind} in {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


def _write(data_dir: Path, *, kind: str, file: Path) -> int:
    from actors.codec import PayloadUnreadable
    from actors.export import export_table
    from actors.log import LogError

    try:
        with meter(f"exporting {kind}", unit="rows") as show:
            return write_parquet(lambda: export_table(data_dir, kind), file, show)
    except (LogError, PayloadUnreadable) as failed:
        raise CommandFailed(f"the log cannot be read: {failed}") from failed
