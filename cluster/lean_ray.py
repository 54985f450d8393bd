"""A Ray with only what Hearth uses: GCS, raylet and workers, all of them on loopback.

`ray.init` starts more, which has no switch: the autoscaler's monitor, the dashboard's server even without a dashboard,
a log monitor and two agents. They took two thirds of a start's time and listened beyond this machine. What is left
out here: the dashboard, Ray's own metrics (Hearth sends its own), runtime environments, scaling of the node.

Leans on private parts of Ray, all of which are in here and in ray_node.py; `demand_known` refuses another Ray.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LOOPBACK_ENVIRONMENT = {
    # Ray's word for a node that nothing beyond this machine is part of: it then listens on 127.0.0.1 alone.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # There is no agent to send them to.
    "RAY_enable_metrics_collection": "0",
}
"""Read when Ray is imported, and by every process of its."""

AGENT_OPTIONS = ("--dashboard_agent_command=", "--runtime_env_agent_command=")
AGENT_SCRIPT = re.compile(r"-u \S+/(?:dashboard/agent|runtime_env/agent/main)\.py ")
STAND_IN = Path(__file__).with_name("ray_stand_in.py")

START_RAY_PROCESS = "start_ray_process"
LEFT_OUT = ("start_monitor", "start_log_monitor", "start_api_server")
"""Methods of Ray's node object that start a process each."""


@contextlib.contextmanager
def lean_start(demand: Callable[[bool, str], None]) -> Iterator[None]:
    """Let a Ray that is started meanwhile in this process be a lean one.

    Args:
        demand: is given each thing that must be so in this Ray, with what is wrong if it is not; raises then.
    """
    from ray._private import node, services

    for name in LEFT_OUT:
        demand(callable(getattr(node.Node, name, None)), f"its node has no {name}")
    demand(callable(getattr(services, START_RAY_PROCESS, None)), f"its services have no {START_RAY_PROCESS}")
    start = getattr(services, START_RAY_PROCESS)

    def start_ray_process(command: list[str], *arguments: Any, **options: Any) -> Any:
        agents = [part for part in command if part.startswith(AGENT_OPTIONS)]
        if agents:
            known = len(agents) == len(AGENT_OPTIONS) and all(AGENT_SCRIPT.search(one) for one in agents)
            demand(known, "its raylet starts other agents")
        return start([_without_agent(part) for part in command], *arguments, **options)

    kept = {name: getattr(node.Node, name) for name in LEFT_OUT}
    try:
        for name in LEFT_OUT:
            setattr(node.Node, name, _start_nothing)
        setattr(services, START_RAY_PROCESS, start_ray_process)
        yield
    finally:
        setattr(services, START_RAY_PROCESS, start)
        for name, method in kept.items():
            setattr(node.Node, name, method)


def _start_nothing(node: Any, **_: Any) -> None:
    # Part of the command line of every worker.
    node._webui_url = ""


def _without_agent(part: str) -> str:
    if not part.startswith(AGENT_OPTIONS):
        return part
    # Ray joins the command as for a Windows shell, and the raylet parts it again.
    script = f'-I -S "{STAND_IN}" ' if " " in str(STAND_IN) else f"-I -S {STAND_IN} "
    return AGENT_SCRIPT.sub(lambda _: script, part)
