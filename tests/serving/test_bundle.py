"""A model version on disk.

Laws: what was saved loads, and scores the same; what was changed by a single bit is refused with file and reason, and
this process lives on; a version never changes; an alias is the old one or the new one, never a part.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xgboost

from serving.models import bundle as bundles
from serving.models.bundle import (
    BundleDraft,
    BundleExists,
    BundleRefused,
    TrainingFacts,
    load_bundle,
    read_manifest,
    save_bundle,
)
from serving.models.probe import open_booster, predict
from serving.models.registry import find_bundle, list_versions, read_aliases, set_alias

FACTS = TrainingFacts(
    label="accepted",
    window_us=1,
    seed=1,
    rows=300,
    positives=100,
    left_out={"withheld": 3},
    from_us=0,
    to_us=1,
    holdout_rows=60,
    holdout_positives=20,
    auc=0.8,
    logloss=0.5,
    prior_auc=0.5,
    prior_logloss=float("nan"),
    predicted_mean=0.3,
    observed_mean=0.3,
    calibration=((0.3, 0.3, 60),),
    trees=10,
    weighted=False,
)


def make_draft(
    seed: int = 1,
    columns: int = 4,
    *,
    names: Sequence[str] | None = None,
    objective: str = "binary:logistic",
    **settings: object,
) -> BundleDraft:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(300, columns)).astype(np.float32)
    rows[draw.random(rows.shape) < 0.1] = np.nan
    label = (np.nan_to_num(rows[:, 0]) > 0.3).astype(np.float32)
    names = tuple(f"c{i}" for i in range(columns)) if names is None else names
    booster = xgboost.train(
        {"objective": objective, "max_depth": 3, "nthread": 1, "seed": seed} | settings,
        xgboost.DMatrix(rows, label, feature_names=list(names) or None),
        10,
    )
    model = bytes(booster.save_raw("ubj"))
    return BundleDraft(
        model=model,
        feature_schema_hash="0123456789abcdef",
        columns=tuple(names),
        golden_rows=rows[:8],
        golden_scores=predict(open_booster(model), rows[:8]),
        playbook_version="fedcba9876543210",
        training=FACTS,
    )


@pytest.fixture(scope="module")
def draft() -> BundleDraft:
    return make_draft()


@pytest.fixture
def saved(tmp_path: Path, draft: BundleDraft, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patch:
        patch.setattr(bundles, "_probe", lambda *_: None)  # a second each; test_what_was_saved_loads has it
        return save_bundle(tmp_path, "acceptance", draft, created="2026-11-02T00:00:00Z", version="v1")


def flip(file: Path, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def forge_hash(folder: Path) -> None:
    """As if the damage had been there before the manifest was written."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["sha256"]["model.ubj"] = hashlib.sha256((folder / "model.ubj").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_was_saved_loads_and_scores_the_same(tmp_path: Path, draft: BundleDraft):
    folder = save_bundle(tmp_path, "acceptance", draft, created="2026-11-02T00:00:00Z")
    assert folder == tmp_path / "acceptance" / hashlib.sha256(draft.model).hexdigest()[:12]
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", "model.ubj"]

    loaded = load_bundle(folder, feature_schema_hash="0123456789abcdef")
    assert loaded.version == folder.name
    assert loaded.model == draft.model
    assert loaded.manifest.columns == draft.columns
    assert loaded.manifest.created == "2026-11-02T00:00:00Z"
    assert loaded.manifest.golden_rows.tobytes() == draft.golden_rows.tobytes()
    assert loaded.manifest.golden_scores.tobytes() == draft.golden_scores.tobytes()
    assert loaded.manifest.training["left_out"] == {"withheld": 3}
    assert loaded.manifest.training["prior_logloss"] is None
    assert predict(open_booster(loaded.model), draft.golden_rows).tobytes() == draft.golden_scores.tobytes()


def test_a_draft_that_does_not_give_its_own_golden_scores_is_not_saved(tmp_path: Path, draft: BundleDraft):
    wrong = dataclasses.replace(draft, golden_scores=draft.golden_scores + np.float32(0.001))
    with pytest.raises(BundleRefused, match="do not give the golden scores"):
        save_bundle(tmp_path, "acceptance", wrong, created="now")
    assert not (tmp_path / "acceptance").exists()


def test_a_version_never_changes(saved: Path, draft: BundleDraft, tmp_path: Path):
    with pytest.raises(BundleExists, match="v1 exists"):
        save_bundle(tmp_path, "acceptance", draft, created="later", version="v1")


def test_one_flipped_bit_anywhere_is_refused_and_this_process_lives_on(saved: Path):
    file = saved / "model.ubj"
    whole = file.read_bytes()
    for position in np.random.default_rng(7).integers(0, len(whole) * 8, 50).tolist():
        flip(file, position)
        with pytest.raises(BundleRefused, match=r"sha256 is .*, the manifest says") as refused:
            load_bundle(saved)
        assert refused.value.file == file
        file.write_bytes(whole)


def test_damage_that_the_hash_covers_is_found_in_a_process_of_its_own(saved: Path, draft: BundleDraft):
    file = saved / "model.ubj"
    refused = 0
    for position in np.random.default_rng(3).integers(0, len(draft.model) * 8, 6).tolist():
        file.write_bytes(draft.model)
        flip(file, position)
        forge_hash(saved)
        try:
            loaded = load_bundle(saved)
        except BundleRefused:
            refused += 1
        else:  # statistics of a node, say, which no score depends on
            scores = predict(open_booster(loaded.model), draft.golden_rows)
            np.testing.assert_allclose(scores, draft.golden_scores, atol=1e-6)
    assert refused >= 2


def test_a_model_that_kills_its_process_is_refused_by_the_signal(saved: Path, monkeypatch: pytest.MonkeyPatch):
    killer = saved / "killer.py"
    killer.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(bundles, "PROBE", killer)
    with pytest.raises(BundleRefused, match=r"model\.ubj: killed the process that loaded it \(signal 11\)"):
        load_bundle(saved)


def test_a_model_that_never_finishes_loading_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch):
    sleeper = saved / "sleeper.py"
    sleeper.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(bundles, "PROBE", sleeper)
    monkeypatch.setattr(bundles, "PROBE_TIMEOUT_S", 0.2)
    with pytest.raises(BundleRefused, match="did not load and score within 0 s"):
        load_bundle(saved)


def test_a_model_with_other_columns_than_its_manifest_is_refused(saved: Path):
    (saved / "model.ubj").write_bytes(make_draft(columns=5).model)
    forge_hash(saved)
    with pytest.raises(BundleRefused, match="has 5 columns, and 4 are needed"):
        load_bundle(saved)


def misfit(**changes: object) -> BundleDraft:
    """A draft whose manifest is right and whose model is another."""
    return dataclasses.replace(make_draft(), model=make_draft(**changes).model)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"names": ["c0", "c2", "c1", "c3"]}, "column 1 is 'c2', and 'c1' in the manifest"),
        ({"names": ["f0", "f1", "f2", "f3"]}, "column 0 is 'f0', and 'c0' in the manifest"),
        ({"names": []}, "does not name its columns"),
        ({"objective": "multi:softprob", "num_class": 2}, "objective multi:softprob; it must give a probability"),
        ({"objective": "multi:softmax", "num_class": 2}, "objective multi:softmax"),
        ({"objective": "binary:hinge"}, "objective binary:hinge"),
        ({"objective": "binary:logitraw"}, "objective binary:logitraw"),
        ({"objective": "reg:squarederror"}, "objective reg:squarederror"),
    ],
)
def test_a_model_that_reads_its_rows_otherwise_or_gives_no_probability_is_refused(
    tmp_path: Path, wrong: dict, reason: str
):
    with pytest.raises(BundleRefused, match=reason):
        save_bundle(tmp_path, "acceptance", misfit(**wrong), created="now", version="v2")
    assert not (tmp_path / "acceptance").exists()


def test_a_model_whose_columns_were_exchanged_in_the_registry_is_not_loaded(saved: Path):
    (saved / "model.ubj").write_bytes(make_draft(names=["c0", "c1", "c3", "c2"]).model)
    forge_hash(saved)
    with pytest.raises(BundleRefused, match="column 2 is 'c3', and 'c2' in the manifest") as refused:
        load_bundle(saved)
    assert refused.value.file == saved / "model.ubj"


def test_columns_that_are_numbered_or_doubled_are_no_manifest(tmp_path: Path):
    numbered = make_draft(names=["f0", "f1", "f2", "f3"])
    with pytest.raises(BundleRefused, match="XGBoost's own numbering"):
        save_bundle(tmp_path, "acceptance", numbered, created="now")
    doubled = dataclasses.replace(make_draft(), columns=("c0", "c1", "c1", "c3"))
    with pytest.raises(BundleRefused, match="two columns have the same name"):
        save_bundle(tmp_path, "acceptance", doubled, created="now")


def test_a_model_whose_columns_are_not_those_of_the_playbook_in_order_is_refused(saved: Path):
    wanted = {
        "feature_schema_hash": "0123456789abcdef",
        "proven_sha256": hashlib.sha256(make_draft().model).hexdigest(),
    }
    assert load_bundle(saved, columns=("c0", "c1", "c2", "c3"), **wanted).version == "v1"  # type: ignore[arg-type]
    for columns, reason in (
        (("c1", "c0", "c2", "c3"), "column 0 is 'c0', and 'c1' in the feature schema of the playbook"),
        (("c0", "c1", "c2"), "column 3 is 'c3', and missing in"),
        (("c0", "c1", "c2", "c3", "c4"), "column 4 is missing, and 'c4' in"),
    ):
        with pytest.raises(BundleRefused, match=reason):
            load_bundle(saved, columns=columns, **wanted)  # type: ignore[arg-type]


def test_a_model_that_was_proven_elsewhere_is_loaded_by_its_hash_alone(saved: Path, monkeypatch: pytest.MonkeyPatch):
    def asked(*_: object) -> None:
        raise AssertionError("proven again")

    monkeypatch.setattr(bundles, "_probe", asked)
    digest = read_manifest(saved).sha256["model.ubj"]
    assert load_bundle(saved, proven_sha256=digest).version == "v1"
    with pytest.raises(AssertionError, match="proven again"):
        load_bundle(saved, proven_sha256="0" * 64)


def test_a_version_that_lies_in_the_folder_of_another_is_refused(saved: Path):
    saved.rename(saved.with_name("v9"))
    with pytest.raises(BundleRefused, match="is that of version v1, and lies in the folder of v9"):
        read_manifest(saved.with_name("v9"))


def test_a_model_for_another_feature_schema_is_refused(saved: Path):
    with pytest.raises(BundleRefused, match="made for feature schema 0123456789abcdef, this plan's is ffff"):
        load_bundle(saved, feature_schema_hash="ffff")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layout": 2}, "layout 2"),
        ({"columns": ["only", "three", "columns"]}, "golden rows"),
        ({"golden_rows": [[1, 2], [3]]}, "manifest"),
        ({"golden_rows": [], "golden_scores": []}, "golden rows"),
        ({"version": "../v1"}, "letters, digits"),
        ({"sha256": {}}, "KeyError"),
        ({"training": None}, "TypeError"),
        ({"golden_scores": [1.5] * 8}, "score 1.5, which is no probability"),
        ({"golden_scores": [-0.1] * 8}, "score -0.1, which is no probability"),
        ({"golden_scores": [float("nan")] * 8}, "score nan, which is no probability"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(saved: Path, change: dict, reason: str):
    file = saved / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | change))
    with pytest.raises(BundleRefused, match=reason) as refused:
        load_bundle(saved)
    assert refused.value.file == file


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"layout": 1}'])
def test_a_manifest_that_is_no_manifest_is_refused(saved: Path, content: bytes):
    (saved / "manifest.json").write_bytes(content)
    with pytest.raises(BundleRefused, match="not a manifest of layout 1"):
        load_bundle(saved)


@pytest.mark.parametrize("name", ["model.ubj", "manifest.json"])
def test_a_missing_file_is_refused(saved: Path, name: str):
    (saved / name).unlink()
    with pytest.raises(BundleRefused, match=f"{name}: cannot be read"):
        load_bundle(saved)


def test_an_alias_points_where_it_was_set_last(saved: Path, tmp_path: Path):
    assert find_bundle(tmp_path, "acceptance") is None
    set_alias(tmp_path, "acceptance", "champion", "v1")
    set_alias(tmp_path, "acceptance", "challenger", "v1")
    assert read_aliases(tmp_path, "acceptance") == {"champion": "v1", "challenger": "v1"}
    assert find_bundle(tmp_path, "acceptance") == saved
    assert find_bundle(tmp_path, "acceptance", "v1") == saved

    set_alias(tmp_path, "acceptance", "challenger", None)
    assert read_aliases(tmp_path, "acceptance") == {"champion": "v1"}
    assert list_versions(tmp_path, "acceptance") == ["v1"]
    assert not list((tmp_path / "acceptance").glob(".aliases.json.*"))


def test_an_alias_of_what_is_not_there_is_refused_and_changes_nothing(saved: Path, tmp_path: Path):
    set_alias(tmp_path, "acceptance", "champion", "v1")
    with pytest.raises(BundleRefused, match="v2"):
        set_alias(tmp_path, "acceptance", "champion", "v2")
    assert read_aliases(tmp_path, "acceptance") == {"champion": "v1"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"champion": 3}',
        b'{"champion": null}',
        b'{"champion": "../v1"}',
        b'{"champion": "v1\\n"}',
        b'{"champion": ""}',
        b'{"../champion": "v1"}',
        b'{"champion": "v1", "champion": "v2"}',
        b'{"champion": "v1", "canary": {"version": "v2", "share": 0.1, "share": 0.5}}',
        b'{"canary": {"version": "v2", "share": 1' + b"0" * 400 + b"}}",
    ],
)
def test_a_damaged_alias_file_is_refused(saved: Path, tmp_path: Path, content: bytes):
    (tmp_path / "acceptance" / "aliases.json").write_bytes(content)
    with pytest.raises(BundleRefused, match=r"aliases\.json"):
        find_bundle(tmp_path, "acceptance")


def test_an_alias_file_that_cannot_be_read_is_refused(saved: Path, tmp_path: Path):
    (tmp_path / "acceptance" / "aliases.json").mkdir()
    with pytest.raises(BundleRefused, match=r"aliases\.json: is no file, but a folder"):
        read_aliases(tmp_path, "acceptance")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\n"])
def test_names_that_lead_out_of_the_registry_are_refused(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match="letters, digits"):
        find_bundle(tmp_path, name)


@pytest.mark.parametrize("version", ["prior", "champion", "canary", "aliases.json", "history.json"])
def test_no_version_is_called_as_something_else_is(tmp_path: Path, draft: BundleDraft, version: str):
    with pytest.raises(ValueError, match="a name of its own"):
        save_bundle(tmp_path, "acceptance", draft, created="now", version=version)
    assert not (tmp_path / "acceptance").exists()


def test_what_a_crash_left_unfinished_is_no_version(saved: Path, tmp_path: Path):
    (tmp_path / "acceptance" / ".v2.123").mkdir()
    (tmp_path / "acceptance" / "v3").mkdir()
    assert list_versions(tmp_path, "acceptance") == ["v1", "v3"]
    with pytest.raises(BundleRefused, match="cannot be read"):
        read_manifest(tmp_path / "acceptance" / "v3")
