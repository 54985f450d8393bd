"""What came back of what was spent: (incremental margin − reward cost − contact cost) ÷ (reward cost + contact cost).

The increment is from control alone, by intention to treat: all that were drawn, whoever was reached. So it is a ratio
of two means over the same households, and its interval that of a ratio, by the delta method, in one look.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from insight.experiments.effect import Measured, difference, for_tails
from insight.intervals import CONFIDENCE, Estimate, estimate, reach_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRoi:
    """Of one arm, per household that was drawn into it, in minor units."""

    arm: str
    households: int
    margin: Estimate | None
    """How much more than control; None where it cannot be told."""
    contact_minor: float
    reward_minor: float
    roi: Estimate | None
    """None where it cannot be told, or nothing was spent."""
    missing: str
    """Why it cannot be told, empty where it can."""

    @property
    def cost_minor(self) -> float:
        """Of contacts and rewards."""
        return self.contact_minor + self.reward_minor


def arm_roi(
    arm: str,
    margin: Measured,
    contact_minor: Floats,
    reward_minor: Floats,
    *,
    confidence: float = CONFIDENCE,
    missing: str = "",
) -> ArmRoi:
    """Return what came back of what was spent on an arm.

    Args:
        margin: (households,) of the arm and of control, what each brought that is left once it is delivered.
        contact_minor, reward_minor: (households,) what was spent on each; nothing on control.
        missing: why margins are not known; empty where they are.

    >>> control = np.array([True, True, False, False])
    >>> margin = Measured(outcome=np.array([10.0, 10.0, 30.0, 40.0]), is_control=control)
    >>> found = arm_roi("treated", margin, np.array([0.0, 0.0, 4.0, 4.0]), np.array([0.0, 0.0, 0.0, 12.0]))
    >>> found.margin.value, found.cost_minor, found.roi.value
    (25.0, 10.0, 1.5)
    """
    treated = ~margin.is_control
    count = int(treated.sum())
    contact, reward = (float(cost[treated].mean()) if count else 0.0 for cost in (contact_minor, reward_minor))
    bare = ArmRoi(
        arm=arm, households=count, margin=None, contact_minor=contact, reward_minor=reward, roi=None, missing=missing
    )
    if missing:
        return bare
    try:
        found = difference(margin)
    except ValueError:
        return _with(bare, missing="nobody's time is over in one of the arms")
    increment = found.estimate(confidence=confidence)
    cost = contact + reward
    if cost <= 0:
        return _with(bare, margin=increment, missing="nothing was spent")
    ratio = found.value / cost
    of_cost = np.where(treated, (contact_minor + reward_minor - cost) * (len(treated) / count), 0.0)
    influence = (found.influence - ratio * of_cost) / cost
    reach = for_tails(reach_of(confidence), influence, found.units)
    return _with(bare, margin=increment, roi=estimate(ratio - 1.0, influence, found.units, reach=reach))


def _with(bare: ArmRoi, *, margin: Estimate | None = None, roi: Estimate | None = None, missing: str = "") -> ArmRoi:
    return ArmRoi(
        arm=bare.arm,
        households=bare.households,
        margin=margin,
        contact_minor=bare.contact_minor,
        reward_minor=bare.reward_minor,
        roi=roi,
        missing=missing,
    )
