"""What a shard needs to know when it is made."""

from dataclasses import dataclass, field

from actors.rejects.settings import RejectSettings
from actors.snapshots.taking import SnapshotPolicy
from wire.installation import Installation


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardConfig:
    """What a shard needs to know."""

    name: str
    """`shard-<i>`; what its epoch records say."""
    address: str
    """Where its server listens: `unix:<path>` or `host:port`."""
    installation: Installation | None = None
    """What edges have to know; None, in tests, answers everybody."""
    stream_clock: bool = False
    partition_count: int = 1
    """Of all shards together: capacities of the contact policy are divided among them."""
    redeliver_after_s: float = 10.0
    """An outbound action that is not acknowledged is handed over again after this."""
    tick_interval_s: float = 1.0
    """How often the owner looks whether a tick is due, and a subscription whether an action may be sent by now."""
    snapshots: SnapshotPolicy = field(default_factory=SnapshotPolicy)
    rejects: RejectSettings = field(default_factory=RejectSettings)
