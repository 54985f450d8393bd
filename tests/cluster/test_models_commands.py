"""`hearth models`: what comes into force, what does not, and how it is taken back.

Laws: a model comes into force only if it has proved better than what is in force on decisions that neither has seen, or
if its owner insists; one that cannot be served never does; a broken registry is said by every command, and what was
champion stays.

One log of decisions, made by a real shard, is shared.
"""

import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost

import cluster.report
from hearth.v1 import decision_pb2, decision_pb2_grpc
from household.scoring import feature_schema
from serving.models import bundle as bundles
from serving.models.bundle import save_bundle
from tests.actors.harness import CORNER, MONDAY, SettableClock, corner, signal, timestamp
from tests.cluster.conftest import Run
from tests.cluster.real_hearth import running
from tests.serving.test_bundle import make_draft

HOUSEHOLDS, TOGETHER = 420, 28
MINUTE = 60_000_000
DAY = 86_400_000_000

NAMES = feature_schema(corner()).names
SCHEMA = feature_schema(corner()).hash


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in whose log those who pay often take what they are offered, and hardly anybody else does."""
    folder = tmp_path_factory.mktemp("lived")
    (folder / "corner.yaml").write_text(CORNER, encoding="utf-8")
    clock, draw = SettableClock(), np.random.default_rng(1)
    with running(folder / "data", corner(), clock=clock) as hearth, grpc.insecure_channel(hearth.address) as channel:
        stub = decision_pb2_grpc.DecisionServiceStub(channel)
        for first in range(0, HOUSEHOLDS, TOGETHER):
            pays = {f"h{number}": int(draw.integers(0, 6)) for number in range(first, first + TOGETHER)}
            asked = {
                name: stub.Decide.future(ask(name, count, clock.at_us), timeout=20) for name, count in pays.items()
            }
            taken = {name for name, count in pays.items() if draw.random() < (0.8 if count >= 3 else 0.05)}
            for told in [stub.Report.future(accept(name, asked[name], clock.at_us), timeout=20) for name in taken]:
                assert told.result().effective
            # All are answered before time goes on.
            assert all(answer.result().HasField("action") for answer in asked.values())
            clock.pass_us(MINUTE)
        clock.pass_us(DAY)
        # A decision a day later: no window is open any more.
        stub.Decide(ask("h0", 0, clock.at_us), timeout=20)
    return folder


def ask(name: str, pays: int, time_us: int) -> decision_pb2.DecideRequest:
    paid = [signal(f"{name}-{i}", name, "pay", time_us, member="ann", fields={"amount": 5.0}) for i in range(pays)]
    visit = signal(f"{name}-v{time_us}", name, "visit", time_us, member="ann")
    return decision_pb2.DecideRequest(
        request_id=f"{name}-{time_us}", household=name, member="ann", channel="app", signals=[*paid, visit]
    )


def accept(name: str, answer: grpc.Future, time_us: int) -> decision_pb2.ReportRequest:
    return decision_pb2.ReportRequest(
        request_id=f"r-{name}",
        household=name,
        member="ann",
        action_id=answer.result().action.action_id,
        outcome=decision_pb2.OUTCOME_ACCEPT,
        channel="app",
        time=timestamp(time_us),
    )


@pytest.fixture
def data(lived: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Arguments that name a copy of it of the test's own."""
    monkeypatch.setattr(bundles, "_probe", lambda *_: None)  # two seconds each; test_bundle.py has it
    shutil.copytree(lived / "data", tmp_path / "data")
    return ("--data-dir", str(tmp_path / "data"), "--playbook", str(lived / "corner.yaml"))


ENOUGH = ("--min-decisions", "100", "--min-accepted", "20")


def registry(tmp_path: Path) -> Path:
    return tmp_path / "data" / "models"


def aliases(tmp_path: Path) -> dict[str, str]:
    file = registry(tmp_path) / "acceptance" / "aliases.json"
    return json.loads(file.read_text()) if file.exists() else {}


def blind(tmp_path: Path, version: str = "blind", **changes: object) -> str:
    """Save a model that has learned from noise, long ago."""
    draft = make_draft(columns=len(NAMES), names=NAMES)
    draft = replace(draft, feature_schema_hash=SCHEMA, training=replace(draft.training, seen_to_us=0), **changes)  # type: ignore[arg-type]
    return save_bundle(registry(tmp_path), "acceptance", draft, created="then", version=version).name


def test_a_model_that_is_better_comes_into_force_and_says_by_how_much(run: Run, data: tuple[str, ...], tmp_path: Path):
    ended = run("models", "train", "--promote", "--json", *ENOUGH, *data)
    assert (ended.code, ended.json["champion"]) == (0, True), ended.err
    comparison = ended.json["comparison"]
    assert (comparison["verdict"], comparison["incumbent"]) == ("better", "prior")
    assert comparison["logloss_interval"][1] < 0
    assert comparison["rows"] == ended.json["training"]["holdout_rows"]
    assert aliases(tmp_path) == {"champion": ended.json["version"]}

    # The next one is compared with it, on what neither has seen: nothing.
    again = run("models", "train", "--seed", "1", "--promote", *ENOUGH, *data)
    assert again.code == 1
    assert f"better than the champion {ended.json['version']}" in again.err
    assert "--force" in again.err
    assert aliases(tmp_path) == {"champion": ended.json["version"]}


def test_a_model_that_is_not_better_is_refused_unless_its_owner_insists(
    run: Run, data: tuple[str, ...], tmp_path: Path
):
    version = blind(tmp_path)
    refused = run("models", "promote", version, *data)
    assert refused.code == 1
    for told in ("not promoted", "the playbook's priors", "log loss", "95% between", "AUC", "--force"):
        assert told in refused.err, told
    assert aliases(tmp_path) == {}

    compared = run("models", "compare", version, "prior", "--json", *data).json
    assert compared["verdict"] in ("worse", "not better")
    assert compared["rows"] == HOUSEHOLDS

    forced = run("models", "promote", version, "--force", "--json", *data)
    assert (forced.code, forced.json["champion"], forced.json["before"]) == (0, version, None)
    assert aliases(tmp_path) == {"champion": version}
    assert run("models", "promote", version, *data).out == f"{version} is champion already\n"

    # Whoever replaces it has to be better than it, and is.
    better = run("models", "train", "--promote", "--json", *ENOUGH, *data).json
    assert (better["comparison"]["incumbent"], better["champion"]) == (version, True)

    back = run("models", "rollback", "--json", *data)
    assert back.json == {"champion": version, "before": better["version"]}
    assert aliases(tmp_path) == {"champion": version}
    assert "the playbook's priors score again" in run("models", "rollback", *data).out
    nothing = run("models", "rollback", *data)
    assert nothing.code == 1
    assert "no champion before the priors" in nothing.err

    shown = run("models", "show", version, "--json", *data).json
    told = [one["how"] for one in shown["history"]]
    assert told == ["forced", "registered", "promoted", "rolled back", "rolled back"]
    assert (shown["aliases"], shown["refused"], shown["columns"]) == ([], None, list(NAMES))
    assert "can be served: yes" in run("models", "show", version, *data).out


def test_too_little_to_compare_is_refused_and_says_what_is_missing(run: Run, data: tuple[str, ...], tmp_path: Path):
    late = replace(make_draft().training, seen_to_us=MONDAY + 13 * MINUTE)
    version = blind(tmp_path)
    manifest = registry(tmp_path) / "acceptance" / version / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["training"]["seen_to_us"] = late.seen_to_us
    manifest.write_text(json.dumps(facts))
    refused = run("models", "promote", version, *data)
    assert refused.code == 1
    assert "too little to compare" in refused.err
    assert "neither has seen 28 decisions" in refused.err
    assert aliases(tmp_path) == {}


def test_what_cannot_be_served_is_not_promoted_whoever_insists(run: Run, data: tuple[str, ...], tmp_path: Path):
    wrong = {
        "other": ("made for feature schema", {"feature_schema_hash": "0" * 16}),
        "order": ("column 0 is", {"columns": [NAMES[1], NAMES[0], *NAMES[2:]]}),
        "forged": ("sha256 is", {"sha256": {"model.ubj": "0" * 64}}),
    }
    for version, (reason, change) in wrong.items():
        blind(tmp_path, version)
        manifest = registry(tmp_path) / "acceptance" / version / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
        refused = run("models", "promote", version, "--force", *data)
        assert refused.code == 1
        assert reason in refused.err
        shown = run("models", "show", version, "--json", *data)
        assert reason in shown.json["refused"]
    (registry(tmp_path) / "acceptance" / "empty").mkdir()
    assert "cannot be read" in run("models", "promote", "empty", "--force", *data).err
    assert "cannot be shown" in run("models", "show", "empty", *data).err
    assert aliases(tmp_path) == {}


def test_insisting_without_promoting_is_a_mistake(run: Run, data: tuple[str, ...]):
    ended = run("models", "train", "--force", *data)
    assert (ended.code, "--force goes with --promote" in ended.err) == (2, True)


@pytest.mark.parametrize("version", ["nobody", "../acceptance/blind", "", "a b", ".", "champion"])
def test_a_version_that_is_not_there_is_told_with_those_that_are(
    run: Run, data: tuple[str, ...], tmp_path: Path, version: str
):
    blind(tmp_path)
    for command in ("promote", "show", "compare"):
        ended = run("models", command, version, *data)
        assert ended.code == 1
        assert "no version" in ended.err
        assert "there are blind" in ended.err


@pytest.mark.parametrize("content", ["{", '{"champion": 5}', '["blind"]', '{"champion": "../blind"}'])
def test_a_broken_alias_file_is_told_by_every_command_and_stays(
    run: Run, data: tuple[str, ...], tmp_path: Path, content: str
):
    blind(tmp_path)
    file = registry(tmp_path) / "acceptance" / "aliases.json"
    file.write_text(content)
    where = data[:2]
    for arguments in (
        ("list", *where),
        ("train", "--promote", *ENOUGH, *data),
        ("promote", "blind", "--force", *data),
        ("rollback", *data),
        ("show", "blind", *data),
        ("compare", "blind", *data),
    ):
        ended = run("models", *arguments)
        assert ended.code == 1, arguments
        assert str(file) in ended.err, arguments
        assert "mend the file" in ended.err, arguments
    assert file.read_text() == content
    listed = run("models", "list", "--json", *where)
    assert [one["version"] for one in listed.json["versions"]] == ["blind"]
    assert str(file) in listed.json["refused"]


def test_a_champion_that_is_not_in_the_registry_is_told_and_can_be_replaced(
    run: Run, data: tuple[str, ...], tmp_path: Path
):
    blind(tmp_path)
    (registry(tmp_path) / "acceptance" / "aliases.json").write_text('{"champion": "gone"}')
    listed = run("models", "list", *data[:2])
    assert (listed.code, "champion is gone, which is not in the registry" in listed.err) == (1, True)
    assert "'gone' (the alias champion)" in run("models", "show", *data).err
    assert run("models", "promote", "blind", "--force", *data).code == 0
    assert aliases(tmp_path) == {"champion": "blind"}
    gone = run("models", "rollback", *data)
    assert (gone.code, "gone was champion before blind and cannot be again" in gone.err) == (1, True)
    assert aliases(tmp_path) == {"champion": "blind"}


def test_a_version_goes_through_its_stages_and_each_step_says_why_it_is_refused(
    run: Run, data: tuple[str, ...], tmp_path: Path
):
    version, plain = blind(tmp_path), (*data[:2], *data[2:])
    early = run("models", "canary", version, "--share", "5%", "--force", *data)
    assert early.code == 0, early.err
    assert run("models", "rollback", "--json", *plain).json["rolled_back"] == version

    assert run("models", "shadow", version, "--why", "a look", "--json", *plain).json["changed"] is True
    # Who has proved worse than the priors does not decide for anybody, whatever it was before.
    refused = run("models", "canary", version, "--share", "5%", *data)
    assert refused.code == 1
    assert "has proved worse than prior" in refused.err
    share = run("models", "canary", version, "--share", "0.05", "--force", "--json", *data)
    assert share.json == {"version": version, "stage": "canary", "share": 0.05, "changed": True}
    smaller = run("models", "canary", version, "--share", "1%", "--force", *data)
    assert (smaller.code, "would move some of them back" in smaller.err) == (1, True)
    assert "no share" in run("models", "canary", version, "--share", "much", *data).err
    assert "canary for 5 % of the households" in run("models", "show", version, *plain).out
    (listed,) = run("models", "list", "--json", *data[:2]).json["versions"]
    assert (listed["stage"], listed["share"]) == ("canary", 0.05)

    for command in ("retire", "shadow"):
        told = run("models", command, version, *plain)
        assert (told.code, f"model {version} is canary" in told.err) == (1, True)
    assert run("models", "rollback", *plain).code == 0
    assert run("models", "retire", version, "--json", *plain).json["stage"] == "retired"
    for command in (("shadow", version), ("promote", version, "--force")):
        told = run("models", *command, *plain)
        assert (told.code, "is retired" in told.err) == (1, True)
    history = run("models", "show", version, "--json", *plain).json["history"]
    steps = ["canary", "rolled back", "shadow", "canary", "rolled back", "retired"]
    assert [one["how"] for one in history] == steps
    assert (history[2]["why"], bool(history[2]["who"])) == ("a look", True)


class Elsewhere(HTMLParser):
    """What a page asks for beside itself, and the names of its sections."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.sections: set[str] = set()
        self.tags: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        told = dict(attributes)
        if tag in ("h2", "div") and told.get("id"):
            self.sections.add(str(told["id"]))
        for name in ("src", "href", "xlink:href", "data", "action"):
            if told.get(name) and not str(told[name]).startswith("#"):
                self.asked.append(f"{tag} {told[name]}")


def test_a_report_is_one_file_that_asks_for_nothing_elsewhere(run: Run, data: tuple[str, ...], tmp_path: Path):
    version = run("models", "train", "--json", *ENOUGH, *data).json["version"]
    out = tmp_path / "report.html"
    told = run("models", "report", version, "--out", str(out), "--json", *data)
    assert told.code == 0, told.err
    page = out.read_text()
    assert told.json["bytes"] == len(page.encode()) < 1 << 20
    assert told.json["verdict"] == "It is better than what is in force, beyond doubt: it may be promoted."
    assert [one["incumbent"] for one in told.json["comparisons"]] == ["prior"]
    assert told.json["verdict"] in page

    seen = Elsewhere()
    seen.feed(page)
    assert seen.asked == []
    assert "url(http" not in page
    assert "@import" not in page
    assert not {"script", "link", "img", "iframe"} & seen.tags.keys()
    wanted = "verdict data columns importance calibration deciles comparison evaluation fairness drift history"
    assert seen.sections == set(wanted.split())
    assert seen.tags["svg"] >= 4
    for name in NAMES:
        assert f"<td>{name}</td>" in page
    assert "that it has not seen" in page
    assert "DR" in page

    # Of a champion it is said how it does, of a blind one that it is worse; the file's name is told.
    run("models", "promote", version, "--force", *data)
    worse = run("models", "report", blind(tmp_path), "--out", str(out), "--json", *data).json
    assert worse["verdict"] == "It is worse than what it would replace: leave it."
    assert {one["incumbent"] for one in worse["comparisons"]} == {"prior", version}
    ended = run("models", "report", "champion", "--out", str(tmp_path / "no" / "r.html"), *data)
    assert (ended.code, "make it first" in ended.err) == (2, True)


def test_without_its_extra_a_report_says_what_to_install(
    run: Run, data: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    for name in ("cluster.report.page", "cluster.report.charts"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delattr(cluster.report, name.rpartition(".")[2], raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = run("models", "report", "champion", *data)
    assert (ended.code, "needs matplotlib" in ended.err, "hearth[report]" in ended.err) == (1, True, True)


def test_versions_in_service_are_watched_and_noted_for_the_metrics(run: Run, data: tuple[str, ...], tmp_path: Path):
    nobody = run("models", "watch", "--json", *data)
    assert (nobody.code, nobody.json) == (0, {"versions": []})
    assert "no model is in service" in nobody.err
    version = run("models", "train", "--promote", "--json", *ENOUGH, *data).json["version"]
    ended = run("models", "watch", "--json", *data)
    assert ended.code == 0, ended.err
    (one,) = ended.json["versions"]
    assert (one["version"], one["stage"], one["decisions"], one["findings"]) == (version, "champion", 0, [])
    assert "too few decisions" in one["silence"]
    notes = json.loads((registry(tmp_path) / "acceptance" / "watch.json").read_text())
    assert notes[version]["findings"] == []
    assert "it has decided nothing in this time" in run("models", "watch", version, *data).out
    # What was found is nothing that makes the registry look broken.
    assert run("models", "list", *data[:2]).code == 0


# --- models of other terms -------------------------------------------------------------------------------------------


def a_set(file: Path, *, effect: float = 0.5, is_treated: bool | None = None, rows: int = 3_000) -> str:
    """Write a trial in which those whose first column is positive are moved by treatment."""
    draw = np.random.default_rng(3)
    columns = draw.normal(size=(rows, len(NAMES))).astype(np.float32)
    arm = draw.random(rows) < 0.5 if is_treated is None else np.full(rows, is_treated)
    label = draw.random(rows) < 0.2 + effect * (columns[:, 0] > 0) * arm
    table = pa.table(
        {name: columns[:, place] for place, name in enumerate(NAMES)}
        | {
            "label": label,
            "arm": np.where(arm, "treated", "control"),
            "propensity": np.full(rows, 0.5),
            "decided_at": pa.array(np.arange(rows) + MONDAY, pa.timestamp("us", tz="UTC")),
        }
    )
    pq.write_table(table, file)
    return str(file)


@pytest.mark.chaos
def test_an_uplift_is_learned_judged_promoted_and_rolled_back(run: Run, data: tuple[str, ...], tmp_path: Path):
    trial = a_set(tmp_path / "trial.parquet")
    uplift = ("--from", trial, "--model", "spring", *data)
    ended = run("models", "train", "--learner", "dr", "--promote", "--json", *uplift)
    assert (ended.code, ended.json["champion"], ended.json["term"]) == (0, True, "uplift"), ended.err
    assert ended.json["training"]["better_than_nothing"] is True
    version = ended.json["version"]
    listed = run("models", "list", "--model", "spring", "--json", *data[:2]).json
    assert [(one["version"], one["stage"]) for one in listed["versions"]] == [(version, "champion")]
    assert run("models", "list", "--json", *data[:2]).json["versions"] == []
    shown = run("models", "show", "--model", "spring", *data)
    assert (shown.code, "gives uplift" in shown.out, "can be served: yes" in shown.out) == (0, True, True)
    other = run("models", "train", "--learner", "t", "--json", *uplift).json["version"]
    assert run("models", "shadow", other, "--model", "spring", *data).code == 0
    assert run("models", "promote", other, "--model", "spring", *data).code == 0
    back = run("models", "rollback", "--model", "spring", "--json", *data)
    assert (back.code, back.json["champion"]) == (0, version)


def test_what_moves_nobody_is_saved_and_not_promoted(run: Run, data: tuple[str, ...], tmp_path: Path):
    trial = a_set(tmp_path / "trial.parquet", effect=0.0)
    ended = run("models", "train", "--learner", "t", "--promote", "--from", trial, *data)
    assert ended.code == 1
    assert "no effect to target" in ended.err
    assert "--force" in ended.err
    (saved,) = run("models", "list", "--model", "uplift", "--json", *data[:2]).json["versions"]
    assert saved["stage"] == "registered"
    assert run("models", "promote", saved["version"], "--model", "uplift", *data).code == 1
    assert run("models", "promote", saved["version"], "--model", "uplift", "--force", *data).code == 0


def test_what_no_term_can_be_learned_from_is_refused_with_what_is_missing(
    run: Run, data: tuple[str, ...], tmp_path: Path
):
    alone = a_set(tmp_path / "alone.parquet", is_treated=True)
    table, accepted = pq.read_table(alone), str(tmp_path / "accepted.parquet")
    pq.write_table(table.replace_schema_metadata({"hearth.label": "accepted"}), accepted)
    for options, code, why in (
        (("--learner", "x", "--from", alone), 1, "no control rows among 3000"),
        (("--term", "churn", "--from", accepted), 2, "a hazard is of who left"),
        (("--learner", "x"), 2, "--label EVENT names an event type"),
        (("--learner", "x", "--label", "accepted"), 2, "which a household that was told nothing can never be"),
        (("--learner", "x", "--label", "consent"), 1, "no control rows among"),
        (("--learner", "y"), 2, "none of t, x and dr"),
        (("--term", "churn"), 2, "--term churn needs --from"),
        (("--term", "churn", "--learner", "t", "--from", alone), 2, "has no control group"),
        (("--term", "joy"), 2, "none of acceptance, uplift, churn, value"),
        (("--term", "value", "--from", alone), 2, "in minor units"),
    ):
        ended = run("models", "train", *options, *data)
        assert (ended.code, why in ended.err) == (code, True), (options, ended.err)
    assert not list(registry(tmp_path).glob("*/*/manifest.json"))


def brought(file: Path, columns: tuple[str, ...], *, of: int = 0, objective: str = "binary:logistic") -> str:
    """Save a booster that was trained elsewhere, by the trial's own rule."""
    draw = np.random.default_rng(of)
    rows = draw.normal(size=(2_000, len(columns))).astype(np.float32)
    label = (draw.random(2_000) < 0.2 + 0.5 * (rows[:, 0] > 0) * of).astype(np.float32)
    settings = {"objective": objective, "max_depth": 2, "nthread": 1}
    xgboost.train(settings, xgboost.DMatrix(rows, label, feature_names=list(columns)), 20).save_model(file)
    return str(file)


def test_models_of_other_terms_are_brought_from_elsewhere_and_judged_before_they_are_promoted(
    run: Run, data: tuple[str, ...], tmp_path: Path
):
    trial = a_set(tmp_path / "trial.parquet")
    files = [brought(tmp_path / f"{of}.ubj", NAMES, of=of) for of in (0, 1)]
    uplift = ("--model", "spring", *data)
    ended = run("models", "register", *files, "--term", "uplift", "--judge-on", trial, "--json", *uplift)
    assert (ended.code, ended.json["term"], ended.json["model"]) == (0, "uplift", "spring"), ended.err
    promoted = run("models", "promote", ended.json["version"], *uplift)
    assert promoted.code == 0, promoted.err
    assert "tells whom to treat" in run("models", "show", "--json", *uplift).json["training"]["judged"]
    # What is for acceptance alone says so, and what to do instead.
    for words, instead in ((("compare", "champion"), "--on FILE"), (("report", "champion"), "`hearth models show`")):
        refused = run("models", *words, *uplift)
        assert (refused.code, "gives uplift" in refused.err, instead in refused.err) == (2, True, True), refused.err
    watched = run("models", "watch", "--json", *uplift)
    assert [(one["model"], one["term"], one["decisions"]) for one in watched.json["versions"]] == [
        ("spring", "uplift", 0)
    ]


@pytest.mark.chaos
def test_versions_of_other_terms_are_compared_on_a_set_that_neither_has_seen(
    run: Run, data: tuple[str, ...], tmp_path: Path
):
    sets = {effect: a_set(tmp_path / f"{effect}.parquet", effect=effect) for effect in (0.5, -0.2)}
    uplift, found = ("--model", "spring", *data), {}
    for effect, trial in sets.items():
        ended = run("models", "train", "--learner", "t", "--from", trial, "--json", *uplift)
        assert ended.code == 0, ended.err
        found[effect] = ended.json["version"]
    on = ("--on", sets[0.5], "--json", *uplift)
    told = run("models", "compare", found[0.5], found[-0.2], *on).json
    # What was held out of the training of both, a fifth.
    assert (told["verdict"], told["rows"], told["logloss_interval"]) == ("better", 600, None), told["why"]
    assert run("models", "compare", found[-0.2], found[0.5], *on).json["verdict"] == "worse"
    assert run("models", "compare", found[0.5], found[0.5], *on).json["verdict"] == "not better"
    assert run("models", "compare", found[0.5], *on).json["incumbent"] == "prior"
    alone = a_set(tmp_path / "alone.parquet", is_treated=True)
    assert "tells of no trial" in run("models", "compare", found[0.5], "--on", alone, *uplift).err


def test_what_a_model_from_elsewhere_gives_is_told_or_refused(run: Run, data: tuple[str, ...], tmp_path: Path):
    model, other = (brought(tmp_path / f"{of}.ubj", NAMES, of=of) for of in (0, 1))
    for words, code, why in (
        ((model, other), 1, "is one of 2 files; a model of acceptance is one booster"),
        ((model, "--term", "joy"), 2, "none of acceptance, uplift, churn, value"),
        ((model, "--term", "churn", "--model", "acceptance"), 2, "is to give acceptance"),
        ((model, "--term", "churn", "--from-priors"), 1, "which say nothing of churn"),
        ((model, "--term", "churn"), 1, f"has {len(NAMES)} columns"),
        ((model, "--judge-on", model), 2, "for other terms"),
        ((model, "--version", "aliases.json"), 1, "a name of its own"),
        ((model, "--model", "../out"), 2, "letters, digits"),
    ):
        ended = run("models", "register", *words, *data)
        assert (ended.code, why in ended.err) == (code, True), (words, ended.err)
    assert run("models", "train", "--model", "../out", *data).code == 2
    assert run("models", "train", "--term", "churn", "--model", "acceptance", "--from", model, *data).code == 2
    assert not list(registry(tmp_path).glob("*/*/manifest.json"))


def test_acceptance_is_of_the_model_that_the_playbook_names(run: Run, data: tuple[str, ...], tmp_path: Path):
    playbook = tmp_path / "named.yaml"
    playbook.write_text(CORNER + "models: {acceptance: takeup}\n", encoding="utf-8")
    data = (*data[:2], "--playbook", str(playbook))
    ended = run("models", "train", "--promote", "--json", *ENOUGH, *data)
    assert (ended.code, ended.json["champion"], ended.json["comparison"]["incumbent"]) == (0, True, "prior"), ended.err
    assert Path(ended.json["path"]).parent.name == "takeup"
    assert run("models", "show", "--json", *data).json["version"] == ended.json["version"]
    assert run("models", "compare", "champion", "prior", "--json", *data).json["verdict"] == "better"
    assert run("models", "rollback", "--json", *data).json == {"champion": None, "before": ended.json["version"]}


def test_a_hazard_is_learned_from_the_features_of_households_alone(run: Run, data: tuple[str, ...], tmp_path: Path):
    trial = a_set(tmp_path / "left.parquet")
    ended = run("models", "train", "--term", "churn", "--promote", "--json", "--from", trial, *data)
    assert (ended.code, ended.json["champion"]) == (0, True), ended.err
    manifest = json.loads((Path(ended.json["path"]) / "manifest.json").read_text())
    assert (manifest["term"], manifest["columns"]) == ("churn", list(NAMES[: len(feature_schema(corner()).scored)]))
