"""Run in the environment of `install_statistics.sh`: what tea-tasting and statsmodels make of arrays in an .npz file.

python other_statistics.py ARRAYS.npz        prints one line of JSON
"""

import json
import sys
import warnings

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import statsmodels.api as sm  # type: ignore[import-not-found]
import tea_tasting as tt  # type: ignore[import-not-found]
from statsmodels.stats.power import NormalIndPower  # type: ignore[import-not-found]

warnings.filterwarnings("ignore")


def told(result: object) -> list[float]:
    """Return effect and standard error of a metric."""
    return [result.effect_size, result.effect_size / result.statistic]  # type: ignore[attr-defined]


def main() -> None:
    arrays = dict(np.load(sys.argv[1]))
    outcome, treated, before = arrays["outcome"], arrays["treated"], arrays["before"]
    frame = pd.DataFrame({"variant": treated.astype(int), "outcome": outcome, "before": before, "per": arrays["per"]})
    metrics = {
        "mean": tt.Mean("outcome", use_t=False, equal_var=False),
        "cuped": tt.Mean("outcome", "before", use_t=False, equal_var=False),
        "ratio": tt.RatioOfMeans("outcome", "per", use_t=False, equal_var=False),
    }
    result = tt.Experiment(metrics).analyze(frame)
    found: dict[str, object] = {name: told(result[name]) for name in metrics}
    found["relative"] = [result["mean"].rel_effect_size]
    design = sm.add_constant(np.column_stack([treated]).astype(float))
    clustered = sm.OLS(outcome, design).fit(cov_type="cluster", cov_kwds={"groups": arrays["units"]})
    found["clustered"] = [clustered.params[1], clustered.bse[1]]
    centred = before - before.mean()
    lin = sm.OLS(outcome, np.column_stack([design, centred, centred * treated])).fit(cov_type="HC1")
    found["lin"] = [lin.params[1], lin.bse[1]]
    power = NormalIndPower().solve_power(effect_size=0.1, alpha=0.05, power=0.8, ratio=1 / 3, alternative="two-sided")
    found["treated_needed"] = power
    print(json.dumps(found, default=float))


main()
