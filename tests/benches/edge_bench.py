"""What the edge costs: an empty Decide through Serve's replica and one shard, against a bare grpc.aio server.

python -m tests.benches.edge_bench [--listener own|direct_ingress] [--seconds 4] [--json]

Client, edge and shard share one machine: with 16 clients the numbers say what a request costs in CPU, all ends told.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from actors.partition.caller import Caller
from actors.shard.exchange import ExchangeServicer
from hearth.internal.v1 import shard_pb2_grpc
from hearth.v1 import decision_pb2, decision_pb2_grpc, delivery_pb2
from serving import ingress
from serving.edge_config import EdgeConfig, Listener
from wire.frames import SHARD_OPTIONS
from wire.routes import COORDINATOR_NAME, COORDINATOR_NAMESPACE, Routes

PARTITION_COUNT = 8
ANSWER = decision_pb2.DecideResponse(reasons=["NO_CANDIDATES"]).SerializeToString()


class EmptyShard:
    """Answers every call with the same Decide response."""

    async def call(self, method: int, partition: int, payload: bytes, caller: Caller | None, trace: str) -> bytes:
        return ANSWER

    async def deliveries(
        self, channels: Sequence[str], group: str = ""
    ) -> AsyncGenerator[delivery_pb2.SubscribeResponse, None]:
        await asyncio.Event().wait()
        yield delivery_pb2.SubscribeResponse()


class ShardActor:
    """A Ray actor with a real ExchangeServicer on a Unix socket."""

    async def listen(self, address: str) -> None:
        self._server = grpc.aio.server(options=SHARD_OPTIONS)
        shard_pb2_grpc.add_ShardServiceServicer_to_server(ExchangeServicer(EmptyShard()), self._server)
        self._server.add_insecure_port(address)
        await self._server.start()


class CoordinatorActor:
    """Says that one shard owns everything."""

    def __init__(self, address: str) -> None:
        self._owners = dict.fromkeys(range(PARTITION_COUNT), address)

    async def routes(self) -> Routes:
        return Routes(partition_count=PARTITION_COUNT, owners=self._owners, ready=True)


class Bare(decision_pb2_grpc.DecisionServiceServicer):
    async def Decide(self, request, context):
        return decision_pb2.DecideResponse(reasons=["NO_CANDIDATES"])


async def serve_bare(port: int) -> None:
    server = grpc.aio.server()
    decision_pb2_grpc.add_DecisionServiceServicer_to_server(Bare(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("listening", flush=True)
    await server.wait_for_termination()


async def measure(address: str, client_count: int, seconds: float) -> dict[str, float]:
    """Return calls per second and latency percentiles of clients that each ask again as soon as they are answered."""
    latencies: list[float] = []

    async def ask(stub: decision_pb2_grpc.DecisionServiceStub, client: int, until: float, keep: bool) -> None:
        number = 0
        while time.perf_counter() < until:
            number += 1
            request = decision_pb2.DecideRequest(
                request_id=f"{client}-{number}", household=f"household-{client}-{number % 97}", channel="app"
            )
            started = time.perf_counter()
            answer = await stub.Decide(request, timeout=5)
            if keep:
                latencies.append(time.perf_counter() - started)
            assert answer.reasons == ["NO_CANDIDATES"]

    async with grpc.aio.insecure_channel(address) as channel:
        stub = decision_pb2_grpc.DecisionServiceStub(channel)
        for keep, duration_s in ((False, min(1.0, seconds)), (True, seconds)):
            until = time.perf_counter() + duration_s
            await asyncio.gather(*(ask(stub, client, until, keep) for client in range(client_count)))
    latencies.sort()
    percentiles = {f"p{rank}_ms": 1e3 * latencies[len(latencies) * rank // 100] for rank in (50, 99)}
    return {"calls_per_s": len(latencies) / seconds, **percentiles}


def start_edge(listener: Listener, port: int, folder: Path) -> str:
    config = EdgeConfig(port=port, listener=listener)
    os.environ.update(ingress.serve_environment(config))
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": str(folder), "HOME": str(folder)}
    import ray

    ray.init(
        namespace=COORDINATOR_NAMESPACE,
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        address="local",
    )
    address = f"unix:{folder}/shard.sock"
    remote: Any = ray.remote(num_cpus=0)
    shard = remote(ShardActor).remote()
    ray.get(shard.listen.remote(address))
    coordinator = remote(CoordinatorActor).options(name=COORDINATOR_NAME).remote(address)
    ray.get(coordinator.routes.remote())
    started = time.perf_counter()
    public_address = ingress.start(config)
    print(f"edge up in {time.perf_counter() - started:.1f} s at {public_address}", file=sys.stderr)
    start_edge.actors = (shard, coordinator)  # type: ignore[attr-defined] # the handles keep them alive
    return public_address


def run(listener: Listener, seconds: float, port: int) -> dict[str, dict[str, float]]:
    results: dict[str, dict[str, float]] = {}
    bare = subprocess.Popen(
        [sys.executable, "-m", "tests.benches.edge_bench", "--bare", str(port + 500)], stdout=subprocess.PIPE
    )
    try:
        assert bare.stdout is not None
        assert bare.stdout.readline() == b"listening\n"
        with tempfile.TemporaryDirectory(prefix="hearth") as folder:
            edge_address = start_edge(listener, port, Path(folder))
            targets = {"bare": f"127.0.0.1:{port + 500}", listener.value: edge_address}
            for client_count in (1, 16):
                for name, address in targets.items():
                    results[f"{name}, {client_count}"] = asyncio.run(measure(address, client_count, seconds))
            ingress.stop()
            import ray

            ray.shutdown()
    finally:
        bare.terminate()
        bare.wait()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listener", choices=[listener.value for listener in Listener], default="own")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--port", type=int, default=19_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bare", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        asyncio.run(serve_bare(arguments.bare))
        return

    results = run(Listener(arguments.listener), arguments.seconds, arguments.port)
    if arguments.json:
        print(json.dumps(results))
        return
    for client_count in (1, 16):
        bare, edge = results[f"bare, {client_count}"], results[f"{arguments.listener}, {client_count}"]
        for name, result in (("bare grpc.aio", bare), (f"edge ({arguments.listener}) + shard", edge)):
            figures = ", ".join(f"{key} {value:,.2f}" for key, value in result.items())
            print(f"{client_count:>2} clients  {name:<28} {figures}")
        p50, rate = edge["p50_ms"] / bare["p50_ms"], edge["calls_per_s"] / bare["calls_per_s"]
        print(f"{client_count:>2} clients  p50 {p50:.2f}x, calls/s {rate:.2f}x")


if __name__ == "__main__":
    main()
