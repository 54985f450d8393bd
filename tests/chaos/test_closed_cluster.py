"""Laws of a Hearth on two Ray nodes that are closed by Ray's token and TLS, a shard on each, its metadata on PostgreSQL
and its log on Kafka:
- it decides for every partition, over a hop that is encrypted where it leaves the machine;
- nothing listens on either node that `hearth doctor` does not name, with what it is for and what protects it;
- every port of Ray refuses who has no token or another cluster's, and who shows no certificate or another authority's;
- the port of a shard refuses who has the secret of another installation, or none.

Controls: with the token and the certificate of the cluster, or the secret of the installation, each answers.
What was found is printed (-s).
"""

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest

from cluster.environment import fresh_token
from cluster.installation import installation_of
from cluster.metadata import MetadataStore
from hearth.internal.v1 import shard_pb2_grpc
from hearth.v1 import decision_pb2, decision_pb2_grpc
from tests.actors.harness import CORNER
from tests.chaos.cluster_processes import until
from tests.chaos.ray_nodes import RayNodes, ray_nodes
from tests.end_to_end.hearth_process import Hearth, command, running
from tests.parts.certificates import Paper, authority, written
from tests.parts.kafka_broker import running_broker
from tests.parts.postgresql_server import running_server
from wire import hop
from wire.installation import Installation
from wire.partitions import partition_of

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(600)]

PARTITIONS = 8
STARTS_WITHIN_S = 180.0
CALL_TIMEOUT_S = 5.0
RAYS_METHODS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/FreeObjects",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.serve.ASGIService/HandleRequest",
)
"""One of each kind of server that Ray opens; another kind does not know it."""
HOP_OPTIONS: tuple[tuple[str, int | str], ...] = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))


@dataclass
class World:
    """Two nodes, the Hearth on them, and what opens their ports."""

    nodes: RayNodes
    hearth: Hearth
    own_address: str
    """Of this machine, beyond loopback."""
    token: str
    cluster_authority: Paper
    certificate: Paper
    metadata: MetadataStore
    inventory: list[dict[str, Any]]
    """What the doctor says of each port."""
    listening: set[tuple[str, int, str]]
    """Address, port and process of what does listen."""


def own_address() -> str:
    """Return an address of this machine that others may reach."""
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET and not one.address.startswith("127."):
                return one.address
    pytest.skip("this machine has no address but loopback")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("closed")
    (folder / "corner.yaml").write_text(CORNER, encoding="utf-8")
    address, token, rays = own_address(), fresh_token(), authority("ray")
    node = rays.issue("node", addresses=(address,))
    closed = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(written(folder / "ray.pem", node.pem)),
        "RAY_TLS_SERVER_KEY": str(written(folder / "ray.key", node.key_pem)),
        "RAY_TLS_CA_CERT": str(written(folder / "ray-ca.pem", rays.pem)),
    }
    with (
        running_broker() as broker,
        running_server() as server,
        ray_nodes(folder, **closed) as nodes,
        pytest.MonkeyPatch.context() as patch,
    ):
        nodes.add("a", slots=1)
        nodes.add("b", slots=1, HEARTH_SHARD_HOST=address)
        settings = {
            "HEARTH_SNAPSHOTS": str(folder / "snapshots"),
            "HEARTH_SHARD_COUNT": "2",
            "HEARTH_SPARE_SHARD_COUNT": "0",
            "HEARTH_EDGE_COUNT": "1",
            "HEARTH_METRICS_PORT": "0",
            "HEARTH_RAY_ADDRESS": nodes.address,
            "HEARTH_LOG": f"kafka://{broker.bootstrap}/closed?replicas=1&min_insync=1",
            "HEARTH_METADATA_URL": server.url,
        }
        for name, value in (nodes.environment | settings).items():
            patch.setenv(name, value)
        options = ("--playbook", str(folder / "corner.yaml"), "--partitions", str(PARTITIONS))
        with running(folder / "data", *options, ready_within_s=STARTS_WITHIN_S) as hearth:
            metadata = MetadataStore(server.url)
            try:
                until(lambda: len(metadata.leases()) == 2, within_s=STARTS_WITHIN_S, what="a shard on each node")
                until(lambda: len(shard_ports(hearth)) == 2, within_s=STARTS_WITHIN_S, what="the status tells of both")
                listening = listening_of(nodes, hearth)
                ended = command("doctor", "--json", "--data-dir", str(hearth.data_dir))
                assert ended.stdout, ended.stderr
                told = json.loads(ended.stdout)["ports"]
                # Some workers are just being started, and others end.
                stayed = listening & listening_of(nodes, hearth)
                yield World(nodes, hearth, address, token, rays, node, metadata, told, stayed)
            finally:
                metadata.close()


def shard_ports(hearth: Hearth) -> list[str]:
    try:
        state = json.loads((hearth.data_dir / "status.json").read_text())
    except (OSError, ValueError):
        return []
    return [one["address"] for one in (state["placement"] or {"shards": []})["shards"] if one["address"]]


def listening_of(nodes: RayNodes, hearth: Hearth) -> set[tuple[str, int, str]]:
    found = set()
    for pid in (nodes.pid, hearth.process.pid):
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in process.net_connections(kind="inet"):
                    if one.status == psutil.CONN_LISTEN or one.type == socket.SOCK_DGRAM:
                        found.add((one.laddr.ip.removeprefix("::ffff:"), one.laddr.port, process.name()))
    return found


def show(line: str) -> None:
    print(f"\n    {line}", file=sys.stderr)


def test_it_decides_for_every_partition(world: World):
    with grpc.insecure_channel(world.hearth.address) as channel:
        stub = decision_pb2_grpc.DecisionServiceStub(channel)
        for partition in range(PARTITIONS):
            household = household_in(partition)
            request = decision_pb2.DecideRequest(request_id=f"r-{household}", household=household, channel="app")
            assert stub.Decide(request, timeout=CALL_TIMEOUT_S).decision_id
    assert {one.holder for one in world.metadata.ownerships()} == {one.holder for one in world.metadata.leases()}


def household_in(partition: int) -> str:
    names = (f"closed-{number}" for number in range(10_000))
    return next(name for name in names if partition_of(name.encode(), PARTITIONS) == partition)


def test_nothing_listens_that_the_doctor_does_not_name_and_justify(world: World):
    told = {one["port"]: one for one in world.inventory}
    for address, port, name in sorted(world.listening):
        assert port in told, (address, port, name)
        assert told[port]["purpose"], (name, told[port])
        is_open = told[port]["purpose"] in ("for gateways", "metrics, for Prometheus")
        assert told[port]["loopback"] or not is_open, told[port]
        allowed = {"token", "numbers", "installation"} | ({"none"} if is_open else set())
        assert told[port]["protection"] in allowed, told[port]
    kinds = {(one["purpose"], one["protection"]) for one in world.inventory if one["is_ours"]}
    show(f"{len(world.listening)} listen on two nodes: " + "; ".join(f"{what}: {by}" for what, by in sorted(kinds)))
    assert ("an edge's calls to a shard", "installation") in kinds


def rays_ports(world: World) -> list[tuple[str, int, str]]:
    """Return the ports on which Ray's processes call each other by gRPC; its agents' pages are asked by HTTP."""
    told = {one["port"]: one for one in world.inventory}
    found = [
        one
        for one in sorted(world.listening)
        if told[one[1]]["protection"] == "token" and not told[one[1]]["purpose"].startswith("Ray's environments")
    ]
    assert len(found) > 4
    return found


def asked(world: World, address: str, port: int, *, token: str, shows: Paper | None, trusts: bytes) -> set[str]:
    """Ask a port for one method of each kind of Ray's servers; return how it answered."""
    host = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(address, address)
    credentials = grpc.ssl_channel_credentials(trusts, shows and shows.key_pem, shows and shows.pem)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    answers = set()
    with grpc.secure_channel(f"{host}:{port}", credentials, options=HOP_OPTIONS) as channel:
        for method in RAYS_METHODS:
            try:
                channel.unary_unary(method)(b"", metadata=metadata, timeout=CALL_TIMEOUT_S)
                answers.add("OK")
            except grpc.RpcError as refused:
                answers.add(refused.code().name)
                if refused.code() is grpc.StatusCode.UNAVAILABLE:
                    return answers
    return answers


def test_every_port_of_ray_refuses_the_token_of_another_cluster_and_none(world: World):
    trusts = world.cluster_authority.pem
    for address, port, name in rays_ports(world):
        theirs = {"shows": world.certificate, "trusts": trusts}
        own = asked(world, address, port, token=world.token, **theirs)
        assert not own & {"UNAVAILABLE", "UNAUTHENTICATED"}, (name, port, own)
        for token in ("", fresh_token()):
            told = asked(world, address, port, token=token, **theirs)
            # A port that knows none of these methods says so to everybody, and nothing else.
            assert own == {"UNIMPLEMENTED"} or "UNAUTHENTICATED" in told, (name, port, token[:4], told)
            assert told <= {"UNAUTHENTICATED", "UNIMPLEMENTED"}, (name, port, token[:4], told)


def test_every_port_of_ray_refuses_the_certificate_of_another_cluster_and_none(world: World):
    trusts, others = world.cluster_authority.pem, authority("another cluster")
    foreign = others.issue("node", addresses=(world.own_address,))
    for address, port, name in rays_ports(world):
        for shows in (None, foreign):
            told = asked(world, address, port, token=world.token, shows=shows, trusts=trusts)
            assert told == {"UNAVAILABLE"}, (name, port, shows, told)
        # And a node of this one does not take the other's for its own.
        assert asked(world, address, port, token=world.token, shows=foreign, trusts=others.pem) == {"UNAVAILABLE"}
    show(f"{len(rays_ports(world))} ports of Ray: no token, another token, no certificate, another's: refused by all")


def test_a_shards_port_refuses_another_installation_and_none(world: World):
    own, other = installation_of(world.hearth.data_dir), Installation(b"o" * 32)
    addresses = shard_ports(world.hearth)
    assert {one.rpartition(":")[0] for one in addresses} == {"127.0.0.1", world.own_address}

    async def answer(address: str, papers: Installation | None, says: Installation | None) -> str:
        async with hop.channel(address, HOP_OPTIONS, papers) as channel:
            stub = shard_pb2_grpc.ShardServiceStub(channel)  # type: ignore[no-untyped-call]
            stream = stub.Exchange(metadata=hop.introduction(says), timeout=CALL_TIMEOUT_S)
            try:
                return "answered" if await stream.read() is not grpc.aio.EOF else (await stream.code()).name
            except grpc.aio.AioRpcError as refused:
                return refused.code().name

    async def all_of_them() -> None:
        for address in addresses:
            # Let in, and waiting for whoever called to ask.
            assert await answer(address, own, own) == "DEADLINE_EXCEEDED", address
            assert await answer(address, own, other) == "UNAUTHENTICATED", address
            assert await answer(address, own, None) == "UNAUTHENTICATED", address
            if not hop.is_private(address):
                assert await answer(address, other, own) == "UNAVAILABLE", address
                assert await answer(address, None, own) == "UNAVAILABLE", address

    asyncio.run(all_of_them())
