"""The sample-ratio test: do the arms of an experiment hold the shares of households that they were to get?

Where they do not, something takes households out of one arm or another (records lost, arms that behave differently
before they are counted), and no difference between the arms means anything.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import erfc, exp, inf, pi, sqrt
from typing import Final

ALL_BP: Final = 10_000

OFF_BELOW: Final = 0.001
"""A sample ratio this unlikely is off: it is looked at often, and says all or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatio:
    """What became of one experiment's shares."""

    experiment: str
    counts: Mapping[str, int]
    """Households by arm."""
    expected: Mapping[str, float]
    p_value: float
    """How likely counts at least this far from the expected are if all is well; 1 with nothing to compare."""

    @property
    def is_off(self) -> bool:
        """Whether the arms are not what was drawn."""
        return self.p_value < OFF_BELOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Households of one arm, met under one playbook."""

    experiment: str
    version: str
    arm: str
    share_bp: int
    households: int


def sample_ratios(counted: Iterable[Counted]) -> tuple[SampleRatio, ...]:
    """Return the test of each experiment, by name.

    Shares may differ between playbooks: those that were met under one are compared with its shares, and all add up.
    What an arm that nobody is in would have had is what the others leave of all households.
    """
    groups: dict[str, dict[str, list[Counted]]] = {}
    for one in counted:
        groups.setdefault(one.experiment, {}).setdefault(one.version, []).append(one)
    return tuple(_ratio(name, list(groups[name].values())) for name in sorted(groups))


def _ratio(experiment: str, versions: list[list[Counted]]) -> SampleRatio:
    counts: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    distance, freedom = 0.0, 0
    for arms in versions:
        total = sum(one.households for one in arms)
        for one in arms:
            wanted = total * one.share_bp / ALL_BP
            counts[one.arm] += one.households
            expected[one.arm] += wanted  # type: ignore[assignment]
            if wanted:
                distance += (one.households - wanted) ** 2 / wanted
            elif one.households:
                distance = inf  # an arm that nobody was to be in
        # The arms of which nobody is there.
        absent = total * (ALL_BP - sum(one.share_bp for one in arms)) / ALL_BP
        distance += absent
        freedom += sum(one.share_bp > 0 for one in arms) - (absent == 0.0)
    return SampleRatio(
        experiment=experiment,
        counts=dict(counts),
        expected=dict(expected),
        p_value=0.0 if distance == inf else chi_square_tail(distance, freedom) if freedom else 1.0,
    )


def chi_square_tail(distance: float, freedom: int) -> float:
    """Return the probability that a chi-square of so many degrees of freedom is larger.

    >>> round(chi_square_tail(3.841, 1), 3), round(chi_square_tail(5.991, 2), 3), round(chi_square_tail(7.815, 3), 3)
    (0.05, 0.05, 0.05)
    """
    assert freedom >= 1
    half = distance / 2
    if freedom % 2:
        tail, term, at = erfc(sqrt(half)), sqrt(half / pi) * 2 * exp(-half), 1.5
    else:
        tail, term, at = exp(-half), half * exp(-half), 2.0
    for _ in range((freedom - 1) // 2):
        tail, term, at = tail + term, term * half / at, at + 1
    return min(tail, 1.0)
