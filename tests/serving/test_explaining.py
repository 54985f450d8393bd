"""What a report says of a model.

Laws: what columns add is the score of the row, to rounding, whoever trained the trees and wherever they start from; a
part of the households for which scores are wrong is found, and one that merely accepts less is not.
"""

import numpy as np
import pytest
import xgboost

from household.scoring import ScoreColumn, feature_schema
from serving.models.explaining import contributions, explain
from serving.models.fairness import coded_values, parts_of
from serving.models.probe import OK, OWN_MARGIN, open_booster, predict
from serving.models.translation import CATBOOST, LIGHTGBM, translated
from tests.serving.test_adoption import FOREIGN, told_of
from tests.serving.test_training import PLAN

COLUMNS = feature_schema(PLAN).columns


def trained(*, starts_from_priors: bool) -> xgboost.Booster:
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(600, len(COLUMNS))).astype(np.float32)
    names = [column.name for column in COLUMNS]
    label = (rows[:, 0] + 0.3 * draw.normal(size=600) > 0).astype(np.float32)
    data = xgboost.DMatrix(rows, label, feature_names=names)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, data, 20)
    booster.set_attr(**{OWN_MARGIN: None if starts_from_priors else "1"})
    return open_booster(bytes(booster.save_raw("ubj")))


@pytest.mark.parametrize("starts_from_priors", [True, False])
def test_contributions_add_up_to_the_score(starts_from_priors: bool):
    booster = trained(starts_from_priors=starts_from_priors)
    rows = np.random.default_rng(2).normal(size=(50, len(COLUMNS))).astype(np.float32)
    added = contributions(booster, rows)
    assert added.shape == (50, len(COLUMNS) + 1)
    assert np.allclose(1 / (1 + np.exp(-added.sum(axis=1))), predict(booster, rows), atol=1e-5)
    assert bool(np.ptp(added[:, -1]) > 1e-6) is starts_from_priors

    found = explain(booster, rows, COLUMNS)
    assert found.columns[0].name == COLUMNS[0].name
    assert sum(one.gain for one in found.columns) == pytest.approx(1.0)
    # It was trained on "the larger, the likelier".
    effects = [one.mean for one in found.columns[0].effects]
    assert effects[0] < 0 < effects[-1]


@pytest.mark.parametrize(("name", "by"), [("lightgbm.txt", LIGHTGBM), ("catboost.json", CATBOOST)])
def test_what_was_translated_can_be_explained(name: str, by: str):
    booster = open_booster(translated((FOREIGN / name).read_bytes(), by).removeprefix(OK))
    booster.set_attr(**{OWN_MARGIN: "1"})
    schema, (rows, scores) = told_of(name)
    added = contributions(booster, rows)
    assert np.allclose(1 / (1 + np.exp(-added.sum(axis=1))), scores, atol=1e-5)
    # Over the rows it was trained on, a column adds about nothing on average; over others, nothing out of all bounds.
    assert np.abs(added[:, :-1].mean(axis=0)).max() < 0.5
    assert {one.name for one in explain(booster, rows, schema.columns).columns} == set(schema.names)


def test_a_part_for_which_scores_are_wrong_is_found_and_one_that_accepts_less_is_not():
    draw = np.random.default_rng(4)
    part = np.repeat(np.array(["much", "little", "wrong", ""]), 8_000)
    likely = np.where(part == "much", 0.4, np.where(part == "little", 0.05, 0.2))
    scores = np.where(part == "wrong", likely * 1.6, likely).astype(np.float32)
    accepted = draw.random(len(part)) < likely
    found = parts_of("kind", part, scores, accepted, np.arange(len(part)), looks=3)
    assert {one.value: one.is_off for one in found} == {"much": False, "little": False, "wrong": True}


def test_parts_are_the_values_of_coded_columns():
    columns = [
        ScoreColumn(name="kind", values=("a", "b")),
        ScoreColumn(name="age"),
        ScoreColumn(name="one", values=("x",)),
    ]
    rows = np.array([[0, 7, 0], [1, 7, 0], [np.nan, 7, 0], [5, 7, 0]], np.float32)
    found = coded_values(columns, rows)
    assert {name: values.tolist() for name, values in found.items()} == {"kind": ["a", "b", "", ""]}
