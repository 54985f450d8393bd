"""How the candidates of drafts get their scores: of the lineup's models, or of the playbook's priors.

A decision is scored by one version whole. Shadows are asked of the same rows while the answer of the model plane is on
its way, and by the copy in this process: they may not make a decision wait for a replica of theirs.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from actors.partition.lineup import Lineup, Shadow
from household.deciding.draft import Draft, Scores, context_channel
from household.plan import Plan
from household.scoring import ModelMissing, Scored, Scorer, Way, score_rows

logger = logging.getLogger(__name__)

TURNS_TO_LEAVE = 3
"""Turns of the event loop after which a request has left for the model plane (see `ServeScorer._send`)."""


class DraftScoring:
    """Scores drafts in one batch for each version. Belongs to the event loop it is used in, but for `in_hand`."""

    def __init__(self, partition: int, lineup: Callable[[], Lineup]) -> None:
        self._partition = partition
        self._lineup = lineup
        self._told: dict[int, str] = {}
        """By the place of a version in the lineup, 0 for those that decide: the failure that was logged last."""

    @property
    def may_take_time(self) -> bool:
        """Whether there is a model to be asked."""
        return not self._lineup().is_priors

    def in_hand(self, plan: Plan, draft: Draft) -> Scores | None:
        """Return the scores of a draft if no model is to be asked for them; safe in any thread."""
        return None if draft.to_score and self.may_take_time else priors(plan, draft)

    async def score(self, plan: Plan, drafts: Sequence[Draft], deadline_s: float | None) -> list[Scores]:
        """Return scores of each draft's candidates; by the playbook's priors where no model is in force.

        Where one is and cannot score, the priors do, and what they score is degraded.
        """
        lineup = self._lineup()
        if not lineup.shadows or not any(draft.to_score for draft in drafts):
            return await self._decide_by(lineup, plan, drafts, deadline_s)
        deciding = asyncio.ensure_future(self._decide_by(lineup, plan, drafts, deadline_s))
        try:
            for _ in range(TURNS_TO_LEAVE):
                await asyncio.sleep(0)
            beside = [
                await self._shadow(place, shadow, plan, drafts) for place, shadow in enumerate(lineup.shadows, start=1)
            ]
            decided_by = await deciding
        finally:
            deciding.cancel()
        return [
            replace(scores, shadows=tuple((version, parts[at]) for version, parts in beside if parts and parts[at]))
            for at, scores in enumerate(decided_by)
        ]

    async def _decide_by(
        self, lineup: Lineup, plan: Plan, drafts: Sequence[Draft], deadline_s: float | None
    ) -> list[Scores]:
        if lineup.canary is None:
            return await self._score(lineup.champion, plan, drafts, deadline_s)
        scorers = [lineup.scorer_for(draft.birth_id) for draft in drafts]
        distinct = list({id(one): one for one in scorers}.values())
        if len(distinct) == 1:
            return await self._score(distinct[0], plan, drafts, deadline_s)
        parts = [[at for at, one in enumerate(scorers) if one is scorer] for scorer in distinct]
        asked = (
            self._score(scorer, plan, [drafts[at] for at in part], deadline_s)
            for scorer, part in zip(distinct, parts, strict=True)
        )
        answers = await asyncio.gather(*asked)
        by_place = {
            at: one for part, scored in zip(parts, answers, strict=True) for at, one in zip(part, scored, strict=True)
        }
        return [by_place[at] for at in range(len(drafts))]

    async def _score(
        self, scorer: Scorer | None, plan: Plan, drafts: Sequence[Draft], deadline_s: float | None
    ) -> list[Scores]:
        wanted = [draft for draft in drafts if draft.to_score]
        if scorer is None or not wanted:
            return [priors(plan, draft) for draft in drafts]
        rows = np.concatenate([_rows(plan, draft) for draft in wanted])
        try:
            scored = await scorer.score(rows, deadline_s=deadline_s)
        except ModelMissing as missing:
            if self._is_news(0, missing):
                logger.error("partition %d: the playbook's priors score: %s", self._partition, missing)
            return _worse(plan, drafts)
        except Exception as wrong:  # whatever a model does, a decision is made
            if self._is_news(0, wrong):
                logger.exception("the scorer failed on %d rows; the playbook's priors score", len(rows))
            return _worse(plan, drafts)
        self._told.pop(0, None)
        return list(_shared_out(drafts, scored))

    async def _shadow(
        self, place: int, shadow: Shadow, plan: Plan, drafts: Sequence[Draft]
    ) -> tuple[str, list[dict[int, float]]]:
        """Return a shadow's version and what it says of each draft; of none where it fails, which harms no decision."""
        rows = np.concatenate([_rows(plan, draft) for draft in drafts if draft.to_score])
        try:
            scored = await shadow.scorer.score(rows)
            parts = [one.by_offer for one in _shared_out(drafts, scored)]
        except Exception as wrong:  # whatever a model does, a decision is made
            if self._is_news(place, wrong):
                logger.exception(
                    "partition %d: shadow %s failed on %d rows", self._partition, shadow.version, len(rows)
                )
            return shadow.version, []
        self._told.pop(place, None)
        return shadow.version, parts

    def _is_news(self, place: int, wrong: Exception) -> bool:
        """Return whether this has not just been logged: it may happen to every decision."""
        before, self._told[place] = self._told.get(place), f"{type(wrong).__name__}: {wrong}"
        return before != self._told[place]


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
