"""Real customers, of whom some left, as a training set: a playbook whose models see what is known of them.

python -m tests.cluster.churn prints how well a plain XGBoost does on folds fixed by their seed.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import xgboost
from numpy.typing import NDArray

from household.plan import Plan
from household.scoring import feature_schema
from playbooks.compiler import compile_playbook
from serving.models.measures import auc

FILE = "data/churn/ibm_telco_churn.csv"
LABEL, ID = "Churn", "customerID"
FOLDS, SEED, TREES = 5, 7, 150
PARAMETERS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 3,
    "eta": 0.06,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
    "min_child_weight": 6,
    "nthread": 1,
    "seed": SEED,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Customers:
    """What is known of each, as the models of a playbook see it."""

    table: pa.Table
    """As it came."""
    playbook: str
    plan: Plan
    rows: NDArray[np.float32]
    """(customers, columns) in the order of the feature schema; what is of an offer or a channel is not known."""
    left: NDArray[np.bool_]


def read(shared: Path) -> Customers:
    """Return the customers, and a playbook of them."""
    table = pyarrow.csv.read_csv(shared / FILE)
    columns, kinds = dict[str, NDArray[np.float32]](), dict[str, str]()
    for name in (one for one in table.column_names if one not in (LABEL, ID)):
        column = table[name]
        if name == "TotalCharges" and pa.types.is_string(column.type):
            # Blank for who came this month.
            column = pa.array([float(one) if one.strip() else None for one in column.to_pylist()], pa.float64())
        if pa.types.is_string(column.type):
            values = sorted(set(column.to_pylist()))
            columns[name] = np.array([values.index(one) for one in column.to_pylist()], np.float32)
            kinds[name] = "[" + ", ".join(f'"{one}"' for one in values) + "]"
        elif pa.types.is_boolean(column.type):
            columns[name], kinds[name] = np.array(column.to_pylist(), np.float32), "number"
        else:
            columns[name], kinds[name] = np.array(column.to_pylist(), np.float32), "number"
    playbook = _playbook(kinds)
    plan = _compiled(playbook)
    names = feature_schema(plan).names
    rows = np.full((table.num_rows, len(names)), np.nan, np.float32)
    for name, values in columns.items():
        rows[:, names.index(f"household.{name.lower()}")] = values
    label = table[LABEL].to_pylist()
    left = np.array([one in ("Yes", True) for one in label], np.bool_)
    return Customers(table=table, playbook=playbook, plan=plan, rows=rows, left=left)


def _playbook(kinds: dict[str, str]) -> str:
    named = {name.lower(): kind for name, kind in kinds.items()}
    fields = "".join(f"  {name}: {kind}\n" for name, kind in named.items())
    optional = ", ".join(f"{name}: optional" for name in named)
    features = "".join(f"  household.{name}: {{kind: profile, events: told, field: {name}}}\n" for name in named)
    return f"""\
playbook: {{name: customers, currency: USD, clock: {{lateness: 1d, future: 5m}}}}
fields:
{fields}events:
  told: {{source: billing, fields: {{{optional}}}}}
  call: {{source: app}}
features:
{features}channels: {{app: {{inbound: true}}}}
families: [care]
offers:
  stay: {{family: care, price: 0, margin: 5, prior: 0.27, valid: 1d, treatments: {{app: Stay}}}}
journeys:
  contact: {{contact: [call], offers: stay}}
"""


def _compiled(text: str) -> Plan:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "customers.yaml"
        path.write_text(text, encoding="utf-8")
        return compile_playbook(path)


def fitted(rows: NDArray[np.float32], left: NDArray[np.bool_], names: tuple[str, ...]) -> xgboost.Booster:
    """Return a plain model of who leaves."""
    matrix = xgboost.DMatrix(rows, left.astype(np.float32), feature_names=list(names), nthread=1)
    return xgboost.train(PARAMETERS, matrix, TREES, verbose_eval=False)


def folds(customers: Customers) -> NDArray[np.intp]:
    """Return (customers,) the fold of each, fixed by the seed."""
    return np.random.default_rng(SEED).permutation(len(customers.left)) % FOLDS


def judged(customers: Customers) -> tuple[float, float]:
    """Return AUC and Brier score of models on the folds that they have not seen, all together."""
    fold = folds(customers)
    names, scores = feature_schema(customers.plan).names, np.empty(len(customers.left), np.float32)
    for part in range(FOLDS):
        booster = fitted(customers.rows[fold != part], customers.left[fold != part], names)
        scores[fold == part] = booster.inplace_predict(customers.rows[fold == part])
    return auc(scores, customers.left), float(np.mean((scores - customers.left) ** 2))


if __name__ == "__main__":
    area, brier = judged(read(Path(os.environ.get("HEARTH_SHARED", "../shared"))))
    print(f"AUC {area:.4f}, Brier score {brier:.4f}, on {FOLDS} folds of seed {SEED}")
