"""Laws of `hearth snapshot` and `hearth clock confirm`: every partition has a good snapshot when the command ends, and
the command fails where one has not; a clock that jumped stops decisions until somebody confirms it, and no longer.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from actors.log.contract import PartitionId
from actors.snapshots.store import snapshot_store
from hearth.v1 import signal_pb2, signal_pb2_grpc
from tests.actors.harness import MONDAY, SettableClock, corner, signal
from tests.cluster.conftest import Run
from tests.cluster.real_hearth import RealHearth, running


@pytest.fixture
def hearth(tmp_path: Path) -> Iterator[RealHearth]:
    with running(tmp_path / "hearth-data", corner(), clock=SettableClock()) as one:
        yield one


def ingest(hearth: RealHearth) -> int:
    sent = [signal(f"e{number}", f"home-{number}", "visit", MONDAY) for number in range(10)]
    with grpc.insecure_channel(hearth.address) as channel:
        request = signal_pb2.IngestRequest(signals=sent)
        return signal_pb2_grpc.SignalServiceStub(channel).Ingest(request, timeout=20).counts.applied


def test_a_snapshot_of_every_partition_is_there_when_the_command_ends(run: Run, hearth: RealHearth, tmp_path: Path):
    assert ingest(hearth) == 10

    told = run("snapshot", "--target", hearth.address, "--json").json

    store = snapshot_store(str(tmp_path / "hearth-data" / "snapshots"))
    newest = [store.list(PartitionId(partition))[0] for partition in range(2)]
    assert told["snapshots"] == [
        {
            "partition": one.partition,
            "position": one.position,
            "epoch": one.epoch,
            "households": one.households,
            "bytes": one.size_bytes,
        }
        for one in newest
    ]
    assert [one.problem for one in newest] == ["", ""]
    assert sum(one.households for one in newest) == 10
    assert told["bytes"] == sum(one.size_bytes for one in newest)

    lines = run("snapshot", "--target", hearth.address).out.splitlines()
    assert lines[1].startswith(f"partition 1: everything before offset {newest[1].position:,} in epoch 1, ")
    assert len(lines) == 2
    facts = hearth.report()[1]
    assert (facts["snapshot_position"], facts["log_tail"]) == (newest[1].position, 0)


def test_a_snapshot_that_cannot_be_written_fails_the_command(run: Run, hearth: RealHearth, tmp_path: Path):
    shutil.rmtree(tmp_path / "hearth-data" / "snapshots", ignore_errors=True)
    (tmp_path / "hearth-data" / "snapshots").write_text("a file where the folder was")
    ended = run("snapshot", "--target", hearth.address)
    assert ended.code == 1
    assert "taking snapshots failed" in ended.err
    assert "no snapshot at" in ended.err


def test_a_clock_that_jumped_stops_decisions_until_it_is_confirmed(run: Run, hearth: RealHearth):
    hearth.clock.confirmed = False
    with pytest.raises(grpc.RpcError, match="jumped"):
        ingest(hearth)

    ended = run("clock", "confirm", "--target", hearth.address, "--json")

    assert (ended.code, ended.json["partitions"]) == (0, 2)
    assert ingest(hearth) == 10
    assert "2 partitions go on" in run("clock", "confirm", "--target", hearth.address).out


@pytest.mark.parametrize("command", [("snapshot",), ("clock", "confirm")])
def test_who_asks_where_no_hearth_is_is_told_so(run: Run, command: tuple[str, ...]):
    ended = run(*command, "--target", "127.0.0.1:9")
    assert ended.code == 1
    assert "no Hearth answers at 127.0.0.1:9" in ended.err
