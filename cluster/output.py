"""What commands print: plain lines or JSON on stdout, progress on stderr, colours only for a terminal."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def stdout_console() -> Console:
    """Return a console on stdout; without a terminal it prints plain lines that are never wrapped or cut."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    return console


def print_json(value: Mapping[str, object]) -> None:
    """Print one JSON document on a line of its own."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def say(line: str) -> None:
    """Print a line for people on stderr, so that stdout stays what was asked for."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


QUIET_S = 1.0
"""What is done sooner needs no progress."""


class Meter(Protocol):
    """How far a long job has come."""

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        """Show that `done` of `total` (None: not known) is done."""
        ...


@contextmanager
def meter(title: str, *, unit: str, is_quiet: bool = False) -> Iterator[Meter]:
    """Yield a progress bar on stderr: a live one in a terminal, a line for every tenth part otherwise."""
    if is_quiet:
        yield _ignore
    elif sys.stderr.isatty():
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
