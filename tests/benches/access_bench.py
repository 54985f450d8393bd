"""What it costs to be closed: authorisation per call, and TLS and tokens in the most decisions per second.

python -m tests.benches.access_bench [--seconds 0.5] [--rounds 30] [--json]

One process with three ports, plaintext, TLS, and TLS with a token, and a shard that answers at once; they are asked in
turn, so that what else the machine does falls on all alike. Calls per second count what the client spends on TLS, too:
here it shares the processors. Processor time is that of edge and shard alone, what decisions per second are made of.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import IO, Any

import grpc
import grpc.aio
import yaml

from actors.shard.exchange import ExchangeServicer
from hearth.internal.v1 import shard_pb2_grpc
from hearth.v1 import decision_pb2, decision_pb2_grpc
from serving import edge
from serving.accepting import AcceptingServer
from serving.access.door import Door, DoorSettings
from serving.access.rights import Role
from serving.edge import PublicServices
from serving.router import Router
from serving.tls import ServerCertificates, TlsFiles
from tests.benches.edge_bench import PARTITION_COUNT, EmptyShard
from tests.parts.certificates import authority, written
from tests.serving.access_world import Issuer, usual_rules
from wire.frames import SHARD_OPTIONS
from wire.routes import Routes

PORTS = ("plaintext", "tls", "tls and token")
METHOD = "/hearth.v1.DecisionService/Decide"
CLIENT_COUNT = 16
CALL_COUNT = 50_000
DECISION_US = 1_400
"""Processor time of a real decision without TLS, in edge and shards: about T of docs/decisions/0014-overload.md."""


class Call:
    """A call as the door sees it, as costly as gRPC makes it to look at."""

    def __init__(self, metadata: Any, pem: bytes = b"") -> None:
        self._metadata, self._pem = metadata, pem

    def invocation_metadata(self) -> Any:
        return self._metadata

    def auth_context(self) -> Mapping[str, Any]:
        return {"x509_pem_cert": [bytes(self._pem)]}


def authorisation_us(folder: Path) -> dict[str, float]:
    """Return what the door takes for a call, who calls being known, in µs: the median of ten runs."""
    issuer, clients = Issuer(), authority("clients")
    own = clients.issue("app-gateway")
    written(folder / "issuer.pem", issuer.public_pem)
    rules = usual_rules() | {"limits": {"calls_per_s": 1e9, "in_flight": 1_000}}
    path = written(folder / "access.yaml", yaml.safe_dump(rules).encode())
    files = TlsFiles(
        certificate=Path("unused"),
        key=Path("unused"),
        client_ca=written(folder / "clients.pem", clients.pem),
        revoked=written(folder / "revoked.pem", clients.revoked()),
    )
    metadata = (("user-agent", "x"), ("authorization", f"Bearer {issuer.token(Role.GATEWAY)}"))
    asked = {
        "token": (Door(DoorSettings(rules=path, wall_s=time.time)), Call(metadata)),
        "certificate": (Door(DoorSettings(rules=path, tls=files, wall_s=time.time)), Call((), own.pem)),
    }

    async def took_us(door: Door, call: Call) -> float:
        began = time.perf_counter()
        for _ in range(CALL_COUNT // 10):
            principal = await door.let_in(METHOD, call)
            principal.check_channels("app")
            door.leave(principal)
        return (time.perf_counter() - began) / (CALL_COUNT // 10) * 1e6

    async def median_us(door: Door, call: Call) -> float:
        return sorted([await took_us(door, call) for _ in range(10)])[5]

    return {name: asyncio.run(median_us(*one)) for name, one in asked.items()}


async def serve(folder: Path) -> None:
    """Serve until stdin ends; ports and token go to stdout, and for each line the processor time used so far, in s."""
    shard_address = f"unix:{folder}/shard"
    shard = grpc.aio.server(options=SHARD_OPTIONS)
    shard_pb2_grpc.add_ShardServiceServicer_to_server(ExchangeServicer(EmptyShard()), shard)
    shard.add_insecure_port(shard_address)
    await shard.start()

    async def routes() -> Routes:
        return Routes(partition_count=PARTITION_COUNT, owners=dict.fromkeys(range(PARTITION_COUNT), shard_address))

    async def readiness() -> bool:
        return True

    issuer, ca = Issuer(), authority()
    paper = ca.issue("server")
    files = TlsFiles(
        certificate=written(folder / "server.pem", paper.pem), key=written(folder / "server.key", paper.key_pem)
    )
    written(folder / "ca.pem", ca.pem)
    written(folder / "issuer.pem", issuer.public_pem)
    rules = written(folder / "access.yaml", yaml.safe_dump(usual_rules()).encode())
    door = Door(DoorSettings(rules=rules, wall_s=time.time))
    ports, servers, kept = {}, [], []
    router = Router(routes)
    await router.refresh()
    for name in PORTS:
        server = AcceptingServer(edge.SERVER_OPTIONS)
        PublicServices(router, PARTITION_COUNT, readiness, door=door if "token" in name else None).add_to(server)
        address = "localhost:0"
        is_plain = name == "plaintext"
        kept.append(ServerCertificates(files).credentials())
        ports[name] = server.add_insecure_port(address) if is_plain else server.add_secure_port(address, kept[-1])
        await server.start()
        servers.append(server)
    print(json.dumps({"ports": ports, "token": issuer.token(Role.GATEWAY)}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(time.process_time(), flush=True)
    for server in servers:
        await server.stop(None)
    await router.close()
    await shard.stop(None)


async def calls_per_s(channel: grpc.aio.Channel, metadata: Any, seconds: float) -> float:
    """Return how many decisions a second callers get that each ask again as soon as they are answered."""
    stub: Any = decision_pb2_grpc.DecisionServiceStub(channel)
    until = time.perf_counter() + seconds
    count = 0

    async def ask(client: int) -> None:
        nonlocal count
        while time.perf_counter() < until:
            request = decision_pb2.DecideRequest(
                request_id=f"{client}-{count}", household=f"household-{client}-{count % 97}", channel="app"
            )
            await stub.Decide(request, timeout=5, metadata=metadata)
            count += 1

    await asyncio.gather(*(ask(client) for client in range(CLIENT_COUNT)))
    return count / seconds


async def measure(
    folder: Path, told: dict[str, Any], seconds: float, rounds: int, used_s: Callable[[], float]
) -> dict[str, tuple[float, float]]:
    """Return calls per second and µs of the server's processor per call, by port: medians of rounds."""
    tls = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes())
    channels = {
        name: grpc.aio.insecure_channel(f"localhost:{port}")
        if name == "plaintext"
        else grpc.aio.secure_channel(f"localhost:{port}", tls)
        for name, port in told["ports"].items()
    }
    metadata = {name: (("authorization", f"Bearer {told['token']}"),) if "token" in name else () for name in PORTS}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PORTS}
    for turn in range(rounds + 1):
        for name in PORTS[:: 1 if turn % 2 else -1]:
            before_s = used_s()
            per_s = await calls_per_s(channels[name], metadata[name], seconds)
            found[name].append((per_s, (used_s() - before_s) / (per_s * seconds) * 1e6))
    for channel in channels.values():
        await channel.close()
    return {
        name: (median(rate for rate, _ in all_[1:]), median(cost for _, cost in all_[1:]))
        for name, all_ in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        asyncio.run(serve(given.serve))
        return

    with tempfile.TemporaryDirectory(prefix="hearth") as name:
        folder = Path(name)
        took_us = authorisation_us(folder)
        command = [sys.executable, "-m", "tests.benches.access_bench", "--serve", str(folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            told = json.loads(server.stdout.readline())

            def used_s(to: IO[bytes] = server.stdin, back: IO[bytes] = server.stdout) -> float:
                to.write(b"\n")
                to.flush()
                return float(back.readline())

            found = asyncio.run(measure(folder, told, given.seconds, given.rounds, used_s))
            server.stdin.close()
    result = {
        "authorisation_us": took_us,
        "calls_per_s": {one: rate for one, (rate, _) in found.items()},
        "processor_us": {one: cost for one, (_, cost) in found.items()},
        "fewer_calls": {one: 1 - found[one][0] / found["plaintext"][0] for one in PORTS[1:]},
        "more_processor_us": {one: found[one][1] - found["plaintext"][1] for one in PORTS[1:]},
    }
    if given.json:
        print(json.dumps(result))
        return
    print("authorisation:", ", ".join(f"{took:.1f} µs by {one}" for one, took in took_us.items()))
    for one, (rate, cost) in found.items():
        more = cost - found["plaintext"][1]
        print(
            f"{one:<14} {rate:>7,.0f} empty calls/s, {1 - rate / found['plaintext'][0]:>6.1%} fewer; edge and shard "
            f"use {cost:,.0f} µs a call, {more:+.0f}: {more / (more + DECISION_US):.1%} of the most decisions/s"
        )


if __name__ == "__main__":
    main()
