"""Where the instances of journeys with states are: folded from the newest snapshots and the log behind them."""

from collections.abc import Iterator
from dataclasses import dataclass

from actors.exports.columns import key_text
from actors.exports.folded_states import folded_states
from actors.log.reading import ReadLogs
from actors.snapshots.store import SnapshotStore
from household.state import PartitionState
from household.tables.instances import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyPlace:
    """Where one instance is."""

    household: str
    journey: str
    state: str
    """That it is in, or was in last."""
    ending: Ending
    """LIVE while it runs."""


def journey_places(
    read: ReadLogs, snapshots: SnapshotStore | None = None, *, until_us: int | None = None
) -> Iterator[JourneyPlace]:
    """Yield where each instance is that is remembered, partition by partition.

    Args:
        until_us: what was recorded later is not folded, and snapshots are used only where the log has lost its start;
            None: all is.

    Raises:
        LogError: a log is damaged or cannot be read.
        PayloadUnreadable, PlanUnreadable: a record is not what its kind says.
        OSError: the snapshots could not be listed.
    """
    for _, state in folded_states(read, snapshots, until_us=until_us):
        yield from _of(state)


def _of(state: PartitionState) -> Iterator[JourneyPlace]:
    instances = state.instances
    for slot in instances.slots_in_order().tolist():
        one = instances.row(slot)
        household = key_text(state.households.key(instances.owner(slot)))
        yield JourneyPlace(household=household, journey=one.journey, state=one.step, ending=one.ending)
