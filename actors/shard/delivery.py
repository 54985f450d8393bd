"""The outbox on its way to gateways: every accepted outbound action at least once under one key, until acknowledged,
withdrawn or past its send_before.

Before an action is handed over for the first time on a channel that is recorded, so that no crash forgets a contact
that was made, and all that it was decided upon is looked at once more. Subscribers of one group share what there is:
each action goes to one of them, and to another when that one leaves or says nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from actors.failpoints import Failpoint, reached
from actors.partition import answers, belonging
from actors.partition.owner import PartitionOwner
from actors.shard.shares import Key, Share, Shares
from actors.state_thread import StateThread, Urgency
from hearth.v1 import delivery_pb2
from household.deciding.hand_over import next_step
from household.delivery import DeliveryStep
from household.plan import NONE, Plan
from household.state import PartitionState
from household.tables.outbox import Outbound

OwnersNow = Callable[[], Iterable[PartitionOwner]]
"""The partitions of the shard as they are now: they come and go while a gateway listens."""

TURN_MAX = 64
"""Actions that one gateway takes at once, under one record."""

WAITING_LOOKED_AT = 128
"""Of the actions that something spoke against when they were last looked at, so many are looked at again at a time.

Once a look (`look_every_s`), and at once where one of them may go by now, a claim was answered, or a report gave a
contact back: what another household's decision brings up says nothing about them.
"""

ALL = ""
"""The group of all subscribers of a channel whose playbook lists no groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """An action whose turn has come, as far as the state knows."""

    action_id: str
    group: str
    channel: int
    is_copy: bool
    """The group's own copy of what another settles."""
    is_handed: bool
    """It was handed over on this channel before."""
    is_noted: bool
    """There is nothing to be recorded."""

    @property
    def key(self) -> Key:
        return self.action_id, self.group


class Deliveries:
    """All subscriptions of one shard, and what their groups have. For one event loop."""

    def __init__(
        self, owners: OwnersNow, state_thread: StateThread, *, redeliver_after_s: float, look_every_s: float
    ) -> None:
        self.owners = owners
        self.state_thread = state_thread
        self.redeliver_after_s = redeliver_after_s
        self.look_every_s = look_every_s
        self._subscriptions: dict[Subscription, None] = {}
        """In the order in which they are to be asked next."""
        self.shares = Shares(state_thread, self.look, look_every_s=look_every_s)
        self._waiting: dict[int, dict[str, None]] = {}
        """By partition: actions that something spoke against, looked at longest ago first. For the state thread."""
        self._anew = 0
        """How often what is waiting was to be looked at anew."""

    def subscribe(self, channels: Sequence[str], group: str) -> "Subscription":
        """Let a gateway listen until its subscription is closed."""
        subscription = Subscription(self, channels, group)
        self._subscriptions[subscription] = None
        return subscription

    def leave(self, subscription: "Subscription") -> None:
        """Let others have what a gateway had and did not acknowledge."""
        self._subscriptions.pop(subscription, None)
        self.shares.leave(subscription)
        self.look()

    def ask_last(self, subscription: "Subscription") -> None:
        """It has just taken something: others come before it."""
        if self._subscriptions.pop(subscription, self) is None:
            self._subscriptions[subscription] = None

    def look(self) -> None:
        """Look soon: an outbox, the owners or who listens have changed."""
        for subscription in self._subscriptions:
            subscription.look()

    def look_anew(self) -> None:
        """Look soon, at what is waiting as well: what spoke against it may be gone."""
        self._anew += 1
        self.look()

    def end(self) -> None:
        """End all streams once what is due has been handed over."""
        for subscription in tuple(self._subscriptions):
            subscription.end()

    def listened(self) -> frozenset[str]:
        """Return the names of the channels on which somebody listens."""
        return frozenset(name for one in self._subscriptions for name in one.channels)

    def others(self, subscription: "Subscription", channel: str, group: str) -> int:
        """Return how many share a channel's actions with a gateway."""
        return sum(
            one is not subscription and channel in one.channels and group in (ALL, one.group)
            for one in self._subscriptions
        )

    def due(
        self,
        owner: PartitionOwner,
        subscription: "Subscription",
        had: Mapping[Key, int],
        listened: frozenset[str],
        now: float,
    ) -> list[_Due]:
        """Return what a gateway may take. In the state thread.

        Args:
            owner: of a partition.
            subscription: the gateway's.
            had: what groups have and are not to have again yet, and its channel.
            listened: names of the channels on which somebody listens.
            now: the event loop's time.
        """
        state = owner.state_as_of_now()
        waiting = self._waiting.setdefault(owner.partition, {})
        now_us = state.now_us
        anew = self._anew
        again_at, again_at_us, seen = subscription.again_at.get(owner.partition, (0.0, 0, anew))
        looks_again = now >= again_at or now_us >= again_at_us or seen != anew
        looked_at_again = list(islice(waiting, WAITING_LOOKED_AT)) if looks_again else []
        found: list[_Due] = []
        # Most of what is there is another channel's, held for the morning, or was handed over a moment ago.
        may_be = partial(_may_be_of, state, subscription)
        for action_id, channel in state.outbox.up_to("not_before_us", now_us, "action_id", "channel", where=may_be):
            if action_id in waiting or had.get((action_id, ALL)) == channel:
                continue
            if due := self._look_at(state, state.outbox[action_id], subscription, had, listened, waiting):
                found.append(due)
                if len(found) >= TURN_MAX:
                    break
        new = len(found)
        for action_id in looked_at_again:
            del waiting[action_id]
            if (again := state.outbox.get(action_id)) is not None:
                due = self._look_at(state, again, subscription, had, listened, waiting)
                found += [due] if due is not None else []
        if looks_again and len(found) == new:
            pause_us = round(self.look_every_s * 1e6)
            subscription.again_at[owner.partition] = now + self.look_every_s, now_us + pause_us, anew
        return found

    def _look_at(
        self,
        state: PartitionState,
        outbound: Outbound,
        subscription: "Subscription",
        had: Mapping[Key, int],
        listened: frozenset[str],
        waiting: dict[str, None],
    ) -> _Due | None:
        action_id, channel = outbound.action_id, outbound.channel
        if channel == NONE or not outbound.not_before_us <= state.now_us < outbound.send_before_us:
            return None
        group = subscription.share_of(state, channel)
        if group is not None and had.get((action_id, group)) == channel:
            return None
        if group in outbound.copies:
            assert group is not None
            return _Due(action_id=action_id, group=group, channel=channel, is_copy=True, is_handed=False, is_noted=True)
        # It may be another channel's turn, where a rule passes this one over.
        passes_over = state.rules is not None and state.rules.goes_on and outbound.fallbacks
        if group is None and not outbound.is_fallback and not passes_over:
            return None
        note = next_step(state, action_id, listened)
        if note is None:
            waiting[action_id] = None
            return None
        channel = state.plan.channel_by_name[note.channel]
        group = subscription.share_of(state, channel)
        groups = state.plan.channels[channel].groups
        if group is None or had.get((action_id, group)) == channel or (groups and group != groups[0]):
            return None
        is_handed = bool(outbound.handed_us)
        is_noted = is_handed and note.step is DeliveryStep.HANDED
        return _Due(
            action_id=action_id, group=group, channel=channel, is_copy=False, is_handed=is_handed, is_noted=is_noted
        )


class Subscription:
    """One gateway that listens."""

    def __init__(self, deliveries: Deliveries, channels: Sequence[str], group: str) -> None:
        self.channels = frozenset(channels)
        self.group = group
        self._deliveries = deliveries
        self._state_thread = deliveries.state_thread
        self._changed = asyncio.Event()
        self.again_at: dict[int, tuple[float, int, int]] = {}
        """By partition: from when on what is waiting is looked at once more, by the loop's time or the state's, and how
        often it was to be looked at anew by then.

        For the state thread. Reasons end with the state's time, and where its stream stands still by other events.
        """
        self._is_ended = False

    def look(self) -> None:
        """Look soon."""
        self._changed.set()

    def end(self) -> None:
        """End the stream once what is due has been handed over."""
        self._is_ended = True
        self._changed.set()

    def close(self) -> None:
        """The gateway is gone."""
        self._deliveries.leave(self)

    def share_of(self, state: PartitionState, channel: int) -> str | None:
        """Return the group in whose name this gateway takes a channel's actions; None if it takes none."""
        known = state.plan.channels[channel]
        if known.name not in self.channels:
            return None
        if not known.groups:
            return ALL
        return self.group if self.group in known.groups else None

    async def stream(self) -> AsyncGenerator[delivery_pb2.SubscribeResponse, None]:
        """Yield what is due, as it becomes due, until ended."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            self._changed.clear()
            for owner in list(self._deliveries.owners()):
                for due in await self._take_turn(owner):
                    # A gateway may have taken its time with the one before: each is checked as it is handed over.
                    delivery = await self._ready(owner, due)
                    if delivery is not None:
                        yield delivery
                        reached(Failpoint.HANDED_OVER)
            if self._is_ended:
                return
            # What was due by then and is not to be sent now (quiet hours, no lease, a partition that is another's by
            # now) is looked at with everything else, not again and again.
            pause_s = self._next_at(began) - loop.time()
            try:
                async with asyncio.timeout(min(max(pause_s, 0.01), self._deliveries.look_every_s)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _next_at(self, after: float) -> float:
        waits = [
            at
            for owner in self._deliveries.owners()
            for (_, group), share in self._deliveries.shares.of(owner.partition).items()
            if (at := share.then_at if share.is_bound else share.next_at) > after and group in (ALL, self.group)
        ]
        return min(waits, default=float("inf"))

    async def _take_turn(self, owner: PartitionOwner) -> list[_Due]:
        """Take a fair part of what is due, and return it once it is recorded that it is handed over."""
        if not owner.is_open or not owner.is_current:
            return []
        deliveries, shares = self._deliveries, self._deliveries.shares.of(owner.partition)
        now = asyncio.get_running_loop().time()
        deliveries.shares.forget_gone(owner, now)
        had = {key: share.channel for key, share in shares.items() if share.next_at > now}
        listened, plan = deliveries.listened(), owner.state.plan
        found = await self._state_thread.run(Urgency.INGEST, deliveries.due, owner, self, had, listened, now)
        if owner.state.plan is not plan:
            # Another playbook has come into force meanwhile, which may number its channels otherwise.
            self._changed.set()
            return []
        mine = self._fair_part(plan, shares, found, now)
        if not mine:
            return []
        deliveries.ask_last(self)
        for due in mine:
            share = shares.get(due.key)
            if share is None or share.channel != due.channel:
                # It may have been handed over by an owner before.
                share = shares[due.key] = Share(due.channel, int(due.is_handed), 0.0, None)
            share.holder, share.next_at, share.then_at = self, now + deliveries.redeliver_after_s, 0.0
        new = {due.key: shares[due.key] for due in mine if not due.is_noted}
        noted = await deliveries.shares.note(owner, new, partial(next_step, listened=listened)) if new else set()
        if len(noted) < len(new):
            # Their households were busy in that very group.
            self._changed.set()
        return [due for due in mine if due.is_noted or due.key in noted]

    def _fair_part(self, plan: Plan, shares: dict[Key, Share], found: list[_Due], now: float) -> list[_Due]:
        """Return what is this gateway's of what is due: what nobody has taken meanwhile, divided by who listens."""
        free: list[_Due] = []
        most = 0
        grace_s = self._deliveries.redeliver_after_s / 2
        for due in found:
            others = self._deliveries.others(self, plan.channels[due.channel].name, due.group)
            share = shares.get(due.key)
            if share is not None and share.channel == due.channel:
                is_first_asked = share.holder is not self or not others or now >= share.next_at + grace_s
                if share.next_at > now or not is_first_asked:
                    continue
            free.append(due)
            most = max(most, -(-len(found) // (others + 1)))
        if most < len(free):
            self._changed.set()
        return free[:most]

    async def _ready(self, owner: PartitionOwner, due: _Due) -> delivery_pb2.SubscribeResponse | None:
        """Return the delivery of what was taken, if it may still be sent."""
        deliveries, shares = self._deliveries, self._deliveries.shares
        share = shares.of(owner.partition).get(due.key)
        if share is None or share.holder is not self or share.channel != due.channel:
            return None  # it took so long that another has it by now
        delivery = await self._state_thread.run(Urgency.INGEST, _delivery, owner, due, share.attempts + 1)
        if share.holder is not self:
            return None
        now = asyncio.get_running_loop().time()
        if delivery is not None and owner.is_open and owner.is_current:
            share.attempts, share.next_at = share.attempts + 1, now + deliveries.redeliver_after_s
            shares.made(owner, due.key, share)
            if not due.is_noted:
                reached(Failpoint.HAND_OVER_NOTED)
            return delivery
        await shares.not_made(share)
        return None


def _may_be_of(state: PartitionState, subscription: Subscription, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (n,) whether actions in the outbox go, or may go after another channel, on one that a gateway takes."""
    outbox, channels = state.outbox, range(len(state.plan.channels))
    # One more, for what has none (NONE).
    takes = np.array([*(subscription.share_of(state, one) is not None for one in channels), False])
    may_be = takes[outbox.values("channel", slots)] | (outbox.values("is_fallback", slots) != 0)
    if state.rules is not None and state.rules.goes_on:
        may_be |= outbox.values("fallbacks", slots) != 0
    return np.asarray(may_be, np.bool_)


def _delivery(owner: PartitionOwner, due: _Due, attempt: int) -> delivery_pb2.SubscribeResponse | None:
    """Return the delivery of an action if it may be sent now. In the state thread."""
    state = owner.state_as_of_now()
    outbound = state.outbox.get(due.action_id)
    if outbound is None or outbound.channel != due.channel or not outbound.handed_us:
        return None
    channel = state.plan.channels[due.channel].name
    if due.is_copy:
        may_go = due.group in outbound.copies and state.now_us < outbound.send_before_us
    else:
        note = next_step(state, due.action_id, (channel,))
        may_go = note is not None and note.step is DeliveryStep.HANDED
    return _message(state, outbound, channel, attempt) if may_go else None


def _message(
    state: PartitionState, outbound: Outbound, channel: str, attempt: int
) -> delivery_pb2.SubscribeResponse | None:
    for slate in state.slates.of(outbound.household):
        for action in slate.decision.slate:
            if action.action_id == outbound.action_id:
                household, member = belonging.reached(state, outbound.household, outbound.member)
                return delivery_pb2.SubscribeResponse(
                    household=household,
                    member=member,
                    action=answers.action_message(state, action, outbound.channel, slate.decision),
                    decision_id=outbound.decision_id,
                    send_before=answers.timestamp(outbound.send_before_us),
                    attempt=attempt,
                    channel=channel,
                )
    return None
