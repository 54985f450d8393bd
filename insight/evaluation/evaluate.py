"""Evaluate a policy on decisions that another one made: estimates with intervals, or why the data cannot answer.

Looked at in this order, and refused at the first that does not hold: each propensity is known and above 0; the policy
chooses nothing that could not have been chosen; the effective sample and the number of households are enough; the
weights are 1 on average, as they are whenever the propensities are right.
"""

from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from insight.evaluation.decisions import LoggedDecisions, probability_of
from insight.evaluation.estimators import Valued, doubly_robust, effective_sample, ips, mean_of, snips
from insight.evaluation.outcome_model import ActionMeans, BoostedTrees, OutcomeModel, cross_fitted
from insight.evaluation.policies import Policy
from insight.intervals import CONFIDENCE, Estimate, estimate

HOUSEHOLDS_LEAST: Final = 30
"""With fewer, the interval itself is not to be trusted."""

NAMED_MOST: Final = 3

WEIGHTS_CONFIDENCE: Final = 0.9999
"""How sure it must be that the weights are not 1 on average before nothing is said at all."""


class PolicyRefusalReason(Enum):
    """Why data cannot answer."""

    NO_DECISIONS = "no decisions"
    PROPENSITY_UNKNOWN = "propensity unknown"
    PROPENSITY_ZERO = "propensity zero"
    NEVER_CHOSEN = "never chosen"
    EFFECTIVE_SAMPLE = "effective sample too small"
    HOUSEHOLDS = "too few households"
    WEIGHTS_OFF = "propensities wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRefusal:
    """That data cannot answer, and why."""

    reason: PolicyRefusalReason
    why: str
    """In a sentence, with the numbers, for whom, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """What is asked of the data."""

    confidence: float = CONFIDENCE
    effective_sample_min: float = 100.0
    weight_max: float | None = None
    """Larger weights count as this, and the report says what that leaves out; None clips nothing."""
    only_supported: bool = False
    """Speak for the decisions alone where the policy could be followed, instead of refusing."""
    seed: int = 0
    """Of the folds and trees of the outcome model."""

    def __post_init__(self) -> None:
        assert 0 < self.confidence < 1
        assert self.effective_sample_min >= 0
        assert self.weight_max is None or self.weight_max > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How much of what the policy would do was done."""

    effective_sample: float
    followed_share: float
    """Of decisions, those in which the policy might have done what was done."""
    mean_weight: Estimate
    """1 but for chance whenever the propensities are right and nothing is clipped."""
    largest_weight: float
    heaviest_hundredth: float
    """Share of all weight that lies on the heaviest hundredth of decisions."""
    least_propensity: float
    clipped: int
    """Decisions whose weight was held down."""
    clipped_weight: float
    """Share of all weight that was cut off by that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a policy would have brought per decision, as far as the data can tell."""

    policy: str
    decisions: int
    households: int
    left_out: dict[str, int]
    is_support_known: bool
    """Whether the data say what else could have been chosen; else only what was never chosen at all is noticed."""
    refusal: PolicyRefusal | None
    overlap: Overlap | None = None
    logged: Estimate | None = None
    """What was in force brought. None, as all that follow, where the data cannot answer."""
    dr: Estimate | None = None
    difference: Estimate | None = None
    """DR less what was in force."""
    ips: Estimate | None = None
    snips: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PolicyValued:
    """What a policy would have brought, with how each decision moves that."""

    decisions: LoggedDecisions
    """Those that it speaks for."""
    policy: Policy
    overlap: Overlap
    dr: Valued
    ips: Valued
    snips: Valued


def evaluate(
    decisions: LoggedDecisions,
    policy: Policy,
    *,
    config: EvaluationConfig | None = None,
    model: OutcomeModel | None = None,
) -> Evaluation:
    """Return what a policy would have brought; the same to the last bit for the same arguments.

    Args:
        policy: its choices for these very decisions.
        model: of outcomes, for DR; None takes trees where there is context, and means of actions where not.
    """
    config = config or EvaluationConfig()
    found = valued(decisions, policy, config=config, model=model)
    if isinstance(found, Evaluation):
        return found
    decisions, robust, logged = found.decisions, found.dr, mean_of(found.decisions.reward)

    def interval(one: Valued) -> Estimate:
        return estimate(one.value, one.influence, decisions.units, confidence=config.confidence)

    gained = Valued(value=robust.value - logged.value, influence=robust.influence - logged.influence)
    return replace(
        _refused(decisions, found.policy, None, found.overlap),
        logged=interval(logged),
        dr=interval(robust),
        difference=interval(gained),
        ips=interval(found.ips),
        snips=interval(found.snips),
    )


def valued(
    decisions: LoggedDecisions, policy: Policy, *, config: EvaluationConfig, model: OutcomeModel | None = None
) -> PolicyValued | Evaluation:
    """Return what a policy would have brought, decision by decision, or the refusal; arguments as of `evaluate`."""
    refusal = _unusable(decisions)
    if refusal is not None:
        return _refused(decisions, policy, refusal)
    supported, refusal = _support(decisions, policy)
    if refusal is not None:
        if not config.only_supported or not supported.any():
            return _refused(decisions, policy, refusal)
        decisions, policy = decisions.only(supported, "not supported"), _only(policy, supported)
    full = probability_of(policy.choices, decisions.action, action_count=len(policy.actions)) / decisions.propensity
    weights = full if config.weight_max is None else np.minimum(full, config.weight_max)
    overlap = _overlap(decisions, weights, full, config)
    refusal = _too_little(decisions, overlap, full, config)
    if refusal is not None:
        return _refused(decisions, policy, refusal, overlap)

    if model is None:
        model = BoostedTrees(seed=config.seed) if decisions.context.shape[1] else ActionMeans()
    done, expected = cross_fitted(decisions, policy.choices, model=model, seed=config.seed)
    return PolicyValued(
        decisions=decisions,
        policy=policy,
        overlap=overlap,
        dr=doubly_robust(decisions.reward, weights, expected_done=done, expected_policy=expected),
        ips=ips(decisions.reward, weights),
        snips=snips(decisions.reward, weights),
    )


def _refused(
    decisions: LoggedDecisions, policy: Policy, refusal: PolicyRefusal | None, overlap: Overlap | None = None
) -> Evaluation:
    return Evaluation(
        policy=policy.name,
        decisions=decisions.count,
        households=len(np.unique(decisions.units)),
        left_out={reason: count for reason, count in decisions.left_out.items() if count},
        is_support_known=decisions.logged is not None,
        refusal=refusal,
        overlap=overlap,
    )


def _unusable(decisions: LoggedDecisions) -> PolicyRefusal | None:
    if not decisions.count:
        return PolicyRefusal(reason=PolicyRefusalReason.NO_DECISIONS, why="there is no decision to evaluate on")
    for wrong, reason, what in (
        (np.isnan(decisions.propensity), PolicyRefusalReason.PROPENSITY_UNKNOWN, "have no propensity"),
        (decisions.propensity == 0.0, PolicyRefusalReason.PROPENSITY_ZERO, "have propensity 0, though they were made"),
    ):
        if wrong.any():
            return PolicyRefusal(
                reason=reason,
                why=f"{int(wrong.sum()):,} of {decisions.count:,} decisions {what} ({_named(decisions, wrong)}); how "
                "likely each choice was must have been recorded when it was made",
            )
    return None


def _named(decisions: LoggedDecisions, wrong: NDArray[np.bool_]) -> str:
    some = [decisions.ids[int(index)].as_py() for index in np.flatnonzero(wrong)[:NAMED_MOST]]
    return ", ".join(some) + (", …" if int(wrong.sum()) > NAMED_MOST else "")


def _support(decisions: LoggedDecisions, policy: Policy) -> tuple[NDArray[np.bool_], PolicyRefusal | None]:
    """Return (n,) where all that the policy would choose could have been chosen, and the refusal where it could not."""
    choices, size = policy.choices, len(policy.actions)
    wanted = choices.probability > 0
    if decisions.logged is not None:
        possible = decisions.logged.decision * size + decisions.logged.action
        possible = possible[decisions.logged.probability > 0]
        out = wanted & ~np.isin(choices.decision * size + choices.action, possible)
    else:
        out = wanted & ~np.isin(choices.action, decisions.action)
    supported = np.ones(decisions.count, np.bool_)
    supported[choices.decision[out]] = False
    if supported.all():
        return supported, None
    counts = Counter({policy.actions[one]: n for one, n in enumerate(np.bincount(choices.action[out])) if n})
    what = "could not have been chosen there" if decisions.logged is not None else "was never chosen at all"
    some = ", ".join(f"{name!r} in {count:,}" for name, count in counts.most_common(NAMED_MOST))
    more = f" and {len(counts) - NAMED_MOST} more" if len(counts) > NAMED_MOST else ""
    return supported, PolicyRefusal(
        reason=PolicyRefusalReason.NEVER_CHOSEN,
        why=f"in {int((~supported).sum()):,} of {decisions.count:,} decisions the policy wants what {what}, propensity "
        f"0 ({_named(decisions, ~supported)}): {some}{more}; --only-supported speaks for the other "
        f"{int(supported.sum()):,} alone",
    )


def _only(policy: Policy, kept: NDArray[np.bool_]) -> Policy:
    entries, place = kept[policy.choices.decision], np.cumsum(kept) - 1
    choices = replace(
        policy.choices,
        decision=place[policy.choices.decision[entries]],
        action=policy.choices.action[entries],
        probability=policy.choices.probability[entries],
    )
    return replace(policy, choices=choices)


def _overlap(
    decisions: LoggedDecisions, weights: NDArray[np.float64], full: NDArray[np.float64], config: EvaluationConfig
) -> Overlap:
    total, heaviest = float(weights.sum()), max(1, len(weights) // 100)
    mean = mean_of(full)
    is_clipped = full > weights
    return Overlap(
        effective_sample=effective_sample(weights),
        followed_share=float((weights > 0).mean()),
        mean_weight=estimate(mean.value, mean.influence, decisions.units, confidence=config.confidence),
        largest_weight=float(weights.max()),
        heaviest_hundredth=float(np.sort(weights)[-heaviest:].sum()) / total if total else 0.0,
        least_propensity=float(decisions.propensity.min()),
        clipped=int(is_clipped.sum()),
        clipped_weight=float((full - weights).sum() / full.sum()) if is_clipped.any() else 0.0,
    )


def _too_little(
    decisions: LoggedDecisions, overlap: Overlap, full: NDArray[np.float64], config: EvaluationConfig
) -> PolicyRefusal | None:
    if overlap.effective_sample < config.effective_sample_min:
        return PolicyRefusal(
            reason=PolicyRefusalReason.EFFECTIVE_SAMPLE,
            why=f"the {decisions.count:,} decisions tell as much as {overlap.effective_sample:.1f} of the policy's own "
            f"would, and {config.effective_sample_min:g} are needed: what it would do was seldom done; more decisions, "
            "more exploration, or a policy nearer to the one in force would tell",
        )
    households = int(decisions.units.max()) + 1
    if households < HOUSEHOLDS_LEAST:
        return PolicyRefusal(
            reason=PolicyRefusalReason.HOUSEHOLDS,
            why=f"the decisions are of {households} households, and an interval needs {HOUSEHOLDS_LEAST}, since those "
            "of one household resemble each other",
        )
    mean = mean_of(full)
    sure = estimate(mean.value, mean.influence, decisions.units, confidence=WEIGHTS_CONFIDENCE)
    if not sure.low <= 1.0 <= sure.high:
        return PolicyRefusal(
            reason=PolicyRefusalReason.WEIGHTS_OFF,
            why=f"the weights are {mean.value:.3f} on average (± {sure.standard_error:.3f}) and not 1: the "
            "propensities are not those by which these choices were made, or what the policy wants could not be chosen",
        )
    return None
