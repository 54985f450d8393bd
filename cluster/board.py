"""The live board of `hearth demo`, and its report: what a simulated town sent and what Hearth decided."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

PLAIN_EVERY_S = 5.0
"""Without a terminal a line is printed this often."""

SHOWN_ACTIONS_MAX = 8

NOTHING = "(nothing)"
"""How the load test counts decisions without an action among the actions; the board counts them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a run saw so far."""

    signals: dict[str, int] = field(default_factory=dict)
    """in, applied, duplicate, late, rejected."""
    total: int = 0
    nothing: int = 0
    by_channel: dict[str, int] = field(default_factory=dict)
    by_action: dict[str, int] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)
    """p50 and p99 of Decide as its client saw it."""
    seconds: float = 0.0

    @property
    def balances(self) -> bool:
        """Whether every signal is accounted for; not before there was one."""
        parts = sum(self.signals.get(name, 0) for name in ("applied", "duplicate", "late", "rejected"))
        return self.signals.get("in", 0) == parts > 0

    @property
    def p50_ms(self) -> float:
        """Half of all answers came within this; 0 before there was one."""
        return self.latency_ms.get("p50", 0.0)

    @property
    def p99_ms(self) -> float:
        """All but one in a hundred answers came within this; 0 before there was one."""
        return self.latency_ms.get("p99", 0.0)

    @property
    def rate(self) -> float:
        """Signals per second."""
        return self.signals.get("in", 0) / self.seconds if self.seconds else 0.0


def seen_from(report: dict[str, Any], *, seconds: float) -> Seen:
    """Return what a progress line or the report of `loadtest.drive` says; what it leaves out is empty."""
    signals, decisions = report.get("signals") or {}, report.get("decisions") or {}
    return Seen(
        signals={name: int(signals.get(name, 0)) for name in ("in", "applied", "duplicate", "late", "rejected")},
        total=int(decisions.get("total", 0)),
        nothing=int(decisions.get("nothing", 0)),
        by_channel=dict(decisions.get("by_channel") or {}),
        by_action={name: count for name, count in (decisions.get("by_action") or {}).items() if name != NOTHING},
        latency_ms={
            name: float(value) for name, value in (report.get("latency_ms") or {}).items() if name in ("p50", "p99")
        },
        seconds=seconds,
    )


class Board(Protocol):
    """Shows how a run is going."""

    def __call__(self, seen: Seen) -> None:
        """Show this now."""
        ...


@contextmanager
def board() -> Iterator[Board]:
    """Yield a live board in a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        yield _PlainBoard()
        return
    with Live(Panel("waiting for the town to wake up"), console=Console(), refresh_per_second=8) as live:
        yield lambda seen: live.update(panel(seen))


def panel(seen: Seen) -> RenderableType:
    """Return the board."""
    counts = "  ".join(
        f"{name} [bold]{seen.signals.get(name, 0):,}[/bold]"
        for name in ("in", "applied", "duplicate", "late", "rejected")
    )
    latency = f"p50 [bold]{seen.p50_ms:.1f}[/bold] ms  p99 [bold]{seen.p99_ms:.1f}[/bold] ms"
    offered = seen.total - seen.nothing
    return Panel(
        Group(
            f"signals    {counts}  ({seen.rate:,.0f}/s)",
            f"decisions  [bold]{seen.total:,}[/bold]: {offered:,} with an action, {seen.nothing:,} nothing  {latency}",
            Columns([_tally("channel", seen.by_channel), _tally("action", seen.by_action)], padding=(1, 4)),
        ),
        title=f"Hearth, {seen.seconds:.0f} s",
        expand=False,
    )


def _tally(title: str, counts: dict[str, int]) -> Table:
    table = Table(title, "decisions", box=None)
    for name, count in sorted(counts.items(), key=lambda item: -item[1])[:SHOWN_ACTIONS_MAX]:
        table.add_row(name, f"{count:,}")
    hidden = sum(sorted(counts.values(), reverse=True)[SHOWN_ACTIONS_MAX:])
    if hidden:
        table.add_row(f"{len(counts) - SHOWN_ACTIONS_MAX} others", f"{hidden:,}")
    return table


class _PlainBoard:
    """One line every few seconds."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def __call__(self, seen: Seen) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + PLAIN_EVERY_S
        print(one_line(seen), flush=True)


def one_line(seen: Seen) -> str:
    """Return the board as one line."""
    return (
        f"{seen.seconds:5.1f} s  signals {seen.signals.get('in', 0):,} ({seen.rate:,.0f}/s)  decisions {seen.total:,} "
        f"({seen.nothing:,} nothing)  Decide p50 {seen.p50_ms:.1f} ms p99 {seen.p99_ms:.1f} ms"
    )


def report_lines(seen: Seen) -> list[str]:
    """Return the report at the end."""
    parts = " + ".join(f"{name} {seen.signals.get(name, 0):,}" for name in ("applied", "duplicate", "late", "rejected"))
    sign = "=" if seen.balances else "≠"
    lines = [
        f"signals    in {seen.signals.get('in', 0):,} {sign} {parts}",
        f"decisions  {seen.total:,}: {seen.total - seen.nothing:,} with an action, {seen.nothing:,} nothing",
    ]
    for title, by in (("by channel", seen.by_channel), ("by action", seen.by_action)):
        ranked = sorted(by.items(), key=lambda item: -item[1])
        if ranked:
            lines.append(f"  {title}: " + ", ".join(f"{name} {count:,}" for name, count in ranked))
    lines.append(f"Decide     p50 {seen.p50_ms:.1f} ms, p99 {seen.p99_ms:.1f} ms as its client saw it")
    return lines
