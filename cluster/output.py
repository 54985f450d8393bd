"""What commands print: plain lines or JSON on stdout, progress on stderr, colours only for a terminal."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

    from intake.progress import Meter

logger = logging.getLogger(__name__)

WARNING, FAILED = "warning: ", "hearth: "
"""How a line begins that tells of trouble, and one that tells why the command fails."""

_kept: dict[str, TextIO] = {}
"""The console's streams where this process's own go into a file."""


def keep_console(file: Path) -> None:
    """Let whatever this process and its children print from here on go into a file; `say` and JSON go on as before.

    Ray, and what it starts, print dumps, tracebacks and colours at any time: nobody at a console can use them, and
    whoever looks for a cause needs them. A file that cannot be opened leaves all as it is.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    except OSError as wrong:
        say(f"{WARNING}{file} cannot be written ({wrong.strerror}), so what Ray prints comes to the console")
        return
    sys.stdout.flush()
    sys.stderr.flush()
    _kept.update({name: os.fdopen(os.dup(number), "w", buffering=1) for name, number in (("out", 1), ("err", 2))})
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def stdout_console() -> Console:
    """Return a console on stdout; without a terminal it prints plain lines that are never wrapped or cut."""
    # Takes as long to import as a quick command takes in all.
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    return console


def print_json(value: Mapping[str, object]) -> None:
    """Print one JSON document on a line of its own."""
    stream = _kept.get("out", sys.stdout)
    stream.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    stream.flush()


def say(line: str) -> None:
    """Print a line for people on stderr, so that stdout stays what was asked for; a process with a log file logs it."""
    stream = _kept.get("err", sys.stderr)
    stream.write(line + "\n")
    stream.flush()
    # Without a handler, logging would print warnings on stderr a second time.
    if logging.getLogger().handlers:
        level = logging.ERROR if line.startswith(FAILED) else logging.INFO
        logger.log(logging.WARNING if line.startswith(WARNING) else level, "%s", _bare(line))


def _bare(line: str) -> str:
    return line.removeprefix(WARNING).removeprefix(FAILED)


QUIET_S = 1.0
"""What is done sooner needs no progress."""


@contextmanager
def meter(title: str, *, unit: str, is_quiet: bool = False) -> Iterator[Meter]:
    """Yield a progress bar on stderr: a live one in a terminal, a line for every tenth part otherwise."""
    if is_quiet:
        yield _ignore
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(title, total=None, note="")

            def show(done: int, total: int | None, note: str = "") -> None:
                progress.update(task, completed=done, total=total, note=note)

            yield show
    else:
        yield _Lines(title, unit)


def _ignore(done: int, total: int | None, note: str = "") -> None:
    del done, total, note


class _Lines:
    """Progress without a terminal: one line per tenth."""

    def __init__(self, title: str, unit: str) -> None:
        self._title = title
        self._unit = unit
        self._tenth = 0
        self._from_s = time.monotonic() + QUIET_S

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        tenth = done * 10 // total if total else 0
        if tenth > self._tenth and time.monotonic() >= self._from_s:
            self._tenth = tenth
            say(f"{self._title}: {done:,} of {total:,} {self._unit}{' ' + note if note else ''}")
