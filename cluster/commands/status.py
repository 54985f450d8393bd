"""`hearth status`: does a Hearth run on this data directory, and how is it."""

import shutil
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.partition.stock_told import ITEM
from actors.partition.unknown_fields import UNKNOWN_FIELD
from actors.passing_over import passing_over
from cluster.commands.placement_lines import placement_lines
from cluster.data_dir import find_running, free_bytes, is_held, read_status
from cluster.output import print_json
from cluster.remembered_playbook import told_facts, told_line

STALE_S = 10.0
"""What a run reports every two seconds is no longer how things are."""

FULL_BYTES = 16 << 20
"""With less, a log cannot begin its next segment, nor a snapshot be written."""


def status(data_dir: Path, *, target: str | None, as_json: bool) -> int:
    """Print what is known; exit code 0 when it is ready, 1 otherwise."""
    running = find_running(data_dir)
    address = target or (running.address if running is not None else None)
    health = _health(address) if address is not None else "not running"
    if address is None and is_held(data_dir):
        health = "starting"
    report: dict[str, object] = {
        "health": health,
        "address": address,
        "data_dir": str(data_dir.absolute()),
        "running": asdict(running) if running is not None else None,
        "playbook": told_facts(data_dir),
        "disk_free_bytes": free_bytes(data_dir),
        "trouble": full_disks(data_dir),
        "state": read_status(data_dir),
    }
    if as_json:
        print_json(report)
    else:
        _print(report, health=health, address=address)
    return 0 if health == "ready" else 1


def full_disks(data_dir: Path) -> list[str]:
    """Return a sentence for each place of Hearth's that has no room left, with what follows and what to do."""
    free = free_bytes(data_dir)
    told = []
    if free < FULL_BYTES:
        told.append(
            f"the disk of {data_dir.absolute()} is full ({free:,} bytes free): log and snapshots cannot be written, "
            "and signals and decisions are refused; make room there, and it goes on by itself"
        )
    temporary = Path(tempfile.gettempdir())
    with passing_over(OSError, because="a folder that cannot be looked at is no disk that is full"):
        free = shutil.disk_usage(temporary).free
        if free < FULL_BYTES:
            told.append(
                f"the disk of {temporary} is full ({free:,} bytes free): a run cannot be started; make room there or "
                "set TMPDIR"
            )
    return told


def _health(address: str) -> str:
    # Half of what the command takes: nobody who is told "not running" needs it.
    import grpc

    from cluster.client import NotRunning, connect, health_of, reachable

    try:
        with connect(reachable(address)) as channel:
            return health_of(channel)
    except (NotRunning, grpc.RpcError):
        return "does not answer"


def _print(report: dict[str, object], *, health: str, address: str | None) -> None:
    running = report["running"]
    print(f"Hearth on {report['data_dir']}: {health}")
    if address is not None:
        print(f"  address {address}")
    if isinstance(running, dict):
        print(f"  process {running['pid']}, since {running['started']}")
    playbook = report["playbook"]
    if isinstance(playbook, dict):
        print(f"  {told_line(playbook)}")
    _print_state(report["state"])
    trouble = report["trouble"]
    assert isinstance(trouble, list)
    for line in trouble:
        print(f"  {line}")
    free = report["disk_free_bytes"]
    assert isinstance(free, int)
    print(f"  {free / 1e9:.1f} GB free on disk")
    if health == "not running":
        print("  start it with `hearth up`")


UNKNOWN_FIELDS_SHOWN_MAX = 10
LOGS = "`logs/` in the data directory"

SUMMED = (
    "households",
    "members",
    "received",
    "applied",
    "duplicate",
    "late",
    "rejected",
    "moved",
    "pending",
    "decisions",
    "outbox",
)


def _print_state(state: object) -> None:
    if not isinstance(state, dict):
        return
    if state.get("age_s", 0.0) > STALE_S:
        print(f"  what follows is {state['age_s']:.0f} s old: the run reports nothing new, {LOGS} may say why")
    partitions = list(state["partitions"].values())
    total = {name: sum(int(one.get(name, 0)) for one in partitions) for name in SUMMED}
    print(f"  {len(partitions)} partitions on {len({one['shard'] for one in partitions})} shards")
    print(f"  {total['households']:,} households, {total['members']:,} members")
    print(
        f"  signals in {total['received']:,} = applied {total['applied']:,} + duplicate {total['duplicate']:,} "
        f"+ late {total['late']:,} + rejected {total['rejected']:,}"
        # Sent on to where they lie, and counted there once more; or waiting until all they name lies together.
        + (f" + moved {total['moved']:,}" if total["moved"] else "")
    )
    print(f"  {total['decisions']:,} decisions, {total['pending']:,} moments pending, {total['outbox']:,} to be sent")
    _print_model(state)
    _print_ways(partitions)
    _print_snapshots(partitions)
    _print_unknown_fields(partitions)
    _print_items(partitions)
    for partition, one in state["partitions"].items():
        if one.get("bad_snapshots"):
            print(f"  partition {partition} passed over bad snapshots: {one['bad_snapshots_because']}")
    for partition, why in state["down"].items():
        print(f"  partition {partition} is down: {why}")
    for line in placement_lines(state["placement"]) if state.get("placement") else ():
        print(f"  {line}")
    for name, one in state.get("capture", {}).items():
        print(f"  {name} {_connector(one)}")


def _print_model(state: dict[str, Any]) -> None:
    """Tell what is in force, where it runs, and what keeps the champion from being it."""
    models = state.get("models", {})
    version = state.get("model_version") or state["model"]
    where = "" if not version else " on Serve" if models.get("is_on_serve") else " in the shards"
    missing = ": degraded, a model should score" if models.get("is_missing") else ""
    print(f"  scored by {f'model {version}{where}' if version else f'the priors of the playbook{missing}'}")
    for one in models.get("beside", []):
        share = f" for {one['share'] * 100:g} % of the households" if one["stage"] == "canary" else ""
        print(f"  beside it, model {one['version']} is {one['stage']}{share}")
    for one in models.get("terms", []):
        where = "on Serve" if one["is_on_serve"] else "in the shards"
        by = f"model {one['version']} of {one['name']} {where}"
        missing = (
            f"the playbook: {'degraded, a version' if one['is_missing'] else 'no version'} of {one['name']} scores"
        )
        print(f"  {one['term']} by {by if one['version'] else missing}")
    if models.get("trouble"):
        print(f"  models: {models['trouble']}")
    for shard, trouble in state.get("model_trouble", {}).items():
        print(f"  {shard} does not take the model: {trouble}")


def _print_ways(partitions: list[dict[str, Any]]) -> None:
    """Tell which way the scores came since the shards took their partitions over, and how many were worse for it."""
    ways = {"serve": "on Serve", "shard": "by the same model in the shard", "prior": "by the priors"}
    counts = {way: sum(int(one.get(f"scored_{way}", 0)) for one in partitions) for way in ways}
    degraded = sum(int(one.get("degraded", 0)) for one in partitions)
    if any(counts.values()):
        told = ", ".join(f"{count:,} {ways[way]}" for way, count in counts.items())
        print(f"  scores made: {told}; {degraded:,} degraded")


def _print_snapshots(partitions: list[dict[str, Any]]) -> None:
    """Tell what a restart would have to fold: the longest tail, and how long it has waited for a snapshot."""
    tail = max((int(one.get("log_tail", 0)) for one in partitions), default=0)
    age_s = max((int(one.get("snapshot_age_s", 0)) for one in partitions), default=0)
    since = f", which have waited for {age_s / 60:.0f} minutes" if tail else ""
    print(f"  a restart folds {tail:,} events of a partition at most{since}")


def _print_unknown_fields(partitions: list[dict[str, Any]]) -> None:
    """Tell of fields that came since the start and that nothing reads, the most frequent first: most often a typo."""
    counts: Counter[str] = Counter()
    for one in partitions:
        for name, count in one.items():
            if name.startswith(UNKNOWN_FIELD):
                counts[name.removeprefix(UNKNOWN_FIELD)] += count
    if counts:
        shown = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(UNKNOWN_FIELDS_SHOWN_MAX))
        more = f" and {len(counts) - UNKNOWN_FIELDS_SHOWN_MAX:,} more" if len(counts) > UNKNOWN_FIELDS_SHOWN_MAX else ""
        print(f"  fields that the playbook does not know, in signals since the start: {shown}{more}")


def _print_items(partitions: list[dict[str, Any]]) -> None:
    """Tell how much of each scarce item is given away."""
    for one in partitions:
        for key in [key for key in one if key.startswith(ITEM) and key.endswith(" granted")]:
            name = key.removeprefix(ITEM).removesuffix(" granted")
            held, free = one[f"{ITEM}{name} held"], one[f"{ITEM}{name} free"]
            print(f"  item {name}: {one[key]:,} granted, {held:,} held, {free:,} free")


def _connector(one: dict[str, Any]) -> str:
    """Return how a capture connector is, in a few words."""
    topics = ", ".join(one.get("topics", ()))
    parts = [f"({topics}) {one['state']}" if topics else str(one["state"])]
    if "read" in one:
        lag = one.get("lag")
        parts.append(f"{one['read']:,} in")
        parts.append("lag not known" if lag is None else f"lag {lag:,}")
    return "; ".join([*parts, *([one["trouble"]] if one.get("trouble") else [])])
