"""From state and decisions to the public messages."""

import asyncio
from collections.abc import Sequence

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from actors.partition import belonging
from actors.partition.group import Folded
from actors.records import codec
from actors.records.signals import read_again
from actors.rejects.reasons import why_rejected
from hearth.v1 import decision_pb2, household_pb2, signal_pb2
from household.columns.kinds.table import KINDS
from household.deciding.sending import carries
from household.deciding.standing import why_not
from household.decision import Decision, SlateAction
from household.events import EventBatch, Status, are_rejections
from household.graph.persons import members_of, name_of, name_of_row
from household.money import major_text
from household.plan import NONE, EventField, Feature, Field, FieldKind, Offer, Plan
from household.scoring import Way
from household.state import NO_MEMBER, PartitionState
from household.tables.actions import ActionStatus
from household.tables.arms import Assignment
from household.tables.instances import Ending, Instance
from household.terms import Terms
from wire.batches import REJECTION_COUNT_MAX, UNKNOWN_FIELD_COUNT_MAX

_UNBOUNDED = EventField(field=0)
"""A use of a field without bounds."""

_STATUS = {
    ActionStatus.LIVE: decision_pb2.ACTION_STATUS_LIVE,
    ActionStatus.ACCEPTED: decision_pb2.ACTION_STATUS_ACCEPTED,
    ActionStatus.DECLINED: decision_pb2.ACTION_STATUS_DECLINED,
    ActionStatus.EXPIRED: decision_pb2.ACTION_STATUS_EXPIRED,
    ActionStatus.WITHDRAWN: decision_pb2.ACTION_STATUS_WITHDRAWN,
}

_SCORED_BY = {
    Way.SERVE.value: decision_pb2.SCORED_BY_SERVE,
    Way.SHARD.value: decision_pb2.SCORED_BY_SHARD,
    Way.PRIOR.value: decision_pb2.SCORED_BY_PRIOR,
}


def timestamp(time_us: int) -> Timestamp:
    """Return an event time as a protobuf timestamp; the start of 1970 for none."""
    return Timestamp(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 * 1_000) if time_us > 0 else Timestamp()


def signal_counts(statuses: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> signal_pb2.SignalCounts:
    """Return what became of a batch."""
    by_status = np.bincount(statuses, minlength=len(Status))
    return signal_pb2.SignalCounts(
        received=len(statuses) - int(by_status[Status.MOVED]),  # it counts where it lies
        applied=int(by_status[Status.APPLIED] + by_status[Status.WAITING]),
        duplicate=int(by_status[Status.DUPLICATE]),
        late=int(by_status[Status.LATE]),
        rejected=int(are_rejections(statuses).sum()),
    )


async def rejections(folded: Folded, payload: bytes) -> list[signal_pb2.Rejection]:
    """Return the first rejected events of a batch, with their reasons; `payload` is the batch's."""
    rows = np.flatnonzero(are_rejections(folded.applied.statuses))[:REJECTION_COUNT_MAX].tolist()
    # The batch is decoded once more, for which the event loop has no time.
    return await asyncio.to_thread(_rejections, folded, payload, rows) if rows else []


def _rejections(folded: Folded, payload: bytes, rows: list[int]) -> list[signal_pb2.Rejection]:
    batch = read_again(payload)
    found = []
    for row in rows:
        status = Status(int(folded.applied.statuses[row]))
        why = why_rejected(status, batch, row, folded.plan, stamp_us=folded.stamp_us)
        event_id = folded.batch.ids[row].decode(errors="backslashreplace")
        found.append(
            signal_pb2.Rejection(
                index=row, event_id=event_id, reason=status.name, field=why.field, detail=_plain(why.detail)
            )
        )
    return found


def _plain(text: str) -> str:
    """Return a text that a message can carry, whatever it quotes."""
    return text.encode(errors="backslashreplace").decode()


def unknown_fields(batch: EventBatch) -> list[signal_pb2.UnknownField]:
    """Return the fields of a batch that the playbook does not know."""
    found = sorted(batch.unknown_fields)[:UNKNOWN_FIELD_COUNT_MAX]
    return [signal_pb2.UnknownField(name=name, signals=count) for name, count in found]


def description(plan: Plan) -> signal_pb2.DescribeResponse:
    """Return what a playbook takes."""
    return signal_pb2.DescribeResponse(
        playbook_version=plan.version,
        types=[
            signal_pb2.EventTypeDescription(
                name=event_type.name,
                source=event_type.source,
                fields=[_field_description(plan.fields[use.field], use) for use in event_type.fields],
            )
            for event_type in plan.event_types
        ],
    )


def _field_description(field: Field, use: EventField) -> signal_pb2.FieldDescription:
    found = signal_pb2.FieldDescription(
        name=field.name, kind=field.kind.value, required=use.required, values=field.values
    )
    if field.kind is FieldKind.NUMBER and use.least > _UNBOUNDED.least:
        found.least = use.least
    if field.kind is FieldKind.NUMBER and use.most < _UNBOUNDED.most:
        found.most = use.most
    return found


def action_status(state: PartitionState, action_id: str) -> decision_pb2.ActionStatus:
    """Return what has become of an action, as of now; EXPIRED once it is forgotten."""
    return _status_and_why(state, action_id)[0]


def _status_and_why(
    state: PartitionState, action_id: str, *, is_just_made: bool = False
) -> tuple[decision_pb2.ActionStatus, str]:
    """Return what has become of an action, and why it was taken back, if it was because something no longer held."""
    action = state.actions.get(action_id)
    if action is None:
        return decision_pb2.ACTION_STATUS_EXPIRED, ""
    if action.status is ActionStatus.LIVE and state.now_us >= action.valid_until_us:
        return decision_pb2.ACTION_STATUS_EXPIRED, action.why
    if not is_just_made and (why := why_not(state, action_id)):
        return decision_pb2.ACTION_STATUS_WITHDRAWN, why
    return _STATUS[action.status], action.why


def action_message(
    state: PartitionState,
    action: SlateAction,
    channel: int,
    made: Decision,
    *,
    plan: Plan | None = None,
    is_just_made: bool = False,
) -> decision_pb2.Action:
    """Return an action as a channel renders it; without treatment where the channel cannot carry it.

    Args:
        state: as of now.
        action: of a decision.
        channel: index of the one that shows it.
        made: the decision whose slate it is of.
        plan: whose words it is told in; the one in force if none is given.
        is_just_made: by a decision whose group has just been folded, for which all was looked at.
    """
    status, why = _status_and_why(state, action.action_id, is_just_made=is_just_made)
    message = _action(action, plan or state.plan, channel, status, told_member(state, made))
    message.withdrawn_because = why
    return message


def _action(
    action: SlateAction, plan: Plan | None, channel: int, status: decision_pb2.ActionStatus, member: str
) -> decision_pb2.Action:
    """Return an action under a plan; with no more than its record says where there is none."""
    message = decision_pb2.Action(
        action_id=action.action_id,
        offer=action.offer,
        price_minor=action.price_minor,
        valid_until=timestamp(action.valid_until_us),
        status=status,
        journey=action.journey,
        member=member if action.is_personal else "",
    )
    if plan is None:
        return message
    message.currency = plan.currency
    index = plan.offer_by_name.get(action.offer, NONE)
    if index != NONE:
        offer = plan.offers[index]
        message.kind, message.family = offer.kind, offer.family
        _render(plan, offer, action, channel, message.treatment)
    return message


def _render(plan: Plan, offer: Offer, action: SlateAction, channel: int, told: decision_pb2.Treatment) -> None:
    for treatment in offer.treatments:
        if treatment.channel == channel:
            price = major_text(action.price_minor, plan.currency)
            told.name = treatment.name
            told.channel = plan.channels[channel].name
            told.text = treatment.text.replace("{price}", price).replace("{currency}", plan.currency)
            for name, value in treatment.parameters:
                told.parameters[name] = value
            return


def find_action(decision: Decision, standing: Decision | None) -> tuple[SlateAction, Decision] | None:
    """Return the action that a decision answered with, and the decision that it is of: itself, or whose slate stood."""
    for one in (decision, standing):
        for action in one.slate if one is not None else ():
            if one is not None and action.action_id == decision.answered:
                return action, one
    return None


def decide_response(
    state: PartitionState,
    decision: Decision,
    answered: tuple[SlateAction, Decision] | None,
    *,
    plan: Plan,
    repeated: bool,
    is_just_made: bool = False,
) -> decision_pb2.DecideResponse:
    """Return the answer to a Decide; `plan` is the one it was decided under, `is_just_made` as of `action_message`."""
    response = decision_pb2.DecideResponse(
        decision_id=decision.decision_id,
        reasons=decision.reasons,
        degraded=decision.is_degraded,
        scored_by=_SCORED_BY.get(decision.scored_by),
        playbook_version=decision.plan_version,
        model_version=decision.model_version,
        decided_at=timestamp(decision.decided_us),
        repeated_request=repeated,
        arms={one.experiment: one.arm for one in decision.arms},
        term_versions={one.term: one.model_version for one in decision.term_scores},
    )
    if answered is not None:
        channel = plan.channel_by_name.get(decision.channel, NONE)
        action, made = answered
        told = action_message(state, action, channel, made, plan=plan, is_just_made=is_just_made)
        response.action.CopyFrom(told)
    return response


def feature_values(plan: Plan, readings: Sequence[float], only: Sequence[int]) -> list[household_pb2.FeatureValue]:
    """Return features by name, those of `only`, for people."""
    return [_feature_value(plan.features[index], reading) for index, reading in zip(only, readings, strict=True)]


def _feature_value(feature: Feature, reading: float) -> household_pb2.FeatureValue:
    value = household_pb2.FeatureValue(name=feature.name, unit=feature.unit)
    if np.isnan(reading):
        return value
    if KINDS[feature.kind].reads_never and reading >= codec.NEVER_RECORDED:
        value.value, value.label = np.inf, "never"
        return value
    value.value = float(reading)
    if feature.values and 0 <= reading < len(feature.values):
        value.label = feature.values[int(reading)]
    return value


def household_message(state: PartitionState, household: int, partition: int) -> household_pb2.GetResponse:
    """Return all that is known of a household now."""
    plan = state.plan
    of_household = [i for i, feature in enumerate(plan.features) if feature.scope == "household"]
    of_member = [i for i, feature in enumerate(plan.features) if feature.scope == "member"]
    own = state.readings(household, NO_MEMBER, state.now_us)
    response = household_pb2.GetResponse(
        known=True,
        partition=partition,
        as_of=timestamp(state.now_us),
        features=feature_values(plan, own[of_household].tolist(), of_household),
    )
    for product in plan.products:
        if lines := int(own[product.feature]):
            response.products.add(product=product.name, families=product.families, lines=lines)
    for name, row, member in members_of(state, household):
        readings = state.readings(row, member, state.now_us)
        response.members.add(
            member=name,
            features=feature_values(plan, readings[of_member].tolist(), of_member),
        )
    for moment in state.together(state.pending, household):
        response.pending.add(
            moment_id=moment.moment_id,
            journey=moment.journey,
            member=name_of_row(state, moment.member),
            event_id=moment.event_id.decode(errors="backslashreplace"),
            time=timestamp(moment.time_us),
        )
    for slate in state.together(state.slates, household):
        for action in slate.decision.slate:
            if action_status(state, action.action_id) == decision_pb2.ACTION_STATUS_LIVE:
                channel = _any_channel(plan, action)
                response.live_actions.append(action_message(state, action, channel, slate.decision))
    response.assignments.extend(map(assignment_message, state.together(state.arms, household)))
    response.instances.extend(instance_message(state, one) for one in state.together(state.instances, household))
    return response


def instance_message(state: PartitionState, one: Instance) -> household_pb2.JourneyInstance:
    """Return where an instance of a journey is."""
    told = household_pb2.JourneyInstance(
        journey=one.journey,
        member=name_of_row(state, one.member),
        number=one.number,
        state=one.step,
        entered_at=timestamp(one.entered_us),
        since=timestamp(one.since_us),
        playbook_version=one.version,
    )
    if one.ending is Ending.LIVE:
        told.due_at.CopyFrom(timestamp(one.due_us))
    else:
        told.ending = one.ending.value
        told.ended_at.CopyFrom(timestamp(one.ended_us))
    return told


def assignment_message(one: Assignment) -> household_pb2.Assignment:
    """Return an arm as it is recorded."""
    return household_pb2.Assignment(
        experiment=one.experiment,
        layer=one.layer.value,
        arm=one.arm,
        share_bp=one.share_bp,
        salt=one.salt,
        playbook_version=one.version,
        met_at=timestamp(one.met_us),
        reason=one.reason.value,
    )


def _any_channel(plan: Plan, action: SlateAction) -> int:
    return next((i for i in range(len(plan.channels)) if carries(plan, action, i)), NONE)


def told_member(state: PartitionState, made: Decision) -> str:
    """Return for whom a decision was made, as people call her; empty for nobody in particular."""
    return name_of(state, made.household, made.member)


def decision_record(
    state: PartitionState,
    read: codec.DecisionRecord,
    plan: Plan | None,
    standing: Decision | None,
) -> household_pb2.DecisionRecord:
    """Return a decision as it was recorded, for explanations.

    Args:
        state: what has become of its actions.
        read: the record.
        plan: the one it was made under; None if nothing has that any more, and nothing of another's is told then.
        standing: the decision whose slate stood and was served again, if any and if the log still has it.
    """
    decision = read.decision
    record = household_pb2.DecisionRecord(
        decision_id=decision.decision_id,
        request_id=decision.request_id,
        household=belonging.shown(state, decision.household.decode(errors="backslashreplace")),
        member=told_member(state, decision),
        channel=decision.channel,
        decided_at=timestamp(decision.decided_us),
        playbook_version=decision.plan_version,
        model_version=decision.model_version,
        feature_schema_hash=decision.schema_hash,
        degraded=decision.is_degraded,
        scored_by=_SCORED_BY.get(decision.scored_by),
        withheld=decision.withheld,
        propensity=decision.propensity,
        reasons=decision.reasons,
        slate=[_recorded_action(state, decision, action, decision, plan) for action in decision.slate],
        fallback_channels=decision.fallback_channels,
        stands=decision.stands,
        playbook_missing=plan is None,
    )
    answered = find_action(decision, standing)
    if answered is not None:
        record.answered.CopyFrom(_recorded_action(state, decision, *answered, plan))
    if decision.send_channel:
        record.send_channel = decision.send_channel
        record.send_before.CopyFrom(timestamp(decision.send_before_us))
        if decision.send_not_before_us:
            record.send_not_before.CopyFrom(timestamp(decision.send_not_before_us))
        sent = state.actions.get(decision.slate[0].action_id) if decision.slate else None
        if sent is not None and sent.handed_us and sent.channel != NONE:
            record.handed_over_channel = state.plan.channels[sent.channel].name
            record.handed_over_at.CopyFrom(timestamp(sent.handed_us))
    scored = [one.offer for one in decision.candidates if one.score is not None]
    for shadow in decision.shadows:
        for offer, score in zip(scored, shadow.scores, strict=False):
            record.shadow_scores.add(model_version=shadow.model_version, offer=offer, score=score, term=shadow.term)
    for one in decision.term_scores:
        record.term_scores.add(
            term=one.term,
            model_version=one.model_version,
            scored_by=_SCORED_BY.get(one.scored_by),
            degraded=one.degraded,
            why=one.why,
            scores=one.scores,
        )
    for withdrawal in decision.withdrawals:
        record.withdrawals.add(action_id=withdrawal.action_id, reason=withdrawal.reason)
    for note in decision.rules:
        told = record.rules.add(
            rule=note.rule, effect=note.effect, offer=note.offer, channel=note.channel, contacts=note.contacts
        )
        if note.passes_us:
            told.passes_at.CopyFrom(timestamp(note.passes_us))
    for moment, member in zip(decision.moments, read.moment_members, strict=True):
        record.moments.add(
            moment_id=moment.moment_id,
            journey=moment.journey,
            member=member.decode(errors="backslashreplace"),
            event_id=moment.event_id.decode(errors="backslashreplace"),
            time=timestamp(moment.time_us),
        )
    for candidate in decision.candidates:
        message = record.candidates.add(offer=candidate.offer, vetoes=candidate.vetoes)
        if candidate.score is not None:
            message.score = candidate.score
        if candidate.value_minor is not None:
            message.value = candidate.value_minor
        if candidate.terms is not None:
            message.terms.CopyFrom(_terms(candidate.terms))
    for scarce in decision.scarce:
        record.scarce.add(
            budget=scarce.budget,
            price=scarce.price_minor,
            share=scarce.share,
            left=scarce.left,
            used=scarce.used,
        )
    record.arms.extend(map(assignment_message, decision.arms))
    for ghost in decision.ghosts:
        record.ghosts.add(
            offer=ghost.offer,
            journey=ghost.journey,
            channel=ghost.channel,
            time=timestamp(ghost.time_us),
            experiments=ghost.experiments,
        )
    if plan is not None:
        record.currency, record.time_zone = plan.currency, plan.policy.time_zone
        record.features.extend(feature_values(plan, decision.state_vector.tolist(), plan.scored_features))
    return record


def _terms(terms: Terms) -> household_pb2.Terms:
    return household_pb2.Terms(
        gain=terms.gain_minor,
        cost=terms.cost_minor,
        prices=[household_pb2.Price(of=one.of, minor=one.minor) for one in terms.prices],
        probability=terms.probability,
        shown=terms.shown,
        increment=terms.increment_minor,
        gross=terms.is_gross,
        context=terms.context,
        lever=terms.lever,
        uplift=terms.uplift,
        stay=terms.stay if terms.stay != 1.0 else None,
    )


def _recorded_action(
    state: PartitionState, decision: Decision, action: SlateAction, made: Decision, plan: Plan | None
) -> decision_pb2.Action:
    """Return an action of a record as it was shown: on the channel that asked, or else the one it was sent on."""
    channel = NONE
    if plan is not None:
        own = plan.channel_by_name.get(decision.channel or decision.send_channel, NONE)
        channel = own if own != NONE and carries(plan, action, own) else _any_channel(plan, action)
    message = _action(action, plan, channel, _recorded_status(state, decision, action), told_member(state, made))
    message.withdrawn_because = _status_and_why(state, action.action_id)[1]
    return message


def _recorded_status(state: PartitionState, decision: Decision, action: SlateAction) -> decision_pb2.ActionStatus:
    """Return what has become of an action; unspecified where it ended before its time and how is forgotten."""
    if decision.withheld:
        return decision_pb2.ACTION_STATUS_WITHHELD
    if action.action_id not in state.actions and state.now_us < action.valid_until_us:
        return decision_pb2.ACTION_STATUS_UNSPECIFIED
    return action_status(state, action.action_id)
