"""What a node knows of its processes.

Laws: the end of a process is told at once, be it before, while or after somebody waits; a later process with the same
id is another; a stopped process can be ended; nobody else is.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cluster.node import end, is_gone, node_identity, process_started_s, until_gone


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


def started_s(process: subprocess.Popen[bytes]) -> float:
    return process_started_s(process.pid)


def test_the_end_of_a_process_is_told(process: subprocess.Popen[bytes]):
    async def told() -> bool:
        waiting = asyncio.create_task(until_gone(process.pid, started_s(process)))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.wait_for(waiting, 10)
        return is_gone(process.pid)

    assert asyncio.run(told())


def test_one_that_has_ended_before_is_told_at_once(process: subprocess.Popen[bytes]):
    was = started_s(process)
    process.kill()
    process.wait()
    asyncio.run(asyncio.wait_for(until_gone(process.pid, was), 10))


def test_a_later_process_of_the_same_id_is_another(process: subprocess.Popen[bytes]):
    was = started_s(process) - 100.0
    assert is_gone(process.pid, was)
    assert not is_gone(process.pid, started_s(process))
    asyncio.run(asyncio.wait_for(until_gone(process.pid, was), 10))
    assert end(process.pid, was)
    assert process.poll() is None, "the wrong process was ended"


def test_a_stopped_process_can_be_ended(process: subprocess.Popen[bytes]):
    os.kill(process.pid, signal.SIGSTOP)
    assert end(process.pid, started_s(process))
    assert process.wait(10) == -signal.SIGKILL


def test_a_node_knows_itself():
    assert node_identity() == node_identity()
    assert not is_gone(os.getpid(), process_started_s())
