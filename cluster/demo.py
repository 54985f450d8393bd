"""`hearth demo`: a Hearth of its own, a simulated town, one household's story, a report. Leaves nothing behind.

The load test is run as a program, over the public protocol, as any other client would be.
"""

import json
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.board import Seen, board, report_lines, seen_from
from cluster.children import Child, child, nobody_left
from cluster.config import HearthConfig
from cluster.demo_arms import arms_lines, lived_arms
from cluster.demo_page import page_lines, written_page
from cluster.errors import CommandFailed
from cluster.interruptions import INTERRUPTED, terminable
from cluster.output import say
from cluster.remembered_playbook import told_facts
from cluster.run_dir import DEMO_PREFIX, run_dir

LOG_TAIL_LINES = 15

PROGRESS = re.compile(r"[a-z].* \.\.\.")
"""How `hearth up` says what it is doing: "starting the shards ..."."""

UP_MODULE, TRAIN_MODULE, DRIVE_MODULE, STORY_MODULE = "cluster.cli", "cluster.cli", "loadtest.drive", "loadtest.story"
"""Programs that the demo runs."""

ASK_SHARE = 0.5
"""Share of contacts that ask: enough decisions for a first model from a town small enough for a demo."""

CONTACTS = 4
"""Members in contact at once: enough to keep two cores busy, few enough that a question hardly waits for another."""

BATCH_ROWS = 2_048
"""Some hours of the town at a time, so that questions come close to when they are asked."""

MODEL_DEADLINE_S = 60.0


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
            stack.enter_context(terminable())
            stack.enter_context(nobody_left())
            folder = stack.enter_context(_data_dir(plan.data_dir))
            say(f"setting up in {folder}: the log, {config.shard_count} shards, the scorer, the gateway's port ...")
            hearth = stack.enter_context(_hearth(config, folder))
            address = hearth.address
            say(f"Hearth answers at {address} after {time.monotonic() - started_s:.0f} s")
            say(f"a town of {plan.households:,} households moves in for {plan.days:g} simulated days")
            town = _drive(address, plan, config.playbook or _remembered(folder))
            seen = seen_from(town, seconds=float(town["demo_seconds"]))
            model = _learn(hearth, folder)
            story = _story(address)
            for line in ("", *report_lines(seen), *_model_lines(model), ""):
                print(line)
            _tell(story)
            page = written_page(folder)
            say("living some weeks under control, batch and moment, in another town ...")
            arms = lived_arms(config.playbook or _remembered(folder))
            for line in ("", *arms_lines(arms), "", *page_lines(page)):
                print(line)
            if plan.report is not None:
                _write(plan.report, seen, town, model, story, arms, seconds=time.monotonic() - started_s)
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
    with run_dir(DEMO_PREFIX) as folder:
        yield folder / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hearth:
    """A Hearth that answers, and what else it says."""

    address: str
    said: Iterator[dict[str, Any]]
    child: Child


@contextmanager
def _hearth(config: HearthConfig, folder: Path) -> Iterator[_Hearth]:
    """Start `hearth up` and yield it once it is ready."""
    arguments = ["up", "--json", "--data-dir", str(folder), "--port", "0", "--clock", "stream"]
    arguments += ["--shards", str(config.shard_count), "--partitions", str(config.partition_count)]
    if config.playbook is not None:
        arguments += ["--playbook", str(config.playbook)]
    words = _LastWords()
    with child(UP_MODULE, arguments, note=words) as hearth:
        # Whatever hangs, the demo does not: the child ends, and with it the wait for its next line.
        alarm = threading.Timer(config.ready_deadline_s, hearth.process.terminate)
        alarm.start()
        said = map(_parse, hearth.lines())
        try:
            address = next((str(one["address"]) for one in said if one.get("ready")), None)
        finally:
            alarm.cancel()
        if address is None:
            raise CommandFailed("Hearth did not start; its last words:\n  " + "\n  ".join(words.last or ["(none)"]))
        words.is_quiet = True
        yield _Hearth(address=address, said=said, child=hearth)


class _LastWords:
    """Passes on what a starting Hearth says for people, and keeps the last of all it says."""

    def __init__(self) -> None:
        self.last: deque[str] = deque(maxlen=LOG_TAIL_LINES)
        self.is_quiet = False

    def __call__(self, line: str) -> None:
        self.last.append(line)
        if not self.is_quiet and PROGRESS.fullmatch(line):
            say(f"  {line}")


def _remembered(data_dir: Path) -> Path | None:
    """Return where the playbook in force lies, so that the town speaks its words; None for the shipped one's."""
    source = (told_facts(data_dir) or {}).get("source")
    return Path(source) if source is not None and Path(source).exists() else None


def _drive(address: str, plan: DemoPlan, playbook: Path | None) -> dict[str, Any]:
    """Let the town live; return the load test's report, with `demo_seconds`."""
    arguments = ["--target", address, "--households", str(plan.households), "--days", f"{plan.days:g}", "--json-lines"]
    arguments += ["--ask-share", f"{ASK_SHARE:g}", "--batch-rows", str(BATCH_ROWS), "--contacts", str(CONTACTS)]
    if playbook is not None:
        arguments += ["--playbook", str(playbook)]
    report: dict[str, Any] = {}
    started_s = time.monotonic()
    with child(DRIVE_MODULE, arguments) as drive, board() as show:
        for line in drive.lines():
            message = _parse(line)
            report = message.get("report") or report
            standing = report or message.get("progress")
            if standing:
                show(seen_from(standing, seconds=time.monotonic() - started_s))
        code = drive.process.wait()
    if code != 0 or not report:
        raise CommandFailed(f"the simulated town ended with exit code {code} before its report; what it said is above")
    return {**report, "demo_seconds": round(time.monotonic() - started_s, 3)}


def _learn(hearth: _Hearth, folder: Path) -> dict[str, Any]:
    """Train an acceptance model on what the town did, and put it into force if it is better than the priors.

    Empty if there is too little to learn.
    """
    say("learning from what the town did, and putting the model into force if it is better than the priors ...")
    arguments = ["models", "train", "--data-dir", str(folder), "--promote", "--json"]
    with child(TRAIN_MODULE, arguments) as trainer:
        text = "".join(trainer.lines())
        code = trainer.process.wait()
    trained = _parse(text)
    if not trained or not trained.get("champion"):
        return trained
    if code != 0:
        raise CommandFailed(f"training ended with exit code {code}; what it said is above")
    alarm = threading.Timer(MODEL_DEADLINE_S, hearth.child.process.terminate)
    alarm.start()
    try:
        is_in_force = any(said.get("model") == trained["version"] for said in hearth.said)
    finally:
        alarm.cancel()
    if not is_in_force:
        raise CommandFailed(f"model {trained['version']} did not come into force within {MODEL_DEADLINE_S:.0f} s")
    return trained


def _model_lines(model: dict[str, Any]) -> list[str]:
    if not model:
        return ["model      too little to learn from: the playbook's priors score"]
    facts = model["training"]
    learned = f"{model['version']}, learned from {facts['rows']:,} of these decisions, {facts['positives']:,} accepted"
    worth = f"AUC {facts['auc']:.2f} on the newest {facts['holdout_rows']:,} (priors {facts['prior_auc']:.2f})"
    lines = [f"model      {learned}: {worth}"]
    if model["champion"]:
        return [*lines, "           better than the playbook's priors beyond doubt: in force from here on"]
    compared = model.get("comparison", {})
    verdict, why = compared.get("verdict", "not compared"), compared.get("why", "")
    judged = (
        f"           against the playbook's priors, on what it has not seen: {verdict}; so the priors go on scoring"
    )
    return [*lines, judged, *([f"           {why}"] if why else [])]


def _story(address: str) -> dict[str, Any]:
    with child(STORY_MODULE, ["s1", "--target", address, "--json"]) as teller:
        text = "".join(teller.lines())
        code = teller.process.wait()
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


def _write(
    file: Path,
    seen: Seen,
    town: dict[str, Any],
    model: dict[str, Any],
    story: dict[str, Any],
    arms: dict[str, Any],
    *,
    seconds: float,
) -> None:
    report = {
        "model": model,
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
        "arms": {name: value for name, value in arms.items() if name != "told"},
    }
    try:
        file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    except OSError as failed:
        raise CommandFailed(f"the report {file} cannot be written: {failed.strerror}") from failed
    say(f"the report is in {file}")
