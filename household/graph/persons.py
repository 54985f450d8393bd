"""Which rows of members are one person: those of a subject, of what it holds, and of its name beneath its household.

`member:anna` who lives in `h1` is whom a signal for `h1` calls `anna`. Where nobody of that name lives there as far as
graph events say, a name is the sender's word: of two households that are one by now each may have an `anna`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from household.graph.identifiers import masked, of_name, own_name
from household.graph.naming import ITSELF, self_key

if TYPE_CHECKING:
    from household.graph.graph import Graph
    from household.state import PartitionState


class Persons:
    """The persons of a partition, as its graph has them."""

    def __init__(self, graph: "Graph") -> None:
        self._graph = graph
        self._rows: dict[tuple[int, int], tuple[int, ...]] = {}
        """Of the same member, by the rows of one."""
        self._as_of = 0, 0
        """Members, and the fold's version, of which those are."""

    def forget(self) -> None:
        """Forget who is who: it may be otherwise by now."""
        self._rows.clear()

    def rows(self, state: "PartitionState", row: int, member: int) -> tuple[int, ...]:
        """Return the rows of members that are the same person as this one, beneath a household's row."""
        as_of = state.members.count, state.fold_version
        if self._as_of != as_of:
            self._rows, self._as_of = {}, as_of
        rows = self._rows.get((row, member))
        if rows is None:
            subject = self._whose(state, row, state.members.key(member))
            rows = self._rows[row, member] = self._rows_of(state, row, subject) if subject else (member,)
        return rows

    def called(self, state: "PartitionState", household: str, member: bytes) -> str:
        """Return the subject whom a signal calls so beneath a household's key; "" for nobody that the graph knows."""
        membership, subject = self._graph.membership, of_name(member.decode(errors="surrogateescape"))
        if state.fold_version < 5 or subject not in membership.home:
            return ""
        if self._graph.is_of_graph(household.encode(errors="surrogateescape")):
            return ""  # nobody is called anything there
        return subject if membership.household_of(subject) == self._graph.household_of(household) else ""

    def _whose(self, state: "PartitionState", row: int, member: bytes) -> str:
        """Return the subject that a member's row is of; "" for nobody that the graph knows."""
        text = state.households.key(row).decode(errors="surrogateescape")
        subject = self._graph.subject_of(text)
        if subject:
            return subject if member == self_key(text) else ""
        return self.called(state, text, member)

    def _rows_of(self, state: "PartitionState", row: int, subject: str) -> tuple[int, ...]:
        """Return a subject's rows, in the order of the keys of the households above them."""
        own, name = set(self._graph.keys_of_subject(subject)), own_name(subject).encode(errors="surrogateescape")
        found = []
        for one in self._graph.household_rows(row):
            text = state.households.key(one).decode(errors="surrogateescape")
            if text in own:
                found.append(state.members.find(self_key(text), one))
            elif self.called(state, text, name) == subject:
                found.append(state.members.find(name, one))
        return tuple(one for one in found if one >= 0)


# --- as people call them ----------------------------------------------------------------------------------------------


def name_of(state: "PartitionState", household: bytes, member: bytes) -> str:
    """Return what a member is called, by the keys of a household's row and a member's; "" for whoever nobody knows."""
    if member != ITSELF:
        return member.decode(errors="backslashreplace")
    subject = state.graph.subject_of(household.decode(errors="surrogateescape")) if state.graph else ""
    return own_name(subject) if subject else ""


def name_of_row(state: "PartitionState", member: int) -> str:
    """Return the same of a member's row; "" for none."""
    if member < 0:
        return ""
    household = state.households.key(int(state.members.arrays.parents[member]))
    return name_of(state, household, state.members.key(member))


def members_of(state: "PartitionState", row: int) -> Iterator[tuple[str, int, int]]:
    """Yield name, household row and member row of each member of a household; one of several rows once."""
    told = set[int]()
    for one in state.rows_together(row):
        household = state.households.key(one)
        for member in state.members.children(one):
            if member not in told:
                told.update(state.same_members(one, member))
                name = name_of(state, household, state.members.key(member))
                yield name or masked(household.decode(errors="backslashreplace")), one, member
