"""Which rows lie together, as arrays for the fold: laid out for those that signals come to, until it is otherwise."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from household.graph.graph import Graph
    from household.state import PartitionState

Number = TypeVar("Number", bound=np.generic)

_UNKNOWN, _ALONE = 0, -1

_ROOM = 1 << 16
"""Places that are laid out before those are gathered anew that nothing means any more."""


class LaidTogether:
    """The rows of households and persons as triggers.LyingTogether has them."""

    def __init__(self, graph: "Graph") -> None:
        self._graph = graph
        self.homes = np.zeros(0, np.int64)
        self.persons = np.zeros(0, np.int64)
        self.rows = np.zeros(1, np.int64)
        self._used = 1
        self._dead = 0
        self._persons_of: dict[int, list[int]] = {}
        """Members of whom it is laid out, by the place of their household."""

    def lay_out(self, state: "PartitionState", households: NDArray[np.int32], members: NDArray[np.int32]) -> bool:
        """See that the rows of a batch (n,), -1 for none, are known; return whether any lie together with others."""
        if self._used > _ROOM and 2 * self._dead > self._used:
            self.forget_all()
        self.homes = with_rows(self.homes, state.households.count)
        self.persons = with_rows(self.persons, state.members.count)
        wanted = np.unique(households[households >= 0])
        for row in wanted[self.homes[wanted] == _UNKNOWN].tolist():
            if self.homes[row] != _UNKNOWN:
                continue  # with another one of the batch
            rows = self._graph.household_rows(row)
            if len(rows) > 1:
                self.homes[list(rows)] = self._put(rows)
            elif self._graph.is_remembered(row):
                self.homes[row] = _ALONE
        named = np.flatnonzero(members >= 0)
        named = named[self.homes[households[named]] > 0]
        named = named[self.persons[members[named]] == _UNKNOWN]
        for row, member in zip(households[named].tolist(), members[named].tolist(), strict=True):
            if self.persons[member] == _UNKNOWN:
                same = self._graph.member_rows(row, member)
                self.persons[list(same)] = self._put(same) if len(same) > 1 else _ALONE
                self._persons_of.setdefault(int(self.homes[row]), []).extend(same)
        return bool((self.homes[wanted] > 0).any())

    def _put(self, rows: tuple[int, ...]) -> int:
        at = self._used
        self._used = at + 1 + len(rows)
        if self._used > self.rows.shape[0]:
            self.rows = np.append(self.rows, np.zeros(self._used + 1_024, np.int64))
        self.rows[at] = len(rows)
        self.rows[at + 1 : self._used] = rows
        return at

    def forget(self, rows: Iterable[int]) -> None:
        """Forget what was laid out of the household that has these rows: it may be otherwise by now."""
        for row in rows:
            if row < self.homes.shape[0] and self.homes[row] != _UNKNOWN:
                place = int(self.homes[row])
                self.homes[row] = _UNKNOWN
                self._dead += 2
                if place > 0:
                    members = self._persons_of.pop(place, [])
                    self.persons[members] = _UNKNOWN
                    self._dead += 2 * len(members)

    def members_came(self, state: "PartitionState", first: int) -> None:
        """Members from `first` on are new: they may be persons who are there already."""
        for row in np.unique(state.members.arrays.parents[first : state.members.count]).tolist():
            if row < self.homes.shape[0] and self.homes[row] > 0:
                self.forget(self._graph.household_rows(row))

    def forget_all(self) -> None:
        """Forget all that was laid out."""
        self.homes[:], self.persons[:] = _UNKNOWN, _UNKNOWN
        self._used, self._dead = 1, 0
        self._persons_of.clear()

    def rows_with(self, households: NDArray[np.int32], members: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the rows (n, 2) of households and members, -1 for none, that lie together with those of a batch."""
        found = []
        for place, known in ((0, self.homes[households[households >= 0]]), (1, self.persons[members[members >= 0]])):
            for at in np.unique(known[known > 0]).tolist():
                for row in self.rows[at + 1 : at + 1 + int(self.rows[at])].tolist():
                    found.append((row, -1) if place == 0 else (-1, row))
        return np.array(found, np.int32).reshape(-1, 2)


def with_rows(array: NDArray[Number], count: int) -> NDArray[Number]:
    """Return the array, or a longer one that starts the same, with 0 for all rows that are more."""
    missing = count - array.shape[0]
    return np.append(array, np.zeros(missing + missing // 2 + 1_024, array.dtype)) if missing > 0 else array
