"""Laws: what is said at the console stands in the log file too, with its level and without its colours; what others
print goes into a file and not to the console; the ends of Ray's logs outlive a run that fell.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.logs import FILE_BYTES_MAX, RAY_LOG_BYTES, LogSettings, keep_ray_logs, raw_output, start_logging
from cluster.output import say
from tests.cluster.conftest import Run

ROOT = Path(__file__).parents[2]

PRINTING = """
import subprocess, sys
from pathlib import Path
from cluster.output import keep_console, print_json, say
print("before")
keep_console(Path(sys.argv[1]))
print("a traceback")
sys.stderr.write("\\x1b[31ma dump\\x1b[0m\\n")
sys.stderr.flush()
subprocess.run(["sh", "-c", "echo of a child; echo its error >&2"], check=True)
say("for people")
print_json({"for": "programs"})
"""


@pytest.fixture
def log(tmp_path: Path, own_handlers: None) -> Path:
    start_logging(LogSettings(folder=tmp_path, level="info"), "up")
    return tmp_path / "up.log"


@pytest.fixture
def own_handlers() -> Iterator[None]:
    """Log files of this test alone."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def lines(log: Path) -> list[tuple[str, str]]:
    return [(one["level"], one["event"]) for one in map(json.loads, log.read_text().splitlines())][1:]


def test_what_is_said_is_logged(log: Path, capsys: pytest.CaptureFixture[str]):
    said = ["warning: the raylet is gone", "hearth: port 7 is in use", "\x1b[31mready\x1b[0m"]
    for one in said:
        say(one)

    assert capsys.readouterr().err.splitlines() == said
    assert lines(log) == [("warning", "the raylet is gone"), ("error", "port 7 is in use"), ("info", "ready")]


@pytest.mark.usefixtures("own_handlers")
def test_a_start_that_is_refused_is_part_of_the_story(run: Run, tmp_path: Path):
    data_dir = tmp_path / "hearth-data"
    refused = run("up", "--playbook", tmp_path / "nowhere")
    assert not data_dir.exists(), "nothing was begun, so there is nothing to tell of"

    (data_dir / "logs").mkdir(parents=True)
    again = run("up", "--playbook", tmp_path / "nowhere")
    assert (refused.code, again.code) == (2, 2)
    (told,) = lines(data_dir / "logs" / "supervisor.log")
    assert told == ("error", again.err.removeprefix("hearth: ").rstrip("\n"))


def test_a_traceback_is_one_line_of_its_own_field(log: Path):
    try:
        raise ValueError(" ".join(["what", "was", "wrong"]))
    except ValueError:
        logging.getLogger("any").exception("it failed")
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["event"], last["process"], last["level"]) == ("it failed", "up", "error")
    assert "in test_a_traceback_is_one_line_of_its_own_field" in last["exception"]
    assert "ValueError" in last["exception"]
    assert "what was wrong" not in last["exception"], "it may quote what was sent"
    assert last["time"].endswith("Z")


def test_two_processes_that_share_a_log_file_put_away_no_more_than_is_long(
    tmp_path: Path, own_handlers: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cluster.logs.FILE_BYTES_MAX", 2_000)
    handlers = []
    for _ in range(2):  # as each edge process does
        start_logging(LogSettings(folder=tmp_path, level="error"), "edge")
        handlers.append(logging.getLogger().handlers.pop())
    for number in range(30):
        line = logging.LogRecord("edge", logging.ERROR, "", 0, f"{number} {'x' * 100}", None, None)
        handlers[number % 2].handle(line)
    for handler in handlers:
        handler.close()

    sizes = [file.stat().st_size for file in tmp_path.glob("edge.log.*")]
    assert len(sizes) == 3
    assert min(sizes) > 1_500, "put away although it had just begun"
    assert "29 xx" in (tmp_path / "edge.log").read_text()


def test_without_a_log_file_it_is_only_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    say("warning: once")
    assert capsys.readouterr().err == "warning: once\n"


def printing(file: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PRINTING, str(file)], cwd=ROOT, capture_output=True, text=True, check=True
    )


def test_what_others_print_goes_into_a_file(tmp_path: Path):
    file = tmp_path / "ray.out"
    ended = printing(file)
    assert ended.stdout.splitlines() == ["before", '{"for": "programs"}']
    assert ended.stderr.splitlines() == ["for people"]
    assert set(file.read_text().splitlines()) == {"a traceback", "\x1b[31ma dump\x1b[0m", "of a child", "its error"}


def test_a_file_that_cannot_be_opened_leaves_the_console_as_it_is(tmp_path: Path):
    ended = printing(tmp_path / "nowhere" / "ray.out")
    assert "cannot be written (No such file or directory)" in ended.stderr
    assert "its error" in ended.stderr
    assert "a traceback" in ended.stdout


def test_what_others_print_begins_anew_when_it_is_long(tmp_path: Path):
    with (tmp_path / "ray.out").open("wb") as stream:
        stream.truncate(FILE_BYTES_MAX)
    assert raw_output(tmp_path) == tmp_path / "ray.out"
    assert [one.name for one in tmp_path.iterdir()] == ["ray.out.1"]


def test_the_ends_of_rays_logs_outlive_their_run(tmp_path: Path):
    of_run = tmp_path / "run" / "ray" / "session_2026-01-01_00-00-00_0_1" / "logs"
    of_run.mkdir(parents=True)
    (of_run / "raylet.out").write_bytes(b"begin" + b"x" * RAY_LOG_BYTES)
    (of_run / "raylet.err").write_bytes(b"why")
    (of_run / "python-core-worker-1.log").write_bytes(b"much")
    kept = tmp_path / "logs"
    kept.mkdir()
    keep_ray_logs(tmp_path / "run", kept)
    assert {one.name: one.stat().st_size for one in kept.iterdir()} == {
        "ray-raylet.out": RAY_LOG_BYTES,
        "ray-raylet.err": 3,
    }
