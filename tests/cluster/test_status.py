"""Laws of `hearth status`: what nobody serves is named with why, be it that no shard could open it, that its owner gave
it up, or that it is being opened; snapshots that were passed over are named, and so are connectors in trouble.
"""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.config import HearthConfig
from cluster.data_dir import hold, read_status, write_status
from cluster.entry import quick_status
from tests.actors.harness import in_loop
from tests.cluster.conftest import Run
from tests.cluster.test_coordinator import FakeShard, World, until, world

ROOT = Path(__file__).parents[2]


async def down(it: World) -> dict[int, str]:
    report: dict[str, Any] = await it.coordinator.report()
    assert set(report["down"]) == set(range(2)) - set(report["partitions"])
    return report["down"]


@in_loop
async def test_why_a_partition_is_down_is_told(tmp_path: Path):
    async with world(tmp_path, partition_count=2) as it:
        assert (await it.coordinator.report())["down"] == {}, "it knows of no shard yet"
        shard = FakeShard("shard-0", it.metadata)
        shard.may_open[1] = asyncio.Event()
        starting = asyncio.create_task(it.coordinator.start({"shard-0": shard}))
        await it.until_known()
        await it.until_served_by(shard, 0)
        assert await down(it) == {1: "it is given to a shard"}
        shard.may_open[1].set()
        await starting
        await it.until_served_by(shard, 0, 1)
        assert await down(it) == {}

        shard.may_open[0] = asyncio.Event()
        shard.owned[0] |= {"is_lost": True, "lost_because": "append to p-0000 has an unknown outcome"}
        told = await down(it)
        assert told == {0: "its owner gave it up (append to p-0000 has an unknown outcome), and it is given to another"}
        shard.may_open[0].set()
        await it.until_served_by(shard, 0, 1)
        assert await down(it) == {}

        shard.refusals = [1] * 100
        shard.owned[1] |= {"is_lost": True, "lost_because": "the disk is full"}
        await until(lambda: 1 in it.coordinator._placement.failed)
        assert await down(it) == {1: "not now"}


PARTITION = {"shard": "shard-0", "epoch": 1, "applied": 10, "received": 10}
STATE: dict[str, Any] = {
    "partitions": {
        "0": PARTITION | {"log_tail": 1_200, "snapshot_age_s": 360, "unknown_field:amout": 2},
        "1": PARTITION
        | {
            "log_tail": 7,
            "bad_snapshots": 1,
            "bad_snapshots_because": "snapshot 7: ids.arrow: missing",
            "unknown_field:amout": 1,
            "unknown_field:x": 9,
        },
    },
    "down": {"2": "p-0002/0.seg is damaged at byte 7"},
    "model": "",
    "shards": ["shard-0"],
    "capture": {
        "capture-0": {"topics": ["ops"], "state": "running", "read": 1_000, "lag": 3, "trouble": ""},
        "capture-1": {"topics": ["a", "b"], "state": "failed", "trouble": "Kafka: no such group"},
        "capture-2": {"state": "silent"},
    },
}


@pytest.mark.parametrize(
    "line",
    [
        "a restart folds 1,200 events of a partition at most, which have waited for 6 minutes",
        "partition 1 passed over bad snapshots: snapshot 7: ids.arrow: missing",
        "partition 2 is down: p-0002/0.seg is damaged at byte 7",
        "capture-0 (ops) running; 1,000 in; lag 3",
        "capture-1 (a, b) failed; Kafka: no such group",
        "capture-2 silent",
        "fields that the playbook does not know, in signals since the start: x 9, amout 3",
        "signals in 20 = applied 20 + duplicate 0 + late 0 + rejected 0",
    ],
)
def test_what_is_wrong_is_a_line_of_its_own(run: Run, tmp_path: Path, line: str):
    with hold(HearthConfig(data_dir=tmp_path / "hearth-data")) as path:
        write_status(path, STATE)
        lines = [one.strip() for one in run("status").out.splitlines()]
    assert line in lines


def test_a_status_of_a_hearth_without_any_of_it_is_shown(run: Run, tmp_path: Path):
    with hold(HearthConfig(data_dir=tmp_path / "hearth-data")) as path:
        write_status(path, {"partitions": {}, "down": {}, "model": "", "shards": []})
        assert "a restart folds 0 events of a partition at most\n" in run("status").out


def test_which_model_scores_where_and_which_way_scores_came_is_shown(run: Run, tmp_path: Path):
    ways = {"scored_serve": 1_900, "scored_shard": 90, "scored_prior": 4, "degraded": 3}
    trouble = "the champion v2 cannot be served: sha256; v1 stays in service"
    state = STATE | {
        "partitions": {"0": PARTITION | ways, "1": PARTITION | ways},
        "model": "/models/v1",
        "model_version": "v1",
        "model_trouble": {"shard-0": "no memory"},
        "models": {"in_force": "v1", "is_on_serve": True, "is_missing": False, "trouble": trouble},
    }
    with hold(HearthConfig(data_dir=tmp_path / "hearth-data")) as path:
        write_status(path, state)
        lines = [one.strip() for one in run("status").out.splitlines()]
        assert "scored by model v1 on Serve" in lines
        assert f"models: {trouble}" in lines
        assert "shard-0 does not take the model: no memory" in lines
        made = "3,800 on Serve, 180 by the same model in the shard, 8 by the priors; 6 degraded"
        assert f"scores made: {made}" in lines

        write_status(path, state | {"model": "", "model_version": "", "models": {"is_missing": True}})
        assert "scored by the priors of the playbook: degraded, a model should score" in run("status").out


def test_on_a_full_disk_the_last_report_is_written_over_in_its_room(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with hold(HearthConfig(data_dir=tmp_path / "hearth-data")) as path:
        write_status(path, STATE | {"down": {}})
        room = (path / "status.json").stat().st_blocks

        def no_space(self: Path, content: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", no_space)
        write_status(path, STATE)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1 << 40, used=1 << 40, free=4_096))
        told = run("status")
        as_json = run("status", "--json").json
        assert (path / "status.json").stat().st_blocks == room
        assert not (path / "status.json.new").exists()

    assert "partition 2 is down: p-0002/0.seg is damaged at byte 7" in told.out
    assert f"the disk of {path} is full (4,096 bytes free)" in told.out
    assert "make room there" in told.out
    assert len(as_json["trouble"]) == 2, "the temporary directory has no room either"


def test_a_report_too_long_for_its_room_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with hold(HearthConfig(data_dir=tmp_path / "hearth-data")) as path:
        write_status(path, STATE)
        monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(OSError, match="No space left"):
            write_status(path, STATE | {"model": "m" * 100_000})
        assert read_status(path) is not None


def test_an_old_report_is_told_to_be_old(run: Run, tmp_path: Path):
    with hold(HearthConfig(data_dir=tmp_path / "hearth-data")) as path:
        write_status(path, STATE)
        assert "s old" not in run("status").out
        hour_ago_s = time.time() - 3_600
        os.utime(path / "status.json", (hour_ago_s, hour_ago_s))
        assert "what follows is 3600 s old: the run reports nothing new" in run("status").out


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["status"], (Path("hearth-data"), None, False)),
        (["status", "--json", "--data-dir=d"], (Path("d"), None, True)),
        (["status", "--target", "127.0.0.1:1"], (Path("hearth-data"), "127.0.0.1:1", False)),
        (["status", "--target", "127.0.0.1"], None),
        (["status", "--data-dir", "--json"], None),
        (["status", "--data-dir"], None),
        (["status", "--jsn"], None),
        (["status", "extra"], None),
        (["doctor"], None),
        ([], None),
    ],
)
def test_a_plain_status_is_read_as_the_command_line_has_it(arguments: list[str], meant: object):
    assert quick_status(arguments) == meant


def test_a_plain_status_heeds_the_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEARTH_DATA_DIR", "/elsewhere")
    assert quick_status(["status"]) == (Path("/elsewhere"), None, False)
    assert HearthConfig().data_dir == Path("/elsewhere")


def test_a_plain_status_imports_nothing_that_it_does_not_need(tmp_path: Path):
    names = ("pydantic", "typer", "rich", "numpy", "grpc", "sqlalchemy")
    script = (
        "import sys; sys.argv = ['hearth', 'status', '--data-dir', 'nowhere']\n"
        "from cluster.entry import main\n"
        "try: main()\n"
        f"finally: print([one for one in {names!r} if one in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.strip()) == (1, "[]")
    assert "not running" in ended.stdout


def a_placement(**more: Any) -> dict[str, Any]:
    shard = {"shard": "shard-0", "node": "a", "is_spare": False, "partitions": [0], "share": 0.5, "state": "serving"}
    other = shard | {"shard": "shard-1", "state": "draining"}
    nothing: dict[str, Any] = {"wanted": 2, "move": None, "failed": {}, "hot": [], "shards": [shard, other]}
    return nothing | more


def test_what_moves_is_drained_or_hot_is_told(run: Run, tmp_path: Path):
    placement = a_placement(
        wanted=3,
        move={
            "partition": 1,
            "source": "shard-1",
            "target": "shard-0",
            "step": "prepare",
            "why": "shard-1 is drained",
            "for_s": 0.1,
        },
        failed={"4": "shard-0 reads the log more slowly than it is written"},
        hot=[{"partition": 0, "shard": "shard-0", "per_s": 12_345.6, "share": 0.61}],
    )
    with hold(HearthConfig(data_dir=tmp_path / "data")) as folder:
        write_status(folder, STATE | {"placement": placement})
        told = run("status", "--data-dir", str(folder)).out

    for line in (
        "shard-1 on a is being drained",
        "2 shards, 3 wanted: it is on its way there",
        "partition 1 moves from shard-1 to shard-0 (prepare): shard-1 is drained",
        "partition 4 did not move: shard-0 reads the log more slowly than it is written",
        "partition 0 on shard-0 is hot: 61% of all signals and decisions (12,346/s)",
    ):
        assert f"  {line}" in told
