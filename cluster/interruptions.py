"""Ctrl-C as a question that a loop asks, not as an exception anywhere.

A KeyboardInterrupt that strikes inside gRPC can leave its locks taken, and then closing the channel hangs.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code of a command that was stopped by Ctrl-C, as shells have it."""


@contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, as Ctrl-C does, so that what was started is stopped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Yield whether Ctrl-C was pressed or the process was told to end; a second time raises KeyboardInterrupt."""
    count = 0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal count
        del number, frame
        count += 1
        if count > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: count > 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
