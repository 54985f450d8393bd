"""Stands in for an agent of Ray's raylet that Hearth has no use for: opens no port, says so, and ends with the raylet.

A raylet starts two agents, which serve the dashboard, Ray's own metrics and runtime environments, waits until each has
written down its ports, and ends with any of them. As Ray has them they cost a start six seconds of processor time and
open four ports beyond this machine. Run by its path, in isolation: nothing of ours is imported, a start takes 20 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

PORT_FILES = {
    "runtime-env-agent-port": {"runtime_env_agent_port": "1"},
    "listen-port": {"metrics_agent_port": "-1", "metrics_export_port": "-1", "dashboard_agent_listen_port": "-1"},
}
"""By an option that tells which agent is meant: the files that the raylet waits for; -1 is a service not in use."""


def main() -> None:
    """Write the port files, then wait for the end."""
    raylet = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != raylet:
        # It died in between.
        return
    options = dict(one.removeprefix("--").partition("=")[::2] for one in sys.argv[1:])
    for option, files in PORT_FILES.items():
        if option in options:
            for name, port in files.items():
                _write(os.path.join(options["session-dir"], f"{name}_{options['node-id']}"), port)
    while True:
        signal.pause()


def _write(path: str, content: str) -> None:
    # The raylet reads whatever is there as soon as it is there.
    with open(f"{path}.new", "w", encoding="ascii") as stream:
        stream.write(content)
    os.replace(f"{path}.new", path)


if __name__ == "__main__":
    main()
