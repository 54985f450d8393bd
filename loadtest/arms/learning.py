"""What both arms that speak go by: a model of P(accept), learned beforehand of a town that nobody measures.

So the arms differ in when they ask it, and of which features, and in nothing else. Rows are those that Hearth scores
and trains on; whether a moment brought an action up is left out of them, since that says which arm one is in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xgboost
from numpy.typing import NDArray

from household.deciding.draft import Draft, context_channel
from household.plan import Plan
from household.scoring import feature_schema, rows_from_record, score_rows
from loadtest.arms.core import Spoken

ROUNDS = 150
HELD_LEAST, HELD_MOST = 1e-4, 1 - 1e-4
"""Priors are held within these before their log-odds are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenAction:
    """One action that was seen, and what became of it."""

    row: NDArray[np.float32]
    """(columns,) as it would have been scored."""
    is_accepted: bool


def example_of(spoken: Spoken, plan: Plan, *, is_accepted: bool) -> SeenAction:
    """Return what is to be learned of an action that was seen."""
    rows = rows_from_record(
        plan,
        state=spoken.decision.state_vector,
        offers=np.array([spoken.offer]),
        prices_minor=np.array([spoken.price_minor]),
        has_moment=False,
        channel=spoken.channel,
        local_minute_of_week=spoken.decision.local_minute_of_week,
    )
    return SeenAction(row=rows[0], is_accepted=is_accepted)


def learned(examples: Sequence[SeenAction], plan: Plan, *, seed: int) -> bytes:
    """Return a model whose trees correct the playbook's priors; empty if there is nothing to learn."""
    accepted = np.array([one.is_accepted for one in examples], np.float32)
    if not 0 < accepted.sum() < len(accepted):
        return b""
    rows = np.stack([one.row for one in examples])
    matrix = xgboost.DMatrix(rows, accepted, base_margin=_margin(rows, plan), nthread=1)
    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": 4,
        "eta": 0.08,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "min_child_weight": 5,
        "lambda": 2.0,
        "nthread": 1,
        "seed": seed,
    }
    return bytes(xgboost.train(parameters, matrix, ROUNDS, verbose_eval=False).save_raw("ubj"))


class Model:
    """A model that scores drafts."""

    def __init__(self, model: bytes) -> None:
        self._booster = xgboost.Booster({"nthread": 1})
        self._booster.load_model(bytearray(model))
        self._booster.set_param({"nthread": 1})

    def __call__(self, plan: Plan, draft: Draft) -> dict[int, float]:
        """Return P(accept) of each candidate that is to be scored."""
        offers = draft.to_score
        if not offers:
            return {}
        rows = score_rows(
            plan,
            readings=draft.readings,
            offers=np.array(offers),
            prices_minor=np.array([draft.price_minor(offer) for offer in offers]),
            has_moment=False,
            channel=np.array([max(context_channel(plan, draft, offer), 0) for offer in offers]),
            local_minute_of_week=draft.local_minute_of_week,
        )
        scores = self._booster.inplace_predict(rows, base_margin=_margin(rows, plan))
        return dict(zip(offers, np.asarray(scores, np.float64).tolist(), strict=True))


def _margin(rows: NDArray[np.float32], plan: Plan) -> NDArray[np.float32]:
    prior = rows[:, feature_schema(plan).names.index("prior_acceptance")]
    held = np.clip(np.nan_to_num(prior, nan=0.5), HELD_LEAST, HELD_MOST)
    return np.asarray(np.log(held / (1 - held)), np.float32)
