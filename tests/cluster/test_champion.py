"""What is in force, by the registry.

Laws: the champion is, once it is proven to fit the playbook; a broken registry or a champion that cannot be served
leaves what is in service in service, across a restart as well; where nothing can be served that should be, the priors
score and say that they are degraded; what is wrong is said once, and no longer once it is mended.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster import champion as champions
from cluster.champion import ChampionFollower, recall, remember
from cluster.config import HearthConfig
from cluster.served_versions import ServedVersions
from household.plan import ValueTerm
from household.scoring import feature_schema
from serving.models import bundle as bundles
from serving.models import choosing, probe, rollout, scorer
from serving.models.bundle import save_bundle
from serving.models.choosing import choose
from serving.models.history import By
from serving.models.in_force import PRIORS_IN_FORCE, ModelInForce
from serving.models.registry import set_alias
from serving.models.rollout import promote
from tests.actors.harness import corner
from tests.serving.test_bundle import make_draft

SCHEMA = feature_schema(corner())
NAME = "acceptance"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bundles, "_probe", lambda *_: None)  # test_bundle.py has it
    draft = replace(make_draft(columns=len(SCHEMA.names), names=SCHEMA.names), feature_schema_hash=SCHEMA.hash)
    for version in ("v1", "v2"):
        save_bundle(tmp_path / "models", NAME, draft, created="now", version=version)
    return tmp_path / "models"


def write_aliases(registry: Path, text: str) -> None:
    (registry / NAME / "aliases.json").write_text(text)


def damage(registry: Path, version: str) -> None:
    (registry / NAME / version / "model.ubj").write_bytes(b"nonsense")


def pick(registry: Path, *, in_service: ModelInForce | None = None, remembered: str | None = None) -> tuple[str, str]:
    choice = choose(registry, corner, in_service=in_service, remembered=remembered)
    return choice.model.version or ("degraded" if choice.model.missing else "priors"), choice.trouble


def test_no_registry_and_no_champion_are_the_priors_and_no_trouble(registry: Path, tmp_path: Path):
    assert pick(tmp_path / "nowhere") == ("priors", "")
    assert pick(registry) == ("priors", "")
    # What was champion and is none any more is out of force: somebody wanted that.
    assert pick(registry, remembered="v1") == ("priors", "")


def test_the_champion_is_proven_to_fit_the_playbook(registry: Path):
    set_alias(registry, NAME, "champion", "v1")
    choice = choose(registry, corner, in_service=None, remembered="v2")
    assert choice.trouble == ""
    model = choice.model
    assert (model.version, model.columns, model.feature_schema_hash) == ("v1", SCHEMA.names, SCHEMA.hash)
    assert Path(model.bundle_path) == registry / NAME / "v1"
    assert model.app_name == ""


@pytest.mark.parametrize("text", ["{", '{"champion": 1}', "[]", '{"champion": "../v1"}', "\x00"])
def test_a_broken_alias_file_leaves_in_service_what_is(registry: Path, text: str):
    in_service = ModelInForce(version="v1", app_name="model-v1")
    write_aliases(registry, text)
    version, trouble = pick(registry, in_service=in_service)
    assert version == "v1"
    assert "aliases.json" in trouble
    assert trouble.endswith("v1 stays in service")
    # And across a restart, by what the data directory remembers, or else the history.
    assert pick(registry, remembered="v1")[0] == "v1"
    assert pick(registry, remembered="")[0] == "priors"
    assert pick(registry)[0] == "degraded"


def test_without_memory_the_history_tells_what_was_in_service(registry: Path):
    promote(registry, NAME, "v1", by=By(time="t"), is_forced=True)
    promote(registry, NAME, "v2", by=By(time="t"), is_forced=True)
    write_aliases(registry, "{")
    assert pick(registry)[0] == "v2"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("damaged", "sha256 is"),
        ("gone", "cannot be read"),
        ("unordered", "column 0 is"),
        ("another schema", "made for feature schema"),
    ],
)
def test_a_champion_that_cannot_be_served_leaves_in_service_what_is(registry: Path, wrong: str, told: str):
    set_alias(registry, NAME, "champion", "v2")
    manifest = registry / NAME / "v2" / "manifest.json"
    facts = json.loads(manifest.read_text())
    match wrong:
        case "damaged":
            damage(registry, "v2")
        case "gone":
            manifest.unlink()
        case "unordered":
            manifest.write_text(json.dumps(facts | {"columns": [*facts["columns"][1:], facts["columns"][0]]}))
        case _:
            manifest.write_text(json.dumps(facts | {"feature_schema_hash": "0" * 16}))
    version, trouble = pick(registry, in_service=ModelInForce(version="v1"))
    assert version == "v1"
    assert told in trouble
    assert pick(registry, remembered="v1")[0] == "v1"
    # It was in service before the restart itself, and nothing else is known to be good.
    assert pick(registry, remembered="v2")[0] == "degraded"
    assert pick(registry)[0] == "degraded"


def test_the_memory_outlives_whatever_is_in_its_place(tmp_path: Path):
    assert recall(tmp_path) is None
    remember(tmp_path, "")
    assert recall(tmp_path) is None, "a file for those who never had a model"
    remember(tmp_path, "v1")
    assert recall(tmp_path) == "v1"
    remember(tmp_path, "")
    assert recall(tmp_path) == ""
    for content in ("", "{", "[]", '{"version": 3}', "\x00"):
        (tmp_path / "model.json").write_text(content)
        assert recall(tmp_path) is None


class World:
    """A follower, and what it tells of."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, starts_without: bool = False) -> None:
        self.told: list[dict[str, Any]] = []
        self.used: list[tuple[str, bool]] = []
        self.on_serve: set[str] = set()
        self.serve_fails = False
        self.now_s = 0.0
        monkeypatch.setattr(scorer, "deploy", self._deploy)
        monkeypatch.setattr(scorer, "undeploy", self.on_serve.discard)
        monkeypatch.setattr(scorer, "deployed_versions", lambda: sorted(self.on_serve))
        self.follower = ChampionFollower(
            HearthConfig(data_dir=tmp_path), self.told.append, monotonic_s=lambda: self.now_s, soon=lambda job: job()
        )
        self.follower._plan = corner()
        if starts_without:
            monkeypatch.setattr(champions, "CHOICE_S_MAX", 0.0)
            assert self.follower.in_force.missing
        self.follower._choose_first()
        self.follower._use_model = lambda model: self.used.append((model.version, bool(model.app_name)))

    def _deploy(self, folder: Path, *, served_as: str = "", **_: object) -> str:
        if self.serve_fails:
            raise RuntimeError("no replica starts")
        self.on_serve.add(served_as)
        return scorer.app_name(served_as)

    @property
    def trouble(self) -> str:
        return str(self.follower.report()["trouble"])


def test_a_restart_has_the_champion_before_serve_runs_it_and_then_puts_it_there(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    set_alias(registry, NAME, "champion", "v1")
    it = World(tmp_path, monkeypatch)
    assert (it.follower._in_force.version, it.follower._in_force.app_name) == ("v1", "")
    it.follower.look()
    assert it.used == [("v1", True)]
    assert it.told == [{"model": "v1"}]
    it.follower.look()
    assert len(it.used) == 1

    set_alias(registry, NAME, "champion", "v2")
    it.follower.look()
    # In the shards at once, on Serve as soon as it is there; only then the other leaves it.
    assert it.used[1:] == [("v2", False), ("v2", True)]
    assert it.on_serve == {"v2"}
    assert recall(tmp_path) == "v2"

    set_alias(registry, NAME, "champion", None)
    it.follower.look()
    assert it.used[3:] == [("", False)]
    assert (it.on_serve, it.told[-1], recall(tmp_path)) == (set(), {"model": ""}, "")


def test_a_registry_that_breaks_is_said_once_and_changes_nothing_until_it_is_mended(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: Any
):
    set_alias(registry, NAME, "champion", "v1")
    it = World(tmp_path, monkeypatch)
    it.follower.look()
    write_aliases(registry, "{")
    for _ in range(3):
        it.follower.look()
        it.now_s += 60
    assert it.used == [("v1", True)]
    assert "v1 stays in service" in it.trouble
    assert capsys.readouterr().err.count("aliases.json") == 1
    assert caplog.text.count("aliases.json") == 1

    write_aliases(registry, '{"champion": "v2"}')
    it.follower.look()
    assert (it.used[-1], it.trouble) == (("v2", True), "")


def test_a_champion_that_was_refused_is_looked_at_again_when_it_changes_or_after_a_while(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    set_alias(registry, NAME, "champion", "v1")
    whole = (registry / NAME / "v1" / "model.ubj").read_bytes()
    damage(registry, "v1")
    it = World(tmp_path, monkeypatch)
    assert it.follower._in_force.missing
    assert it.follower.report()["is_missing"]
    proofs: list[str] = []
    proven = choosing.proven
    monkeypatch.setattr(choosing, "proven", lambda *those: (proofs.append(those[0].name), proven(*those))[1])
    it.follower.look()
    it.follower.look()
    assert proofs == ["v1"]
    it.now_s += 31
    it.follower.look()
    assert proofs == ["v1"] * 2
    (registry / NAME / "v1" / "model.ubj").write_bytes(whole)
    it.follower.look()
    assert (it.used[-1], it.trouble, it.follower._in_force.missing) == (("v1", True), "", "")


def test_a_model_that_serve_cannot_run_is_in_force_in_the_shards_and_said(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    it = World(tmp_path, monkeypatch)
    assert it.follower._in_force == PRIORS_IN_FORCE
    it.serve_fails = True
    set_alias(registry, NAME, "champion", "v1")
    it.follower.look()
    assert it.used == [("v1", False)]
    assert "model v1 is not on Serve, shards score by themselves: no replica starts" in it.trouble
    it.serve_fails = False
    it.now_s += 31
    it.follower.look()
    assert (it.used[-1], it.trouble) == (("v1", True), "")


@pytest.mark.parametrize("champion", ["v1", None])
def test_shards_are_told_of_a_choice_that_the_start_did_not_wait_for(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, champion: str | None
):
    set_alias(registry, NAME, "champion", champion)
    it = World(tmp_path, monkeypatch, starts_without=True)
    it.serve_fails = True
    it.follower.look()
    it.follower.look()
    assert it.used == [(champion or "", False)]


# --- beside the champion ----------------------------------------------------------------------------------------------


def beside(model: ModelInForce) -> list[tuple[str, str, float, bool]]:
    return [(one.model.version, str(one.stage), one.share, bool(one.model.app_name)) for one in model.beside]


def test_canary_and_shadows_are_proven_and_one_that_cannot_be_served_is_left_out_and_said(registry: Path):
    promote(registry, NAME, "v1", by=By(time="t"), is_forced=True)
    rollout.canary(registry, NAME, "v2", 0.2, by=By(time="t"), is_forced=True)
    choice = choose(registry, corner, in_service=None, remembered=None)
    assert (choice.model.version, beside(choice.model), choice.trouble) == ("v1", [("v2", "canary", 0.2, False)], "")
    damage(registry, "v2")
    # What is in service was proven, and a file that rots on the disk is none of its business.
    assert choose(registry, corner, in_service=choice.model, remembered=None) == choice
    left_out = choose(registry, corner, in_service=None, remembered=None)
    assert (left_out.model.version, left_out.model.beside) == ("v1", ())
    assert "the canary v2 cannot be served, and is left out" in left_out.trouble


def test_a_canary_may_stand_beside_the_priors(registry: Path):
    rollout.canary(registry, NAME, "v2", 0.2, by=By(time="t"), is_forced=True)
    model = choose(registry, corner, in_service=None, remembered=None).model
    assert (model.version, beside(model), model.is_priors) == ("", [("v2", "canary", 0.2, False)], False)


def test_a_canary_is_on_serve_before_it_is_asked_and_off_it_once_nobody_asks(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    by = By(time="t")
    set_alias(registry, NAME, "champion", "v1")
    it = World(tmp_path, monkeypatch)
    jobs: list[Any] = []
    it.follower._plane = ServedVersions(jobs.append)
    told: list[ModelInForce] = []
    it.follower._use_model = told.append

    def serve_does_its_jobs() -> None:
        while jobs:
            jobs.pop(0)()

    it.follower.look()
    serve_does_its_jobs()
    it.follower.look()
    rollout.canary(registry, NAME, "v2", 0.2, by=by, is_forced=True)
    it.follower.look()
    assert [beside(model) for model in told] == [[]], "Serve does not run it yet"
    serve_does_its_jobs()
    it.follower.look()
    assert beside(told[-1]) == [("v2", "canary", 0.2, True)]
    assert it.on_serve == {"v1", "v2"}
    # A larger share is in force at once, and so is a rollback, whatever Serve does.
    rollout.canary(registry, NAME, "v2", 0.7, by=by)
    it.follower.look()
    assert beside(told[-1]) == [("v2", "canary", 0.7, True)]
    rollout.roll_back(registry, NAME, by=by)
    it.follower.look()
    assert (told[-1].version, beside(told[-1])) == ("v1", [])
    serve_does_its_jobs()
    assert it.on_serve == {"v1"}
    # A shadow asks nothing of Serve.
    rollout.shadow(registry, NAME, "v2", by=by)
    it.follower.look()
    serve_does_its_jobs()
    assert (beside(told[-1]), it.on_serve) == ([("v2", "shadow", 0.0, False)], {"v1"})


def test_a_rollback_waits_for_nothing_that_serve_is_still_asked(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    by = By(time="t")
    promote(registry, NAME, "v1", by=by, is_forced=True)
    it = World(tmp_path, monkeypatch)
    it.follower._plane = ServedVersions(lambda job: None)  # never comes to anything
    it.follower.look()
    promote(registry, NAME, "v2", by=by, is_forced=True)
    it.follower.look()
    assert it.used[-1] == ("v2", False)
    rollout.roll_back(registry, NAME, by=by)
    it.follower.look()
    assert it.used[-1] == ("v1", False)


def test_after_a_restart_a_canary_decides_for_its_households_before_serve_runs_it(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    promote(registry, NAME, "v1", by=By(time="t"), is_forced=True)
    rollout.canary(registry, NAME, "v2", 0.2, by=By(time="t"), is_forced=True)
    it = World(tmp_path, monkeypatch)
    assert beside(it.follower._in_force) == [("v2", "canary", 0.2, False)]
    it.serve_fails = True
    it.follower.look()
    assert beside(it.follower._in_force) == [("v2", "canary", 0.2, False)]
    assert "model v2 is not on Serve" in it.trouble
    assert it.follower.report()["beside"] == [{"version": "v2", "stage": "canary", "share": 0.2, "is_on_serve": False}]


# --- models of other terms -------------------------------------------------------------------------------------------

NAMING = corner(("families: [mobile", "models: {uplift: spring, churn: leavers}\nfamilies: [mobile"))


@pytest.fixture
def terms(registry: Path) -> Path:
    """A registry with a model of acceptance, one of uplift and one of churn, each with a version `v1`."""
    for name, term, way in (("spring", ValueTerm.UPLIFT, probe.DIFFERENCE), ("leavers", ValueTerm.CHURN, probe.ONE)):
        names = SCHEMA.names_for(term)
        draft = replace(make_draft(columns=len(names), names=names), feature_schema_hash=SCHEMA.hash, term=term.value)
        if way != probe.ONE:
            draft = replace(draft, model=probe.together(way, [draft.model] * 2))
        for version in ("v1", "v2"):
            save_bundle(registry, name, draft, created="now", version=version)
            promote(registry, name, version, by=By(time="t"), is_forced=True)
    promote(registry, NAME, "v1", by=By(time="t"), is_forced=True)
    return registry


def of_terms(model: ModelInForce) -> dict[str, tuple[str, str]]:
    return {str(one.term): (one.served_as, one.missing) for one in model.terms}


def test_each_model_that_the_playbook_names_is_chosen_for_its_term_alone(terms: Path):
    choice = choose(terms, lambda: NAMING, in_service=None, remembered=None)
    assert (choice.model.version, choice.trouble) == ("v1", "")
    assert of_terms(choice.model) == {"uplift": ("spring@v2", ""), "churn": ("leavers@v2", "")}
    assert [one.columns for one in choice.model.terms] == [SCHEMA.names, SCHEMA.names[: len(SCHEMA.scored)]]
    # One that names none is served by acceptance alone; one whose models nobody has promoted, by the playbook.
    assert choose(terms, corner, in_service=choice.model, remembered=None).model.terms == ()
    rollout.roll_back(terms, "spring", by=By(time="t"))
    assert of_terms(choose(terms, lambda: NAMING, in_service=choice.model, remembered=None).model) == {
        "uplift": ("spring@v1", ""),
        "churn": ("leavers@v2", ""),
    }
    set_alias(terms, "spring", "champion", None)
    assert list(of_terms(choose(terms, lambda: NAMING, in_service=None, remembered=None).model)) == ["churn"]


def test_what_gives_another_term_than_it_is_named_for_is_refused(terms: Path):
    crossed = corner(("families: [mobile", "models: {uplift: leavers, churn: spring}\nfamilies: [mobile"))
    choice = choose(terms, lambda: crossed, in_service=None, remembered=None)
    assert choice.model.version == "v1"
    assert {term: bool(missing) for term, (_, missing) in of_terms(choice.model).items()} == {
        "uplift": True,
        "churn": True,
    }
    assert "gives churn, and is to give uplift" in choice.trouble
    assert "gives uplift, and is to give churn" in choice.trouble


def test_a_model_that_breaks_costs_its_term_alone_and_what_served_it_stays(terms: Path):
    before = choose(terms, lambda: NAMING, in_service=None, remembered=None).model
    (terms / "spring" / "v2" / "control.ubj").write_bytes(b"nonsense")
    # What is in service has been proven and stays; a start falls back to nothing else than what was promoted.
    assert choose(terms, lambda: NAMING, in_service=before, remembered=None).model == before
    started = choose(terms, lambda: NAMING, in_service=None, remembered=None)
    assert started.model.version == "v1"
    assert started.trouble.startswith("uplift: the champion v2 cannot be served")
    told = of_terms(started.model)
    assert ("control.ubj" in told["uplift"][1], told["churn"]) == (True, ("leavers@v2", ""))
    # Mended, or rolled back, it is in force again.
    rollout.roll_back(terms, "spring", by=By(time="t"))
    mended = choose(terms, lambda: NAMING, in_service=started.model, remembered=None)
    assert (of_terms(mended.model)["uplift"], mended.trouble) == (("spring@v1", ""), "")


def test_the_models_of_all_terms_are_on_serve_and_off_it_apart(
    terms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    it = World(tmp_path, monkeypatch)
    it.follower._plan = NAMING
    told: list[ModelInForce] = []
    it.follower._use_model = told.append
    it.follower.look()
    assert it.on_serve == {"v1", "spring@v2", "leavers@v2"}
    assert [(one.served_as, one.app_name) for one in told[-1].terms] == [
        ("spring@v2", "model-spring@v2"),
        ("leavers@v2", "model-leavers@v2"),
    ]
    rollout.roll_back(terms, "spring", by=By(time="t"))
    it.follower.look()
    assert it.on_serve == {"v1", "spring@v1", "leavers@v2"}
    reported = it.follower.report()["terms"]
    assert reported == [
        {"term": "uplift", "name": "spring", "version": "v1", "is_on_serve": True, "is_missing": False},
        {"term": "churn", "name": "leavers", "version": "v2", "is_on_serve": True, "is_missing": False},
    ]
