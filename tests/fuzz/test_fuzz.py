"""Laws: the same seed makes the same cases; a planted fault that raises, crashes or hangs is found, with its input."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.mutation import LENGTH_MAX, Mutator

ROOT = Path(__file__).parents[2]


def test_the_same_seed_makes_the_same_cases():
    first, second = (Mutator([b"a: 1\nb: [x, y]\n", b"c: {d: e}"], seed=7) for _ in range(2))
    cases = [first.case() for _ in range(2_000)]
    assert cases == [second.case() for _ in range(2_000)]
    assert len(set(cases)) > 1_000
    assert max(map(len, cases)) <= LENGTH_MAX


@pytest.mark.parametrize(
    ("fault", "told"), [("raises", "ZeroDivisionError at "), ("crashes", "CRASHED"), ("hangs", "HUNG")]
)
def test_a_planted_fault_is_found_with_its_input(fault: str, told: str, tmp_path: Path):
    asked = [sys.executable, "-m", "tests.fuzz", fault, "--seconds", "3", "--keep", str(tmp_path), "--hang-s", "2"]
    ended = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert told in ended.stdout
    kept = tmp_path / (f"{fault}-0" if fault == "raises" else f"{fault}.current")
    assert b"twice twice" in kept.read_bytes()
