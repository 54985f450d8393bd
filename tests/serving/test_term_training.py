"""Models of uplift, churn and value.

Laws: each learner finds who is moved by treatment where somebody is, far better than chance, and says that nobody is
where nobody is; what is served is what was learned, to the last bit; a bundle of several boosters loads by the same
contract as one; what cannot be learned from is refused with what is missing.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from household.plan import ValueTerm
from household.scoring import feature_schema
from serving.models import bundle as bundles
from serving.models.bundle import BundleRefused, load_bundle, save_bundle
from serving.models.examples import NotEnoughData
from serving.models.probe import OpenModel, apart, together
from serving.models.scorer import Booster, LocalScorer, local_scorer
from serving.models.tables import BadExport
from serving.models.term_sets import read_observed
from serving.models.term_training import Learner, TermConfig, TermExamples, learn_churn, learn_uplift, learn_value
from tests.actors.harness import corner

PLAN = corner()
SCHEMA = feature_schema(PLAN)
ROWS = 4_000
QUICK = TermConfig(rounds_max=60)


def a_trial(seed: int = 0, *, effect: float = 0.3, rows: int = ROWS, treated_share: float = 0.5) -> TermExamples:
    """Treatment moves half of the households, by `effect`, and nobody else; who buys anyway is another matter."""
    draw = np.random.default_rng(seed)
    columns = draw.normal(size=(rows, len(SCHEMA.names))).astype(np.float32)
    columns[draw.random(columns.shape) < 0.05] = np.nan
    is_treated = draw.random(rows) < treated_share
    anyway = np.where(np.nan_to_num(columns[:, 1]) > 0, 0.4, 0.15)
    outcome = draw.random(rows) < anyway + moved(columns) * effect * is_treated
    return TermExamples(
        rows=columns,
        outcome=outcome.astype(np.float64),
        observed_us=np.arange(rows, dtype=np.int64),
        households=np.arange(rows),
        is_treated=is_treated,
        propensity=np.full(rows, treated_share),
    )


def moved(rows: np.ndarray) -> np.ndarray:
    return np.nan_to_num(rows[:, 0]) > 0


@pytest.mark.parametrize("learner", Learner)
@pytest.mark.parametrize(("treated_share", "least"), [(0.5, 0.85), (0.85, 0.7)])
def test_a_learner_finds_whom_treatment_moves(learner: Learner, treated_share: float, least: float):
    trial = a_trial(treated_share=treated_share)
    learned = learn_uplift(trial, PLAN, learner=learner, seed=1, config=QUICK)
    fresh = a_trial(seed=7).rows
    said, is_moved = OpenModel(learned.draft.model).predict(fresh), moved(fresh)
    # The half that it would treat first are those whom treatment moves; by chance it would be half of them.
    first = said > np.median(said)
    # An arm of 600 tells less than one of 2,000.
    assert is_moved[first].mean() > least
    if treated_share != 0.5:
        return
    assert abs(said[is_moved].mean() - 0.3) < 0.12
    assert abs(said[~is_moved].mean()) < 0.12


@pytest.mark.parametrize("learner", Learner)
def test_where_treatment_moves_nobody_no_learner_says_that_it_does(learner: Learner):
    learned = learn_uplift(a_trial(effect=0.0), PLAN, learner=learner, seed=1, config=QUICK)
    said = OpenModel(learned.draft.model).predict(a_trial(seed=7).rows)
    assert abs(said.mean()) < 0.03
    assert np.quantile(np.abs(said), 0.9) < 0.2


def test_the_same_data_and_seed_give_the_same_bytes():
    twice = [learn_uplift(a_trial(rows=1_500), PLAN, learner=Learner.X, seed=3, config=QUICK) for _ in range(2)]
    assert twice[0].draft.model == twice[1].draft.model
    assert (
        twice[0].draft.model
        != learn_uplift(a_trial(rows=1_500), PLAN, learner=Learner.X, seed=4, config=QUICK).draft.model
    )


@pytest.mark.parametrize("learner", Learner)
def test_what_is_served_is_what_was_learned_to_the_last_bit(tmp_path: Path, learner: Learner):
    draft = learn_uplift(a_trial(rows=1_500), PLAN, learner=learner, seed=1, config=QUICK).draft
    # In a process of its own, at both: as it is saved and as it is loaded.
    folder = save_bundle(tmp_path, "spring", draft, created="now")
    served = local_scorer(folder, feature_schema_hash=SCHEMA.hash, columns=SCHEMA.names, term="uplift")
    rows = a_trial(seed=5).rows
    assert served.score_now(rows).tobytes() == OpenModel(draft.model).predict(rows).tobytes()
    _, parts = apart(draft.model)
    files = sorted(file.name for file in folder.glob("*.ubj"))
    assert (
        files
        == {
            Learner.T: ["control.ubj", "treated.ubj"],
            Learner.X: ["effect_on_control.ubj", "effect_on_treated.ubj", "propensity.ubj"],
            Learner.DR: ["effect.ubj"],
        }[learner]
    )
    assert len(parts) == len(files)
    with pytest.raises(BundleRefused, match="gives uplift, and is to give acceptance"):
        load_bundle(folder, term="acceptance")
    (folder / files[-1]).write_bytes((folder / files[-1]).read_bytes()[:-1] + b"?")
    with pytest.raises(BundleRefused, match=f"{files[-1]}: sha256 is"):
        load_bundle(folder)


def test_boosters_that_do_not_fit_together_are_refused_in_their_own_process(tmp_path: Path):
    draft = learn_uplift(a_trial(rows=1_500), PLAN, learner=Learner.T, seed=1, config=QUICK).draft
    of_one = apart(draft.model)[1][0]
    churn = learn_churn(leavers(rows=1_500), PLAN, seed=1, config=QUICK).draft
    for wrong, why in (
        (replace(draft, model=of_one), "one booster alone, which does not give the term uplift"),
        (
            replace(draft, term="acceptance", golden_scores=np.abs(draft.golden_scores)),
            "several boosters, which does not give the term acceptance",
        ),
        (replace(draft, golden_scores=draft.golden_scores + np.float32(0.01)), "do not give the golden scores"),
        (
            replace(draft, model=together("effect", [of_one])),
            "its part effect has the objective binary:logistic",
        ),
        (replace(churn, columns=SCHEMA.names, golden_rows=draft.golden_rows), "columns"),
        (replace(draft, golden_scores=np.full_like(draft.golden_scores, 1.5)), "not within -1 and 1"),
    ):
        with pytest.raises(BundleRefused, match=why):
            save_bundle(tmp_path, "spring", wrong, created="now")
    assert not list(tmp_path.glob("*/*"))


def leavers(rows: int = ROWS) -> TermExamples:
    draw = np.random.default_rng(2)
    columns = draw.normal(size=(rows, len(SCHEMA.scored))).astype(np.float32)
    left = draw.random(rows) < np.where(columns[:, 0] > 1, 0.6, 0.05)
    return TermExamples(
        rows=columns,
        outcome=left.astype(np.float64),
        observed_us=np.arange(rows, dtype=np.int64),
        households=np.arange(rows),
    )


def test_a_hazard_and_a_value_are_learned_and_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    observed = leavers()
    churn = learn_churn(observed, PLAN, seed=1, config=QUICK)
    assert churn.draft.columns == SCHEMA.names[: len(SCHEMA.scored)]
    said = OpenModel(churn.draft.model).predict(observed.rows)
    likely = observed.rows[:, 0] > 1
    assert abs(said[likely].mean() - 0.6) < 0.08
    assert abs(said[~likely].mean() - 0.05) < 0.03

    trial = a_trial()
    brought = np.where(np.nan_to_num(trial.rows[:, 2]) > 0, 4_000.0, 1_000.0)
    value = learn_value(replace(trial, outcome=brought), PLAN, seed=1, config=QUICK)
    monkeypatch.setattr(bundles, "_probe", lambda *_: None)
    folder = save_bundle(tmp_path, "worth", value.draft, created="now")
    scorer = LocalScorer(Booster(load_bundle(folder, term=ValueTerm.VALUE.value)))
    assert np.abs(scorer.score_now(trial.rows) - brought).mean() < 300


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"is_treated": None}, "a column `arm` is needed"),
        ({"is_treated": np.ones(ROWS, np.bool_)}, "no control rows among 4000"),
        ({"is_treated": np.zeros(ROWS, np.bool_)}, "no treated rows among 4000"),
        ({"is_treated": np.arange(ROWS) % 100 == 0}, "40 treated rows, 100 needed"),
        ({"outcome": np.zeros(ROWS)}, "0 of .* with the outcome"),
        ({"propensity": None}, "a column `treated_propensity`"),
        ({"propensity": np.where(np.arange(ROWS) < 3, 1.0, 0.5)}, "3 rows were treated with probability 1"),
    ],
)
def test_what_no_uplift_can_be_learned_from_is_refused_with_what_is_missing(change: dict[str, object], why: str):
    with pytest.raises(NotEnoughData, match=why):
        learn_uplift(replace(a_trial(), **change), PLAN, learner=Learner.DR, seed=1, config=QUICK)


def test_without_propensities_the_other_learners_do():
    trial = replace(a_trial(rows=1_500), propensity=None)
    for learner in (Learner.T, Learner.X):
        assert learn_uplift(trial, PLAN, learner=learner, seed=1, config=QUICK).draft.term == "uplift"


def test_what_a_set_of_a_term_says_twice_or_beyond_all_measure_is_refused_by_name(tmp_path: Path):
    columns = {name: np.zeros(3, np.float32) for name in SCHEMA.names}
    about = {"decided_at": pa.array([1, 2, 3], pa.timestamp("us", "UTC")), "label": [5.0, None, 7.0]}
    good = pa.table(columns | about)
    place, path = good.column_names.index("label"), tmp_path / "set.parquet"
    pq.write_table(good, path)
    assert read_observed(path, SCHEMA, ValueTerm.VALUE).outcome.tolist() == [5.0, 7.0]
    for wrong in (np.nan, np.inf, -1e300):
        pq.write_table(good.set_column(place, "label", pa.array([5.0, None, wrong])), path)
        with pytest.raises(BadExport, match=r"set\.parquet: label is .* in 1 of 2 rows that have one, first in row 1"):
            read_observed(path, SCHEMA, ValueTerm.VALUE)
    pq.write_table(good.append_column("label", good["label"]), path)
    with pytest.raises(BadExport, match="has 2 columns label"):
        read_observed(path, SCHEMA, ValueTerm.VALUE)
