"""What the coordinator shows of the last `hearth models watch`: of versions in service that were looked at."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cluster.model_notes import ModelNotes
from serving.models.findings import Note, WatchFinding, write_notes
from serving.models.in_force import PRIORS_IN_FORCE, ModelBeside, ModelInForce, ModelStage

AT = datetime(2026, 11, 28, 9, tzinfo=UTC)


def of(folder: Path, version: str, *beside: ModelBeside) -> ModelInForce:
    return ModelInForce(version=version, bundle_path=str(folder / "acceptance" / version), beside=beside)


def test_findings_and_age_are_shown_of_versions_in_service(tmp_path: Path):
    (tmp_path / "acceptance").mkdir()
    notes = ModelNotes(now=lambda: AT + timedelta(seconds=90))
    model = of(tmp_path, "v1", ModelBeside(stage=ModelStage.CANARY, model=of(tmp_path, "v2"), share=0.1))
    nothing = {"hearth.model.findings": [], "hearth.model.watch.age": []}
    assert notes.points(model) == nothing
    assert notes.points(PRIORS_IN_FORCE) == nothing

    write_notes(
        tmp_path,
        "acceptance",
        [
            Note(version="v1", at=AT.isoformat(), findings=(WatchFinding.SCORES,), verdict=""),
            Note(version="gone", at=AT.isoformat(), findings=(WatchFinding.SLOW,), verdict=""),
        ],
    )
    shown = notes.points(model)
    assert {labels["hearth.finding"]: value for labels, value in shown["hearth.model.findings"]} == {
        "features": 0,
        "scores": 1,
        "calibration": 0,
        "degraded": 0,
        "slow": 0,
    }
    assert shown["hearth.model.watch.age"] == [({"hearth.model.version": "v1"}, 90)]

    # The next look finds nothing, and another one is looked at.
    write_notes(
        tmp_path, "acceptance", [Note(version=one, at=AT.isoformat(), findings=(), verdict="") for one in ("v1", "v2")]
    )
    assert [value for _, value in notes.points(model)["hearth.model.findings"]] == [0] * 10
    (tmp_path / "acceptance" / "watch.json").write_text("{")
    assert notes.points(model) == nothing
