"""Laws: a Ray that is started lean starts no process but GCS and raylet, with stand-ins for the raylet's agents that
say at once that they serve nothing and end with it; one that starts its agents otherwise is refused; after it, Ray is
as it was.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray._private import node, services

from cluster.lean_ray import AGENT_OPTIONS, LEFT_OUT, STAND_IN, lean_start
from cluster.ray_node import RayChanged, demand_known

RAYLET = [
    "raylet",
    "--dashboard_agent_command=/bin/python -u /site/ray/dashboard/agent.py --node-id=n --listen-port=0",
    "--runtime_env_agent_command=/bin/python -u /site/ray/_private/runtime_env/agent/main.py --node-id=n",
    "--head",
]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines of what would have been started."""
    commands: list[list[str]] = []
    monkeypatch.setattr(services, "start_ray_process", lambda command, *_, **__: commands.append(command))
    return commands


def test_a_raylet_is_given_stand_ins_for_its_agents(started: list[list[str]]):
    with lean_start(demand_known):
        services.start_ray_process(RAYLET, "raylet")
        services.start_ray_process(["gcs_server"], "gcs_server")

    raylet, gcs = started
    assert gcs == ["gcs_server"]
    assert (raylet[0], raylet[3]) == ("raylet", "--head")
    for option, command in zip(AGENT_OPTIONS, raylet[1:3], strict=True):
        assert command.startswith(f"{option}/bin/python -I -S {STAND_IN} --node-id=n")


def test_nothing_else_is_started_and_afterwards_ray_is_as_it_was(started: list[list[str]]):
    kept = {name: getattr(node.Node, name) for name in LEFT_OUT}

    class Bare(node.Node):
        def __init__(self) -> None:
            """As if all were there."""

    with lean_start(demand_known):
        one = Bare()
        one.start_monitor()
        one.start_log_monitor()
        one.start_api_server(include_dashboard=False, raise_on_failure=False)
        assert one._webui_url == ""
    assert started == []
    assert {name: getattr(node.Node, name) for name in LEFT_OUT} == kept


@pytest.mark.parametrize(
    "command",
    [
        ["raylet", RAYLET[1]],
        ["raylet", RAYLET[1], "--runtime_env_agent_command=/bin/python -m ray.agent"],
    ],
)
def test_agents_that_are_started_otherwise_are_refused(started: list[list[str]], command: list[str]):
    with lean_start(demand_known), pytest.raises(RayChanged, match="its raylet starts other agents"):
        services.start_ray_process(command, "raylet")
    assert started == []


@pytest.fixture
def raylet(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """What starts both agents, as a raylet does, and waits."""
    agents = [["--listen-port=0"], ["--runtime-env-agent-port=0"]]
    commands = [
        [sys.executable, "-I", "-S", str(STAND_IN), "--node-id=n", f"--session-dir={tmp_path}", *own] for own in agents
    ]
    script = f"import subprocess, time\nfor one in {commands!r}: subprocess.Popen(one)\ntime.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Any) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_stand_ins_say_that_they_serve_nothing_and_end_with_their_raylet(
    raylet: "subprocess.Popen[bytes]", tmp_path: Path
):
    wait_for(lambda: len(list(tmp_path.glob("*_n"))) == 4)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "metrics_agent_port_n": "-1",
        "metrics_export_port_n": "-1",
        "dashboard_agent_listen_port_n": "-1",
        "runtime_env_agent_port_n": "1",
    }
    stand_ins = psutil.Process(raylet.pid).children()
    assert len(stand_ins) == 2
    assert not any(one.net_connections() for one in stand_ins)

    raylet.kill()
    raylet.wait()
    _, left = psutil.wait_procs(stand_ins, timeout=10)
    assert left == []
