"""How the candidates of drafts get their scores: of a model, or of the playbook's priors where none can be used."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from household.deciding.draft import Draft, Scores, context_channel
from household.plan import Plan
from household.scoring import ModelMissing, Scored, Scorer, Way, score_rows

logger = logging.getLogger(__name__)


class DraftScoring:
    """Scores drafts by whatever model is in force. Belongs to the event loop it is used in, but for `in_hand`."""

    def __init__(self, partition: int, scorer: Callable[[], Scorer | None]) -> None:
        self._partition = partition
        self._scorer = scorer
        self._failure_told = ""

    @property
    def may_take_time(self) -> bool:
        """Whether there is a model to be asked."""
        return self._scorer() is not None

    def in_hand(self, plan: Plan, draft: Draft) -> Scores | None:
        """Return the scores of a draft if no model is to be asked for them; safe in any thread."""
        return None if draft.to_score and self.may_take_time else priors(plan, draft)

    async def score(self, plan: Plan, drafts: Sequence[Draft], deadline_s: float | None) -> list[Scores]:
        """Score the candidates of several drafts in one batch; by the playbook's priors where no model is in force.

        Where one is and cannot score, the priors do, and what they score is degraded.
        """
        scorer = self._scorer()
        wanted = [draft for draft in drafts if draft.to_score]
        if scorer is None or not wanted:
            return [priors(plan, draft) for draft in drafts]
        rows = np.concatenate([_rows(plan, draft) for draft in wanted])
        try:
            scored = await scorer.score(rows, deadline_s=deadline_s)
        except ModelMissing as missing:
            if self._is_news(missing):
                logger.error("partition %d: the playbook's priors score: %s", self._partition, missing)
            return _worse(plan, drafts)
        except Exception as wrong:  # whatever a model does, a decision is made
            if self._is_news(wrong):
                logger.exception("the scorer failed on %d rows; the playbook's priors score", len(rows))
            return _worse(plan, drafts)
        self._failure_told = ""
        return list(_shared_out(drafts, scored))

    def _is_news(self, wrong: Exception) -> bool:
        """Return whether this has not just been logged: it may happen to every decision."""
        before, self._failure_told = self._failure_told, f"{type(wrong).__name__}: {wrong}"
        return before != self._failure_told


def _rows(plan: Plan, draft: Draft) -> NDArray[np.float32]:
    offers = draft.to_score
    channels = [max(context_channel(plan, draft, offer), 0) for offer in offers]
    return score_rows(
        plan,
        readings=draft.readings,
        offers=np.array(offers, np.int64),
        prices_minor=np.array([draft.prices_minor[offer] for offer in offers], np.int64),
        has_moment=np.array([bool(draft.journey_by_offer[offer]) for offer in offers]),
        channel=np.array(channels, np.int64),
        local_minute_of_week=draft.local_minute_of_week,
    )


def priors(plan: Plan, draft: Draft) -> Scores:
    """Return the playbook's own scores of a draft."""
    by_offer = {offer: plan.offers[offer].prior_acceptance for offer in draft.to_score}
    return Scores(by_offer=by_offer, model_version="prior", degraded=False, way=Way.PRIOR.value if by_offer else "")


def _worse(plan: Plan, drafts: Sequence[Draft]) -> list[Scores]:
    """Return the priors in place of a model's scores."""
    return [replace(priors(plan, draft), degraded=bool(draft.to_score)) for draft in drafts]


def _shared_out(drafts: Sequence[Draft], scored: Scored) -> Iterator[Scores]:
    at = 0
    for draft in drafts:
        offers = draft.to_score
        by_offer = {
            offer: float(score) for offer, score in zip(offers, scored.scores[at : at + len(offers)], strict=True)
        }
        at += len(offers)
        is_degraded, way = scored.degraded and bool(offers), scored.way.value if offers else ""
        yield Scores(by_offer=by_offer, model_version=scored.model_version, degraded=is_degraded, way=way)
