"""The outbox on its way to gateways: every accepted outbound action at least once under one key, until acknowledged,
withdrawn or past its send_before. What is handed out is checked against consent and quiet hours once more.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from actors import answers
from actors.partition import PartitionOwner
from actors.state_thread import StateThread, Urgency
from hearth.v1 import delivery_pb2
from household.decide import has_consent, is_live, is_quiet
from household.state import Outbound, PartitionState


@dataclass(slots=True)
class _HandOver:
    attempts: int
    next_at: float
    """Loop time of the next hand-over."""


class Deliveries:
    """What one subscriber has been handed, for one partition."""

    def __init__(
        self, owner: PartitionOwner, state_thread: StateThread, channels: Sequence[str], *, redeliver_after_s: float
    ) -> None:
        self._owner = owner
        self._state_thread = state_thread
        self._channels = frozenset(channels)
        self._redeliver_after_s = redeliver_after_s
        self._handed: dict[str, _HandOver] = {}

    async def stream(self) -> AsyncIterator[delivery_pb2.SubscribeResponse]:
        """Yield what is due, as it becomes due, until the partition is lost."""
        while not self._owner.is_lost:
            self._owner.outbox_changed.clear()
            for delivery in await self._state_thread.run(Urgency.INGEST, self._due, asyncio.get_running_loop().time()):
                yield delivery
            waits = [one.next_at for one in self._handed.values()]
            pause_s = min(waits, default=float("inf")) - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._owner.outbox_changed.wait(), min(max(pause_s, 0.01), 1.0))
            except TimeoutError:
                continue

    def _due(self, now: float) -> list[delivery_pb2.SubscribeResponse]:
        state = self._owner.state
        for action_id in [key for key in self._handed if key not in state.outbox]:
            del self._handed[action_id]
        due = []
        for outbound in state.outbox.values():
            handed = self._handed.get(outbound.action_id)
            if handed is not None and handed.next_at > now:
                continue
            if not self._may_hand_over(state, outbound):
                continue
            attempts = handed.attempts + 1 if handed is not None else 1
            delivery = _delivery(state, outbound, attempts)
            if delivery is not None:
                self._handed[outbound.action_id] = _HandOver(attempts, now + self._redeliver_after_s)
                due.append(delivery)
        return due

    def _may_hand_over(self, state: PartitionState, outbound: Outbound) -> bool:
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
    ledger = state.ledger(outbound.household)
    for slate in ledger.slates.values():
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
