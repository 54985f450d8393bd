"""Laws: of processes that start at once, one compiles the kernels and the others wait for it; once that is done, none
waits for any; the two halves that are compiled at once have nothing in common; other sources are compiled anew; a cache
that cannot be loaded is made anew; a folder that cannot be written keeps nobody waiting.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from numba.core import config as numba_config

from actors.shard import kernel_cache, warm
from actors.shard.kernel_cache import LOCK_NAME, MARK_PREFIX, first_alone
from actors.shard.warm import warm_kernels

ROOT = Path(__file__).parents[2]

COMPILING = """
import sys
from pathlib import Path
from actors.shard.kernel_cache import first_alone
with first_alone(Path(sys.argv[1])):
    print("in", flush=True)
    input()
"""

COMPILED_BY = """
import sys
from numba.core import event
from actors.shard import warm

class Told(event.Listener):
    def on_start(self, one):
        function = one.data["dispatcher"].py_func
        print(function.__module__, function.__qualname__)
    def on_end(self, one):
        pass

event.register("numba:compile", Told())
for name in sys.argv[1:]:
    print("--", flush=True)
    warm.PARTS[name]()
"""


LEFT_TO_LATER = """
import gc
from numba.core.dispatcher import Dispatcher
from actors.shard.warm import warm_kernels
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from tests.benches.decide_bench import MINUTE_US, Core
from tests.benches.decide_shard import weighing_everything
from tests.household.graph_worlds import folded, some_told, told_of_households

def known():
    kernels = {f"{one.py_func.__module__}.{one.py_func.__qualname__}": one for one in gc.get_objects()
               if isinstance(one, Dispatcher)}
    return {f"{name}{types}" for name, one in kernels.items() for types in one.signatures}

warm_kernels()
warm = known()
plan = compile_playbook(SHIPPED_PLAYBOOK)
for each in (plan, weighing_everything(plan)):
    core = Core(each, 60)
    for turn in range(2):
        for row in range(core.state.households.count):
            core.ask(row, f"{turn}/{row}")
        core.now_us += MINUTE_US
    core.now_us += 366 * 86_400_000_000
    core.tick()
for seed in range(20):
    told_of_households(folded(some_told(seed)[1]))
print(*sorted(known() - warm), sep="\\n", end="")
"""


class Compiler:
    """Another process that has been let through."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMPILING, str(folder)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "in\n"

    def finish(self) -> None:
        self.process.communicate("\n")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def passes(folder: Path) -> threading.Event:
    """Return what is set once this process has been let through, and out again."""
    passed = threading.Event()

    def go() -> None:
        with first_alone(folder):
            pass
        passed.set()

    threading.Thread(target=go, daemon=True).start()
    return passed


@pytest.mark.parametrize("is_killed", [False, True])
def test_others_wait_for_the_first_be_it_that_it_is_killed(tmp_path: Path, is_killed: bool):
    first = Compiler(tmp_path)
    try:
        passed = passes(tmp_path)
        assert not passed.wait(0.2)
        assert not list(tmp_path.glob(f"{MARK_PREFIX}*"))
    finally:
        first.kill() if is_killed else first.finish()
    assert passed.wait(20)
    assert len(list(tmp_path.glob(f"{MARK_PREFIX}*"))) == 1


def test_once_all_is_compiled_nobody_waits(tmp_path: Path):
    with first_alone(tmp_path):
        pass
    second = Compiler(tmp_path)
    try:
        assert passes(tmp_path).wait(20)
    finally:
        second.finish()


@pytest.mark.parametrize("name", ["apply.py", "columns/features.py"])
def test_other_sources_are_compiled_anew_and_forget_the_mark_before(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sources = tmp_path / "sources"
    (sources / name).parent.mkdir(parents=True)
    (sources / name).write_text("one")
    monkeypatch.setattr(kernel_cache, "KERNELS", sources)
    with first_alone(tmp_path):
        pass
    (before,) = tmp_path.glob(f"{MARK_PREFIX}*")
    (sources / name).write_text("another")
    with first_alone(tmp_path):
        assert before.exists()
    (after,) = tmp_path.glob(f"{MARK_PREFIX}*")
    assert after != before


def test_what_did_not_compile_leaves_no_mark(tmp_path: Path):
    with pytest.raises(RuntimeError), first_alone(tmp_path):
        raise RuntimeError("no")
    assert [one.name for one in tmp_path.iterdir()] == [LOCK_NAME]
    assert passes(tmp_path).wait(20)


def test_a_folder_that_cannot_be_written_keeps_nobody_waiting(tmp_path: Path):
    (tmp_path / "file").touch()
    with first_alone(tmp_path / "file"), first_alone(tmp_path / "file"):
        pass


@pytest.mark.parametrize("is_beside_the_kernels", [False, True])
def test_a_cache_that_cannot_be_loaded_is_made_anew(
    is_beside_the_kernels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(numba_config, "CACHE_DIR", "" if is_beside_the_kernels else str(tmp_path))
    monkeypatch.setattr(kernel_cache, "KERNELS", tmp_path)
    (tmp_path / "columns" / "__pycache__").mkdir(parents=True)
    (tmp_path / "columns" / "__pycache__" / "keys.intern.nbi").write_bytes(b"")
    (tmp_path / "keep.txt").touch()
    found: list[bool] = []

    def compile_in(folder: Path) -> None:
        found.append(bool(list(tmp_path.rglob("*.nbi"))))
        if found[-1]:
            raise EOFError("Ran out of input")

    monkeypatch.setattr(warm, "_compile", compile_in)
    warm_kernels()
    assert found == [True, False]
    assert (tmp_path / "keep.txt").exists()


@pytest.mark.chaos
def test_two_processes_that_compile_at_once_write_no_entry_of_each_other(tmp_path: Path):
    first, second = warm.HALVES
    going = [
        subprocess.Popen(
            [sys.executable, "-c", COMPILED_BY, *parts],
            cwd=ROOT, env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / parts[-1])},
            stdout=subprocess.PIPE, text=True,
        )
        for parts in ([first[0]], [first[1]], [*first, second[0]], [*first, second[1]])
    ]  # fmt: skip
    told = [one.communicate()[0].split("--\n")[-1].splitlines() for one in going]
    fold, keep, walk, tell = ({line for line in lines if line.startswith("household")} for lines in told)
    assert "household.apply _fold" in fold
    assert "household.tables.rows put_row" in keep
    assert "household.journeys.plain_walks hear" in walk
    assert "household.graph.refolding _fold_features" in tell
    assert {one.split()[0] for one in fold & keep} == {"household.columns.fingerprint"}, fold & keep
    assert not walk & tell


def test_nothing_is_left_to_be_compiled_when_signals_are_folded_and_decisions_made():
    told = subprocess.run([sys.executable, "-c", LEFT_TO_LATER], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == ""
