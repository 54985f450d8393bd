"""Child processes that cannot outlive the command that started them, whatever ends it or them."""

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psutil

from actors.passing_over import passing_over

# linux/prctl.h
PR_SET_PDEATHSIG = 1
"""The signal the kernel sends to this process when its parent dies."""
PR_SET_CHILD_SUBREAPER = 36
"""Orphaned descendants become children of this process instead of init's, so that they can be found."""

STOP_DEADLINE_S = 30.0
"""How long a child may drain before it is killed."""

PATIENCE_S = 2.0
"""What leftovers are given to end by themselves."""

KILL_ROUNDS_MAX = 3
"""How often descendants are looked for; each round after the first finds what was started during the one before."""

POLL_S = 0.1
LAST_LINES_S = 0.5
"""How long after a child's end its last lines may take; a grandchild may hold the pipe open for ever."""


class Child:
    """A running program; what it prints can be read line by line, and is read on whether anyone listens or not."""

    def __init__(
        self,
        process: "subprocess.Popen[str]",
        note: Callable[[str], None] | None,
        *,
        stop_deadline_s: float = STOP_DEADLINE_S,
    ) -> None:
        self.process = process
        self._note = note
        self._stop_deadline_s = stop_deadline_s
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._readers = [threading.Thread(target=self._read, daemon=True)]
        if note is not None:
            self._readers.append(threading.Thread(target=self._read_errors, daemon=True))
        for reader in self._readers:
            reader.start()

    def lines(self, *, until: Callable[[], bool] | None = None) -> Iterator[str]:
        """Yield lines of its stdout until it closes it, has ended, or `until` says so."""
        idle_s = 0.0
        while idle_s < LAST_LINES_S and not (until is not None and until()):
            try:
                line = self._lines.get(timeout=POLL_S)
            except queue.Empty:
                idle_s = idle_s + POLL_S if self.process.poll() is not None else 0.0
                continue
            if line is None:
                return
            idle_s = 0.0
            yield line

    def hand_over(self, order: str) -> None:
        """Let it read this from stdin, and nothing after it."""
        assert self.process.stdin is not None
        with (
            passing_over(BrokenPipeError, because="whoever waits for the child notices"),
            self.process.stdin as stream,
        ):
            stream.write(order)

    def stop(self) -> None:
        """Ask it to end, then make sure that neither it nor a descendant is left. Calling it again does nothing."""
        family = _descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(self._stop_deadline_s)
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
def nobody_left(*, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """On the way out, end every process that came into being below this one meanwhile, orphans included.

    Args:
        patience_s: what they are given to end by themselves; 0 kills them at once.
    """
    before = {one.pid for one in _descendants(os.getpid())}
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        # One that is killed may just have started another.
        for _ in range(KILL_ROUNDS_MAX):
            kill([one for one in _descendants(os.getpid()) if one.pid not in before], patience_s=patience_s)


@contextmanager
def child(
    module: str,
    arguments: Sequence[str],
    *,
    note: Callable[[str], None] | None = None,
    is_ordered: bool = False,
    stop_deadline_s: float = STOP_DEADLINE_S,
) -> Iterator[Child]:
    """Run `python -m module`, and stop it and all it started on the way out.

    Args:
        module: what is run.
        arguments: of its command line, which everyone on the machine can read.
        note: told each line of its stderr, from another thread; by default stderr is ours.
        is_ordered: it is handed over what it reads from stdin; by default that is nothing.
        stop_deadline_s: how long it may drain before it is killed.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE if is_ordered else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if note is not None else None,
        text=True,
        # A session of its own: Ctrl-C reaches us alone, and we stop things in order.
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    running = Child(process, note, stop_deadline_s=stop_deadline_s)
    try:
        yield running
    finally:
        running.stop()


def kill(family: list[psutil.Process], *, patience_s: float = PATIENCE_S) -> None:
    """End these processes, gently for a while, then for good; collect those that are our own children."""
    alive = family
    if patience_s > 0:
        for one in family:
            with passing_over(psutil.Error, because="it is gone"):
                one.terminate()
        _, alive = psutil.wait_procs(family, timeout=patience_s)
    for one in alive:
        with passing_over(psutil.Error, because="it is gone"):
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
