"""Laws: a run that fell is followed by another, on the same settings, once nothing is left of it; one that never became
ready is not; a stop is passed on and ends everything; restarts have a limit, and beyond it the command fails.
"""

import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.config import HearthConfig
from cluster.errors import CommandFailed
from cluster.restarts import TEMPORARY_FAILURE, RestartBudget, RestartPolicy
from cluster.supervisor import supervise

QUICK = RestartPolicy(count_max=2, window_s=600.0, pause_first_s=0.01, pause_s_max=0.01)

pytestmark = pytest.mark.timeout(60)


class Supervised:
    """What came of a script of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heard: list[dict[str, Any]] = []

    def follow(self, *script: list[Any]) -> int:
        (self.folder / "script.json").write_text(json.dumps(script))
        config = HearthConfig(data_dir=self.folder, port=7_123)
        return supervise(config, self.heard.append, policy=QUICK, runner_module="tests.cluster.fake_runner")

    @property
    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "runs").read_text().splitlines()]


@pytest.fixture
def supervised(tmp_path: Path) -> Supervised:
    return Supervised(tmp_path)


def test_a_run_that_fell_is_followed_by_another_on_the_same_settings(supervised: Supervised):
    code = supervised.follow(["ready", {"end": 75}], ["ready", {"end": -9}], ["ready", "stop", "serve"])

    assert code == 0
    assert [one["address"] for one in supervised.heard] == ["run 0", "run 1", "run 2"]
    assert {one["port"] for one in supervised.runs} == {7_123}
    assert len({one["run_dir"] for one in supervised.runs}) == 3
    assert not any(Path(one["run_dir"]).exists() for one in supervised.runs)


def test_nothing_of_a_fallen_run_is_left_when_the_next_begins(supervised: Supervised):
    assert supervised.follow(["ready", "orphan", {"end": -9}], ["alone", "ready", "stop", "serve"]) == 0
    assert len(supervised.heard) == 2


def test_a_first_run_that_was_never_ready_is_not_repeated(supervised: Supervised):
    assert supervised.follow([{"end": 2}]) == 2
    assert supervised.heard == []


def test_a_first_run_that_failed_for_a_while_only_is_repeated(supervised: Supervised):
    assert supervised.follow([{"end": TEMPORARY_FAILURE}], ["ready", "stop", "serve"]) == 0
    assert len(supervised.runs) == 2


def test_a_first_run_killed_while_it_started_is_told(supervised: Supervised):
    with pytest.raises(CommandFailed, match="was killed by SIGKILL while it started"):
        supervised.follow([{"end": -9}])


def test_a_later_run_that_was_never_ready_is_repeated(supervised: Supervised):
    assert supervised.follow(["ready", {"end": 75}], [{"end": 1}], ["ready", "stop", "serve"]) == 0
    assert len(supervised.runs) == 3


def test_beyond_the_limit_it_ends_saying_why(supervised: Supervised):
    with pytest.raises(CommandFailed, match="exit code 75; it fell 3 times within 10 minutes") as failed:
        supervised.follow(*[["ready", {"end": 75}]] * 4)

    assert failed.value.exit_code != 0
    assert len(supervised.runs) == 3


def test_a_stop_is_passed_on_and_waits_for_the_run_to_drain(supervised: Supervised):
    handler = signal.getsignal(signal.SIGTERM)

    assert supervised.follow(["ready", "orphan", "stop", "serve"]) == 0
    assert (supervised.folder / "drained").exists()
    assert not psutil.pid_exists(int((supervised.folder / "orphan").read_text()))
    assert not psutil.pid_exists(supervised.runs[0]["pid"])
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_run_that_was_told_to_end_by_someone_else_is_not_repeated(supervised: Supervised):
    assert supervised.follow(["ready", {"end": 0}]) == 0
    assert len(supervised.runs) == 1


def test_pauses_double_up_to_their_limit_and_old_restarts_are_forgotten():
    budget = RestartBudget(RestartPolicy(count_max=5, window_s=100.0, pause_first_s=1.0, pause_s_max=3.0))

    assert [budget.spend(now_s) for now_s in (0, 1, 2, 3, 4, 5)] == [0.0, 1.0, 2.0, 3.0, 3.0, None]
    assert budget.spend(99.9) is None
    assert budget.spend(100.0) == 3.0
    assert budget.spend(1_000.0) == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"count_max": 0},
        {"window_s": 0.0},
        {"pause_first_s": 0.0},
        {"pause_first_s": 2.0, "pause_s_max": 1.0},
        {"count_max": 60, "window_s": 600.0, "pause_s_max": 10.0},
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(wrong: dict[str, float]):
    with pytest.raises(AssertionError):
        RestartPolicy(**wrong)  # type: ignore[arg-type]
