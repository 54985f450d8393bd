"""Freezing: what a partition's fold knows at one moment, taken while the fold goes on; thawing: that state again.

    freeze = Freeze(state)             # in the state thread, between two records: copies no columns
    while not freeze.step():           # in the state thread, as one job after another; folding goes on in between
        ...                            # (drop it if freeze.is_stale: another plan came into force)
    frozen = freeze.end()              # the moment of Freeze(state), for whoever writes it down, in any thread

Rows are copied by whoever comes first: `step`, in row order, or `keep`, before an event changes one; and those of
tables likewise (household.tables.frozen).
Household and member cells keep their row order; windows are laid down anew, one after another, so that what was frozen
can be used as it lies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from household.columns.dedupe import IdSweep, window_of
from household.columns.features import Cells
from household.columns.keys import KeyTable, key_table_of
from household.columns.windows import CLASSES, Slab, new_slab
from household.kernel import inlined, kernel
from household.plan import EventTimeUs, Plan, Scope
from household.state import NEVER_US, Counters, PartitionState
from household.tables.frozen import FrozenTable, TableFreeze, TakenTable, fill

STEP_ROWS = 512
"""Rows copied in one step: some tenths of a millisecond."""

SLOTS_PER_ROW = 128
"""Slots of the dedupe window looked at in the time of one row."""

ROOM_FACTOR = 1.25
"""Arrays are thawed with room to grow; memory that is not used is not touched."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenKeys:
    """A key table without its slots, which are rebuilt."""

    hashes: NDArray[np.uint64]
    parents: NDArray[np.int32]
    ends: NDArray[np.int64]
    letters: NDArray[np.uint8]

    @property
    def count(self) -> int:
        """How many keys there are."""
        return int(self.hashes.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frozen:
    """All that the fold knew at one moment. Read-only for everyone: parts of it belong to the running state too."""

    plan: Plan
    stream_clock: bool
    now_us: int
    epoch: int
    tidied_us: int
    counters: Counters
    households: FrozenKeys
    members: FrozenKeys
    household_cells: NDArray[np.float64]
    """(households, cells of a household); window cells hold handles into the slab below."""
    member_cells: NDArray[np.float64]
    """(members, cells of a member)."""
    slab: Slab
    """Exactly what is in use, entry 0 included; nothing is free but behind its end."""
    id_low: NDArray[np.uint64]
    id_high: NDArray[np.uint64]
    id_times: NDArray[np.int64]
    id_slots: int
    """Length of the dedupe table; it decides when old ids are forgotten."""
    tables: Mapping[str, FrozenTable | TakenTable]
    """By name."""
    fold_version: int
    alone_until_us: int
    uncoded_until_us: int = NEVER_US
    partition: int = 0
    partition_count: int = 1


@inlined
def _keep_row(
    flat: NDArray[np.float64],
    base: int,
    row: int,
    window_cells: NDArray[np.int64],
    slab: Slab,
    cells: NDArray[np.float64],
    kept: Slab,
) -> None:
    for cell in range(cells.shape[1]):
        cells[row, cell] = flat[base + cell]
    for i in range(window_cells.shape[0]):
        packed = np.int64(flat[base + window_cells[i]])
        if packed == 0:
            continue
        at, length = packed >> 16, packed & 2047
        cls = 0
        while (1 << cls) < length:
            cls += 1
        to = kept.free[CLASSES]
        kept.free[CLASSES] = to + (1 << cls)
        for j in range(length):
            kept.bucket[to + j] = slab.bucket[at + j]
            kept.number[to + j] = slab.number[at + j]
            kept.total[to + j] = slab.total[at + j]
        for j in range(length, 1 << cls):
            kept.bucket[to + j] = 0
            kept.number[to + j] = 0
            kept.total[to + j] = 0.0
        cells[row, window_cells[i]] = float((to << 16) | (cls << 11) | length)


@kernel
def _keep_named(
    rows: NDArray[np.int32],
    is_kept: NDArray[np.uint8],
    flat: NDArray[np.float64],
    bases: NDArray[np.int64],
    window_cells: NDArray[np.int64],
    slab: Slab,
    cells: NDArray[np.float64],
    kept: Slab,
) -> None:
    for i in range(rows.shape[0]):
        row = rows[i]
        if row >= 0 and row < is_kept.shape[0] and is_kept[row] == 0:
            is_kept[row] = 1
            _keep_row(flat, bases[row], row, window_cells, slab, cells, kept)


@kernel
def _keep_next(
    first: int,
    room: int,
    is_kept: NDArray[np.uint8],
    flat: NDArray[np.float64],
    bases: NDArray[np.int64],
    window_cells: NDArray[np.int64],
    slab: Slab,
    cells: NDArray[np.float64],
    kept: Slab,
) -> tuple[int, int]:
    """Copy up to `room` rows from `first` on. Returns (next row, room left)."""
    row = first
    while row < is_kept.shape[0] and room > 0:
        if is_kept[row] == 0:
            is_kept[row] = 1
            _keep_row(flat, bases[row], row, window_cells, slab, cells, kept)
            room -= 1
        row += 1
    return row, room


@dataclass(slots=True, eq=False)
class _Rows:
    """The rows of one scope while they are being copied."""

    window_cells: NDArray[np.int64]
    is_kept: NDArray[np.uint8]
    cells: NDArray[np.float64]
    next: int = 0

    @property
    def is_done(self) -> bool:
        return self.next == len(self.is_kept)

    def keep(self, rows: NDArray[np.int32], live: Cells, bases: NDArray[np.int64], kept: Slab) -> None:
        _keep_named(rows, self.is_kept, live.flat, bases, self.window_cells, live.slab, self.cells, kept)

    def step(self, room: int, live: Cells, bases: NDArray[np.int64], kept: Slab) -> int:
        left: int
        self.next, left = _keep_next(
            self.next, room, self.is_kept, live.flat, bases, self.window_cells, live.slab, self.cells, kept
        )
        return left


def _rows(state: PartitionState, scope: Scope) -> _Rows:
    is_member = scope is Scope.MEMBER
    initial = state.layout.member_initial if is_member else state.layout.household_initial
    count = state.member_rows if is_member else state.household_rows
    cells = [
        cell
        for cell, window in zip(state.layout.window_cells, state.plan.windows, strict=True)
        if window.scope is scope
    ]
    return _Rows(
        window_cells=np.array(cells, np.int64),
        is_kept=np.zeros(count, np.uint8),
        # The full size at once: the pages are only taken as rows are copied, and nothing is ever moved.
        cells=np.empty((count, initial.shape[0])),
    )


class Freeze:
    """Takes a state as it is now, slice by slice, while the fold goes on. For the thread that owns the state."""

    def __init__(self, state: PartitionState) -> None:
        """Begin. The state must stand between two records, with no other freeze under way."""
        assert state.freeze is None, "another freeze is under way"
        assert state.household_rows == state.households.count
        assert state.member_rows == state.members.count

        self._state = state
        self._is_complete = False
        # Compacted runs are no longer than the live ones: they fit into what is in use now.
        used = int(state.cells.slab.free[CLASSES])
        self._slab = new_slab(0)._replace(
            bucket=np.empty(used, np.int32), number=np.empty(used, np.int32), total=np.empty(used)
        )
        for entries in self._slab[:3]:
            entries[0] = 0
        self._households, self._members = _rows(state, Scope.HOUSEHOLD), _rows(state, Scope.MEMBER)
        self._ids = IdSweep(state.dedupe.mark_fresh(), state.dedupe.count)
        self._frozen = Frozen(
            plan=state.plan,
            stream_clock=state.stream_clock,
            now_us=state.now_us,
            epoch=state.epoch,
            tidied_us=state.tidied_us,
            counters=replace(state.counters, by_status=dict(state.counters.by_status)),
            households=_keys(state.households),
            members=_keys(state.members),
            household_cells=self._households.cells,
            member_cells=self._members.cells,
            slab=self._slab,
            id_low=self._ids.low,
            id_high=self._ids.high,
            id_times=self._ids.times,
            id_slots=int(state.dedupe.arrays.times.shape[0]),
            tables={},
            fold_version=state.fold_version,
            alone_until_us=state.alone_until_us,
            uncoded_until_us=state.uncoded_until_us,
            partition=state.partition,
            partition_count=state.partition_count,
        )
        self._tables = {table.declaration.name: TableFreeze(table) for table in state.tables}
        state.freeze = self

    @property
    def is_stale(self) -> bool:
        """Whether another plan came into force, so that this freeze can never be completed: end it and begin anew."""
        return not self._is_complete and self._state.freeze is not self

    @property
    def is_complete(self) -> bool:
        """Whether everything has been copied."""
        return self._is_complete

    def keep(self, household_rows: NDArray[np.int32], member_rows: NDArray[np.int32]) -> None:
        """Copy these rows (-1 for none; new ones are no part of this) before they change, unless that was done."""
        cells = self._state.cells
        self._households.keep(household_rows, cells, cells.household_bases, self._slab)
        self._members.keep(member_rows, cells, cells.member_bases, self._slab)

    def step(self, row_count: int = STEP_ROWS) -> bool:
        """Copy up to so many more rows, or look through ids for as long; return whether all is copied.

        Called when all is copied already, or on a freeze that is stale, it changes nothing.
        """
        if self._is_complete or self.is_stale:
            return self._is_complete
        cells, room = self._state.cells, row_count
        if not self._households.is_done:
            room = self._households.step(room, cells, cells.household_bases, self._slab)
        if room and not self._members.is_done:
            room = self._members.step(room, cells, cells.member_bases, self._slab)
        for table in self._tables.values():
            if room and not table.is_done:
                room = table.step(room)
        if room and not self._ids.is_done:
            self._ids.step(room * SLOTS_PER_ROW)
        self._is_complete = (
            self._households.is_done
            and self._members.is_done
            and all(table.is_done for table in self._tables.values())
            and self._ids.is_done
        )
        if self._is_complete:
            self._detach()
        return self._is_complete

    def end(self) -> Frozen | None:
        """Let go of the state, whatever happened; return what was frozen, None if not all was copied."""
        self._detach()
        if not self._is_complete:
            return None
        used = int(self._slab.free[CLASSES])
        slab = self._slab._replace(
            bucket=self._slab.bucket[:used], number=self._slab.number[:used], total=self._slab.total[:used]
        )
        return replace(self._frozen, slab=slab, tables={name: one.taken() for name, one in self._tables.items()})

    def give_up(self) -> None:
        """Let go of the state, which goes over to another plan."""
        self._state.freeze = None
        for table in self._tables.values():
            table.detach()

    def _detach(self) -> None:
        if self._state.freeze is self:
            self.give_up()
        # The table of known ids goes on under another plan: marking ends even where this freeze is stale.
        if self._state.dedupe.arrays.fresh is self._ids.arrays.fresh:
            self._state.dedupe.end_marking()


def _keys(table: KeyTable) -> FrozenKeys:
    """Return views: keys are only ever added behind them, and arrays replaced when they grow."""
    arrays, count = table.arrays, table.count
    return FrozenKeys(
        hashes=arrays.hashes[:count],
        parents=arrays.parents[:count],
        ends=arrays.ends[:count],
        letters=arrays.letters[: int(arrays.ends[count - 1]) if count else 0],
    )


def thaw(frozen: Frozen) -> PartitionState:
    """Return a state of its own that knows what was frozen, and folds on from there as the one it was taken of."""
    state = PartitionState(
        plan=frozen.plan,
        stream_clock=frozen.stream_clock,
        now_us=EventTimeUs(frozen.now_us),
        epoch=frozen.epoch,
        households=_table(frozen.households),
        members=_table(frozen.members),
        dedupe=window_of(frozen.id_low, frozen.id_high, frozen.id_times, length=frozen.id_slots),
        tidied_us=frozen.tidied_us,
        counters=replace(frozen.counters, by_status=dict(frozen.counters.by_status)),
        fold_version=frozen.fold_version,
        alone_until_us=frozen.alone_until_us,
        uncoded_until_us=frozen.uncoded_until_us,
        partition=frozen.partition,
        partition_count=frozen.partition_count,
    )
    for table in state.tables:
        fill(table, frozen.tables[table.declaration.name].frozen)
    households, members = frozen.household_cells, frozen.member_cells
    assert households.shape == (frozen.households.count, state.layout.household_initial.shape[0])
    assert members.shape == (frozen.members.count, state.layout.member_initial.shape[0])
    middle, end = households.size, households.size + members.size
    flat = np.empty(max(1_024, int(end * ROOM_FACTOR)))
    flat[:middle] = households.reshape(-1)
    flat[middle:end] = members.reshape(-1)
    state.cells = Cells(
        flat=flat,
        household_bases=_bases(0, *households.shape),
        member_bases=_bases(middle, *members.shape),
        slab=_slab(frozen.slab),
    )
    state.household_rows, state.member_rows, state.cells_used = len(households), len(members), end
    return state


def _bases(first: int, count: int, width: int) -> NDArray[np.int64]:
    bases = np.empty(max(16, int(count * ROOM_FACTOR)), np.int64)
    bases[:count] = first + np.arange(count, dtype=np.int64) * width
    return bases


def _slab(frozen: Slab) -> Slab:
    used = frozen.bucket.shape[0]
    slab = new_slab(max(4_096, int(used * ROOM_FACTOR)))
    slab.bucket[:used], slab.number[:used], slab.total[:used] = frozen.bucket, frozen.number, frozen.total
    slab.free[CLASSES] = used
    return slab


def _table(keys: FrozenKeys) -> KeyTable:
    return key_table_of(hashes=keys.hashes, parents=keys.parents, ends=keys.ends, letters=keys.letters)
