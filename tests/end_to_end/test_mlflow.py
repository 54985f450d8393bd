"""A real MLflow and a real Hearth: who moves an alias there has the version decide here.

Laws: a moved alias is in force within 10 s, asked for or told of by a webhook; a server that is gone changes nothing,
and is said to be gone; what has no booster of XGBoost is refused there and stays out here; a report is put beside the
run that it tells of.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from hearth.v1 import decision_pb2
from household.scoring import feature_schema
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from tests.end_to_end.hearth_process import Hearth, command, running
from tests.end_to_end.test_up import MEMBER, Client, a_signal
from tests.parts.mlflow_server import MlflowServer, mlflow_server

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(900)]

NAME = "acceptance"
IN_FORCE_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as one:
        yield one


@pytest.fixture(scope="module")
def models(mlflow: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three versions: two boosters, and one that only Python could open."""
    from mlflow import MlflowClient

    client = MlflowClient(mlflow.uri, mlflow.uri)
    client.create_registered_model(NAME)
    run = client.create_run(client.create_experiment("hearth")).info.run_id
    names = list(feature_schema(compile_playbook(SHIPPED_PLAYBOOK)).names)
    rows = np.random.default_rng(1).normal(size=(200, len(names))).astype(np.float32)
    for number, flavour in enumerate(("xgboost", "xgboost", "python_function"), 1):
        folder = tmp_path_factory.mktemp("model")
        label = (rows[:, number] > 0.3).astype(np.float32)
        learned = xgboost.DMatrix(rows, label, feature_names=names)
        xgboost.train({"objective": "binary:logistic", "nthread": 1}, learned, 3).save_model(folder / "model.ubj")
        (folder / "MLmodel").write_text(json.dumps({"flavors": {flavour: {"data": "model.ubj"}}}))
        client.log_artifacts(run, str(folder), f"model-{number}")
        client.create_model_version(NAME, f"runs:/{run}/model-{number}", run)
    return client


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    with running(tmp_path_factory.mktemp("followed") / "data", "--shards", "1") as one:
        yield one


@contextmanager
def following(mlflow: MlflowServer, hearth: Hearth, *options: str) -> Iterator["Told"]:
    """Follow, and hold what is told."""
    arguments = ["models", "follow", "--mlflow", mlflow.uri, "--model", NAME, "--data-dir", str(hearth.data_dir)]
    said = hearth.data_dir.parent / "follow.log"
    with said.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cluster.cli", *arguments, *options], stdout=log, stderr=log, text=True
        )
    try:
        until(lambda: "following" in said.read_text(), within_s=30)
        yield Told(said)
    finally:
        process.terminate()
        process.wait(20)
        assert "Traceback" not in said.read_text(), said.read_text()


class Told:
    """What was told so far."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def has(self, text: str) -> bool:
        return text in self._file.read_text()


def until(holds: Any, *, within_s: float) -> float:
    """Return the seconds until something holds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        time.sleep(0.1)
    return time.monotonic() - began


class Asking:
    """Members who come to the app for the first time, one after another: a slate that stands keeps its model."""

    def __init__(self, hearth: Hearth) -> None:
        self._client = Client(hearth.address)
        self._count = 0

    def model(self) -> str:
        """Return the version that decides now: of whom nothing is withheld, so that something was weighed."""
        while True:
            self._count += 1
            household = f"household-{time.monotonic_ns()}-{self._count}"
            answer = self._visit(household)
            if answer.HasField("action"):
                return str(answer.model_version)
            assert self._count < 1_000, "nobody is offered anything"

    def _visit(self, household: str) -> decision_pb2.DecideResponse:
        now_us = time.time_ns() // 1_000
        signals = [
            a_signal("billing.profile_updated", now_us - 2, line_type="prepaid"),
            a_signal("app.consent_changed", now_us - 1, marketing=True),
            a_signal("app.session_started", now_us),
        ]
        for one in signals:
            one.household, one.event_id = household, f"{household}-{one.event_id}"
        request = decision_pb2.DecideRequest(
            request_id=household, household=household, member=MEMBER, channel="app", signals=signals
        )
        return self._client.decisions.Decide(request, timeout=10, wait_for_ready=True)


def test_a_moved_alias_is_in_force_within_ten_seconds(mlflow, models, hearth):
    asking = Asking(hearth)
    assert not asking.model().startswith("mlflow")
    with following(mlflow, hearth):
        for number in ("1", "2", "1"):
            models.set_registered_model_alias(NAME, "champion", number)
            took_s = until(lambda number=number: asking.model() == f"mlflow-{number}", within_s=IN_FORCE_WITHIN_S)
            print(f"champion -> {number}: in force after {took_s:.1f} s, asked every 2 s")


def test_a_webhook_saves_the_wait(mlflow, models, hearth, tmp_path):
    import socket

    from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent

    asking = Asking(hearth)
    secret = tmp_path / "secret"
    secret.write_text("not a secret, but long enough")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    models.create_webhook(
        "hearth",
        f"http://{place}/",
        [WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)],
        secret=secret.read_text(),
    )
    with following(mlflow, hearth, "--every", "600", "--webhook", place, "--webhook-secret", str(secret)):
        for number in ("2", "1"):
            models.set_registered_model_alias(NAME, "champion", number)
            took_s = until(lambda number=number: asking.model() == f"mlflow-{number}", within_s=IN_FORCE_WITHIN_S)
            print(f"champion -> {number}: in force after {took_s:.1f} s, told by a webhook")


def test_what_only_python_could_open_is_refused_and_what_decides_stays(mlflow, models, hearth):
    asking = Asking(hearth)
    with following(mlflow, hearth) as told:
        models.set_registered_model_alias(NAME, "champion", "3")
        until(lambda: told.has("nothing else is ever opened"), within_s=IN_FORCE_WITHIN_S)
        assert asking.model() == "mlflow-1"
        models.set_registered_model_alias(NAME, "champion", "1")


def test_the_report_of_a_version_lies_beside_the_run_that_it_came_from(mlflow, models, hearth, tmp_path):
    out, of_hearth = tmp_path / "mlflow-1.html", ("--data-dir", str(hearth.data_dir))
    run = models.get_model_version(NAME, "1").run_id
    told = command("models", "report", "mlflow-1", "--out", str(out), "--mlflow", mlflow.uri, "--json", *of_hearth)

    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["artifact"] == f"runs:/{run}/hearth/mlflow-1.html"
    (tmp_path / "kept").mkdir()
    kept = models.download_artifacts(run, "hearth/mlflow-1.html", str(tmp_path / "kept"))
    assert Path(kept).read_bytes() == out.read_bytes()
    nowhere = ("--out", str(out), "--mlflow", mlflow.uri, "--run", "0" * 32)
    elsewhere = command("models", "report", "mlflow-1", *nowhere, *of_hearth)
    assert (elsewhere.returncode, "is written, and" in elsewhere.stderr) == (1, True), elsewhere.stderr


def test_a_server_that_is_gone_changes_nothing_and_is_said_to_be(mlflow, models, hearth):
    asking = Asking(hearth)
    with following(mlflow, hearth) as told:
        mlflow.kill()
        until(lambda: told.has("nothing can be learned from MLflow"), within_s=30)
        assert asking.model() == "mlflow-1"
        mlflow.start()
        until(lambda: told.has("MLflow answers again"), within_s=30)
        models.set_registered_model_alias(NAME, "champion", "2")
        until(lambda: asking.model() == "mlflow-2", within_s=IN_FORCE_WITHIN_S)
