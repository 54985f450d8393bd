"""Whether a model is better than what is in force, on decisions that neither has seen.

Two measures, each with the interval of a paired bootstrap: whole households are drawn, since the decisions of one
resemble each other, and both models are judged on the same draw. Better means that the log loss is lower beyond doubt
(the interval ends below 0) and that the order of the offers (AUC) is no worse.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from household.plan import Plan
from household.scoring import feature_schema
from serving.models.bundle import Bundle
from serving.models.examples import Examples
from serving.models.measures import auc, logloss
from serving.models.probe import PRIOR_COLUMN, open_booster, predict

PRIOR: Final = "prior"
"""What decisions and comparisons call the playbook's priors."""

CONFIDENCE: Final = 0.95
DRAWS: Final = 1_000
DRAWN_ROWS_MAX: Final = 200_000_000
"""Draws times rows; beyond this fewer draws are made, though never fewer than 200."""
LEAST: Final = 20
"""Acceptances, refusals and households: with fewer, the interval itself is not to be trusted."""

EVER: Final = -(2**62)


class Verdict(Enum):
    """What a comparison comes to."""

    BETTER = "better"
    NOT_BETTER = "not better"
    WORSE = "worse"
    TOO_LITTLE = "too little to compare"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One side of a comparison."""

    version: str
    """Or PRIOR."""
    seen_to_us: int | None
    """Decisions up to then it may have learned from; None when nothing tells."""
    score: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    """(n, columns) to (n,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate against an incumbent. Differences are candidate minus incumbent."""

    candidate: str
    incumbent: str
    verdict: Verdict
    why: str
    """In a sentence."""
    seen_to_us: int | None
    """Only decisions after this were compared."""
    rows: int
    positives: int
    households: int
    candidate_logloss: float | None = None
    """None, as all that follow, where there is too little."""
    incumbent_logloss: float | None = None
    logloss_difference: float | None = None
    """Below 0 the candidate is better."""
    logloss_interval: tuple[float, float] | None = None
    candidate_auc: float | None = None
    incumbent_auc: float | None = None
    auc_difference: float | None = None
    """Above 0 the candidate is better."""
    auc_interval: tuple[float, float] | None = None
    confidence: float = CONFIDENCE


def of_bundle(bundle: Bundle) -> Contender:
    """Return a model version as a contender."""
    booster = open_booster(bundle.model)
    facts = bundle.manifest.training
    # Models that were saved before it was noted tell of their newest row, their report's included.
    seen = facts.get("seen_to_us") if facts.get("seen_to_us") is not None else facts.get("to_us")
    is_time = isinstance(seen, int) and not isinstance(seen, bool)
    return Contender(
        version=bundle.version, seen_to_us=seen if is_time else None, score=lambda rows: predict(booster, rows)
    )


def of_priors(plan: Plan) -> Contender:
    """Return the playbook's priors as a contender. They have learned from nothing."""
    place = feature_schema(plan).names.index(PRIOR_COLUMN)
    return Contender(version=PRIOR, seen_to_us=EVER, score=lambda rows: rows[:, place])


def silence_of(version: str) -> str:
    """Return what is said of a version that is to be compared, and does not tell what it has seen."""
    return (
        f"nothing tells what {version} has learned from, so any decision may be one that it has seen; "
        "`hearth models register` takes the time of the newest by --seen-to"
    )


def compare(examples: Examples, *, candidate: Contender, incumbent: Contender, seed: int = 0) -> Comparison:
    """Return how a candidate does against an incumbent on the examples that neither has seen."""
    if candidate.seen_to_us is None or incumbent.seen_to_us is None:
        silent = candidate if candidate.seen_to_us is None else incumbent
        why = silence_of(silent.version)
        return _too_little(candidate, incumbent, None, (0, 0, 0), why)
    seen_to_us = max(candidate.seen_to_us, incumbent.seen_to_us)
    unseen = examples.decided_us > seen_to_us
    accepted = examples.accepted[unseen]
    names, households = np.unique(examples.households[unseen], return_inverse=True)
    counts = (len(accepted), int(accepted.sum()), len(names))
    rows, positives, household_count = counts
    if min(positives, rows - positives, household_count) < LEAST:
        why = (
            f"neither has seen {rows} decisions of {household_count} households, {positives} of them accepted; "
            f"{LEAST} accepted, {LEAST} not accepted and {LEAST} households are needed"
        )
        return _too_little(candidate, incumbent, seen_to_us, counts, why)

    ours, theirs = candidate.score(examples.rows[unseen]), incumbent.score(examples.rows[unseen])
    losses, areas = _bootstrap(ours, theirs, accepted, households, household_count, seed=seed)
    our_loss, their_loss = logloss(ours, accepted), logloss(theirs, accepted)
    our_area, their_area = auc(ours, accepted), auc(theirs, accepted)
    loss_interval, area_interval = _interval(losses), _interval(areas)
    verdict = _verdict(loss_interval, area_interval, area_difference=our_area - their_area)
    return Comparison(
        candidate=candidate.version,
        incumbent=incumbent.version,
        verdict=verdict,
        why=(
            f"on {rows} decisions of {household_count} households that neither has seen, {positives} accepted: "
            f"log loss {our_loss:.4f} against {their_loss:.4f} "
            f"(difference {our_loss - their_loss:+.4f}, {CONFIDENCE:.0%} between {_span(loss_interval)}), "
            f"AUC {our_area:.3f} against {their_area:.3f} "
            f"(difference {our_area - their_area:+.3f}, {CONFIDENCE:.0%} between {_span(area_interval)})"
        ),
        seen_to_us=seen_to_us,
        rows=rows,
        positives=positives,
        households=household_count,
        candidate_logloss=our_loss,
        incumbent_logloss=their_loss,
        logloss_difference=our_loss - their_loss,
        logloss_interval=loss_interval,
        candidate_auc=our_area,
        incumbent_auc=their_area,
        auc_difference=our_area - their_area,
        auc_interval=area_interval,
    )


def _too_little(
    candidate: Contender, incumbent: Contender, seen_to_us: int | None, counts: tuple[int, int, int], why: str
) -> Comparison:
    rows, positives, households = counts
    return Comparison(
        candidate=candidate.version,
        incumbent=incumbent.version,
        verdict=Verdict.TOO_LITTLE,
        why=why,
        seen_to_us=seen_to_us,
        rows=rows,
        positives=positives,
        households=households,
    )


def _verdict(
    loss_interval: tuple[float, float], area_interval: tuple[float, float], *, area_difference: float
) -> Verdict:
    if loss_interval[0] > 0 or area_interval[1] < 0:
        return Verdict.WORSE
    return Verdict.BETTER if loss_interval[1] < 0 and area_difference >= 0 else Verdict.NOT_BETTER


def _bootstrap(
    ours: NDArray[np.float32],
    theirs: NDArray[np.float32],
    accepted: NDArray[np.bool_],
    households: NDArray[np.intp],
    household_count: int,
    *,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (draws,) differences of log loss and of AUC, ours minus theirs, over draws of whole households."""
    draw = np.random.default_rng(seed)
    differences = _losses(ours, accepted) - _losses(theirs, accepted)
    loss_sums = np.bincount(households, differences, household_count)
    row_counts = np.bincount(households, minlength=household_count)
    our_area, their_area = _WeightedAuc(ours, accepted), _WeightedAuc(theirs, accepted)
    losses, areas = [], []
    for _ in range(max(200, min(DRAWS, DRAWN_ROWS_MAX // len(ours)))):
        times = np.bincount(draw.integers(0, household_count, household_count), minlength=household_count)
        losses.append(float(times @ loss_sums) / max(int(times @ row_counts), 1))
        weights = times[households].astype(np.float64)
        areas.append(our_area(weights) - their_area(weights))
    return np.array(losses), np.array(areas)


def _losses(scores: NDArray[np.float32], accepted: NDArray[np.bool_]) -> NDArray[np.float64]:
    likely = np.clip(np.asarray(scores, np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(-np.log(np.where(accepted, likely, 1 - likely)))


class _WeightedAuc:
    """The AUC of fixed scores under changing weights: sorted once."""

    def __init__(self, scores: NDArray[np.float32], accepted: NDArray[np.bool_]) -> None:
        self._order = np.argsort(scores, kind="stable")
        self._starts = np.flatnonzero(np.diff(scores[self._order], prepend=np.float32(-1)))
        self._accepted = accepted[self._order]

    def __call__(self, weights: NDArray[np.float64]) -> float:
        """Return the AUC of (n,) weighted rows, ties counting half; 0.5 where a draw has one outcome only."""
        sorted_weights = weights[self._order]
        positive = np.add.reduceat(sorted_weights * self._accepted, self._starts)
        negative = np.add.reduceat(sorted_weights * ~self._accepted, self._starts)
        pairs = float(positive.sum() * negative.sum())
        if pairs == 0.0:
            return 0.5
        below = np.cumsum(negative) - negative / 2
        return float(positive @ below) / pairs


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _span(interval: tuple[float, float]) -> str:
    return f"{interval[0]:+.4f} and {interval[1]:+.4f}"
