"""`hearth snapshot` and `hearth clock confirm`: what those who run Hearth ask of one that runs, on its own machine."""

import grpc

from cluster.client import CALL_DEADLINE_S, connect, explain_failure
from cluster.config import utc_now
from cluster.output import print_json
from hearth.v1 import admin_pb2, admin_pb2_grpc

SNAPSHOT_DEADLINE_S = 600.0


def snapshot(*, target: str, as_json: bool) -> int:
    """Have a snapshot of every partition written and read back; return once the last one is.

    Raises:
        CommandFailed: one could not be written; those of other partitions may have been.
    """
    with connect(target) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        try:
            answer = stub.Snapshot(admin_pb2.SnapshotRequest(), timeout=SNAPSHOT_DEADLINE_S)
        except grpc.RpcError as failed:
            raise explain_failure(failed, doing="taking snapshots", target=target) from failed
    taken = sorted(answer.snapshots, key=lambda one: one.partition)
    if as_json:
        print_json({"snapshots": [_facts(one) for one in taken], "bytes": sum(one.bytes for one in taken)})
        return 0
    for one in taken:
        print(
            f"partition {one.partition}: everything before offset {one.position:,} in epoch {one.epoch}, "
            f"{one.households:,} households, {one.bytes / 1e6:,.1f} MB"
        )
    return 0


def _facts(one: admin_pb2.PartitionSnapshot) -> dict[str, int]:
    return {
        "partition": one.partition,
        "position": one.position,
        "epoch": one.epoch,
        "households": one.households,
        "bytes": one.bytes,
    }


def confirm_clock(*, target: str, as_json: bool) -> int:
    """Say that the machine's clock is right as it is now.

    Raises:
        CommandFailed: some shard was not reached; said again it does no harm.
    """
    now = utc_now().isoformat(timespec="seconds")
    with connect(target) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        try:
            answer = stub.ConfirmClock(admin_pb2.ConfirmClockRequest(), timeout=CALL_DEADLINE_S)
        except grpc.RpcError as failed:
            raise explain_failure(failed, doing="confirming the clock", target=target) from failed
    if as_json:
        print_json({"partitions": answer.partitions, "now": now})
    else:
        print(f"{answer.partitions} partitions go on from the machine's clock as it is now, {now}")
    return 0
