"""What became of every household under every arm: columns, which one file holds and sharding does not show in."""

from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class ArmName(StrEnum):
    """How households are treated."""

    CONTROL = "control"
    BATCH = "batch"
    MOMENT = "moment"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArmOutcomes:
    """(arms, households) arrays in the order of ArmName, and (households,) of the time before."""

    conversion: Floats
    """1 where a product was taken up, of their own accord or not."""
    revenue_minor: Floats
    """In the span; 30-day figures are made of it by who prints."""
    margin_minor: Floats
    """What is left of the revenue, less rewards and contacts."""
    left: Floats
    """1 where the household left."""
    sent: Floats
    shown: Floats
    accepted: Floats
    revenue_before_minor: Floats
    """(households,) in the weeks before, which all arms share."""
    taken_before: Floats
    """(households,) products taken up then."""

    @property
    def households(self) -> int:
        """How many."""
        return len(self.revenue_before_minor)

    def save(self, file: Path) -> None:
        """Write them as a NumPy archive."""
        np.savez_compressed(file, **{one.name: getattr(self, one.name) for one in fields(self)})


def load(file: Path) -> ArmOutcomes:
    """Return what `save` wrote."""
    with np.load(file) as archive:
        return ArmOutcomes(**{one.name: archive[one.name] for one in fields(ArmOutcomes)})


def joined(parts: list[ArmOutcomes]) -> ArmOutcomes:
    """Return the households of all parts, one part after the other."""
    return ArmOutcomes(
        **{
            one.name: np.concatenate([getattr(part, one.name) for part in parts], axis=-1)
            for one in fields(ArmOutcomes)
        }
    )
