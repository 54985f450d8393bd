"""Laws of `hearth doctor`: each open port is told with who can reach it and what protects it; only what anybody on
another machine may use is weak; another Ray on the machine is none of Hearth's; that Ray's tokens are on is said.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.commands.doctor import _public_protection
from cluster.config import load_config
from cluster.open_ports import OpenPort, Protection, open_ports
from tests.cluster.conftest import Run

LISTENER = """
import socket, sys
one = socket.create_server((sys.argv[1], 0))
print(one.getsockname()[1], flush=True)
input()
"""
RENAMED = f"""
from ray._raylet import setproctitle
setproctitle("ray::RuntimeEnvAgent")
{LISTENER}"""
STARTED_BY = ("sh", "-c", '"$@"; true', "sh")
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret"}


@contextmanager
def listening(
    host: str, *, mark: str = "_private/workers", script: str = LISTENER, by: tuple[str, ...] = (), **environment: str
) -> Iterator[tuple[int, int]]:
    """Yield process id and port of a process that Ray might have started, or the id of another that has started it."""
    process = subprocess.Popen(
        [*by, sys.executable, "-c", script, host, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**{name: value for name, value in os.environ.items() if not name.startswith("RAY_")}, **environment},
    )
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def port_of(pid: int, **options: int | bool | Protection) -> OpenPort:
    (one,) = [one for one in open_ports(os.getpid(), **options) if one.pid == pid]  # type: ignore[arg-type]
    return one


@pytest.mark.parametrize(
    ("host", "environment", "protection", "is_weak"),
    [
        ("127.0.0.1", TOKEN, Protection.TOKEN, False),
        ("127.0.0.1", {}, Protection.NONE, False),
        ("0.0.0.0", TOKEN, Protection.TOKEN, False),
        ("0.0.0.0", {}, Protection.NONE, True),
        ("0.0.0.0", TOKEN | {"RAY_AUTH_MODE": "disabled"}, Protection.NONE, True),
        ("0.0.0.0", {"RAY_AUTH_MODE": "token"}, Protection.NONE, True),
    ],
)
def test_a_port_is_weak_if_anybody_may_use_it_from_elsewhere(
    host: str, environment: dict[str, str], protection: Protection, is_weak: bool
):
    with listening(host, **environment) as (pid, port):
        found = port_of(pid)
    assert (found.port, found.loopback, found.protection) == (port, host == "127.0.0.1", protection)
    assert found.is_weak is is_weak


def test_where_ray_shows_its_numbers_too_not_all_ask_for_the_token():
    with listening("0.0.0.0", mark="ray/dashboard/agent.py", **TOKEN) as (pid, _):
        found = port_of(pid)
    assert (found.protection, found.is_weak) == (Protection.NUMBERS, True)
    with listening("127.0.0.1", mark="autoscaler/_private/monitor.py", **TOKEN) as (pid, _):
        found = port_of(pid)
    assert (found.protection, found.is_weak, found.purpose) == (
        Protection.NUMBERS,
        False,
        "Ray's autoscaler: its numbers",
    )


@pytest.mark.parametrize(("environment", "protection"), [(TOKEN, Protection.TOKEN), ({}, Protection.NONE)])
def test_of_a_process_that_has_wiped_its_environment_that_of_who_started_it_counts(
    environment: dict[str, str], protection: Protection
):
    with listening("127.0.0.1", script=RENAMED, by=STARTED_BY, **environment) as (_, port):
        (found,) = [one for one in open_ports(os.getpid()) if one.port == port]
    assert (found.purpose, found.protection) == ("Ray's environments of workers", protection)


def test_the_public_port_has_no_token_though_its_process_has():
    with listening("0.0.0.0", **TOKEN) as (pid, port):
        assert port_of(pid, public_port=port).protection is Protection.NONE


def test_a_public_port_that_asks_every_caller_who_he_is_is_not_weak():
    with listening("0.0.0.0") as (pid, port):
        closed = port_of(pid, public_port=port, public_protection=Protection.CALLERS)
        half = port_of(pid, public_port=port, public_protection=Protection.TLS)
    assert (closed.is_weak, half.is_weak) == (False, True)


@pytest.mark.parametrize(
    ("settings", "protection"),
    [
        ({}, Protection.NONE),
        ({"tls_certificate": "c", "tls_key": "k"}, Protection.TLS),
        ({"tls_certificate": "c", "tls_key": "k", "tls_client_ca": "a"}, Protection.CALLERS),
        ({"tls_certificate": "c", "tls_key": "k", "access": "a.yaml"}, Protection.CALLERS),
        ({"access": "a.yaml"}, Protection.NONE),
    ],
)
def test_what_protects_the_public_port_follows_from_the_settings(tmp_path: Path, settings, protection: Protection):
    assert _public_protection(load_config(data_dir=tmp_path, **settings)) is protection


def test_the_metrics_port_has_no_token_and_says_what_it_is_for():
    with listening("127.0.0.1", **TOKEN) as (pid, port):
        found = port_of(pid, metrics_port=port)
    assert (found.protection, found.purpose) == (Protection.NONE, "metrics, for Prometheus")


def test_a_ray_that_is_not_of_this_hearth_does_not_weaken_it():
    with listening("0.0.0.0") as (pid, _):
        (other,) = [one for one in open_ports(None) if one.pid == pid]
        (shared,) = [one for one in open_ports(None, is_shared_ray=True) if one.pid == pid]
    assert (other.is_ours, other.is_weak) == (False, False)
    assert (shared.is_ours, shared.is_weak) == (True, True)


def test_a_port_of_a_shard_is_the_installations_whatever_ray_asks_of_its_process():
    with listening("0.0.0.0") as (pid, port):
        found = port_of(pid, shard_ports=[port])  # type: ignore[arg-type]
    assert (found.protection, found.is_weak) == (Protection.INSTALLATION, False)
    assert found.purpose == "an edge's calls to a shard"


def test_what_a_port_is_for_is_told_and_one_of_which_nobody_knows_it_is_weak(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEARTH_DISK_FREE_BYTES_MIN", "0")
    with listening("127.0.0.1") as (pid, _), listening("127.0.0.1", mark="nobody's") as (strange, port):
        assert port_of(pid).purpose == "Ray's calls to a worker that stands by"
        found = port_of(strange)
    assert (found.purpose, found.is_unexplained, found.is_weak) == ("", True, False)
    monkeypatch.setattr("cluster.commands.doctor.open_ports", lambda *_, **__: [found])
    ended = run("doctor")
    assert f"(process {strange}) listens on 127.0.0.1:{port}, and nobody knows what for" in ended.out
    assert ended.code == 1


PORT = OpenPort(
    address="127.0.0.1",
    port=6_000,
    process="gcs_server",
    pid=7,
    loopback=True,
    protection=Protection.TOKEN,
    purpose="Ray's tables of nodes and actors",
)


def test_what_protects_each_port_is_told(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("HEARTH_DISK_FREE_BYTES_MIN", "0")
    open_one = replace(PORT, address="0.0.0.0", loopback=False, port=6_001, protection=Protection.NONE)
    monkeypatch.setattr("cluster.commands.doctor.open_ports", lambda *_, **__: [PORT])
    well = run("doctor")
    monkeypatch.setattr("cluster.commands.doctor.open_ports", lambda *_, **__: [PORT, open_one])
    ill = run("doctor")
    as_json = run("doctor", "--json").json

    assert "127.0.0.1:6000 gcs_server (process 7): this machine only, a caller needs Ray's token" in well.out
    assert "Ray token          on: a fresh one for each run" in well.out
    assert "WEAK  security" not in well.out
    assert "WEAK  security: gcs_server listens on 0.0.0.0:6001, reachable from other machines, and asks no" in ill.out
    assert [one["protection"] for one in as_json["ports"]] == ["token", "none"]
