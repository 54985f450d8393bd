"""Child processes that cannot outlive the command that started them, whatever ends it or them."""

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

# linux/prctl.h
PR_SET_PDEATHSIG = 1
"""The signal the kernel sends to this process when its parent dies."""
PR_SET_CHILD_SUBREAPER = 36
"""Orphaned descendants become children of this process instead of init's, so that they can be found."""

STOP_DEADLINE_S = 30.0
"""How long a child may drain before it is killed."""

POLL_S = 0.1
LAST_LINES_S = 0.5
"""How long after a child's end its last lines may take; a grandchild may hold the pipe open for ever."""


class Child:
    """A running program; what it prints can be read line by line, and is read on whether anyone listens or not."""

    def __init__(self, process: "subprocess.Popen[str]", note: Callable[[str], None] | None) -> None:
        self.process = process
        self._note = note
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._readers = [threading.Thread(target=self._read, daemon=True)]
        if note is not None:
            self._readers.append(threading.Thread(target=self._read_errors, daemon=True))
        for reader in self._readers:
            reader.start()

    def lines(self) -> Iterator[str]:
        """Yield lines of its stdout until it closes it or has ended."""
        idle_s = 0.0
        while idle_s < LAST_LINES_S:
            try:
                line = self._lines.get(timeout=POLL_S)
            except queue.Empty:
                idle_s = idle_s + POLL_S if self.process.poll() is not None else 0.0
                continue
            if line is None:
                return
            idle_s = 0.0
            yield line

    def stop(self) -> None:
        """Ask it to end, then make sure that neither it nor a descendant is left. Calling it again does nothing."""
        family = _descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                family += _descendants(self.process.pid)
                self.process.kill()
                self.process.wait()
        kill(family)
        # An orphan may still hold a pipe; its reader ends with it.
        for reader in self._readers:
            reader.join(timeout=LAST_LINES_S)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        assert self._note is not None
        with self.process.stderr as stream:
            for line in stream:
                self._note(line.rstrip())


@contextmanager
def nobody_left() -> Iterator[None]:
    """On the way out, end every process that came into being below this one meanwhile, orphans included."""
    before = {one.pid for one in _descendants(os.getpid())}
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        kill([one for one in _descendants(os.getpid()) if one.pid not in before])


@contextmanager
def child(module: str, arguments: Sequence[str], *, note: Callable[[str], None] | None = None) -> Iterator[Child]:
    """Run `python -m module`, and stop it and all it started on the way out.

    Args:
        note: told each line of its stderr, from another thread; by default stderr is ours.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if note is not None else None,
        text=True,
        # A session of its own: Ctrl-C reaches us alone, and we stop things in order.
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    running = Child(process, note)
    try:
        yield running
    finally:
        running.stop()


def kill(family: list[psutil.Process]) -> None:
    """End these processes, gently for two seconds, then for good; collect those that are our own children."""
    for one in family:
        with suppress(psutil.Error):
            one.terminate()
    _, alive = psutil.wait_procs(family, timeout=2.0)
    for one in alive:
        with suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(alive, timeout=5.0)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _die_with_parent() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
