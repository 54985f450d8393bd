"""Laws on real customers: a plain model is as good as it should be and no better, it is registered, and what is planted
among their columns is named, and nothing else.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from household.scoring import feature_schema
from serving.models.leaks import find_leaks
from serving.models.reference import from_plain, misfit
from tests.cluster.churn import FOLDS, ID, LABEL, Customers, fitted, folds, judged, read
from tests.cluster.conftest import Run
from tests.serving.test_leaks import noisy


@pytest.fixture(scope="module")
def customers(shared: Path) -> Customers:
    return read(shared)


def test_a_plain_model_is_as_good_as_it_should_be_and_no_better(customers: Customers):
    area, brier = judged(customers)
    assert 0.845 <= area < 0.87
    assert brier <= 0.136


def test_ten_of_ten_planted_leaks_are_named_and_no_column_of_theirs(customers: Customers):
    draw, left = np.random.default_rng(3), customers.left
    asked_us = np.full(len(left), 1_700_000_000_000_000)
    planted = {
        "Churn_Value": left.astype(int),
        "Churn_Reason": np.where(left, "competitor", None),
        "Churn_Score": draw.integers(0, 100, len(left)),
        "CancellationDate": pa.array(np.where(left, asked_us + 10**9, asked_us - 10**9), pa.timestamp("us")),
        "final_invoice_at": asked_us // 1_000_000 + np.where(left, 86_400, -86_400),
        "days_since_last_call": np.where(left, -3, 3),
        "support_note": np.where(noisy(left), "closed", "open"),
        "refund": np.where(left & (draw.random(len(left)) < 0.15), 9.99, 0.0),
        "calls_next_30d": draw.poisson(1, len(left)),
        "offer_accepted": draw.integers(0, 2, len(left)),
    }
    table = customers.table
    for name, values in planted.items():
        table = table.append_column(name, pa.array(values) if not isinstance(values, pa.Array) else values)
    wanted = [name for name in table.column_names if name not in (ID, LABEL)]
    leaks = find_leaks(table, wanted, left, label_name=LABEL, decided_us=asked_us)
    assert sorted(one.column for one in leaks) == sorted(planted)


def test_no_column_of_theirs_is_taken_for_a_leak(run: Run, customers: Customers, shared: Path):
    told = run("models", "leaks", shared / "data/churn/ibm_telco_churn.csv", "--label", LABEL)
    assert (told.code, "no leak among 20 columns of 7,043 rows" in told.out) == (0, True), told.out


def a_set(customers: Customers, chosen: np.ndarray, file: Path) -> Path:
    """Write some of the customers as a labelled set."""
    names, count = feature_schema(customers.plan).names, int(chosen.sum())
    about = {
        "decided_at": pa.array(np.full(count, 1_700_000_000_000_000), pa.timestamp("us", "UTC")),
        "label": pa.array(customers.left[chosen]),
    }
    pq.write_table(pa.table(about | dict(zip(names, customers.rows[chosen].T, strict=True))), file)
    return file


@pytest.mark.chaos
def test_reports_of_what_was_registered_say_so_of_the_folds_that_each_has_not_seen(
    run: Run, customers: Customers, tmp_path: Path
):
    (tmp_path / "customers.yaml").write_text(customers.playbook, encoding="utf-8")
    where = ("--data-dir", tmp_path / "data", "--playbook", tmp_path / "customers.yaml")
    fold, names, said = folds(customers), feature_schema(customers.plan).names, []
    for part in range(FOLDS):
        seen, model = fold != part, tmp_path / f"{part}.ubj"
        fitted(customers.rows[seen], customers.left[seen], names).save_model(model)
        trained_on = ("--trained-on", a_set(customers, seen, tmp_path / "seen.parquet"))
        registered = run("models", "register", model, "--version", f"v{part}", *trained_on, *where)
        assert registered.code == 0, registered.err
        on = ("--on", a_set(customers, ~seen, tmp_path / "unseen.parquet"), "--out", tmp_path / "report.html")
        reported = run("models", "report", f"v{part}", *on, "--json", *where)
        assert reported.code == 0, reported.err
        said.append([reported.json["quality"][name] for name in ("rows", "auc", "brier")])
    rows, areas, briers = np.array(said).T
    area, brier = np.average(areas, weights=rows), np.average(briers, weights=rows)
    print(f"by the reports of {FOLDS} versions, each of a fold that it has not seen: AUC {area:.4f}, Brier {brier:.4f}")
    assert rows.sum() == len(customers.left)
    assert 0.845 <= area < 0.87
    assert brier <= 0.136


def test_their_model_is_registered_with_what_it_was_trained_on(run: Run, customers: Customers, tmp_path: Path):
    names = feature_schema(customers.plan).names
    (tmp_path / "customers.yaml").write_text(customers.playbook, encoding="utf-8")
    fitted(customers.rows, customers.left, names).save_model(tmp_path / "churn.ubj")

    everybody = np.ones(len(customers.left), np.bool_)
    known = a_set(customers, everybody, tmp_path / "a.parquet")
    where = ("--data-dir", tmp_path / "data", "--playbook", tmp_path / "customers.yaml")
    told = run("models", "register", tmp_path / "churn.ubj", "--trained-on", known, *where)
    assert told.code == 0, told.err
    # It knows what it was trained on, and can be reported on without a log.
    (version,) = (one["version"] for one in run("models", "list", "--json", *where[:2]).json["versions"])
    reference = from_plain(run("models", "show", version, "--json", *where).json["training"]["reference"])
    assert reference is not None
    assert not misfit(reference, names)
    out = tmp_path / "report.html"
    reported = run("models", "report", version, "--out", out, "--on", tmp_path / "a.parquet", "--json", *where)
    assert reported.code == 0, reported.err
    scores = np.asarray(fitted(customers.rows, customers.left, names).inplace_predict(customers.rows))
    brier = float(((scores - customers.left) ** 2).mean())
    assert reported.json["quality"]["brier"] == pytest.approx(brier, abs=1e-5)
    assert "household.contract" in out.read_text()
    leaking = customers.rows.copy()
    leaking[:, names.index("household.partner")] = noisy(customers.left)
    leaky = a_set(replace(customers, rows=leaking), everybody, tmp_path / "b.parquet")
    refused = run("models", "register", tmp_path / "churn.ubj", "--version", "v2", "--trained-on", leaky, *where)
    assert refused.code == 1
    assert "household.partner (impossible power)" in refused.err
    listed = run("models", "list", "--json", *where[:2]).json["versions"]
    assert len(listed) == 1
