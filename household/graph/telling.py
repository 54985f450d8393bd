"""Graph events as they fold: those that follow one another in a batch are told together.

Who belongs together is known from each at once. Rows for those of whom nobody spoke before, and the rows of the events
themselves, are made of all together: as soon as anything looks at them, or behind the last.
"""

import struct
from collections.abc import Sequence

from household.events import LONGEST_KEY, LONGEST_SOURCE, NO_TIME_US, EventBatch, Status
from household.graph.events import BETWEEN_SUBJECTS, GraphRow, GraphSaying
from household.graph.folding import fold_anew, make_rows
from household.relocation.notes import event_bytes
from household.relocation.places import all_here
from household.state import PartitionState
from household.tables.graph_events import GraphEvent
from household.tables.relocations import WaitingEvent

_LENGTHS = [struct.pack("<H", length) for length in range(max(LONGEST_KEY, LONGEST_SOURCE) + 1)]


class Telling:
    """Takes in graph events, one after another; what it still owes to the state is there after `finish`."""

    def __init__(self, state: PartitionState) -> None:
        """Owe nothing."""
        self._state = state
        self._unheard_of: list[bytes] = []
        self._events: list[GraphEvent] = []

    def tell(self, batch: EventBatch, run: Sequence[GraphRow], *, stamp_us: int, latest_us: int) -> list[Status]:
        """Fold graph events of neighbouring rows of a batch; return what became of each.

        There is no time at which one would be late.

        Args:
            batch: in which they came.
            run: what they say; not empty.
            stamp_us: the owner's clock when it wrote the record.
            latest_us: later times are no event times.
        """
        first, stop = run[0].row, run[-1].row + 1
        future_us = stamp_us + self._state.plan.clock.future_us
        sources = batch.sources.items(first, stop) if batch.sources.offsets.shape[0] else [b""] * (stop - first)
        columns = zip(
            run,
            batch.ids.items(first, stop),
            batch.households.items(first, stop),
            sources,
            batch.times_us[first:stop].tolist(),
            strict=True,
        )
        found = []
        for told, event_id, household, source, time_us in columns:
            saying = told.said(self._state.fold_version)
            if not 0 < len(event_id) <= LONGEST_KEY or len(source) > LONGEST_SOURCE:
                found.append(Status.BAD_ID)
            elif len(household) > LONGEST_KEY:
                found.append(Status.BAD_KEY)
            elif time_us == NO_TIME_US:
                found.append(Status.MISSING_TIME)
            elif not 0 <= time_us < latest_us:
                found.append(Status.PAST_CALENDAR)
            elif time_us > future_us:
                found.append(Status.FUTURE)
            elif saying is None:
                found.append(Status.ACROSS_PARTITIONS if told.is_apart else Status.BAD_VALUE)
            else:
                parts = (household, source, event_id)
                key = b"".join([one for part in parts for one in (_LENGTHS[len(part)], part)])
                found.append(self._told(saying, key, event_id, time_us))
        return found

    def _told(self, saying: GraphSaying, key: bytes, event_id: bytes, time_us: int) -> Status:
        state = self._state
        if state.graph.known(key) or (len(state.waiting) and key in state.waiting):
            return Status.DUPLICATE
        if state.stream_clock:
            state.now_us = max(state.now_us, time_us)
        else:
            time_us = min(time_us, state.now_us)
        event = GraphEvent(
            key=key,
            kind=saying.kind,
            time_us=time_us,
            learned_us=state.now_us,
            identifier=saying.identifier,
            subjects=BETWEEN_SUBJECTS.join(saying.subjects),
            household=saying.household,
            other=saying.other,
            cause=saying.cause or event_id.decode(errors="backslashreplace"),
            evidence=saying.evidence,
            probability_ppm=saying.probability_ppm,
        )
        if state.partition_count > 1 and not all_here(state, event):
            state.waiting.put(WaitingEvent(key, event_bytes(event)))
            return Status.WAITING
        self.take_in(event)
        return Status.APPLIED

    def take_in(self, event: GraphEvent) -> None:
        """Let a graph event hold that is not known yet, about what lies here."""
        graph = self._state.graph
        if event.subjects:
            home = graph.membership.home
            self._unheard_of += [one.encode() for one in event.subjects.split(BETWEEN_SUBJECTS) if one not in home]
        cut = graph.learn(event)
        self._events.append(event)
        if cut:
            self.finish()
            for identifier, before in sorted(cut.items()):
                fold_anew(self._state, identifier, before)

    def finish(self) -> None:
        """Make the rows that are owed."""
        if self._events:
            self._state.graph.keep(self._events)
            make_rows(self._state, self._unheard_of)
            self._events, self._unheard_of = [], []


def take_in(state: PartitionState, event: GraphEvent) -> None:
    """Let one graph event hold that is not known yet, about what lies here."""
    telling = Telling(state)
    telling.take_in(event)
    telling.finish()
