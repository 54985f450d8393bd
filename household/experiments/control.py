"""What a household must not meet: by its own control groups, or by those of who shares an address with it."""

from collections.abc import Sequence

from household.deciding.reasons import contact_of
from household.decision import Decision, SlateAction
from household.experiments.assignment import assignment_of, those_who_share
from household.plan import Experiment, Plan
from household.state import PartitionState


def controls_of(state: PartitionState, household: int, member: int) -> frozenset[str]:
    """Return the experiments in whose control groups a household is, or one that shares an address with it."""
    experiments = state.coverage.experiments
    if not experiments:
        return frozenset()
    return frozenset(
        experiment.name
        for one in those_who_share(state, household, member)
        for experiment in experiments
        if assignment_of(state, experiment, one, met_us=state.now_us).is_control or _has_control(state, experiment, one)
    )


def _has_control(state: PartitionState, experiment: Experiment, household: int) -> bool:
    """Return whether any of those that are one household by now was in control: what is said follows the stricter."""
    return len(state.rows_together(household)) > 1 and any(
        one.is_control for one in state.together(state.arms, household) if one.experiment == experiment.name
    )


def kept_from(
    state: PartitionState, decision: Decision, entries: Sequence[SlateAction], household: int, member: int
) -> frozenset[str]:
    """Return which actions of an earlier decision a household must not meet any more, since it is in control by now.

    A playbook may have brought an experiment, and an address another household, since it was made.
    """
    controls = controls_of(state, household, member)
    if not controls:
        return frozenset()
    plan = state.plan
    contacts = [name for name in map(contact_of, decision.reasons) if name]
    return frozenset(
        entry.action_id
        for entry in entries
        if entry.offer in plan.offer_by_name
        and any(
            one.name in controls
            for one in state.coverage.of(
                plan.offer_by_name[entry.offer],
                (entry.journey,) if entry.journey else bringing(plan, contacts, plan.offer_by_name[entry.offer]),
            )
        )
    )


def bringing(plan: Plan, names: Sequence[str], offer: int) -> tuple[str, ...]:
    """Return which of these journeys bring up an offer."""
    return tuple(
        name
        for name in names
        if name in plan.journey_by_name and offer in plan.journeys[plan.journey_by_name[name]].offers
    )
