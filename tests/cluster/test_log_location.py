"""Where a log is, is decided once, so every command means the same by one text.

Laws: what begins with `kafka:` is on Kafka, a right URL or not, for every command that reads, owns or copies a log; a
folder is files, and its rejects lie beside it; a data directory knows its log by its topics, not by its brokers.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.log.location import InFiles, LogLocation, OnKafka, is_same_log, log_location, log_store
from cluster.commands.backup import backup, verify
from cluster.commands.rejects import list_rejects
from cluster.commands.up import check_log
from cluster.config import HearthConfig
from cluster.data_dir import LAYOUT_NAME
from cluster.errors import CommandFailed
from cluster.exporting import log_reader
from cluster.playbook_in_force import newest_in_log

ANY_COMMAND: list[Callable[[HearthConfig], object]] = [
    check_log,
    log_reader,
    newest_in_log,
    lambda config: list_rejects(config, reason=None, partition=None, since=None, limit=0, as_json=True),
    lambda config: verify(config, from_start=False, as_json=True),
]


@pytest.mark.parametrize("command", ANY_COMMAND)
@pytest.mark.parametrize("text", ["kafka:town", "kafka://", "kafka:/town", "KAFKA://broker", "kafka://broker/a/b"])
def test_no_command_takes_a_wrong_url_for_a_folder(tmp_path: Path, text: str, command: Callable[..., object]):
    (tmp_path / LAYOUT_NAME).write_text('{"layout": 1, "partition_count": 1}')
    config = HearthConfig(data_dir=tmp_path, log=text)

    with pytest.raises(CommandFailed, match="is not of the form kafka://HOST:PORT"):
        command(config)

    assert [one.name for one in tmp_path.iterdir()] == [LAYOUT_NAME]


@pytest.mark.parametrize("log", ["kafka://broker:9092/town", "kafka:town", "elsewhere"])
def test_a_log_that_is_not_in_the_data_directory_is_not_left_out_of_a_backup_in_silence(tmp_path: Path, log: str):
    with pytest.raises(CommandFailed, match=r"the log is (on Kafka|in elsewhere)"):
        backup(HearthConfig(data_dir=tmp_path, log=log), target=tmp_path / "copy", as_json=True)


def test_without_a_log_named_it_is_in_the_data_directory_and_its_rejects_beside_it(tmp_path: Path):
    location = HearthConfig(data_dir=tmp_path).log_location

    assert (location, location.rejects) == (InFiles(tmp_path / "log"), InFiles(tmp_path / "rejects"))


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("kafka://a:1/town", "kafka://b:2,a:1/town?replicas=1", True),
        ("kafka://a:1/town", "kafka://a:1/city", False),
        ("/data/town", "/data/town", True),
        ("/town", "kafka://a:1/town", False),
    ],
)
def test_a_log_is_the_same_by_way_of_other_brokers(one: str, other: str, is_same: bool):
    assert is_same_log(log_location(one), log_location(other)) is is_same
    assert is_same_log(log_location(other), log_location(one)) is is_same


@pytest.mark.parametrize("location", [InFiles(Path("log")), OnKafka("kafka://127.0.0.1:1/town?replicas=1")])
def test_a_store_is_opened_where_the_log_is_and_nothing_is_asked_of_it_yet(
    location: LogLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    log_store(location, segment_bytes=1 << 20, partition_count=2)
    log_store(location.rejects, segment_bytes=1 << 20, partition_count=2)
