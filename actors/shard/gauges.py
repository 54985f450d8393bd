"""How a shard stands at one moment, for its exporter."""

from collections.abc import Sequence

from actors.partition.owner import PartitionOwner
from actors.partition.telemetry import Gauges
from actors.rejects.settings import RejectCounters
from actors.snapshots.taking import SnapshotStanding, SnapshotTaker


def gauges(
    owners: Sequence[PartitionOwner],
    standings: Sequence[SnapshotStanding],
    *,
    taker: SnapshotTaker | None,
    rejects: RejectCounters,
    is_lease_held: bool,
    is_clock_confirmed: bool,
) -> Gauges:
    """Return it of the partitions that are not lost; in any thread, since all that is read is a number by itself."""
    return Gauges(
        partitions_owned=len(owners),
        waiting_bytes=sum(owner.lag_bytes for owner in owners),
        moments_pending=sum(len(owner.moments) for owner in owners),
        outbox_size=sum(len(owner.state.outbox) for owner in owners),
        households=sum(owner.state.households.count for owner in owners),
        is_lease_held=is_lease_held,
        is_clock_confirmed=is_clock_confirmed,
        snapshots_written=taker.written if taker is not None else 0,
        snapshots_failed=taker.failed if taker is not None else 0,
        snapshot_age_s=int(max((one.age_s for one in standings), default=0)),
        log_tail_events=max((one.tail_events for one in standings), default=0),
        rejects_kept=rejects.kept,
        rejects_missed=rejects.missed,
        rejects_dropped=rejects.dropped,
        reject_failures=rejects.failures,
        log_repetitions=sum(owner.log_repetitions for owner in owners),
    )
