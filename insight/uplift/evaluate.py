"""Evaluate predicted uplift on a trial: whether it tells whom to treat, how well, and what that is worth.

The verdict hangs on one number, the **gain**: what treating in the order of the score brings over treating the same
number at random, on average over all shares, per row. Where its 99 % interval does not lie above 0, there is no effect
to target. Source: Yadlowsky et al., Evaluating treatment prioritization rules via rank-weighted average
treatment effects (2021), with the weights of the Qini curve.
"""

from dataclasses import dataclass, replace
from enum import Enum
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from insight.evaluation.estimators import effective_sample
from insight.evaluation.evaluate import HOUSEHOLDS_LEAST, WEIGHTS_CONFIDENCE
from insight.intervals import CONFIDENCE, Estimate, estimate
from insight.uplift.curves import Coefficients, Ordered, drawn
from insight.uplift.trial import Trial

Floats = NDArray[np.float64]

POWER: Final = 0.8

VERDICT_CONFIDENCE: Final = 0.99
"""Of the interval that a verdict hangs on: where there is nothing to target, it says so in 99 of 100 trials."""


class UpliftVerdict(Enum):
    """What a score is good for."""

    TARGETS = "the score tells whom to treat"
    NOTHING_TO_TARGET = "no effect to target"
    REVERSED = "worse than treating at random"


class TrialRefusalReason(Enum):
    """Why data cannot answer."""

    ONE_ARM = "one arm only"
    PROPENSITY = "propensity 0 or 1"
    TOO_FEW = "too few"
    NOT_RANDOM = "not by chance"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRefusal:
    """That data cannot answer, and why."""

    reason: TrialRefusalReason
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpliftConfig:
    """What is asked of the data."""

    confidence: float = CONFIDENCE
    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5)
    """Of rows, highest scores first, whose uplift is told."""
    contact_cost: float = 0.0
    """Of treating one, in the unit of the outcome's value."""
    outcome_value: float = 1.0
    """What one unit of the outcome is worth."""
    effective_sample_min: float = 100.0
    """In each arm."""
    seed: int = 0

    def __post_init__(self) -> None:
        assert 0 < self.confidence < 1
        assert all(0 < share <= 1 for share in self.shares)
        assert self.contact_cost >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number with an interval from draws."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AtShare:
    """The rows with the highest scores, so many of all."""

    share: float
    uplift: Estimate
    """Mean outcome of the treated less that of the controls, among them."""
    over_random: Estimate
    """What treating them brings per row of all, over treating as many at random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenth:
    """A tenth of the rows by score, the highest first."""

    number: int
    treated: float
    """Rows; not whole where a limit cuts through equal scores."""
    control: float
    predicted: float
    """Mean score."""
    uplift: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Whether the score is an uplift, in the unit of the outcome."""

    slope: Estimate
    """How much more the uplift is where the score is one more: 1 if calibrated, 0 if the score tells nothing."""
    bias: Estimate
    """Mean score less the mean uplift: 0 if calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyValue:
    """What treating some is worth per row of all, less the cost of contact, over treating nobody."""

    policy: str
    share: float
    """Of rows, that are treated."""
    value: Estimate
    over_all: Estimate
    """The same less what treating everybody is worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpliftEvaluation:
    """What a trial says about a score."""

    treated: int
    control: int
    households: int
    refusal: TrialRefusal | None
    verdict: UpliftVerdict | None = None
    """None, as all that follow, where the data cannot answer."""
    why: str = ""
    effect: Estimate | None = None
    """Of treating everybody, per row."""
    gain: Estimate | None = None
    detectable_gain: float | None = None
    """The least gain that a trial of this size would most likely (80 %) have found."""
    qini: Interval | None = None
    """Coefficient; None where the outcome is not 0 or 1, as `auuc`."""
    auuc: Interval | None = None
    at: tuple[AtShare, ...] = ()
    tenths: tuple[Tenth, ...] = ()
    calibration: Calibration | None = None
    """None where all scores are the same."""
    values: tuple[PolicyValue, ...] = ()


def evaluate_uplift(trial: Trial, *, config: UpliftConfig | None = None) -> UpliftEvaluation:
    """Return what a trial says about its score; the same to the last bit for the same arguments."""
    config = config or UpliftConfig()
    treated = int(trial.is_treated.sum())
    found = UpliftEvaluation(
        treated=treated, control=trial.count - treated, households=int(trial.units.max()) + 1, refusal=None
    )
    refusal = _unusable(trial, config)
    if refusal is not None:
        return replace(found, refusal=refusal)
    measured = _Measured(trial, config)
    gain, effect = measured.gain(config.confidence), measured.mean(measured.effects)
    sure = measured.gain(VERDICT_CONFIDENCE)
    verdict = _verdict(sure)
    reach = NormalDist().inv_cdf((1 + VERDICT_CONFIDENCE) / 2) + NormalDist().inv_cdf(POWER)
    detectable = reach * gain.standard_error
    qini, auuc = _coefficients(trial, config)
    return replace(
        found,
        verdict=verdict,
        why=_why(verdict, sure, effect, detectable),
        effect=effect,
        gain=gain,
        detectable_gain=detectable,
        qini=qini,
        auuc=auuc,
        at=tuple(measured.at(share) for share in config.shares),
        tenths=tuple(measured.tenth(number) for number in range(1, 11)),
        calibration=measured.calibration(),
        values=measured.values(),
    )


def _unusable(trial: Trial, config: UpliftConfig) -> TrialRefusal | None:
    if trial.is_treated.all() or not trial.is_treated.any():
        there = "treated" if trial.is_treated.all() else "control"
        return TrialRefusal(
            reason=TrialRefusalReason.ONE_ARM,
            why=f"all {trial.count:,} rows are {there}; uplift is what the other arm did not have",
        )
    sure = (trial.propensity <= 0.0) | (trial.propensity >= 1.0)
    if sure.any():
        return TrialRefusal(
            reason=TrialRefusalReason.PROPENSITY,
            why=f"{int(sure.sum()):,} of {trial.count:,} rows have propensity 0 or 1: of those nobody knows what the "
            "other arm would have done; leave them out, and the result speaks for the others",
        )
    design = trial.design
    for arm, rows in (("treated", trial.is_treated), ("control", ~trial.is_treated)):
        sample = effective_sample(design[rows])
        if sample < config.effective_sample_min:
            return TrialRefusal(
                reason=TrialRefusalReason.TOO_FEW,
                why=f"the {arm} tell as much as {sample:.1f} rows would, and {config.effective_sample_min:g} "
                "are needed",
            )
    households = int(trial.units.max()) + 1
    if households < HOUSEHOLDS_LEAST:
        return TrialRefusal(
            reason=TrialRefusalReason.TOO_FEW,
            why=f"the rows are of {households} households, and an interval needs {HOUSEHOLDS_LEAST}",
        )
    return _not_random(trial)


def _not_random(trial: Trial) -> TrialRefusal | None:
    """Look whether both arms are alike in what is known of them: how many they are, and their scores."""
    known = np.asarray(trial.is_treated - trial.propensity, np.float64)
    share = estimate(float(known.mean()), known - known.mean(), trial.units, confidence=WEIGHTS_CONFIDENCE)
    if trial.is_propensity_known and not share.low <= 0.0 <= share.high:
        return TrialRefusal(
            reason=TrialRefusalReason.NOT_RANDOM,
            why=f"{trial.is_treated.mean():.2%} were treated, and by 'propensity' it would be "
            f"{trial.propensity.mean():.2%}: these are not the probabilities by which the arms were drawn",
        )
    means = _difference(trial, np.ones(trial.count), trial.score)
    between = estimate(*means, trial.units, confidence=WEIGHTS_CONFIDENCE)
    if not between.low <= 0.0 <= between.high:
        what = "by the propensities given" if trial.is_propensity_known else "all with the same probability"
        return TrialRefusal(
            reason=TrialRefusalReason.NOT_RANDOM,
            why=f"the treated have scores {between.value:+.4g} apart from the controls, beyond chance: they were not "
            f"drawn {what}, so what sets them apart may be what they were before; a column 'propensity' says with "
            "which probability each row was treated",
        )
    return None


def _difference(trial: Trial, part: Floats, values: Floats) -> tuple[float, Floats]:
    """Return treated mean less control mean of (n,) values, rows counting by `part`, and the influence of each row."""
    weight = trial.design * part
    influence, value = np.zeros(trial.count), 0.0
    for sign, rows in ((1.0, trial.is_treated), (-1.0, ~trial.is_treated)):
        own = weight * rows
        total = float(own.sum())
        if total == 0.0:
            return float("nan"), influence
        mean = float(own @ values) / total
        value += sign * mean
        influence += sign * own * (values - mean) * (trial.count / total)
    return value, influence


class _Measured:
    """What is measured of one trial."""

    def __init__(self, trial: Trial, config: UpliftConfig) -> None:
        self._trial, self._config = trial, config
        self._ordered = Ordered(trial.score)
        treated, propensity = trial.is_treated, trial.propensity
        means = [float(np.average(trial.outcome[arm], weights=trial.design[arm])) for arm in (treated, ~treated)]
        over = trial.outcome - np.where(treated, means[0], means[1])
        # (n,) whose mean is the effect, over any rows that were not chosen by their outcome.
        self.effects: Floats = means[0] - means[1] + np.where(treated, over / propensity, -over / (1 - propensity))

    def _estimate(self, value: float, influence: Floats) -> Estimate:
        return estimate(value, influence, self._trial.units, confidence=self._config.confidence)

    def mean(self, values: Floats) -> Estimate:
        return self._estimate(float(values.mean()), values - values.mean())

    def gain(self, confidence: float) -> Estimate:
        values = self.effects * (0.5 - self._ordered.ranks())
        return estimate(float(values.mean()), values - values.mean(), self._trial.units, confidence=confidence)

    def at(self, share: float) -> AtShare:
        part = self._ordered.within(0.0, share)
        uplift = self._estimate(*_difference(self._trial, part, self._trial.outcome))
        return AtShare(share=share, uplift=uplift, over_random=self.mean(self.effects * (part - part.mean())))

    def tenth(self, number: int) -> Tenth:
        part, trial = self._ordered.within((number - 1) / 10, number / 10), self._trial
        return Tenth(
            number=number,
            treated=float(part[trial.is_treated].sum()),
            control=float(part[~trial.is_treated].sum()),
            predicted=float(np.average(trial.score, weights=part)),
            uplift=self._estimate(*_difference(trial, part, trial.outcome)),
        )

    def calibration(self) -> Calibration | None:
        score = self._trial.score
        off = score - score.mean()
        spread = float(np.mean(off**2))
        if spread == 0.0:
            return None
        effect = float(self.effects.mean())
        slope = float(np.mean(off * self.effects)) / spread
        left = self.effects - effect - slope * off
        return Calibration(slope=self._estimate(slope, off * left / spread), bias=self.mean(score - self.effects))

    def values(self) -> tuple[PolicyValue, ...]:
        config, score = self._config, self._trial.score
        worth = self.effects * config.outcome_value - config.contact_cost
        wanted = score * config.outcome_value > config.contact_cost
        policies: list[tuple[str, Floats]] = [
            ("everybody", np.ones(len(score), np.float64)),
            ("where the score is worth more than the contact", wanted.astype(np.float64)),
            *((f"the top {share:.0%}", self._ordered.within(0.0, share)) for share in config.shares),
        ]
        return tuple(
            PolicyValue(
                policy=name,
                share=float(part.mean()),
                value=self.mean(worth * part),
                over_all=self.mean(worth * part - worth),
            )
            for name, part in policies
        )


def _verdict(gain: Estimate) -> UpliftVerdict:
    if gain.low > 0.0:
        return UpliftVerdict.TARGETS
    return UpliftVerdict.REVERSED if gain.high < 0.0 else UpliftVerdict.NOTHING_TO_TARGET


def _why(verdict: UpliftVerdict, gain: Estimate, effect: Estimate, detectable: float) -> str:
    span = f"{VERDICT_CONFIDENCE:.0%} between {gain.low:+.4g} and {gain.high:+.4g} per row"
    match verdict:
        case UpliftVerdict.TARGETS:
            return f"treating by the score brings more than at random: {span}"
        case UpliftVerdict.REVERSED:
            return f"treating by the score brings less than at random: {span}"
        case UpliftVerdict.NOTHING_TO_TARGET:
            there_is = (
                "treating has an effect"
                if effect.low > 0.0 or effect.high < 0.0
                else "treating has no effect that would show"
            )
            return (
                f"{there_is} ({effect.low:+.4g} to {effect.high:+.4g} per row), and by the score it is no more than at "
                f"random: {span}; a gain of {detectable:.4g} would most likely have shown"
            )


def _coefficients(trial: Trial, config: UpliftConfig) -> tuple[Interval | None, Interval | None]:
    if not trial.is_binary:
        return None, None
    measure = Coefficients(trial.score, trial.outcome, trial.is_treated, trial.design)
    values = measure(np.ones(trial.count))
    spans = drawn(measure, trial.units, seed=config.seed, confidence=config.confidence)
    qini, auuc = (
        Interval(value=value, low=low, high=high) if np.isfinite(value) else None
        for value, (low, high) in zip(values, spans, strict=True)
    )
    return qini, auuc
