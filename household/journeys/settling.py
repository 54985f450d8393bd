"""What instances have done by now, settled: what is learned of before changes it no more, and nobody enters then."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from household.plan import ListensFor
from household.state import PartitionState
from household.tables.instances import NEVER_US, Ending

_LIVE = list(Ending).index(Ending.LIVE)


def live_among(state: PartitionState, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of some slots of the table of instances whose instances have not ended."""
    live: NDArray[np.int64] = slots[state.instances.values("ending", slots) == _LIVE]
    return live


def instances_of(state: PartitionState, journeys: Collection[str]) -> NDArray[np.int64]:
    """Return the slots of all instances of some journeys, the oldest first."""
    code, slots = state.tables.names.code, state.instances.slots_in_order()
    wanted = [code(name) for name in sorted(journeys)]
    found: NDArray[np.int64] = slots[np.isin(state.instances.values("journey", slots), wanted)]
    return found


def settle_as_they_are(state: PartitionState, slots: NDArray[np.int64]) -> None:
    """Let the instances in these slots, of the table of instances, be walked from where they are, from now on."""
    table = state.instances
    ended_us, since_us = table.values("ended_us", slots), table.values("since_us", slots)
    is_live = table.values("ending", slots) == _LIVE
    table.copy(slots, source="step", target="base_step")
    table.copy(slots, source="visits", target="base_visits")
    table.set(
        slots,
        base_since_us=since_us,
        base_due_us=np.where(is_live, table.values("due_us", slots), NEVER_US),
        # What was settled stays so: who was put where it is had not been there before.
        based_us=np.maximum(table.values("based_us", slots), np.maximum(since_us, ended_us) + 1),
    )


def forget_entries(state: PartitionState, journeys: Collection[str]) -> None:
    """Forget what was heard that might let somebody enter some journeys: who could has entered."""
    code, slots = state.tables.names.code, state.heard.slots_in_order()
    entries = [code(f"{name}:{ListensFor.ENTRY}") for name in sorted(journeys)]
    state.heard.forget(slots[np.isin(state.heard.values("listener", slots), entries)])
