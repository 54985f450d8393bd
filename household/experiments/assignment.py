"""Which arms a household is in: those that are recorded, and those that it would be drawn into now."""

from collections.abc import Sequence

from household.experiments.drawing import drawn_arm
from household.plan import Arm, Draw, Experiment
from household.plan.experiments import CONTROL
from household.state import PartitionState
from household.tables.arms import AssignedBy, Assignment


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


class Arms:
    """A household's arms as of now, each looked up or drawn when it is first asked for."""

    def __init__(self, state: PartitionState, household: int, own_birth_id: bytes | None = None) -> None:
        """Take a row of a household, and its birth id where that is known; nothing is looked at yet."""
        self._state = state
        self._household = household
        self._recorded: dict[str, list[Assignment]] | None = None
        self._birth_id = own_birth_id
        self._drawn_by_name: dict[str, Arm] = {}

    def _known(self, experiment: Experiment) -> Sequence[Assignment]:
        """Return its records: of households that are one by now each may have one."""
        if (recorded := self._recorded) is None:
            recorded = self._recorded = {}
            for one in self._state.together(self._state.arms, self._household):
                recorded.setdefault(one.experiment, []).append(one)
        return recorded.get(experiment.name, ()) if recorded else ()

    def _drawn(self, experiment: Experiment) -> Arm:
        drawn = self._drawn_by_name.get(experiment.name)
        if drawn is None:
            if self._birth_id is None:
                self._birth_id = birth_id(self._state, self._household)
            drawn = self._drawn_by_name[experiment.name] = drawn_arm(self._state.plan, experiment, self._birth_id)
        return drawn

    def is_control(self, experiment: Experiment) -> bool:
        """Return whether it is in control, or any of those that are one by now: what is said follows the stricter."""
        known = self._known(experiment)
        if not known:
            return self._drawn(experiment).name == CONTROL
        return any(one.is_control for one in known)

    def assignment(self, experiment: Experiment, *, met_us: int) -> Assignment:
        """Return its arm: as it was first recorded, which is the one to measure by, or as it would be met now."""
        if known := self._known(experiment):
            return min(known, key=lambda one: (one.met_us, one.arm, one.salt, one.version))
        arm = self._drawn(experiment)
        return Assignment(
            experiment=experiment.name,
            layer=experiment.layer,
            arm=arm.name,
            share_bp=arm.share_bp,
            salt=experiment.salt,
            version=self._state.plan.version,
            met_us=met_us,
            reason=AssignedBy.DRAWN if experiment.draw is Draw.SALTED else AssignedBy.DRAWN_OF_JOURNEY,
        )
