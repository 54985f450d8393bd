"""Laws of several models in one decision: each term is scored by the model that the playbook names for it, and recorded
with its version; a model that fails costs its own term alone; one batch for each version; terms add up to the value.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.partition.lineup import Canary, Lineup, Shadow, TermLineup
from actors.records.codec import decode_decision
from hearth.v1 import household_pb2
from household.canary import is_in_canary
from household.decision import ShadowScores, TermScores
from household.decision_bytes import encode_decision
from household.digest import state_digest
from household.plan import ValueTerm
from household.scoring import ModelMissing, Scored, Scorer, feature_schema
from household.terms import on_grain
from tests.actors.harness import Hearth, ScriptedScorer, corner, in_loop, replayed, running
from tests.actors.test_codec import a_decision
from tests.actors.test_decider import a_moment, visit

MODELS = "models: {uplift: up, churn: {model: leavers, prior: 0.5}, value: worth}\n"
PLAN = corner(("families: [mobile", MODELS + "families: [mobile"))
KEEPING = corner(
    ("families: [mobile", MODELS + "families: [mobile"), ("phone: {family: care", "phone: {retains: true, family: care")
)
NAMES = {ValueTerm.UPLIFT: "up", ValueTerm.CHURN: "leavers", ValueTerm.VALUE: "worth"}
VISIT = {"topup", "films", "series", "phone"}


class Giving(ScriptedScorer):
    """A model of a term that says the same of all; remembers the shape of what it was asked."""

    def __init__(self, version: str, says: float) -> None:
        super().__init__(says)
        self.version = version
        self.shapes: list[tuple[int, ...]] = []

    async def score(self, rows: NDArray[np.float32], *, deadline_s: float | None = None) -> Scored:
        self.shapes.append(rows.shape)
        scored = await super().score(rows, deadline_s=deadline_s)
        return Scored(scores=scored.scores, model_version=self.version, degraded=False, way=scored.way)


def lineup(**says: Scorer) -> Lineup:
    terms = [ValueTerm(name) for name in says if name != "acceptance"]
    return Lineup(
        champion=says.get("acceptance"),
        terms=tuple(TermLineup(term=one, name=NAMES[one], lineup=Lineup(champion=says[one])) for one in terms),
    )


def all_models() -> dict[str, Scorer]:
    return {
        "acceptance": Giving("a1", 0.5),
        "uplift": Giving("u1", 0.25),
        "churn": Giving("c1", 0.125),
        "value": Giving("v1", 480.4),
    }


async def visited(hearth: Hearth, household: str = "h") -> household_pb2.DecisionRecord:
    await hearth.decide(household, visit(household), member="m")
    return await hearth.explain(household)


def said(record: household_pb2.DecisionRecord) -> dict[str, tuple[str, bool, set[float]]]:
    return {one.term: (one.model_version, one.degraded, set(one.scores)) for one in record.term_scores}


def check_sums(record: household_pb2.DecisionRecord) -> int:
    terms = [(one.value, one.terms) for one in record.candidates if one.HasField("terms")]
    for value, of in terms:
        chance = of.uplift if of.HasField("uplift") else of.probability
        stay = of.stay if of.HasField("stay") else 1.0
        assert of.gain == on_grain(chance * of.increment * of.context * of.lever * stay)
        assert value == of.gain - of.cost - sum(one.minor for one in of.prices)
    return len(terms)


@in_loop
async def test_each_term_is_scored_by_its_model_and_recorded_with_its_version(tmp_path: Path):
    async with running(tmp_path, plan=PLAN) as hearth:
        models = all_models()
        await hearth.use_lineup(lineup(**models))
        answer = await hearth.decide("h", visit("h"), member="m")
        record = await hearth.explain("h")
        assert (answer.model_version, record.model_version, answer.degraded) == ("a1", "a1", False)
        assert dict(answer.term_versions) == {"uplift": "u1", "churn": "c1", "value": "v1"}
        exactly = {
            "uplift": ("u1", False, {0.25}),
            "churn": ("c1", False, {0.125}),
            "value": ("v1", False, {float(np.float32(480.4))}),
        }
        assert said(record) == exactly
        scored = [one for one in record.candidates if one.HasField("score")]
        assert all(len(one.scores) == len(scored) for one in record.term_scores)
        for one in scored:
            # What an uplift brings is all that it adds: 0.25 of 480, of which churn leaves 7/8.
            assert (one.score, one.terms.uplift, one.terms.increment, one.terms.stay) == (0.5, 0.25, 480, 0.875)
            assert (one.terms.gross, one.terms.gain) == (False, 105.0)
        assert check_sums(record) == len(scored) > 1
        assert "GROSS" not in answer.reasons
        # Every model is asked once; of the household itself in one row of its features, whatever is weighed.
        schema = feature_schema(PLAN)
        of_all = [(len(scored), len(schema.names))]
        assert {name: one.shapes for name, one in models.items() if isinstance(one, Giving)} == {
            "acceptance": of_all,
            "uplift": of_all,
            "churn": [(1, len(schema.scored))],
            "value": of_all,
        }
        wanted = await hearth.digest()
    assert state_digest(replayed(tmp_path)) == wanted


@in_loop
async def test_an_offer_that_retains_is_worth_more_the_likelier_the_household_leaves(tmp_path: Path):
    async with running(tmp_path, plan=KEEPING) as hearth:
        await hearth.use_lineup(lineup(acceptance=Giving("a1", 0.5), churn=Giving("c1", 0.125)))
        stay = {one.offer: one.terms.stay for one in (await visited(hearth)).candidates if one.HasField("terms")}
        assert (stay.pop("phone"), set(stay.values())) == (0.125, {0.875})
        # An uplift of such an offer is what it keeps, so the hazard is in it.
        await hearth.use_lineup(
            lineup(acceptance=Giving("a1", 0.5), churn=Giving("c1", 0.125), uplift=Giving("u1", 0.25))
        )
        record = await visited(hearth, "other")
        (phone,) = [one.terms for one in record.candidates if one.offer == "phone"]
        assert (phone.uplift, phone.HasField("stay"), phone.gain) == (0.25, False, 25.0)
        check_sums(record)


@in_loop
async def test_what_an_offer_worsens_is_not_made(tmp_path: Path):
    async with running(tmp_path, plan=PLAN) as hearth:
        await hearth.use_lineup(lineup(acceptance=Giving("a1", 0.9), uplift=Giving("u1", -0.25)))
        answer = await hearth.decide("h", visit("h"), member="m")
        assert (answer.HasField("action"), "NOTHING_BETTER" in answer.reasons) == (False, True)
        check_sums(await hearth.explain("h"))


@in_loop
async def test_a_model_that_fails_costs_its_own_term_alone_and_says_why(tmp_path: Path, caplog):
    async with running(tmp_path, plan=PLAN) as hearth:
        for broken, why in (
            (ModelMissing("the champion of up is damaged"), "the champion of up is damaged"),
            (RuntimeError("no tree stands"), "RuntimeError: no tree stands"),
        ):
            for term in ValueTerm:
                models = all_models()
                failing = models[term]
                assert isinstance(failing, Giving)
                failing.failure = broken
                await hearth.use_lineup(lineup(**models))
                name = f"{term}-{why}"
                answer = await hearth.decide(name, visit(name), member="m")
                record = await hearth.explain(name)
                assert answer.degraded
                told = said(record)
                worse = {one.term: (one.model_version, one.why) for one in record.term_scores if one.degraded}
                if term is ValueTerm.ACCEPTANCE:
                    assert (answer.model_version, worse) == ("prior", {})
                    assert not any(one.startswith("DEGRADED") for one in answer.reasons)
                else:
                    assert (answer.model_version, worse) == ("a1", {term: ("prior", why)})
                    assert f"DEGRADED:{term}" in answer.reasons
                    assert {one for one in told if not told[one][1]} == {"uplift", "churn", "value"} - {term}
                terms = [one.terms for one in record.candidates if one.HasField("terms")]
                assert {one.HasField("uplift") for one in terms} == {term is not ValueTerm.UPLIFT}
                assert {one.gross for one in terms} == {term is ValueTerm.UPLIFT}
                # Churn has a prior in the playbook, which counts in its model's place.
                assert {one.stay for one in terms} == {0.5 if term is ValueTerm.CHURN else 0.875}
                assert {one.increment == 480 for one in terms} == {term is not ValueTerm.VALUE}
                check_sums(record)
        assert caplog.text.count("the scorer failed") == 4, "every decision would log it"


@in_loop
async def test_waiting_decisions_share_one_batch_for_each_version(tmp_path: Path):
    async with running(tmp_path, plan=PLAN) as hearth:
        models = all_models()
        trial = Canary(version="u2", share=0.5, scorer=Giving("u2", 0.5))
        before = lineup(**models)
        uplift = TermLineup(term=ValueTerm.UPLIFT, name="up", lineup=Lineup(champion=models["uplift"], canary=trial))
        await hearth.use_lineup(Lineup(champion=before.champion, terms=(uplift, *before.terms[1:])))
        names = [f"h{number}" for number in range(12)]
        await asyncio.gather(*(a_moment(hearth, name) for name in names))
        await hearth.until(lambda: hearth.counter("pending") == 0)
        for name in names:
            record = (await hearth.decisions(name))[0]
            is_on_trial = is_in_canary(name.encode(), version="u2", share=0.5)
            versions = {one.term: one.model_version for one in record.term_scores}
            assert versions == {"uplift": "u2" if is_on_trial else "u1", "churn": "c1", "value": "v1"}
        rows = {name: sum(one.batches) for name, one in models.items() if isinstance(one, Giving)}
        assert isinstance(trial.scorer, Giving)
        # Each household has one candidate, so each version saw each of its households once.
        assert (rows["acceptance"], rows["value"], rows["churn"]) == (12, 12, 12)
        assert rows["uplift"] + sum(trial.scorer.batches) == 12
        calls = [len(one.batches) for one in models.values() if isinstance(one, Giving)]
        assert set(calls) == {calls[0]}, "a version is asked as often as the others, with all that waits"


@in_loop
async def test_shadows_of_a_term_are_recorded_as_its_own(tmp_path: Path):
    async with running(tmp_path, plan=PLAN) as hearth:
        shadow = Shadow(version="u2", scorer=Giving("u2", -0.5))
        uplift = TermLineup(
            term=ValueTerm.UPLIFT, name="up", lineup=Lineup(champion=Giving("u1", 0.25), shadows=(shadow,))
        )
        await hearth.use_lineup(Lineup(champion=Giving("a1", 0.5), terms=(uplift,)))
        record = await visited(hearth)
        assert {(one.term, one.model_version, one.score) for one in record.shadow_scores} == {("uplift", "u2", -0.5)}
        wanted = await hearth.digest()
    assert state_digest(replayed(tmp_path)) == wanted


def test_scores_of_terms_survive_the_record_and_old_ones_read_as_none():
    told = TermScores(
        term="uplift", model_version="prior", scores=(), scored_by="prior", degraded=True, why="it is damaged"
    )
    of_term = ShadowScores(model_version="u2", scores=(-0.5,), term="uplift")
    decision = a_decision()
    for one in (decision, replace(decision, term_scores=(told,), shadows=(of_term,))):
        read = decode_decision(encode_decision(one, member_keys={})).decision
        assert (read.term_scores, read.shadows) == (one.term_scores, one.shadows)
    assert b"term_scores" not in encode_decision(decision, member_keys={})


@in_loop
async def test_a_playbook_that_names_other_models_is_not_scored_by_these(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await hearth.use_lineup(lineup(**all_models()))
        record = await visited(hearth)
        assert (record.model_version, list(record.term_scores), "GROSS" in record.reasons) == ("a1", [], True)


@in_loop
async def test_without_any_model_the_hazard_that_the_playbook_assumes_counts(tmp_path: Path):
    async with running(tmp_path, plan=PLAN) as hearth:
        for models in (Lineup(), Lineup(champion=Giving("a1", 0.5))):
            await hearth.use_lineup(models)
            record = await visited(hearth, f"by-{models.champion is None}")
            assert said(record) == {"churn": ("prior", False, {0.5})}
            assert {one.terms.stay for one in record.candidates if one.HasField("terms")} == {0.5}
            assert not record.degraded
            check_sums(record)
