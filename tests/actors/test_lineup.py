"""Laws of the lineup: a decision is by one version whole and names it; which version a household has depends on the
household, the version on trial and its share alone; what shadows say is recorded and changes nothing, whatever they do.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from actors.partition.lineup import Canary, Lineup, Shadow
from actors.records.codec import decode_decision
from household.canary import is_in_canary
from household.decision import ShadowScores
from household.decision_bytes import encode_decision
from household.digest import state_digest
from household.scoring import Scored
from tests.actors.harness import Hearth, ScriptedScorer, in_loop, replayed, running
from tests.actors.test_codec import a_decision
from tests.actors.test_decider import a_moment, visit

HOUSEHOLDS = [f"h{number}" for number in range(24)]


class Versioned(ScriptedScorer):
    """Scores every row alike, and says by which version."""

    def __init__(self, version: str, score: float) -> None:
        super().__init__(score)
        self.version = version

    async def score(self, rows: NDArray[np.float32], *, deadline_s: float | None = None) -> Scored:
        scored = await super().score(rows, deadline_s=deadline_s)
        return replace(scored, model_version=self.version)


def canary(share: float, score: float = 0.25) -> Canary:
    return Canary(version="v2", share=share, scorer=Versioned("v2", score))


async def versions(hearth: Hearth, lineup: Lineup, *, prefix: str = "h") -> dict[str, str]:
    """Decide for households that were not decided for before; return who was decided for by which version."""
    await hearth.use_lineup(lineup)
    names = [f"{prefix}{number}" for number in range(24)]
    answers = await asyncio.gather(*(hearth.decide(name, visit(name), member="m") for name in names))
    return {name: answer.model_version for name, answer in zip(names, answers, strict=True)}


def test_shares_are_kept_and_growing_lets_nobody_go():
    count, before = 20_000, set[int]()
    for share in (0.05, 0.2, 0.5, 0.9, 1.0):
        inside = {at for at in range(count) if is_in_canary(b"household-%d" % at, version="v2", share=share)}
        assert abs(len(inside) - share * count) <= 3 * (count * share * (1 - share)) ** 0.5
        assert before <= inside
        before = inside
    other = {at for at in range(count) if is_in_canary(b"household-%d" % at, version="v3", share=0.2)}
    again = {at for at in range(count) if is_in_canary(b"household-%d" % at, version="v2", share=0.2)}
    # Another trial falls on others: on a fifth of a fifth of the same.
    assert abs(len(other & again) - 0.04 * count) <= 3 * (count * 0.04 * 0.96) ** 0.5


@in_loop
async def test_households_of_the_canary_are_decided_by_it_and_no_others(tmp_path: Path):
    async with running(tmp_path) as hearth:
        for share in (0.0, 0.4, 0.8):
            lineup = Lineup(champion=Versioned("v1", 0.5), canary=canary(share))
            told = await versions(hearth, lineup, prefix=f"at-{share}-")
            assert told == {
                name: "v2" if is_in_canary(name.encode(), version="v2", share=share) else "v1" for name in told
            }
        # And back at once: the canary is gone, whatever it is doing.
        assert set((await versions(hearth, Lineup(champion=Versioned("v1", 0.5)))).values()) == {"v1"}


@in_loop
async def test_where_the_priors_are_in_force_a_canary_decides_for_its_households_alone(tmp_path: Path):
    async with running(tmp_path) as hearth:
        told = await versions(hearth, Lineup(canary=canary(0.5)))
        assert set(told.values()) == {"v2", "prior"}


@in_loop
async def test_moments_decided_together_are_scored_in_one_batch_for_each_version(tmp_path: Path):
    async with running(tmp_path) as hearth:
        champion, trial = Versioned("v1", 0.5), canary(0.5)
        await hearth.use_lineup(Lineup(champion=champion, canary=trial))
        await asyncio.gather(*(a_moment(hearth, name) for name in HOUSEHOLDS))
        await hearth.until(lambda: hearth.counter("pending") == 0)
        for name in HOUSEHOLDS:
            (record,) = await hearth.decisions(name)
            is_on_trial = is_in_canary(name.encode(), version="v2", share=0.5)
            assert record.model_version == ("v2" if is_on_trial else "v1")
        assert isinstance(trial.scorer, Versioned)
        assert champion.batches
        assert trial.scorer.batches


@in_loop
async def test_a_decision_under_way_is_by_the_version_that_it_was_begun_with(tmp_path: Path):
    async with running(tmp_path) as hearth:
        first = Versioned("v1", 0.5)
        await hearth.use_lineup(Lineup(champion=first))
        first.hold()
        asked = asyncio.create_task(hearth.decide("h", visit(), member="m"))
        await first.asked.wait()
        await hearth.use_lineup(Lineup(champion=Versioned("v2", 0.25)))
        first.free.set()
        assert (await asked).model_version == "v1"
        record = await hearth.explain("h")
        assert {one.score for one in record.candidates if one.HasField("score")} == {0.5}


@in_loop
async def test_what_shadows_say_is_recorded_with_their_versions_and_decides_nothing(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await hearth.use_lineup(Lineup(champion=Versioned("v1", 0.5)))
        alone = await hearth.decide("a", visit("a"), member="m")
        shadows = (
            Shadow(version="s1", scorer=Versioned("s1", 0.125)),
            Shadow(version="s2", scorer=Versioned("s2", 1.0)),
        )
        await hearth.use_lineup(Lineup(champion=Versioned("v1", 0.5), shadows=shadows))
        answer = await hearth.decide("b", visit("b"), member="m")
        assert (answer.model_version, answer.action.offer) == ("v1", alone.action.offer)
        assert not (await hearth.explain("a")).shadow_scores
        record = await hearth.explain("b")
        scored = [one.offer for one in record.candidates if one.HasField("score")]
        told = [(one.model_version, one.offer, one.score) for one in record.shadow_scores]
        assert told == [("s1", offer, 0.125) for offer in scored] + [("s2", offer, 1.0) for offer in scored]
        assert scored
        # A slate that stands is scored by nobody.
        await hearth.decide("b", member="m")
        assert not (await hearth.explain("b")).shadow_scores
        wanted = await hearth.digest()
    assert state_digest(replayed(tmp_path)) == wanted


@in_loop
async def test_a_shadow_that_fails_is_left_out_said_once_and_harms_no_decision(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with running(tmp_path) as hearth:
        broken = Versioned("s1", 0.5)
        broken.failure = RuntimeError("no tree stands")
        shadows = (Shadow(version="s1", scorer=broken), Shadow(version="s2", scorer=Versioned("s2", 0.75)))
        await hearth.use_lineup(Lineup(champion=Versioned("v1", 0.5), shadows=shadows))
        for name in ("a", "b"):
            answer = await hearth.decide(name, visit(name), member="m")
            assert (answer.model_version, answer.degraded) == ("v1", False)
            assert {one.model_version for one in (await hearth.explain(name)).shadow_scores} == {"s2"}
        assert caplog.text.count("shadow s1 failed") == 1


def test_shadow_scores_survive_the_record_and_old_ones_read_as_none():
    decision = a_decision()
    with_shadows = replace(decision, shadows=(ShadowScores(model_version="s1", scores=(0.125, 1.0)),))
    for one in (decision, with_shadows):
        assert decode_decision(encode_decision(one, member_keys={})).decision.shadows == one.shadows
    assert b"shadows" not in encode_decision(decision, member_keys={})
