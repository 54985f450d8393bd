"""What is known of an experiment by now: its arms, whether they can be compared, what they differ in, and a verdict."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from household.experiments.coverage import Coverage
from household.plan import Plan
from household.plan.experiments import CONTROL
from insight.experiments.effect import Measured
from insight.experiments.exposure import Exposures, Leak
from insight.experiments.households import MEASURES, Lives, Member, Outcomes, margins, outcomes
from insight.experiments.planning import days_needed
from insight.experiments.roi import ArmRoi, arm_roi
from insight.experiments.sample_ratio import ALL_BP, Counted, SampleRatio, sample_ratios
from insight.experiments.spending import NOTHING, Spendings
from insight.experiments.verdict import ArmVerdict, Reading, Stakes, decide_arm, read
from insight.measures.definitions import DAY_US
from insight.measures.journeys import Met
from insight.measures.knowledge import Knowledge

WINDOW_US = 30 * DAY_US


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentConfig:
    """What is asked of experiments."""

    window_us: int = WINDOW_US
    """How long a household is measured, from when it met the experiment."""
    lateness_us: int = 0
    """For so long something may come late: a household counts behind it."""
    measure: str = MEASURES[0]
    """What the verdict hangs on."""
    stakes: Stakes = field(default_factory=Stakes)

    def __post_init__(self) -> None:
        assert self.measure in MEASURES
        assert self.window_us > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentReport:
    """All that is told of one experiment."""

    experiment: str
    layer: str
    since_us: int
    """When the first household met it."""
    arms: Mapping[str, int]
    """Households that met it, by arm."""
    over: Mapping[str, int]
    """Those of them whose time is over, and that are counted below."""
    ratio: SampleRatio
    leaks: tuple[Leak, ...]
    readings: tuple[Reading, ...]
    """By intention to treat: each measure of each arm, those the verdict hangs on first."""
    exposed: tuple[Reading, ...]
    """Exposed against ghosts, beside it; not by chance alone, so no verdict hangs on it."""
    verdicts: tuple[ArmVerdict, ...]
    roi: tuple[ArmRoi, ...]
    """By intention to treat, of the same households."""
    days_needed: float | None
    """Until the least worthwhile effect most likely shows, at the pace of the last weeks; None where nobody knows."""


def families_of(plans: Iterable[Plan]) -> dict[str, frozenset[str]]:
    """Return the families of the offers that each experiment is about; of several playbooks the newest says so."""
    found: dict[str, frozenset[str]] = {}
    for plan in plans:
        coverage, about = Coverage(plan), dict[str, set[str]]()
        for index, offer in enumerate(plan.offers):
            bringing = [(one.name,) for one in plan.journeys if index in one.offers]
            for journeys in (*bringing, ()):
                for experiment in coverage.of(index, journeys):
                    about.setdefault(experiment.name, set()).add(offer.family)
        found |= {name: frozenset(families) for name, families in about.items()}
    return found


def report(
    asked: Knowledge,
    exposures: Exposures,
    families: Mapping[str, frozenset[str]],
    *,
    config: ExperimentConfig,
    spendings: Spendings = NOTHING,
) -> list[ExperimentReport]:
    """Return what is known of each experiment that somebody has met, by name."""
    lives, met = Lives(asked), dict[str, list[Met]]()
    for one in asked.journeys.met:
        if one.time_us < asked.time_us and (asked.known_us is None or one.time_us <= asked.known_us):
            met.setdefault(one.experiment, []).append(one)
    return [
        _report(asked, lives, met[name], exposures, families.get(name, frozenset()), config, spendings)
        for name in sorted(met)
    ]


def _report(
    asked: Knowledge,
    lives: Lives,
    met: Sequence[Met],
    exposures: Exposures,
    families: frozenset[str],
    config: ExperimentConfig,
    spendings: Spendings,
) -> ExperimentReport:
    name = met[0].experiment
    arms = sorted({one.arm for one in met} - {CONTROL})
    every = frozenset(asked.definitions.families)
    ratio = ratio_of(met)
    leaks = tuple(one for one in exposures.leaks if one.experiment == name)
    assigned = _over(asked, [Member(household=one.household, arm=one.arm, from_us=one.time_us) for one in met], config)
    counted = outcomes(lives, assigned, families, window_us=config.window_us, every_family=every)
    readings = _readings(counted, arms, config)
    arm_of = {one.household: one.arm for one in met}
    times = {**_of(name, exposures.first_us, arm_of), **_of(name, exposures.ghost_us, arm_of)}
    exposed = [Member(household=household, arm=arm_of[household], from_us=at) for household, at in times.items()]
    seen = outcomes(lives, _over(asked, exposed, config), families, window_us=config.window_us, every_family=every)
    unsound = _unsound(met, ratio, leaks)
    verdicts = tuple(_verdict(readings, arm, unsound, config) for arm in arms)
    return ExperimentReport(
        experiment=name,
        layer=met[0].layer,
        since_us=min(one.time_us for one in met),
        arms=dict(Counter(one.arm for one in met)),
        over=dict(Counter(one.arm for one in assigned)),
        ratio=ratio,
        leaks=leaks,
        readings=tuple(readings),
        exposed=tuple(_readings(seen, arms, config)),
        verdicts=verdicts,
        roi=tuple(_roi(asked, lives, assigned, name, arm, spendings, config, unsound=unsound) for arm in arms),
        days_needed=_days(met, readings, verdicts, config),
    )


def _of(name: str, times: Mapping[tuple[str, str], int], arm_of: Mapping[str, str]) -> dict[str, int]:
    """Return the times of one experiment's households; none of those is in both arms."""
    own = {household: at for (experiment, household), at in times.items() if experiment == name}
    return {household: at for household, at in own.items() if household in arm_of}


def ratio_of(met: Sequence[Met]) -> SampleRatio:
    """Return whether the arms of one experiment hold the shares they were to get."""
    counts = Counter((one.version, one.arm, one.share_bp) for one in met)
    (found,) = sample_ratios(
        Counted(experiment=met[0].experiment, version=version, arm=arm, share_bp=share_bp, households=households)
        for (version, arm, share_bp), households in counts.items()
    )
    return found


def _over(asked: Knowledge, members: Sequence[Member], config: ExperimentConfig) -> list[Member]:
    """Return those whose time, and what may come late, is over."""
    until_us = asked.time_us if asked.known_us is None else min(asked.time_us, asked.known_us)
    return [one for one in members if one.from_us + config.window_us + config.lateness_us <= until_us]


def _readings(counted: Outcomes, arms: Sequence[str], config: ExperimentConfig) -> list[Reading]:
    found = []
    for measure in sorted(MEASURES, key=lambda one: (one != config.measure, MEASURES.index(one))):
        for arm in arms:
            measured = counted.measured(measure, (arm,), CONTROL)
            reading = read(measured, measure=measure, arm=arm, arms=len(arms), stakes=config.stakes)
            if reading is not None:
                found.append(reading)
    return found


def _unsound(met: Sequence[Met], ratio: SampleRatio, leaks: Sequence[Leak]) -> str:
    if all(one.arm != CONTROL for one in met):
        newest = max(met, key=lambda one: one.time_us).version
        shares = {one.arm: one.share_bp for one in met if one.version == newest}
        if sum(shares.values()) < ALL_BP:
            return ""  # nobody yet: the first households have come, and some are to be in control
        return "nobody is in control, so nothing tells what would have been"
    if ratio.is_off:
        counts = ", ".join(f"{ratio.counts[arm]:,} {arm} ({ratio.expected[arm]:,.0f} expected)" for arm in ratio.counts)
        return f"the sample ratio is off: {counts}; by chance that has a probability of {ratio.p_value:.2g}"
    if leaks:
        first = leaks[0]
        more = f", {len(leaks):,} in all" if len(leaks) > 1 else ""
        return f"household {first.household} is in control and was exposed ({first.where}){more}"
    return ""


def _roi(
    asked: Knowledge,
    lives: Lives,
    assigned: Sequence[Member],
    name: str,
    arm: str,
    spendings: Spendings,
    config: ExperimentConfig,
    *,
    unsound: str,
) -> ArmRoi:
    members = [one for one in assigned if one.arm in (arm, CONTROL)]
    spent = [
        spendings.within(name, one.household, one.from_us, one.from_us + config.window_us) if one.arm == arm else (0, 0)
        for one in members
    ]
    costs = np.array(spent, np.float64).reshape(len(members), 2)
    margin = Measured(
        outcome=margins(lives, members, window_us=config.window_us),
        is_control=np.array([one.arm == CONTROL for one in members], np.bool_),
    )
    unknown = [one.category for one in asked.definitions.revenue if one.margin is None]
    missing = f"nobody says what margin is made on {', '.join(dict.fromkeys(unknown))}" if unknown else ""
    if spendings.unpriced:
        missing = f"nobody says what rewards cost: {', '.join(sorted(spendings.unpriced))}"
    if unsound:
        missing = "the arms cannot be compared"
    return arm_roi(arm, margin, costs[:, 0], costs[:, 1], confidence=config.stakes.confidence, missing=missing)


def _verdict(readings: Sequence[Reading], arm: str, unsound: str, config: ExperimentConfig) -> ArmVerdict:
    own = {one.measure: one for one in readings if one.arm == arm}
    guards = [one for measure, one in own.items() if measure != config.measure]
    return decide_arm(own.get(config.measure), arm=arm, guards=guards, unsound=unsound, stakes=config.stakes)


def _days(
    met: Sequence[Met], readings: Sequence[Reading], verdicts: Sequence[ArmVerdict], config: ExperimentConfig
) -> float | None:
    """Return how many days until every arm has as many households as its verdict needs."""
    found = []
    for verdict in verdicts:
        there = next((one for one in readings if one.arm == verdict.arm and one.measure == config.measure), None)
        if verdict.households_needed is None or there is None:
            return None
        own = [one.time_us // DAY_US for one in met if one.arm in (verdict.arm, CONTROL)]
        days, counts = np.unique(np.array(own, np.int64), return_counts=True)
        by_day = dict(zip(days.tolist(), counts.tolist(), strict=True))
        found.append(days_needed(verdict.households_needed, there=there.households, met_by_day=by_day))
    return None if not found or None in found else max(one for one in found if one is not None)
