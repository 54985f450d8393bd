"""What waits for a partition to be written, and the group that is formed of it: decisions, signals, hand-overs."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from actors.conditions import Overloaded
from actors.log import Record
from household.apply import Applied
from household.decide import Draft
from household.decision import Decision
from household.delivery import DeliveryNote
from household.events import EventBatch
from household.plan import Plan
from household.state import PartitionState

Result = TypeVar("Result")

GROUP_BYTES_MAX = 8 << 20
"""Signals taken into one group; a group must be synced and folded before the next decision of its partition."""

WAITING_BYTES_MAX = 64 << 20
"""Signals that may wait; more is refused, so that a flood shows as RESOURCE_EXHAUSTED and not as memory."""


@dataclass(slots=True, eq=False)
class Folded:
    """A batch that was folded: its events and what became of them."""

    batch: EventBatch
    applied: Applied
    plan: Plan
    """By which it was folded."""
    stamp_us: int
    """Of its record."""


@dataclass(slots=True, eq=False)
class Signals:
    """A signal batch that waits, and who waits for it."""

    payload: bytes
    batch: EventBatch
    done: asyncio.Future[Folded]


@dataclass(slots=True, eq=False)
class Proposal:
    """A decision that waits to be checked once more and written."""

    draft: Draft
    decision: Decision
    may_miss_moments: bool
    done: asyncio.Future[int | None]
    """Offset of its record; None if the state has moved on and it must be made again."""


NextStep = Callable[[PartitionState, str], DeliveryNote | None]
"""What is to be noted of an outbound action (by its id) as things stand; None for nothing. Pure."""


@dataclass(slots=True, eq=False)
class HandOvers:
    """Outbound actions whose turn seems to have come, to be looked at once more and noted."""

    action_ids: tuple[str, ...]
    next_step: NextStep
    done: asyncio.Future[dict[str, DeliveryNote]]
    """By action id, what was noted and is in force."""
    notes: list[DeliveryNote] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """What is written at once: a tick alone, or proposals, signals and what is handed over, in this order."""

    stamp_us: int
    proposals: list[Proposal]
    signals: list[Signals]
    hand_overs: list[HandOvers]
    records: list[Record] = field(default_factory=list)
    ticks: bool = False


class Waiting:
    """Proposals, signals and hand-overs in the order they came in. For the event loop of their partition's owner."""

    def __init__(self) -> None:
        self._signals: deque[Signals] = deque()
        self._proposals: deque[Proposal] = deque()
        self._hand_overs: deque[HandOvers] = deque()
        self.signal_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._signals or self._proposals or self._hand_overs)

    def check_room(self, size: int) -> None:
        """Raise unless so many bytes of signals may wait, too.

        Raises:
            Overloaded
        """
        if self._signals and self.signal_bytes + size > WAITING_BYTES_MAX:
            raise Overloaded

    def add_signals(self, payload: bytes, batch: EventBatch) -> asyncio.Future[Folded]:
        """Let a batch wait; return what is set once it was folded, or will not be."""
        done: asyncio.Future[Folded] = asyncio.get_running_loop().create_future()
        self._signals.append(Signals(payload, batch, done))
        self.signal_bytes += len(payload)
        return done

    def add_proposal(self, draft: Draft, decision: Decision, *, may_miss_moments: bool) -> asyncio.Future[int | None]:
        """Let a decision wait; return what is set once it was folded, or will not be."""
        done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._proposals.append(Proposal(draft, decision, may_miss_moments, done))
        return done

    def add_hand_overs(
        self, action_ids: tuple[str, ...], next_step: NextStep
    ) -> asyncio.Future[dict[str, DeliveryNote]]:
        """Let hand-overs wait; return what is set once they were folded, or will not be."""
        done: asyncio.Future[dict[str, DeliveryNote]] = asyncio.get_running_loop().create_future()
        self._hand_overs.append(HandOvers(action_ids, next_step, done))
        return done

    def take(self, *, stamp_us: int) -> Group:
        """Take what goes into the next group."""
        hand_overs = list(self._hand_overs)
        self._hand_overs.clear()
        return Group(
            stamp_us=stamp_us,
            proposals=self._take_proposals(),
            signals=self._take_signals(),
            hand_overs=hand_overs,
        )

    def put_back(self, group: Group) -> None:
        """Let wait again, before all else, what is left in a group."""
        self._signals.extendleft(reversed(group.signals))
        self._proposals.extendleft(reversed(group.proposals))
        self._hand_overs.extendleft(reversed(group.hand_overs))
        self.signal_bytes += sum(len(one.payload) for one in group.signals)
        group.signals, group.proposals, group.hand_overs = [], [], []

    def fail(self, failure: Callable[[], Exception]) -> None:
        """Tell everybody who waits that nothing will come of it."""
        futures: list[asyncio.Future[Any]] = [
            *(one.done for one in self._signals),
            *(one.done for one in self._proposals),
            *(one.done for one in self._hand_overs),
        ]
        for future in futures:
            if not future.done():
                future.set_exception(failure())
        self._signals.clear()
        self._proposals.clear()
        self._hand_overs.clear()
        self.signal_bytes = 0

    def _take_proposals(self) -> list[Proposal]:
        """Take one per household; the next of the same household would be vetoed by the first."""
        taken: dict[bytes, Proposal] = {}
        left: list[Proposal] = []
        while self._proposals:
            proposal = self._proposals.popleft()
            if proposal.decision.household in taken:
                left.append(proposal)
            else:
                taken[proposal.decision.household] = proposal
        self._proposals.extend(left)
        return list(taken.values())

    def _take_signals(self) -> list[Signals]:
        taken: list[Signals] = []
        size = 0
        while self._signals and (not taken or size + len(self._signals[0].payload) <= GROUP_BYTES_MAX):
            one = self._signals.popleft()
            size += len(one.payload)
            taken.append(one)
        self.signal_bytes -= size
        return taken


def settle(done: asyncio.Future[Result], result: Result) -> None:
    """Set a future, unless whoever waited for it has left."""
    if not done.done():
        done.set_result(result)
