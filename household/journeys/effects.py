"""What moves instances of journeys, as apply meets it: what became of acts, and time; and what comes of that."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from household.deciding.reasons import Reason
from household.decision import Decision, Moment
from household.journeys.at_once import at_once
from household.journeys.consequences import Consequence, ConsequenceKind
from household.journeys.course import ActOutcome, outcome_key
from household.journeys.lanes import lane_member, moved_on, settled
from household.journeys.repeats import put_on_its_way
from household.open_actions import moment_arose, withdraw_action, withdraw_outbound
from household.plan import NONE
from household.state import PartitionState
from household.tables.actions import ActionStatus
from household.tables.acts import ActOfInstance, ActStatus
from household.tables.heard import Heard
from household.tables.instances import Ending, Instance
from household.tables.table import Table

# --- what comes of it -------------------------------------------------------------------------------------------------


def carried_out(state: PartitionState, effects: Iterable[Consequence]) -> list[tuple[int, Moment]]:
    """Carry out effects; return the moments that arose."""
    arose = []
    for effect in effects:
        match effect.kind:
            case ConsequenceKind.ARISES:
                assert effect.moment is not None
                moment_arose(state, effect.owner, effect.moment)
                state.arisen[effect.owner] = None
                arose.append((effect.owner, effect.moment))
            case ConsequenceKind.TAKEN_BACK:
                assert effect.act is not None
                _take_back(state, effect.owner, effect.act)
            case ConsequenceKind.SAID_AGAIN:
                assert effect.act is not None
                _say_again(state, effect.owner, effect.act, effect.until_us)
    return arose


def _take_back(state: PartitionState, household: int, act: ActOfInstance) -> None:
    if act.status is ActStatus.PENDING:
        moment_id = act.moment_id
        state.pending.rewrite(household, lambda one: None if one.moment_id == moment_id else one)
        return
    action = state.actions.get(act.action_id)
    if action is not None and not action.handed_us:
        withdraw_action(state, action.household, act.action_id, Reason.JOURNEY_OVER)
    elif action is not None and (outbound := state.outbox.get(act.action_id)) and not outbound.handed_us:
        # It was to be said once more, or on another channel: where it has been said it stays, and goes nowhere else.
        withdraw_outbound(state, action.household, act.action_id)


def _say_again(state: PartitionState, row: int, act: ActOfInstance, until_us: int) -> None:
    """Let what was said go out once more; the instance waits for that, or goes on where it cannot be."""
    action_id = put_on_its_way(state, row, act, until_us)
    status, outcome = ActStatus.DECIDED, ActOutcome.HELD
    if not action_id:
        status, outcome = ActStatus.SILENT, ActOutcome.NOTHING
    state.acts.put(replace(act, status=status, action_id=action_id), owner=row)
    _told(state, row, act, outcome, state.now_us)


# --- what became of acts ----------------------------------------------------------------------------------------------

_POLICY = frozenset({Reason.CONTACT_CAP, Reason.QUIET_HOURS, Reason.OBJECTION})
_RULE = "RULE:"


def decided(state: PartitionState, household: int, decision: Decision) -> None:
    """Let instances know what was decided for their moments; the decision has been folded."""
    for moment in decision.moments:
        for row in state.rows_together(household):
            act = state.acts.get(row, moment.moment_id)
            if act is not None and act.status is ActStatus.PENDING:
                _decided_act(state, row, act, decision)
    overtaken(state, household, state.now_us)


def _decided_act(state: PartitionState, row: int, act: ActOfInstance, decision: Decision) -> None:
    own = [one for one in decision.slate if one.journey == act.journey]
    outcome, action_id = _outcome(state, act, decision, is_first=bool(own) and own[0] is decision.slate[0]), ""
    if own and outcome in (ActOutcome.DECIDED, ActOutcome.HELD, ActOutcome.SAID):
        action_id = own[0].action_id
    status = {
        ActOutcome.SAID: ActStatus.SAID,
        ActOutcome.DECIDED: ActStatus.DECIDED,
        ActOutcome.HELD: ActStatus.DECIDED,
    }
    keep_until_us = act.keep_until_us
    if own:
        keep_until_us = max(keep_until_us, own[0].valid_until_us + 1)
    known = replace(
        act,
        status=status.get(outcome, ActStatus.SILENT),
        action_id=action_id,
        keep_until_us=keep_until_us,
        was_said=outcome is ActOutcome.SAID,
    )
    state.acts.put(known, owner=row)
    _told(state, row, known, outcome, state.now_us)


def _outcome(state: PartitionState, act: ActOfInstance, decision: Decision, *, is_first: bool) -> ActOutcome:
    """Return what a decision makes of an act.

    Args:
        state: read only.
        act: one of its moments'.
        decision: that settles it.
        is_first: whether what it would say comes first on the slate.
    """
    own = [one for one in decision.slate if one.journey == act.journey]
    if decision.withheld and own:
        return ActOutcome.WITHHELD
    if own and is_first and decision.send_channel:
        return ActOutcome.HELD if decision.send_not_before_us else ActOutcome.DECIDED
    index = state.plan.journey_by_name.get(act.journey, NONE)
    speaks = index != NONE and bool(state.plan.journeys[index].outbound) and not decision.channel
    if own and not speaks:
        return ActOutcome.SAID
    if any(one.journey == act.journey for one in decision.ghosts):
        return ActOutcome.WITHHELD
    if Reason.STALE_SIGNAL in decision.reasons and not own:
        return ActOutcome.STALE
    if Reason.NO_CONSENT in decision.reasons:
        return ActOutcome.NO_CONSENT
    if not _POLICY.isdisjoint(decision.reasons) or any(one.startswith(_RULE) for one in decision.reasons):
        return ActOutcome.BLOCKED
    return ActOutcome.SAID if own else ActOutcome.NOTHING


def handed(state: PartitionState, household: int, action_id: str) -> None:
    """Let an instance know that what it says was handed over."""
    _of_action(state, household, action_id, ActOutcome.SAID, state.now_us, status=ActStatus.SAID)


def taken_back(state: PartitionState, household: int, action_id: str, reason: str) -> None:
    """Let an instance know that what it was to say no longer holds."""
    outcome = ActOutcome.NOTHING
    if reason == Reason.NO_CONSENT:
        outcome = ActOutcome.NO_CONSENT
    elif reason in _POLICY or reason.startswith(_RULE):
        outcome = ActOutcome.BLOCKED
    _of_action(state, household, action_id, outcome, state.now_us, status=ActStatus.SILENT)


def reported(state: PartitionState, household: int, action_id: str, outcome: str, time_us: int) -> None:
    """Let instances know what a gateway's report, which has been folded, made of what they say."""
    if outcome == "undelivered" and action_id not in state.outbox:
        # On no channel: there is none left to try.
        _of_action(state, household, action_id, ActOutcome.FAILED, time_us, status=ActStatus.SILENT, was_said=True)
    overtaken(state, household, time_us)


def overtaken(state: PartitionState, household: int, time_us: int) -> None:
    """Let instances know of what was on its way and is so no more, though it was not handed over."""
    for row in state.rows_together(household):
        for act in state.acts.of(row):
            if act.status is not ActStatus.DECIDED or act.action_id in state.outbox:
                continue
            action = state.actions.get(act.action_id)
            is_answered = action is not None and action.status in (ActionStatus.ACCEPTED, ActionStatus.DECLINED)
            outcome, status = (
                (ActOutcome.SAID, ActStatus.SAID) if is_answered else (ActOutcome.NOTHING, ActStatus.SILENT)
            )
            _mark(state, row, act, status)
            _told(state, row, act, outcome, time_us)


def _of_action(
    state: PartitionState,
    household: int,
    action_id: str,
    outcome: ActOutcome,
    time_us: int,
    *,
    status: ActStatus,
    was_said: bool = False,
) -> None:
    for row in state.rows_together(household):
        # The newest first: what was said may have been said again since.
        for act in reversed(state.acts.of(row)):
            is_open = act.status is ActStatus.DECIDED or (was_said and act.status is ActStatus.SAID)
            if act.action_id == action_id and is_open:
                _mark(state, row, act, status)
                _told(state, row, act, outcome, time_us)
                return


def _mark(state: PartitionState, row: int, act: ActOfInstance, status: ActStatus) -> None:
    was_said = act.was_said or status is ActStatus.SAID
    state.acts.put(replace(act, status=status, was_said=was_said), owner=row)


def _told(state: PartitionState, row: int, act: ActOfInstance, outcome: ActOutcome, time_us: int) -> None:
    """Keep what became of an act, and let its instance move."""
    assert state.courses is not None
    course, key = state.courses.by_name.get(act.journey), outcome_key(act.journey, act.step, outcome)
    # What says nothing by now is told of nothing, whatever else has its name.
    if course is None or key not in course.told:
        return
    state.heard.put(
        Heard(
            listener=key,
            time_us=time_us,
            member=act.member,
            correlation=0,
            about=act.number,
            visit=act.visit,
            event=state.number(state.counters.received),
            keep_until_us=max(time_us + state.plan.clock.lateness_us + 1, act.keep_until_us),
        ),
        owner=row,
    )
    carried_out(state, moved_on(state, course, row, act.member, since_us=time_us))


# --- time -------------------------------------------------------------------------------------------------------------


def time_came(state: PartitionState, table: Table[Instance], slots: NDArray[np.int64]) -> None:
    """Move the instances in these slots, of the table of instances, whose time has come; forget those that ended."""
    ended, moved = [], dict[tuple[int, str, int], None]()
    many = at_once(state)
    if many is not None:
        slots, over = many.pass_time(state, slots)
        table.forget(over)
    for slot in slots.tolist():
        one = table.row(slot)
        if one.ending is Ending.LIVE:
            moved[(table.owner(slot), one.journey, one.member)] = None
        else:
            ended.append(slot)
    table.forget(np.array(ended, np.int64))
    for owner, journey, member in moved:
        course = state.courses.by_name.get(journey) if state.courses is not None else None
        if course is not None:
            carried_out(state, moved_on(state, course, owner, member, since_us=None))
            # Some may have ended so long ago that they are forgotten at once.
            for one in state.instances.of(owner):
                if one.journey == journey and one.ending is not Ending.LIVE and one.due_us <= state.now_us:
                    state.instances.remove(owner, one.journey, one.member, one.number)


def settle_heard(state: PartitionState, slots: NDArray[np.int64]) -> None:
    """Forget what was heard so long ago that nothing before it can be learned any more; what it led to stays."""
    table, lanes = state.heard, dict[tuple[int, str, int], None]()
    horizon_us = state.now_us - state.plan.clock.lateness_us
    many = at_once(state)
    left = slots if many is None else many.settle(state, slots, horizon_us=horizon_us)
    for slot in left.tolist():
        one, owner = table.row(slot), table.owner(slot)
        course = state.courses.of_key(one.listener) if state.courses is not None else None
        if course is None:
            continue
        lanes[(owner, course.name, lane_member(course, one.member))] = None
    for owner, journey, member in lanes:
        assert state.courses is not None
        course = state.courses.by_name[journey]
        # What has been due since the tick before may still look back at what is about to be forgotten.
        carried_out(state, moved_on(state, course, owner, member, since_us=None))
        settled(state, course, owner, member, horizon_us=horizon_us)
    table.forget(slots)
