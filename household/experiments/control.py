"""What a household must not meet: by its own control groups, or by those of who shares an address with it."""

from collections.abc import Sequence

from household.deciding.reasons import contact_of
from household.decision import Decision, SlateAction
from household.experiments.assignment import Arms, those_who_share
from household.experiments.coverage import bringing
from household.plan import Experiment
from household.state import PartitionState


class Controls:
    """In whose control groups a household is, or one that shares an address with it.

    Each experiment is looked at when something is at hand that it is about: most never are.
    """

    def __init__(self, state: PartitionState, household: int, member: int, own_birth_id: bytes | None = None) -> None:
        """Take the rows of whom something is decided for, and of who is told it, or NO_MEMBER.

        `own_birth_id`: of the household, where that is known.
        """
        self.arms = [
            Arms(state, one, own_birth_id if one == household else None)
            for one in those_who_share(state, household, member)
        ]
        """Of the household itself first."""
        self._known: dict[str, bool] = {}

    def __contains__(self, experiment: Experiment) -> bool:
        known = self._known.get(experiment.name)
        if known is None:
            known = False
            for one in self.arms:
                known = known or one.is_control(experiment)
            self._known[experiment.name] = known
        return known


def kept_from(
    state: PartitionState, decision: Decision, entries: Sequence[SlateAction], household: int, member: int
) -> frozenset[str]:
    """Return which actions of an earlier decision a household must not meet any more, since it is in control by now.

    A playbook may have brought an experiment, and an address another household, since it was made.
    """
    if not state.coverage.experiments:
        return frozenset()
    plan, controls = state.plan, Controls(state, household, member)
    contacts = [name for name in map(contact_of, decision.reasons) if name]
    return frozenset(
        entry.action_id
        for entry in entries
        if entry.offer in plan.offer_by_name
        and any(
            one in controls
            for one in state.coverage.of(
                plan.offer_by_name[entry.offer],
                (entry.journey,) if entry.journey else bringing(plan, contacts, plan.offer_by_name[entry.offer]),
            )
        )
    )
