"""Following another registry by its aliases.

Laws: an alias that moves is acted on once, and one that stays never; what was rolled back here stays so until it moves,
also for a follower made anew; what is refused leaves in service what is, and is tried again only under another playbook
or when the alias moves; a source that fails changes nothing.
"""

import base64
import doctest
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.commands.following import is_signed, webhook_of
from cluster.errors import UsageWrong
from household.plan import ValueTerm
from household.scoring import feature_schema
from serving.models import bundle as bundles
from serving.models import following, mlflow_source
from serving.models.adoption import Origin, adopt
from serving.models.bundle import BundleDraft, BundleRefused, read_manifest
from serving.models.following import FOLLOWED_FILE, Follower, Pointed, SourceFailed
from serving.models.history import By, read_history
from serving.models.in_force import MODEL_NAME, ModelStage
from serving.models.mlflow_source import booster_of
from serving.models.registry import read_stages
from serving.models.rollout import promote, roll_back
from tests.actors.harness import corner
from tests.serving.test_adoption import SCHEMA, saved

CHAMPION, CANARY, SHADOW = ModelStage.CHAMPION, ModelStage.CANARY, ModelStage.SHADOW
BY = By(time="t")
MODEL = saved(names=list(SCHEMA.names))
ADOPTED: dict[bytes, BundleDraft] = {}


class Elsewhere:
    """A registry that says what a test has it say."""

    def __init__(self) -> None:
        self.aliases: dict[ModelStage, Pointed] = {}
        self.files: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.fails = ""
        self.missing: set[str] = set()

    def pointed(self) -> Mapping[ModelStage, Pointed]:
        if self.fails:
            raise SourceFailed(self.fails)
        return dict(self.aliases)

    def fetch(self, number: str, into: Path) -> Path:
        if number in self.missing:
            raise SourceFailed(f"{number} is missing")
        self.fetched.append(number)
        file = into / "model.ubj"
        file.write_bytes(self.files.get(number, MODEL))
        return file

    def point(self, alias: ModelStage, number: str, *, share: float | None = None, run: str = "") -> None:
        self.aliases[alias] = Pointed(number=number, share=share, origin=Origin(made_of=run or f"run {number}"))


def adopted(file: Path, *, origin: Origin, **known: Any) -> BundleDraft:
    """Take in a model: really the first time, and whenever it is not the sound one for acceptance."""
    content = file.read_bytes()
    if content not in ADOPTED or content != MODEL or known["term"] is not ValueTerm.ACCEPTANCE:
        ADOPTED[content] = adopt(file, origin=origin, **known)
    facts = {**ADOPTED[content].training, "made_of": origin.made_of}  # type: ignore[dict-item]
    return replace(ADOPTED[content], training=facts)


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # A process of its own for each sound model would cost a second each; test_adoption.py has it.
    monkeypatch.setattr(bundles, "_probe", lambda *_: None)
    monkeypatch.setattr(following, "adopt", adopted)
    (tmp_path / MODEL_NAME).mkdir()
    return tmp_path


def follower(elsewhere: Elsewhere, registry: Path) -> Follower:
    return Follower(
        source=elsewhere,
        name="mlflow",
        registry=registry,
        plan=corner,
        by=lambda why: By(time="t", who="x", why=why),
        usual_share=0.05,
    )


def stages(registry: Path) -> tuple[str, str, float, tuple[str, ...]]:
    now = read_stages(registry, MODEL_NAME)
    return now.champion, now.canary, now.share, now.shadows


def test_an_alias_that_moves_is_acted_on_once(elsewhere: Elsewhere, registry: Path):
    follower_here = follower(elsewhere, registry)
    assert follower_here.look() == []
    elsewhere.point(SHADOW, "1")
    assert follower_here.look() == ["mlflow-1 is in shadow"]
    assert follower_here.look() == []
    elsewhere.point(CANARY, "1")
    del elsewhere.aliases[SHADOW]
    assert follower_here.look() == [
        "mlflow-1 is canary for 5 % of the households",
        "shadow names nothing any more; mlflow-1 is not shadow here either",
    ]
    elsewhere.point(CANARY, "1", share=0.5)
    assert follower_here.look() == ["mlflow-1 is canary for 50 % of the households"]
    elsewhere.point(CHAMPION, "1")
    assert follower_here.look() == ["mlflow-1 is champion; before it was none: the priors of the playbook"]
    assert follower_here.look() == []
    elsewhere.point(CHAMPION, "2")
    elsewhere.point(SHADOW, "3")
    follower_here.look()
    assert stages(registry) == ("mlflow-2", "", 0.0, ("mlflow-3",))
    elsewhere.point(CHAMPION, "1")
    elsewhere.point(SHADOW, "2")
    assert follower(elsewhere, registry).look() == [
        "mlflow-1 is champion; before it was mlflow-2",
        "mlflow-2 is in shadow",
    ]
    assert stages(registry) == ("mlflow-1", "", 0.0, ("mlflow-2",))
    assert elsewhere.fetched == ["1", "2", "3"]
    assert {change.why for change in read_history(registry, MODEL_NAME)} > {"champion of mlflow", "shadow of mlflow"}


def test_the_next_canary_takes_the_place_of_the_one_the_alias_left(elsewhere: Elsewhere, registry: Path):
    follower_here = follower(elsewhere, registry)
    elsewhere.point(CANARY, "1", share=0.5)
    follower_here.look()
    elsewhere.point(CANARY, "2", share=0.1)
    assert follower_here.look() == ["mlflow-2 is canary for 10 % of the households"]
    elsewhere.point(CANARY, "2", share=0.05)
    (refused,) = follower_here.look()
    assert "refused" in refused
    assert "would move some of them back" in refused
    assert follower_here.look() == []
    del elsewhere.aliases[CANARY]
    assert follower_here.look() == ["mlflow-2 is canary no more"]
    assert stages(registry) == ("", "", 0.0, ())


def test_what_was_rolled_back_here_stays_so_until_the_alias_moves(elsewhere: Elsewhere, registry: Path):
    follower_here = follower(elsewhere, registry)
    for number in ("1", "2"):
        elsewhere.point(CHAMPION, number)
        follower_here.look()
    roll_back(registry, MODEL_NAME, by=BY)
    assert follower_here.look() == []
    assert follower(elsewhere, registry).look() == []
    assert stages(registry)[0] == "mlflow-1"
    elsewhere.point(CHAMPION, "3")
    assert follower_here.look() == ["mlflow-3 is champion; before it was mlflow-1"]


def test_a_model_of_another_term_comes_into_its_own_folder(elsewhere: Elsewhere, registry: Path):
    columns = SCHEMA.names_for(ValueTerm.CHURN)
    elsewhere.files["1"] = saved(names=list(columns), columns=len(columns))
    elsewhere.point(CHAMPION, "1")
    elsewhere.point(SHADOW, "2")
    follower_here = replace(follower(elsewhere, registry), model="leavers", term=ValueTerm.CHURN)
    told = follower_here.look()
    assert told[0] == "mlflow-1 is champion; before it was none: the priors of the playbook"
    # It sees what acceptance sees.
    assert "shadow 2: refused, what is in service stays" in told[1]
    assert f"has {len(SCHEMA.names)} columns" in told[1]
    assert read_manifest(registry / "leavers" / "mlflow-1").term == "churn"
    assert read_stages(registry, "leavers").champion == "mlflow-1"
    assert stages(registry)[0] == ""


def test_a_champion_that_nothing_follows_any_more_stays(elsewhere: Elsewhere, registry: Path):
    follower_here = follower(elsewhere, registry)
    elsewhere.point(CHAMPION, "1")
    follower_here.look()
    elsewhere.aliases.clear()
    assert follower_here.look() == ["champion names nothing any more; mlflow-1 stays champion until it names another"]
    assert follower_here.look() == []
    assert stages(registry)[0] == "mlflow-1"


def test_what_cannot_be_served_is_refused_once_and_what_is_in_service_stays(elsewhere: Elsewhere, registry: Path):
    follower_here = follower(elsewhere, registry)
    elsewhere.point(CHAMPION, "1")
    follower_here.look()
    elsewhere.files["2"] = b"\x80\x04pickle"
    elsewhere.point(CHAMPION, "2")
    elsewhere.point(SHADOW, "3")
    told = follower_here.look()
    assert "champion 2: refused, what is in service stays" in told[0]
    assert "pickle" in told[0]
    assert told[1:] == ["mlflow-3 is in shadow"]
    assert follower_here.look() == []
    assert stages(registry) == ("mlflow-1", "", 0.0, ("mlflow-3",))
    assert elsewhere.fetched == ["1", "2", "3"]
    elsewhere.point(CHAMPION, "4")
    assert follower_here.look() == ["mlflow-4 is champion; before it was mlflow-1"]


def test_another_model_under_a_known_number_is_refused(elsewhere: Elsewhere, registry: Path):
    elsewhere.point(CHAMPION, "1", run="first")
    follower(elsewhere, registry).look()
    elsewhere.point(SHADOW, "1", run="second")
    (told,) = follower(elsewhere, registry).look()
    assert "of first, and now of second" in told
    assert read_manifest(registry / MODEL_NAME / "mlflow-1").training["made_of"] == "first"
    assert read_manifest(registry / MODEL_NAME / "mlflow-1").feature_schema_hash == feature_schema(corner()).hash


def test_a_tag_that_cannot_be_read_costs_its_alias_only(elsewhere: Elsewhere, registry: Path):
    elsewhere.aliases[CANARY] = Pointed(number="2", origin=Origin(), wrong="the tag is some")
    elsewhere.point(CHAMPION, "1")
    told = follower(elsewhere, registry).look()
    assert told[0] == "mlflow-1 is champion; before it was none: the priors of the playbook"
    assert told[1] == "canary 2: refused, what is in service stays: the tag is some"


def test_a_source_that_fails_changes_nothing(elsewhere: Elsewhere, registry: Path):
    follower_here = follower(elsewhere, registry)
    elsewhere.point(CHAMPION, "1")
    follower_here.look()
    elsewhere.fails = "gone"
    with pytest.raises(SourceFailed):
        follower_here.look()
    elsewhere.fails = ""
    assert follower_here.look() == []
    assert stages(registry)[0] == "mlflow-1"


def test_what_cannot_be_fetched_yet_is_tried_again_and_keeps_nobody_waiting(elsewhere: Elsewhere, registry: Path):
    follower_here = follower(elsewhere, registry)
    elsewhere.missing = {"1"}
    elsewhere.point(CHAMPION, "1")
    elsewhere.point(SHADOW, "2")
    assert follower_here.look() == ["champion: 1 is missing; what is in service stays", "mlflow-2 is in shadow"]
    assert follower_here.look() == []
    elsewhere.missing = set()
    assert follower_here.look() == ["mlflow-1 is champion; before it was none: the priors of the playbook"]


def test_a_promotion_by_hand_is_left_alone(elsewhere: Elsewhere, registry: Path):
    follower_here = follower(elsewhere, registry)
    for number in ("1", "2"):
        elsewhere.point(CHAMPION, number)
        follower_here.look()
    promote(registry, MODEL_NAME, "mlflow-1", by=BY, is_forced=False)
    assert follower_here.look() == []


@pytest.mark.parametrize("content", ["{", "[]", '{"mlflow": 3}'])
def test_what_was_followed_is_not_guessed(elsewhere: Elsewhere, registry: Path, content: str):
    (registry / MODEL_NAME / FOLLOWED_FILE).write_text(content)
    elsewhere.point(CHAMPION, "1")
    with pytest.raises(BundleRefused, match=FOLLOWED_FILE):
        follower(elsewhere, registry).look()
    assert stages(registry)[0] == ""


def test_others_that_are_followed_are_kept(elsewhere: Elsewhere, registry: Path):
    file = registry / MODEL_NAME / FOLLOWED_FILE
    file.write_text(json.dumps({"other": {"champion": "7"}}))
    elsewhere.point(CHAMPION, "1")
    follower(elsewhere, registry).look()
    assert json.loads(file.read_text()) == {"mlflow": {"champion": "1"}, "other": {"champion": "7"}}


# --- MLflow's own words ---------------------------------------------------------------------------------------------


def test_the_examples_run():
    assert doctest.testmod(mlflow_source).failed == 0


@pytest.mark.parametrize(
    ("description", "told"),
    [
        (b"flavors:\n  python_function: {loader_module: mlflow.sklearn}\n", "nothing else is ever opened"),
        (b"flavors: {xgboost: {data: ../../etc/passwd}}", "lies elsewhere"),
        (b"flavors: {xgboost: {data: /etc/passwd}}", "lies elsewhere"),
        (b"flavors: {xgboost: {}}", "no description"),
        (b"flavors: [xgboost", "no description"),
        (b"", "no description"),
        (b"\xff\xfe\x00", "no description"),
        (b"!!python/object/apply:os.system ['true']", "no description"),
    ],
)
def test_a_model_whose_booster_cannot_be_told_is_refused(description: bytes, told: str):
    with pytest.raises(BundleRefused, match=told):
        booster_of(description, Path("MLmodel"))


def test_a_booster_is_where_its_description_says():
    assert booster_of(b"flavors: {xgboost: {data: model.ubj}}", Path("MLmodel")) == "model.ubj"


SECRET = b"a secret of sixteen and more"


def signed(body: bytes, *, time: str = "1000", delivery: str = "d", secret: bytes = SECRET) -> dict[str, str]:
    digest = hmac.digest(secret, f"{delivery}.{time}.".encode() + body, "sha256")
    return {
        "X-MLflow-Signature": "v1," + base64.b64encode(digest).decode(),
        "X-MLflow-Timestamp": time,
        "X-MLflow-Delivery-Id": delivery,
    }


def test_only_what_mlflow_signed_lately_is_heard():
    assert is_signed(signed(b"{}"), b"{}", SECRET, 1000.0)
    assert is_signed(signed(b"{}"), b"{}", SECRET, 1300.0)
    assert not is_signed(signed(b"{}"), b"{}", SECRET, 1301.0)
    assert not is_signed(signed(b"{}"), b"{}", SECRET, 699.0)
    assert not is_signed(signed(b"{}"), b"{ }", SECRET, 1000.0)
    assert not is_signed(signed(b"{}", secret=b"another of sixteen bytes"), b"{}", SECRET, 1000.0)
    assert not is_signed(signed(b"{}") | {"X-MLflow-Delivery-Id": "e"}, b"{}", SECRET, 1000.0)
    assert not is_signed(signed(b"{}") | {"X-MLflow-Timestamp": "1001"}, b"{}", SECRET, 1000.0)
    for name in signed(b"{}"):
        assert not is_signed({key: value for key, value in signed(b"{}").items() if key != name}, b"{}", SECRET, 1000.0)
    for time in ("", "1e3", "-1", "9" * 400, "١"):
        assert not is_signed(signed(b"{}", time=time), b"{}", SECRET, 1000.0)


@pytest.mark.parametrize(
    ("place", "secret", "told"),
    [
        ("8080", "s", "HOST:PORT"),
        ("host:", "s", "HOST:PORT"),
        ("host:99999", "s", "HOST:PORT"),
        ("127.0.0.1:8080", None, "--webhook-secret"),
        ("0.0.0.0:8080", "s", "--webhook-certificate"),
    ],
)
def test_a_place_for_webhooks_is_safe_or_refused(place: str, secret: str | None, told: str):
    with pytest.raises(UsageWrong, match=told):
        webhook_of(place, secret=Path(secret) if secret else None, certificate=None, key=None)


@pytest.mark.parametrize("address", ["here", "mlflow-at-home:5000"])
def test_what_is_no_address_of_a_server_is_told(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(SourceFailed):
        mlflow_source.MlflowSource(address, "acceptance").pointed()
