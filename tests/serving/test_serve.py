"""Laws: the edge comes up on Serve behind one port on loopback; requests, errors and health pass through it as they do
without Ray; a replica that dies is replaced on the same port; the other listener carries the same requests; of a model
two versions are served beside each other, each its own scores, and a shard's scorer reaches them.
"""

import asyncio
import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import psutil
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from actors.partition.caller import Caller
from actors.partition.model_plane import connect, serve_call
from actors.partition.scoring_settings import ScoringConfig
from actors.shard.exchange import ExchangeServicer
from hearth.internal.v1 import shard_pb2, shard_pb2_grpc
from hearth.v1 import decision_pb2, decision_pb2_grpc, delivery_pb2, signal_pb2, signal_pb2_grpc
from serving import ingress
from serving.edge_config import EdgeConfig, Listener
from serving.models import bundle as bundles
from serving.models.bundle import BundleRefused, save_bundle
from tests.serving.test_bundle import make_draft
from wire.failures import Failure, FieldViolation, failed
from wire.frames import SHARD_OPTIONS
from wire.routes import COORDINATOR_NAME, COORDINATOR_NAMESPACE, Routes

pytestmark = pytest.mark.ray

PARTITION_COUNT = 8
SCHEMA = "0123456789abcdef"


class FakeShard:
    """Decides nothing; applies everything; knows the channel "app" only."""

    async def call(self, method: int, partition: int, payload: bytes, caller: Caller | None, trace: str) -> bytes:
        if method == shard_pb2.METHOD_INGEST:
            import pyarrow as pa

            (batch,) = pa.ipc.open_stream(payload)
            counts = signal_pb2.SignalCounts(received=batch.num_rows, applied=batch.num_rows)
            return signal_pb2.IngestResponse(counts=counts).SerializeToString()
        request = shard_pb2.DecideCall.FromString(payload).request
        if request.channel != "app":
            violation = FieldViolation(field="channel", description="wanted app")
            raise failed(Failure.UNKNOWN_CHANNEL, "no such channel", violations=(violation,))
        return decision_pb2.DecideResponse(decision_id=request.household, reasons=["NO_CANDIDATES"]).SerializeToString()

    async def deliveries(
        self, channels: Sequence[str], group: str = ""
    ) -> AsyncGenerator[delivery_pb2.SubscribeResponse, None]:
        await asyncio.Event().wait()
        yield delivery_pb2.SubscribeResponse()


class ShardActor:
    async def listen(self, address: str) -> None:
        self._server = grpc.aio.server(options=SHARD_OPTIONS)
        shard_pb2_grpc.add_ShardServiceServicer_to_server(ExchangeServicer(FakeShard()), self._server)
        self._server.add_insecure_port(address)
        await self._server.start()


class CoordinatorActor:
    def __init__(self, address: str) -> None:
        self._owners = dict.fromkeys(range(PARTITION_COUNT), address)
        self._is_ready = True

    async def set_ready(self, is_ready: bool) -> None:
        self._is_ready = is_ready

    async def routes(self) -> Routes:
        return Routes(partition_count=PARTITION_COUNT, owners=self._owners, ready=self._is_ready)


def listeners(port: int) -> set[tuple[int, str]]:
    """Return process and address of all that listen on a port."""
    found: set[tuple[int, str]] = set()
    for connection in psutil.net_connections("tcp"):
        address: Any = connection.laddr
        if connection.status == psutil.CONN_LISTEN and address.port == port:
            found.add((connection.pid or 0, address.ip.removeprefix("::ffff:")))
    return found


def on_their_node(address: str, public_port: int) -> dict[str, int]:
    """Return how many ports each of Serve's replicas has on the node's address, beside the public one.

    Here Ray's own port of each worker is on all addresses.
    """
    found = {}
    for process in psutil.process_iter(["name"]):
        if process.info["name"].startswith("ray::ServeReplica"):
            ports = [one.laddr for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
            own = [one for one in ports if one.ip.removeprefix("::ffff:") == address and one.port != public_port]
            found[process.info["name"]] = len(own)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hearth", ignore_cleanup_errors=True) as name:
        yield Path(name)


def environment_of(config: EdgeConfig, folder: Path) -> dict[str, str]:
    ours = {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": str(folder), "HOME": str(folder)}
    return ingress.serve_environment(config) | ours


@pytest.fixture(scope="module")
def config(folder: Path) -> Iterator[EdgeConfig]:
    """A running edge with one shard and a coordinator behind it."""
    config = EdgeConfig(port=free_port(), development=True, drain_timeout_s=1)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment_of(config, folder).items():
            patch.setenv(name, value)
        import ray
        from ray import serve

        ray.init(address="local", namespace="hearth", num_cpus=4, include_dashboard=False, log_to_driver=False)
        try:
            remote: Any = ray.remote(num_cpus=0)
            address = f"unix:{folder}/shard.sock"
            shard = remote(ShardActor).remote()
            coordinator = remote(CoordinatorActor).options(name=COORDINATOR_NAME).remote(address)
            ray.get([shard.listen.remote(address), coordinator.routes.remote()])
            ingress.start(config)
            yield config
            ingress.stop()
        finally:
            serve.shutdown()
            ray.shutdown()


def test_two_versions_are_served_beside_each_other_and_refuse_foreign_rows(
    config: EdgeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import ray

    from serving.models.scorer import deploy, deployed_versions, local_scorer, undeploy

    # Replicas check in earnest; in this process six checks of a second each would add nothing to test_bundle.py.
    monkeypatch.setattr(bundles, "_probe", lambda *_: None)

    folders = [
        save_bundle(tmp_path, "acceptance", make_draft(seed), created="now", version=f"v{seed}") for seed in (1, 2)
    ]
    # As a version of another model is served, beside which acceptance may have one of the same name.
    names = [deploy(folders[0]), deploy(folders[1], served_as="spring@v2")]
    assert names == ["model-v1", "model-spring@v2"]
    assert deployed_versions() == ["spring@v2", "v1"]
    assert on_their_node(ray.util.get_node_ip_address(), config.port) == {
        "ray::ServeReplica:hearth-edge:Edge": 1,
        "ray::ServeReplica:model-v1:Scorer": 1,
        "ray::ServeReplica:model-spring@v2:Scorer": 1,
    }
    rows = np.random.default_rng(1).normal(size=(24, 4)).astype(np.float32)
    locals_ = [local_scorer(folder, feature_schema_hash=SCHEMA) for folder in folders]

    async def story() -> None:
        for name, local in zip(names, locals_, strict=True):
            scorer = await connect(
                name,
                model_version=local.model_version,
                feature_schema_hash=SCHEMA,
                column_count=4,
                local=locals_[0],
                config=ScoringConfig(slice_ms_max=2_000, patience_ms=2_000),
            )
            assert scorer.counters.last_failure == ""
            answers = await asyncio.gather(*(scorer.score(rows[i : i + 6]) for i in range(0, 24, 6)))
            assert {(each.model_version, each.degraded) for each in answers} == {(local.model_version, False)}
            assert b"".join(each.scores.tobytes() for each in answers) == local.score_now(rows).tobytes()
            assert scorer.counters.batches == 1
            scorer.close()

        call = serve_call(names[0], deployment="Scorer", feature_schema_hash=SCHEMA)
        with pytest.raises(Exception, match="24 rows, 4 columns need 384"):
            await call(rows[:, :3].tobytes(), 24)
        call = serve_call(names[0], deployment="Scorer", feature_schema_hash="ffff")
        with pytest.raises(Exception, match="it was made for 0123456789abcdef"):
            await call(rows.tobytes(), 24)

        undeploy("spring@v2")
        scorer = await connect(
            names[1],
            model_version="v2",
            feature_schema_hash=SCHEMA,
            column_count=4,
            local=locals_[0],
            config=ScoringConfig(warm_up_ms=300, slice_ms_max=50),
        )
        answer = await scorer.score(rows)
        assert (answer.model_version, answer.degraded) == ("v1", True)
        scorer.close()

    asyncio.run(story())
    assert deployed_versions() == ["v1"]

    (folders[1] / "model.ubj").write_bytes(b"nonsense")
    with pytest.raises(BundleRefused, match="sha256"):
        deploy(folders[1])
    undeploy("v1")


@pytest.fixture
def channel(config: EdgeConfig) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(config.address) as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
        yield channel


def decide_request(**changed) -> decision_pb2.DecideRequest:
    return decision_pb2.DecideRequest(**({"request_id": "r1", "household": "h1", "channel": "app"} | changed))


def test_decide_and_ingest_pass_through(channel: grpc.Channel):
    answer = decision_pb2_grpc.DecisionServiceStub(channel).Decide(decide_request(), timeout=5)
    assert (answer.decision_id, list(answer.reasons)) == ("h1", ["NO_CANDIDATES"])

    signals = [signal_pb2.Signal(event_id=f"e{row}", household=f"h{row}", type="a.b") for row in range(500)]
    stub = signal_pb2_grpc.SignalServiceStub(channel)
    counts = signal_pb2.SignalCounts(received=500, applied=500)
    assert stub.Ingest(signal_pb2.IngestRequest(signals=signals), timeout=10).counts == counts
    batches = (signal_pb2.IngestStreamRequest(batch=signal_pb2.IngestRequest(signals=signals)) for _ in range(6))
    assert stub.IngestStream(batches, timeout=10).counts == signal_pb2.SignalCounts(received=3_000, applied=3_000)


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (decide_request(household=""), "INVALID_REQUEST", "household"),  # found by the edge
        (decide_request(channel="fax"), "UNKNOWN_CHANNEL", "channel"),  # found by the shard
    ],
)
def test_errors_arrive_with_their_details(channel: grpc.Channel, request_, reason: str, field: str):
    with pytest.raises(grpc.RpcError) as raised:
        decision_pb2_grpc.DecisionServiceStub(channel).Decide(request_, timeout=5)

    call: Any = raised.value
    status = rpc_status.from_call(call)
    assert status is not None
    bad_request, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.details[0].Unpack(bad_request)
    assert status.details[1].Unpack(info)
    assert (bad_request.field_violations[0].field, info.reason) == (field, reason)


def test_health_follows_the_coordinator(channel: grpc.Channel):
    import ray

    coordinator = ray.get_actor(COORDINATOR_NAME, namespace=COORDINATOR_NAMESPACE)
    stub: Any = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    ray.get(coordinator.set_ready.remote(False))
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    ray.get(coordinator.set_ready.remote(True))
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_the_public_port_is_one_and_on_loopback(config: EdgeConfig):
    with pytest.raises(ingress.PortInUse, match="is in use by another process"):
        ingress.check_port(config)

    assert {address for _, address in listeners(config.port)} == {"127.0.0.1"}


def decided_again(channel: grpc.Channel, *, within_s: float) -> decision_pb2.DecideResponse:
    """Ask as a gateway does: a call that was under way on the connection that broke is made again."""
    deadline_s = time.monotonic() + within_s
    while True:
        stub, left_s = decision_pb2_grpc.DecisionServiceStub(channel), deadline_s - time.monotonic()
        try:
            return stub.Decide(decide_request(), timeout=left_s, wait_for_ready=True)
        except grpc.RpcError as failed:
            if failed.code() is not grpc.StatusCode.UNAVAILABLE:
                raise


def test_a_replica_that_dies_is_replaced_on_the_same_port(channel: grpc.Channel, config: EdgeConfig):
    (replica,) = {process for process, _ in listeners(config.port)}
    os.kill(replica, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(replica)], timeout=10)

    answer = decided_again(channel, within_s=40)

    assert answer.decision_id == "h1"
    assert replica not in {process for process, _ in listeners(config.port)}


def test_the_other_listener_carries_the_same_requests(config: EdgeConfig):
    """Last, since it takes Serve down and starts it as direct ingress, whose settings go to Serve's processes alone."""
    from ray import serve

    direct = replace(config, port=free_port(), listener=Listener.DIRECT_INGRESS)
    serve.shutdown()
    controller_options = {"runtime_env": {"env_vars": ingress.serve_environment(direct)}}
    serve.start(controller_options=controller_options, **ingress.serve_options(direct))
    ingress.start(direct)

    with grpc.insecure_channel(direct.address) as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
        answer = decision_pb2_grpc.DecisionServiceStub(channel).Decide(decide_request(), timeout=5)
        assert answer.decision_id == "h1"
        assert {address for _, address in listeners(direct.port)} == {"127.0.0.1"}
        stub: Any = health_pb2_grpc.HealthStub(channel)
        health = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
