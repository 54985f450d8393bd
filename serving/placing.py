"""What those who run Hearth ask of the placement of partitions: handed to the coordinator, and told as it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from hearth.v1 import admin_pb2
from wire.failures import Failure, failed, invalid

logger = logging.getLogger(__name__)

AskPlacement: TypeAlias = Callable[[str, str], Awaitable[Mapping[str, Any]]]
"""(verb, argument) → how things stand, as cluster/balancer.py reports it, or `{"refused": why}`."""

ASK_DEADLINE_S: Final = 10.0


class PlacementServices:
    """The calls of AdminService that concern the placement."""

    def __init__(self, ask: AskPlacement | None) -> None:
        """`ask`: the coordinator; None where there is none."""
        self._ask_coordinator = ask

    async def scale(
        self, request: admin_pb2.ScaleRequest, *, timeout_s: float, traceparent: str
    ) -> admin_pb2.ScaleResponse:
        """Have the partitions divided among so many shards."""
        if request.shards < 1:
            raise invalid("shards", f"is {request.shards}; wanted 1 or more")
        verb = "scale-awaiting-nodes" if request.await_nodes else "scale"
        return admin_pb2.ScaleResponse(placement=await self._ask(verb, str(request.shards), timeout_s))

    async def rebalance(
        self, request: admin_pb2.RebalanceRequest, *, timeout_s: float, traceparent: str
    ) -> admin_pb2.RebalanceResponse:
        """Have the shards evened out."""
        return admin_pb2.RebalanceResponse(placement=await self._ask("rebalance", "", timeout_s))

    async def drain(
        self, request: admin_pb2.DrainRequest, *, timeout_s: float, traceparent: str
    ) -> admin_pb2.DrainResponse:
        """Have a shard or a node emptied, or filled again."""
        if not request.name:
            raise invalid("name", "is empty; wanted the name of a shard or a node")
        verb = "undrain" if request.undo else "drain"
        return admin_pb2.DrainResponse(placement=await self._ask(verb, request.name, timeout_s))

    async def restart(
        self, request: admin_pb2.RestartRequest, *, timeout_s: float, traceparent: str
    ) -> admin_pb2.RestartResponse:
        """Have every process replaced, one after another."""
        return admin_pb2.RestartResponse(placement=await self._ask("restart", "", timeout_s))

    async def show(
        self, request: admin_pb2.ShowPlacementRequest, *, timeout_s: float, traceparent: str
    ) -> admin_pb2.ShowPlacementResponse:
        """Tell how things stand."""
        return admin_pb2.ShowPlacementResponse(placement=await self._ask("look", "", timeout_s))

    async def _ask(self, verb: str, argument: str, timeout_s: float) -> admin_pb2.Placement:
        if self._ask_coordinator is None:
            raise failed(Failure.NO_COORDINATOR, "nobody places partitions here")
        try:
            async with asyncio.timeout(min(timeout_s, ASK_DEADLINE_S)):
                told = await self._ask_coordinator(verb, argument)
        except Exception as wrong:  # noqa: BLE001 - whatever is wrong with it, asking again is the remedy
            logger.warning("the coordinator does not answer: %s", str(wrong).partition("\n")[0])
            text = "the coordinator does not answer at present; asking again is safe"
            raise failed(Failure.NO_COORDINATOR, text) from None
        if "refused" in told:
            raise failed(Failure.PLACEMENT_REFUSED, str(told["refused"]))
        return placement_message(told)


def placement_message(told: Mapping[str, Any]) -> admin_pb2.Placement:
    """Return what the coordinator tells, as a message."""
    placement = admin_pb2.Placement(
        shards_wanted=told["wanted"],
        is_settled=told["is_settled"],
        left=told["left"],
        moved=told["moved"],
        pause_p50_ms=told["pause_p50_ms"] or 0.0,
        pause_p95_ms=told["pause_p95_ms"] or 0.0,
        drained_nodes=sorted(told["drained_nodes"]),
    )
    for one in told["shards"]:
        placement.shards.add(
            shard=one["shard"],
            node=one["node"],
            state=one["state"],
            is_spare=one["is_spare"],
            partitions=one["partitions"],
            share=one["share"],
        )
    if (move := told["move"]) is not None:
        placement.move.CopyFrom(
            admin_pb2.MoveUnderWay(
                partition=move["partition"],
                source=move["source"],
                target=move["target"],
                step=move["step"],
                why=move["why"],
                seconds=move["for_s"],
            )
        )
    if (restart := told["restart"]) is not None:
        done, left = restart.get("done", ()), restart.get("left", ())
        placement.restart.CopyFrom(admin_pb2.RollingRestart(done=done, left=left))
    for partition, why in told["failed"].items():
        placement.failed.add(partition=int(partition), why=why)
    for hot in told["hot"]:
        placement.hot.add(partition=hot["partition"], shard=hot["shard"], per_s=hot["per_s"], share=hot["share"])
    return placement
