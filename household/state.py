"""All that the fold knows of one partition."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from household.columns.dedupe import DedupeWindow
from household.columns.features import Cells, read_all, run_all
from household.columns.keys import NO_PARENT, KeyTable
from household.columns.layout import Layout, lay_out
from household.columns.program import STACK_DEPTH
from household.columns.windows import new_slab
from household.decision import Decision, Moment
from household.events import Status
from household.later import later
from household.plan import NONE, EventTimeUs, Plan

Number = TypeVar("Number", bound=np.generic)

FOLD_VERSION = 2
"""Grows with every change after which the same log gives another state.

A term folds by the version its epoch record names (docs/decisions/0012-fold-version-2.md):
1: a contact is given back whenever its action leaves the outbox undelivered; event ids are known by themselves.
2: a contact that was handed over counts until the gateway says that it was not delivered; DELIVERY records; an event is
   known by its household, source and id, a request by its household and id; one slate for the household, and one for
   what is a member's own; no time is a reason of its own to reject.
"""

NO_MEMBER = -1
NO_HOUSEHOLD = -1

NEVER_US = EventTimeUs(-(2**62))


class KnownRequest(NamedTuple):
    """A request that was answered, and how to tell it from another under the same id."""

    decision_id: str
    """Empty for a Report or an Ack, whose event is what is recorded."""
    offset: int
    """Of the decision's record; −1 where there is none."""
    seen_us: int
    body_hash: bytes = b""
    """Empty where it was not kept: any body is taken for the same."""


RequestKey = tuple[bytes, str]
"""Household key and request id. In terms of fold version 1 a request was known by its id alone: b"" and the id."""


class RowKeeper(Protocol):
    """Wants to see rows as they are before they change."""

    def keep(self, household_rows: NDArray[np.int32], member_rows: NDArray[np.int32]) -> None:
        """Be told of rows (-1 for none) whose cells are about to change."""
        ...


@dataclass(slots=True)
class LiveAction:
    """An action that was decided, and what has become of it. Replaced, never changed: a snapshot may hold it."""

    action_id: str
    decision_id: str
    household: int
    member: int
    offer: str
    family: str
    valid_until_us: int
    status: str
    """live, accepted, declined, expired or withdrawn."""
    settled_us: int = 0
    why: str = later("")
    """Why it was withdrawn, where something no longer held."""
    channel: int = later(NONE)
    """Outbound channel on which it was last handed over."""
    handed_us: int = later(0)
    """`now` of that; 0 for never."""
    decided_us: int = later(0)
    """0 where it was not kept yet."""


@dataclass(slots=True)
class Slate:
    """The actions that stand for a member (or the household) until an outcome, an expiry or a new moment.

    Replaced, never changed.
    """

    decision: Decision
    valid_until_us: int


@dataclass(slots=True)
class Outbound:
    """An action accepted for sending, not yet delivered, withdrawn or expired. Replaced, never changed."""

    action_id: str
    decision_id: str
    household: int
    member: int
    channel: int
    send_before_us: int
    not_before_us: int = later(0)
    """Held until then."""
    fallbacks: tuple[int, ...] = later(())
    """Channels to try next, in this order, when this one cannot deliver."""
    handed_us: int = later(0)
    """`now` when it was first handed over on this channel; 0 for not yet."""
    is_fallback: bool = later(False)
    """Another channel could not deliver it."""
    copies: tuple[str, ...] = later(())
    """Groups of subscribers that are still to acknowledge a copy of their own."""
    is_delivered: bool = later(False)
    """It stays only for its copies."""


@dataclass(slots=True)
class Contact:
    """One contact that counts against the caps. Replaced, never changed."""

    time_us: int
    member: int
    channel: int
    action_id: str
    is_handed: bool = later(False)
    """It has reached a gateway: it counts until that says it was not delivered. Before, it only holds a place."""


@dataclass(slots=True)
class HouseholdLedger:
    """What was decided for a household and what came of it; only for households with such a history.

    Changed only as `PartitionState.ledger` hands it out.
    """

    pending: list[Moment] = field(default_factory=list)
    settled: dict[str, int] = field(default_factory=dict)
    """Moment id → when its decision was folded; the newest 64."""
    slates: dict[int, Slate] = field(default_factory=dict)
    """By member row; NO_MEMBER for the household as a whole."""
    contacts: list[Contact] = field(default_factory=list)
    declined_offers: dict[str, int] = field(default_factory=dict)
    """Offer → until when it is not offered again."""
    declined_families: dict[str, int] = field(default_factory=dict)
    accepted_offers: dict[str, int] = field(default_factory=dict)
    """Offer → when the action that was accepted would have expired: before, it is not offered once more."""
    decisions: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=20))
    """(decision id, offset of its record), oldest first."""
    generation: int = field(default=0, compare=False)
    """That of the state when it was made: an older one belongs to a snapshot too, and is not changed."""

    def copy(self, *, generation: int) -> "HouseholdLedger":
        """Return the same in containers of its own."""
        return HouseholdLedger(
            pending=list(self.pending),
            settled=dict(self.settled),
            slates=dict(self.slates),
            contacts=list(self.contacts),
            declined_offers=dict(self.declined_offers),
            declined_families=dict(self.declined_families),
            accepted_offers=dict(self.accepted_offers),
            decisions=self.decisions.copy(),
            generation=generation,
        )


@dataclass(slots=True)
class Counters:
    """What the partition has seen; in = applied + duplicate + late + rejected, exactly."""

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
        return sum(count for name, count in self.by_status.items() if Status[name] >= Status.UNKNOWN_TYPE)


@dataclass(slots=True)
class PartitionState:
    """Columns, key tables, side tables and counters of one partition, under one plan."""

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
    ledgers: dict[int, HouseholdLedger] = field(default_factory=dict)
    actions: dict[str, LiveAction] = field(default_factory=dict)
    requests: dict[RequestKey, KnownRequest] = field(default_factory=dict)
    """Oldest first."""
    outbox: dict[str, Outbound] = field(default_factory=dict)
    """By action id, in the order they were decided."""
    tidied_us: int = NEVER_US
    """`now` of the newest tick, or of the first decision."""
    counters: Counters = field(default_factory=Counters)
    generation: int = 0
    """How many freezes there were; nothing that the fold knows."""
    fold_version: int = FOLD_VERSION
    """By which the records of the term in force fold."""
    alone_until_us: int = NEVER_US
    """Event time of the youngest of the ids that are known by themselves, from terms of fold version 1: while it is in
    the window, an event whose id is among them is a duplicate, too. NEVER_US for none."""
    freeze: RowKeeper | None = None
    """What is being frozen of this state, if anything."""

    def __post_init__(self) -> None:
        self.layout = lay_out(self.plan)
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

    def ledger(self, household: int) -> HouseholdLedger:
        """Return the household's ledger to change, making an empty one if it had none.

        The only way to change one: what a snapshot holds of it stays as it is.
        """
        found = self.ledgers.get(household)
        if found is None:
            found = self.ledgers[household] = HouseholdLedger(generation=self.generation)
        elif found.generation != self.generation:
            found = self.ledgers[household] = found.copy(generation=self.generation)
        return found

    def find(self, household: bytes, member: bytes = b"") -> tuple[int, int]:
        """Return the rows of a household and a member, NO_HOUSEHOLD and NO_MEMBER where not known."""
        row = self.households.find(household, NO_PARENT)
        if row == NO_HOUSEHOLD or not member:
            return row, NO_MEMBER
        return row, self.members.find(member, row)

    def readings(self, household: int, member: int, as_of_us: int) -> NDArray[np.float64]:
        """Return all features (features,) as of a time."""
        readings = np.empty(len(self.plan.features))
        read_all(self.layout.rules, self.cells, household, member, float(as_of_us), readings)
        return readings

    def conditions(
        self, programs: NDArray[np.int64], household: int, member: int, as_of_us: int
    ) -> NDArray[np.float64]:
        """Return the value of each of these programs as of a time: 1 true, 0 false, NaN an error or unknown."""
        results = np.empty(programs.shape[0])
        nothing, stack = np.full((1, 1), np.nan), np.empty(STACK_DEPTH)
        run_all(self.layout.rules, self.cells, programs, household, member, float(as_of_us), nothing, stack, results)
        return results


def with_room(array: NDArray[Number], length: int) -> NDArray[Number]:
    """Return the array, or a longer one that starts the same, with room for `length` elements."""
    if length <= array.shape[0]:
        return array
    longer = np.empty(max(length, array.shape[0] + array.shape[0] // 2), array.dtype)
    longer[: array.shape[0]] = array
    return longer
