"""`hearth models follow`: what the aliases of an MLflow server name comes into service here.

It asks every few seconds, and at once where a webhook says that something changed. Of a webhook nothing is believed but
that, and only where its signature holds. A server that is gone changes nothing: what is in service stays.
"""

import base64
import hmac
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cluster.commands.model_names import model_named, term_named
from cluster.commands.promotion import by_us, plan_of
from cluster.config import HearthConfig, utc_now
from cluster.environment import environment_variable, export_environment
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import say
from serving.models.bundle import BundleRefused
from serving.models.following import Follower, SourceFailed, stand_by
from wire.addresses import host_is_loopback

SECRET_BYTES_MIN = 16
WEBHOOK_AGE_S_MAX = 300
WEBHOOK_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where MLflow is to say that something changed."""

    host: str
    port: int
    secret: Path
    certificate: Path | None
    key: Path | None


def webhook_of(place: str, *, secret: Path | None, certificate: Path | None, key: Path | None) -> Webhook:
    """Return where to listen, as it was typed.

    Raises:
        UsageWrong: it is no place, or not a safe one.
    """
    host, colon, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageWrong(f"--webhook {place!r} is not HOST:PORT")
    if secret is None:
        raise UsageWrong("--webhook needs --webhook-secret: anybody could send what is not signed")
    if certificate is None and not host_is_loopback(host):
        raise UsageWrong(f"--webhook on {host} needs --webhook-certificate: plaintext stays on loopback")
    return Webhook(host=host, port=int(port), secret=secret, certificate=certificate, key=key)


def follow(
    config: HearthConfig,
    *,
    uri: str,
    model: str,
    every_s: float,
    usual_share: float,
    here: str,
    webhook: Webhook | None,
    is_once: bool,
    as_json: bool,
) -> int:
    """Follow until interrupted; once only if asked, and then return 1 where something was refused or not answered.

    Raises:
        UsageWrong: the playbook has no model of the name that it is to have here.
    """
    plan = plan_of(config)
    name = model_named(plan, here)
    term = term_named(plan, name)
    if term is None:
        known = ", ".join(f"{one} ({what})" for what, one in plan.models.named)
        raise UsageWrong(
            f"--here {name}: the playbook asks no model of that name, so what it gives is not told; {known}"
        )
    with mlflow_client():
        from serving.models.mlflow_source import MlflowSource

        try:
            source = MlflowSource(uri, model)
        except SourceFailed as wrong:
            raise UsageWrong(f"--mlflow {uri} is no MLflow server, such as http://mlflow:5000: {wrong}") from wrong
    follower = Follower(
        source=source,
        name="mlflow",
        registry=config.model_path,
        plan=lambda: plan_of(config),
        by=by_us,
        usual_share=usual_share,
        model=name,
        term=term,
    )
    if is_once:
        return _once(follower, as_json=as_json)
    changed = threading.Event()
    with _listening(webhook, changed):
        say(f"following {model} of MLflow at {uri}, asked every {every_s:g} s")
        _follow(follower, changed, every_s=every_s, as_json=as_json)
    return 0


@contextmanager
def mlflow_client() -> Iterator[None]:
    """Use MLflow's client within: say what to install where it is missing, and have it give up after seconds."""
    for name, value in (("TIMEOUT", "5"), ("MAX_RETRIES", "1")):
        # The client waits for minutes by itself, which is nobody's "gone, and what is in service stays".
        if environment_variable(f"MLFLOW_HTTP_REQUEST_{name}") is None:
            export_environment(**{f"MLFLOW_HTTP_REQUEST_{name}": value})
    try:
        yield
    except ImportError as missing:
        raise CommandFailed(f"MLflow's client is not installed ({missing}): pip install 'hearth[mlflow]'") from missing


def _once(follower: Follower, *, as_json: bool) -> int:
    try:
        told = follower.look()
    except SourceFailed as gone:
        raise CommandFailed(f"nothing can be learned from MLflow: {gone}; what is in service stays") from gone
    except (BundleRefused, OSError) as broken:
        raise CommandFailed(f"this registry cannot be changed: {broken}") from broken
    for line in told or ["nothing has changed"]:
        _tell(line, as_json=as_json)
    return 1 if any("what is in service stays" in line for line in told) else 0


def _follow(follower: Follower, changed: threading.Event, *, every_s: float, as_json: bool) -> None:
    trouble = ""
    stand_by()
    while True:
        changed.clear()
        try:
            told, now = follower.look(), ""
        except SourceFailed as gone:
            told, now = [], f"nothing can be learned from MLflow: {gone}; what is in service stays"
        except (BundleRefused, OSError) as broken:
            told, now = [], f"this registry cannot be changed: {broken}; what is in service stays"
        for line in told:
            _tell(line, as_json=as_json)
        if now and not trouble:
            _tell(now, as_json=as_json)
        elif trouble and not now:
            _tell("MLflow answers again", as_json=as_json)
        trouble = now
        stand_by()
        changed.wait(every_s)


def _tell(line: str, *, as_json: bool) -> None:
    time = utc_now().isoformat(timespec="seconds")
    print(json.dumps({"time": time, "told": line}) if as_json else f"{time} {line}", flush=True)


@contextmanager
def _listening(webhook: Webhook | None, changed: threading.Event) -> Iterator[None]:
    """Wake whoever waits for `changed` when MLflow says so, and only MLflow can."""
    if webhook is None:
        yield
        return
    try:
        secret = webhook.secret.read_bytes().strip()
    except OSError as wrong:
        raise UsageWrong(f"--webhook-secret {webhook.secret} cannot be read: {wrong.strerror}") from wrong
    if len(secret) < SECRET_BYTES_MIN:
        raise UsageWrong(f"--webhook-secret {webhook.secret} holds {len(secret)} bytes; {SECRET_BYTES_MIN} are needed")

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            is_long = not length.isascii() or not length.isdigit() or int(length) > WEBHOOK_BYTES_MAX
            if is_long or not is_signed(
                dict(self.headers), self.rfile.read(int(length)), secret, utc_now().timestamp()
            ):
                self.send_error(413 if is_long else 401)
                return
            changed.set()
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: whoever knocks writes what stands in a log."""

    try:
        server = ThreadingHTTPServer((webhook.host, webhook.port), Handler)
        server.daemon_threads = True
        if webhook.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(webhook.certificate, webhook.key)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    except (OSError, ssl.SSLError) as wrong:
        raise CommandFailed(f"cannot listen for webhooks on {webhook.host}:{webhook.port}: {wrong}") from wrong
    thread = threading.Thread(target=server.serve_forever, name="webhooks", daemon=True)
    thread.start()
    say(f"listening for webhooks on {webhook.host}:{server.server_address[1]}")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def is_signed(headers: Mapping[str, str], body: bytes, secret: bytes, now_s: float) -> bool:
    """Return whether MLflow signed a webhook's body, lately.

    Its signature is `v1,` and the base64 of the HMAC-SHA256 of id, Unix time and body with points between.
    """
    told = {name.lower(): value for name, value in headers.items()}
    signature, delivery, time = (told.get(f"x-mlflow-{name}", "") for name in ("signature", "delivery-id", "timestamp"))
    if not (time.isascii() and time.isdigit() and len(time) < 16 and abs(int(time) - now_s) <= WEBHOOK_AGE_S_MAX):
        return False
    wanted = hmac.new(secret, f"{delivery}.{time}.".encode() + body, "sha256").digest()
    return hmac.compare_digest(signature.encode(), b"v1," + base64.b64encode(wanted))
