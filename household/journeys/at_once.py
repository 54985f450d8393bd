"""What a whole batch of events, or many timers, make of instances: plain walks at once, and who is to be walked singly.

Where households may lie together, or rows are being frozen, all are.
"""

import numpy as np
from numpy.typing import NDArray

from household.journeys.plain_moves import WALK
from household.journeys.plain_times import pass_time, settle
from household.journeys.plain_walks import hear
from household.journeys.plain_ways import Ways, ways_of
from household.state import PartitionState


class AtOnce:
    """A plan's journeys as kernels know them, for one partition, and room for what they tell."""

    def __init__(self, state: PartitionState) -> None:
        """Take the plan of a state."""
        assert state.courses is not None
        self.ways: Ways = ways_of(state.plan, state.courses, state.tables.names)
        self.names = tuple(state.courses.by_name)
        codes = [state.tables.names.code(name) for name in self.names]
        self.course_by_code = np.full(max(codes) + 1, -1, np.int32)
        self.course_by_code[codes] = np.arange(len(codes))
        self.walk, self.entrant = np.zeros(WALK, np.int64), np.zeros(WALK, np.int64)

    def hear(
        self,
        state: PartitionState,
        fired: NDArray[np.int64],
        types: NDArray[np.int32],
        times_us: NDArray[np.int64],
        values: NDArray[np.float64],
        household_rows: NDArray[np.int32],
        member_rows: NDArray[np.int32],
        first_number: int,
        step: int,
    ) -> list[tuple[int, str]]:
        """Keep what was heard of events, and move whom that moves; return (row of the batch, journey) of who is left.

        Args:
            state: changed in place.
            fired: (n, 3) row of the batch, row of `Rules.triggers`, room; by rows of the batch, none of a report.
            types: of the batch, as what follows.
            times_us: of the batch.
            values: (fields, events).
            household_rows: of the batch.
            member_rows: of the batch.
            first_number: of its first event.
            step: between the numbers of two events, one after the other.
        """
        assert state.courses is not None
        count, owners = fired.shape[0], household_rows[fired[:, 0]]
        owner = int(owners.max())
        heard, instances, acts = state.heard, state.instances, state.acts
        heard.make_room(count, owner)
        instances.make_room(count, owner)
        left = np.empty((count, 2), np.int64)
        left_count = hear(
            self.ways,
            fired,
            state.courses.first,
            types,
            times_us,
            values,
            values.view(np.int64),
            household_rows,
            member_rows,
            first_number,
            step,
            state.tidied_us,
            state.plan.clock.lateness_us,
            heard.shape,
            heard.rows,
            heard.index,
            heard.heap,
            heard.heads,
            instances.shape,
            instances.rows,
            instances.index,
            instances.heap,
            instances.heads,
            acts.rows,
            acts.heads,
            np.empty(count, np.int64),
            self.walk,
            self.entrant,
            left,
        )
        changed = owners.tolist()
        heard.forget_remembered_of(changed)
        instances.forget_remembered_of(changed)
        return [(row, self.names[course]) for row, course in left[:left_count].tolist()]

    def pass_time(self, state: PartitionState, slots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Move the instances in these slots whose time has come; return those that are left, and those long over."""
        heard, instances, acts = state.heard, state.instances, state.acts
        left, over = np.empty_like(slots), np.empty_like(slots)
        left_count, over_count = pass_time(
            self.ways,
            slots,
            state.now_us,
            state.tidied_us,
            self.course_by_code,
            heard.rows,
            heard.heads,
            instances.rows,
            instances.heap,
            acts.rows,
            acts.heads,
            self.walk,
            left,
            over,
        )
        instances.forget_remembered()
        return left[:left_count], over[:over_count]

    def settle(self, state: PartitionState, slots: NDArray[np.int64], *, horizon_us: int) -> NDArray[np.int64]:
        """Settle who heard what is in these slots, of the table of what was heard; return those that are left."""
        heard, instances, texts = state.heard, state.instances, state.tables.texts
        left = np.empty_like(slots)
        with texts.lock:
            left_count = settle(
                self.ways,
                slots,
                horizon_us,
                state.tidied_us,
                heard.rows,
                heard.heads,
                instances.rows,
                instances.heads,
                texts.entries,
                texts.words,
                texts.places,
                left,
            )
        instances.forget_remembered()
        return left[:left_count]


def at_once(state: PartitionState) -> AtOnce | None:
    """Return what moves many at once; None where all are to be walked singly."""
    courses = state.courses
    if courses is None or state.graph or state.instances.keeper is not None or state.heard.keeper is not None:
        return None
    if courses.at_once is None:
        courses.at_once = AtOnce(state)
    assert isinstance(courses.at_once, AtOnce)
    return courses.at_once
