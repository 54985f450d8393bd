"""What the page of a meeting tells. Nothing in it names a household, a member, an event or an action."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from insight.experiments.roi import ArmRoi
from insight.experiments.sample_ratio import SampleRatio
from insight.experiments.verdict import ArmVerdict, Reading
from insight.meeting.contacts import KeptBack, Pressure
from insight.meeting.funnels import Funnel
from insight.meeting.over_time import PeriodFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentFacts:
    """What is known of one experiment."""

    name: str
    layer: str
    arms: Mapping[str, int]
    over: Mapping[str, int]
    ratio: SampleRatio
    leaks: int
    """Households in control that were exposed."""
    readings: Sequence[Reading]
    verdicts: Sequence[ArmVerdict]
    roi: Sequence[ArmRoi]
    days_needed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFacts:
    """Instances of a journey with states that are in one state, or have ended in one way."""

    journey: str
    where: str
    is_live: bool
    treated: int
    control: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingFacts:
    """All of it."""

    playbook: str
    playbook_version: str
    currency: str
    zone: str
    since_us: int
    """Of the oldest event."""
    as_of_us: int
    written: str
    is_cut: bool
    """Whether older log was dropped."""
    events: int
    households: int
    """With an event that is measured."""
    left_out: Mapping[str, int]
    funnels: Sequence[Funnel]
    experiments: Sequence[ExperimentFacts]
    window_days: float
    """For so long each household is measured from when it met an experiment."""
    is_short: bool
    """Whether that is shorter than was asked for, since nobody's time would be over."""
    steps: Sequence[PeriodFigures]
    lately: PeriodFigures
    """The newest 30 days, or all there is."""
    products: Mapping[int, int]
    """Households by the product families that they hold."""
    products_before: Mapping[int, int]
    """The same 30 days, or the whole log, before."""
    pressure: Pressure
    kept_back: Sequence[KeptBack]
    decisions: int
    places: Sequence[StateFacts]
    has_states: bool
    """Whether a playbook has journeys with states."""
