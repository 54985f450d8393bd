"""`hearth models evaluate` and `hearth models uplift`, as typed.

Laws: the policy that was in force, told by its version, is to the last digit what the log says was in force; a model
is judged on what it has not seen; the log and its exports tell the same; mistakes end with one sentence and code 2,
what the data cannot tell with the reason and code 1.

One log of decisions with exploration and prices by segment, made by a real shard, is shared.
"""

import re
import shutil
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.commands.arbitrated_policy import policy_of_version
from cluster.commands.promotion import plans_known
from cluster.config import load_config
from hearth.v1 import decision_pb2_grpc
from insight.evaluation.exported import read_exported
from serving.models import bundle as bundles
from tests.actors.harness import CORNER, SettableClock, corner
from tests.cluster.conftest import Run
from tests.cluster.real_hearth import running
from tests.cluster.test_models_commands import DAY, ENOUGH, MINUTE, accept, ask

HOUSEHOLDS, TOGETHER = 420, 28

CHANGES = (
    ("families: [mobile, content, care]", "arbitration: {exploration: 40%}\nfamilies: [mobile, content, care]"),
    ("channels:\n", "segments:\n  payer: household.payments >= 3\nchannels:\n"),
    ("films: {family: content, price: 4.99,", "films: {family: content, price: 4.99, segment_prices: {payer: 3.99},"),
)
EXPLORED = CORNER
for old, new in CHANGES:
    EXPLORED = EXPLORED.replace(old, new)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of households that like films if they pay often, and phones if they never pay."""
    folder = tmp_path_factory.mktemp("explored")
    (folder / "corner.yaml").write_text(EXPLORED, encoding="utf-8")
    clock, draw = SettableClock(), np.random.default_rng(1)
    plan = corner(*CHANGES)
    with running(folder / "data", plan, clock=clock) as hearth, grpc.insecure_channel(hearth.address) as channel:
        stub = decision_pb2_grpc.DecisionServiceStub(channel)
        for first in range(0, HOUSEHOLDS, TOGETHER):
            pays = {f"h{number}": int(draw.integers(0, 6)) for number in range(first, first + TOGETHER)}
            asked = {
                name: stub.Decide.future(ask(name, count, clock.at_us), timeout=20) for name, count in pays.items()
            }
            likes = {name: "films" if count >= 3 else "phone" for name, count in pays.items()}
            taken = [
                name
                for name, answer in asked.items()
                if draw.random() < (0.8 if answer.result().action.offer == likes[name] else 0.1)
            ]
            for told in [stub.Report.future(accept(name, asked[name], clock.at_us), timeout=20) for name in taken]:
                assert told.result().effective
            clock.pass_us(MINUTE)
        clock.pass_us(DAY)
        stub.Decide(ask("h0", 0, clock.at_us), timeout=20)
    return folder


@pytest.fixture
def data(lived: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.setattr(bundles, "_probe", lambda *_: None)
    shutil.copytree(lived / "data", tmp_path / "data")
    return ("--data-dir", str(tmp_path / "data"), "--playbook", str(lived / "corner.yaml"))


@pytest.fixture
def exported(run: Run, data: tuple[str, ...]) -> tuple[str, str]:
    """Names of exported decisions and signals."""
    for kind in ("decisions", "signals"):
        assert run("log", "export", "--kind", kind, "--out", f"{kind}.parquet", *data[:2]).code == 0
    return "decisions.parquet", "signals.parquet"


def test_the_priors_would_have_done_exactly_what_they_did(
    exported: tuple[str, str], data: tuple[str, ...], lived: Path
):
    config = load_config(data_dir=Path(data[1]), playbook=lived / "corner.yaml")
    table = pq.read_table(exported[0])
    decisions = read_exported(table, pq.read_table(exported[1]), file="export")
    assert len(plans_known(config)) == 1
    policy, kept = policy_of_version(config, "prior", table, decisions)

    assert kept.count == decisions.count == HOUSEHOLDS
    assert kept.left_out == {"window open": 1}
    assert kept.logged is not None
    assert set(np.round(kept.propensity, 6)) == {0.133333, 0.733333}
    found, logged = (
        {
            (int(row), names[action]): float(share)
            for row, action, share in zip(choices.decision, choices.action, choices.probability, strict=True)
        }
        for choices, names in ((policy.choices, policy.actions), (kept.logged, kept.actions))
    )
    assert found.keys() == logged.keys()
    assert all(abs(found[key] - logged[key]) < 1e-9 for key in found)


def test_a_model_is_judged_on_what_it_has_not_seen_alike_from_the_log_and_its_exports(
    run: Run, exported: tuple[str, str], data: tuple[str, ...]
):
    trained = run("models", "train", "--json", *ENOUGH, *data)
    version = trained.json["version"]
    few = ("--min-effective-sample", "20", "--json", *data)
    found = run("models", "evaluate", "--policy", version, *few)
    assert found.code == 0, found.err
    seen = HOUSEHOLDS - trained.json["training"]["holdout_rows"]
    assert found.json["left_out"]["seen by the model"] >= seen - TOGETHER
    assert found.json["decisions"] + sum(found.json["left_out"].values()) == HOUSEHOLDS + 1
    assert found.json["is_support_known"] is True

    from_files = run("models", "evaluate", exported[0], "--outcomes", exported[1], "--policy", version, *few)
    assert from_files.json == found.json
    assert run("models", "evaluate", "--policy", version, "--json", *data).code == 1


def test_a_policy_from_a_file_brings_what_it_should(run: Run, exported: tuple[str, str], data: tuple[str, ...]):
    """To offer each household what it likes brings 0.8 at 73 %, and 0.1 else; what it likes is known here."""
    table = pq.read_table(exported[0])
    likes = ["films" if one >= 3 else "phone" for one in table.column("household.payments").to_pylist()]
    pq.write_table(
        pa.table({"decision_id": table.column("decision_id"), "action": likes, "probability": [1.0] * len(likes)}),
        "likes.parquet",
    )
    few = ("--min-effective-sample", "50", "--json")
    found = run(
        "models", "evaluate", exported[0], "--outcomes", exported[1], "--policy", "likes.parquet", *few, *data
    ).json

    assert found["dr"]["low"] <= 0.8 <= found["dr"]["high"]
    assert found["difference"]["low"] > 0.1
    told = run("models", "evaluate", exported[0], "--outcomes", exported[1], "--policy", "likes.parquet", *data)
    assert (told.code, "effective sample" in told.out) in ((0, True), (1, True))


def test_an_offer_that_was_not_weighed_is_refused_with_the_decisions(run: Run, exported: tuple[str, str]):
    Path("topup.csv").write_text("action,probability\ntopup,0.5\nfilms,0.5\n")
    files = (exported[0], "--outcomes", exported[1])
    refused = run("models", "evaluate", *files, "--policy", "topup.csv", "--json")

    assert refused.code == 1
    assert refused.json["refusal"]["reason"] == "never chosen"
    assert f"in {HOUSEHOLDS} of {HOUSEHOLDS} decisions" in refused.err
    assert "'topup'" in refused.err
    assert refused.json["dr"] is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("gone.parquet", "--policy", "p.csv"), "gone.parquet is not there"),
        (("d.csv", "--policy", "gone.csv"), "--policy gone.csv is not there"),
        (("d.csv", "--policy", "champion"), "champion is no file"),
        (("d.csv", "--policy", "p.csv", "--reward", "margin"), "no column 'margin'"),
        (("d.csv", "--policy", "p.csv", "--outcomes", "d.csv"), "--outcomes goes with decisions that Hearth exported"),
        (("d.csv", "--policy", "p.csv", "--confidence", "95"), "--confidence 95"),
        (("--policy", "p.csv", "--reward", "x"), "go with a file of decisions"),
        (("--policy", "p.csv"), "no data directory"),
    ],
)
def test_mistakes_end_with_one_sentence_and_code_2(run: Run, arguments: tuple[str, ...], told: str):
    Path("d.csv").write_text("decision_id,action,propensity,reward\nd1,a,0.5,1\n")
    Path("p.csv").write_text("action,probability\na,1\n")
    ended = run("models", "evaluate", *arguments)

    assert ended.code == 2, ended.err
    assert told in ended.err
    assert ended.out == ""


def test_an_export_without_outcomes_says_how_to_name_them(run: Run, exported: tuple[str, str]):
    Path("p.csv").write_text("action,probability\nfilms,1\n")
    ended = run("models", "evaluate", exported[0], "--policy", "p.csv")

    assert (ended.code, "--outcomes" in ended.err, "--reward" in ended.err) == (2, True, True)


def test_uplift_is_told_for_people_and_for_programs(run: Run):
    draw = np.random.default_rng(2)
    score, treated = draw.normal(0, 0.1, 3_000), draw.random(3_000) < 0.4
    bought = draw.random(3_000) < 0.3 + np.clip(score, -0.2, 0.2) * treated
    table = pa.table({"mailed": treated, "bought": bought, "prediction": score})
    pq.write_table(table, "trial.parquet")
    columns = ("--treated", "mailed", "--outcome", "bought", "--score", "prediction")
    told = run("models", "uplift", "trial.parquet", *columns, "--contact-cost", "0.02", "--top", "0.5")
    found = run("models", "uplift", "trial.parquet", *columns, "--json", "--top", "0.5").json

    assert told.code == 0
    for words in ("the score tells whom to treat", "Qini coefficient", "uplift of the top 50%", "the top 50%"):
        assert words in told.out
    assert found["verdict"] == "the score tells whom to treat"
    assert (len(found["tenths"]), [one["share"] for one in found["at"]]) == (10, [0.5])
    assert run("models", "uplift", "trial.parquet").err == (
        "hearth: trial.parquet: no column 'treated'; it has mailed, bought, prediction\n"
    )
    wrong = run("models", "uplift", "trial.parquet", *columns, "--top", "50")
    assert (wrong.code, "--top 50 is no share" in wrong.err) == (2, True)


def test_a_trial_that_cannot_tell_ends_with_1_and_the_reason(run: Run):
    pq.write_table(pa.table({"treated": [1] * 50, "outcome": [0, 1] * 25, "uplift": [0.1] * 50}), "one.parquet")
    ended = run("models", "uplift", "one.parquet", "--json")

    assert (ended.code, ended.json["refusal"]["reason"]) == (1, "one arm only")
    assert "all 50 rows are treated" in ended.err


def test_the_sample_of_the_page_runs_as_typed(run: Run, repository: Path):
    page = (repository / "docs" / "evaluation.md").read_text()
    sample = re.search(r"```python\n(.*?)```\n\n((?:    hearth [^\n]+\n)+)", page, re.DOTALL)
    assert sample is not None
    exec(sample.group(1), {})
    ended = [run(*line.split()[1:]) for line in sample.group(2).splitlines()]

    assert [one.code for one in ended] == [0, 0], ended
    assert "policy, DR" in ended[0].out
    assert "the score tells whom to treat" in ended[1].out
