"""Laws: a dead GCS is started again on its port, a dead raylet ends the run, and neither while Ray is being stopped; a
Ray whose node object is another than the known one is refused with what is missing.
"""

import queue
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.ray_node import GCS, RAYLET, NodeKeeper, RayChanged, ray_environment

pytestmark = pytest.mark.timeout(30)

PORT = 6_379


class FakeNode:
    """What the keeper uses of Ray's node, with processes that only sleep."""

    def __init__(self) -> None:
        self._gcs_address: str | None = "127.0.0.1:6379"
        self._gcs_client: object | None = object()
        self._ray_params = SimpleNamespace(gcs_server_port=PORT)
        self.all_processes: dict[str, list[Any]] = {GCS: [_sleeper()], RAYLET: [_sleeper()]}
        self.started: queue.Queue[int] = queue.Queue()

    def start_gcs_server(self) -> None:
        # As Ray's own does.
        assert self._gcs_address is None
        assert self._gcs_client is None
        assert GCS not in self.all_processes
        self.all_processes[GCS] = [_sleeper()]
        self.started.put(self._ray_params.gcs_server_port)

    def kill(self, name: str) -> None:
        self.all_processes[name][0].process.kill()


def _sleeper() -> SimpleNamespace:
    return SimpleNamespace(process=subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))


@pytest.fixture
def node() -> Iterator[FakeNode]:
    one = FakeNode()
    processes = [kept[0].process for kept in one.all_processes.values()]
    try:
        yield one
    finally:
        for process in [*processes, *(kept[0].process for kept in one.all_processes.values())]:
            process.kill()
            process.wait()


def keep(node: FakeNode) -> tuple[NodeKeeper, "queue.Queue[str]"]:
    lost: queue.Queue[str] = queue.Queue()
    keeper = NodeKeeper(node, lost.put)
    keeper.start()
    return keeper, lost


def test_a_dead_gcs_is_started_again_on_its_port_each_time(node: FakeNode):
    keeper, lost = keep(node)
    try:
        for _ in range(2):
            node.kill(GCS)
            assert node.started.get(timeout=5) == PORT
        assert lost.empty()
    finally:
        keeper.stand_down()


def test_a_dead_raylet_is_told_once_and_ends_the_watch(node: FakeNode):
    keeper, lost = keep(node)
    try:
        node.kill(RAYLET)
        assert "raylet ended with code -9" in lost.get(timeout=5)
        node.kill(GCS)
        with pytest.raises(queue.Empty):
            node.started.get(timeout=0.6)
    finally:
        keeper.stand_down()


def test_a_gcs_that_does_not_start_is_told(node: FakeNode, monkeypatch: pytest.MonkeyPatch):
    def refuse() -> None:
        raise OSError("no space left")

    monkeypatch.setattr(node, "start_gcs_server", refuse)
    keeper, lost = keep(node)
    try:
        node.kill(GCS)
        assert "cannot be started again: no space left" in lost.get(timeout=5)
    finally:
        keeper.stand_down()


def test_while_ray_is_being_stopped_nothing_is_restarted_or_told(node: FakeNode):
    keeper, lost = keep(node)
    keeper.stand_down()
    node.kill(GCS)
    node.kill(RAYLET)

    with pytest.raises(queue.Empty):
        lost.get(timeout=0.6)
    assert node.started.empty()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda node: delattr(node, "all_processes"), "no all_processes"),
        (lambda node: node.all_processes.pop(GCS), "no gcs_server process"),
        (lambda node: node.all_processes.update({RAYLET: [object()]}), "no raylet process"),
        (lambda node: delattr(node, "_gcs_client"), "no _gcs_client"),
        (lambda node: setattr(node._ray_params, "gcs_server_port", None), "the port of its GCS is None"),
    ],
)
def test_a_ray_that_has_changed_is_refused_with_what_is_missing(node: FakeNode, spoil: Any, told: str):
    sleepers = [kept[0].process for kept in node.all_processes.values()]
    try:
        spoil(node)
        with pytest.raises(RayChanged, match=rf"cannot be kept going: .*{told}; Hearth knows Ray 2.60"):
            NodeKeeper(node, print)
    finally:
        for process in sleepers:
            process.kill()
            process.wait()
        node.all_processes = {}


def test_the_tables_of_the_gcs_belong_to_one_run(tmp_path):
    settings = ray_environment(tmp_path)

    assert settings["RAY_gcs_storage"] == "rocksdb"
    assert settings["RAY_gcs_storage_path"].startswith(str(tmp_path))
