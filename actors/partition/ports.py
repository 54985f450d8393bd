"""What the owners of one shard share."""

from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from actors.clock import Clock
from actors.partition.lease import Lease
from actors.partition.telemetry import ShardTelemetry
from actors.snapshots.store import SnapshotStore
from actors.state_thread import StateThread


def _nothing() -> None: ...


async def _reads_nowhere(_partition: int, _offset: int) -> bytes:
    return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerPorts:
    """Given to each owner when it is made."""

    clock: Clock
    lease: Lease
    state_thread: StateThread
    appenders: Executor
    decoders: Executor
    """Decode what is too large for a turn of the state thread: of one thread, as who comes first has his turn first."""
    telemetry: ShardTelemetry | None = None
    snapshots: SnapshotStore | None = None
    on_outbox_change: Callable[[], None] = _nothing
    """Called when an action is to be sent."""
    on_waiting_change: Callable[[], None] = _nothing
    """Called when what spoke against a sending may be gone, not by time, and when a partition is lost."""
    on_claims: Callable[[], None] = _nothing
    """Called when a claim on a scarce item may wait to be sent to the item's home."""
    read_elsewhere: Callable[[int, int], Awaitable[bytes]] = _reads_nowhere
    """Returns the payload of the decision's record at an offset of another partition's log; empty for none any more."""
    on_relocations: Callable[[], None] = _nothing
    """Called when something left that may not have come, or a graph event waits for what lies elsewhere."""
