"""Where compiled kernels are kept, and who may write there: of several processes one, the others wait for it.

A mark of this very version of everything says that all is compiled; with it nobody waits. Nothing here imports numba,
so that whoever only wants to know whether that was done is told at once.
"""

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

import llvmlite.binding

import household
from actors.passing_over import passing_over

KERNELS: Final = Path(household.__file__).parent
LOCK_NAME, MARK_PREFIX = "hearth-kernels.lock", "hearth-kernels-"


def folder_of_cache(elsewhere: str | None) -> Path:
    """Return where lock and mark lie; `elsewhere` as NUMBA_CACHE_DIR says, if it says so."""
    return Path(elsewhere) if elsewhere else KERNELS / "__pycache__"


def is_compiled(folder: Path) -> bool:
    """Return whether all was compiled, from these sources, for this machine."""
    return _mark(folder).exists()


@contextmanager
def first_alone(folder: Path) -> Iterator[None]:
    """Let one process after another through, until one has come out again; then all of them.

    Args:
        folder: of the cache; in one that cannot be written nothing is kept, and nobody has to wait.
    """
    mark = _mark(folder)
    if mark.exists():
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if mark.exists():
            # Whoever was here before has compiled all.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            yield
            return
        yield
        with passing_over(OSError, because="marks that stay are looked at again"):
            for old in folder.glob(f"{MARK_PREFIX}*"):
                old.unlink()
            mark.touch()
    finally:
        os.close(descriptor)


def throw_away(folder: Path) -> None:
    """Remove the compiled kernels."""
    for kind in ("nbi", "nbc"):
        for file in folder.rglob(f"*.{kind}"):
            with passing_over(OSError, because="another process may have removed it"):
                file.unlink()


def _mark(folder: Path) -> Path:
    return folder / f"{MARK_PREFIX}{_stamp()}"


def _stamp() -> str:
    """Return what tells apart all that a compiled kernel depends on."""
    parts = [sys.version, version("numba"), llvmlite.binding.get_host_cpu_name()]
    for file in sorted(KERNELS.rglob("*.py")):
        facts = file.stat()
        parts.append(f"{file} {facts.st_mtime_ns} {facts.st_size}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
