"""The public services before a shard in this process: what a caller says reaches the shard as an edge hands it on."""

from collections.abc import Mapping
from typing import Any

from hearth.v1 import decision_pb2, delivery_pb2, household_pb2, signal_pb2
from serving.access.principal import ANYBODY, Principal
from serving.boundary import Limits
from serving.edge import PublicServices
from serving.router import Router
from tests.actors.harness import Hearth, signal
from wire.routes import Routes


class StraightRouter(Router):
    """Calls the one shard there is."""

    def __init__(self, hearth: Hearth) -> None:
        super().__init__(_nobody_asks)
        self._hearth = hearth

    async def call(
        self, method: int, partition: int, payload: bytes, *, timeout_s: float | None = None, traceparent: str = ""
    ) -> bytes:
        return await self._hearth.call(method, self._hearth.partitions[partition], payload, timeout_s=timeout_s)


async def _nobody_asks() -> Routes:
    raise AssertionError("the one shard owns all")


async def _is_ready() -> bool:
    return True


class Doors:
    """The public calls, as a client makes them."""

    def __init__(self, hearth: Hearth, principal: Principal = ANYBODY) -> None:
        self._hearth = hearth
        self._services = PublicServices(
            StraightRouter(hearth), len(hearth.partitions), _is_ready, now_us=hearth.clock.now_us
        )
        self._limits = Limits(timeout_s=30.0, traceparent="", principal=principal)

    async def ingest(self, *signals: signal_pb2.Signal, arrow_stream: bytes = b"") -> signal_pb2.IngestResponse:
        request = signal_pb2.IngestRequest(signals=signals, arrow_stream=arrow_stream)
        return await self._services._ingest.one(request.SerializeToString(), self._limits)

    async def told(self, *signals: signal_pb2.Signal) -> None:
        """Ingest what must all get in."""
        answer = await self.ingest(*signals)
        assert answer.counts.applied == len(signals), answer

    async def decide(self, *, request_id: str = "", channel: str = "app", **named: Any) -> decision_pb2.DecideResponse:
        request = decision_pb2.DecideRequest(
            request_id=request_id or self._hearth.request_id(), channel=channel, **named
        )
        return decision_pb2.DecideResponse.FromString(await self._services.decide(request, self._limits))

    async def report(self, *, request_id: str = "", **named: Any) -> decision_pb2.ReportResponse:
        request = decision_pb2.ReportRequest(request_id=request_id or self._hearth.request_id(), **named)
        return decision_pb2.ReportResponse.FromString(await self._services.report(request, self._limits))

    async def ack(self, **named: Any) -> delivery_pb2.AckResponse:
        request = delivery_pb2.AckRequest(request_id=self._hearth.request_id(), **named)
        return delivery_pb2.AckResponse.FromString(await self._services.ack(request, self._limits))

    async def get(self, **named: Any) -> household_pb2.GetResponse:
        answer = await self._services._households.get(household_pb2.GetRequest(**named), self._limits)
        return household_pb2.GetResponse.FromString(answer)

    async def explain(self, **named: Any) -> household_pb2.ExplainResponse:
        answer = await self._services._households.explain(household_pb2.ExplainRequest(**named), self._limits)
        return household_pb2.ExplainResponse.FromString(answer)

    async def decisions(self, **named: Any) -> list[household_pb2.DecisionRecord]:
        answer = await self._services._households.decisions(household_pb2.DecisionsRequest(**named), self._limits)
        return list(household_pb2.DecisionsResponse.FromString(answer).decisions)

    async def quarantine(self, **named: Any) -> household_pb2.QuarantineResponse:
        return await self._services._households.quarantine(household_pb2.QuarantineRequest(**named), self._limits)

    async def change(self, **named: Any) -> household_pb2.ChangeResponse:
        request = household_pb2.ChangeRequest(request_id=named.pop("request_id", self._hearth.request_id()), **named)
        return await self._services._households.change(request, self._limits)


def of(
    identifier: str, event_id: str, kind: str, time_us: int, fields: Mapping[str, float | str | bool] | None = None
) -> signal_pb2.Signal:
    """Return a signal that names an identifier."""
    made = signal(event_id, "", kind, time_us, fields=fields)
    made.identifier = identifier
    return made


def graph(kind: str, event_id: str, time_us: int, household: str = "", **fields: str) -> signal_pb2.Signal:
    """Return a graph event."""
    return signal(event_id, household, f"hearth.graph.{kind}", time_us, fields=fields)
