"""`hearth top`: a live view of shards and partitions, how far they lag, how fast they answer, and what is busiest.

Everything comes from what the running Hearth writes and shows anyway: `status.json`, and its page of numbers where
`metrics_port` is set. Rates are between two looks.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table

from actors.partition.heat import HEAT, HOT_HOUSEHOLD
from cluster.commands.placement_lines import placement_lines
from cluster.data_dir import find_running, read_status
from cluster.errors import CommandFailed
from cluster.output import print_json, stdout_console
from cluster.scrape import Scraped, quantile, scrape

DECIDE = "hearth_decide_duration_seconds"
PARTITIONS_SHOWN_MAX = 16
HOUSEHOLDS_SHOWN_MAX = 8


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment."""

    at_s: float
    state: dict[str, Any]
    page: Scraped | None


def top(data_dir: Path, *, every_s: float, is_once: bool, as_json: bool) -> int:
    """Show it until Ctrl-C, or once; exit code 1 when no Hearth runs there."""
    before, now = None, look(data_dir)
    if now is None:
        raise CommandFailed(f"no Hearth runs on {data_dir.absolute()}; start it with `hearth up`")
    if is_once or as_json:
        # Rates need two looks; status is written every two seconds.
        time.sleep(every_s)
        before, now = now, look(data_dir) or now
        if as_json:
            print_json(view(now, before))
        else:
            stdout_console().print(_shown(view(now, before)))
        return 0
    with Live(_shown(view(now, None)), console=stdout_console(), auto_refresh=False, screen=False) as live:
        while True:
            time.sleep(every_s)
            before, now = now, look(data_dir)
            if now is None:
                raise CommandFailed(f"the Hearth on {data_dir.absolute()} has stopped")
            live.update(_shown(view(now, before)), refresh=True)


def look(data_dir: Path) -> Look | None:
    """Return how the Hearth on a data directory is now; None where none runs."""
    running, state = find_running(data_dir), read_status(data_dir)
    if running is None or state is None:
        return None
    address = state.get("metrics_address")
    return Look(time.monotonic(), state, scrape(address) if address else None)


def view(now: Look, before: Look | None) -> dict[str, Any]:
    """Return what is shown, as JSON has it."""
    partitions = [_partition(number, facts, now, before) for number, facts in now.state["partitions"].items()]
    partitions.sort(key=lambda one: (-(one["signals_per_s"] or 0) - (one["decisions_per_s"] or 0), one["partition"]))
    names = sorted({*now.state.get("shards", ()), *(one["shard"] for one in partitions)})
    return {
        "age_s": now.state.get("age_s", 0.0),
        "has_metrics": now.page is not None,
        "shards": [_shard(name, partitions, now, before) for name in names],
        "partitions": partitions,
        "hot_households": _hot_households(now.state["partitions"]),
        "down": now.state["down"],
        "placement": now.state.get("placement"),
        "capture": {name: one.get("lag") for name, one in now.state.get("capture", {}).items()},
    }


def _partition(number: str, facts: dict[str, Any], now: Look, before: Look | None) -> dict[str, Any]:
    earlier = before.state["partitions"].get(number) if before is not None else None
    return {
        "partition": int(number),
        "shard": facts["shard"],
        "households": facts["households"],
        "signals_per_s": _rate(facts, earlier, "received", now, before),
        "decisions_per_s": _rate(facts, earlier, "decisions", now, before),
        "waiting_bytes": facts.get("waiting_bytes", 0),
        "pending": facts["pending"],
        "outbox": facts["outbox"],
        "log_tail": facts.get("log_tail", 0),
    }


def _hot_households(partitions: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those that have more than their part, the hottest first."""
    found = [
        {
            "household": name.removeprefix(HOT_HOUSEHOLD),
            "partition": int(number),
            "shard": facts["shard"],
            "per_s": round(value / 60, 1),
            "share": round(value / max(1, facts[HEAT]), 3),
        }
        for number, facts in partitions.items()
        for name, value in facts.items()
        if name.startswith(HOT_HOUSEHOLD)
    ]
    return sorted(found, key=lambda one: -one["per_s"])


def _rate(
    facts: dict[str, Any], earlier: dict[str, Any] | None, name: str, now: Look, before: Look | None
) -> float | None:
    """Return how much a number grew per second; None without an earlier look at the same owner."""
    if before is None or earlier is None or earlier.get("epoch") != facts.get("epoch"):
        return None
    grown = int(facts[name]) - int(earlier[name])
    return round(max(0, grown) / max(now.at_s - before.at_s, 1e-3), 1)


def _shard(name: str, partitions: list[dict[str, Any]], now: Look, before: Look | None) -> dict[str, Any]:
    own = [one for one in partitions if one["shard"] == name]
    told: dict[str, Any] = {
        "shard": name,
        "partitions": len(own),
        "households": sum(one["households"] for one in own),
        "signals_per_s": round(sum(one["signals_per_s"] or 0.0 for one in own), 1),
        "decisions_per_s": round(sum(one["decisions_per_s"] or 0.0 for one in own), 1),
        "waiting_bytes": sum(one["waiting_bytes"] for one in own),
        "decide_p50_ms": None,
        "decide_p99_ms": None,
        "silent_s": None,
    }
    if now.page is not None:
        earlier = before.page.buckets[DECIDE].get(name) if before is not None and before.page is not None else None
        for share, key in ((0.5, "decide_p50_ms"), (0.99, "decide_p99_ms")):
            bound = quantile(share, now.page.buckets[DECIDE].get(name, {}), earlier)
            told[key] = bound * 1_000 if bound is not None else None
        told["silent_s"] = now.page.of("hearth_process_silence_seconds", name)
    return told


def _shown(seen: dict[str, Any]) -> RenderableType:
    shards = _table("shard", "partitions", "households", "signals/s", "decisions/s", "waiting kB", "p50 ms", "p99 ms")
    for one in seen["shards"]:
        shards.add_row(
            one["shard"], f"{one['partitions']}", f"{one['households']:,}", _number(one["signals_per_s"]),
            _number(one["decisions_per_s"]), f"{one['waiting_bytes'] / 1e3:,.0f}", _number(one["decide_p50_ms"]),
            _number(one["decide_p99_ms"]),
        )  # fmt: skip
    busiest = _table("partition", "shard", "households", "signals/s", "decisions/s", "pending", "to send", "log tail")
    for one in seen["partitions"][:PARTITIONS_SHOWN_MAX]:
        busiest.add_row(
            f"{one['partition']}", one["shard"], f"{one['households']:,}", _number(one["signals_per_s"]),
            _number(one["decisions_per_s"]), f"{one['pending']:,}", f"{one['outbox']:,}", f"{one['log_tail']:,}",
        )  # fmt: skip
    lines: list[RenderableType] = [shards, busiest]
    more = len(seen["partitions"]) - PARTITIONS_SHOWN_MAX
    if more > 0:
        lines.append(f"and {more} partitions that are less busy")
    if seen["hot_households"]:
        lines.append(_hottest(seen["hot_households"]))
    lines += [f"partition {number} is down: {why}" for number, why in seen["down"].items()]
    lines += placement_lines(seen["placement"]) if seen["placement"] else []
    lines += [f"{name}: lag {lag:,}" for name, lag in seen["capture"].items() if lag is not None]
    if not seen["has_metrics"]:
        lines.append("latencies are counted only with metrics_port: hearth up with HEARTH_METRICS_PORT=9464")
    return Group(*lines)


def _hottest(households: list[dict[str, Any]]) -> Table:
    hottest = _table("hot household", "partition", "shard", "a second", "of its partition")
    for one in households[:HOUSEHOLDS_SHOWN_MAX]:
        hottest.add_row(
            one["household"], f"{one['partition']}", one["shard"], _number(one["per_s"]), f"{one['share']:.0%}"
        )
    return hottest


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name == "shard" else "right")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
