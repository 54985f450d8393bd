"""A real PostgreSQL server for tests: on a free port of loopback, can be killed, restarted, paused and resumed.

Its programs come from `install_postgresql.sh`. Where they cannot be had, the test is skipped with the reason. A server
refuses to run as root, so there it runs as the user `postgres`.
"""

import ctypes
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

INSTALL_WITHIN_S = 600
READY_WITHIN_S = 60
STOPPED_WITHIN_S = 30

USER = "hearth"
PASSWORD = "not-a-secret"

_PR_SET_PDEATHSIG = 1
_ROOTS_SERVANT = "postgres"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "max_wal_size": "64MB",
}


@dataclass
class Server:
    """A server that runs, unless it was killed or paused."""

    programs: Path
    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        """SQLAlchemy URL of its database."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Make an empty database; return its URL."""
        import psycopg

        with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
        return self.url_of(name)

    def start(self) -> None:
        """Start it on its port and data; return once it answers."""
        assert self.process is None
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.directory / "data", "-p", str(self.port), *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                preexec_fn=_as_servant(signal.SIGQUIT),
            )
        self._wait_until_ready()

    def kill(self) -> None:
        """End it as a power cut would, its sessions included."""
        family = self._family()
        for one in family:
            with suppress(psutil.Error):
                one.kill()
        psutil.wait_procs(family, timeout=STOPPED_WITHIN_S)
        assert self.process is not None
        self.process.wait(STOPPED_WITHIN_S)
        self.process = None

    def stop(self) -> None:
        """End it in order."""
        if self.process is None:
            return
        self.resume()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def pause(self) -> None:
        """Stop it and every session where it is; the kernel goes on acknowledging what is sent to it."""
        for one in self._family():
            one.suspend()

    def resume(self) -> None:
        for one in self._family():
            with suppress(psutil.Error):
                one.resume()

    def _family(self) -> list[psutil.Process]:
        assert self.process is not None
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def _wait_until_ready(self) -> None:
        import psycopg

        assert self.process is not None
        limit = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=2).close()
                return
            except psycopg.OperationalError as not_yet:
                if self.process.poll() is not None or time.monotonic() > limit:
                    log = (self.directory / "server.log").read_text(errors="replace")
                    raise RuntimeError(f"PostgreSQL does not start: {log[-2_000:]}") from not_yet
            time.sleep(0.05)


@contextmanager
def running_server() -> Iterator[Server]:
    """Run a server with an empty database until the end of the block; skip the test where there is none to be had."""
    pytest.importorskip("psycopg", reason="psycopg is missing: no driver for PostgreSQL")
    programs = _programs()
    directory = Path(tempfile.mkdtemp(prefix="hearth-postgresql-"))
    server = Server(programs, directory, _free_port())
    try:
        if _servant() is not None:
            shutil.chown(directory, _ROOTS_SERVANT)
        _make_cluster(server)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _make_cluster(server: Server) -> None:
    password_file = server.directory / "password"
    password_file.write_text(PASSWORD)
    password_file.chmod(0o644)
    subprocess.run(
        [
            server.programs / "initdb",
            *("-D", server.directory / "data", "-U", USER, "--auth=scram-sha-256", f"--pwfile={password_file}"),
            *("--no-sync", "--encoding=UTF8", "--locale=C"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=READY_WITHIN_S,
        cwd=server.directory,
        preexec_fn=_as_servant(signal.SIGKILL),
    )


@functools.cache
def _programs() -> Path:
    script = Path(__file__).with_name("install_postgresql.sh")
    try:
        ended = subprocess.run(["bash", script], capture_output=True, text=True, timeout=INSTALL_WITHIN_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"PostgreSQL is missing: installing it took more than {INSTALL_WITHIN_S} s")
    if ended.returncode != 0:
        pytest.skip(f"PostgreSQL is missing: {ended.stderr.strip()[-300:]}")
    if os.geteuid() == 0 and _servant() is None:
        pytest.skip(f"PostgreSQL does not run as root, and there is no user {_ROOTS_SERVANT}")
    return Path(ended.stdout.strip().splitlines()[-1])


def _servant() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_ROOTS_SERVANT)
    except KeyError:
        return None


def _as_servant(death_signal: signal.Signals) -> Callable[[], None]:
    servant = _servant()
    prctl = ctypes.CDLL(None).prctl

    def become() -> None:
        if servant is not None:
            os.setgroups([])
            os.setgid(servant.pw_gid)
            os.setuid(servant.pw_uid)
        # Last: a change of user would clear it.
        prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)

    return become


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
