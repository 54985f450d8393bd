"""Which gateway has what of a shard's outbound actions, and which hand-overs are recorded and not made yet.

From its record on a hand-over's contact counts. So each that is recorded is made, or it is recorded that it was kept
back, whoever leaves meanwhile and whatever becomes of the action. While either is written, nobody takes the action.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from actors.conditions import NotCurrent, PartitionLost
from actors.partition.group import NextStep
from actors.partition.owner import PartitionOwner
from actors.passing_over import passing_over
from actors.state_thread import StateThread, Urgency
from household.deciding.hand_over import kept_back
from household.delivery import DeliveryNote, DeliveryStep
from household.plan import NONE, Plan
from household.state import PartitionState

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

Key = tuple[str, str]
"""(action id, group)"""

BOUND = float("inf")
"""`next_at` of what nobody may take: something is being recorded of it."""


@dataclass(slots=True, eq=False)
class Share:
    """What one group has of one action."""

    channel: int
    attempts: int
    next_at: float
    """Loop time from which on it may be handed over again."""
    holder: object | None
    """The subscription that has it or is about to."""
    then_at: float = 0.0
    """`next_at` once it is bound no more."""

    @property
    def is_bound(self) -> bool:
        """Whether something is being recorded of it."""
        return self.next_at == BOUND


@dataclass(frozen=True, slots=True)
class _HandOver:
    """One that is recorded; known to the owner that recorded it only: the next hands over what it finds."""

    owner: PartitionOwner
    key: Key
    channel: int


class Shares:
    """What the groups of all subscriptions of one shard have. For one event loop."""

    def __init__(self, state_thread: StateThread, on_free: Callable[[], None], *, look_every_s: float) -> None:
        self._state_thread = state_thread
        self._on_free = on_free
        self._look_every_s = look_every_s
        self._by_partition: dict[int, dict[Key, Share]] = {}
        self._looked_at: dict[int, float] = {}
        """By partition: loop time at which it was last looked which of its actions are gone."""
        self._unmade: dict[_HandOver, Share] = {}
        self._kept_back_now: set[_HandOver] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def of(self, partition: int) -> dict[Key, Share]:
        """Return what the groups have of a partition's actions."""
        return self._by_partition.setdefault(partition, {})

    def forget_gone(self, owner: PartitionOwner, now: float) -> None:
        """Forget actions that are to be sent no more; not at each turn, for it looks at all that is on its way."""
        self.settle()
        if now < self._looked_at.get(owner.partition, float("-inf")) + self._look_every_s:
            return
        self._looked_at[owner.partition] = now
        shares = self.of(owner.partition)
        for key in [key for key, one in shares.items() if not owner.state.outbox.holds(key[0]) and not one.is_bound]:
            del shares[key]

    def recode(self, owner: PartitionOwner, before: Plan) -> None:
        """Take note of how the plan in force numbers the channels of the one before."""
        by_name = owner.state.plan.channel_by_name
        channels = {index: by_name.get(one.name, NONE) for index, one in enumerate(before.channels)}
        for share in self.of(owner.partition).values():
            share.channel = channels.get(share.channel, NONE)
        self._unmade = {
            replace(one, channel=channels.get(one.channel, NONE)) if one.owner is owner else one: share
            for one, share in self._unmade.items()
        }

    def leave(self, holder: object) -> None:
        """Let others have what a subscription had and did not acknowledge."""
        for shares in self._by_partition.values():
            for share in shares.values():
                if share.holder is holder:
                    share.holder = None
                    share.next_at = BOUND if share.is_bound else 0.0
        self.settle()

    async def note(self, owner: PartitionOwner, mine: Mapping[Key, Share], next_step: NextStep) -> set[Key]:
        """Record of what a subscription holds that it is handed over next; return of what that is noted now.

        What is not to be handed over is nobody's any more. Seen through if whoever waits for it is cancelled.
        """
        taken_by = {key: share.holder for key, share in mine.items()}
        for share in mine.values():
            share.next_at, share.then_at = BOUND, share.next_at
        noted = self._track(self._note(owner, mine, next_step))
        handed = await asyncio.shield(noted)
        return {key for key in handed if mine[key].holder is taken_by[key]}

    async def _note(self, owner: PartitionOwner, mine: Mapping[Key, Share], next_step: NextStep) -> set[Key]:
        noted: dict[str, DeliveryNote] = {}
        with passing_over(NotCurrent, PartitionLost, because="the next owner knows what is recorded"):
            noted = await owner.note_deliveries(tuple(action_id for action_id, _ in mine), next_step)
        handed, shares = set(), self.of(owner.partition)
        for key, share in mine.items():
            note = noted.get(key[0])
            share.next_at, share.then_at = share.then_at, 0.0
            if note is not None and note.step is DeliveryStep.HANDED:
                channel = owner.state.plan.channel_by_name.get(note.channel, NONE)
                self._unmade[_HandOver(owner, key, channel)] = share
                if channel == share.channel:
                    handed.add(key)
                    continue
                share.holder = None  # another channel's turn has come meanwhile
            elif shares.get(key) is share:
                del shares[key]
        self.settle()  # whoever took it may have left
        return handed

    def made(self, owner: PartitionOwner, key: Key, share: Share) -> None:
        """A gateway is handed it now."""
        self._unmade.pop(_HandOver(owner, key, share.channel), None)

    async def not_made(self, share: Share) -> None:
        """It may not be sent now: where its hand-over was recorded, record that it was kept back."""
        share.holder, share.next_at = None, asyncio.get_running_loop().time() + self._look_every_s
        share.then_at = share.next_at
        if begun := self.settle():
            await asyncio.wait(begun)

    def settle(self) -> "list[asyncio.Task[None]]":
        """Begin to keep back what nobody is going to be handed: its gateway is gone, or it is to be sent no more."""
        to_keep: defaultdict[PartitionOwner, list[_HandOver]] = defaultdict(list)
        for one, share in list(self._unmade.items()):
            owner, key = one.owner, one.key
            if not owner.is_open:
                share.next_at = 0.0
                del self._unmade[one]
            elif one not in self._kept_back_now and (
                share.holder is None
                or self.of(owner.partition).get(key) is not share
                or not owner.state.outbox.holds(key[0])
            ):
                share.holder, share.next_at = None, BOUND
                to_keep[owner].append(one)
        for hand_overs in to_keep.values():
            self._kept_back_now.update(hand_overs)
        return [self._track(self._keep_back(owner, hand_overs)) for owner, hand_overs in to_keep.items()]

    async def _keep_back(self, owner: PartitionOwner, hand_overs: list[_HandOver]) -> None:
        left = {one.key[0]: one for one in hand_overs}

        def of_its_channel(state: PartitionState, action_id: str) -> DeliveryNote | None:
            return kept_back(state, action_id, left[action_id].channel)

        def settled(action_ids: Iterable[str]) -> list[str]:
            return [action_id for action_id in action_ids if of_its_channel(owner.state, action_id) is None]

        try:
            while left:
                await owner.note_deliveries(tuple(left), of_its_channel)
                # Of one whose household was busy in that very group nothing is noted yet.
                for action_id in await self._state_thread.run(Urgency.DECISION, settled, tuple(left)):
                    share = self._unmade.pop(left.pop(action_id), None)
                    if share is not None:
                        share.next_at = share.then_at
        except (NotCurrent, PartitionLost) as passed:
            logger.debug("tried again with the next look, or void with the owner's term: %s", passed)
        finally:
            self._kept_back_now.difference_update(hand_overs)
        self._on_free()

    def _track(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settled(self) -> None:
        """Return once nothing is being recorded any more."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
