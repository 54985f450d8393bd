"""The outcome model of the doubly robust estimate: expected reward of an action, from decisions of other households.

Cross-fitted: households are dealt into folds, and each is judged by a model that saw none of its decisions. Then the
estimate is as sure of itself as it says, however badly the model learns. With columns of context boosted trees learn;
without any, each action's mean does.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import xgboost
from numpy.typing import NDArray

from insight.evaluation.decisions import Choices, LoggedDecisions

FOLDS: Final = 5
PULL: Final = 10.0
"""Decisions that the mean of all counts for in the mean of one action."""


class OutcomeModel(Protocol):
    """Learns rewards and predicts them."""

    def fit_predict(
        self,
        context: NDArray[np.float32],
        action: NDArray[np.intp],
        reward: NDArray[np.float64],
        *,
        wanted_context: NDArray[np.float32],
        wanted_action: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        """Return (wanted,) expected rewards, learned from (n, columns), (n,) and (n,)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionMeans:
    """Each action's mean reward, drawn toward the mean of all while it is seldom."""

    def fit_predict(
        self,
        context: NDArray[np.float32],
        action: NDArray[np.intp],
        reward: NDArray[np.float64],
        *,
        wanted_context: NDArray[np.float32],
        wanted_action: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        """As the protocol says."""
        del context, wanted_context
        size = int(max(action.max(initial=0), wanted_action.max(initial=0))) + 1
        counts = np.bincount(action, minlength=size)
        sums = np.bincount(action, reward, size)
        means = (sums + PULL * reward.mean()) / (counts + PULL)
        return np.asarray(means[wanted_action], np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostedTrees:
    """Gradient-boosted trees of context and action."""

    seed: int
    rounds: int = 60
    depth: int = 3

    def fit_predict(
        self,
        context: NDArray[np.float32],
        action: NDArray[np.intp],
        reward: NDArray[np.float64],
        *,
        wanted_context: NDArray[np.float32],
        wanted_action: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        """As the protocol says."""
        if reward.min() == reward.max():
            return np.full(len(wanted_action), reward[0])
        # Rewards in any unit: learned around their mean, in units of their spread.
        centre, spread = float(reward.mean()), float(reward.std())
        kinds = ["q"] * context.shape[1] + ["c"]
        learn = xgboost.DMatrix(
            np.column_stack([context, action.astype(np.float32)]),
            (reward - centre) / spread,
            feature_types=kinds,
            enable_categorical=True,
            nthread=1,
        )
        parameters = {
            "objective": "reg:squarederror",
            "tree_method": "hist",
            "max_depth": self.depth,
            "eta": 0.1,
            "min_child_weight": 10,
            "lambda": 2.0,
            "max_cat_to_onehot": 16,
            "base_score": 0.0,
            "nthread": 1,
            "seed": self.seed,
        }
        booster = xgboost.train(parameters, learn, self.rounds, verbose_eval=False)
        # An action that was never met is no category of the trees: by the mean of the actions that were.
        met = np.isin(wanted_action, action)
        codes = np.where(met, wanted_action.astype(np.float32), np.float32(np.nan))
        ask = xgboost.DMatrix(
            np.column_stack([wanted_context, codes]), feature_types=kinds, enable_categorical=True, nthread=1
        )
        return np.asarray(booster.predict(ask), np.float64) * spread + centre


def cross_fitted(
    decisions: LoggedDecisions, policy: Choices, *, model: OutcomeModel, seed: int, folds: int = FOLDS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n,) the expected reward of what was done, and (n,) of what the policy would do."""
    unit_count = int(decisions.units.max()) + 1
    fold_of_unit = np.random.default_rng(seed).permutation(unit_count) % min(folds, unit_count)
    fold = fold_of_unit[decisions.units]
    done = np.empty(decisions.count)
    expected = np.empty(len(policy.action))
    for number in range(int(fold.max()) + 1):
        held, learns = fold == number, fold != number
        entries = held[policy.decision]
        rows, wanted = np.flatnonzero(held), policy.decision[entries]
        predicted = model.fit_predict(
            decisions.context[learns],
            decisions.action[learns],
            decisions.reward[learns],
            wanted_context=decisions.context[np.concatenate([rows, wanted])],
            wanted_action=np.concatenate([decisions.action[rows], policy.action[entries]]),
        )
        done[held], expected[entries] = predicted[: len(rows)], predicted[len(rows) :]
    of_policy = np.bincount(policy.decision, policy.probability * expected, decisions.count)
    return done, np.asarray(of_policy, np.float64)
