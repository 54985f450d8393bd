"""The owner's clock.

Laws:
    it starts at the machine's wall time and goes on with the boot clock, whatever is done to the wall clock;
    it never goes back, in any order of passing, jumping and confirming;
    it is confirmed exactly while the wall clock is within the limit of it;
    confirming takes the wall clock's time over, but nothing back.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.clock import JUMP_US_MAX, LEAP_SECOND_US, MachineBootClock, WallClock, machine_wall_us
from tests.actors.harness import DAY, HOUR, MONDAY, SECOND


class Machine:
    """A machine's two clocks."""

    def __init__(self) -> None:
        self.boot_ns = 5 * SECOND * 1_000
        self.wall_us = MONDAY

    def now_ns(self) -> int:
        return self.boot_ns

    def pass_us(self, elapsed_us: int) -> None:
        self.boot_ns += elapsed_us * 1_000
        self.wall_us += elapsed_us

    def clock(self, **named: int) -> WallClock:
        return WallClock(boot=self, wall_us=lambda: self.wall_us, **named)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_it_starts_at_the_wall_time_and_goes_on(machine):
    clock = machine.clock()
    assert clock.now_us() == MONDAY
    machine.pass_us(3)
    assert clock.now_us() == MONDAY + 3
    assert clock.is_confirmed()


@pytest.mark.parametrize("jump_us", [HOUR, -HOUR, DAY, -DAY])
def test_a_jump_does_not_move_it_and_leaves_it_unconfirmed(machine, jump_us):
    clock = machine.clock()
    machine.wall_us += jump_us
    machine.pass_us(SECOND)
    assert clock.now_us() == MONDAY + SECOND
    assert clock.jumped_us() == jump_us
    assert not clock.is_confirmed()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_limit_itself_is_no_jump_and_one_more_is(machine, sign):
    clock = machine.clock(jump_us_max=2 * SECOND)
    machine.wall_us += sign * 2 * SECOND
    assert clock.is_confirmed()
    machine.wall_us += sign
    assert not clock.is_confirmed()


def test_a_wall_clock_that_comes_back_confirms_it(machine):
    clock = machine.clock()
    machine.wall_us += DAY
    assert not clock.is_confirmed()
    machine.wall_us -= DAY - SECOND
    assert clock.is_confirmed()
    assert clock.now_us() == MONDAY


def test_confirming_a_jump_ahead_takes_the_wall_time_over(machine):
    clock = machine.clock()
    machine.wall_us += DAY
    clock.confirm()
    assert clock.is_confirmed()
    assert clock.now_us() == MONDAY + DAY
    machine.pass_us(7)
    assert clock.now_us() == MONDAY + DAY + 7


def test_confirming_a_jump_back_stands_still_until_the_wall_clock_is_there(machine):
    clock = machine.clock()
    machine.pass_us(SECOND)
    assert clock.now_us() == MONDAY + SECOND
    machine.wall_us -= HOUR
    clock.confirm()
    assert clock.is_confirmed()
    machine.pass_us(HOUR - 1)
    assert clock.now_us() == MONDAY + SECOND
    machine.pass_us(2)
    assert clock.now_us() == MONDAY + SECOND + 1


def test_a_machine_that_slept_has_not_jumped(machine):
    clock = machine.clock()
    machine.pass_us(9 * HOUR)
    assert clock.is_confirmed()
    assert clock.now_us() == MONDAY + 9 * HOUR


def test_a_pause_between_its_two_readings_is_no_jump(machine):
    clock = machine.clock()
    pauses = iter([DAY, HOUR])

    def wall_us() -> int:
        read_us = machine.wall_us
        machine.pass_us(next(pauses, 0))
        return read_us

    clock._wall_us = wall_us
    assert clock.is_confirmed()


def test_a_limit_that_makes_a_leap_second_a_jump_is_refused(machine):
    with pytest.raises(AssertionError, match="leap second"):
        machine.clock(jump_us_max=LEAP_SECOND_US)


steps = st.lists(
    st.tuples(st.sampled_from(["pass", "jump", "confirm", "look"]), st.integers(-2 * DAY, 2 * DAY)), max_size=30
)


@given(steps)
def test_it_never_goes_back_and_is_confirmed_exactly_within_the_limit(taken):
    machine = Machine()
    clock, said_us, apart_us = machine.clock(), [], 0
    for step, by_us in taken:
        match step:
            case "pass":
                machine.pass_us(abs(by_us))
            case "jump":
                machine.wall_us += by_us
                apart_us += by_us
            case "confirm":
                clock.confirm()
                apart_us = 0
            case _:
                said_us.append(clock.now_us())
        assert clock.is_confirmed() == (abs(apart_us) <= JUMP_US_MAX)
    assert said_us == sorted(said_us)


def test_it_never_goes_back_for_any_thread_while_it_is_confirmed_back_and_forth():
    machine = Machine()
    clock = machine.clock()
    is_over = threading.Event()
    wrong: list[tuple[int, int]] = []

    def look() -> None:
        before_us = clock.now_us()
        while not is_over.is_set():
            now_us = clock.now_us()
            if now_us < before_us:
                wrong.append((before_us, now_us))
            before_us = now_us

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for one in lookers:
        one.start()
    for turn in range(2_000):
        machine.pass_us(1)
        machine.wall_us += HOUR if turn % 2 else -HOUR
        clock.confirm()
    is_over.set()
    for one in lookers:
        one.join()
    assert wrong == []


def test_the_machines_own_clocks_agree():
    clock, boot = WallClock(), MachineBootClock()
    first_ns, before_us = boot.now_ns(), machine_wall_us()
    now_us = clock.now_us()
    assert boot.now_ns() > first_ns
    assert clock.is_confirmed()
    assert abs(now_us - before_us) < SECOND


_UNDER_FAKETIME = """
import sys
from pathlib import Path
from actors.clock import MachineBootClock, WallClock
offset = Path(sys.argv[1])
boot, clock = MachineBootClock(), WallClock()
began_ns, began_us = boot.now_ns(), clock.now_us()

def after(told):
    offset.write_text(told)
    passed_us = clock.now_us() - began_us
    assert 0 <= passed_us < 60_000_000, passed_us
    assert 0 <= boot.now_ns() - began_ns < 60_000_000_000
    return clock.is_confirmed()

print([after(told) for told in ("+0", "+1h", "+0", "-1h", "+1d", "-1d", "+0")])
offset.write_text("+1d")
clock.confirm()
print(clock.is_confirmed(), round((clock.now_us() - began_us) / 86_400e6, 3))
offset.write_text("+0")
print(clock.is_confirmed())
clock.confirm()
print(clock.is_confirmed(), round((clock.now_us() - began_us) / 86_400e6, 3))
"""


def test_a_real_process_sees_the_jumps_that_libfaketime_makes(tmp_path: Path, repository: Path):
    command = faketime_library(repository)
    offset = tmp_path / "offset"
    offset.write_text("+0")
    environment = {
        **os.environ,
        "LD_PRELOAD": str(command),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        # Only the wall clock is faked: a machine's boot clock cannot be set.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(repository),
    }
    ended = subprocess.run(
        [sys.executable, "-c", _UNDER_FAKETIME, str(offset)],
        env=environment,
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "[True, False, True, False, False, False, True]",
        "True 1.0",
        "False",
        "True 1.0",
    ]


def faketime_library(repository: Path) -> Path:
    """Return libfaketime, installed when it is missing and we are root; skip the test where it cannot be had."""
    script = repository / "tests" / "parts" / "install_faketime.sh"
    ended = subprocess.run(["bash", script], capture_output=True, text=True, timeout=300)
    if ended.returncode != 0:
        pytest.skip(f"libfaketime is missing: {ended.stderr.strip()[-200:]}")
    return Path(ended.stdout.strip())
