"""What gateways and channels report of actions, folded, with the reason where it changed nothing."""

from collections.abc import Sequence

import numpy as np

from actors.partition.caller import Caller
from actors.partition.owner import PartitionOwner
from actors.partition.requests import Requests
from actors.records.payload import PayloadUnreadable
from actors.shard import queries
from actors.shard.refusals import unknown_channel, unknown_group
from actors.state_thread import StateThread, Urgency
from hearth.internal.v1 import shard_pb2
from hearth.v1 import decision_pb2, delivery_pb2
from household.events import Status
from household.plan import NONE, Channel, Plan
from household.relocation.whereabouts import LiesElsewhere, place_of
from household.state import PartitionState


class Reports:
    """The reports and acknowledgements of one partition's households."""

    def __init__(self, owner: PartitionOwner, requests: Requests, state_thread: StateThread) -> None:
        self._owner = owner
        self._requests = requests
        self._state_thread = state_thread

    async def report(self, call: shard_pb2.ReportCall, caller: Caller) -> decision_pb2.ReportResponse:
        """Answer a Report.

        Raises:
            CallFailed, RequestIdReused, LiesElsewhere, and what PartitionOwner.signals raises.
        """
        status, why_not = await self._outcome(call, caller)
        action = decision_pb2.ACTION_STATUS_UNSPECIFIED
        if why_not != queries.OF_ANOTHER:
            action = await queries.status_of(self._owner, self._state_thread, call.action_id)
        return decision_pb2.ReportResponse(
            status=action, repeated_request=status == Status.DUPLICATE, effective=not why_not, reason=why_not
        )

    async def ack(self, call: shard_pb2.ReportCall, caller: Caller) -> delivery_pb2.AckResponse:
        """Answer an Ack; raises as `report` does."""
        await self._state_thread.run(Urgency.DECISION, self._check_group_of, call)
        _, why_not = await self._outcome(call, caller)
        return delivery_pb2.AckResponse(effective=not why_not, reason=why_not)

    def _check_group_of(self, call: shard_pb2.ReportCall) -> None:
        """Check the group that acknowledges an action. In the state thread."""
        state = self._owner.state
        outbound = state.outbox.get(call.action_id)
        about = state.plan.channel_by_name.get(call.channel, outbound.channel if outbound is not None else NONE)
        if outbound is not None and about != NONE:
            _check_group(state.plan.channels[about], call.group)

    async def _outcome(self, call: shard_pb2.ReportCall, caller: Caller) -> tuple[Status, str]:
        """Fold a report; return what became of its signal, and why it changed nothing: empty if it did."""
        channels = self._owner.state.plan.channel_by_name
        if call.HasField("channel") and call.channel not in channels:
            raise unknown_channel(call.channel, channels)
        asked = self._requests.hold(
            call.household.encode(),
            call.request_id,
            call.request_hash,
            is_decide=False,
            identifier=call.identifier,
        )
        async with asked as held:

            def check(state: PartitionState) -> None:
                held.check(state)
                _check_holder(state, call)

            try:
                folded = await self._owner.signals(call.signal_batch, caller=caller, is_urgent=True, before=check)
            except _MeansAnother:
                return Status.BAD_KEY, queries.OF_ANOTHER
        if folded.batch.count != 1:
            raise PayloadUnreadable(f"a report is one signal, not {folded.batch.count}")
        status = Status(int(folded.applied.statuses[0]))
        if status == Status.MOVED:
            raise LiesElsewhere(await self._state_thread.run(Urgency.DECISION, self._place_of, call))
        if status == Status.DUPLICATE:
            return status, "ALREADY_REPORTED"
        if status != Status.APPLIED:
            return status, status.name
        if np.any(folded.applied.effects):
            return status, ""
        time_us = int(folded.batch.times_us[0])
        return status, await queries.why_not_effective(self._owner, self._state_thread, call, time_us)

    def _place_of(self, call: shard_pb2.ReportCall) -> int:
        return place_of(self._owner.state, (call.identifier or call.household).encode())


def _check_holder(state: PartitionState, call: shard_pb2.ReportCall) -> None:
    """Refuse a report that names an orphan's household, called as its identifier, which means somebody else by now.

    The fold would take it for one of whoever was there before.
    """
    if not state.graph or not call.household:
        return
    named = call.household.encode()
    key, _ = state.graph.whom(named, b"", "", state.now_us)
    action = state.actions.get(call.action_id)
    if key == named or action is None or state.households.find(named) < 0:
        return
    if state.households.find(key) not in state.rows_together(action.household):
        raise _MeansAnother


class _MeansAnother(Exception):
    """Nothing was folded: the action is not theirs whom the report names."""


def check_subscription(plan: Plan, channels: Sequence[str], group: str) -> None:
    """Raise unless a playbook has these channels, and lets a group listen on each.

    Raises:
        CallFailed
    """
    for index, channel in enumerate(channels):
        if channel not in plan.channel_by_name:
            raise unknown_channel(channel, plan.channel_by_name, field=f"channels[{index}]")
        _check_group(plan.channels[plan.channel_by_name[channel]], group)


def _check_group(channel: Channel, group: str) -> None:
    if channel.groups and group not in channel.groups:
        raise unknown_group(group, channel.name, channel.groups)
