"""Versions in the registry that are broken or hostile.

Law: each is refused with the file and what is wrong with it; what is in service stays; nothing of it is opened in this
process, whatever lies in its folder.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from household.scoring import feature_schema
from serving.models import bundle as bundles
from serving.models.bundle import BundleRefused, load_bundle, save_bundle
from serving.models.choosing import choose
from serving.models.history import read_history
from serving.models.in_force import MODEL_NAME, ModelInForce
from serving.models.registry import CHAMPION, read_stages, set_alias
from tests.actors.harness import corner
from tests.sampling import sampled
from tests.serving.test_adoption import Bomb, draft_of, trained

SCHEMA = feature_schema(corner())
VERSION = "v1"

Break = Callable[[Path], object]


def told(**changes: Any) -> Break:
    """Return what changes fields of the manifest."""
    return rewritten(lambda fields: fields.update(changes))


def without(name: str) -> Break:
    return rewritten(lambda fields: fields.pop(name))


def rewritten(change: Callable[[dict[str, Any]], object]) -> Break:
    def write(folder: Path) -> None:
        file = folder / "manifest.json"
        fields = json.loads(file.read_text())
        change(fields)
        file.write_text(json.dumps(fields))

    return write


def golden(place: str, value: Any) -> Break:
    """Return what changes the first of the golden rows or scores."""

    def change(fields: dict[str, Any]) -> None:
        fields[f"golden_{place}"][0] = value

    return rewritten(change)


def written(content: bytes, name: str = "manifest.json") -> Break:
    return lambda folder: (folder / name).write_bytes(content)


def gone(name: str) -> Break:
    return lambda folder: (folder / name).unlink()


def linked(name: str) -> Break:
    def link(folder: Path) -> None:
        shutil.copy(folder / name, folder.parent.parent / name)
        (folder / name).unlink()
        (folder / name).symlink_to(folder.parent.parent / name)

    return link


def made(name: str, make: Callable[[Path], object]) -> Break:
    """Return what puts something else than a file in the place of one."""

    def replace(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return replace


def huge(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(1 << 40)


def cut(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_bytes(file.read_bytes()[:-200])


def one_bit(folder: Path) -> None:
    content = bytearray((folder / "model.ubj").read_bytes())
    content[300] ^= 4
    (folder / "model.ubj").write_bytes(content)


def folder_is_a_link(folder: Path) -> None:
    elsewhere = folder.parent.parent / "elsewhere" / VERSION
    elsewhere.parent.mkdir()
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


def forged(content: bytes) -> Break:
    """Return what puts another model in its place, with the right digest."""

    def forge(folder: Path) -> None:
        (folder / "model.ubj").write_bytes(content)
        told(sha256={"model.ubj": hashlib.sha256(content).hexdigest()})(folder)

    return forge


COLUMNS = list(SCHEMA.names)
MANIFEST, MODEL = "manifest.json", "model.ubj"

BROKEN: dict[str, tuple[Break, str]] = {
    "no manifest": (gone(MANIFEST), "cannot be read"),
    "an empty manifest": (written(b""), "not a manifest"),
    "a cut manifest": (cut, "not a manifest"),
    "a manifest that is a pickle": (written(pickle.dumps(Bomb())), "not a manifest"),
    "endless brackets": (written(b"[" * 200_000), "not a manifest"),
    "brackets within": (written(b'{"layout":' + b"[" * 90_000 + b"]" * 90_000 + b"}"), "not a manifest"),
    "a list": (written(b"[]"), "not a manifest"),
    "nothing": (written(b"null"), "not a manifest"),
    "text of another kind": (written(b"\xff\xfe{\x00}\x00"), "not a manifest"),
    "a number of a million digits": (written(b'{"layout":' + b"9" * 1_000_000 + b"}"), "not a manifest"),
    "a manifest that is a link": (linked(MANIFEST), "is a link"),
    "a manifest that is a pipe": (made(MANIFEST, os.mkfifo), "is no file"),
    "a manifest that is a folder": (made(MANIFEST, Path.mkdir), "is no file"),
    "a manifest without end": (made(MANIFEST, huge), "at most"),
    "a manifest that is a device": (made(MANIFEST, lambda file: file.symlink_to("/dev/zero")), "is a link"),
    "another layout": (told(layout=2), "layout 2"),
    "a layout in words": (told(layout="one"), "layout one"),
    "no layout": (without("layout"), "'layout'"),
    "the version of another folder": (told(version="v2"), "is that of version v2"),
    "a version that leads out": (told(version="../../v1"), "letters, digits"),
    "a version that is none": (told(version=None), "not a manifest"),
    "a name that leads out": (told(name="/etc"), "letters, digits"),
    "a name with a zero": (told(name="a\0b"), "letters, digits"),
    "no digest": (told(sha256={}), "model.ubj"),
    "a digest of another file": (told(sha256={"../model.ubj": "0" * 64}), "model.ubj"),
    "a digest that is a number": (told(sha256={"model.ubj": 7}), "sha256 is"),
    "another digest": (told(sha256={"model.ubj": "0" * 64}), "sha256 is"),
    "no columns": (without("columns"), "'columns'"),
    "columns in a text": (told(columns="abc"), "not a manifest"),
    "a column twice": (told(columns=[*COLUMNS[:-1], COLUMNS[0]]), "the same name"),
    "columns that are numbered": (told(columns=[f"f{at}" for at in range(len(COLUMNS))]), "numbering"),
    "columns in another order": (told(columns=COLUMNS[::-1]), "column 0 is"),
    "other columns": (told(columns=[*COLUMNS[:-1], "mine"]), "'mine'"),
    "a column less": (told(columns=COLUMNS[:-1]), "golden rows"),
    "another feature schema": (told(feature_schema_hash="0" * 16), "made for feature schema"),
    "golden rows of other lengths": (golden("rows", [1.0]), "not a manifest"),
    "golden rows in words": (golden("rows", ["x"] * len(COLUMNS)), "not a manifest"),
    "golden rows that are deeper": (golden("rows", [[1.0]] * len(COLUMNS)), "not a manifest"),
    "golden rows as an object": (told(golden_rows={"0": [1.0]}), "not a manifest"),
    "a golden number that is no float": (golden("rows", [10**400] * len(COLUMNS)), "not a manifest"),
    "no golden scores": (told(golden_rows=[], golden_scores=[]), "golden rows"),
    "a golden score above one": (golden("scores", 1.5), "no probability"),
    "a golden score that is no number": (golden("scores", float("nan")), "no probability"),
    "a golden score that is endless": (golden("scores", float("inf")), "no probability"),
    "a golden score that is missing": (golden("scores", None), "not a manifest|no probability"),
    "training that is a list": (told(training=[1, 2]), "not a manifest"),
    "no training": (without("training"), "'training'"),
    "no model": (gone(MODEL), "cannot be read"),
    "a model that is a link": (linked(MODEL), "is a link"),
    "a model that is a pipe": (made(MODEL, os.mkfifo), "is no file"),
    "a model that is a folder": (made(MODEL, Path.mkdir), "is no file"),
    "a model without end": (made(MODEL, huge), "at most"),
    "a model with one bit flipped": (one_bit, "sha256 is"),
    "a folder that is a link": (folder_is_a_link, "is a link"),
    # What the throw-away process tells.
    "a pickle under the right digest": (forged(pickle.dumps(Bomb())), "does not load|killed"),
    "an empty model under the right digest": (forged(b""), "does not load|killed"),
    "another model under the right digest": (
        forged(bytes(trained(names=COLUMNS, rounds=9).save_raw("ubj"))),
        "do not give the golden scores",
    ),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of one sound version."""
    registry = tmp_path_factory.mktemp("sound")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "_probe", lambda *_: None)
        save_bundle(registry, MODEL_NAME, draft_of(trained(names=COLUMNS)), created="t", version=VERSION)
    set_alias(registry, MODEL_NAME, CHAMPION, VERSION)
    return registry


@pytest.mark.parametrize("kind", sampled(BROKEN, one_in=3))
def test_a_broken_version_is_refused_and_what_is_in_service_stays(
    kind: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    breaks, reason = BROKEN[kind]
    registry = tmp_path / "models"
    shutil.copytree(sound, registry)
    folder = registry / MODEL_NAME / VERSION
    breaks(folder)
    monkeypatch.setattr(xgboost.Booster, "load_model", lambda *_: pytest.fail("opened in this process"))

    with pytest.raises(BundleRefused, match=reason) as refused:
        load_bundle(folder, feature_schema_hash=SCHEMA.hash, columns=SCHEMA.names)
    assert refused.value.file.parent in (folder, folder.parent)
    assert len(str(refused.value)) < 1_000

    serving = ModelInForce(version="v0", sha256="s", feature_schema_hash=SCHEMA.hash, columns=SCHEMA.names)
    choice = choose(registry, corner, in_service=serving, remembered="v0")
    assert choice.model == serving
    assert "the champion v1 cannot be served" in choice.trouble
    assert not Path("/tmp/hearth-was-here").exists()


def test_what_lies_beside_a_model_is_never_opened(sound: Path, tmp_path: Path):
    registry = tmp_path / "models"
    shutil.copytree(sound, registry)
    folder = registry / MODEL_NAME / VERSION
    for name in ("model.pkl", "python_model.pkl", "MLmodel", "model.joblib"):
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    bundle = load_bundle(folder, feature_schema_hash=SCHEMA.hash, columns=SCHEMA.names)
    assert np.isfinite(bundle.manifest.golden_scores).all()
    assert not Path("/tmp/hearth-was-here").exists()


def test_there_are_forty_kinds():
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("name", ["aliases.json", "history.json"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "huge"])
def test_a_registry_whose_own_files_are_none_is_refused_at_once(kind: str, name: str, sound: Path, tmp_path: Path):
    registry = tmp_path / "models"
    shutil.copytree(sound, registry)
    file = registry / MODEL_NAME / name
    file.unlink(missing_ok=True)
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "device":
            file.symlink_to("/dev/zero")
        case _:
            huge(file)
    read = read_history if name == "history.json" else read_stages
    with pytest.raises(BundleRefused, match=r"is no file|at most"):
        read(registry, MODEL_NAME)
    if name == "aliases.json":
        serving = ModelInForce(version="v0", sha256="s", feature_schema_hash=SCHEMA.hash, columns=SCHEMA.names)
        choice = choose(registry, corner, in_service=serving, remembered="v0")
        assert choice.model == serving
        assert str(file) in choice.trouble
