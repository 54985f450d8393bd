"""A real MLflow server for tests: on a free port of loopback, on a folder of its own; it can be killed.

Its programs come from `install_mlflow.sh`. Where they cannot be had, the test is skipped with the reason.
"""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

INSTALL_WITHIN_S = 900
READY_WITHIN_S = 120

SECRETS_KEY = "4pAc7bEXSVfj3X0JzNMD-tWDxSkL6xQjMNNiM6gHF5I="
"""Fernet's form, of nothing: what webhooks' secrets are encrypted with in a test's database."""


@dataclass
class MlflowServer:
    """A server that runs, unless it was killed."""

    python: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it and what it started at once."""
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for one in family:
            one.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)

    def start(self) -> None:
        """Start it again after `kill`."""
        self.process = _start(self.python, self.folder, self.port)
        _await(self)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Run a server on a folder."""
    install = Path(__file__).with_name("install_mlflow.sh")
    done = subprocess.run([str(install)], capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False)
    if done.returncode:
        pytest.skip(f"no MLflow: {done.stderr.strip()[-200:]}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = MlflowServer(done.stdout.strip(), folder, port, _start(done.stdout.strip(), folder, port))
    try:
        _await(server)
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def _start(python: str, folder: Path, port: int) -> "subprocess.Popen[bytes]":
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    arguments += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    environment = os.environ | {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": SECRETS_KEY,
        # It remembers for a minute which webhooks there are, and so would not tell of a move just after one was made.
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(
            [python, "-m", "mlflow", "server", *arguments], stdout=log, stderr=log, env=environment, cwd=folder
        )


def _await(server: MlflowServer) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(f"{server.uri}/health", timeout=2):
                return
        except OSError:
            said = (server.folder / "server.log").read_text()[-2000:]
            assert server.process.poll() is None, f"MLflow did not come up: {said}"
            assert time.monotonic() < until, f"MLflow is not ready: {said}"
            time.sleep(0.2)
