"""Partitions between which components move: a post that loses, doubles and delays, and deaths in between.

Each partition has a log; what is sent is made of its state behind the last record, as its owner does it. All is told to
one partition besides, and at the end the partitions together know what that one knows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from household.apply import apply_epoch, apply_relocations, apply_signals
from household.digest import state_digest
from household.events import Status
from household.freeze import Freeze, thaw
from household.plan import Plan
from household.relocation.births import birth_of, rank_of
from household.relocation.folding import news
from household.relocation.notes import Came, Done, Lies, Out, RelocationNote, event_of
from household.relocation.packing import unpacked
from household.relocation.places import lies, names_needed
from household.relocation.whereabouts import place_of
from household.state import PartitionState
from tests.household.graph_worlds import NOW_US, Heard, Said, Told, batch_of_told, folded

Record = Callable[[PartitionState, int], object]


class Partition:
    """A partition whose records can be folded again."""

    def __init__(self, plan: Plan, place: int, count: int) -> None:
        self.plan, self.place, self.count = plan, place, count
        self.log: list[Record] = []
        self.state = self._begun()
        self.kept: tuple[int, PartitionState] | None = None
        self.deaths = 0

    def _begun(self) -> PartitionState:
        state = PartitionState(plan=self.plan, stream_clock=False)
        apply_epoch(state, epoch=1, partition=self.place, partition_count=self.count)
        return state

    def write(self, record: Record) -> object:
        self.log.append(record)
        return record(self.state, len(self.log))

    def tell(self, note: RelocationNote) -> None:
        """What is news of a note becomes a record."""
        if found := news(self.state, note):
            self.write(lambda state, _: apply_relocations(state, found, epoch=1, stamp_us=NOW_US))

    def fold(self, one: Told) -> Status:
        applied = self.write(lambda state, _: apply_signals(state, batch_of_told(state.plan, [one]), stamp_us=NOW_US))
        (status,) = applied.statuses.tolist()  # type: ignore[attr-defined]
        return Status(status)

    def snapshot(self) -> None:
        freeze = Freeze(self.state)
        while not freeze.step():
            pass
        frozen = freeze.end()
        assert frozen is not None
        self.kept = len(self.log), thaw(frozen)

    def die(self) -> None:
        """Read the log again: all of it, or what is behind a snapshot."""
        before = state_digest(self.state)
        self.deaths += 1
        at, state = self.kept or (0, self._begun())
        self.kept = None
        for offset, record in enumerate(self.log[at:], start=at + 1):
            record(state, offset)
        assert state_digest(state) == before, "live and replayed state differ"
        self.state = state


@dataclass
class World:
    dice: Random
    plan: Plan
    partition_count: int
    loss: float = 0.25
    doubling: float = 0.25
    death: float = 0.05
    partitions: list[Partition] = field(init=False)
    late: list[Callable[[], object]] = field(default_factory=list)
    heard: list[Told] = field(default_factory=list)
    """What is known to somebody, in the order in which it became so."""
    held: list[Told] = field(default_factory=list)
    """What is on its way to where it lies."""
    moves: int = 0
    hops: int = 0

    def __post_init__(self) -> None:
        self.partitions = [Partition(self.plan, place, self.partition_count) for place in range(self.partition_count)]

    # --- the edge ---

    def tell(self, one: Told) -> bool:
        """Tell what somebody says where it lies, as an edge does; return whether it was acknowledged."""
        place = birth_of(_first_name(one).encode(), self.partition_count)
        for hop in range(8):
            status = self.partitions[place].fold(one)
            if status is not Status.MOVED:
                assert status in (Status.APPLIED, Status.WAITING, Status.DUPLICATE), status
                self.hops = max(self.hops, hop)
                return True
            there = place_of(self.partitions[place].state, _first_name(one).encode())
            # Where it was sent knows nothing of it yet.
            if there == place or (hop and there == birth_of(_first_name(one).encode(), self.partition_count)):
                return False
            place = there
        return False

    # --- the owners ---

    def call(self, place: int, question: Callable[[Partition], object]) -> object | None:
        """Ask a partition's owner, over a post that may lose the question, or the answer; None for no answer."""
        if self.dice.random() < self.loss / 2:
            return None
        if self.dice.random() < self.doubling:
            self.late.append(lambda: question(self.partitions[place]))
        answer = question(self.partitions[place])
        self.may_die(self.partitions[place])
        return None if self.dice.random() < self.loss / 2 else answer

    def may_die(self, partition: Partition) -> None:
        if self.dice.random() < self.death:
            partition.die()

    def look(self, partition: Partition) -> None:
        """Do once what an owner does all the time: send what left, and see that what waits comes together."""
        by_target: dict[int, list[object]] = {}
        for one in partition.state.departures:
            by_target.setdefault(one.target, []).append(one)
        for target, ones in by_target.items():
            for one in sorted(ones, key=lambda one: one.number):  # type: ignore[attr-defined]
                came = Came(source=partition.place, number=one.number, data=one.data)  # type: ignore[attr-defined]
                if self.call(target, lambda there, came=came: _arrive(there, came)) is not True:
                    break
                self.moves += 1
                partition.tell(RelocationNote(done=(Done(target=target, number=came.number),)))
                self.may_die(partition)
        for waiting in list(partition.state.waiting):
            self._bring_together(partition, waiting.key, waiting.event)
            self.may_die(partition)

    def _bring_together(self, partition: Partition, key: bytes, data: bytes) -> None:
        found = {name: self._located(name) for name in names_needed(event_of(data))}
        if any(one is None for one in found.values()):
            return
        places = {one.partition for one in found.values()}  # type: ignore[union-attr]
        if len(places) == 1:
            if self.call(places.pop(), lambda there: _take_in(there, data, key)) is True:
                partition.tell(RelocationNote(told=(key,)))
            return
        root = min((one.root for one in found.values()), key=rank_of)  # type: ignore[union-attr]
        home = birth_of(root.encode(), self.partition_count)
        for name, one in found.items():
            if one is not None and one.partition != home:
                out = Out(target=home, named=((name, root),))
                self.call(one.partition, lambda there, out=out: there.tell(RelocationNote(outs=(out,))))

    def _located(self, name: str) -> Lies | None:
        place = birth_of(name.encode(), self.partition_count)
        for _ in range(8):
            answer = self.call(place, lambda there: lies(there.state, name))
            if not isinstance(answer, Lies):
                return None
            if answer.partition == place:
                return answer
            place = answer.partition
        return None

    # --- all of it ---

    def live(self, told: list[Told]) -> None:
        """Let somebody say all this, some of it twice, while owners do what they do and die."""
        left = list(told)
        while left:
            if self.dice.random() < 0.4:
                one = self.held.pop(0) if self.held and self.dice.random() < 0.5 else left.pop(0)
                if not self.tell(one):
                    self.held.append(one)
                elif one not in self.heard:
                    self.heard.append(one)
                if self.heard and self.dice.random() < 0.25:
                    self.tell(self.dice.choice(self.heard))
            if self.late and self.dice.random() < 0.2:
                self.late.pop(self.dice.randrange(len(self.late)))()
            some = self.dice.choice(self.partitions)
            if self.dice.random() < 0.1:
                some.snapshot()
            self.look(some)
            self.may_die(some)
            self.is_conserved()
        self.settle()

    def settle(self) -> None:
        """Let all come to rest, with a post that is sound."""
        self.loss = self.doubling = self.death = 0.0
        for late in self.late:
            late()
        for _ in range(100):
            for partition in self.partitions:
                self.look(partition)
            for one in self.held[:]:
                if self.tell(one):
                    self.held.remove(one)
                    self.heard.append(one)
            if not self.held and not any(len(one.state.waiting) + len(one.state.departures) for one in self.partitions):
                break
        else:
            raise AssertionError("what waits comes never together")
        for partition in self.partitions:
            partition.die()
        # All is known, wherever it lies by now.
        for one in self.heard:
            if isinstance(one, Heard):
                assert self.tell(one)
        self.is_conserved()

    def is_conserved(self) -> None:
        """The law: each signal counts once, wherever it lies or on its way."""
        states = [one.state for one in self.partitions]
        states += [
            unpacked(one.data, self.plan, stream_clock=False).state
            for partition in self.partitions
            for one in partition.state.departures
            if not _has_come(self.partitions[one.target].state, partition.place, one.number)
        ]
        counted = sum(_count(state) for state in states)
        assert counted == sum(isinstance(one, Heard) for one in self.heard)

    def alone(self) -> PartitionState:
        """Return one partition that was told all."""
        return folded(self.heard, plan=self.plan)


def _first_name(one: Told) -> str:
    """Return the name by which an edge finds where something goes."""
    if isinstance(one, Heard):
        return one.identifier or one.household
    return next(name for name in (one.identifier, *one.subjects, one.household, one.other) if name)


def _arrive(there: Partition, came: Came) -> bool:
    there.tell(RelocationNote(came=(came,)))
    return _has_come(there.state, came.source, came.number)


def _has_come(state: PartitionState, source: int, number: int) -> bool:
    arrival = state.arrivals.get(source)
    return arrival is not None and arrival.number >= number


def _take_in(there: Partition, data: bytes, key: bytes) -> bool:
    there.tell(RelocationNote(events=(data,)))
    return there.state.graph.known(key)


def _count(state: PartitionState) -> int:
    """Return how many signals the rows of households have counted; what is in a base is in its span, too."""
    rows = [row for row in range(state.households.count) if not state.households.key(row).endswith(b"\0")]
    cell = state.layout.feature_cells[0]
    return int(sum(state.cells.flat[state.cells.household_bases[row] + cell] for row in rows))


def said_apart(told: list[Told]) -> list[Told]:
    """Return what ties nothing together by a cause alone: that holds within one partition."""
    return [
        replace(one, cause="") if isinstance(one, Said) else one
        for one in told
        if not (isinstance(one, Said) and one.kind in ("unmerge", "confirm"))
    ]
