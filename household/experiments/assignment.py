"""Which arms a household is in: those that are recorded, and those that it would be drawn into now."""

from household.experiments.drawing import drawn_arm
from household.plan import Draw, Experiment
from household.state import PartitionState
from household.tables.arms import AssignedBy, Assignment

_REASON = {Draw.SALTED: AssignedBy.DRAWN, Draw.OF_JOURNEY: AssignedBy.DRAWN_OF_JOURNEY}


def birth_id(state: PartitionState, household: int) -> bytes:
    """Return the id that a household is drawn by: of those that were merged into one that of the one that stands."""
    key = state.households.key(household)
    if not state.graph:
        return key
    return state.graph.household_of(key.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def those_who_share(state: PartitionState, household: int, member: int) -> tuple[int, ...]:
    """Return the households whose control groups count for what is said to a member: its own comes first.

    The one place that knows of addresses: of two households that have one in common, nothing is said there if either is
    in control. Today an identifier has one holder at a time, so none is known to belong to two.

    Args:
        state: read only.
        household: row of whom something is decided for.
        member: row of who is told it, or NO_MEMBER.
    """
    del state, member
    return (household,)


def assignment_of(state: PartitionState, experiment: Experiment, household: int, *, met_us: int) -> Assignment:
    """Return a household's arm in an experiment: as it was first recorded, or as it would be met at this time.

    Of households that are one by now each may have a record; the first that was met is the one to measure by.
    """
    known = [one for one in state.together(state.arms, household) if one.experiment == experiment.name]
    if known:
        return min(known, key=lambda one: (one.met_us, one.arm, one.salt, one.version))
    arm = drawn_arm(state.plan, experiment, birth_id(state, household))
    return Assignment(
        experiment=experiment.name,
        layer=experiment.layer,
        arm=arm.name,
        share_bp=arm.share_bp,
        salt=experiment.salt,
        version=state.plan.version,
        met_us=met_us,
        reason=_REASON[experiment.draw],
    )
