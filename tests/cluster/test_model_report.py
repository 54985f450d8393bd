"""What a report of a version comes to in words, and what of its latency is read from a running Hearth.

Laws: the verdict follows from the comparisons, whoever is champion; what is off is among the reasons; how long scores
of a version took is what the shards counted of it, and of no other.
"""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from actors.partition.telemetry import ShardTelemetry
from cluster.commands.watching_models import latencies_of
from cluster.exposition import Exposition
from cluster.metrics import shard_points
from cluster.report.facts import Missing
from cluster.report.verdict import judged
from serving.models.calibration import Calibrated, ScoreCalibration
from serving.models.comparison import PRIOR, Comparison, Verdict
from serving.models.fairness import Part
from serving.models.in_force import ModelStage

UNWATCHED = Missing(why="nothing yet")
NO_PARTS = Missing(why="none")


def against(incumbent: str, verdict: Verdict) -> Comparison:
    told = {"candidate": "v2", "why": "", "seen_to_us": 0, "rows": 100, "positives": 30, "households": 50}
    return Comparison(incumbent=incumbent, verdict=verdict, **told)  # type: ignore[arg-type]


def said(stage: ModelStage, *comparisons: Comparison, parts: "list[Part] | Missing" = NO_PARTS) -> str:
    return judged(stage, comparisons, UNWATCHED, parts, unseen=None, too_little="too little")[0]


@pytest.mark.parametrize(
    ("comparisons", "verdict"),
    [
        ([("v1", Verdict.BETTER), (PRIOR, Verdict.BETTER)], "it may be promoted"),
        ([(PRIOR, Verdict.BETTER)], "it may be promoted"),
        ([("v1", Verdict.NOT_BETTER), (PRIOR, Verdict.BETTER)], "has not proved better"),
        ([("v1", Verdict.BETTER), (PRIOR, Verdict.WORSE)], "worse"),
        ([("v1", Verdict.TOO_LITTLE), (PRIOR, Verdict.BETTER)], "too little to compare it with what is in force"),
        ([("v1", Verdict.TOO_LITTLE), (PRIOR, Verdict.TOO_LITTLE)], "too little to judge it by"),
        ([], "too little to judge it by"),
    ],
)
def test_a_candidate_is_judged_by_what_it_is_compared_with(comparisons: list[tuple[str, Verdict]], verdict: str):
    assert verdict in said(ModelStage.SHADOW, *(against(*one) for one in comparisons))


def test_a_champion_is_judged_against_the_priors_and_what_is_retired_is_left():
    assert "better than the playbook's priors" in said(ModelStage.CHAMPION, against(PRIOR, Verdict.BETTER))
    assert "roll it back" in said(ModelStage.CHAMPION, against(PRIOR, Verdict.WORSE))
    assert "not shown" in said(ModelStage.CHAMPION, against(PRIOR, Verdict.NOT_BETTER))
    assert "retired" in said(ModelStage.RETIRED, against(PRIOR, Verdict.BETTER))


def test_a_part_that_is_promised_too_much_is_a_reason_to_look_first():
    off = ScoreCalibration(
        verdict=Calibrated.TOO_HIGH, rows=900, accepted=90, households=300, predicted=0.2, observed=0.1, ratio=2.0
    )
    parts = [Part(by="kind", value="offer", rows=900, calibration=off, auc=0.6)]
    verdict, reasons = judged(
        ModelStage.SHADOW, [against(PRIOR, Verdict.BETTER)], UNWATCHED, parts, unseen=off, too_little="too little"
    )
    assert "look at the parts" in verdict
    assert "Of what it has not seen, its scores are too high: 0.200 predicted, 0.100 accepted" in reasons
    assert "Scores are too high where kind is offer: 0.200 predicted, 0.100 accepted of 900" in reasons


def test_latency_of_a_version_is_what_shards_counted_of_it():
    shown = Exposition(dict, monotonic_s=lambda: 0.0)
    for name, count, took_ms in (("shard-0", 120, 2), ("shard-1", 79, 4)):
        counted = ShardTelemetry()
        for _ in range(count):
            counted.scored_in("v1", took_ms * 1_000_000)
        counted.scored_in("v2", 400_000_000)
        if name == "shard-1":
            counted.scored_in("v1", 80_000_000)
        shown.take(name, shard_points(counted))
    registry = CollectorRegistry()
    registry.register(shown)  # type: ignore[arg-type] # it collects
    found = latencies_of(generate_latest(registry).decode())
    assert (found["v1"].decisions, found["v1"].p50_ms, found["v1"].p99_ms) == (200, 2.0, 4.0)
    assert (found["v2"].decisions, found["v2"].p50_ms) == (2, 500.0)
    assert latencies_of("") == {}


def test_versions_that_are_counted_are_few_however_many_there_were():
    counted = ShardTelemetry()
    for number in range(100):
        counted.scored_in(f"v{number}", 1)
    assert (len(counted.score_ns_by_model), "v99" in counted.score_ns_by_model) == (16, True)
