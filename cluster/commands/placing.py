"""`hearth scale`, `rebalance`, `drain`, `restart --rolling`: where partitions are to be, asked of a Hearth that runs.

What is asked is kept there and carried out whether anybody looks on or not. Looking on ends once it is so, or with
Ctrl-C; asking again looks on again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from cluster.client import CALL_DEADLINE_S, connect, explain_failure
from cluster.commands.placement_lines import hot_line
from cluster.errors import CommandFailed
from cluster.interruptions import INTERRUPTED, interruptions
from cluster.output import print_json, say
from hearth.v1 import admin_pb2, admin_pb2_grpc
from intake.failures import PASSING, code_of

LOOK_EVERY_S = 0.25
SILENCE_S_MAX = 60.0
"""For so long nobody may answer while it is looked on: an edge process may be being replaced."""

MakeCall = Callable[[admin_pb2_grpc.AdminServiceStub], Any]
"""Makes the call; returns what has the placement."""


def scale(shards: int, *, awaits_nodes: bool, target: str, is_to_wait: bool, as_json: bool) -> int:
    """Divide the partitions among so many shards; return once they are, or at once."""

    def ask(stub: admin_pb2_grpc.AdminServiceStub) -> Any:
        request = admin_pb2.ScaleRequest(shards=shards, await_nodes=awaits_nodes)
        return stub.Scale(request, timeout=CALL_DEADLINE_S)

    return _placed(ask, doing=f"scaling to {shards} shards", target=target, is_to_wait=is_to_wait, as_json=as_json)


def rebalance(*, target: str, is_to_wait: bool, as_json: bool) -> int:
    """Even out the shards; return once no move helps any more, or at once."""

    def ask(stub: admin_pb2_grpc.AdminServiceStub) -> Any:
        return stub.Rebalance(admin_pb2.RebalanceRequest(), timeout=CALL_DEADLINE_S)

    return _placed(ask, doing="rebalancing", target=target, is_to_wait=is_to_wait, as_json=as_json)


def drain(name: str, *, is_undone: bool, target: str, is_to_wait: bool, as_json: bool) -> int:
    """Empty a shard or a node, or let it be filled again; return once it is, or at once."""

    def ask(stub: admin_pb2_grpc.AdminServiceStub) -> Any:
        return stub.Drain(admin_pb2.DrainRequest(name=name, undo=is_undone), timeout=CALL_DEADLINE_S)

    doing = f"filling {name} again" if is_undone else f"draining {name}"
    return _placed(ask, doing=doing, target=target, is_to_wait=is_to_wait, as_json=as_json)


def restart(*, target: str, is_to_wait: bool, as_json: bool) -> int:
    """Replace every process, one after another; return once that is done, or at once."""

    def ask(stub: admin_pb2_grpc.AdminServiceStub) -> Any:
        return stub.Restart(admin_pb2.RestartRequest(), timeout=CALL_DEADLINE_S)

    return _placed(ask, doing="restarting", target=target, is_to_wait=is_to_wait, as_json=as_json)


def _placed(ask: MakeCall, *, doing: str, target: str, is_to_wait: bool, as_json: bool) -> int:
    with connect(target) as channel, interruptions() as is_interrupted:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        try:
            placement = ask(stub).placement
        except grpc.RpcError as failed:
            raise explain_failure(failed, doing=doing, target=target) from failed
        is_let_go = False
        if is_to_wait:
            placement = _looked_on(stub, placement, is_interrupted, doing=doing, target=target)
            is_let_go = not placement.is_settled
    if as_json:
        print_json(facts(placement))
    else:
        for line in told(placement):
            print(line)
    if is_let_go:
        say("it goes on without anybody looking; the same command looks on again")
        return INTERRUPTED
    return 0


def _looked_on(
    stub: admin_pb2_grpc.AdminServiceStub,
    placement: admin_pb2.Placement,
    is_interrupted: Callable[[], bool],
    *,
    doing: str,
    target: str,
) -> admin_pb2.Placement:
    """Say what changes until all is as asked, or somebody has seen enough; return how things stand."""
    said, answered_s = "", time.monotonic()
    while not placement.is_settled and not is_interrupted():
        line = progress(placement)
        if line != said:
            say(line)
            said = line
        time.sleep(LOOK_EVERY_S)
        try:
            placement = stub.ShowPlacement(admin_pb2.ShowPlacementRequest(), timeout=CALL_DEADLINE_S).placement
            answered_s = time.monotonic()
        except grpc.RpcError as failed:
            if code_of(failed) not in PASSING or time.monotonic() - answered_s > SILENCE_S_MAX:
                raise CommandFailed(
                    f"{explain_failure(failed, doing=doing, target=target)}; what was asked is kept and goes on"
                ) from failed
    return placement


def progress(placement: admin_pb2.Placement) -> str:
    """Return one line of how far it is."""
    starting = [one.shard for one in placement.shards if one.state == "starting" and not one.is_spare]
    being_made = max(0, placement.shards_wanted - sum(not one.is_spare for one in placement.shards))
    parts = [f"{placement.moved} partitions moved"]
    if placement.HasField("restart"):
        now = placement.restart.left[0] if placement.restart.left else "is about to begin"
        parts.append(f"replaced {len(placement.restart.done)} of {_count(placement.restart)}, now: {now}")
    if placement.left:
        parts.append(f"{placement.left} still to leave")
    if being_made:
        parts.append(f"{being_made} shards are being made")
    if starting:
        parts.append(f"starting: {', '.join(starting)}")
    if placement.HasField("move"):
        move = placement.move
        parts.append(f"partition {move.partition} from {move.source} to {move.target}: {move.step}")
    parts += [f"partition {one.partition} did not move: {one.why}" for one in placement.failed]
    return "; ".join(parts)


def _count(restart: admin_pb2.RollingRestart) -> int:
    return len(restart.done) + len(restart.left)


def told(placement: admin_pb2.Placement) -> list[str]:
    """Return how things stand, for people."""
    lines = []
    for one in placement.shards:
        what = ", ".join(map(str, one.partitions)) or "none"
        node = f" on {one.node}" if one.node else ""
        lines.append(f"{one.shard}{node}: {one.state}, {one.share:.0%} of the load, partitions {what}")
    lines += [f"node {name} is drained" for name in placement.drained_nodes]
    lines += [hot_line(one.partition, one.shard, one.share, one.per_s) for one in placement.hot]
    if placement.pause_p95_ms:
        lines.append(
            f"{placement.moved} partitions moved since the coordinator was started; not served meanwhile: "
            f"p50 {placement.pause_p50_ms:.0f} ms, p95 {placement.pause_p95_ms:.0f} ms"
        )
    return lines


def facts(placement: admin_pb2.Placement) -> dict[str, object]:
    """Return how things stand, for programs."""
    move = placement.move
    return {
        "settled": placement.is_settled,
        "shards_wanted": placement.shards_wanted,
        "left": placement.left,
        "moved": placement.moved,
        "pause_p50_ms": placement.pause_p50_ms,
        "pause_p95_ms": placement.pause_p95_ms,
        "move": (
            {"partition": move.partition, "from": move.source, "to": move.target, "step": move.step, "why": move.why}
            if placement.HasField("move")
            else None
        ),
        "failed": {one.partition: one.why for one in placement.failed},
        "shards": [
            {
                "shard": one.shard,
                "node": one.node,
                "state": one.state,
                "spare": one.is_spare,
                "partitions": list(one.partitions),
                "share": round(one.share, 4),
            }
            for one in placement.shards
        ],
        "drained_nodes": list(placement.drained_nodes),
        "restart": (
            {"done": list(placement.restart.done), "left": list(placement.restart.left)}
            if placement.HasField("restart")
            else None
        ),
        "hot": [
            {"partition": one.partition, "shard": one.shard, "per_s": one.per_s, "share": round(one.share, 4)}
            for one in placement.hot
        ],
    }
