"""Laws: what is for those who run Hearth reaches the owners it concerns, from this machine only; a reject goes to its
partition, cut to what is kept, and one wrong reject refuses the request whole."""

from pathlib import Path

import grpc
import grpc.aio
import pytest

from hearth.internal.v1 import shard_pb2
from hearth.v1 import admin_pb2, admin_pb2_grpc
from serving import admin
from tests.serving.test_edge import PARTITION_COUNT, World, details_of, failure_of, with_world
from wire.failures import Failure, failed
from wire.rejects import DETAIL_LENGTH_MAX


def answering(world: World) -> admin_pb2_grpc.AdminServiceStub:
    def answer(method: int, payload: bytes) -> bytes:
        if method == shard_pb2.METHOD_REJECT:
            count = len(admin_pb2.RejectRequest.FromString(payload).rejects)
            return admin_pb2.RejectResponse(kept=count).SerializeToString()
        if method == shard_pb2.METHOD_SNAPSHOT:
            return admin_pb2.PartitionSnapshot(households=7).SerializeToString()
        assert method == shard_pb2.METHOD_CONFIRM_CLOCK
        return b""

    for shard in world.shards:
        shard.answer = answer
    return admin_pb2_grpc.AdminServiceStub(world.channel)


def asked(world: World, method: int) -> list[int]:
    return sorted(call[1] for shard in world.shards for call in shard.calls if call[0] == method)


def reject(position: str, reason: str = "UNREADABLE", **given: object) -> admin_pb2.Reject:
    return admin_pb2.Reject(position=position, reason=reason, **given)


@with_world()
async def test_a_snapshot_and_a_confirmed_clock_concern_every_partition(world: World):
    stub = answering(world)
    answer = await stub.Snapshot(admin_pb2.SnapshotRequest())
    assert [one.households for one in answer.snapshots] == [7] * PARTITION_COUNT
    assert asked(world, shard_pb2.METHOD_SNAPSHOT) == list(range(PARTITION_COUNT))
    assert (await stub.ConfirmClock(admin_pb2.ConfirmClockRequest())).partitions == PARTITION_COUNT
    assert asked(world, shard_pb2.METHOD_CONFIRM_CLOCK) == list(range(PARTITION_COUNT))


@with_world()
async def test_a_snapshot_that_one_owner_cannot_take_fails(world: World):
    stub = answering(world)
    world.shards[0].failures.append(failed(Failure.SNAPSHOT_FAILED, "the disk is full"))
    error = await failure_of(stub.Snapshot(admin_pb2.SnapshotRequest()))
    assert details_of(error)["reason"] == "SNAPSHOT_FAILED"


@with_world()
async def test_rejects_go_to_their_partitions_cut_to_what_is_kept(world: World):
    stub = answering(world)
    marks = [reject(f"log:{n}/5/1", "REPLAYED:LATE") for n in (3, 3, 6)]
    others = [reject(f"file:a.csv/{n}", original=b"x" * (n << 20), detail="d" * 9_000) for n in range(3)]
    answer = await stub.Reject(admin_pb2.RejectRequest(rejects=marks + others))
    assert answer.kept == 6
    got = {
        one.position: (call[1], one)
        for shard in world.shards
        for call in shard.calls
        for one in admin_pb2.RejectRequest.FromString(call[2]).rejects
    }
    assert [got[one.position][0] for one in marks] == [3, 3, 6]
    assert [len(got[one.position][1].original) for one in others] == [0, 1 << 20, 1 << 20]
    assert {len(got[one.position][1].detail) for one in others} == {DETAIL_LENGTH_MAX}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (reject(""), "rejects[1].position"),
        (reject("p" * 1_025), "rejects[1].position"),
        (reject("log:3/1/2"), "rejects[1].position"),
        (reject("file:a/1", "not capitals"), "rejects[1].reason"),
        (reject("file:a/1", "X" * 65), "rejects[1].reason"),
    ],
)
def test_one_wrong_reject_refuses_the_request_whole(tmp_path: Path, wrong: admin_pb2.Reject, field: str):
    @with_world()
    async def refused(world: World) -> None:
        request = admin_pb2.RejectRequest(rejects=[reject("file:a/0"), wrong])
        error = await failure_of(answering(world).Reject(request))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field in details_of(error)["violations"]
        assert asked(world, shard_pb2.METHOD_REJECT) == []

    refused(tmp_path)


def test_a_caller_from_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admin, "is_local", lambda peer: False)

    @with_world()
    async def refused(world: World) -> None:
        stub = answering(world)
        for call in (
            stub.Snapshot(admin_pb2.SnapshotRequest()),
            stub.Reject(admin_pb2.RejectRequest(rejects=[reject("file:a/0")])),
            stub.ConfirmClock(admin_pb2.ConfirmClockRequest()),
        ):
            error = await failure_of(call)
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
            assert details_of(error)["reason"] == "NOT_LOCAL"
        assert [shard.calls for shard in world.shards] == [[], []]

    refused(tmp_path)


@pytest.mark.parametrize(
    ("peer", "is_local"),
    [
        ("unix:", True),
        ("ipv4:127.0.0.1:50051", True),
        ("ipv4:127.9.9.9:1", True),
        ("ipv6:%5B::1%5D:50051", True),
        ("ipv6:[::ffff:127.0.0.1]:50051", True),
        ("ipv4:192.168.0.7:50051", False),
        ("ipv6:%5Bfe80::1%25eth0%5D:50051", False),
        ("ipv6:[::ffff:10.0.0.1]:50051", False),
        ("ipv4:127.0.0.1.evil.example:1", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_who_is_on_this_machine(peer: str, is_local: bool):
    assert admin.is_local(peer) is is_local
