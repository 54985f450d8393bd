"""Child processes that cannot outlive the command that started them, whatever ends it."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

import psutil

PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal the kernel sends to this process when its parent dies."""

STOP_DEADLINE_S = 20.0
"""How long a child may drain before it is killed."""


@contextmanager
def child(
    module: str, arguments: Sequence[str], *, stderr: IO[bytes] | int | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run `python -m module`; yield it with its stdout to read; stop it and all it started on the way out."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        # A group of its own: Ctrl-C reaches us alone, and we stop things in order.
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    try:
        yield process
    finally:
        stop(process)


def stop(process: "subprocess.Popen[str]") -> None:
    """Ask the process to end, then make sure that neither it nor a descendant is left."""
    family = _descendants(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            family += _descendants(process.pid)
            process.kill()
            process.wait()
    _, alive = psutil.wait_procs(family, timeout=2.0)
    for one in alive:
        with suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(alive, timeout=5.0)
    if process.stdout is not None:
        process.stdout.close()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
