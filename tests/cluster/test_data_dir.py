"""Laws: one Hearth per directory, told by process id; a lock dies with its process; what is wrong stays as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.config import HearthConfig
from cluster.data_dir import (
    DataDirInUse,
    DataDirUnusable,
    announce,
    await_former_run,
    find_running,
    hold,
    hold_run,
    is_held,
    low_space_warning,
    with_its_log,
)

HOLD = """
import sys
from pathlib import Path
from cluster.config import HearthConfig
from cluster.data_dir import announce, hold
with hold(HearthConfig(data_dir=Path(sys.argv[1]))) as path:
    announce(path, address="127.0.0.1:1")
    print("held", flush=True)
    sys.stdin.read()
"""


def config(path: Path, partition_count: int = 8, log: str | None = None) -> HearthConfig:
    return HearthConfig(data_dir=path, partition_count=partition_count, log=log)


def test_a_new_directory_gets_its_layout_and_an_old_one_keeps_it(tmp_path: Path):
    with hold(config(tmp_path / "a" / "b")) as path:
        born = json.loads((path / "layout.json").read_text())
        assert (born["layout"], born["partition_count"]) == (1, 8)
    with hold(config(path)):
        assert json.loads((path / "layout.json").read_text()) == born


def test_a_second_hearth_is_told_the_process_of_the_first_and_a_killed_one_leaves_no_lock(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLD, str(tmp_path / "d")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"

        with (
            pytest.raises(DataDirInUse, match=rf"already runs on .*/d \(process {first.pid}\)"),
            hold(config(tmp_path / "d")),
        ):
            pass
        running = find_running(tmp_path / "d")
        assert running is not None
        assert (running.address, running.pid) == ("127.0.0.1:1", first.pid)

        first.kill()
        first.wait()
    assert not is_held(tmp_path / "d")
    assert find_running(tmp_path / "d") is None
    with hold(config(tmp_path / "d")):
        assert is_held(tmp_path / "d")


def test_where_it_can_be_reached_is_gone_when_it_stops(tmp_path: Path):
    with hold(config(tmp_path / "d")) as path:
        assert find_running(path) is None
        announce(path, address="127.0.0.1:7")
        assert find_running(path) is not None
    assert not (path / "running.json").exists()


def test_a_file_in_its_place_is_told(tmp_path: Path):
    (tmp_path / "d").write_text("mine")
    with (
        pytest.raises(DataDirUnusable, match=r"/d is a file, so it cannot be the data directory"),
        hold(config(tmp_path / "d")),
    ):
        pass
    with pytest.raises(DataDirUnusable, match=r"a part of .*/d/e is a file"), hold(config(tmp_path / "d" / "e")):
        pass
    assert (tmp_path / "d").read_text() == "mine"


def test_another_partition_count_is_told_with_the_one_it_was_born_with(tmp_path: Path):
    with hold(config(tmp_path / "d")):
        pass
    with (
        pytest.raises(DataDirUnusable, match=r"born with 8 partitions, asked for 16.*--partitions 8"),
        hold(config(tmp_path / "d", 16)),
    ):
        pass


def test_a_directory_that_is_someone_elses_or_of_another_version_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(DataDirUnusable, match="not Hearth's"), hold(config(tmp_path)):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]

    for content, told in (
        ('{"layout": 2, "partition_count": 8}', "has layout 2, this Hearth reads 1"),
        ("{", "cannot be read"),
    ):
        folder = tmp_path / told.split()[1]
        folder.mkdir()
        (folder / "layout.json").write_text(content)
        with pytest.raises(DataDirUnusable, match=told), hold(config(folder)):
            pass
        assert (folder / "layout.json").read_text() == content


KAFKA = "kafka://b1:9092/town"


@pytest.mark.parametrize(
    ("first", "then", "told"),
    [
        (None, KAFKA, "in its own files, asked for kafka://b1:9092/town; .* start without --log"),
        (KAFKA, None, "kafka://b1:9092/town, asked for its own files; .* start with --log kafka://b1:9092/town"),
        (KAFKA, "kafka://b1:9092/city", "asked for kafka://b1:9092/city; .* start with --log kafka://b1:9092/town"),
    ],
)
def test_a_directory_is_started_with_its_own_log_only(tmp_path: Path, first: str | None, then: str | None, told: str):
    """Its snapshots would be ahead of any other log."""
    with hold(config(tmp_path / "d", log=first)) as path:
        before = (path / "layout.json").read_text()
    with pytest.raises(DataDirUnusable, match=told), hold(config(path, log=then)):
        pass
    assert (path / "layout.json").read_text() == before


def test_tools_find_the_log_that_a_directory_was_last_started_with(tmp_path: Path):
    assert with_its_log(config(tmp_path / "none")).log is None
    for name, logs in (("files", [None]), ("kafka", [KAFKA, "kafka://b2:9092,b3:9092/town"])):
        for log in logs:
            with hold(config(tmp_path / name, log=log)) as path:
                assert with_its_log(config(path)).log == log
    assert with_its_log(config(path, log=KAFKA)).log == KAFKA


def test_a_directory_from_before_logs_were_noted_keeps_the_one_it_has(tmp_path: Path):
    for name, log in (("files", None), ("kafka", KAFKA)):
        with hold(config(tmp_path / name, log=log)) as path:
            layout = json.loads((path / "layout.json").read_text())
            del layout["log"]
            (path / "layout.json").write_text(json.dumps(layout))
    (tmp_path / "files" / "log").mkdir()
    with pytest.raises(DataDirUnusable, match="in its own files"), hold(config(tmp_path / "files", log=KAFKA)):
        pass
    with hold(config(tmp_path / "files")), hold(config(tmp_path / "kafka", log=KAFKA)):
        pass
    assert with_its_log(config(tmp_path / "kafka")).log == KAFKA


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataDirUnusable, match="permission denied"), hold(config(tmp_path / "d")):
        pass


def test_a_disk_nearly_full_is_told(tmp_path: Path):
    assert low_space_warning(tmp_path / "not" / "yet", least_bytes=0) is None
    assert "are free where" in (low_space_warning(tmp_path / "not" / "yet", least_bytes=1 << 62) or "")


def test_a_run_that_ended_in_order_leaves_nothing_to_wait_for(tmp_path: Path):
    assert not await_former_run(tmp_path)
    with hold_run(tmp_path):
        pass
    assert not await_former_run(tmp_path)


def test_a_run_that_fell_is_known_to_the_next(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), hold_run(tmp_path):
        raise ZeroDivisionError

    assert await_former_run(tmp_path)
    with hold_run(tmp_path):
        pass
    assert not await_former_run(tmp_path)


def test_a_run_that_goes_on_is_named(tmp_path: Path):
    with hold_run(tmp_path):
        with pytest.raises(DataDirInUse, match=rf"goes on in .* \(process {os.getpid()}\)"):
            await_former_run(tmp_path, patience_s=0.05)
        with pytest.raises(DataDirInUse), hold_run(tmp_path):
            pass
