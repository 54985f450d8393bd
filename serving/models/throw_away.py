"""Processes that answer one question about a model, and end: what kills whoever opens it kills only them.

Such a process spends a second or more on its imports. Whoever has to act soon has one stand by, which has made them and
waits for its question; it ends when whoever started it does, since its standard input ends then.
"""

import subprocess
import threading
from collections.abc import Sequence
from typing import Final

_standing_by: Final[dict[tuple[str, ...], "subprocess.Popen[bytes]"]] = {}
_lock: Final = threading.Lock()


def stand_by(command: Sequence[str]) -> None:
    """Have a process of this command wait for its question, unless one does already."""
    with _lock:
        standing = _standing_by.get(tuple(command))
        if standing is None or _has_ended(standing):
            _standing_by[tuple(command)] = _started(command)


def asked(command: Sequence[str], question: bytes, *, timeout_s: float) -> "subprocess.CompletedProcess[bytes]":
    """Return how a process of this command ended that was given a question on its standard input.

    Raises:
        subprocess.TimeoutExpired: it did not end in time, and was killed.
    """
    with _lock:
        process = _standing_by.pop(tuple(command), None)
    if process is None or _has_ended(process):
        process = _started(command)
    with process:
        try:
            said, complained = process.communicate(question, timeout=timeout_s)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, said, complained)


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Return whether it has ended unasked; what is left of it is given back then."""
    if process.poll() is None:
        return False
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return True


def _started(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
