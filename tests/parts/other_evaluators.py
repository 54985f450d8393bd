"""Run inside the environment of `install_evaluators.sh`: what obp and scikit-uplift make of arrays in an .npz file.

python other_evaluators.py ARRAYS.npz        prints one line of JSON
"""

import importlib.machinery
import json
import sys
import types
import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")

# obp imports torch, and all of itself with plots and learners; only its estimators are asked for, so they are opened
# alone, and torch stands empty.
sys.modules["torch"] = types.SimpleNamespace(Tensor=type("Tensor", (), {}))  # type: ignore[assignment]
for name in ("obp", "obp.ope"):
    package = types.ModuleType(name)
    found = importlib.machinery.PathFinder.find_spec("obp", sys.path)
    assert found is not None
    assert found.submodule_search_locations is not None
    package.__path__ = [str(Path(found.submodule_search_locations[0], *name.split(".")[1:]))]
    sys.modules[name] = package

from obp.ope.estimators import (  # type: ignore[import-not-found]  # noqa: E402
    DoublyRobust,
    InverseProbabilityWeighting,
    SelfNormalizedInverseProbabilityWeighting,
)
from obp.ope.estimators_slate import SlateStandardIPS  # type: ignore[import-not-found]  # noqa: E402
from sklift.metrics import qini_auc_score, uplift_at_k, uplift_auc_score  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    arrays = dict(np.load(sys.argv[1]))
    told: dict[str, object] = {}
    if "pscore" in arrays:
        logged = {name: arrays[name] for name in ("reward", "action", "pscore")}
        policy = {"action_dist": arrays["policy"][:, :, None], "position": np.zeros(len(arrays["reward"]), int)}
        told["ips"] = InverseProbabilityWeighting().estimate_policy_value(**logged, **policy)
        told["snips"] = SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**logged, **policy)
        expected = {"estimated_rewards_by_reg_model": arrays["expected"][:, :, None]}
        told["dr"] = DoublyRobust().estimate_policy_value(**logged, **policy, **expected)
        slots = 2
        rounds = len(arrays["reward"])
        told["slate"] = SlateStandardIPS(len_list=slots).estimate_policy_value(
            slate_id=np.repeat(np.arange(rounds), slots),
            # Its reward is the sum over the positions of a slate.
            reward=np.column_stack([arrays["reward"], np.zeros(rounds)]).ravel(),
            position=np.tile(np.arange(slots), rounds),
            pscore=np.repeat(arrays["pscore"], slots),
            evaluation_policy_pscore=np.repeat(arrays["policy"][np.arange(rounds), arrays["action"]], slots),
        )
    if "treated" in arrays:
        trial = (arrays["outcome"], arrays["score"], arrays["treated"])
        told["qini"], told["auuc"] = qini_auc_score(*trial), uplift_auc_score(*trial)
        told["at"] = [uplift_at_k(*trial, strategy="overall", k=share) for share in (0.1, 0.3, 0.5)]
    print(json.dumps(told, default=float))


main()
