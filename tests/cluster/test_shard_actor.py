"""Laws of the actor around a shard: what it cannot open it gives up, so that another may be asked, and only that."""

from pathlib import Path

import pytest

from actors.scoring import ScoringConfig
from actors.shard import ShardConfig
from cluster.leases import LeaseSettings
from cluster.metadata import NOBODY, MetadataStore, sqlite_url
from cluster.shard_actor import ShardActor, Stores
from household.plan import PlanUnreadable
from tests.actors.harness import corner, in_loop


@in_loop
async def test_a_partition_that_cannot_be_opened_is_given_up_and_others_stay(tmp_path: Path):
    url = sqlite_url(tmp_path / "metadata.sqlite")
    stores = Stores(
        log=str(tmp_path / "log"),
        segment_bytes=1 << 20,
        snapshots=str(tmp_path / "snapshots"),
        metadata_url=url,
        clock_jump_us_max=5_000_000,
    )
    config = ShardConfig(name="shard-0", address=f"unix:{tmp_path}/s")
    actor = ShardActor(config, stores=stores, lease=LeaseSettings(), scoring=ScoringConfig())
    metadata = MetadataStore(url)
    try:
        holder = (await actor.start())["holder"]
        for partition in (0, 1):
            assert metadata.take(partition, holder=holder, seen_epoch=0, epoch=1)
        assert await actor.assign(0, plan_bytes=corner().canonical_bytes, epoch=1) == 1
        with pytest.raises(PlanUnreadable):
            await actor.assign(1, plan_bytes=b"no plan", epoch=1)
        assert [(one.holder, one.epoch) for one in metadata.ownerships()] == [(holder, 1), (NOBODY, 1)]

        # Another term than the one that failed is not touched.
        assert metadata.take(1, holder=holder, seen_epoch=1, epoch=5)
        with pytest.raises(PlanUnreadable):
            await actor.assign(1, plan_bytes=b"no plan", epoch=2)
        assert metadata.ownership(1).holder == holder
    finally:
        await actor.drain()
        metadata.close()
