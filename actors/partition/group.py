"""What waits for a partition to be written, and the group that is formed of it: decisions, signals, hand-overs.

Of the signals those with which somebody waits for an answer go before batches, however many bytes of these wait.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from actors.conditions import Overloaded
from actors.log.contract import Record
from actors.partition.caller import Caller, CallerGone
from household.apply import Applied
from household.decision import Decision
from household.delivery import DeliveryNote, DeliveryStep
from household.events import EventBatch
from household.plan import Plan
from household.state import PartitionState

Result = TypeVar("Result")

GROUP_BYTES_MAX = 8 << 20
"""Signals taken into one group; a group must be synced and folded before the next decision of its partition."""

SHARED_GROUP_BYTES_MAX = 1 << 20
"""Of batches, while somebody waits for an answer: no more are taken into his group, nor into the one before his."""

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


Objection = Callable[[PartitionState], None]
"""Looks at the state as of now, in the state thread. What it raises is told to who asked for it, and to nobody else."""


def no_objection(_state: PartitionState) -> None:
    """Have none."""


After = Callable[[EventBatch], None]
"""Called with events that are folded, in the state thread. What it raises is told to who asked for it."""


def nothing_after(_events: EventBatch) -> None:
    """Do nothing."""


@dataclass(slots=True, eq=False, kw_only=True)
class Signals:
    """A signal batch that waits, and who waits for it."""

    payload: bytes
    done: asyncio.Future[Folded]
    caller: Caller
    is_urgent: bool
    """Somebody is there: it came with a question, or says what became of an action."""
    before: Objection = no_objection
    """Asked as its group is formed; if it raises, the batch is not written."""
    after: After = nothing_after
    """Called in the turn in which the last of it was folded."""
    decoded: EventBatch | None = None
    """Its events, once somebody has decoded them."""
    is_being_decoded: bool = False
    """Elsewhere: it keeps its place, and has its turn when it is."""
    is_unreadable: bool = False
    """Its caller was told; it only leaves its place."""

    @property
    def batch(self) -> EventBatch:
        """Its events; of one that is in a group that was formed."""
        assert self.decoded is not None
        return self.decoded


class Attempt(Protocol):
    """A decision on its way. Both are called in the state thread; what they raise is told to who proposed it."""

    @property
    def household(self) -> bytes:
        """Whose it is."""
        ...

    def decide(self, state: PartitionState) -> Decision | None:
        """Return the decision as of now, to be written at once; None if there is none to write."""
        ...

    def folded(self) -> None:
        """It is durable, folded and in force."""
        ...


@dataclass(slots=True, eq=False)
class Proposal:
    """A decision that waits to be made as things stand when its group is formed, and written."""

    attempt: Attempt
    done: asyncio.Future[bool]
    """Whether it is in force; if not, nothing was written or it is void."""
    caller: Caller
    made: Decision | None = None

    @property
    def decision(self) -> Decision:
        """What was decided; of one that is in a group that was formed."""
        assert self.made is not None
        return self.made


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
    refused: list[Proposal] = field(default_factory=list)
    """There was nothing to write as things stand."""
    failed: list[tuple[asyncio.Future[Any], Exception]] = field(default_factory=list)
    """Who is to be told what, since it concerns nobody else."""

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits for it."""
        return not (self.proposals or self.signals or self.hand_overs)

    def settle_failed(self) -> None:
        """Tell those of whom only their own failed. In the event loop."""
        for done, wrong in self.failed:
            if not done.done():
                done.set_exception(wrong)
        self.failed = []


class Waiting:
    """Proposals, urgent signals, batches and hand-overs, each in the order they came in; who has left gets no turn.

    For the event loop of their partition's owner.
    """

    def __init__(self) -> None:
        self._urgent: deque[Signals] = deque()
        self._signals: deque[Signals] = deque()
        self._proposals: deque[Proposal] = deque()
        self._hand_overs: deque[HandOvers] = deque()
        self.signal_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._urgent or self._signals or self._proposals or self._hand_overs)

    def check_room(self, size: int) -> None:
        """Raise unless so many bytes of signals may wait, too.

        Raises:
            Overloaded
        """
        if self._signals and self.signal_bytes + size > WAITING_BYTES_MAX:
            raise Overloaded

    @property
    def is_ready(self) -> bool:
        """Whether any of it may go into a group now."""
        queues = (self._urgent, self._signals)
        return bool(self._proposals or self._hand_overs) or any(_is_ready(queue) for queue in queues)

    def add_signals(
        self,
        payload: bytes,
        *,
        caller: Caller,
        is_urgent: bool,
        before: Objection = no_objection,
        after: After = nothing_after,
    ) -> Signals:
        """Let a batch wait; return it: `done` is set once it was folded, or will not be."""
        done: asyncio.Future[Folded] = asyncio.get_running_loop().create_future()
        one = Signals(payload=payload, done=done, caller=caller, is_urgent=is_urgent, before=before, after=after)
        (self._urgent if is_urgent else self._signals).append(one)
        self.signal_bytes += len(payload)
        return one

    def add_proposal(self, attempt: Attempt, *, caller: Caller) -> asyncio.Future[bool]:
        """Let a decision wait; return what is set once it was folded, or will not be."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._proposals.append(Proposal(attempt, done, caller))
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
        signals = self._take_signals()  # first: it looks at who else waits
        hand_overs = list(self._hand_overs)
        self._hand_overs.clear()
        return Group(
            stamp_us=stamp_us,
            proposals=self._take_proposals(),
            signals=signals,
            hand_overs=hand_overs,
        )

    def put_back(self, group: Group) -> None:
        """Let wait again, before all else, what is left in a group."""
        self._urgent.extendleft(one for one in reversed(group.signals) if one.is_urgent)
        self._signals.extendleft(one for one in reversed(group.signals) if not one.is_urgent)
        self._proposals.extendleft(reversed(group.proposals))
        self._hand_overs.extendleft(reversed(group.hand_overs))
        self.signal_bytes += sum(len(one.payload) for one in group.signals)
        group.signals, group.proposals, group.hand_overs = [], [], []

    def fail(self, failure: Callable[[], Exception]) -> None:
        """Tell everybody who waits that nothing will come of it."""
        futures: list[asyncio.Future[Any]] = [
            *(one.done for one in (*self._urgent, *self._signals)),
            *(one.done for one in self._proposals),
            *(one.done for one in self._hand_overs),
        ]
        for future in futures:
            if not future.done():
                future.set_exception(failure())
        self._urgent.clear()
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
            if not proposal.caller.is_waiting:
                drop(proposal.done)
            elif proposal.attempt.household in taken:
                left.append(proposal)
            else:
                taken[proposal.attempt.household] = proposal
        self._proposals.extend(left)
        return list(taken.values())

    def _take_signals(self) -> list[Signals]:
        is_shared = bool(self._urgent or self._proposals)
        taken = self._take_from(self._urgent, GROUP_BYTES_MAX)
        return taken + self._take_from(self._signals, SHARED_GROUP_BYTES_MAX if is_shared else GROUP_BYTES_MAX)

    def _take_from(self, waiting: deque[Signals], bytes_max: int) -> list[Signals]:
        taken: list[Signals] = []
        size = 0
        while _is_ready(waiting) and (not taken or size + len(waiting[0].payload) <= bytes_max):
            one = waiting.popleft()
            self.signal_bytes -= len(one.payload)
            if one.is_unreadable:
                continue
            if one.caller.is_waiting:
                size += len(one.payload)
                taken.append(one)
            else:
                drop(one.done)
        return taken


def _is_ready(waiting: deque[Signals]) -> bool:
    """Return whether the first may leave its place: none goes before one that came earlier."""
    return bool(waiting) and not (waiting[0].is_being_decoded and waiting[0].caller.is_waiting)


def drop(done: asyncio.Future[Any]) -> None:
    """Tell whoever still listens that a call was dropped since its caller has left."""
    if not done.done():
        done.set_exception(CallerGone())


def settle(done: asyncio.Future[Result], result: Result) -> None:
    """Set a future, unless whoever waited for it has left."""
    if not done.done():
        done.set_result(result)


def settle_hand_overs(group: Group, state: PartitionState) -> None:
    """Tell each what of it is in force. In the state thread, or where nothing was noted."""
    for one in group.hand_overs:
        in_force = {note.action_id: note for note in one.notes if _is_in_force(state, note)}
        one.done.get_loop().call_soon_threadsafe(settle, one.done, in_force)


def _is_in_force(state: PartitionState, note: DeliveryNote) -> bool:
    if note.step is not DeliveryStep.HANDED:
        return True
    outbound = state.outbox.get(note.action_id)
    return (
        outbound is not None
        and bool(outbound.handed_us)
        and state.plan.channel_by_name.get(note.channel) == outbound.channel
    )
