"""Laws: the demo's report and exit code say whether every signal is accounted for; whatever ends it, nothing it started
is left behind.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.remembered_playbook import PlaybookFacts, remember
from tests.cluster.conftest import Run

UP = """
    import json, signal, subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "MARK"], start_new_session=True)
    if "--fail" in FLAGS:
        sys.exit("the disk is on fire")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("some log line")
    print(json.dumps({"ready": True, "address": "127.0.0.1:5"}), flush=True)
    print(json.dumps({"model": "m1"}), flush=True)
    signal.pause()
"""

DRIVE = """
    import json, sys, time
    assert sys.argv[1:7] == ["--target", "127.0.0.1:5", "--households", "20", "--days", "2"], sys.argv
    assert "--json-lines" in sys.argv
    assert "--speaks" not in FLAGS or sys.argv[sys.argv.index("--playbook") + 1] == FLAGS.split()[1], sys.argv
    counts = {"in": 10, "applied": 7, "duplicate": 1, "late": 1, "rejected": LOST}
    standing = {
        "signals": counts,
        "decisions": {"total": 5, "nothing": 2, "by_channel": {"app": 5}, "by_action": {"topup": 3, "(nothing)": 2}},
        "latency_ms": {"p50": 1.5, "p90": 2.0, "p99": 4.0},
    }
    print(json.dumps({"progress": standing}), flush=True)
    if "--hang" in FLAGS:
        time.sleep(600)
    print(json.dumps({"report": standing}), flush=True)
    sys.exit(3 if "--break" in FLAGS else 0)
"""

TRAIN = """
    import json, sys
    assert sys.argv[1:3] == ["models", "train"] and "--promote" in sys.argv, sys.argv
    if "--few" in FLAGS:
        sys.exit("too little to learn from")
    facts = {"rows": 600, "positives": 60, "auc": 0.67, "prior_auc": 0.65, "holdout_rows": 120}
    told = {"version": "m1", "training": facts, "champion": True}
    if "--worse" in FLAGS:
        compared = {"verdict": "worse", "why": "too few"}
        print(json.dumps({**told, "champion": False, "comparison": compared, "refused": "it is worse"}))
        sys.exit(1)
    print(json.dumps(told))
"""

STORY = """
    import json
    steps = [{"time": "t", "what": "looks at the balance", "ok": True}]
    told = {"title": "S1, low balance", "ok": True, "steps": steps, "lines": ["looks"]}
    print(json.dumps({**told, "explanation": {"reasons": ["MOMENT"]}}))
"""

ARMS = """
    import sys
    import numpy as np
    asked = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    count = int(asked["--households"])
    rng = np.random.default_rng(1)
    before = rng.normal(1000.0, 100.0, count)
    lift = np.array([0.0, 0.0, 500.0])[:, None]
    revenue = before * 2 + lift + rng.normal(0.0, 5.0, (3, count))
    names = ("conversion", "left", "sent", "shown", "accepted")
    some = {name: rng.integers(0, 2, (3, count)).astype(float) for name in names}
    np.savez(asked["--out"], revenue_minor=revenue, margin_minor=0.4 * revenue, revenue_before_minor=before,
             taken_before=np.zeros(count), **some)
"""

REPORT = """
    import sys
    if "--undrawn" in FLAGS:
        sys.exit("it cannot be drawn")
    open(sys.argv[sys.argv.index("--out") + 1], "w").write("page")
"""


def stage(folder: Path, mark: str, *, flags: str = "", lost: int = 1) -> dict[str, str]:
    """Write the three programs that the demo runs, and return how the environment finds them."""
    programs = {"up": UP, "train": TRAIN, "drive": DRIVE, "story": STORY, "arms": ARMS, "report": REPORT}
    for name, source in ((f"fake_{what}", source) for what, source in programs.items()):
        text = textwrap.dedent(source).replace("MARK", mark).replace("FLAGS", repr(flags)).replace("LOST", str(lost))
        (folder / f"{name}.py").write_text(text)
    return {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


@pytest.fixture
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("cluster.demo.UP_MODULE", "fake_up")
    monkeypatch.setattr("cluster.demo.TRAIN_MODULE", "fake_train")
    monkeypatch.setattr("cluster.demo.DRIVE_MODULE", "fake_drive")
    monkeypatch.setattr("cluster.demo.STORY_MODULE", "fake_story")
    monkeypatch.setattr("cluster.demo_arms.ARMS_MODULE", "fake_arms")
    monkeypatch.setattr("cluster.demo_page.REPORT_MODULE", "fake_report")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))

    def prepare(**changes: Any) -> str:
        mark = f"hearth-test-{tmp_path}"
        monkeypatch.setenv("PYTHONPATH", stage(tmp_path, mark, **changes)["PYTHONPATH"])
        return mark

    return prepare


def left_behind(mark: str) -> list[int]:
    return [one.pid for one in psutil.process_iter(["cmdline"]) if mark in (one.info["cmdline"] or [])]


ARGUMENTS = ("demo", "--households", "20", "--days", "2")


def test_the_report_tells_all_and_nothing_is_left(staged: Any, run: Run, tmp_path: Path):
    mark = staged()

    ended = run(*ARGUMENTS, "--report", "r.json")

    assert ended.code == 0
    for told in (
        "signals    in 10 = applied 7 + duplicate 1 + late 1 + rejected 1",
        "decisions  5: 3 with an action, 2 nothing",
        "by channel: app 5",
        "by action: topup 3",
        "p50 1.5 ms, p99 4.0 ms",
        "m1, learned from 600 of these decisions, 60 accepted: AUC 0.67",
        "better than the playbook's priors beyond doubt: in force from here on",
        "S1, low balance",
        "looks",
    ):
        assert told in ended.out
    assert (tmp_path / "hearth-demo-report.html").read_text() == "page"
    assert str(tmp_path / "hearth-demo-report.html") in ended.out
    report = json.loads(Path("r.json").read_text())
    advantages = {(one["measure"], one["arm"], one["over"]): one for one in report["arms"]["advantages"]}
    ahead = advantages["margin", "moment", "batch"]
    assert ahead["low"] > 0
    assert ahead["low"] <= ahead["truth"] <= ahead["high"]
    assert advantages["margin", "batch", "control"]["low"] < 0 < advantages["margin", "batch", "control"]["high"]
    assert report["signals"] == {"in": 10, "applied": 7, "duplicate": 1, "late": 1, "rejected": 1}
    assert report["decisions"] == {"total": 5, "nothing": 2, "by_channel": {"app": 5}, "by_action": {"topup": 3}}
    assert report["latency_ms"] == {"p50": 1.5, "p99": 4.0}
    assert report["story"][0]["what"] == "looks at the balance"
    assert report["explanation"] == {"reasons": ["MOMENT"]}
    assert left_behind(mark) == []


def test_the_town_speaks_the_words_of_the_playbook_in_force(staged: Any, run: Run, tmp_path: Path):
    staged(flags=f"--speaks {tmp_path / 'shop'}")
    for folder in ("shop", "kept"):
        (tmp_path / folder).mkdir()
    facts = PlaybookFacts(name="shop", version="1", source=str(tmp_path / "shop"), since="")
    remember(tmp_path / "kept", facts, b"{}")

    assert run(*ARGUMENTS, "--data-dir", "kept").code == 0
    assert run(*ARGUMENTS, "--playbook", tmp_path / "shop").code == 0
    assert run(*ARGUMENTS).code == 1


def test_too_little_to_learn_from_is_told_and_the_story_goes_on(staged: Any, run: Run):
    staged(flags="--few")
    ended = run(*ARGUMENTS)
    assert ended.code == 0
    assert "too little to learn from: the playbook's priors score" in ended.out


def test_a_page_that_cannot_be_drawn_is_told_and_ends_nothing(staged: Any, run: Run):
    staged(flags="--undrawn")
    ended = run(*ARGUMENTS)
    assert ended.code == 0
    assert "no page for a meeting was written" in ended.out


def test_a_model_that_is_not_better_is_told_and_the_priors_go_on(staged: Any, run: Run):
    staged(flags="--worse")
    ended = run(*ARGUMENTS, "--report", "r.json")
    assert ended.code == 0
    assert "priors, on what it has not seen: worse; so the priors go on scoring" in ended.out
    assert "too few" in ended.out
    assert "in force" not in ended.out
    model = json.loads(Path("r.json").read_text())["model"]
    assert (model["champion"], model["refused"]) == (False, "it is worse")


def test_a_lost_signal_is_told_and_ends_with_1(staged: Any, run: Run):
    staged(lost=0)
    ended = run(*ARGUMENTS)
    assert ended.code == 1
    assert "in 10 ≠ applied 7" in ended.out
    assert "a defect of Hearth" in ended.err


def test_a_hearth_that_does_not_start_is_told_with_its_last_words(staged: Any, run: Run):
    mark = staged(flags="--fail")
    ended = run(*ARGUMENTS)
    assert ended.code == 1
    assert "the disk is on fire" in ended.err
    assert left_behind(mark) == []


def test_a_town_that_breaks_off_is_told_and_nothing_is_left(staged: Any, run: Run):
    mark = staged(flags="--break")
    ended = run(*ARGUMENTS)
    assert ended.code == 1
    assert "ended with exit code 3" in ended.err
    assert left_behind(mark) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_leaves_nothing_behind(how: signal.Signals, tmp_path: Path):
    mark = f"hearth-test-{tmp_path}"
    environment = {**os.environ, **stage(tmp_path, mark, flags="--hang")}
    program = (
        "import cluster.demo as d\n"
        "d.UP_MODULE, d.DRIVE_MODULE, d.STORY_MODULE = 'fake_up', 'fake_drive', 'fake_story'\n"
        f"from cluster.cli import main; main({list(ARGUMENTS)!r})"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "signals 10" in process.stdout.readline()
    assert len(left_behind(mark)) == 1
    process.send_signal(how)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "everything that was started is stopped" in err
    assert left_behind(mark) == []
    assert not any(
        "fake_" in " ".join(one.info["cmdline"] or []) and str(tmp_path) in str(one.info["environ"] or "")
        for one in psutil.process_iter(["cmdline", "environ"])
    )
