"""Laws of `hearth scale`, `rebalance` and `drain`: what is asked is asked once and told as it is carried out; looking
on ends when it is so, with Ctrl-C, or at once where nobody is to wait, and what was asked goes on; what cannot be is
refused with the reason; a Hearth whose edge is away for a moment is waited for.
"""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cluster.commands import placing
from hearth.v1 import admin_pb2, admin_pb2_grpc
from tests.cluster.conftest import Run


class FakePlacement(admin_pb2_grpc.AdminServiceServicer, health_pb2_grpc.HealthServicer):
    """Says one thing after another; the last for ever."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.tells = [settled()]
        self.when_shown: Callable[[int], None] = lambda count: None
        self.shown = 0
        self.refusal = ""

    def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=1)

    def _next(self) -> admin_pb2.Placement:
        return self.tells.pop(0) if len(self.tells) > 1 else self.tells[0]

    def _asked(self, request: Any, context: Any) -> admin_pb2.Placement:
        self.asked.append(request)
        if self.refusal:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.refusal)
        return self._next()

    def Scale(self, request: admin_pb2.ScaleRequest, context: Any) -> admin_pb2.ScaleResponse:
        return admin_pb2.ScaleResponse(placement=self._asked(request, context))

    def Rebalance(self, request: admin_pb2.RebalanceRequest, context: Any) -> admin_pb2.RebalanceResponse:
        return admin_pb2.RebalanceResponse(placement=self._asked(request, context))

    def Restart(self, request: admin_pb2.RestartRequest, context: Any) -> admin_pb2.RestartResponse:
        return admin_pb2.RestartResponse(placement=self._asked(request, context))

    def Drain(self, request: admin_pb2.DrainRequest, context: Any) -> admin_pb2.DrainResponse:
        return admin_pb2.DrainResponse(placement=self._asked(request, context))

    def ShowPlacement(self, request: Any, context: Any) -> admin_pb2.ShowPlacementResponse:
        self.shown += 1
        self.when_shown(self.shown)
        # An edge that is being replaced ends calls in either way.
        if self.shown <= 2 and len(self.tells) > 2:
            code = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)[self.shown - 1]
            context.abort(code, "the edge is being replaced")
        return admin_pb2.ShowPlacementResponse(placement=self._next())


def settled(**more: Any) -> admin_pb2.Placement:
    made = admin_pb2.Placement(shards_wanted=2, is_settled=True, moved=4, pause_p50_ms=80, pause_p95_ms=120, **more)
    made.shards.add(shard="shard-0", node="a", state="serving", partitions=[0, 1], share=0.5)
    made.shards.add(shard="shard-1", node="b", state="serving", partitions=[2, 3], share=0.5)
    made.shards.add(shard="shard-2", node="a", state="standing by", is_spare=True)
    return made


def on_its_way(left: int) -> admin_pb2.Placement:
    made = settled(left=left)
    made.is_settled = False
    made.move.CopyFrom(admin_pb2.MoveUnderWay(partition=3, source="shard-0", target="shard-1", step="prepare"))
    made.failed.add(partition=2, why="shard-1 has ended")
    return made


@pytest.fixture
def hearth(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakePlacement, str]]:
    monkeypatch.setattr(placing, "LOOK_EVERY_S", 0.01)
    fake, server = FakePlacement(), grpc.server(ThreadPoolExecutor(2))
    admin_pb2_grpc.add_AdminServiceServicer_to_server(fake, server)
    health_pb2_grpc.add_HealthServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield fake, f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_it_is_looked_on_until_it_is_so(run: Run, hearth: tuple[FakePlacement, str]):
    fake, address = hearth
    fake.tells = [on_its_way(2), on_its_way(2), on_its_way(1), settled()]

    ended = run("scale", "--shards", "2", "--await-nodes", "--target", address)

    assert [(one.shards, one.await_nodes) for one in fake.asked] == [(2, True)]
    assert "2 still to leave; partition 3 from shard-0 to shard-1: prepare; partition 2 did not move" in ended.err
    assert ended.err.count("1 still to leave") == 1
    assert ended.out.splitlines() == [
        "shard-0 on a: serving, 50% of the load, partitions 0, 1",
        "shard-1 on b: serving, 50% of the load, partitions 2, 3",
        "shard-2 on a: standing by, 0% of the load, partitions none",
        "4 partitions moved since the coordinator was started; not served meanwhile: p50 80 ms, p95 120 ms",
    ]


def test_where_nobody_is_to_wait_it_is_told_as_it_is(run: Run, hearth: tuple[FakePlacement, str]):
    fake, address = hearth
    fake.tells = [on_its_way(2)]

    told = run("drain", "shard-0", "--no-wait", "--json", "--target", address).json

    assert (told["settled"], told["left"], told["failed"]) == (False, 2, {"2": "shard-1 has ended"})
    assert told["move"]["partition"] == 3
    assert [one["partitions"] for one in told["shards"]] == [[0, 1], [2, 3], []]
    assert [(one.name, one.undo) for one in fake.asked] == [("shard-0", False)]
    assert fake.shown == 0
    fake.tells = [settled()]
    assert run("drain", "shard-0", "--undo", "--json", "--target", address).json["settled"]
    assert fake.asked[1].undo
    assert run("rebalance", "--json", "--target", address).json["pause_p95_ms"] == 120


def test_ctrl_c_ends_the_looking_and_nothing_else(run: Run, hearth: tuple[FakePlacement, str]):
    fake, address = hearth
    fake.tells = [on_its_way(2)]
    fake.when_shown = lambda count: os.kill(os.getpid(), signal.SIGINT) if count == 2 else None

    ended = run("rebalance", "--target", address)

    assert ended.code == 130
    assert "it goes on without anybody looking" in ended.err
    assert "shard-0 on a: serving" in ended.out


def test_what_is_refused_is_told_with_its_reason(run: Run, hearth: tuple[FakePlacement, str]):
    fake, address = hearth
    fake.refusal = "5 shards cannot be: there are 4 partitions"

    ended = run("scale", "--shards", "5", "--target", address)

    assert ended.code == 1
    assert "5 shards cannot be: there are 4 partitions" in ended.err
    assert fake.shown == 0


def test_a_hot_partition_is_named(run: Run, hearth: tuple[FakePlacement, str]):
    fake, address = hearth
    told = settled()
    told.hot.add(partition=3, shard="shard-1", per_s=5_000, share=0.7)
    fake.tells = [told]

    ended = run("rebalance", "--target", address)

    assert "partition 3 on shard-1 is hot: 70% of all signals and decisions (5,000/s)" in ended.out


def test_a_rolling_restart_is_looked_on_part_by_part(run: Run, hearth: tuple[FakePlacement, str]):
    fake, address = hearth
    begun, halfway = on_its_way(0), on_its_way(0)
    begun.restart.CopyFrom(admin_pb2.RollingRestart())
    halfway.restart.CopyFrom(admin_pb2.RollingRestart(done=["shard-2"], left=["shard-0", "edge hearth-edge"]))
    fake.tells = [begun, halfway, settled()]

    ended = run("restart", "--rolling", "--target", address)

    assert "replaced 0 of 0, now: is about to begin" in ended.err
    assert "replaced 1 of 3, now: shard-0" in ended.err
    assert ended.code == 0
    assert run("restart", "--rolling", "--json", "--target", address).json["restart"] is None


def test_a_restart_that_is_not_rolling_is_none_of_a_command(run: Run):
    ended = run("restart")
    assert ended.code == 2
    assert "Ctrl-C" in ended.err
