"""How versions are watched.

Laws: what has not moved is not said to have moved, however many decisions there are and however alike those of one
household; what has moved is; between the two it is said that nobody can tell. Scores that are not what comes true are
found, and by what they miss. Whatever a manifest says, nothing crashes.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from household.plan import ValueTerm
from household.scoring import NEVER, ScoreColumn, feature_schema
from serving.models.calibration import Calibrated, calibration_of
from serving.models.drift import Drifted, drift_of
from serving.models.findings import Note, WatchFinding, read_notes, write_notes
from serving.models.history import Change
from serving.models.in_force import ModelStage
from serving.models.reference import from_plain, histogram_of, reference_of, to_plain
from serving.models.watch import Latency, Watched, watch
from tests.serving.test_training import DAY, END, PLAN, decision, signal

ROWS = 4_000


def values(
    count: int, seed: int, *, moved: float = 0.0, alike: float = 0.7, each: int = 5
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (count,) readings and whose they are: some of a household, that resemble each other."""
    draw = np.random.default_rng(seed)
    units = np.repeat(np.arange(count // each), each)
    own = draw.normal(size=count // each)
    found = alike * own[units] + np.sqrt(1 - alike**2) * draw.normal(size=count) + moved
    found[draw.random(count) < 0.1] = np.nan
    found[draw.random(count) < 0.1] = NEVER
    return found.astype(np.float32), units


def drifted(count: int, seed: int, *, moved: float, alike: float = 0.7) -> Drifted:
    then, units = values(ROWS, 1_000 + seed, alike=alike)
    now, whose = values(count, seed, moved=moved, alike=alike)
    return drift_of(histogram_of("x", then, units, codes=0), now, whose, looks=40).verdict


@pytest.mark.parametrize(("count", "alike"), [(1_000, 0.0), (1_000, 0.95), (200_000, 0.7)])
def test_what_has_not_moved_is_never_said_to_have_moved(count: int, alike: float):
    found = [drifted(count, seed, moved=0.0, alike=alike) for seed in range(40 if count < 10_000 else 4)]
    assert Drifted.MOVED not in found
    if count > 10_000:
        assert set(found) == {Drifted.STEADY}


def test_at_the_edge_itself_it_is_said_as_seldom_as_promised_however_alike_those_of_a_household_are():
    then, units = values(400_000, 1, alike=0.0)
    reference = histogram_of("x", then, units, codes=0)
    found = []
    for seed in range(80):
        # The PSI of 0.355 is 0.1; twenty of a household, nearly the same.
        now, whose = values(10_000, 2 + seed, moved=0.355, alike=0.95, each=20)
        found.append(drift_of(reference, now, whose, looks=1))
    # One in 200, on this side.
    assert sum(one.verdict is Drifted.MOVED for one in found) <= 2
    assert np.mean([one.psi for one in found]) == pytest.approx(0.1, abs=0.012)


def test_what_chance_adds_is_taken_off():
    then, units = values(ROWS, 1, alike=0.95)
    reference = histogram_of("x", then, units, codes=0)
    found = [drift_of(reference, *values(600, seed, alike=0.95), looks=40).psi for seed in range(10, 40)]
    assert np.mean(found) < 0.02


def test_a_triviality_is_not_found_among_many_and_what_has_moved_is():
    assert drifted(200_000, 1, moved=0.1) is Drifted.STEADY
    assert {drifted(20_000, seed, moved=0.8) for seed in range(10)} == {Drifted.MOVED}
    assert drifted(300, 1, moved=0.4) is Drifted.UNKNOWN


def test_what_moves_into_unknown_or_never_is_found_and_told():
    then, units = values(ROWS, 1)
    reference = histogram_of("x", then, units, codes=0)
    now, whose = values(ROWS, 2)
    for value, word in ((np.nan, "unknown"), (NEVER, "never")):
        lost = now.copy()
        lost[: ROWS // 2] = value
        found = drift_of(reference, lost, whose, looks=1)
        assert found.verdict is Drifted.MOVED
        assert found.what.startswith(word)


def test_a_column_of_one_value_and_a_coded_column_have_their_bins():
    units = np.arange(300)
    alone = histogram_of("x", np.full(300, 5.0, np.float32), units, codes=0)
    assert sum(alone.counts) == 300
    assert drift_of(alone, np.full(300, 5.0, np.float32), units, looks=1).verdict is Drifted.STEADY
    coded = histogram_of("kind", (units % 3).astype(np.float32), units, codes=3)
    assert coded.counts == (100, 100, 100, 0, 0)
    none = histogram_of("x", np.full(300, np.nan, np.float32), units, codes=0)
    assert none.counts[-1] == 300


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.0, Calibrated.RIGHT), (1.4, Calibrated.TOO_HIGH), (0.7, Calibrated.TOO_LOW), (1.1, Calibrated.UNKNOWN)],
)
def test_scores_that_are_not_what_comes_true_are_found(factor: float, verdict: Calibrated):
    draw = np.random.default_rng(3)
    likely = draw.uniform(0.05, 0.4, 40_000)
    found = calibration_of((likely * factor).astype(np.float32), draw.random(40_000) < likely, np.arange(40_000) // 4)
    assert found.verdict is verdict
    assert found.ratio == pytest.approx(factor, rel=0.05)
    assert len(found.groups) == 10


def test_of_few_outcomes_nothing_is_said():
    found = calibration_of(np.full(30, 0.5, np.float32), np.arange(30) < 10, np.arange(30))
    assert (found.verdict, found.ratio) == (Calibrated.UNKNOWN, None)


COLUMNS = feature_schema(PLAN).names
VERSION = "v1"


def lived(count: int, *, version: str = VERSION, streams: float = 2.0, rate: float = 1.0, **changes: Any) -> Any:
    """Return decisions of a version, a fifth of them accepted as it says; `streams` is where a column lies."""
    draw = np.random.default_rng(7)
    rows, signals = [], [END]
    for number in range(count):
        score = float(draw.uniform(0.05, 0.35))
        rows.append(
            decision(number, number * 1_000_000, household=f"h{number // 3}", asked=True)
            | {"state_vector": [float(draw.poisson(streams)), float(draw.exponential(60.0))]}
            | {"model_version": version, "degraded": False, "chosen_score": score, "shadows": []}
            | {name: value(number) if callable(value) else value for name, value in changes.items()}
        )
        if draw.random() < score * rate:
            signals.append(signal(number, "hearth.accept", number, number * 1_000_000 + 5))
    shadow = pa.list_(pa.struct([("model_version", pa.string()), ("offer", pa.string()), ("score", pa.float64())]))
    table = pa.Table.from_pylist(rows)
    at = table.column_names.index("shadows")
    return table.set_column(at, "shadows", pa.array([row["shadows"] for row in rows], shadow)), signals


def watched(
    decisions: pa.Table, signals: list[dict[str, Any]], *, stage: ModelStage = ModelStage.CHAMPION, **more: Any
) -> Watched:
    return watch(
        more.pop("version", VERSION),
        stage,
        more.pop("reference", trained_on()),
        {"auc": 0.61},
        decisions=decisions,
        outcomes=pa.Table.from_pylist(signals),
        plan=PLAN,
        earlier_plans=(),
        history=more.pop("history", ()),
        window_us=DAY,
        **more,
    )


def trained_on() -> Any:
    """Return the reference of what `lived` tells of, at its defaults."""
    from serving.models.examples import TrainingConfig, gather

    decisions, signals = lived(1_500)
    config = TrainingConfig(rows_min=4, positives_min=3)
    examples = gather(decisions, pa.Table.from_pylist(signals), PLAN, earlier_plans=(), config=config)
    return reference_of(
        feature_schema(PLAN),
        examples.rows,
        examples.households,
        scores=np.array(decisions["chosen_score"], np.float32),
        scored_households=examples.households,
    )


def test_a_version_that_does_as_in_training_has_nothing_to_report():
    found = watched(*lived(3_000))
    assert found.findings == ()
    assert found.decisions == 3_000
    assert found.verdict.startswith(("nothing to report", "nothing is off that can be told"))
    assert {one.name for one in found.features} == set(COLUMNS)
    assert not [one for one in found.features if one.verdict is Drifted.MOVED]
    assert found.auc is not None
    assert found.trained_auc == 0.61


def test_a_column_that_moved_is_found_and_leads():
    found = watched(*lived(3_000, streams=5.0))
    assert WatchFinding.FEATURES in found.findings
    assert (found.features[0].name, found.features[0].verdict) == ("streams", Drifted.MOVED)
    assert "features have drifted" in found.verdict


def test_scores_that_moved_and_do_not_come_true_are_found():
    decisions, signals = lived(3_000, rate=0.5)
    found = watched(decisions, signals)
    assert found.findings == (WatchFinding.CALIBRATION,)
    assert found.calibration is not None
    assert found.calibration.verdict is Calibrated.TOO_HIGH
    higher = pa.array(np.minimum(np.array(decisions["chosen_score"]) * 2, 1.0))
    moved = decisions.set_column(decisions.column_names.index("chosen_score"), "chosen_score", higher)
    assert WatchFinding.SCORES in watched(moved, signals).findings


def test_too_few_decisions_none_and_no_reference_are_said():
    few = watched(*lived(150))
    assert (few.findings, few.features) == ((), ())
    assert "too few decisions: 150 of 50 households, 200 of 30 are needed" in few.silence
    none = watched(*lived(10, version="other"))
    assert (none.decisions, none.from_us, none.findings) == (0, None, ())
    unknown = watched(*lived(300), reference=None)
    assert "--trained-on" in unknown.silence
    assert unknown.calibration is not None


def test_a_shadow_is_judged_by_its_own_scores():
    def twice(number: int) -> list[dict[str, Any]]:
        scores = [("data", 0.9), ("films", 0.1)]
        return [{"model_version": "s1", "offer": offer, "score": score} for offer, score in scores]

    decisions, signals = lived(1_000, shadows=twice)
    found = watched(decisions, signals, stage=ModelStage.SHADOW, version="s1")
    assert found.decisions == 1_000
    assert found.calibration is not None
    assert found.calibration.predicted == pytest.approx(0.9)
    assert WatchFinding.CALIBRATION in found.findings


def test_a_model_of_another_term_is_watched_by_its_own_scores_of_its_own_columns():
    def told(number: int) -> list[dict[str, Any]]:
        version, is_degraded = ("c1", False) if number % 2 else ("prior", number % 4 == 0)
        scores = [{"offer": "films", "score": 0.9}, {"offer": "data", "score": 0.1 + number % 5 / 100}]
        return [{"term": "churn", "model_version": version, "degraded": is_degraded, "scores": scores}]

    of_acceptance, schema, draw = trained_on(), feature_schema(PLAN), np.random.default_rng(2)
    churn = reference_of(
        schema,
        np.column_stack([draw.poisson(2.0, 3_000), draw.exponential(60.0, 3_000)]).astype(np.float32),
        np.arange(3_000) // 3,
        scores=np.array([0.1 + number % 5 / 100 for number in range(3_000)], np.float32),
        scored_households=np.arange(3_000) // 3,
    )
    noted = [Change(time="1970-01-01T00:00:00+00:00", champion="c1", before="", how="promoted")]
    more = {"version": "c1", "term": ValueTerm.CHURN, "history": noted}
    found = watched(*lived(3_000, term_scores=told), reference=churn, **more)
    assert (found.decisions, found.calibration, found.auc) == (1_500, None, None)
    assert sorted(one.name for one in found.features) == sorted(schema.names_for(ValueTerm.CHURN))
    assert (found.degraded.decisions, found.degraded.degraded) == (2_250, 750)
    assert found.findings == (WatchFinding.DEGRADED,)
    assert "other columns" in watched(*lived(300, term_scores=told), reference=of_acceptance, **more).silence
    moved = watched(*lived(3_000, term_scores=told, streams=5.0), reference=churn, **more)
    assert WatchFinding.FEATURES in moved.findings
    assert watched(*lived(300), reference=churn, **more).decisions == 0


def test_degraded_decisions_count_against_the_version_that_was_to_decide():
    def worse(number: int) -> dict[str, Any]:
        return {"model_version": "prior", "degraded": True} if number % 10 == 0 else {}

    decisions, signals = lived(1_000)
    rows = [row | worse(number) for number, row in enumerate(decisions.to_pylist())]
    table = pa.Table.from_pylist(rows, schema=decisions.schema)
    history = [
        Change(time="1969-12-31T00:00:00+00:00", champion="v0", before="", how="promoted", version="v0"),
        Change(time="1970-01-01T00:00:00+00:00", champion=VERSION, before="v0", how="promoted", version=VERSION),
    ]
    found = watched(table, signals, history=history)
    assert (found.degraded.decisions, found.degraded.degraded) == (1_000, 100)
    assert WatchFinding.DEGRADED in found.findings
    assert watched(table, signals, history=history[:1]).degraded.degraded == 0


def test_a_version_whose_scores_come_late_is_found():
    slow = Latency(decisions=100, p50_ms=80.0, p99_ms=None)
    assert watched(*lived(300), latency=slow).findings == (WatchFinding.SLOW,)


def test_a_reference_survives_its_manifest_and_a_broken_one_is_none():
    reference = trained_on()
    told = json.loads(json.dumps(to_plain(reference)))
    assert from_plain(told) == reference
    for broken in (
        None,
        [],
        {},
        {"columns": 5, "scores": {}},
        told | {"scores": None},
        told | {"columns": [told["columns"][0] | {"counts": [1]}]},
        told | {"columns": [told["columns"][0] | {"cuts": [2.0, 1.0], "counts": [1] * 5}]},
        told | {"columns": [told["columns"][0] | {"inflation": float("nan")}]},
        told | {"columns": [told["columns"][0] | {"cuts": ["x"]}]},
    ):
        assert from_plain(broken) is None
    other = reference_of(
        feature_schema(PLAN),
        np.zeros((3, len(COLUMNS)), np.float32),
        np.arange(3),
        scores=np.zeros(3, np.float32),
        scored_households=np.arange(3),
    )
    columns = (*other.columns[:-1], histogram_of("mine", np.zeros(3, np.float32), np.arange(3), codes=0))
    misfit = type(other)(columns=columns, scores=other.scores)
    assert "other columns" in watched(*lived(300), reference=misfit).silence


def test_no_reading_of_a_household_stands_in_a_reference():
    column = ScoreColumn(name="balance")
    rows, units = values(1_000, 3)
    rows += np.float32(0.123456)
    histogram = histogram_of(column.name, rows, units, codes=0)
    assert not set(np.array(histogram.cuts, np.float32).tolist()) & set(rows[~np.isnan(rows)].tolist())


def test_notes_are_kept_by_version_and_a_broken_file_is_none(tmp_path: Path):
    (tmp_path / "acceptance").mkdir()
    first = Note(
        version="a", at="2026-11-28T09:00:00+00:00", findings=(WatchFinding.SCORES,), verdict="scores have drifted"
    )
    second = Note(version="b", at="2026-11-28T09:00:00+00:00", findings=(), verdict="nothing to report")
    write_notes(tmp_path, "acceptance", [first])
    write_notes(tmp_path, "acceptance", [second])
    assert {note.version: note for note in read_notes(tmp_path / "acceptance")} == {"a": first, "b": second}
    for broken in ("{", "[]", '{"a": 5}', '{"a": {"at": "t", "findings": ["nonsense"], "verdict": ""}}'):
        (tmp_path / "acceptance" / "watch.json").write_text(broken)
        assert read_notes(tmp_path / "acceptance") == []


def test_what_is_watched_can_be_told_as_json():
    json.dumps(asdict(watched(*lived(300))), default=str, allow_nan=False)
