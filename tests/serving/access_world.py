"""An issuer of tokens, an authority of certificates, access rules of both, and a call of every public method."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from hearth.v1 import admin_pb2, decision_pb2, delivery_pb2, household_pb2, playbook_pb2, signal_pb2
from serving.access.audit import AuditLog, entries_of
from serving.access.door import Door, DoorSettings
from serving.access.rights import Role
from serving.access.trail import Trail
from serving.tls import ServerCertificates, TlsFiles
from tests.parts.certificates import Paper, authority, written
from tests.serving.test_edge import World, world_of
from wire.installation import Installation

ISSUER, AUDIENCE = "https://id.example", "hearth"
INSTALLATION = Installation(b"i" * 32)
CHANNEL = "app"
HOUSEHOLD = "h1"

REQUESTS: dict[str, Message] = {
    "/hearth.v1.SignalService/Ingest": signal_pb2.IngestRequest(
        signals=[signal_pb2.Signal(event_id="e", household=HOUSEHOLD, type="a.b")]
    ),
    "/hearth.v1.SignalService/IngestStream": signal_pb2.IngestStreamRequest(
        batch=signal_pb2.IngestRequest(signals=[signal_pb2.Signal(event_id="e", household=HOUSEHOLD, type="a.b")])
    ),
    "/hearth.v1.SignalService/Describe": signal_pb2.DescribeRequest(),
    "/hearth.v1.DecisionService/Decide": decision_pb2.DecideRequest(
        request_id="r", household=HOUSEHOLD, channel=CHANNEL
    ),
    "/hearth.v1.DecisionService/Report": decision_pb2.ReportRequest(
        request_id="r", household=HOUSEHOLD, channel=CHANNEL, action_id="a", outcome=decision_pb2.OUTCOME_ACCEPT
    ),
    "/hearth.v1.DeliveryService/Subscribe": delivery_pb2.SubscribeRequest(channels=[CHANNEL]),
    "/hearth.v1.DeliveryService/Ack": delivery_pb2.AckRequest(
        request_id="r", household=HOUSEHOLD, channel=CHANNEL, action_id="a", delivered=True
    ),
    "/hearth.v1.HouseholdService/Get": household_pb2.GetRequest(household=HOUSEHOLD),
    "/hearth.v1.HouseholdService/Explain": household_pb2.ExplainRequest(household=HOUSEHOLD),
    "/hearth.v1.HouseholdService/Decisions": household_pb2.DecisionsRequest(household=HOUSEHOLD),
    "/hearth.v1.HouseholdService/Quarantine": household_pb2.QuarantineRequest(),
    "/hearth.v1.HouseholdService/Change": household_pb2.ChangeRequest(request_id="r", confirm="c"),
    "/hearth.v1.PlaybookService/Push": playbook_pb2.PushRequest(version="v"),
    "/hearth.v1.PlaybookService/Halt": playbook_pb2.HaltRequest(journey="j", how=playbook_pb2.JOURNEY_HALT_PAUSE),
    "/hearth.v1.PlaybookService/Submit": playbook_pb2.SubmitRequest(files={"p.yaml": ""}),
    "/hearth.v1.PlaybookService/Approve": playbook_pb2.ApproveRequest(draft="d1"),
    "/hearth.v1.PlaybookService/ShowPlaybook": playbook_pb2.ShowPlaybookRequest(),
    "/hearth.v1.AdminService/ShowPlacement": admin_pb2.ShowPlacementRequest(),
    "/hearth.v1.AdminService/Scale": admin_pb2.ScaleRequest(shards=1),
    "/hearth.v1.AdminService/Rebalance": admin_pb2.RebalanceRequest(),
    "/hearth.v1.AdminService/Drain": admin_pb2.DrainRequest(name="shard-0"),
    "/hearth.v1.AdminService/Restart": admin_pb2.RestartRequest(),
    "/hearth.v1.AdminService/Snapshot": admin_pb2.SnapshotRequest(),
    "/hearth.v1.AdminService/Reject": admin_pb2.RejectRequest(
        rejects=[admin_pb2.Reject(position="file:x/1", reason="UNREADABLE")]
    ),
    "/hearth.v1.AdminService/ConfirmClock": admin_pb2.ConfirmClockRequest(),
    "/grpc.health.v1.Health/Check": health_pb2.HealthCheckRequest(),
    "/grpc.health.v1.Health/Watch": health_pb2.HealthCheckRequest(),
}
"""A sound request of every method."""


@dataclass
class Issuer:
    """Signs tokens."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65_537, 2_048))

    @property
    def public_pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def jwks(self, key_id: str) -> bytes:
        entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return json.dumps({"keys": [entry | {"kid": key_id, "use": "sig", "alg": "RS256"}]}).encode()

    def token(self, *roles: Role, algorithm="RS256", key: Any = None, key_id: str | None = None, **claims: Any) -> str:
        now_s = int(time.time())
        usual: dict[str, Any] = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "somebody", "iat": now_s, "exp": now_s + 600,
            "roles": [str(role) for role in roles], "channels": [CHANNEL],
        }  # fmt: skip
        content = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(content, key or self.key, algorithm=algorithm, headers={"kid": key_id} if key_id else None)


@dataclass
class Place:
    """A Hearth that asks who calls."""

    folder: Path
    issuer: Issuer
    ca: Paper
    clients: Paper
    world: World
    door: Door
    trail: Trail
    rules: dict[str, Any]

    def channel(self, own: Paper | None = None) -> grpc.aio.Channel:
        tls = grpc.ssl_channel_credentials(self.ca.pem, own and own.key_pem, own and own.pem)
        return grpc.aio.secure_channel(
            f"localhost:{self.world.port}", tls, options=[("grpc.use_local_subchannel_pool", 1)]
        )

    async def entries(self) -> list[dict[str, Any]]:
        await self.trail.settled()
        return list(entries_of(self.folder / "audit"))


def usual_rules() -> dict[str, Any]:
    return {
        "tokens": {"issuer": ISSUER, "audience": AUDIENCE, "keys": "issuer.pem", "algorithms": ["RS256"]},
        "callers": [
            {"certificate": "app-gateway", "roles": ["gateway"], "channels": [CHANNEL]},
            {"certificate": "sms-gateway", "roles": ["gateway"], "channels": ["sms"]},
            {"certificate": "operations", "roles": ["sre"]},
        ],
    }


@asynccontextmanager
async def place_of(
    folder: Path,
    *,
    with_certificates: bool,
    rules: dict[str, Any] | None = None,
    wall_s: Callable[[], float] = time.time,
    issuer: Issuer | None = None,
) -> AsyncIterator[Place]:
    issuer, ca, clients = issuer or Issuer(), authority(), authority("clients")
    server = ca.issue("server")
    files = TlsFiles(
        certificate=written(folder / "server.pem", server.pem),
        key=written(folder / "server.key", server.key_pem),
        client_ca=written(folder / "clients.pem", clients.pem) if with_certificates else None,
        revoked=written(folder / "revoked.pem", clients.revoked()) if with_certificates else None,
    )
    written(folder / "issuer.pem", issuer.public_pem)
    rules = rules or usual_rules()
    path = written(folder / "access.yaml", yaml.safe_dump(rules).encode())
    log = AuditLog(folder / "audit", INSTALLATION.derived("audit"))
    now = lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")  # noqa: E731
    trail = Trail(log, INSTALLATION, now=now, where="edge")
    door = Door(DoorSettings(rules=path, tls=files, wall_s=wall_s), trail)
    certificates = ServerCertificates(files)
    tls = certificates.credentials()
    async with world_of(folder, door=door, tls=tls) as world:
        yield Place(
            folder=folder, issuer=issuer, ca=ca, clients=clients, world=world, door=door, trail=trail, rules=rules
        )
        await trail.settled()


async def call(channel: grpc.aio.Channel, method: str, token: str = "", request: Message | None = None) -> None:
    """Call a method, of a stream until its first message.

    Raises:
        grpc.aio.AioRpcError: it was refused.
    """
    message = (request or REQUESTS[method]).SerializeToString()
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    name = method.rpartition("/")[2]
    if name in ("Subscribe", "Watch"):
        stream = channel.unary_stream(method)(message, metadata=metadata, timeout=20)
        if name == "Watch":
            await stream.read()
        stream.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stream.read()
    elif name == "IngestStream":

        async def messages() -> AsyncIterator[bytes]:
            yield message

        await channel.stream_unary(method)(messages(), metadata=metadata, timeout=20)
    else:
        await channel.unary_unary(method)(message, metadata=metadata, timeout=20)
