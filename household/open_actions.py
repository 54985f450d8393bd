"""Moments and actions that are open: how a moment comes up, and how an action is taken back.

Called in log order by what folds decisions, reports and journeys.
"""

from dataclasses import replace

from household.decision import Moment
from household.state import PartitionState
from household.tables.actions import ActionStatus, LiveAction
from household.tables.contacts import forget_place


def moment_arose(state: PartitionState, household: int, moment: Moment) -> None:
    """A trigger became true: its moment is pending until a decision that names it folds."""
    state.pending.put(moment, owner=household)
    state.counters.moments += 1


def set_status(
    state: PartitionState, action: LiveAction, status: ActionStatus, settled_us: int, *, why: str = ""
) -> None:
    """Say what has become of an action."""
    state.actions.put(replace(action, status=status, settled_us=settled_us, why=why))
    state.inventory.settled(action, status)


def withdraw_outbound(state: PartitionState, household: int, action_id: str) -> None:
    """Take an action off its way to a gateway, unless it was delivered; a place that it holds is given back."""
    outbound = state.outbox.get(action_id)
    if outbound is None or outbound.is_delivered:
        return
    state.outbox.remove(action_id)
    state.scarcity.release(state, action_id)
    state.counters.withdrawn += 1
    forget_place(state.contacts, household, action_id)


def withdraw_action(state: PartitionState, household: int, action_id: str, reason: str) -> None:
    """Take back an action that no longer holds, wherever it stands."""
    action = state.actions.get(action_id)
    if action is not None and action.status is ActionStatus.LIVE:
        set_status(state, action, ActionStatus.WITHDRAWN, state.now_us, why=reason)
    withdraw_outbound(state, household, action_id)
