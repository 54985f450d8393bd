"""How the candidates of drafts get their scores: of the lineup's models, or of the playbook's priors.

Each term of a value is scored by one version whole, and the models of all terms are asked at once, each of one batch of
rows. One that cannot score costs its own term alone. Shadows are asked of the same rows while the answer of the model
plane is on its way, and by the copy in this process: they may not make a decision wait for a replica of theirs.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from actors.partition.lineup import Lineup, Shadow
from household.deciding.draft import Draft, Scores, context_channel
from household.plan import Plan, ValueTerm
from household.scoring import ModelMissing, Scored, Scorer, Way, score_rows, state_vector

logger = logging.getLogger(__name__)

TURNS_TO_LEAVE = 3
"""Turns of the event loop after which a request has left for the model plane (see `ServeScorer._send`)."""

WHY_LENGTH_MAX = 200
"""Characters of a failure that a decision keeps."""


class DraftScoring:
    """Scores drafts, each term in one batch for each version. Belongs to its event loop, but for `in_hand`."""

    def __init__(self, partition: int, lineup: Callable[[], Lineup]) -> None:
        self._lineup = lineup
        self._by_term = {term: _TermScoring(partition, term) for term in ValueTerm}

    @property
    def may_take_time(self) -> bool:
        """Whether there is a model to be asked."""
        return not self._lineup().is_priors

    def in_hand(self, plan: Plan, draft: Draft) -> Scores | None:
        """Return the scores of a draft if no model is to be asked for them; safe in any thread."""
        return None if draft.to_score and self.may_take_time else priors(plan, draft)

    async def score(self, plan: Plan, drafts: Sequence[Draft], deadline_s: float | None) -> list[Scores]:
        """Return scores of each draft's candidates; by the playbook's priors where no model is in force.

        Where one is and cannot score, the priors do, and what they score is degraded; of another term, that one alone.
        """
        lineup, rows = self._lineup(), _Rows(plan)
        terms = lineup.terms_for(plan) if lineup.terms else ()
        acceptance = self._by_term[ValueTerm.ACCEPTANCE].score(lineup, rows, drafts, deadline_s)
        if not terms or not any(draft.to_score for draft in drafts):
            return [_with_terms(plan, draft, one, {}) for draft, one in zip(drafts, await acceptance, strict=True)]
        scored, *others = await asyncio.gather(
            acceptance, *(self._by_term[one.term].score(one.lineup, rows, drafts, deadline_s) for one in terms)
        )
        return [
            _with_terms(plan, draft, one, {each.term: said for each, said in zip(terms, told, strict=True)})
            for draft, one, *told in zip(drafts, scored, *others, strict=True)
        ]


class _Rows:
    """The rows of drafts under one plan, each built once however many versions are asked of them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._built: dict[tuple[int, bool], NDArray[np.float32]] = {}

    def of(self, term: ValueTerm, draft: Draft) -> NDArray[np.float32]:
        """Return (n, columns) float32: a row for each candidate to score, or one where a term is the household's."""
        key = (id(draft), term.is_of_household)
        found = self._built.get(key)
        if found is None:
            made = state_vector(self.plan, draft.readings)[None] if term.is_of_household else _rows(self.plan, draft)
            found = self._built[key] = made
        return found


class _TermScoring:
    """Scores drafts by the versions of one term's model."""

    def __init__(self, partition: int, term: ValueTerm) -> None:
        self._partition = partition
        self._term = term
        self._told: dict[int, str] = {}
        """By the place of a version in the lineup, 0 for those that decide: the failure that was logged last."""

    async def score(
        self, lineup: Lineup, rows: _Rows, drafts: Sequence[Draft], deadline_s: float | None
    ) -> list[Scores]:
        """Return scores of each draft's candidates, by the version that decides for its household, and by shadows."""
        if not lineup.knows(rows.plan):
            # Another playbook has come into force, and what scores by it has not been told yet.
            return self._worse(rows.plan, drafts, "it was trained on the features of another playbook")
        if not lineup.shadows or not any(draft.to_score for draft in drafts):
            return await self._decide_by(lineup, rows, drafts, deadline_s)
        deciding = asyncio.ensure_future(self._decide_by(lineup, rows, drafts, deadline_s))
        try:
            for _ in range(TURNS_TO_LEAVE):
                await asyncio.sleep(0)
            beside = [await self._shadow(place, shadow, rows, drafts) for place, shadow in enumerate(lineup.shadows, 1)]
            decided_by = await deciding
        finally:
            deciding.cancel()
        return [
            replace(scores, shadows=tuple((version, parts[at]) for version, parts in beside if parts and parts[at]))
            for at, scores in enumerate(decided_by)
        ]

    async def _decide_by(
        self, lineup: Lineup, rows: _Rows, drafts: Sequence[Draft], deadline_s: float | None
    ) -> list[Scores]:
        if lineup.canary is None:
            return await self._score(lineup.champion, rows, drafts, deadline_s)
        scorers = [lineup.scorer_for(draft.birth_id) for draft in drafts]
        distinct = list({id(one): one for one in scorers}.values())
        if len(distinct) == 1:
            return await self._score(distinct[0], rows, drafts, deadline_s)
        parts = [[at for at, one in enumerate(scorers) if one is scorer] for scorer in distinct]
        asked = (
            self._score(scorer, rows, [drafts[at] for at in part], deadline_s)
            for scorer, part in zip(distinct, parts, strict=True)
        )
        answers = await asyncio.gather(*asked)
        by_place = {
            at: one for part, scored in zip(parts, answers, strict=True) for at, one in zip(part, scored, strict=True)
        }
        return [by_place[at] for at in range(len(drafts))]

    async def _score(
        self, scorer: Scorer | None, rows: _Rows, drafts: Sequence[Draft], deadline_s: float | None
    ) -> list[Scores]:
        wanted = [draft for draft in drafts if draft.to_score]
        if scorer is None or not wanted:
            return [_assumed(self._term, rows.plan, draft) for draft in drafts]
        asked = np.concatenate([rows.of(self._term, draft) for draft in wanted])
        try:
            scored = await scorer.score(asked, deadline_s=deadline_s)
            shared = list(self._shared_out(drafts, scored))
        except ModelMissing as missing:
            if self._is_news(0, missing):
                logger.error("partition %d: the playbook's priors score %s: %s", self._partition, self._term, missing)
            return self._worse(rows.plan, drafts, str(missing))
        except Exception as wrong:  # whatever a model does, a decision is made
            if self._is_news(0, wrong):
                logger.exception(
                    "%s: the scorer failed on %d rows; the playbook's priors score", self._term, len(asked)
                )
            return self._worse(rows.plan, drafts, f"{type(wrong).__name__}: {wrong}")
        self._told.pop(0, None)
        return shared

    async def _shadow(
        self, place: int, shadow: Shadow, rows: _Rows, drafts: Sequence[Draft]
    ) -> tuple[str, list[dict[int, float]]]:
        """Return a shadow's version and what it says of each draft; of none where it fails, which harms no decision."""
        asked = np.concatenate([rows.of(self._term, draft) for draft in drafts if draft.to_score])
        try:
            scored = await shadow.scorer.score(asked)
            parts = [one.by_offer for one in self._shared_out(drafts, scored)]
        except Exception as wrong:  # whatever a model does, a decision is made
            if self._is_news(place, wrong):
                logger.exception(
                    "partition %d: shadow %s failed on %d rows", self._partition, shadow.version, len(asked)
                )
            return shadow.version, []
        self._told.pop(place, None)
        return shadow.version, parts

    def _is_news(self, place: int, wrong: Exception) -> bool:
        """Return whether this has not just been logged: it may happen to every decision."""
        before, self._told[place] = self._told.get(place), f"{type(wrong).__name__}: {wrong}"
        return before != self._told[place]

    def _worse(self, plan: Plan, drafts: Sequence[Draft], why: str) -> list[Scores]:
        """Return what the playbook assumes in place of a model's scores."""
        why = " ".join(why.split())[:WHY_LENGTH_MAX]
        return [
            replace(_assumed(self._term, plan, draft), degraded=True, why=why, way=Way.PRIOR.value)
            if draft.to_score
            else _assumed(self._term, plan, draft)
            for draft in drafts
        ]

    def _shared_out(self, drafts: Sequence[Draft], scored: Scored) -> Iterator[Scores]:
        at, version = 0, scored.model_version
        for draft in drafts:
            offers = draft.to_score
            if self._term.is_of_household and offers:
                by_offer = dict.fromkeys(offers, float(scored.scores[at]))
                at += 1
            else:
                part = scored.scores[at : at + len(offers)]
                by_offer = {offer: float(score) for offer, score in zip(offers, part, strict=True)}
                at += len(offers)
            is_degraded, way = scored.degraded and bool(offers), scored.way.value if offers else ""
            why = f"{version} scored in its place" if is_degraded else ""
            yield Scores(by_offer=by_offer, model_version=version, degraded=is_degraded, way=way, why=why)


def _rows(plan: Plan, draft: Draft) -> NDArray[np.float32]:
    columns, places = draft.columns, draft.vetoed.score_places
    channels = [max(context_channel(plan, draft, offer), 0) for offer in draft.to_score]
    return score_rows(
        plan,
        readings=draft.readings,
        offers=columns.weights.indices[places],
        prices_minor=np.array(draft.prices_minor, np.int64)[places],
        has_moment=columns.weights.has_moment[places],
        channel=np.array(channels, np.int64),
        local_minute_of_week=draft.local_minute_of_week,
    )


def priors(plan: Plan, draft: Draft) -> Scores:
    """Return the playbook's own scores of a draft."""
    return _with_terms(plan, draft, _assumed(ValueTerm.ACCEPTANCE, plan, draft), {})


def _assumed(term: ValueTerm, plan: Plan, draft: Draft) -> Scores:
    """Return what the playbook assumes where no model gives a term: of nothing but acceptance and churn, anything."""
    by_offer: dict[int, float] = {}
    if term is ValueTerm.ACCEPTANCE:
        by_offer = {offer: plan.offers[offer].prior_acceptance for offer in draft.to_score}
    elif term is ValueTerm.CHURN and plan.models.churn_prior is not None:
        by_offer = dict.fromkeys(draft.to_score, plan.models.churn_prior)
    return Scores(by_offer=by_offer, model_version="prior", degraded=False, way=Way.PRIOR.value if by_offer else "")


def _with_terms(plan: Plan, draft: Draft, scores: Scores, told: dict[ValueTerm, Scores]) -> Scores:
    """Return scores with what was told of other terms, and with what the playbook assumes of one that nobody told."""
    if plan.models.churn_prior is not None and ValueTerm.CHURN not in told:
        told = {**told, ValueTerm.CHURN: _assumed(ValueTerm.CHURN, plan, draft)}
    if not told or not draft.to_score:
        return scores
    return replace(scores, terms=tuple((term, told[term]) for term in ValueTerm if term in told))
