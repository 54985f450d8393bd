"""All that the fold knows of one partition."""

from dataclasses import InitVar, dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from household.columns.dedupe import DedupeWindow
from household.columns.features import Cells, read_and_run
from household.columns.keys import NO_PARENT, KeyTable
from household.columns.layout import Layout, lay_out
from household.columns.windows import new_slab
from household.contact_rules.compiled import CompiledRules, places_of_contacts, places_of_encounters
from household.contact_rules.share import CapacityShare
from household.deciding.candidate_sets import CandidateSets
from household.decision import Moment
from household.events import NOT_REJECTED, Status
from household.experiments.coverage import Coverage
from household.graph.graph import Graph
from household.graph.views import combined_cells
from household.inventory import Inventory
from household.journeys.course import Courses
from household.plan import EventTimeUs, Plan
from household.relocation.positions import OWN_BELOW
from household.scarcity import Scarcity
from household.showing import Showing
from household.tables.actions import ACTIONS, LiveAction
from household.tables.acts import ACTS, ActOfInstance
from household.tables.arms import ARMS, Assignment
from household.tables.capacities import CAPACITIES, CapacityUse
from household.tables.contacts import CONTACTS, Contact
from household.tables.decisions import DECISIONS, KnownDecision
from household.tables.encounters import ENCOUNTERS, Encounter
from household.tables.heard import HEARD, Heard
from household.tables.instances import INSTANCES, Instance
from household.tables.moments import PENDING, SETTLED, SettledMoment
from household.tables.of_partition import Tables
from household.tables.outbox import OUTBOX, Outbound
from household.tables.pauses import ACCEPTED_OFFERS, DECLINED_FAMILIES, DECLINED_OFFERS, Pause
from household.tables.recent_signals import RECENT_SIGNALS, RecentSignal
from household.tables.relocations import (
    ARRIVALS,
    DEPARTURES,
    PLACES,
    WAITING,
    Arrival,
    Departure,
    NamePlace,
    WaitingEvent,
)
from household.tables.requests import REQUESTS, KnownRequest
from household.tables.shown import SHOWN
from household.tables.slates import SLATES, Slate
from household.tables.table import Table

Number = TypeVar("Number", bound=np.generic)
TableRow = TypeVar("TableRow")

FOLD_VERSION = 5
"""Grows with every change after which the same log gives another state.

A term folds by the version its epoch record names (docs/decisions/0012-fold-version-2.md):
1: a contact is given back whenever its action leaves the outbox undelivered; event ids are known by themselves.
2: a contact that was handed over counts until the gateway says that it was not delivered; DELIVERY records; an event is
   known by its household, source and id, a request by its household and id; one slate for the household, and one for
   what is a member's own; no time is a reason of its own to reject.
3: events of the types `hearth.graph.*` are folded, and signals may name an identifier instead of a household.
4: a graph event about what lies in several partitions waits until all of it lies in one; what lies elsewhere is MOVED.
   An id that is known tells whose it is, and events have numbers that no other partition gives.
5: what listens for a signal reads, and remembers for, all rows that lie together with its own; whom a signal calls
   `anna` beneath a household is the subject `member:anna` if that lives there.
"""

NO_MEMBER = -1
NO_HOUSEHOLD = -1

NEVER_US = EventTimeUs(-(2**62))

_NO_READINGS = np.empty(0)
_NO_PROGRAMS = np.empty(0, np.int64)

FOUND_MOST = 16_384
"""Keys whose rows a state remembers."""


RequestKey = tuple[bytes, str]
"""Household key and request id. In terms of fold version 1 a request was known by its id alone: b"" and the id."""


class RowKeeper(Protocol):
    """Wants to see rows as they are before they change."""

    def keep(self, household_rows: NDArray[np.int32], member_rows: NDArray[np.int32]) -> None:
        """Be told of rows (-1 for none) whose cells are about to change."""
        ...

    def give_up(self) -> None:
        """Be told that the state is going over to another plan: what is not copied yet never will be."""
        ...


@dataclass(slots=True)
class Counters:
    """What the partition has seen; in = applied + duplicate + late + rejected + moved (on, or waiting), exactly."""

    received: int = 0
    by_status: dict[str, int] = field(default_factory=lambda: {status.name: 0 for status in Status})
    moments: int = 0
    decisions: int = 0
    served: int = 0
    nothing: int = 0
    withheld: int = 0
    voided: int = 0
    expired: int = 0
    withdrawn: int = 0
    delivered: int = 0

    @property
    def rejected(self) -> int:
        """Events that were not acceptable."""
        return sum(count for name, count in self.by_status.items() if Status[name] not in NOT_REJECTED)


@dataclass(slots=True)
class PartitionState:
    """Columns, key tables, tables and counters of one partition, under one plan."""

    plan: Plan
    stream_clock: bool
    """`now` is the newest event rather than the owner's stamp."""
    layout: Layout = field(init=False)
    now_us: int = NEVER_US
    epoch: int = 0
    households: KeyTable = field(default_factory=KeyTable)
    members: KeyTable = field(default_factory=KeyTable)
    cells: Cells = field(init=False)
    household_rows: int = 0
    member_rows: int = 0
    cells_used: int = 0
    """How much of `cells` is laid down."""
    dedupe: DedupeWindow = field(default_factory=DedupeWindow)
    carried_tables: InitVar[Tables | None] = None
    """Of the state before; None for empty ones."""
    tables: Tables = field(init=False)
    actions: Table[LiveAction] = field(init=False)
    outbox: Table[Outbound] = field(init=False)
    requests: Table[KnownRequest] = field(init=False)
    pending: Table[Moment] = field(init=False)
    settled: Table[SettledMoment] = field(init=False)
    slates: Table[Slate] = field(init=False)
    contacts: Table[Contact] = field(init=False)
    declined_offers: Table[Pause] = field(init=False)
    declined_families: Table[Pause] = field(init=False)
    accepted_offers: Table[Pause] = field(init=False)
    decisions: Table[KnownDecision] = field(init=False)
    recent_signals: Table[RecentSignal] = field(init=False)
    graph: Graph = field(init=False)
    encounters: Table[Encounter] = field(init=False)
    capacities: Table[CapacityUse] = field(init=False)
    rules: CompiledRules | None = field(init=False)
    """Of the contact policy; None where the plan has none."""
    contact_places: NDArray[np.int64] = field(init=False)
    encounter_places: NDArray[np.int64] = field(init=False)
    share: CapacityShare = field(default_factory=CapacityShare)
    """Which of how many partitions this is: its part of capacities that all share. Nothing that the fold knows."""
    arms: Table[Assignment] = field(init=False)
    instances: Table[Instance] = field(init=False)
    heard: Table[Heard] = field(init=False)
    acts: Table[ActOfInstance] = field(init=False)
    courses: Courses | None = field(init=False)
    """Of the journeys with states; None where the plan has none."""
    arisen: dict[int, None] = field(default_factory=dict)
    """Households in which journeys made moments arise, for the owner to take. Nothing that the fold knows."""
    coverage: Coverage = field(init=False)
    """What the plan's experiments are about."""
    candidate_sets: CandidateSets = field(init=False)
    """What the plan's journeys bring up. Nothing that the fold knows."""
    showing: Showing = field(init=False)
    """How often each of the plan's offers was shown."""
    scarcity: Scarcity = field(init=False)
    """What is left of the plan's budgets, and at which price."""
    inventory: Inventory = field(init=False)
    """Units of the plan's items: those of which this is the home, and what its households claim."""
    places: Table[NamePlace] = field(init=False)
    waiting: Table[WaitingEvent] = field(init=False)
    departures: Table[Departure] = field(init=False)
    arrivals: Table[Arrival] = field(init=False)
    partition: int = 0
    """Which of how many partitions this is, as the term's epoch record tells: what is born where follows from it."""
    partition_count: int = 1
    tidied_us: int = NEVER_US
    """`now` of the newest tick, or of the first decision."""
    counters: Counters = field(default_factory=Counters)
    fold_version: int = FOLD_VERSION
    """By which the records of the term in force fold."""
    alone_until_us: int = NEVER_US
    """Event time of the youngest of the ids that are known by themselves, from terms of fold version 1: while it is in
    the window, an event whose id is among them is a duplicate, too. NEVER_US for none."""
    uncoded_until_us: int = NEVER_US
    """Event time of the youngest of the ids that do not tell whose they are, from terms before fold version 4: while it
    is in the window, nothing leaves the partition. NEVER_US for none."""
    away: NDArray[np.uint8] | None = None
    """By row of a household: whether it has left; None where nobody looked yet. Follows from `places`."""
    freeze: RowKeeper | None = None
    """What is being frozen of this state, if anything."""
    _found: dict[tuple[bytes, bytes], tuple[int, int]] = field(default_factory=dict, repr=False)
    """Rows by the keys that were looked for lately: one decision looks several times."""

    def __post_init__(self, carried_tables: Tables | None) -> None:
        self.layout = lay_out(self.plan)
        tables = self.tables = Tables(self.plan) if carried_tables is None else carried_tables
        self.actions, self.outbox, self.requests = tables.of(ACTIONS), tables.of(OUTBOX), tables.of(REQUESTS)
        self.pending, self.settled, self.slates = tables.of(PENDING), tables.of(SETTLED), tables.of(SLATES)
        self.contacts, self.decisions = tables.of(CONTACTS), tables.of(DECISIONS)
        self.declined_offers, self.declined_families = tables.of(DECLINED_OFFERS), tables.of(DECLINED_FAMILIES)
        self.recent_signals = tables.of(RECENT_SIGNALS)
        self.graph = Graph(self)
        self.accepted_offers, self.arms = tables.of(ACCEPTED_OFFERS), tables.of(ARMS)
        self.encounters, self.capacities = tables.of(ENCOUNTERS), tables.of(CAPACITIES)
        self.instances, self.heard, self.acts = tables.of(INSTANCES), tables.of(HEARD), tables.of(ACTS)
        self.courses = Courses(self.plan) if self.plan.listeners else None
        self.contact_places = places_of_contacts(self.contacts)
        self.encounter_places = places_of_encounters(self.encounters)
        self.places, self.waiting = tables.of(PLACES), tables.of(WAITING)
        self.departures, self.arrivals = tables.of(DEPARTURES), tables.of(ARRIVALS)
        self.rules = CompiledRules(self.plan, tables.names) if self.plan.policy.rules else None
        self.coverage = Coverage(self.plan)
        self.candidate_sets = CandidateSets(self.plan, self.coverage)
        self.showing = Showing(self.plan, tables.of(SHOWN))
        self.scarcity = Scarcity(self.plan, tables)
        self.inventory = Inventory(self.plan, tables)
        self.cells = Cells(
            flat=np.empty(1_024),
            household_bases=np.empty(16, np.int64),
            member_bases=np.empty(16, np.int64),
            slab=new_slab(4_096),
        )

    def ensure_rows(self) -> None:
        """Lay down a row of initial cells for every household and member that has a key and no row yet."""
        layout, cells = self.layout, self.cells
        homes = self.households.count - self.household_rows
        members = self.members.count - self.member_rows
        if homes == 0 and members == 0:
            return
        end = self.cells_used + homes * layout.household_initial.shape[0] + members * layout.member_initial.shape[0]
        flat = with_room(cells.flat, end)
        middle = self.cells_used + homes * layout.household_initial.shape[0]
        flat[self.cells_used : middle] = np.tile(layout.household_initial, homes)
        flat[middle:end] = np.tile(layout.member_initial, members)
        household_bases = with_room(cells.household_bases, self.households.count)
        member_bases = with_room(cells.member_bases, self.members.count)
        household_bases[self.household_rows : self.households.count] = (
            self.cells_used + np.arange(homes) * layout.household_initial.shape[0]
        )
        member_bases[self.member_rows : self.members.count] = (
            middle + np.arange(members) * layout.member_initial.shape[0]
        )
        self.cells = Cells(flat=flat, household_bases=household_bases, member_bases=member_bases, slab=cells.slab)
        self.household_rows, self.member_rows, self.cells_used = self.households.count, self.members.count, end

    def number(self, count: int) -> int:
        """Return the number of the event that is the count-th of this partition: no other partition gives it."""
        return count * self.partition_count + self.partition

    def spare_rows(self) -> tuple[int, int]:
        """Return a row behind all households' and one behind all members', to write to until rows are laid down."""
        cells, homes, members = self.cells, self.household_rows, self.member_rows
        middle = self.cells_used + self.layout.household_initial.shape[0]
        flat = with_room(cells.flat, middle + self.layout.member_initial.shape[0])
        household_bases = with_room(cells.household_bases, homes + 1)
        member_bases = with_room(cells.member_bases, members + 1)
        household_bases[homes], member_bases[members] = self.cells_used, middle
        self.cells = Cells(flat=flat, household_bases=household_bases, member_bases=member_bases, slab=cells.slab)
        return homes, members

    def find(self, household: bytes, member: bytes = b"") -> tuple[int, int]:
        """Return the rows of a household and a member, NO_HOUSEHOLD and NO_MEMBER where not known."""
        known = self._found.get((household, member))
        if known is not None:
            return known
        row = self.households.find(household, NO_PARENT)
        found = row, self.members.find(member, row) if member and row != NO_HOUSEHOLD else NO_MEMBER
        if row != NO_HOUSEHOLD and member and found[1] == NO_MEMBER and self.graph:
            return row, self.graph.called(row, member)  # for as long as graph events say so
        if row != NO_HOUSEHOLD and (found[1] != NO_MEMBER or not member):
            # Rows stay what they are: only who is not known may be known later.
            if len(self._found) >= FOUND_MOST:
                self._found.clear()
            self._found[household, member] = found
        return found

    def readings(self, household: int, member: int, as_of_us: int) -> NDArray[np.float64]:
        """Return all features (features,) as of a time."""
        readings = np.empty(len(self.plan.features))
        cells, household, member = self.seen_together(household, member)
        read_and_run(self.layout.rules, cells, household, member, as_of_us, readings, _NO_PROGRAMS, _NO_READINGS)
        return readings

    def conditions(
        self, programs: NDArray[np.int64], household: int, member: int, as_of_us: int
    ) -> NDArray[np.float64]:
        """Return the value of each of these programs as of a time: 1 true, 0 false, NaN an error or unknown."""
        return self._run(programs, *self.seen_together(household, member), as_of_us)

    def conditions_alone(
        self, programs: NDArray[np.int64], household: int, member: int, as_of_us: int
    ) -> NDArray[np.float64]:
        """Return the same of what lies in these two rows alone."""
        return self._run(programs, self.cells, household, member, as_of_us)

    def _run(
        self, programs: NDArray[np.int64], cells: Cells, household: int, member: int, as_of_us: int
    ) -> NDArray[np.float64]:
        results = np.empty(programs.shape[0])
        read_and_run(self.layout.rules, cells, household, member, as_of_us, _NO_READINGS, programs, results)
        return results

    def rows_together(self, household: int) -> tuple[int, ...]:
        """Return the rows whose facts are one household's, among them the one given; it alone for most."""
        return self.graph.household_rows(household) if self.graph else (household,)

    def home_row(self, household: int) -> int:
        """Return the one row by which a household is told from others, whichever of its rows it was asked for by."""
        return self.rows_together(household)[0] if household >= 0 else household

    def same_members(self, household: int, member: int) -> tuple[int, ...]:
        """Return the rows of members that are the one given, which comes first, whichever keys name them."""
        if not self.graph:
            return (member,)
        return tuple(dict.fromkeys((member, *self.graph.member_rows(household, member))))

    def together(self, table: Table[TableRow], household: int) -> tuple[TableRow, ...]:
        """Return the rows of a table that a household has, wherever its facts lie; oldest first within each place."""
        if not self.graph:
            return table.of(household)
        return tuple(one for row in self.graph.household_rows(household) for one in table.of(row))

    def newest_decisions(self, household: int) -> list[KnownDecision]:
        """Return the decisions that are known of a household, newest first; none of one that is not known.

        What came with it from another partition was decided before all that was decided here.
        """
        known = self.together(self.decisions, household) if household >= 0 else ()
        return sorted(known, key=lambda one: (one.offset < OWN_BELOW, one.offset), reverse=True)

    def seen_together(self, household: int, member: int) -> tuple[Cells, int, int]:
        """Return cells, and the rows there, of all that a household, and one of its members, hold: to read only."""
        graph = self.graph
        if not graph:
            return self.cells, household, member
        rows, member_rows = graph.household_rows(household), graph.member_rows(household, member)
        if len(rows) == 1 and len(member_rows) == 1:
            return self.cells, household, member
        cells = combined_cells(self.plan, self.layout, self.cells, rows, member_rows)
        return cells, 0, 0 if member >= 0 else NO_MEMBER


def with_room(array: NDArray[Number], length: int) -> NDArray[Number]:
    """Return the array, or a longer one that starts the same, with room for `length` elements."""
    if length <= array.shape[0]:
        return array
    longer = np.empty(max(length, array.shape[0] + array.shape[0] // 2), array.dtype)
    longer[: array.shape[0]] = array
    return longer
