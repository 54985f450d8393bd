"""Models from elsewhere: a booster of any XGBoost since 1.7, brought to the contract of this registry.

What a file is told by its first bytes, in this process; everything else happens in a throw-away one (probe.py, and
translation.py for the trees of LightGBM and CatBoost). Nothing that would run code to be read is ever opened: no
pickle, no joblib, no MLflow pyfunc.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from household.plan import ValueTerm
from household.scoring import NEVER, FeatureSchema
from serving.models.bundle import TRANSLATION, BundleDraft, BundleRefused, ask_probe, read_plain
from serving.models.probe import (
    ADOPT,
    ADOPTED,
    HEADER,
    NAMES_TOLD,
    OBJECTIVES,
    ONE,
    PARTS,
    SCORE_TOLERANCE,
    STARTS_FROM_PRIORS,
    VALUE_OBJECTIVES,
    combined,
    difference,
    not_probabilities,
    together,
)
from serving.models.translation import CATBOOST, LIGHTGBM

FILE_BYTES_MAX: Final = 128 << 20
GOLDEN_ROWS: Final = 32
BEST_ROUNDS: Final = "best_rounds"
"""Of what is told of training: after how many rounds a booster did best that has more."""

WANTED: Final = "a booster saved by XGBoost 1.7 or newer is needed: booster.save_model('model.ubj')"

_NO_PICKLES: Final = (
    "a Python pickle, which runs code when it is opened and never is here; get_booster().save_model('model.ubj') of "
    "XGBoost's own classifier saves what is needed, and other models of scikit-learn have no equal"
)
TRANSLATED_TOLERANCE: Final = 1e-5
"""Absolute, between the scores of a model and of its translation: XGBoost adds up in float32, others in doubles."""

_FOREIGN: Final = (
    (b"\x80", _NO_PICKLES),
    (b"PK\x03\x04", "a ZIP archive (of MLflow, skops, Keras or PyTorch); " + WANTED),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (b"BZh", "compressed by bzip2; unpack it first"),
    (b"\xfd7zXZ", "compressed by xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first"),
    (b"\x78", "compressed by zlib, as joblib does with pickles, which are never opened; " + WANTED),
    (b"CBM1", "a CatBoost model in its binary format; model.save_model('model.json', format='json') can be brought"),
    (b"binf", "in XGBoost\'s old binary format; load it with the XGBoost that wrote it, and save_model(\'model.ubj\')"),
    (b"\x89HDF", "an HDF5 file (of Keras); " + WANTED),
    (b"\x08", "a protobuf message (ONNX); " + WANTED),
    (b"<", "XML (PMML); " + WANTED),
    (b"\x7fELF", "a program or library, which is never run; " + WANTED),
    (b"#!", "a script, which is never run; " + WANTED),
    (b"\x93NUMPY", "a NumPy array; " + WANTED),
    (b"PAR1", "a Parquet file; " + WANTED),
    (b"\xef\xbb\xbf", "text with a byte-order mark before it; save it again without"),
)  # fmt: skip
"""First bytes of what is no booster, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is known of a model from elsewhere."""

    starts_from_priors: bool = False
    """Its trees correct the playbook's priors, given as base margin, as those of `hearth models train` do."""
    seen_to_us: int | None = None
    """Decision time of the newest row that it was trained on; without it, it can be compared with nothing."""
    made_of: str = ""
    """What tells it from others where it comes from, such as the run that made it."""


def foreign_kind(content: bytes) -> str:
    """Return why bytes cannot be a booster, and what to do; empty if they may be one.

    >>> foreign_kind(b"CBM1....").partition(" in ")[0]
    'is a CatBoost model'
    >>> foreign_kind(b'{"learner": 1}')
    ''
    """
    if not content:
        return "is empty"
    for start, what in _FOREIGN:
        if content.startswith(start):
            return f"is {what}"
    if content[257:262] == b"ustar":
        return f"is a tar archive; unpack it first: {WANTED}"
    if translated_from(content):
        return ""
    if not content.startswith(b"{"):
        return f"is neither JSON nor UBJSON; {WANTED}"
    if b'"tree_info"' in (head := content[:4096]) and b'"learner"' not in head:
        return "is a LightGBM model in JSON, which leaves out what its text has: booster.save_model('model.txt')"
    return ""


def translated_from(content: bytes) -> str:
    """Return whose model bytes may be that is translated to be brought; empty for XGBoost's, and for none.

    >>> translated_from(b"tree\\nversion=v4\\n")
    'lightgbm'
    """
    if content.startswith((b"tree\n", b"tree\r\n")):
        return LIGHTGBM
    if content.startswith(b"{") and b'"learner"' not in content[:4096]:
        names = (b'"oblivious_trees"', b'"model_info"', b'"features_info"')
        return CATBOOST if any(name in content[:4096] for name in names) else ""
    return ""


def adopt(
    file: Path,
    *,
    schema: FeatureSchema,
    playbook_version: str,
    origin: Origin,
    columns: Sequence[str] | None = None,
    golden: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    term: ValueTerm = ValueTerm.ACCEPTANCE,
    others: Sequence[Path] = (),
) -> BundleDraft:
    """Return a model from elsewhere as a draft for the registry; takes seconds, and blocks.

    Args:
        columns: names of its columns, in order; None for a booster that names them itself.
        golden: (n, columns) rows and the (n,) scores that it gave where it was trained; rows of no meaning if None.
        term: what it is to give.
        others: of an uplift that several boosters make, those after the first, in the order of `PARTS`.

    Raises:
        BundleRefused: what is wrong with it, and what to do. Nothing of it was opened in this process.
    """
    way = _way_of(file, term, 1 + len(others))
    if origin.starts_from_priors and term is not ValueTerm.ACCEPTANCE:
        raise BundleRefused(file, f"is to start from the priors of acceptance, which say nothing of {term}")
    names = schema.names_for(term)
    if columns is not None and (other := difference(columns, names)):
        raise BundleRefused(file, f"{other} in the feature schema of the playbook")
    rows = golden[0] if golden is not None else made_up_rows(schema)[:, : len(names)]
    objectives = [one for _, one in PARTS[way]] if way != ONE else [_alone(term)]
    brought = [
        _brought(
            one,
            rows,
            codes={column.name: column.values for column in schema.columns[: len(names)]},
            objectives=allowed,
            flags=STARTS_FROM_PRIORS * origin.starts_from_priors | NAMES_TOLD * (columns is not None),
        )
        for one, allowed in zip((file, *others), objectives, strict=True)
    ]
    model = brought[0].model if way == ONE else together(way, [one.model for one in brought])
    scores = combined(way, [one.scores for one in brought])
    if wrong := not_probabilities(scores, term.value):
        raise BundleRefused(file, wrong)
    if golden is not None:
        _check_golden(file, scores, golden[1], origin, term, is_translated=any(one.made_by for one in brought))
    return BundleDraft(
        model=model,
        feature_schema_hash=schema.hash,
        columns=names,
        golden_rows=rows,
        golden_scores=scores,
        playbook_version=playbook_version,
        training=_facts(origin, brought[0]),
        term=term.value,
    )


def _alone(term: ValueTerm) -> tuple[str, ...]:
    return VALUE_OBJECTIVES if term is ValueTerm.VALUE else OBJECTIVES


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Brought:
    """A booster that a throw-away process has brought to the contract."""

    model: bytes
    scores: NDArray[np.float32]
    """(n,) of the rows."""
    made_by: str
    """The library it was translated from; empty for XGBoost."""
    best_rounds: int
    """After how many rounds it did best, where its training went on; 0 where nothing tells of that."""


def _way_of(file: Path, term: ValueTerm, count: int) -> str:
    """Return how so many boosters make a score of a term."""
    if term is not ValueTerm.UPLIFT:
        if count != 1:
            raise BundleRefused(file, f"is one of {count} files; a model of {term} is one booster")
        return ONE
    for way, parts in PARTS.items():
        if len(parts) == count:
            return way
    needed = "; ".join(", ".join(name for name, _ in parts) for parts in PARTS.values())
    raise BundleRefused(file, f"is one of {count} files; an uplift is made of boosters for: {needed}")


def _brought(
    file: Path,
    rows: NDArray[np.float32],
    *,
    codes: Mapping[str, Sequence[str]],
    objectives: Sequence[str],
    flags: int,
) -> _Brought:
    content = read_plain(file, FILE_BYTES_MAX)
    if wrong := foreign_kind(content):
        raise BundleRefused(file, wrong)
    made_by = translated_from(content)
    if made_by:
        content = ask_probe(file, content, task=made_by, program=TRANSLATION)
    told = bytes([flags]) + json.dumps({"codes": codes, "objectives": objectives}).encode()
    asked = struct.pack(HEADER, len(content), len(told), *rows.shape) + content + told
    answer = ask_probe(file, asked + np.ascontiguousarray(rows, np.float32).tobytes(), task=ADOPT)
    length, best_rounds = struct.unpack_from(ADOPTED, answer)
    model_at = struct.calcsize(ADOPTED)
    return _Brought(
        model=answer[model_at : model_at + length],
        scores=np.frombuffer(answer[model_at + length :], np.float32),
        made_by=made_by,
        best_rounds=best_rounds,
    )


def _check_golden(
    file: Path,
    scores: NDArray[np.float32],
    wanted: NDArray[np.float32],
    origin: Origin,
    term: ValueTerm,
    *,
    is_translated: bool,
) -> None:
    tolerance = TRANSLATED_TOLERANCE if is_translated else SCORE_TOLERANCE
    if np.allclose(scores, wanted, rtol=tolerance if term is ValueTerm.VALUE else 0, atol=tolerance):
        return
    worst = int(np.argmax(np.abs(scores - wanted)))
    told = f"golden row {worst} scores {scores[worst]:.6f} here, and {wanted[worst]:.6f} where it was trained"
    is_of_priors = origin.starts_from_priors or term is not ValueTerm.ACCEPTANCE
    priors = "" if is_of_priors else "; were its trees trained from the priors as base margin?"
    raise BundleRefused(file, told + priors)


def made_up_rows(schema: FeatureSchema, *, seed: int = 0) -> NDArray[np.float32]:
    """Return rows of the shape of real ones that are nobody's: for a model of which no rows are known."""
    draw = np.random.default_rng(seed)
    rows = np.exp(draw.normal(1.0, 2.0, (GOLDEN_ROWS, len(schema.columns)))).astype(np.float32)
    for place, column in enumerate(schema.columns):
        if column.values:
            rows[:, place] = draw.integers(0, len(column.values), GOLDEN_ROWS)
        elif column.name == "prior_acceptance":
            rows[:, place] = draw.uniform(0.01, 0.9, GOLDEN_ROWS)
    rows[draw.random(rows.shape) < 0.1] = np.nan
    edges = np.array([np.full(len(schema.columns), edge, np.float32) for edge in (np.nan, 0.0, NEVER)])
    return np.concatenate([rows, edges])


def _facts(origin: Origin, first: _Brought) -> dict[str, Any]:
    facts: dict[str, Any] = {"label": "trained elsewhere", "starts_from_priors": origin.starts_from_priors}
    if origin.seen_to_us is not None:
        facts["seen_to_us"] = origin.seen_to_us
    if origin.made_of:
        facts["made_of"] = origin.made_of
    if first.made_by:
        facts["translated_from"] = first.made_by
    if first.best_rounds:
        facts[BEST_ROUNDS] = first.best_rounds
    return facts
