"""A model version on disk: one folder with the model, its manifest and rows whose scores are known.

`<registry>/<name>/<version>/{model.ubj, manifest.json}` never changes once written; where several boosters make the
score, each has a file of its own. Nothing is loaded here that did not
first match its SHA-256 and then give the golden scores in a process of its own (probe.py). Never pickle.
"""

import dataclasses
import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from serving.models import throw_away
from serving.models.probe import (
    ACCEPTANCE,
    HEADER,
    OK,
    ONE,
    PARTS,
    RANGES,
    apart,
    difference,
    not_probabilities,
    together,
)

BUNDLE_LAYOUT: Final = 1
"""Version of the folder and manifest; a reader refuses any other."""

MODEL_FILE: Final = "model.ubj"

MANIFEST_FILE: Final = "manifest.json"

NOT_LOADED: Final = "does not load:"
"""So the process that opens a model begins what XGBoost said of it."""
PROBE: Final = Path(__file__).with_name("probe.py").resolve()
"""What is run to try a model."""

TRANSLATION: Final = PROBE.with_name("translation.py")
"""What is run to write a model of another library again."""

PROBE_TIMEOUT_S: Final = 60.0

MODEL_BYTES_MAX: Final = 256 << 20
MANIFEST_BYTES_MAX: Final = 64 << 20

TAKEN: Final = frozenset({"prior", "champion", "canary", "shadow", "retired"})
"""What no version may be called: decisions and commands mean something else by it."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class BundleRefused(Exception):
    """A model version that must not be loaded; names the file and the reason."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


class BundleExists(Exception):
    """A version of this name is already in the registry; versions never change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFacts:
    """What a person needs to judge a model, and what it was learned from."""

    label: str
    """Definition of the label, in a sentence."""
    window_us: int
    """Longest time from a decision to an acceptance that counts."""
    seed: int
    rows: int
    positives: int
    left_out: Mapping[str, int]
    """Decisions not used, by reason; with `rows` they add up to all decisions read."""
    from_us: int
    to_us: int
    """Decision times of the first and last row, inclusive."""
    holdout_rows: int
    holdout_positives: int
    auc: float
    logloss: float
    prior_auc: float
    prior_logloss: float
    """The same of the playbook's priors, on the same rows."""
    predicted_mean: float
    observed_mean: float
    calibration: tuple[tuple[float, float, int], ...]
    """(mean predicted, observed rate, rows) of each tenth of the held-out rows, by prediction."""
    trees: int
    weighted: bool
    """Rows weighed by inverse propensity."""
    seen_to_us: int | None = None
    """Decision time of the newest row that the model was fitted to or stopped by; what came later it has not seen."""
    reference: Mapping[str, Any] | None = None
    """What it was trained on, as histograms (reference.py), for whoever watches it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BundleDraft:
    """A trained model that is not in a registry yet."""

    model: bytes
    """XGBoost's UBJSON, or several `together` (probe.py)."""
    feature_schema_hash: str
    columns: tuple[str, ...]
    golden_rows: NDArray[np.float32]
    """(golden, columns)"""
    golden_scores: NDArray[np.float32]
    """(golden,)"""
    playbook_version: str
    training: TrainingFacts | Mapping[str, Any]
    """Less of it where the model was trained elsewhere."""
    term: str = ACCEPTANCE
    """What it gives, a value of household.plan.ValueTerm."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Manifest:
    """What `manifest.json` holds."""

    layout: int
    name: str
    version: str
    created: str
    """As given when saved, ISO 8601."""
    sha256: Mapping[str, str]
    """Hex digest of each file beside the manifest."""
    feature_schema_hash: str
    columns: tuple[str, ...]
    golden_rows: NDArray[np.float32]
    golden_scores: NDArray[np.float32]
    playbook_version: str
    training: Mapping[str, Any]
    """As TrainingFacts; for people only, so a reader does not insist on its fields."""
    term: str = ACCEPTANCE
    """What it gives, a value of household.plan.ValueTerm; none is told in manifests from before there were others."""
    way: str = ONE
    """How its boosters make its score (probe.py)."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its boosters' files, in order."""
        return files_of(self.way)

    @property
    def digest(self) -> str:
        """What tells this model from any other: of one booster its SHA-256."""
        return digest_of(self.way, [self.sha256[name] for name in self.files])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """A model version that was checked and may be loaded."""

    path: Path
    manifest: Manifest
    model: bytes
    """The very bytes that were checked, so that nothing can change between check and load."""

    @property
    def version(self) -> str:
        """The model version as decisions record it."""
        return self.manifest.version


def files_of(way: str) -> tuple[str, ...]:
    """Return the names of the files of boosters that make a score in this way."""
    return (MODEL_FILE,) if way == ONE else tuple(f"{name}.ubj" for name, _ in PARTS[way])


def digest_of(way: str, digests: Sequence[str]) -> str:
    """Return the digest of a model of its boosters' digests."""
    return digests[0] if way == ONE else hashlib.sha256("\n".join((way, *digests)).encode()).hexdigest()


def save_bundle(registry: Path, name: str, draft: BundleDraft, *, created: str, version: str | None = None) -> Path:
    """Write a model version into the registry, durably and all at once; return its folder.

    Args:
        created: ISO 8601, recorded as it is.
        version: by default the first 12 hex digits of the model's SHA-256: the same model is the same version.

    Raises:
        BundleExists: the registry already has this version of this name.
        BundleRefused: the draft does not give its own golden scores, or is no model of its columns.
        ValueError: no version may be called so.
    """
    way, parts = apart(draft.model)
    sha256 = {file: hashlib.sha256(part).hexdigest() for file, part in zip(files_of(way), parts, strict=True)}
    version = digest_of(way, list(sha256.values()))[:12] if version is None else version
    folder = registry / checked_name(name) / new_version(version)
    if folder.exists():
        raise BundleExists(f"{folder} exists")
    manifest = Manifest(
        layout=BUNDLE_LAYOUT,
        name=name,
        version=version,
        created=created,
        sha256=sha256,
        feature_schema_hash=draft.feature_schema_hash,
        columns=draft.columns,
        golden_rows=draft.golden_rows,
        golden_scores=draft.golden_scores,
        playbook_version=draft.playbook_version,
        training=_plain(
            dataclasses.asdict(draft.training) if isinstance(draft.training, TrainingFacts) else dict(draft.training)
        ),
        term=draft.term,
        way=way,
    )
    try:
        content = _to_json(manifest)
        _from_json(content)
    except (ValueError, TypeError) as wrong:
        raise BundleRefused(folder / MANIFEST_FILE, f"would be no manifest: {wrong}") from wrong
    _probe(folder / MODEL_FILE, manifest, draft.model)
    unfinished = folder.with_name(f".{version}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        for name, part in zip(manifest.files, parts, strict=True):
            _write_durably(unfinished / name, part)
        _write_durably(unfinished / MANIFEST_FILE, content)
        _sync_directory(unfinished)
        unfinished.rename(folder)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        if folder.exists():
            raise BundleExists(f"{folder} exists") from None
        raise
    _sync_directory(folder.parent)
    return folder


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a model version, without looking at the model.

    Raises:
        BundleRefused: missing, not JSON, another layout, or a value of the wrong kind.
    """
    file = folder / MANIFEST_FILE
    if folder.is_symlink():
        raise BundleRefused(folder, "is a link; a version is a folder of the registry itself")
    try:
        manifest = _from_json(read_plain(file, MANIFEST_BYTES_MAX))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as wrong:
        raise BundleRefused(file, f"not a manifest of layout {BUNDLE_LAYOUT}: {wrong!r}") from wrong
    if manifest.version != folder.name:
        raise BundleRefused(file, f"is that of version {manifest.version}, and lies in the folder of {folder.name}")
    return manifest


def load_bundle(
    folder: Path,
    *,
    feature_schema_hash: str | None = None,
    columns: Sequence[str] | None = None,
    proven_sha256: str | None = None,
    term: str | None = None,
) -> Bundle:
    """Return a model version once it has proved harmless: hash, then golden rows in a process of its own.

    Takes about a second, nearly all of it the start of that process; blocks.

    Args:
        feature_schema_hash: refuse a model made for other columns; None takes any.
        columns: the names that go with that hash, in order; None takes those of the manifest.
        proven_sha256: `Manifest.digest` of a model that another process has put to this proof just now; it is not
            repeated then.
        term: what it is to give; None takes whatever it gives.

    Raises:
        BundleRefused: names the file and what is wrong with it. This process has then not opened the model.
    """
    manifest = read_manifest(folder)
    if term is not None and manifest.term != term:
        reason = f"gives {manifest.term}, and is to give {term}: the playbook's section 'models' names it for that"
        raise BundleRefused(folder / MANIFEST_FILE, reason)
    if feature_schema_hash is not None and manifest.feature_schema_hash != feature_schema_hash:
        reason = f"made for feature schema {manifest.feature_schema_hash}, this plan's is {feature_schema_hash}"
        raise BundleRefused(folder / MANIFEST_FILE, reason)
    if columns is not None and (other := difference(manifest.columns, columns)):
        raise BundleRefused(folder / MANIFEST_FILE, f"{other} in the feature schema of the playbook")
    parts = [_checked(folder / name, manifest.sha256[name]) for name in manifest.files]
    model = parts[0] if manifest.way == ONE else together(manifest.way, parts)
    if manifest.digest != proven_sha256:
        _probe(folder / manifest.files[0], manifest, model)
    return Bundle(path=folder, manifest=manifest, model=model)


def _checked(file: Path, sha256: str) -> bytes:
    content = read_plain(file, MODEL_BYTES_MAX)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise BundleRefused(file, f"sha256 is {digest}, the manifest says {sha256}")
    return content


def read_plain(file: Path, bytes_max: int, *, may_be_link: bool = False) -> bytes:
    """Return what is in a file; never of a device or a pipe, nor of a link unless told, nor more than so many bytes.

    Raises:
        BundleRefused: it is none of that, or cannot be read; from FileNotFoundError where nothing is there.
    """
    try:
        follow = 0 if may_be_link else os.O_NOFOLLOW
        # Without O_NONBLOCK, to open a pipe is to wait for whoever writes into it.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | follow)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise BundleRefused(file, "is no file, but a folder, a device or a pipe")
        with open(descriptor, "rb") as stream:
            if found.st_size <= bytes_max:
                content = stream.read(bytes_max + 1)
                if len(content) <= bytes_max:
                    return content
    except OSError as wrong:
        reason = "is a link; the file itself is needed" if wrong.errno == errno.ELOOP else wrong.strerror
        raise BundleRefused(file, f"cannot be read: {reason}") from wrong
    raise BundleRefused(file, f"has {found.st_size:,} bytes; at most {bytes_max:,} are taken")


def checked_name(name: str) -> str:
    """Return a name that may be that of a folder; a ValueError says what one is."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r}: letters, digits, dot, dash and underscore only, at most 128, no dot or dash first")
    return name


def new_version(version: str) -> str:
    """Return what a version may be called; a ValueError says what one may not."""
    if version in TAKEN or version.endswith(".json"):
        raise ValueError(f"{version!r}: is what something else is called; a version has a name of its own")
    return checked_name(version)


def _probe(file: Path, manifest: Manifest, model: bytes) -> None:
    """Load the model and score the golden rows in a process that may die of it."""
    rows = np.ascontiguousarray(manifest.golden_rows, np.float32)
    names = json.dumps({"columns": manifest.columns, "term": manifest.term}).encode()
    asked = struct.pack(HEADER, len(model), len(names), *rows.shape) + model + names
    asked += rows.tobytes() + manifest.golden_scores.tobytes()
    if left := ask_probe(file, asked):
        raise BundleRefused(file, f"the process that loaded it said {len(left)} bytes more than ok")


def ask_probe(file: Path, asked: bytes, *, task: str = "", program: Path | None = None) -> bytes:
    """Have a process that may die of it answer a question about a model; return what it said after `ok`.

    Raises:
        BundleRefused: it said why not, died, or did not end.
    """
    try:
        done = throw_away.asked(_command(task, program), asked, timeout_s=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise BundleRefused(file, f"did not load and score within {PROBE_TIMEOUT_S:.0f} s") from None
    if done.returncode == 0 and done.stdout.startswith(OK):
        return done.stdout.removeprefix(OK)
    if done.returncode < 0:
        raise BundleRefused(file, f"killed the process that loaded it (signal {-done.returncode})")
    said = (done.stdout or done.stderr).decode(errors="replace").strip().splitlines()
    why = _without_place(said[-1][:500]) if said else f"the process that loaded it ended with {done.returncode}"
    raise BundleRefused(file, why)


def _without_place(said: str) -> str:
    """Return why a model does not load, without where in XGBoost's own source that was found."""
    if not said.startswith(NOT_LOADED):
        return said
    why, _, _ = re.sub(r" \[[\d:]+\] \S+:\d+:", "", said, count=1).partition(" Stack trace:")
    return f"{why}; it is cut, damaged, or no booster that XGBoost saved"


def stand_by(*, task: str = "") -> None:
    """Have a process wait for the next question of this task, so that it is answered a second or more earlier."""
    throw_away.stand_by(_command(task, None))


def _command(task: str, program: Path | None) -> tuple[str, ...]:
    return sys.executable, "-I", "-B", str(program or PROBE), *([task] if task else [])


def _to_json(manifest: Manifest) -> bytes:
    fields = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest)}
    fields["golden_rows"] = [[_or_none(value) for value in row] for row in manifest.golden_rows.tolist()]
    fields["golden_scores"] = manifest.golden_scores.tolist()
    if (manifest.term, manifest.way) == (ACCEPTANCE, ONE):
        # As it was before there were others, so that older software reads it.
        del fields["term"], fields["way"]
    return json.dumps(fields, indent=1, allow_nan=False).encode() + b"\n"


def _from_json(content: bytes) -> Manifest:
    fields = json.loads(content)
    if fields["layout"] != BUNDLE_LAYOUT:
        raise ValueError(f"layout {fields['layout']}")
    columns = tuple(str(column) for column in fields["columns"])
    rows = np.array([[_or_nan(value) for value in row] for row in fields["golden_rows"]], np.float32)
    scores = np.array(fields["golden_scores"], np.float32)
    if scores.ndim != 1 or len(scores) == 0 or rows.shape != (len(scores), len(columns)):
        raise ValueError(f"golden rows {rows.shape}, golden scores {scores.shape}, {len(columns)} columns")
    if len(set(columns)) != len(columns):
        raise ValueError("two columns have the same name")
    if columns == tuple(f"f{place}" for place in range(len(columns))):
        raise ValueError("columns f0, f1 … are XGBoost's own numbering, not the names of the feature schema")
    term, way = str(fields.get("term", ACCEPTANCE)), str(fields.get("way", ONE))
    if term not in RANGES or way not in (ONE, *PARTS):
        raise ValueError(f"gives {term[:80]!r} in the way {way[:80]!r}, which this software does not know")
    if wrong := not_probabilities(scores, term):
        raise ValueError(f"the golden rows: the model {wrong}")
    return Manifest(
        layout=BUNDLE_LAYOUT,
        name=checked_name(fields["name"]),
        version=checked_name(fields["version"]),
        created=str(fields["created"]),
        sha256={name: str(fields["sha256"][name]) for name in files_of(way)},
        feature_schema_hash=str(fields["feature_schema_hash"]),
        columns=columns,
        golden_rows=rows,
        golden_scores=scores,
        playbook_version=str(fields["playbook_version"]),
        training=dict(fields["training"]),
        term=term,
        way=way,
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts for JSON, which has no NaN."""
    return {name: _or_none(value) if isinstance(value, float) else value for name, value in facts.items()}


def _write_durably(file: Path, content: bytes) -> None:
    try:
        with file.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as failed:
        # A write that fails does not say of which file.
        raise OSError(failed.errno, failed.strerror, str(file.parent)) from failed


def replace_durably(file: Path, content: bytes) -> None:
    """Put a file in the place of another: readers see the old one or the new one, never a part."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        _write_durably(unfinished, content)
        unfinished.rename(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_directory(file.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
