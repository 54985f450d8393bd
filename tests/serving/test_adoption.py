"""Models from elsewhere, and hostile ones.

Laws: a booster of XGBoost is taken as it is, under the names of the feature schema, and scores as it did where it was
trained; whatever else is brought is refused with what is wrong, and nothing of it is opened in this process.
"""

import gzip
import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from household.scoring import FeatureSchema, feature_schema
from serving.models import bundle as bundles
from serving.models import probe
from serving.models.adoption import Origin, adopt, foreign_kind
from serving.models.bundle import BundleRefused, load_bundle, read_manifest, read_plain, save_bundle
from serving.models.probe import open_booster, predict
from tests.actors.harness import corner

SCHEMA: FeatureSchema = feature_schema(corner())
COLUMNS = len(SCHEMA.names)


class Bomb:
    """What a pickle may do as soon as it is opened."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return (os.mkdir, ("/tmp/hearth-was-here",))


def trained(*, names: list[str] | None = None, columns: int = COLUMNS, rounds: int = 4, **settings: Any) -> Any:
    draw = np.random.default_rng(3)
    rows = draw.normal(size=(200, columns)).astype(np.float32)
    label = (rows[:, 0] > 0.3).astype(np.float32)
    data = xgboost.DMatrix(rows, label, feature_names=names)
    if str(settings.get("objective", "")).startswith("multi"):
        data.set_label(np.arange(200) % 3)
    chosen = {"objective": "binary:logistic", "max_depth": 2, "nthread": 1} | settings
    return xgboost.train(chosen, data, rounds)


def saved(form: str = "ubj", **named: Any) -> bytes:
    return bytes(trained(**named).save_raw(form))


def altered(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a model in JSON, changed by hand."""
    model = json.loads(saved("json", names=list(SCHEMA.names)))
    change(model)
    return json.dumps(model).encode()


def trees(model: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = model["learner"]["gradient_booster"]["model"]["trees"]
    return found


def set_in_tree(name: str, value: Any, place: int = 0) -> bytes:
    def change(model: dict[str, Any]) -> None:
        trees(model)[0][name][place] = value

    return altered(change)


def many_trees(model: dict[str, Any]) -> None:
    booster = model["learner"]["gradient_booster"]["model"]
    count = probe.TREES_MAX + 1
    stump = trees(model)[0]
    booster["trees"] = [stump | {"id": number} for number in range(count)]
    booster["tree_info"] = [0] * count
    booster["iteration_indptr"] = list(range(count + 1))
    booster["gbtree_model_param"]["num_trees"] = str(count)


def zipped(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/passwd"))
    return stream.getvalue()


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    # What is told by the first bytes: no process is started for it.
    "empty": (lambda: b"", "is empty"),
    "pickle": (lambda: pickle.dumps(Bomb()), "a Python pickle"),
    "pickle of protocol 2": (lambda: pickle.dumps(Bomb(), protocol=2), "a Python pickle"),
    "pickle in text": (lambda: pickle.dumps(Bomb(), protocol=0), "neither JSON nor UBJSON"),
    "joblib": (lambda: b"\x78\x9c" + b"x" * 40, "joblib"),
    "gzip of a model": (lambda: gzip.compress(saved()), "gzip; unpack it first"),
    "gzip bomb": (lambda: gzip.compress(bytes(1 << 22)), "gzip"),
    "ZIP bomb": (lambda: zipped("model.ubj", bytes(1 << 22)), "a ZIP archive"),
    "ZIP that leads out": (lambda: zipped("../../model.ubj", b"x"), "a ZIP archive"),
    "tar that leads out": (tarred, "a tar archive"),
    "LightGBM": (lambda: b"tree\nversion=v4\nnum_class=1\n", "a LightGBM model"),
    "LightGBM in JSON": (lambda: b'{"name":"tree","version":"v4","tree_info":[]}', "a LightGBM model"),
    "CatBoost": (lambda: b"CBM1" + bytes(40), "a CatBoost model"),
    "CatBoost in JSON": (lambda: b'{"model_info":{},"oblivious_trees":[]}', "a CatBoost model"),
    "old binary XGBoost": (lambda: b"binf" + bytes(40), "old binary format"),
    "Keras": (lambda: b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    "ONNX": (lambda: b"\x08\x07\x12\x04skl2", "ONNX"),
    "PMML": (lambda: b"<?xml version='1.0'?><PMML/>", "PMML"),
    "a program": (lambda: b"\x7fELF" + bytes(40), "a program"),
    "a script": (lambda: b"#!/bin/sh\nrm -rf /\n", "a script"),
    "a byte-order mark": (lambda: b"\xef\xbb\xbf{}", "byte-order mark"),
    "noise": (lambda: np.random.default_rng(0).bytes(4096), "neither JSON nor UBJSON"),
    # What the throw-away process tells.
    "JSON of something else": (lambda: b'{"learner": {"name": "none"}}', "does not load"),
    "an empty object": (lambda: b"{}", "does not load"),
    "endless brackets": (lambda: b'{"learner":' + b"[" * 100_000, "does not load|killed|said|RecursionError"),
    "cut in the middle": (lambda: saved(names=list(SCHEMA.names))[:-700], "does not load|killed"),
    "cut JSON": (lambda: saved("json", names=list(SCHEMA.names))[:-700], "does not load|killed"),
    "wrong magic": (lambda: b"{X" + saved()[2:], "does not load|killed"),
    "a leaf that is no number": (lambda: set_in_tree("split_conditions", float("nan"), -1), "no number|not load"),
    "an endless leaf": (lambda: set_in_tree("split_conditions", float("inf"), -1), "no number|not load|no probab"),
    "nodes in circles": (lambda: set_in_tree("left_children", 0), "in circles|not load|killed"),
    "nodes that lead nowhere": (lambda: set_in_tree("left_children", 1_000_000), "nowhere|not load|killed"),
    "splits by a column that is none": (lambda: set_in_tree("split_indices", 60_000), "that it has not|not load"),
    "too many trees": (lambda: altered(many_trees), "trees; at most"),
    "other columns": (lambda: saved(names=[f"x{at}" for at in range(COLUMNS)]), "column 0 is 'x0'"),
    "columns in another order": (lambda: saved(names=list(SCHEMA.names)[::-1]), "column 0 is"),
    "one column less": (lambda: saved(columns=COLUMNS - 1), f"has {COLUMNS - 1} columns"),
    "no names": (lambda: saved(), "does not name its columns"),
    "a regression": (lambda: saved(names=list(SCHEMA.names), objective="reg:squarederror"), "has the objective"),
    "classes": (
        lambda: saved(names=list(SCHEMA.names), objective="multi:softprob", num_class=3),
        "has the objective multi:softprob",
    ),
    "a margin for a probability": (
        lambda: saved(names=list(SCHEMA.names), objective="binary:logitraw"),
        "has the objective binary:logitraw",
    ),
    "a linear model": (lambda: saved(names=list(SCHEMA.names), booster="gblinear"), "gblinear|not load"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_sound_booster_of_these_columns_is_refused_with_what_is_wrong(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make, told = HOSTILE[kind]
    file = tmp_path / "model.ubj"
    file.write_bytes(make())
    # This process opens none of them, whatever its first bytes say.
    monkeypatch.setattr(xgboost.Booster, "load_model", lambda *_: pytest.fail("opened in this process"))
    with pytest.raises(BundleRefused, match=told) as refused:
        adopt(file, schema=SCHEMA, playbook_version="p", origin=Origin())
    assert refused.value.file == file
    assert len(str(refused.value)) < 800
    assert not Path("/tmp/hearth-was-here").exists()


def test_there_are_forty_kinds():
    assert len(HOSTILE) >= 40


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "device", "missing", "huge"])
def test_what_is_no_plain_file_is_refused_before_it_is_read(kind: str, tmp_path: Path):
    file = tmp_path / "model.ubj"
    match kind:
        case "link":
            (tmp_path / "other").write_bytes(b"{}")
            file.symlink_to(tmp_path / "other")
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "device":
            file = Path("/dev/zero")
        case "huge":
            with file.open("wb") as stream:
                stream.truncate(1 << 40)
        case _:
            pass
    told = {"link": "is a link", "missing": "No such file", "huge": "at most"}.get(kind, "is no file")
    with pytest.raises(BundleRefused, match=told):
        adopt(file, schema=SCHEMA, playbook_version="p", origin=Origin())


def test_a_version_of_the_registry_is_no_link_and_its_files_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bundles, "_probe", lambda *_: None)
    outside = tmp_path / "outside"
    folder = save_bundle(outside, "acceptance", draft_of(trained(names=list(SCHEMA.names))), created="t", version="v1")
    registry = tmp_path / "registry" / "acceptance"
    registry.mkdir(parents=True)
    (registry / "v1").symlink_to(folder)
    with pytest.raises(BundleRefused, match="is a link"):
        load_bundle(registry / "v1")
    (folder / "model.ubj").rename(tmp_path / "elsewhere")
    (folder / "model.ubj").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleRefused, match="is a link"):
        load_bundle(folder)
    (folder / "manifest.json").write_bytes(b"[" * 200_000)
    with pytest.raises(BundleRefused, match="not a manifest"):
        read_manifest(folder)


def draft_of(booster: Any) -> bundles.BundleDraft:
    rows = np.zeros((3, COLUMNS), np.float32)
    model = bytes(booster.save_raw("ubj"))
    return bundles.BundleDraft(
        model=model,
        feature_schema_hash=SCHEMA.hash,
        columns=SCHEMA.names,
        golden_rows=rows,
        golden_scores=predict(open_booster(model), rows),
        playbook_version="p",
        training={},
    )


@pytest.mark.parametrize(("form", "named"), [("ubj", True), ("json", True), ("json", False)])
def test_a_booster_of_any_form_is_taken_and_scores_as_where_it_was_trained(tmp_path: Path, form: str, named: bool):
    booster = trained(names=list(SCHEMA.names) if named else None, base_score=0.2)
    file = tmp_path / f"mine.{form}"
    file.write_bytes(bytes(booster.save_raw(form)))
    rows = np.random.default_rng(5).normal(size=(10, COLUMNS)).astype(np.float32)
    golden = rows, np.asarray(booster.inplace_predict(rows), np.float32)
    draft = adopt(
        file,
        schema=SCHEMA,
        playbook_version="p",
        origin=Origin(seen_to_us=7),
        columns=None if named else SCHEMA.names,
        golden=golden,
    )
    folder = save_bundle(tmp_path / "models", "acceptance", draft, created="t")
    bundle = load_bundle(folder, feature_schema_hash=SCHEMA.hash, columns=SCHEMA.names)
    # Its own base score, not the playbook's priors.
    assert np.allclose(predict(open_booster(bundle.model), rows), golden[1], rtol=0, atol=1e-6)
    assert bundle.manifest.training["seen_to_us"] == 7
    if form == "ubj":
        wrong = rows, golden[1] + np.float32(0.01)
        with pytest.raises(BundleRefused, match=r"golden row \d+ scores"):
            adopt(file, schema=SCHEMA, playbook_version="p", origin=Origin(), golden=wrong)


def test_a_model_whose_trees_start_from_the_priors_says_so(tmp_path: Path):
    file = tmp_path / "mine.ubj"
    file.write_bytes(saved(names=list(SCHEMA.names)))
    scores = []
    for starts in (False, True):
        draft = adopt(file, schema=SCHEMA, playbook_version="p", origin=Origin(starts_from_priors=starts))
        scores.append(draft.golden_scores)
    assert not np.allclose(*scores)


def test_plain_files_are_read_whole(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    assert read_plain(tmp_path / "a", 3) == b"abc"
    with pytest.raises(BundleRefused, match="has 3 bytes; at most 2"):
        read_plain(tmp_path / "a", 2)
    assert foreign_kind(b"{}") == ""
