"""What was asked of the placement, as a run finds it: it holds until it is undone, or until `hearth up` begins anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cluster.output import say

if TYPE_CHECKING:
    from cluster.config import HearthConfig

SHARDS: Final = "shards"
REBALANCE: Final = "rebalance"
DRAIN_SHARD: Final = "drain-shard "
DRAIN_NODE: Final = "drain-node "
MAKE_WAY: Final = "make-way "
"""Names of wishes in the metadata store; what is drained, or is to be replaced, stands behind the last three."""
RESTART: Final = "restart"
"""That everything is replaced, one after another."""


def wished_shards(config: HearthConfig, *, is_first: bool) -> int | None:
    """Return how many shards were asked for of a run that fell; None for as many as the settings say.

    `is_first`: no run came before: all that was asked is over.
    """
    from cluster.metadata import MetadataStore, MetadataUnavailable, sqlite_url

    metadata = MetadataStore(config.metadata_url or sqlite_url(config.data_dir / "metadata.sqlite"))
    try:
        if is_first:
            metadata.forget_wishes()
            return None
        wishes = metadata.wishes()
        wished = wishes.get(SHARDS)
        for name in wishes:
            # Of a run in which every process is new nothing is to be replaced.
            if name == RESTART or name.startswith(MAKE_WAY):
                metadata.wish(name, None)
    except MetadataUnavailable as away:
        say(f"warning: what was asked of the placement is not known: {away}")
        return None
    finally:
        metadata.close()
    return int(wished) if wished is not None else None
