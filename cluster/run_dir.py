"""The folder of one run, in the temporary directory: Ray's files and every socket. Nothing in it outlives the run.

A run that was killed with its supervisor leaves it behind; the next start finds and removes it. Whose it is says a lock
of the operating system, which dies with its process: no process id has to be trusted that another may have by now.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import CommandFailed
from cluster.node import process_started_s
from cluster.output import say

PREFIX = "hearth-"
DEMO_PREFIX = "hearth-demo-"
OWNER_NAME = "of-a-hearth-run"
"""Marks a folder as ours to remove, holds the process id and start of its owner, and is locked by it."""

SOCKET_PATH_BYTES_MAX = 107
"""What Linux takes for the path of a Unix socket, less the byte that ends it."""
SOCKET_BELOW = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest that is made below a run's folder."""
NAME_BYTES = len(PREFIX) + 8


class TemporaryDirectoryUnusable(CommandFailed):
    """No run can have its folder there; says why and what to do."""


def check_temporary_directory() -> None:
    """Look whether the sockets of a run can be in the temporary directory.

    Raises:
        TemporaryDirectoryUnusable: its path is too long, or it cannot be written.
    """
    try:
        folder = Path(tempfile.gettempdir()).absolute()
    except FileNotFoundError as wrong:
        raise TemporaryDirectoryUnusable(f"{wrong}; set TMPDIR to a folder that can be written") from wrong
    most = SOCKET_PATH_BYTES_MAX - NAME_BYTES - len(SOCKET_BELOW) - len("//")
    length = len(os.fsencode(folder))
    if length > most:
        raise TemporaryDirectoryUnusable(
            f"the temporary directory {folder} has a path of {length} bytes, and the sockets below it must stay within "
            f"what Linux takes: {most} at most; set TMPDIR to a shorter one, such as /tmp"
        )


@contextmanager
def run_dir(prefix: str = PREFIX) -> Iterator[Path]:
    """Make a folder that is this process's, and remove it at the end.

    Raises:
        TemporaryDirectoryUnusable: it cannot be made.
    """
    try:
        folder, descriptor = _made(prefix)
    except OSError as wrong:
        raise TemporaryDirectoryUnusable(
            f"no folder can be made in the temporary directory: {wrong}; make room there or set TMPDIR to another"
        ) from wrong
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Keep a run's folder while this process uses it, too: a run goes on for a while when its supervisor is killed."""
    try:
        descriptor = os.open(folder / OWNER_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def sweep() -> list[Path]:
    """Remove what killed runs have left in the temporary directory; return what was removed."""
    removed = []
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    if removed:
        say(f"removed what killed runs had left behind: {', '.join(map(str, removed))}")
    return removed


def _made(prefix: str) -> tuple[Path, int]:
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        return folder, _own(folder)
    except OSError:
        # Without its owner's name in it nobody would ever remove it.
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _own(folder: Path) -> int:
    descriptor = os.open(folder / OWNER_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os.write(descriptor, f"{os.getpid()} {process_started_s()}\n".encode())
    return descriptor


def _is_abandoned(folder: Path) -> bool:
    """Tell whether a folder is a run's, this user's, and no process holds it."""
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return False
        descriptor = os.open(folder / OWNER_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    with contextlib.closing(os.fdopen(descriptor, "rb")) as owner:
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # Between making and locking it, its owner has written nothing yet.
        return bool(owner.read(1))
