"""Law: a compiled kernel is used again only while every source that it may hold a part of is as it was."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PART = "from household.kernel import inlined\n\n@inlined\ndef part(x):\n    return x + {}\n"
WHOLE = """from household.kernel import kernel
from household.part import part

@kernel
def whole(x):
    return part(x)
"""
ASK = "from household.whole import whole; print(whole(1), sum(whole.stats.cache_hits.values()))"


def asked(folder: Path) -> tuple[int, int]:
    """Return what the kernel gives in a process of its own, and how often it was found compiled."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    result, hits = done.stdout.split()
    return int(result), int(hits)


def test_a_kernel_is_compiled_anew_when_what_was_copied_into_it_changes(repository: Path, tmp_path: Path):
    core = tmp_path / "household"
    core.mkdir()
    (core / "__init__.py").touch()
    shutil.copy(repository / "household" / "kernel.py", core)
    (core / "part.py").write_text(PART.format(1))
    (core / "whole.py").write_text(WHOLE)
    assert asked(tmp_path) == (2, 0)
    assert asked(tmp_path) == (2, 1), "kept"

    (core / "part.py").write_text(PART.format(10))
    assert asked(tmp_path) == (11, 0)
    assert asked(tmp_path) == (11, 1), "kept again"


NAMED = """from typing import NamedTuple
import numpy as np
from household.kernel import kernel

class {name}(NamedTuple):
    one: int

@kernel
def plus(x, y):
    return x.one + y

def whole(x):
    return plus({name}(x), 1)

whole.stats = plus.stats
"""


def test_what_an_upgrade_calls_otherwise_is_compiled_anew(repository: Path, tmp_path: Path):
    core = tmp_path / "household"
    core.mkdir()
    (core / "__init__.py").touch()
    shutil.copy(repository / "household" / "kernel.py", core)
    (core / "whole.py").write_text(NAMED.format(name="Before"))
    assert asked(tmp_path) == (2, 0)
    assert asked(tmp_path) == (2, 1)

    (core / "whole.py").write_text(NAMED.format(name="After"))
    assert asked(tmp_path) == (2, 0)
    assert asked(tmp_path) == (2, 1)
