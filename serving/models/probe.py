"""Opening and asking a model, and the process in which an unknown one proves harmless.

Mutated .ubj files have crashed XGBoost, so a model is first opened in a process of its own: this file
(`python serving/models/probe.py`), which therefore imports nothing of Hearth. It reads the question on standard input
and answers `ok` or the reason.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
import time
from collections.abc import Sequence
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xgboost

SCORE_TOLERANCE: Final = 1e-6
"""Absolute; golden scores may differ in the last bits between machine types, as their exp does."""

PROBE_MEMORY_BYTES: Final = 8 << 30
"""Address space, of which XGBoost and its libraries map about 2 GiB."""

PRIOR_COLUMN: Final = "prior_acceptance"
"""Column of a score row, see household/scoring.py; not imported from there, since the probe runs this file alone."""

OBJECTIVES: Final = ("binary:logistic", "reg:logistic")
"""What gives one probability per row, from a margin in log odds, where the playbook's priors enter."""
EFFECT_OBJECTIVES: Final = ("reg:squarederror", "reg:pseudohubererror")
"""What gives a number per row of either sign."""
VALUE_OBJECTIVES: Final = (*EFFECT_OBJECTIVES, "reg:gamma", "reg:tweedie", "count:poisson")

ACCEPTANCE, UPLIFT, CHURN, VALUE = "acceptance", "uplift", "churn", "value"
"""Terms of a value that models give, as household/plan/models.py has them."""

RANGES: Final = {ACCEPTANCE: (0.0, 1.0), UPLIFT: (-1.0, 1.0), CHURN: (0.0, 1.0), VALUE: (-(2.0**40), 2.0**40)}
"""Least and most that a score of each term may be."""

ONE, EFFECT, DIFFERENCE, BLEND = "one", "effect", "difference", "blend"
"""How a model's boosters make its score: one alone; one of an effect; of two probabilities, the second less the first;
of two effects, the first as much as the third, a probability of being treated, says, the second for the rest."""

PARTS: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    EFFECT: (("effect", EFFECT_OBJECTIVES),),
    DIFFERENCE: (("control", OBJECTIVES), ("treated", OBJECTIVES)),
    BLEND: (
        ("effect_on_control", EFFECT_OBJECTIVES),
        ("effect_on_treated", EFFECT_OBJECTIVES),
        ("propensity", OBJECTIVES),
    ),
}
"""Names of the boosters of each way, in order, with the objectives that each may have."""

TOGETHER: Final = b"hearth models together\n"
"""What bytes begin with that hold several boosters; then one line of JSON, then the boosters one after another."""

TREES_MAX: Final = 5_000
LEAVES_MAX: Final = 2_000_000
"""A model beyond these would take longer than a decision may."""
LEAVES_TOGETHER_MAX: Final = 1e30
"""Of the absolutely largest leaf of each tree: sums near the end of float32 may be no number."""
DEPTH_MAX: Final = 500
"""What explains a score walks a tree by calling itself."""

BOOSTERS: Final = ("gbtree", "dart")

SCORED_TOGETHER: Final = 32
SCORE_MS_MAX: Final = 10.0
"""Best of some tries at that many rows; a model of 100 trees takes a fiftieth of it."""

OWN_MARGIN: Final = "hearth.own_margin"
"""Attribute of a booster whose trees do not start from the playbook's priors, but from its own base score."""

OK: Final = b"ok"

ADOPT: Final = "adopt"
"""The task of a probe that is to bring a model of unknown origin to the contract."""
STARTS_FROM_PRIORS: Final = 1
NAMES_TOLD: Final = 2
"""Whoever brings it says what its columns are, should it not name them itself."""

ADOPTED: Final = "<QI"
"""What its answer begins with."""

HEADER: Final = "<QQII"
"""What a probe is asked begins with: length of the model and of its columns' names, shape of the golden rows."""


def predict(booster: xgboost.Booster, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n,) float32 scores of `rows`, (n, columns). The one call to XGBoost's predictor."""
    return np.asarray(booster.inplace_predict(rows, base_margin=prior_margin(booster, rows)), np.float32)


def prior_margin(booster: xgboost.Booster, rows: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return (n,) log odds of the playbook's priors, which the trees correct; None for a model that has its own.

    So a model that has seen little says what the business said, and a new offer starts from its own prior.
    """
    names = booster.feature_names or []
    if PRIOR_COLUMN not in names or booster.attr(OWN_MARGIN):
        return None
    return log_odds(rows[:, names.index(PRIOR_COLUMN)])


def log_odds(prior: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ln(p / (1 − p)), with p held within [0.0001, 0.9999]; 0 for an unknown one."""
    held = np.clip(np.nan_to_num(prior, nan=0.5), 1e-4, 1 - 1e-4)
    return np.asarray(np.log(held / (1 - held)), np.float32)


def open_booster(model: bytes) -> xgboost.Booster:
    """Return the booster in `model`, single-threaded. Only for bytes that were checked, or in the probe."""
    import xgboost  # whoever only reads manifests does without it

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(model))
    booster.set_param({"nthread": 1})
    return booster


def together(way: str, boosters: Sequence[bytes]) -> bytes:
    """Return several boosters as one model's bytes."""
    told = {"way": way, "bytes": [len(one) for one in boosters]}
    return TOGETHER + json.dumps(told).encode() + b"\n" + b"".join(boosters)


def apart(model: bytes) -> tuple[str, list[bytes]]:
    """Return how the boosters of a model make its score, and each one's bytes. ValueError: it is no such model."""
    if not model.startswith(TOGETHER):
        return ONE, [model]
    line, _, rest = model.removeprefix(TOGETHER).partition(b"\n")
    told, parts, at = json.loads(line), [], 0
    for size in told["bytes"]:
        parts.append(rest[at : at + size])
        at += size
    if told["way"] not in PARTS or len(parts) != len(PARTS[told["way"]]) or at != len(rest):
        raise ValueError(f"{len(parts)} boosters, joined as {str(told['way'])[:80]}")
    return told["way"], parts


class OpenModel:
    """A model that may be asked: one booster, or several of which its score is made."""

    def __init__(self, model: bytes) -> None:
        """Open it. Only of bytes that were checked, or in the probe."""
        self.way, parts = apart(model)
        self.boosters = [open_booster(part) for part in parts]

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n,) float32 scores of `rows`, (n, columns)."""
        return combined(self.way, [predict(booster, rows) for booster in self.boosters])


def combined(way: str, said: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the (n,) float32 score that is made of what each booster says, (n,)."""
    if way == ONE:
        return said[0]
    if way == EFFECT:
        made = said[0]
    elif way == DIFFERENCE:
        made = said[1] - said[0]
    else:
        made = said[2] * said[0] + (1 - said[2]) * said[1]
    # An effect is learned as any number is, and more than certain there is nothing.
    return np.asarray(np.clip(made, -1, 1), np.float32)


def not_probabilities(scores: NDArray[np.float32], term: str = ACCEPTANCE) -> str:
    """Return what keeps (n,) scores from being what a term takes, probabilities mostly; empty if nothing does."""
    return beyond(scores, RANGES[term])


def range_of(objectives: Sequence[str]) -> tuple[float, float]:
    """Return the least and the most that a booster with one of these objectives may say."""
    return RANGES[ACCEPTANCE if tuple(objectives) == OBJECTIVES else VALUE]


def beyond(scores: NDArray[np.float32], bounds: Sequence[float]) -> str:
    """Return what keeps (n,) scores from lying within bounds; empty if nothing does."""
    least, most = bounds
    if bool((scores >= least).all() and (scores <= most).all()):
        return ""
    wrong = scores[~((scores >= least) & (scores <= most))][0]
    what = "no probability" if (least, most) == (0.0, 1.0) else f"not within {least:g} and {most:g}"
    return f"gives the score {wrong:g}, which is {what}"


def difference(columns: Sequence[str], wanted: Sequence[str]) -> str:
    """Return the first place where columns are not those wanted, half a sentence; empty if they are the same."""
    for place, (column, other) in enumerate(zip_longest(columns, wanted)):
        if column != other:
            named, meant = (repr(str(one)[:80]) if one is not None else "missing" for one in (column, other))
            return f"column {place} is {named}, and {meant}"
    return ""


def _answer_probe() -> None:
    """Be the process in which a model is tried: read the question on standard input, answer `ok` or the reason."""
    import xgboost

    resource.setrlimit(resource.RLIMIT_AS, (PROBE_MEMORY_BYTES, PROBE_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked = sys.stdin.buffer.read()
    length, names_length, count, columns = struct.unpack_from(HEADER, asked)
    model_at = struct.calcsize(HEADER)
    names_at = model_at + length
    golden_at = names_at + names_length
    golden = np.frombuffer(asked[golden_at:], np.float32)
    rows, expected = golden[: count * columns].reshape(count, columns), golden[count * columns :]
    try:
        told = json.loads(asked[names_at:golden_at])
        model, term = OpenModel(asked[model_at:names_at]), told["term"]
        if (model.way == ONE) == (term == UPLIFT):
            how = "several boosters" if model.way != ONE else "one booster alone"
            wrong = f"is {how}, which does not give the term {term}"
        else:
            wrong = _unfit(model, term, told["columns"]) or _misses(model, term, rows, expected)
            wrong = wrong or next((found for one in model.boosters if (found := _overgrown(one))), "")
    except (xgboost.core.XGBoostError, ValueError, TypeError, KeyError) as failed:
        wrong = "does not load: " + " ".join(str(failed).split())[:400]
    sys.stdout.buffer.write(wrong.encode() or OK)


def _adopt() -> None:
    """Be the process in which a model of unknown origin is brought to the contract.

    Asked as above, without scores; before the rest stands a byte of the flags below ADOPT, then as JSON `codes`, the
    names of its columns with the values of each that is coded, and the `objectives` that it may have.
    Says `ok`, then the length of the model in UBJSON and after how many rounds it was best if not after all, that model
    with its columns named and nothing else beside its trees, then the scores of the rows.
    """
    import xgboost

    resource.setrlimit(resource.RLIMIT_AS, (PROBE_MEMORY_BYTES, PROBE_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked = sys.stdin.buffer.read()
    length, names_length, count, columns = struct.unpack_from(HEADER, asked)
    model_at = struct.calcsize(HEADER)
    names_at = model_at + length
    rows_at = names_at + names_length
    flags, told = asked[names_at], json.loads(asked[names_at + 1 : rows_at])
    codes, objectives = told["codes"], tuple(told["objectives"])
    names = list(codes)
    rows = np.frombuffer(asked[rows_at:], np.float32).reshape(count, columns)
    answer = b""
    try:
        booster = open_booster(asked[model_at:names_at])
        given = booster.feature_names or []
        is_unnamed = given in ([], [f"f{place}" for place in range(len(names))])
        if flags & NAMES_TOLD and is_unnamed and booster.num_features() == len(names):
            booster.feature_names = names
        best = _best_rounds(booster)
        # Anything may stand there, of any length, and whoever opens the model later would believe it.
        booster.set_attr(**dict.fromkeys(booster.attributes()))
        booster.feature_types = None
        booster.set_attr(**{OWN_MARGIN: None if flags & STARTS_FROM_PRIORS else "1"})
        wrong = _misfit(booster, names, objectives) or _misdated(asked[model_at:names_at], xgboost.__version__)
        wrong = wrong or _overgrown(booster) or _miscoded(booster, codes)
        if not wrong:
            edges = np.array([np.full(columns, edge, np.float32) for edge in (np.nan, 0.0, -1e30, 1e30)])
            scores = predict(booster, rows)
            if scores.shape != (count,):
                wrong = f"gives scores {scores.shape} for {count} rows; it must give one per row"
            wrong = wrong or beyond(np.concatenate([scores, predict(booster, edges)]), range_of(objectives))
            wrong = wrong or _slow(booster, rows)
            model = bytes(booster.save_raw("ubj"))
            answer = struct.pack(ADOPTED, len(model), best) + model + scores.tobytes()
    except (xgboost.core.XGBoostError, ValueError, TypeError, KeyError) as failed:
        wrong = "does not load: " + " ".join(str(failed).split())[:400]
    sys.stdout.buffer.write(wrong.encode() or OK + answer)


def _best_rounds(booster: xgboost.Booster) -> int:
    """Return after how many rounds a booster did best that was stopped later; 0 for one that tells nothing of it."""
    told = booster.attr("best_iteration") or ""
    rounds = int(told) + 1 if told.isdecimal() and len(told) < 9 else 0
    return rounds if rounds < booster.num_boosted_rounds() else 0


def _overgrown(booster: xgboost.Booster) -> str:
    """Return why a model is larger than may be served, or broken in its trees; empty if it is neither."""
    learner = json.loads(booster.save_config())["learner"]
    kind = learner["gradient_booster"]["name"]
    if kind not in BOOSTERS:
        return f"is a {kind}; trees are needed: {' or '.join(BOOSTERS)}"
    if booster.num_boosted_rounds() > TREES_MAX:
        return f"has {booster.num_boosted_rounds():,} trees; at most {TREES_MAX:,} are served"
    model, drops = _grown(booster)
    trees = model["trees"]
    if len(trees) > TREES_MAX:
        return f"has {len(trees):,} trees; at most {TREES_MAX:,} are served"
    if not trees:
        return "has no trees, and says the same of everybody"
    if wrong := _unordered(model, drops):
        return wrong
    leaves, most = 0, 0.0
    for number, tree in enumerate(trees):
        left, right, values = tree["left_children"], tree["right_children"], tree["split_conditions"]
        leaves += len(left)
        if leaves > LEAVES_MAX:
            return f"has more than {LEAVES_MAX:,} nodes"
        is_leaf = np.array(left) == -1
        by_category = [node for node in tree["categories_nodes"] if 0 <= node < len(left) and not is_leaf[node]]
        if not np.isfinite(np.delete(values, by_category)).all():
            return f"has a split or a leaf that is no number, in tree {number}"
        if not 0 <= max(tree["split_indices"]) < booster.num_features() or min(tree["split_indices"]) < 0:
            return f"splits by a column that it has not, in tree {number}"
        depth = _depth(left, right)
        if depth > DEPTH_MAX:
            return f"has a tree of {depth:,} splits one below the other, tree {number}; at most {DEPTH_MAX} are served"
        if depth < 0:
            return f"has a tree that is none: the nodes of tree {number} go in circles, or nowhere"
        most += abs(drops[number]) * float(np.abs(np.array(values)[is_leaf]).max(initial=0.0))
    if most > LEAVES_TOGETHER_MAX:
        return f"has leaves that add up to {most:.3g}, and beyond {LEAVES_TOGETHER_MAX:g} sums may be no number"
    return ""


def _grown(booster: xgboost.Booster) -> tuple[dict[str, Any], list[float]]:
    """Return the trees of a booster with what is told of them, and by how much each one counts."""
    told = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]
    is_dart = told["name"] == "dart"
    model: dict[str, Any] = (told["gbtree"] if is_dart else told)["model"]
    return model, told["weight_drop"] if is_dart else [1.0] * len(model["trees"])


def _unordered(model: dict[str, Any], drops: list[float]) -> str:
    """Return why the trees cannot be gone through as they are told of; empty if they can."""
    count, ends = len(model["trees"]), model["iteration_indptr"]
    is_growing = all(low < high for low, high in pairwise(ends))
    if not ends or ends[0] != 0 or ends[-1] != count or not is_growing:
        return f"has {count:,} trees, and says that its rounds end after {str(ends)[:80]}"
    if any(model["tree_info"]) or len(model["tree_info"]) != count:
        return "has a tree of another score than its one"
    if len(drops) != count or not np.isfinite(drops).all():
        return f"has {count:,} trees, and {len(drops):,} numbers by which they count, or one that is none"
    return ""


def _miscoded(booster: xgboost.Booster, codes: dict[str, list[str]]) -> str:
    """Return which split takes a column for categories that the playbook does not have; empty if none does."""
    columns = [(name, len(values)) for name, values in codes.items()]
    model, _ = _grown(booster)
    if wrong := _recoded(model.get("cats") or {}, codes):
        return wrong
    for number, tree in enumerate(model["trees"]):
        starts, sizes = tree["categories_segments"], tree["categories_sizes"]
        for node, start, size in zip(tree["categories_nodes"], starts, sizes, strict=True):
            name, known = columns[tree["split_indices"][node]]
            if not known:
                return f"splits {name!r} by categories, in tree {number}; it is a number in the feature schema"
            unknown = [one for one in tree["categories"][start : start + size] if not 0 <= one < known]
            if unknown:
                return f"splits {name!r} by category {unknown[0]}, in tree {number}; the playbook has {known}"
    return ""


def _recoded(cats: dict[str, Any], codes: dict[str, list[str]]) -> str:
    """Return which column was coded otherwise where it was trained, as far as the model tells; empty if none was.

    Since 3.1 XGBoost keeps the categories of the table that a model was trained on; it does not ask for them here.
    """
    for (name, values), told in zip(codes.items(), cats.get("enc") or (), strict=False):
        ends, known = told.get("offsets"), told.get("values") or []
        if ends is not None:
            text = bytes(one % 256 for one in known)
            given = [text[low:high].decode(errors="replace") for low, high in pairwise(ends)]
            wanted = values
        else:
            given, wanted = [f"{one:g}" for one in known], [str(at) for at in range(len(values))]
        for place, (ours, theirs) in enumerate(zip_longest(wanted[: len(given)], given)):
            if ours != theirs:
                has = f"the playbook has {ours!r}" if ours is not None else "the playbook has none"
                return f"was trained with {theirs[:80]!r} as category {place} of {name!r}, where {has}"
    return ""


def _misdated(model: bytes, ours: str) -> str:
    """Return why the version of XGBoost that a model says it was saved by is not read here; empty if it is."""
    told = _version_told(model)
    is_one = isinstance(told, list) and len(told) == 3 and all(type(one) is int and one >= 0 for one in told)
    if not isinstance(told, list) or not is_one or not any(told):
        return f"does not say by which XGBoost it was saved: its version is {str(told)[:80]}"
    saved_by = ".".join(str(one) for one in told)[:80]
    if told[:2] < [1, 7]:
        return f"was saved by XGBoost {saved_by}; load it with 1.7 or newer, and save it again"
    if told[0] > int(ours.partition(".")[0]):
        return f"was saved by XGBoost {saved_by}, and {ours} reads it here; save it with one of its own kind"
    return ""


def _version_told(model: bytes) -> object:
    """Return what stands under `version` of a model that was loaded; None for nothing."""
    if model[1:].lstrip()[:1] == b'"':
        return json.loads(model).get("version")
    # In UBJSON it stands last: an array of three, with its length before it.
    _, found, tail = model.rpartition(b"version[#")
    if not found:
        return None
    at, numbers = 1 + _UBJ_SIZES.get(tail[:1], 0), list[int]()
    while at < len(tail) and tail[at : at + 1] in _UBJ_SIZES and len(numbers) < 4:
        size = _UBJ_SIZES[tail[at : at + 1]]
        numbers.append(int.from_bytes(tail[at + 1 : at + 1 + size], "big", signed=True))
        at += 1 + size
    return numbers


_UBJ_SIZES: Final = {b"i": 1, b"U": 1, b"I": 2, b"l": 4, b"L": 8}
"""Bytes of whole numbers in UBJSON, by their marks."""


def _depth(left: list[int], right: list[int]) -> int:
    """Return how many splits lie between the root and the deepest leaf; -1 where nodes go in circles, or nowhere."""
    seen, ahead, deepest = set[int](), [(0, 0)], 0
    while ahead:
        node, depth = ahead.pop()
        if node in seen or not 0 <= node < len(left):
            return -1
        seen.add(node)
        deepest = max(deepest, depth)
        if left[node] != -1 or right[node] != -1:
            ahead += [(left[node], depth + 1), (right[node], depth + 1)]
    return deepest


def _slow(booster: xgboost.Booster, rows: NDArray[np.float32]) -> str:
    """Return how much too long a model takes for a decision's rows; empty if it does not."""
    together = np.resize(rows, (SCORED_TOGETHER, rows.shape[1]))
    took_ms = []
    for _ in range(5):
        began = time.perf_counter()
        predict(booster, together)
        took_ms.append((time.perf_counter() - began) * 1_000)
        if took_ms[-1] <= SCORE_MS_MAX:
            return ""
    return f"takes {min(took_ms):.1f} ms for {SCORED_TOGETHER} rows; at most {SCORE_MS_MAX:.0f} ms are served"


def _unfit(model: OpenModel, term: str, columns: list[str]) -> str:
    """Return why a model must not be asked for a term of rows of these columns; empty if it may."""
    alone = VALUE_OBJECTIVES if term == VALUE else OBJECTIVES
    named = PARTS.get(model.way, (("", alone),))
    for booster, (name, objectives) in zip(model.boosters, named, strict=True):
        wrong = _misfit(booster, columns, objectives)
        if (
            not wrong
            and term != ACCEPTANCE
            and prior_margin(booster, np.zeros((1, len(columns)), np.float32)) is not None
        ):
            wrong = f"starts from the priors of acceptance, which say nothing of {term} (attribute {OWN_MARGIN})"
        if wrong:
            return f"its part {name} {wrong}" if name else wrong
    return ""


def _misfit(booster: xgboost.Booster, columns: list[str], objectives: Sequence[str]) -> str:
    """Return why a model must not be asked about rows of these columns; empty if it may."""
    if booster.num_features() != len(columns):
        return f"has {booster.num_features()} columns, and {len(columns)} are needed: {', '.join(columns)[:200]}"
    if not booster.feature_names:
        return "does not name its columns, so nothing tells in which order they stand"
    if other := difference(booster.feature_names, columns):
        return f"{other} in the manifest"
    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    if objective not in objectives:
        what = "a probability" if tuple(objectives) == OBJECTIVES else "a number"
        return f"has the objective {objective}; it must give {what}: {' or '.join(objectives)}"
    outputs = max(int(learner["learner_model_param"].get(name, 0)) for name in ("num_class", "num_target"))
    if outputs > 1:
        return f"gives {outputs:,} scores for each row; it must give one per row"
    return ""


def _misses(model: OpenModel, term: str, rows: NDArray[np.float32], expected: NDArray[np.float32]) -> str:
    """Return how far a model is from its golden scores, or from what a term takes; empty if it is neither."""
    trees, scores = sum(one.num_boosted_rounds() for one in model.boosters), model.predict(rows)
    if scores.shape != expected.shape:
        return f"gives scores {scores.shape} for {len(rows)} rows; it must give one per row"
    if not np.allclose(scores, expected, rtol=SCORE_TOLERANCE if term == VALUE else 0, atol=SCORE_TOLERANCE):
        return f"{trees} trees do not give the golden scores of the manifest"
    edges = np.array([np.full(rows.shape[1], edge, np.float32) for edge in (np.nan, 0.0, -1e30, 1e30)])
    return not_probabilities(np.concatenate([scores, model.predict(edges)]), term)


if __name__ == "__main__":
    if sys.argv[1:] == [ADOPT]:
        _adopt()
    else:
        _answer_probe()
