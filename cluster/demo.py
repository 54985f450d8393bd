"""`hearth demo`: a Hearth of its own, a simulated town, one household's story, a report. Leaves nothing behind.

The load test is run as a program, over the public protocol, as any other client would be.
"""

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from cluster.board import Seen, board, report_lines, seen_from
from cluster.children import child
from cluster.config import HearthConfig
from cluster.errors import CommandFailed
from cluster.interruptions import INTERRUPTED
from cluster.output import say

LOG_TAIL_LINES = 15

UP_MODULE, DRIVE_MODULE, STORY_MODULE = "cluster.cli", "loadtest.drive", "loadtest.story"
"""Programs that the demo runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """How large the town is and how long it lives."""

    households: int
    days: float
    report: Path | None
    data_dir: Path | None
    """Kept afterwards; a temporary one, removed at the end, if None."""


def demo(config: HearthConfig, plan: DemoPlan) -> int:
    """Run it all; exit code 0 when everything ran and every signal is accounted for."""
    started_s = time.monotonic()
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(_data_dir(plan.data_dir))
            say(f"setting up in {folder}: the log, {config.shard_count} shards, the scorer, the gateway's port ...")
            address = stack.enter_context(_hearth(config, folder))
            say(f"Hearth answers at {address} after {time.monotonic() - started_s:.0f} s")
            say(f"a town of {plan.households:,} households moves in for {plan.days:g} simulated days")
            town = _drive(address, plan)
            seen = seen_from(town, seconds=float(town["demo_seconds"]))
            story = _story(address)
            for line in ("", *report_lines(seen), ""):
                print(line)
            _tell(story)
            if plan.report is not None:
                _write(plan.report, seen, town, story, seconds=time.monotonic() - started_s)
            say("stopping Hearth ...")
    except KeyboardInterrupt:
        say("interrupted; everything that was started is stopped")
        return INTERRUPTED
    say(f"done in {time.monotonic() - started_s:.0f} s")
    if not seen.balances:
        say("signals in do not equal applied + duplicate + late + rejected: this is a defect of Hearth")
        return 1
    if not story.get("ok"):
        say("the story S1 did not come out as it should; the steps above say where")
        return 1
    return 0


@contextmanager
def _data_dir(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="hearth-demo-"))
    try:
        yield folder / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _hearth(config: HearthConfig, folder: Path) -> Iterator[str]:
    """Start `hearth up` and yield its address once it is ready."""
    arguments = ["up", "--json", "--data-dir", str(folder), "--port", "0", "--clock", "stream"]
    arguments += ["--shards", str(config.shard_count), "--partitions", str(config.partition_count)]
    if config.playbook is not None:
        arguments += ["--playbook", str(config.playbook)]
    with tempfile.TemporaryFile() as errors, child(UP_MODULE, arguments, stderr=errors) as process:
        # Whatever hangs, the demo does not: the child ends, and with it the wait for its next line.
        alarm = threading.Timer(config.ready_deadline_s, process.terminate)
        alarm.start()
        try:
            address = _wait_ready(process)
        finally:
            alarm.cancel()
        if address is None:
            process.wait()
            errors.seek(0)
            tail = errors.read().decode("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
            raise CommandFailed("Hearth did not start; its last words:\n  " + "\n  ".join(tail or ["(none)"]))
        drain = threading.Thread(target=_drain, args=(process,), daemon=True)
        drain.start()
        yield address


def _wait_ready(process: "Popen[str]") -> str | None:
    assert process.stdout is not None
    for line in process.stdout:
        message = _parse(line)
        if message.get("ready"):
            return str(message["address"])
    return None


def _drain(process: "Popen[str]") -> None:
    # An unread pipe fills up, and then the writer stands still.
    assert process.stdout is not None
    try:
        for _ in process.stdout:
            pass
    except ValueError:
        return


def _drive(address: str, plan: DemoPlan) -> dict[str, Any]:
    """Let the town live; return the load test's report, with `demo_seconds`."""
    arguments = ["--target", address, "--households", str(plan.households), "--days", f"{plan.days:g}", "--json-lines"]
    report: dict[str, Any] = {}
    started_s = time.monotonic()
    with child(DRIVE_MODULE, arguments) as process, board() as show:
        assert process.stdout is not None
        for line in process.stdout:
            message = _parse(line)
            report = message.get("report") or report
            standing = report or message.get("progress")
            if standing:
                show(seen_from(standing, seconds=time.monotonic() - started_s))
        code = process.wait()
    if code != 0 or not report:
        raise CommandFailed(f"the simulated town ended with exit code {code} before its report; what it said is above")
    return {**report, "demo_seconds": round(time.monotonic() - started_s, 3)}


def _story(address: str) -> dict[str, Any]:
    with child(STORY_MODULE, ["s1", "--target", address, "--json"]) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        code = process.wait()
    story = _parse(text)
    if not story.get("steps"):
        raise CommandFailed(f"the story S1 ended with exit code {code}; what it said is above")
    return story


def _parse(line: str) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _tell(story: dict[str, Any]) -> None:
    for line in [story.get("title", "S1"), *story.get("lines", [])]:
        print(line)


def _write(file: Path, seen: Seen, town: dict[str, Any], story: dict[str, Any], *, seconds: float) -> None:
    report = {
        "signals": seen.signals,
        "decisions": {
            "total": seen.total,
            "nothing": seen.nothing,
            "by_channel": seen.by_channel,
            "by_action": seen.by_action,
        },
        "latency_ms": seen.latency_ms,
        "signals_per_s": round(seen.rate, 1),
        "balances": seen.balances,
        "seconds": round(seconds, 3),
        "story": story.get("steps", []),
        "story_ok": bool(story.get("ok")),
        "explanation": story.get("explanation", {}),
        "town": town,
    }
    try:
        file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    except OSError as failed:
        raise CommandFailed(f"the report {file} cannot be written: {failed.strerror}") from failed
    say(f"the report is in {file}")
