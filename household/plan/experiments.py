"""The section `experiments`: who is left untreated, or treated in which way, so that the difference can be measured."""

from dataclasses import dataclass
from enum import StrEnum

CONTROL = "control"
"""The arm that is decided on and never treated."""

TREATED = "treated"
"""The arm of the rest, where no others are named."""

ALL_BP = 10_000
"""Basis points of all households."""


class Layer(StrEnum):
    """What an experiment is about. A snapshot holds their names: new ones stand behind the others."""

    UNIVERSAL = "universal"
    """All that is said, but for the exempt classes."""
    PROGRAMME = "programme"
    """Several journeys."""
    JOURNEY = "journey"
    ACTION = "action"
    """Offers, whatever brings them up."""
    REWARD = "reward"
    """Offers of the class reward, or those that it names."""


class Draw(StrEnum):
    """How an arm is drawn."""

    SALTED = "salted"
    """By salt and birth id: household/experiments/drawing.py."""
    OF_JOURNEY = "of_journey"
    """As a journey's `control` always was: by the salt as key, over the journey and the household."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of treating, and how many households it is for."""

    name: str
    share_bp: int
    """Basis points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Households are drawn into its arms, each for good."""

    name: str
    layer: Layer
    salt: str
    arms: tuple[Arm, ...]
    """Control first; all together 10,000 basis points."""
    journeys: tuple[int, ...] = ()
    """Of a programme's or a journey's."""
    offers: tuple[int, ...] = ()
    """Of an action's or a reward's; of a reward's that names none, all of its class."""
    draw: Draw = Draw.SALTED

    @property
    def control_bp(self) -> int:
        """The share of the control group."""
        return self.arms[0].share_bp
