"""The outbox on its way to gateways: every accepted outbound action at least once under one key, until acknowledged,
withdrawn or past its send_before. What is handed out is checked against consent and quiet hours once more.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass

from actors import answers
from actors.failpoints import Failpoint, reached
from actors.partition import PartitionOwner
from actors.state_thread import StateThread, Urgency
from hearth.v1 import delivery_pb2
from household.decide import has_consent, is_live, is_quiet
from household.state import Outbound, PartitionState

Owners = Callable[[], Iterable[PartitionOwner]]
"""The partitions of the shard as they are now: they come and go while a gateway listens."""


@dataclass(slots=True)
class _HandOver:
    attempts: int
    next_at: float
    """Loop time of the next hand-over."""


class Subscription:
    """One gateway that listens, and what it has been handed."""

    def __init__(
        self,
        channels: Sequence[str],
        owners: Owners,
        state_thread: StateThread,
        *,
        redeliver_after_s: float,
        look_every_s: float,
    ) -> None:
        self._channels = frozenset(channels)
        self._owners = owners
        self._state_thread = state_thread
        self._redeliver_after_s = redeliver_after_s
        self._look_every_s = look_every_s
        self._handed: dict[int, dict[str, _HandOver]] = {}
        """By partition, by action id."""
        self._changed = asyncio.Event()
        self._is_ended = False

    def look(self) -> None:
        """Look soon: an outbox or the owners have changed."""
        self._changed.set()

    def end(self) -> None:
        """End the stream once what is due has been handed over."""
        self._is_ended = True
        self._changed.set()

    async def stream(self) -> AsyncGenerator[delivery_pb2.SubscribeResponse, None]:
        """Yield what is due, as it becomes due, until ended."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            self._changed.clear()
            owners = [owner for owner in self._owners() if owner.is_open]
            for owner in owners:
                for action_id in await self._state_thread.run(Urgency.INGEST, self._due, owner, loop.time()):
                    # A gateway may have taken its time with the one before: each is checked as it is handed over.
                    delivery = await self._state_thread.run(Urgency.INGEST, self._hand_over, owner, action_id)
                    if delivery is not None and owner.is_open and owner.is_current:
                        self._note(owner.partition, action_id, delivery.attempt)
                        yield delivery
                        reached(Failpoint.HANDED_OVER)
            if self._is_ended:
                return
            # What was due by then and is not to be sent now (quiet hours, no lease, a partition that is another's by
            # now) is looked at with everything else, not again and again.
            waits = [one.next_at for handed in self._handed.values() for one in handed.values() if one.next_at > began]
            pause_s = min(waits, default=float("inf")) - loop.time()
            try:
                async with asyncio.timeout(min(max(pause_s, 0.01), self._look_every_s)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _note(self, partition: int, action_id: str, attempts: int) -> None:
        next_at = asyncio.get_running_loop().time() + self._redeliver_after_s
        self._handed.setdefault(partition, {})[action_id] = _HandOver(attempts, next_at)

    def _due(self, owner: PartitionOwner, now: float) -> list[str]:
        outbox = owner.state.outbox
        handed = {key: one for key, one in self._handed.get(owner.partition, {}).items() if key in outbox}
        self._handed[owner.partition] = handed
        return [action_id for action_id in outbox if action_id not in handed or handed[action_id].next_at <= now]

    def _hand_over(self, owner: PartitionOwner, action_id: str) -> delivery_pb2.SubscribeResponse | None:
        """Return the delivery of an action if it may be sent now."""
        state = owner.state_as_of_now()
        outbound = state.outbox.get(action_id)
        if outbound is None or not self._may_be_sent(state, outbound):
            return None
        handed = self._handed.get(owner.partition, {}).get(action_id)
        return _delivery(state, outbound, handed.attempts + 1 if handed is not None else 1)

    def _may_be_sent(self, state: PartitionState, outbound: Outbound) -> bool:
        channel = state.plan.channels[outbound.channel] if outbound.channel >= 0 else None
        return (
            channel is not None
            and channel.name in self._channels
            and state.now_us < outbound.send_before_us
            and is_live(state, outbound.action_id)
            and has_consent(state, outbound.channel, outbound.household, outbound.member)
            and not (channel.quiet_hours and is_quiet(state.plan, state.now_us))
        )


def _delivery(state: PartitionState, outbound: Outbound, attempt: int) -> delivery_pb2.SubscribeResponse | None:
    ledger = state.ledgers.get(outbound.household)
    for slate in ledger.slates.values() if ledger is not None else ():
        for action in slate.decision.slate:
            if action.action_id == outbound.action_id:
                return delivery_pb2.SubscribeResponse(
                    household=state.households.key(outbound.household).decode(errors="backslashreplace"),
                    member=answers.member_name(state, outbound.member),
                    action=answers.action_message(state, action, outbound.channel),
                    decision_id=outbound.decision_id,
                    send_before=answers.timestamp(outbound.send_before_us),
                    attempt=attempt,
                )
    return None
