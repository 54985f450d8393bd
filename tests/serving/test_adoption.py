"""Models from elsewhere, and hostile ones.

Laws: a booster of XGBoost is taken as it is, under the names of the feature schema, and scores as it did where it was
trained; whatever else is brought is refused with what is wrong, and nothing of it is opened in this process.
"""

import gzip
import io
import json
import os
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xgboost

from household.scoring import FeatureSchema, ScoreColumn, feature_schema
from serving.models import bundle as bundles
from serving.models import probe
from serving.models.adoption import Origin, adopt, foreign_kind
from serving.models.bundle import BundleRefused, load_bundle, read_manifest, read_plain, save_bundle
from serving.models.probe import open_booster, predict
from serving.models.translation import CATBOOST, LIGHTGBM, translated
from tests.actors.harness import corner
from tests.sampling import sampled

SCHEMA: FeatureSchema = feature_schema(corner())
COLUMNS = len(SCHEMA.names)
FOREIGN = Path(__file__).parent / "foreign"
"""Models of other libraries; tests/parts/foreign_models.py has made them."""


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


def foreign(name: str) -> bytes:
    """Return a model that another library saved."""
    return (FOREIGN / name).read_bytes()


def coded() -> bytes:
    """Return a model that takes a number for categories."""
    draw = np.random.default_rng(3)
    rows = draw.normal(size=(200, COLUMNS)).astype(np.float32)
    place = next(at for at, one in enumerate(SCHEMA.columns) if not one.values)
    rows[:, place] = draw.integers(0, 4, 200)
    kinds = ["c" if at == place else "q" for at in range(COLUMNS)]
    data = xgboost.DMatrix(
        rows,
        (rows[:, place] == 2).astype(np.float32),
        feature_names=list(SCHEMA.names),
        feature_types=kinds,
        enable_categorical=True,
    )
    return bytes(xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 2).save_raw("json"))


def set_base_score(value: str) -> bytes:
    return altered(lambda model: model["learner"]["learner_model_param"].update(base_score=value))


def set_version(value: Any) -> bytes:
    return altered(lambda model: model.update(version=value))


def other_class(model: dict[str, Any]) -> None:
    booster = model["learner"]["gradient_booster"]["model"]
    booster["tree_info"] = [7_000_000] * len(booster["tree_info"])


def chain(model: dict[str, Any]) -> None:
    """Make the first tree one of which each split has a leaf and the next split."""
    depth = probe.DEPTH_MAX + 1
    nodes = 2 * depth + 1
    tree = trees(model)[0]
    inner = range(0, nodes - 1, 2)
    tree["left_children"] = [node + 1 if node in inner else -1 for node in range(nodes)]
    tree["right_children"] = [node + 2 if node in inner else -1 for node in range(nodes)]
    tree["parents"] = [2_147_483_647, *(node - 2 + node % 2 for node in range(1, nodes))]
    for name in ("base_weights", "loss_changes", "split_conditions", "sum_hessian"):
        tree[name] = [0.5] * nodes
    for name in ("default_left", "split_indices", "split_type"):
        tree[name] = [0] * nodes
    tree["tree_param"]["num_nodes"] = str(nodes)


def of_the_next_row(model: dict[str, Any]) -> None:
    """Have the trees add to a score that there is not: to the next row's, as it lies in memory."""
    booster = model["learner"]["gradient_booster"]["model"]
    booster["tree_info"] = [1] * len(booster["tree_info"])


def rounds_beyond(model: dict[str, Any]) -> None:
    booster = model["learner"]["gradient_booster"]["model"]
    booster["iteration_indptr"] = [0, 400_000, *booster["iteration_indptr"][2:]]


def dropped(weight: float, *, count: int | None = None) -> bytes:
    """Return a booster whose trees were dropped now and then, and count as much as is told."""
    model = json.loads(saved("json", names=list(SCHEMA.names), booster="dart", rate_drop=0.5))
    booster = model["learner"]["gradient_booster"]
    booster["weight_drop"] = [weight] * (len(booster["weight_drop"]) if count is None else count)
    return json.dumps(model).encode()


def hidden_leaf(model: dict[str, Any]) -> None:
    """Hide a leaf that is no number among the splits by category, whose thresholds mean nothing."""
    tree = trees(model)[0]
    leaf = tree["left_children"].index(-1)
    tree["split_conditions"][leaf], tree["split_type"][leaf] = float("nan"), 1
    tree["split_indices"][leaf] = next(at for at, one in enumerate(SCHEMA.columns) if one.values)
    tree |= {"categories": [0], "categories_nodes": [leaf], "categories_segments": [0], "categories_sizes": [1]}


def large_leaves(model: dict[str, Any]) -> None:
    """Let sums of leaves go beyond what is a number, for rows that nobody has tried."""
    for tree in trees(model):
        for node in [at for at, left in enumerate(tree["left_children"]) if left == -1]:
            tree["split_conditions"][node] = 3e38 if node % 2 else -3e38


def other_end() -> bytes:
    """Return a model whose arrays have the least byte of each number first, as the processor has and UBJSON has not."""
    model = saved(names=list(SCHEMA.names))
    for mark, size in ((b"[$d#L", 4), (b"[$l#L", 4)):
        at = model.find(mark)
        while at >= 0:
            begin = at + len(mark) + 8
            count = int.from_bytes(model[begin - 8 : begin], "big")
            numbers = np.frombuffer(model[begin : begin + size * count], f">i{size}").astype(f"<i{size}").tobytes()
            model = model[:begin] + numbers + model[begin + size * count :]
            at = model.find(mark, begin + size * count)
    return model


def two_outputs() -> bytes:
    rows = np.random.default_rng(3).normal(size=(200, COLUMNS)).astype(np.float32)
    data = xgboost.DMatrix(rows, (rows[:, :2] > 0).astype(np.float32), feature_names=list(SCHEMA.names))
    booster = xgboost.train({"objective": "binary:logistic", "multi_strategy": "multi_output_tree"}, data, 2)
    return bytes(booster.save_raw("ubj"))


def coded_otherwise() -> bytes:
    """Return a model of a table whose categories stood in another order than the playbook has them."""
    draw = np.random.default_rng(3)
    place = next(at for at, one in enumerate(SCHEMA.columns) if len(one.values) > 1)
    codes = draw.integers(0, len(SCHEMA.columns[place].values), 200)
    columns = {name: pa.array(draw.normal(size=200)) for name in SCHEMA.names}
    columns[SCHEMA.names[place]] = pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), pa.array(SCHEMA.columns[place].values[::-1])
    )
    data = xgboost.DMatrix(pa.table(columns), (codes == 0).astype(np.float32), enable_categorical=True)
    return bytes(xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 2).save_raw("json"))


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
    "LightGBM in JSON": (lambda: b'{"name":"tree","version":"v4","tree_info":[]}', "a LightGBM model"),
    "CatBoost": (lambda: b"CBM1" + bytes(40), "a CatBoost model"),
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
    # Nothing of where in XGBoost's own source that was found.
    "an empty object": (lambda: b"{}", r"does not load: [^[\]/]*; it is cut, damaged, or no booster"),
    "endless brackets": (lambda: b'{"learner":' + b"[" * 100_000, "does not load|killed|said|RecursionError"),
    "cut in the middle": (lambda: saved(names=list(SCHEMA.names))[:-700], "does not load|killed"),
    "cut JSON": (lambda: saved("json", names=list(SCHEMA.names))[:-700], "does not load|killed"),
    "numbers of the other end": (other_end, "nowhere|in circles|no number|that it has not|not load|killed"),
    "wrong magic": (lambda: b"{X" + saved()[2:], "does not load|killed"),
    "a leaf that is no number": (lambda: set_in_tree("split_conditions", float("nan"), -1), "no number|not load"),
    "an endless leaf": (lambda: set_in_tree("split_conditions", float("inf"), -1), "no number|not load|no probab"),
    "nodes in circles": (lambda: set_in_tree("left_children", 0), "in circles|not load|killed"),
    "nodes that lead nowhere": (lambda: set_in_tree("left_children", 1_000_000), "nowhere|not load|killed"),
    "splits by a column that is none": (lambda: set_in_tree("split_indices", 60_000), "that it has not|not load"),
    "too many trees": (lambda: altered(many_trees), "trees; at most"),
    "a tree that is all depth": (lambda: altered(chain), "splits one below the other"),
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
    "LightGBM that is cut": (lambda: foreign("lightgbm.txt")[:5_000], "is cut"),
    "LightGBM of other columns": (lambda: foreign("lightgbm.txt"), "has 6 columns"),
    "CatBoost that is cut": (lambda: foreign("catboost.json")[:5_000], "is damaged"),
    "CatBoost without trees": (lambda: b'{"model_info":{},"features_info":{}}', "symmetric"),
    "a category of a number": (coded, "by categories"),
    "a base score that is no number": (lambda: set_base_score("nan"), "no probability|not load"),
    "a base score that is endless": (lambda: set_base_score("inf"), "no probability|not load"),
    "a base score of words": (lambda: set_base_score("half"), "not load|killed"),
    "a version of the future": (lambda: set_version([99, 0, 0]), "was saved by XGBoost 99.0.0"),
    "a version of the past": (lambda: set_version([1, 6, 2]), "was saved by XGBoost 1.6.2"),
    "a version of less than nothing": (lambda: set_version([-1, 0, 0]), "not load|by which XGBoost|killed"),
    "a version in words": (lambda: set_version("three"), "not load|by which XGBoost|killed"),
    "no version": (lambda: altered(lambda model: model.pop("version")), "not load|by which XGBoost|killed"),
    "a tree of a class that is none": (lambda: altered(other_class), "of another score|not load|killed"),
    "a node that is its own parent's": (lambda: set_in_tree("right_children", 1), "in circles|not load|killed"),
    "a name that leads out": (
        lambda: saved(names=["../../etc/passwd", *SCHEMA.names[1:]]),
        "column 0 is '../../etc/passwd'",
    ),
    "a name with lines": (lambda: saved(names=["ok\nok", *SCHEMA.names[1:]]), r"column 0 is 'ok\\nok'|not load"),
    "no trees": (lambda: saved(names=list(SCHEMA.names), rounds=0), "has no trees"),
    "trees of a score beside the one": (lambda: altered(of_the_next_row), "of another score|not load|killed"),
    "rounds that end beyond the trees": (lambda: altered(rounds_beyond), "its rounds end|not load|killed"),
    "dropped trees that count endlessly": (lambda: dropped(float("inf")), "one that is none|not load"),
    "dropped trees of which few count": (
        lambda: dropped(1.0, count=1),
        "1 numbers by which|not load|killed",
    ),
    "a leaf that passes for a split by category": (lambda: altered(hidden_leaf), "no number|not load"),
    "leaves that add up to no number": (lambda: altered(large_leaves), "sums may be no number"),
    "a crowd of classes": (
        lambda: altered(lambda model: model["learner"]["learner_model_param"].update(num_class="1000000000")),
        "gives 1,000,000,000 scores|not load",
    ),
    "two outputs": (two_outputs, "gives 2 scores for each row"),
    "codes in another order": (coded_otherwise, "as category 0 of"),
    "a linear model": (lambda: saved(names=list(SCHEMA.names), booster="gblinear"), "gblinear|not load"),
}


@pytest.mark.parametrize("kind", sampled(HOSTILE, one_in=3))
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


def test_what_stands_beside_the_trees_is_not_kept_and_an_early_stop_is_told(tmp_path: Path):
    booster = trained(names=list(SCHEMA.names))
    booster.set_attr(best_iteration="1", note="x" * 100_000)
    booster.feature_types = ["c"] * COLUMNS
    booster.save_model(tmp_path / "mine.ubj")
    draft = adopt(tmp_path / "mine.ubj", schema=SCHEMA, playbook_version="p", origin=Origin())
    kept = open_booster(draft.model)
    assert (list(kept.attributes()), kept.feature_types) == ([probe.OWN_MARGIN], None)
    assert draft.training["best_rounds"] == 2  # type: ignore[index]
    assert len(draft.model) < 20_000


def test_a_model_whose_trees_start_from_the_priors_says_so(tmp_path: Path):
    file = tmp_path / "mine.ubj"
    file.write_bytes(saved(names=list(SCHEMA.names)))
    scores = []
    for starts in (False, True):
        draft = adopt(file, schema=SCHEMA, playbook_version="p", origin=Origin(starts_from_priors=starts))
        scores.append(draft.golden_scores)
    assert not np.allclose(*scores)


@pytest.mark.parametrize(
    "name",
    [
        "xgboost-1.7.ubj",
        "xgboost-1.7.json",
        "lightgbm.txt",
        "lightgbm-no-missing.txt",
        "lightgbm-forest.txt",
        "catboost.json",
        "catboost-unknown-is-most.json",
    ],
)
def test_a_model_of_an_older_xgboost_or_of_another_library_scores_as_where_it_was_trained(name: str):
    schema, golden = told_of(name)
    draft = adopt(FOREIGN / name, schema=schema, playbook_version="p", origin=Origin(), golden=golden)
    assert np.allclose(draft.golden_scores, golden[1], rtol=0, atol=1e-6)
    assert len(np.unique(draft.golden_scores)) > 10


def test_what_lightgbm_takes_for_unknown_and_xgboost_cannot_is_refused():
    schema, golden = told_of("lightgbm-zero-is-missing.txt")
    file = FOREIGN / "lightgbm-zero-is-missing.txt"
    with pytest.raises(BundleRefused, match="takes zero for unknown, in tree 0; train it with zero_as_missing=false"):
        adopt(file, schema=schema, playbook_version="p", origin=Origin(), golden=golden)


def told_of(name: str) -> tuple[FeatureSchema, tuple[Any, Any]]:
    """Return the columns of a model of another library, and its golden rows and scores."""
    told = json.loads((FOREIGN / f"{name}.golden").read_text())
    columns = tuple(ScoreColumn(name=one) for one in told["names"])
    schema = FeatureSchema(columns=columns, hash="h", scored=np.arange(2), offers=np.zeros((1, 4), np.float32))
    rows = np.array([[np.nan if one is None else one for one in row] for row in told["rows"]], np.float32)
    return schema, (rows, np.array(told["scores"], np.float32))


LIGHTGBM_DAMAGE = {
    "another objective": ("objective=binary sigmoid:1", "objective=regression", "the objective regression"),
    "no objective": ("objective=binary sigmoid:1\n", "", "the objective of nobody"),
    "classes": ("num_class=1", "num_class=3", "several classes"),
    "no columns": ("feature_names=", "names=", "is damaged"),
    "categories": ("num_cat=0", "num_cat=1", "splits by categories, in tree 0"),
    "linear leaves": ("is_linear=0", "is_linear=1", "linear leaves"),
    "circles": (r"left_child=\S+", "left_child=0", "in circles"),
    "a child that is nowhere": (r"right_child=\S+", "right_child=99", "or nowhere"),
    "a split too many": ("threshold=", "threshold=1 ", "not 6 splits"),
    "a split that is no number": (r"threshold=\S+", "threshold=nan", "at no number"),
    "a leaf in words": (r"leaf_value=\S+", "leaf_value=x", "is damaged"),
    "a leaf that is no number": (r"leaf_value=\S+", "leaf_value=nan", "is damaged"),
    "a column that is none": (r"split_feature=\S+", "split_feature=99", "column that it has not"),
    "a way to split that is new": (r"decision_type=\S+", "decision_type=12", "decision_type 12"),
}


@pytest.mark.parametrize("kind", sampled(LIGHTGBM_DAMAGE, one_in=3))
def test_a_damaged_lightgbm_model_is_refused_by_its_translation(kind: str):
    found, instead, reason = LIGHTGBM_DAMAGE[kind]
    content, count = re.subn(found, instead, foreign("lightgbm.txt").decode(), count=1)
    assert count == 1
    assert re.search(reason, translated(content.encode(), LIGHTGBM).decode())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: model["features_info"].update(categorical_features=[{}]), "columns of categories"),
        (lambda model: model["model_info"].update(params={"loss_function": {"type": "RMSE"}}), "the loss RMSE"),
        (lambda model: model["oblivious_trees"][3]["leaf_values"].pop(), "no tree in tree 3"),
        (lambda model: model["oblivious_trees"][0]["splits"][0].update(float_feature_index=6), "column that it has"),
        (lambda model: model["oblivious_trees"][0]["splits"][0].update(split_type="OnlineCtr"), "OnlineCtr"),
        (lambda model: model["oblivious_trees"].extend(model["oblivious_trees"] * 500), "trees; at most 5,000"),
        (lambda model: model["features_info"]["float_features"].pop(0), "in order"),
        (lambda model: model.pop("oblivious_trees"), "not symmetric"),
    ],
)
def test_a_catboost_model_without_an_equal_is_refused_by_its_translation(
    change: Callable[[dict[str, Any]], object], reason: str
):
    model = json.loads(foreign("catboost.json"))
    change(model)
    assert reason in translated(json.dumps(model).encode(), CATBOOST).decode()


def test_plain_files_are_read_whole(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    assert read_plain(tmp_path / "a", 3) == b"abc"
    with pytest.raises(BundleRefused, match="has 3 bytes; at most 2"):
        read_plain(tmp_path / "a", 2)
    assert foreign_kind(b"{}") == ""
