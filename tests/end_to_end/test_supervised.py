"""Laws: a GCS that dies is started again and nobody notices; a run that cannot go on is followed by another on the same
port; when the supervisor is killed its run ends by itself, and the directory is free once it has.
"""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.data_dir import await_former_run, is_held
from tests.chaos.cluster_processes import Part, find, kill, until
from tests.end_to_end.hearth_process import Hearth, command, running
from tests.end_to_end.test_up import Client, ask_until_answered

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    with running(tmp_path_factory.mktemp("supervised") / "data", "--shards", "1") as one:
        yield one


@pytest.fixture(scope="module")
def client(hearth: Hearth) -> Client:
    return Client(hearth.address)


def test_a_killed_gcs_is_started_again_while_decisions_go_on(hearth: Hearth, client: Client):
    before = {one.pid for one in find(hearth.process.pid, Part.GCS)}
    runners = {one.pid for one in find(hearth.process.pid, Part.RUNNER)}
    kill(find(hearth.process.pid, Part.GCS))

    assert not client.decide("without-gcs", "app").repeated_request
    until(
        lambda: bool({one.pid for one in find(hearth.process.pid, Part.GCS)} - before), within_s=10, what="another GCS"
    )
    # With the new one Ray makes a shard anew.
    shards = {one.pid for one in find(hearth.process.pid, Part.SHARD)}
    kill(find(hearth.process.pid, Part.SHARD))
    assert ask_until_answered(client, "without-gcs").repeated_request
    assert not {one.pid for one in find(hearth.process.pid, Part.SHARD)} & shards
    assert {one.pid for one in find(hearth.process.pid, Part.RUNNER)} == runners


def test_a_killed_raylet_is_followed_by_another_run_on_the_same_port(hearth: Hearth, client: Client):
    before = client.decide("before-raylet", "app")
    kill(find(hearth.process.pid, Part.RAYLET))

    announced = next_line(hearth, within_s=120)
    assert announced["ready"]
    assert announced["address"] == hearth.address
    assert announced["pid"] == hearth.process.pid
    again = ask_until_answered(client, "before-raylet")
    assert again.repeated_request
    assert again.decision_id == before.decision_id
    refused = command("up", "--data-dir", str(hearth.data_dir), "--port", "0")
    assert refused.returncode != 0
    assert str(hearth.process.pid) in refused.stderr


def next_line(hearth: Hearth, *, within_s: float) -> dict[str, Any]:
    """Return what `up` says next; it is killed if it says nothing."""
    alarm = threading.Timer(within_s, hearth.process.kill)
    alarm.start()
    try:
        assert hearth.process.stdout is not None
        line = hearth.process.stdout.readline()
    finally:
        alarm.cancel()
    assert line, f"nothing was said within {within_s} s"
    said: dict[str, Any] = json.loads(line)
    return said


def test_a_killed_supervisor_leaves_nothing_behind_and_the_directory_free(hearth: Hearth, client: Client):
    client.decide("before-supervisor", "app")
    family = psutil.Process(hearth.process.pid).children(recursive=True)
    os.kill(hearth.process.pid, signal.SIGKILL)
    hearth.process.wait(10)

    # The run drains and ends in order: its lock says so.
    assert not await_former_run(Path(hearth.data_dir))
    assert not is_held(hearth.data_dir)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
