"""Laws: a command shows what it is given, options before variables; a token never travels for others to read; what
cannot be used is told in one sentence, which holds no token.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from typer.testing import CliRunner

from cluster import credentials as credentials_module
from cluster.cli import app
from cluster.client import NotRunning, find_target
from cluster.credentials import Credentials, credentials, open_channel
from cluster.data_dir import LAYOUT_NAME
from cluster.errors import UsageWrong
from hearth.v1 import decision_pb2
from loadtest.credentials import GatewayCredentials
from loadtest.gateway import Gateway
from tests.parts.certificates import Paper, authority, written

TOKEN = "secret-token"


@dataclass
class Seen:
    """What a server with mutual TLS saw of its callers."""

    folder: Path
    ca: Path
    address: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, common name, authorization."""

    @property
    def own(self) -> dict[str, str]:
        return {"cert": str(self.folder / "own.pem"), "key": str(self.folder / "own.key")}


class Answering(grpc.GenericRpcHandler):
    """Answers health checks and questions, and remembers who asked."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def service(self, details: grpc.HandlerCallDetails):
        def answer(_message: bytes, context: grpc.ServicerContext) -> bytes:
            told = dict(context.invocation_metadata()).get("authorization", "")
            name = b"".join(context.auth_context().get("x509_common_name", ())).decode()
            self._seen.calls.append((details.method.rpartition("/")[2], name, told))
            if details.method.endswith("Check"):
                return health_pb2.HealthCheckResponse(status=1).SerializeToString()
            return decision_pb2.DecideResponse(decision_id="d", reasons=["NO_CANDIDATES"]).SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    ca: Paper = authority()
    server_paper, own = ca.issue("server"), ca.issue("gateway-1")
    written(tmp_path / "own.pem", own.pem)
    written(tmp_path / "own.key", own.key_pem)
    found = Seen(folder=tmp_path, ca=written(tmp_path / "ca.pem", ca.pem))
    server = grpc.server(ThreadPoolExecutor(2), handlers=(Answering(found),))
    tls = grpc.ssl_server_credentials([(server_paper.key_pem, server_paper.pem)], ca.pem, require_client_auth=True)
    found.address = f"localhost:{server.add_secure_port('localhost:0', tls)}"
    server.start()
    yield found
    server.stop(None).wait()


def test_a_command_shows_certificate_and_token(seen: Seen, monkeypatch: pytest.MonkeyPatch):
    token = written(seen.folder / "token", f"{TOKEN}\n".encode())
    asked = ["decide", "h-1", "--channel", "app", "--target", seen.address, "--json"]
    options = ["--ca", str(seen.ca), "--cert", seen.own["cert"], "--key", seen.own["key"], "--token", f"@{token}"]

    told = CliRunner().invoke(app, [*asked, *options], catch_exceptions=False)

    assert told.exit_code == 0, told.output
    assert seen.calls == [(method, "gateway-1", f"Bearer {TOKEN}") for method in ("Check", "Decide")]

    seen.calls.clear()
    for name, value in (("CA", str(seen.ca)), ("CERT", seen.own["cert"]), ("KEY", seen.own["key"]), ("TOKEN", "t-2")):
        monkeypatch.setenv(f"HEARTH_{name}", value)
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert {call[2] for call in seen.calls} == {"Bearer t-2"}


def test_without_its_authority_nothing_is_told_but_how_to_name_it(seen: Seen):
    credentials_module.given.set(None)
    told = CliRunner().invoke(app, ["status", "--target", seen.address])
    assert told.exit_code == 1
    assert seen.calls == []


def test_the_load_test_speaks_it_too(seen: Seen):
    async def test() -> None:
        cert, key = Path(seen.own["cert"]), Path(seen.own["key"])
        known = GatewayCredentials(ca=seen.ca, cert=cert, key=key, token=TOKEN)
        gateway = Gateway(seen.address, credentials=known)
        await gateway.decide(decision_pb2.DecideRequest(request_id="r", household="h", channel="app"))
        await gateway.close()

    asyncio.run(test())
    assert seen.calls == [("Decide", "gateway-1", f"Bearer {TOKEN}")]


@pytest.mark.parametrize(
    ("known", "target", "told"),
    [
        ({"token": TOKEN}, "10.0.0.1:7077", "the token would travel to 10.0.0.1:7077 unencrypted"),
        ({"cert": "a", "key": "b"}, "10.0.0.1:7077", "say with --ca whom to trust"),
        ({"ca": "/nowhere.pem"}, "10.0.0.1:7077", "--ca /nowhere.pem cannot be read: No such file"),
        ({"ca": "system", "cert": "a"}, "10.0.0.1:7077", "--cert and --key belong together"),
        ({"ca": "system", "token": "@/nowhere"}, "10.0.0.1:7077", "--token /nowhere cannot be read"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_sent(known: dict[str, str], target: str, told: str):
    with pytest.raises(UsageWrong, match=told) as wrong, open_channel(target, (), Credentials(**known)):
        pass
    assert TOKEN not in str(wrong.value)


def test_a_token_is_shown_by_no_representation(tmp_path: Path):
    assert TOKEN not in repr(Credentials(token=TOKEN, ca="ca.pem"))
    assert TOKEN not in repr(GatewayCredentials(token=TOKEN, ca=tmp_path))


def test_an_option_goes_before_its_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEARTH_TOKEN", "variable")
    monkeypatch.setenv("HEARTH_CA", "variable.pem")
    assert credentials(token="option") == Credentials(token="option", ca="variable.pem")


def test_whoever_listens_at_the_default_port_is_asked_where_no_data_directory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What was meant for a Hearth that does not run befalls no other one."""
    assert find_target(target=None, data_dir=Path("hearth-data"), default_port=7077) == "127.0.0.1:7077"
    with pytest.raises(NotRunning, match=f"no Hearth is ready on {tmp_path}"):
        find_target(target=None, data_dir=tmp_path, default_port=7077)
    # An image names a data directory for whoever runs Hearth in it, be there one or not.
    monkeypatch.setenv("HEARTH_DATA_DIR", str(tmp_path))
    assert find_target(target=None, data_dir=tmp_path, default_port=7077) == "127.0.0.1:7077"
    (tmp_path / LAYOUT_NAME).touch()
    with pytest.raises(NotRunning, match=f"no Hearth is ready on {tmp_path}"):
        find_target(target=None, data_dir=tmp_path, default_port=7077)
