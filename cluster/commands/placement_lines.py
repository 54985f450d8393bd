"""What `hearth status` and `hearth top` say of where partitions are and how they move."""

from collections.abc import Mapping
from typing import Any


def placement_lines(placement: Mapping[str, Any]) -> list[str]:
    """Return what is worth a look: what moves, what is drained, what is hot, what does not go as it was asked."""
    shards = placement["shards"]
    lines = [
        f"{one['shard']}{_on(one)} is {'drained' if one['state'] == 'drained' else 'being drained'}"
        for one in shards
        if one["state"] in ("drained", "draining")
    ]
    homes = sum(not one["is_spare"] for one in shards)
    if homes != placement["wanted"]:
        lines.append(f"{homes} shards, {placement['wanted']} wanted: it is on its way there")
    starting = [one["shard"] for one in shards if one["state"] == "starting"]
    if starting:
        lines.append(f"starting: {', '.join(starting)}")
    if (move := placement["move"]) is not None:
        way = f"from {move['source']} to {move['target']} ({move['step']})"
        lines.append(f"partition {move['partition']} moves {way}: {move['why']}")
    lines += [f"partition {partition} did not move: {why}" for partition, why in placement["failed"].items()]
    lines += [hot_line(one["partition"], one["shard"], one["share"], one["per_s"]) for one in placement["hot"]]
    return lines


def hot_line(partition: int, shard: str, share: float, per_s: float) -> str:
    """Return what is said of a hot partition."""
    return (
        f"partition {partition} on {shard} is hot: {share:.0%} of all signals and decisions ({per_s:,.0f}/s); moving "
        "does not divide it (docs/runbook.md)"
    )


def _on(shard: Mapping[str, Any]) -> str:
    return f" on {shard['node']}" if shard["node"] else ""
