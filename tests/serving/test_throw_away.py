"""Throw-away processes: each answers one question, one that stands by as well; none outlives whoever started it."""

import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from serving.models import throw_away

ECHO = (sys.executable, "-I", "-S", "-c", "import os, sys; print(os.getpid(), sys.stdin.read(), end='')")


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    yield
    for process in throw_away._standing_by.values():
        process.communicate()
    throw_away._standing_by.clear()


def answer(command=ECHO) -> tuple[int, str]:
    done = throw_away.asked(command, b"so?", timeout_s=30)
    assert done.returncode == 0, done.stderr
    pid, _, said = done.stdout.decode().partition(" ")
    return int(pid), said


def standing(command=ECHO) -> int:
    throw_away.stand_by(command)
    return throw_away._standing_by[command].pid


def test_the_one_that_stands_by_answers_one_question_and_the_next_is_another():
    pid = standing()
    assert standing() == pid, "one is enough"

    assert answer() == (pid, "so?")
    other, said = answer()
    assert (said, other != pid) == ("so?", True)


def test_one_that_has_died_meanwhile_is_not_asked():
    pid = standing()
    throw_away._standing_by[ECHO].kill()
    throw_away._standing_by[ECHO].wait(10)

    assert answer()[0] != pid
    assert standing() != pid


def test_it_answers_the_questions_of_its_own_command_only():
    other = (*ECHO[:-1], "print(1, 'other', end='')")
    pid = standing()

    assert answer(other) == (1, "other")
    assert answer()[0] == pid


def test_one_that_does_not_end_is_killed():
    asleep = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)")
    pid = standing(asleep)

    with pytest.raises(subprocess.TimeoutExpired):
        throw_away.asked(asleep, b"so?", timeout_s=0.1)
    assert not psutil.pid_exists(pid)


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # of which whoever inherited it has yet to hear
    except psutil.NoSuchProcess:
        return False


def test_it_ends_with_whoever_started_it():
    begin = "import sys; from serving.models import throw_away; throw_away.stand_by(sys.argv[1:]); "
    begin += "print(throw_away._standing_by[tuple(sys.argv[1:])].pid, flush=True); import os; os._exit(1)"
    told = subprocess.run([sys.executable, "-c", begin, *ECHO], capture_output=True, text=True, timeout=30, check=False)
    pid, until_s = int(told.stdout), time.monotonic() + 10

    while _is_running(pid):
        assert time.monotonic() < until_s, "it still waits"
