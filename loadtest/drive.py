"""`python -m loadtest.drive`: lets a simulated town live on a running Hearth, and tells how that went."""

import argparse
import asyncio
import json
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from loadtest.credentials import GatewayCredentials
from loadtest.driving import Drive, DriveSettings
from loadtest.gateway import GaveUp
from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town import MONDAY_US, PlaybookMismatch, Town
from playbooks.compiler import compile_playbook


def as_text(report: dict[str, Any]) -> str:
    """Return a report for people."""
    signals, decisions = report["signals"], report["decisions"]
    latency = ", ".join(f"{name} {value}" for name, value in report["latency_ms"].items())
    lines = [
        f"{signals['in']:,} signals in {report['elapsed_s']:.1f} s ({signals['per_s']:,.0f}/s) = "
        + " + ".join(f"{signals[fate]:,} {fate}" for fate in ("applied", "duplicate", "late", "rejected")),
        f"{decisions['total']:,} decisions, {decisions['nothing']:,} of them nothing; latency ms: {latency}",
        f"by channel: {decisions['by_channel']}",
        f"by action: {decisions['by_action']}",
        f"outcomes: {report['outcomes']}; deliveries: {report['deliveries']['total']}",
        f"retries: {report['retries']}; failures: {report['failures']}",
        *(f"  {example}" for example in report["failure_examples"]),
    ]
    for name, promise in report["promises"].items():
        lines.append(f"  {name}: {promise['violations']} violations in {promise['trials']} trials")
        lines += [f"    {example}" for example in promise["examples"]]
    return "\n".join(lines)


def _arguments() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description="Drive a running Hearth with a simulated town.")
    arguments.add_argument("--target", required=True, help="host:port of a running Hearth")
    arguments.add_argument("--ca", type=Path, help="PEM file of the authority of its certificate, if it has TLS")
    arguments.add_argument("--cert", type=Path, help="PEM file of our own certificate")
    arguments.add_argument("--key", type=Path, help="PEM file of its key")
    arguments.add_argument("--token", default="", help="JWT that says who we are, or @FILE with one")
    arguments.add_argument("--households", type=int, default=1_000)
    arguments.add_argument("--days", type=float, default=7.0, help="simulated days")
    arguments.add_argument("--start", help="local start of the span, as 2026-03-02T00:00+01:00; whole seconds")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--intensity", type=float, default=1.0, help="factor on what members do")
    arguments.add_argument("--playbook", type=Path, default=SHIPPED_PLAYBOOK)
    arguments.add_argument("--speed", default="max", help="signals per second, or max")
    arguments.add_argument("--decide-rate", type=float, default=0.0, help="questions per second besides, open model")
    arguments.add_argument("--ask-share", type=float, default=0.2, help="share of contacts that ask")
    arguments.add_argument("--lanes", type=int, default=4, help="requests under way")
    arguments.add_argument("--contacts", type=int, default=32, help="members in contact at once")
    arguments.add_argument("--batch-rows", type=int, default=8_192)
    arguments.add_argument("--json-lines", action="store_true", help="progress and report as JSON lines on stdout")
    arguments.add_argument("--strict", action="store_true", help="exit 3 if a promise was broken or a call failed")
    return arguments


def _town(given: argparse.Namespace) -> Town:
    start_us = MONDAY_US
    if given.start:
        start_us = round(datetime.fromisoformat(given.start).timestamp()) * 1_000_000
    return Town(
        seed=given.seed,
        households=given.households,
        start_us=start_us,
        days=given.days,
        plan=compile_playbook(given.playbook),
        intensity=given.intensity,
    )


def _settings(given: argparse.Namespace) -> DriveSettings:
    return DriveSettings(
        target=given.target,
        credentials=GatewayCredentials(ca=given.ca, cert=given.cert, key=given.key, token=given.token),
        lanes=given.lanes,
        concurrent_contacts=given.contacts,
        batch_rows=given.batch_rows,
        speed=0.0 if given.speed == "max" else float(given.speed),
        ask_share=given.ask_share,
        decide_rate=given.decide_rate,
    )


def _print_line(kind: str, content: dict[str, Any]) -> None:
    print(json.dumps({kind: content}, separators=(",", ":")), flush=True)


async def drive(town: Town, settings: DriveSettings, *, json_lines: bool) -> dict[str, Any]:
    """Run once, with progress on stdout if asked; SIGINT and SIGTERM end it early with a report, twice at once.

    Raises:
        GaveUp: Hearth did not take the signals.
    """
    run = Drive(town, settings, (lambda line: _print_line("progress", line)) if json_lines else lambda _: None)
    task = asyncio.ensure_future(run.run())
    signals_seen = 0

    def end() -> None:
        nonlocal signals_seen
        signals_seen += 1
        run.stop()
        if signals_seen > 1:
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    return await task


def main() -> int:
    """Drive and report: exit 0, 1 if Hearth could not be driven, 3 under --strict if a promise was broken."""
    given = _arguments().parse_args()
    try:
        report = asyncio.run(drive(_town(given), _settings(given), json_lines=given.json_lines))
    except (GaveUp, PlaybookMismatch) as wrong:
        if given.json_lines:
            _print_line("error", {"message": str(wrong)})
        print(wrong, file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 130
    if given.json_lines:
        _print_line("report", report)
    else:
        print(as_text(report))
    return 3 if given.strict and (report["violations"] or report["failures"]) else 0


if __name__ == "__main__":
    sys.exit(main())
