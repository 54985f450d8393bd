"""Laws: whoever is not known, or may not, is refused at every call, by a reason of his own, and it is written down;
whoever may is let in, by token or certificate; what is changed in rules, keys and lists holds without a restart, also
for connections and streams that are open; nobody gets more than his share.
"""

import asyncio
import base64
import contextlib
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from hearth.v1 import decision_pb2, delivery_pb2, signal_pb2
from serving import boundary
from serving.access import door as door_module
from serving.access.audit import examine
from serving.access.door import Door, DoorSettings
from serving.access.rights import RIGHTS, Role, Trace
from serving.access.rules import AccessUnusable, load_rules
from serving.access.tokens import Tokens
from serving.signal_batches import batch_from_signals
from tests.parts.certificates import HOUR, authority, written
from tests.serving.access_world import (
    CHANNEL,
    HOUSEHOLD,
    INSTALLATION,
    REQUESTS,
    Issuer,
    Place,
    call,
    place_of,
    usual_rules,
)
from wire.batches import ipc_bytes
from wire.failures import CallFailed, Failure, told_status

SIGNED_OTHERWISE = Issuer()
SETTLED_S = 0.1
CHANNELLED = (
    "/hearth.v1.DecisionService/Decide",
    "/hearth.v1.DecisionService/Report",
    "/hearth.v1.DeliveryService/Subscribe",
    "/hearth.v1.DeliveryService/Ack",
)


def run(test: Awaitable[None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await test
        # What gRPC still has to say of calls that were cancelled or refused, it says to whatever loop listens: once
        # this one is closed, that of another test would stumble over it. Nobody tells when it has said all.
        await asyncio.sleep(SETTLED_S)

    asyncio.run(limited())


def who_may(method: str) -> Role:
    return min(RIGHTS[method].roles)


def who_may_not(method: str) -> Role | None:
    return min(set(Role) - RIGHTS[method].roles, default=None)


def unsigned(token: str) -> str:
    _, claims, _ = token.split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    return f"{header}.{claims}."


def signed_with_the_public_key(issuer: Issuer, token: str) -> str:
    # By hand: PyJWT refuses to.
    import hashlib
    import hmac

    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    signing = header + b"." + token.split(".")[1].encode()
    seal = hmac.new(issuer.public_pem, signing, hashlib.sha256).digest()
    return (signing + b"." + base64.urlsafe_b64encode(seal).rstrip(b"=")).decode()


BAD_TOKENS: dict[str, tuple[Failure, Callable[[Issuer, Role], str]]] = {
    "none": (Failure.NO_CREDENTIALS, lambda issuer, role: ""),
    "no JWT": (Failure.TOKEN_INVALID, lambda issuer, role: "abc"),
    "expired": (Failure.TOKEN_EXPIRED, lambda issuer, role: issuer.token(role, exp=int(time.time()) - 60)),
    "never expires": (Failure.TOKEN_INVALID, lambda issuer, role: issuer.token(role, exp=None)),
    "not yet": (Failure.TOKEN_INVALID, lambda issuer, role: issuer.token(role, nbf=int(time.time()) + 300)),
    "nobody's": (Failure.TOKEN_INVALID, lambda issuer, role: issuer.token(role, sub=None)),
    "other issuer": (Failure.TOKEN_OF_ANOTHER_ISSUER, lambda issuer, role: issuer.token(role, iss="https://x")),
    "no issuer": (Failure.TOKEN_OF_ANOTHER_ISSUER, lambda issuer, role: issuer.token(role, iss=None)),
    "other audience": (Failure.TOKEN_FOR_ANOTHER_AUDIENCE, lambda issuer, role: issuer.token(role, aud=["x", "y"])),
    "no audience": (Failure.TOKEN_FOR_ANOTHER_AUDIENCE, lambda issuer, role: issuer.token(role, aud=None)),
    "alg none": (Failure.TOKEN_INVALID, lambda issuer, role: unsigned(issuer.token(role))),
    "HS256 with the public key": (
        Failure.TOKEN_INVALID,
        lambda issuer, role: signed_with_the_public_key(issuer, issuer.token(role)),
    ),
    "another way of signing": (Failure.TOKEN_INVALID, lambda issuer, role: issuer.token(role, algorithm="RS512")),
    "another key": (Failure.TOKEN_INVALID, lambda issuer, role: issuer.token(role, key=SIGNED_OTHERWISE.key)),
    "changed": (Failure.TOKEN_INVALID, lambda issuer, role: issuer.token(role)[:-6] + "AAAAAA"),
    "no role": (Failure.ROLE_NOT_PERMITTED, lambda issuer, role: issuer.token()),
    "made-up role": (Failure.ROLE_NOT_PERMITTED, lambda issuer, role: issuer.token(roles=["root"])),
}


async def refusal_of(refused: Awaitable[None]) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await refused
    status = told_status(failed.value)
    from wire.failures import reason_of

    return failed.value.code(), reason_of(status), status.message


def test_every_method_has_a_request_here():
    assert {name for name in RIGHTS if name.startswith("/")} == REQUESTS.keys()


def test_every_call_with_every_bad_token_is_refused_named_and_written_down(tmp_path: Path):
    async def test() -> None:
        async with place_of(tmp_path, with_certificates=False) as place, place.channel() as channel:
            for method in REQUESTS:
                cases = dict(BAD_TOKENS)
                other = who_may_not(method)
                if other is not None:
                    cases["other role"] = Failure.ROLE_NOT_PERMITTED, lambda issuer, _, other=other: issuer.token(other)
                if method in CHANNELLED:
                    cases["other channel"] = (
                        Failure.CHANNEL_NOT_PERMITTED,
                        lambda issuer, role: issuer.token(role, channels=["sms"]),
                    )
                for name, (failure, make) in cases.items():
                    token = make(place.issuer, who_may(method))
                    code, reason, message = await refusal_of(reading(channel, method, token))
                    assert (code, reason) == (failure.code, failure.reason), (method, name)
                    assert message
                    assert token == "" or token not in message
            assert not any(shard.calls for shard in place.world.shards), "nobody got as far as a shard"
            # All of them together are more than is written in so short a time.
            assert len(await place.entries()) > 50

    run(test())


async def reading(channel: grpc.aio.Channel, method: str, token: str) -> None:
    """As `call`, but read a stream to where it ends, as one that is refused does."""
    if method.endswith("/Subscribe"):
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        await channel.unary_stream(method)(REQUESTS[method].SerializeToString(), metadata=metadata, timeout=20).read()
    else:
        await call(channel, method, token)


def test_every_refusal_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from serving.access import trail

    monkeypatch.setattr(trail, "REFUSALS_BURST", 10_000)

    async def test() -> None:
        async with place_of(tmp_path, with_certificates=False) as place, place.channel() as channel:
            expected = set()
            for method in REQUESTS:
                for failure, make in BAD_TOKENS.values():
                    await refusal_of(reading(channel, method, make(place.issuer, who_may(method))))
                    expected.add((method.lstrip("/"), failure.reason))
            entries = await place.entries()
            assert {(entry["did"], entry["refused"]) for entry in entries} == expected

    run(test())


def test_who_may_is_let_in_and_what_leaves_a_trace_is_written_first(tmp_path: Path):
    async def test() -> None:
        async with place_of(tmp_path, with_certificates=False) as place, place.channel() as channel:
            for method, right in RIGHTS.items():
                if method.startswith("/"):
                    for role in right.roles:
                        with contextlib.suppress(grpc.aio.AioRpcError):  # the shards here answer not every question
                            await call(channel, method, place.issuer.token(role))
            entries = await place.entries()
            assert not [entry for entry in entries if "refused" in entry]
            traced = {method.lstrip("/") for method, right in RIGHTS.items() if right.trace is not Trace.NONE}
            assert {entry["did"] for entry in entries} == {one for one in traced if not one.startswith("hearth ")}
            looks = [entry for entry in entries if entry["did"].endswith("/Get")]
            assert {entry["about"] for entry in looks} == {INSTALLATION.pseudonym(HOUSEHOLD)}
            assert {entry["who"] for entry in looks} == {"token:somebody"}
        assert not examine(tmp_path / "audit", INSTALLATION.derived("audit")).broken

    run(test())


def test_every_call_with_every_bad_certificate_is_refused_and_written_down(tmp_path: Path):
    async def test() -> None:
        async with place_of(tmp_path, with_certificates=True) as place:
            gone, unnamed = place.clients.issue("app-gateway"), place.clients.issue("stranger")
            late = place.clients.issue("app-gateway", age=2 * HOUR, life=HOUR)
            written(tmp_path / "revoked.pem", place.clients.revoked(gone))
            monotonic_passes(place)
            cases = {
                "revoked": (gone, Failure.CERTIFICATE_REVOKED),
                "unnamed": (unnamed, Failure.NO_CREDENTIALS),
                "other role": (None, Failure.ROLE_NOT_PERMITTED),
                "other channel": (place.clients.issue("sms-gateway"), Failure.CHANNEL_NOT_PERMITTED),
            }
            for name, (paper, failure) in cases.items():
                for method in REQUESTS:
                    if name == "other channel" and method not in CHANNELLED:
                        continue
                    own = paper
                    if own is None:
                        is_for_operations = Role.SRE in RIGHTS[method].roles
                        own = place.clients.issue("app-gateway" if is_for_operations else "operations")
                        if Role.GATEWAY in RIGHTS[method].roles and is_for_operations:
                            continue  # for everybody
                    async with place.channel(own) as channel:
                        code, reason, _ = await refusal_of(reading(channel, method, ""))
                    assert (code, reason) == (failure.code, failure.reason), (method, name)
            # TLS itself refuses these: the connection does not come about.
            for paper in (None, late, authority("clients").issue("app-gateway")):
                async with place.channel(paper) as channel:
                    code, _, _ = await refusal_of(call(channel, "/grpc.health.v1.Health/Check"))
                    assert code is grpc.StatusCode.UNAVAILABLE
            assert "CERTIFICATE_REVOKED" in {entry.get("refused") for entry in await place.entries()}
            async with place.channel(place.clients.issue("app-gateway")) as channel:
                await call(channel, "/hearth.v1.DecisionService/Decide")

    run(test())


def monotonic_passes(place: Place) -> None:
    """Let the door look at its files at the next call."""
    place.door._looked_s -= 2 * door_module.LOOK_EVERY_S


def test_revoked_and_expired_under_an_open_connection(tmp_path: Path):
    now_s = time.time()
    clock = {"s": now_s}

    async def test() -> None:
        async with place_of(tmp_path, with_certificates=True, wall_s=lambda: clock["s"]) as place:
            own = place.clients.issue("app-gateway")
            method = "/hearth.v1.DecisionService/Decide"
            async with place.channel(own) as channel:
                await call(channel, method)
                clock["s"] = now_s + 2 * HOUR.total_seconds()
                assert (await refusal_of(call(channel, method)))[1] == "CERTIFICATE_EXPIRED"
                clock["s"] = now_s
                await call(channel, method)
                written(tmp_path / "revoked.pem", authority("clients").revoked())
                monotonic_passes(place)
                await call(channel, method)  # a list by who may not revoke changes nothing
                written(tmp_path / "revoked.pem", place.clients.revoked(own))
                monotonic_passes(place)
                assert (await refusal_of(call(channel, method)))[1] == "CERTIFICATE_REVOKED"

    run(test())


def test_a_stream_ends_when_its_token_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boundary, "STREAM_LOOK_EVERY_S", 0.01)
    clock = {"s": time.time()}

    async def test() -> None:
        place_at = place_of(tmp_path, with_certificates=False, wall_s=lambda: clock["s"])
        async with place_at as place, place.channel() as channel:
            token = place.issuer.token(Role.GATEWAY)
            method = "/hearth.v1.DeliveryService/Subscribe"
            stream = channel.unary_stream(method)(
                REQUESTS[method].SerializeToString(), metadata=(("authorization", f"Bearer {token}"),)
            )
            reading = asyncio.ensure_future(stream.read())
            await place.world.shards[0].subscribed.get()
            clock["s"] += 3_600
            assert (await refusal_of(reading))[1] == "TOKEN_EXPIRED"
            await place.world.shards[0].unsubscribed.get()

    run(test())


def test_a_stream_ends_whose_channel_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boundary, "STREAM_LOOK_EVERY_S", 0.01)

    async def test() -> None:
        rules = usual_rules() | {"callers": [{"token": "shop", "roles": ["gateway"], "channels": [CHANNEL, "web"]}]}
        async with place_of(tmp_path, with_certificates=False, rules=rules) as place, place.channel() as channel:
            method = "/hearth.v1.DeliveryService/Subscribe"
            metadata = (("authorization", f"Bearer {place.issuer.token(sub='shop')}"),)
            stream = channel.unary_stream(method)(REQUESTS[method].SerializeToString(), metadata=metadata)
            reading = asyncio.ensure_future(stream.read())
            await place.world.shards[0].subscribed.get()
            rules["callers"][0]["channels"] = ["web"]
            written(tmp_path / "access.yaml", yaml.safe_dump(rules).encode())
            monotonic_passes(place)
            assert (await refusal_of(reading))[1] == "CHANNEL_NOT_PERMITTED"
            await place.world.shards[0].unsubscribed.get()

    run(test())


def test_changed_rules_and_keys_hold_without_a_restart_and_wrong_ones_change_nothing(tmp_path: Path, caplog):
    async def test() -> None:
        async with place_of(tmp_path, with_certificates=False) as place, place.channel() as channel:
            method = "/hearth.v1.DecisionService/Decide"
            token = place.issuer.token(Role.GATEWAY, sub="shop")
            await call(channel, method, token)
            for wrong in ("callers: [", "tokens: {issuer: x}", "callers: [{user: x, roles: [root]}]"):
                written(tmp_path / "access.yaml", wrong.encode())
                monotonic_passes(place)
                await call(channel, method, token)
            assert caplog.text.count("new access rules are not taken") == 3
            place.rules["callers"] = [{"token": "shop", "roles": ["source"]}]
            written(tmp_path / "access.yaml", yaml.safe_dump(place.rules).encode())
            monotonic_passes(place)
            assert (await refusal_of(call(channel, method, token)))[1] == "ROLE_NOT_PERMITTED"
            written(tmp_path / "access.yaml", yaml.safe_dump(usual_rules()).encode())
            monotonic_passes(place)
            await call(channel, method, token)
            written(tmp_path / "issuer.pem", SIGNED_OTHERWISE.public_pem)
            monotonic_passes(place)
            assert (await refusal_of(call(channel, method, token)))[1] == "TOKEN_INVALID"
            await call(channel, method, SIGNED_OTHERWISE.token(Role.GATEWAY))

    run(test())


def json_part(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    folder = tmp_path_factory.mktemp("tokens")
    written(folder / "issuer.pem", SIGNED_OTHERWISE.public_pem)
    path = written(folder / "access.yaml", yaml.safe_dump(usual_rules()).encode())
    return Tokens(load_rules(path), folder, wall_s=time.time)


@pytest.mark.parametrize(
    "token",
    [
        json_part("[" * 9_000) + ".e30.x",
        json_part('{"alg":"RS256","kid":[]}') + ".e30.x",
        json_part('{"alg":["RS256"]}') + ".e30.x",
        json_part('{"alg":"RS256","crit":["x"]}') + ".e30.x",
        "." * 100,
        "a" * 100_000,
        SIGNED_OTHERWISE.token(Role.GATEWAY, exp=float("inf")),
        SIGNED_OTHERWISE.token(Role.GATEWAY, exp="tomorrow"),
        SIGNED_OTHERWISE.token(Role.GATEWAY, exp=True),
    ],
)
def test_no_token_however_made_is_anything_but_refused(tokens: Tokens, token: str):
    with pytest.raises(CallFailed) as refused:
        tokens.principal(token)
    assert refused.value.reason == "TOKEN_INVALID"


@given(header=st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps), rest=st.text())
def test_no_token_by_chance_is_anything_but_refused(tokens: Tokens, header: str, rest: str):
    for token in (f"{json_part(header)}.{rest}", f"{header}.{rest}", f"{json_part(header)}.{json_part(rest)}.{rest}"):
        with pytest.raises(CallFailed):
            tokens.principal(token)


@pytest.fixture
def key_server() -> Iterator[tuple[str, dict[str, Any]]]:
    served: dict[str, Any] = {"content": b"", "count": 0}

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served["count"] += 1
            self.send_response(302 if self.path == "/moved" else 200)
            self.send_header("Location", "/keys")
            self.end_headers()
            self.wfile.write(served["content"])

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Keys)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/keys", served
    server.shutdown()
    server.server_close()


def test_keys_at_a_url_are_fetched_when_a_token_names_a_new_one_but_not_for_made_up_ones(tmp_path: Path, key_server):
    url, served = key_server
    clock = {"s": time.time()}
    first, second = Issuer(), Issuer()
    rules = usual_rules()
    rules["tokens"]["keys"] = url
    method = "/hearth.v1.DecisionService/Decide"

    async def test() -> None:
        place_at = place_of(tmp_path, with_certificates=False, rules=rules, wall_s=lambda: clock["s"])
        async with place_at as place, place.channel() as channel:
            token = first.token(Role.GATEWAY, key_id="1")
            assert (await refusal_of(call(channel, method, token)))[1] == "KEYS_UNAVAILABLE"
            clock["s"] += 20
            served["content"] = first.jwks("1")
            await call(channel, method, token)
            served["content"], before = second.jwks("2"), served["count"]
            for index in range(20):
                made_up = second.token(Role.GATEWAY, key_id=f"made up {index}")
                assert (await refusal_of(call(channel, method, made_up)))[1] == "TOKEN_INVALID"
            assert served["count"] == before
            clock["s"] += 20
            await call(channel, method, second.token(Role.GATEWAY, key_id="2"))
            assert served["count"] == before + 1
            assert (await refusal_of(call(channel, method, token)))[1] == "TOKEN_INVALID"

    run(test())


def test_changed_rules_lock_nobody_out_while_the_issuer_is_away(tmp_path: Path, key_server):
    url, served = key_server
    rules = usual_rules()
    rules["tokens"]["keys"] = url
    method = "/hearth.v1.DecisionService/Decide"

    async def test() -> None:
        async with place_of(tmp_path, with_certificates=False, rules=rules) as place, place.channel() as channel:
            token = place.issuer.token(Role.GATEWAY, key_id="1")
            served["content"] = place.issuer.jwks("1")
            await call(channel, method, token)
            served["content"] = b"away"
            written(tmp_path / "access.yaml", yaml.safe_dump(rules | {"open_health": True}).encode())
            monotonic_passes(place)
            await call(channel, method, token)

    run(test())


def test_who_was_checked_by_keys_that_are_gone_meanwhile_is_not_known_by_them(tmp_path: Path):
    path = written(tmp_path / "access.yaml", yaml.safe_dump(usual_rules()).encode())
    written(tmp_path / "issuer.pem", SIGNED_OTHERWISE.public_pem)
    tokens = Tokens(load_rules(path), tmp_path, wall_s=time.time)
    token, checked = SIGNED_OTHERWISE.token(Role.GATEWAY), tokens._checked

    def overtaken(token: str):
        found = checked(token)
        tokens._take(Issuer().public_pem)  # as another thread does
        return found

    tokens._checked = overtaken
    tokens.principal(token)
    tokens._checked = checked
    with pytest.raises(CallFailed) as refused:
        tokens.principal(token)
    assert refused.value.reason == "TOKEN_INVALID"


def test_keys_that_have_moved_are_not_followed(tmp_path: Path, key_server):
    url, served = key_server
    served["content"] = SIGNED_OTHERWISE.jwks("1")
    rules = usual_rules()
    rules["tokens"]["keys"] = url.replace("/keys", "/moved")
    path = written(tmp_path / "access.yaml", yaml.safe_dump(rules).encode())
    tokens = Tokens(load_rules(path), tmp_path, wall_s=time.time)

    tokens.fetch()

    assert served["count"] == 1
    with pytest.raises(CallFailed) as refused:
        tokens.principal(SIGNED_OTHERWISE.token(Role.GATEWAY, key_id="1"))
    assert refused.value.reason == "KEYS_UNAVAILABLE"


def test_a_set_of_keys_never_makes_a_shared_secret_count(tmp_path: Path):
    secret = base64.urlsafe_b64encode(b"k" * 32).decode()
    written(tmp_path / "keys.json", json.dumps({"keys": [{"kty": "oct", "kid": "s", "k": secret}]}).encode())
    rules = usual_rules()
    rules["tokens"]["keys"] = "keys.json"
    path = written(tmp_path / "access.yaml", yaml.safe_dump(rules).encode())
    with pytest.raises(AccessUnusable, match="holds no public key"):
        Door(DoorSettings(rules=path, wall_s=time.time))


def test_nobody_gets_more_than_his_share_and_others_get_theirs(tmp_path: Path):
    rules = usual_rules()
    rules["limits"] = {"in_flight": 2}
    rules["callers"] = [{"token": "slow", "roles": ["gateway"], "channels": ["*"], "calls_per_s": 0.001}]
    method = "/hearth.v1.DecisionService/Decide"

    async def test() -> None:
        async with place_of(tmp_path, with_certificates=False, rules=rules) as place, place.channel() as channel:
            slow, other = (place.issuer.token(Role.GATEWAY, sub=name) for name in ("slow", "other"))
            await call(channel, method, slow)
            code, reason, _ = await refusal_of(call(channel, method, slow))
            assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CALLER_OVER_LIMIT")
            gate = asyncio.Event()
            for shard in place.world.shards:
                shard.gate = gate
                while not shard.started.empty():
                    shard.started.get_nowait()
            under_way = [asyncio.ensure_future(call(channel, method, other)) for _ in range(2)]
            shard = place.world.shard_of(HOUSEHOLD)
            for _ in range(2):
                await shard.started.get()
            assert (await refusal_of(call(channel, method, other)))[1] == "CALLER_OVER_LIMIT"
            third = asyncio.ensure_future(call(channel, method, place.issuer.token(Role.GATEWAY, sub="third")))
            await shard.started.get()
            gate.set()
            await asyncio.gather(*under_way, third)
            await call(channel, method, other)

    run(test())


def test_a_gateway_that_has_its_channels_names_the_one_it_acts_on(tmp_path: Path):
    async def test() -> None:
        async with place_of(tmp_path, with_certificates=False) as place, place.channel() as channel:
            token = place.issuer.token(Role.GATEWAY)
            unnamed = delivery_pb2.AckRequest(request_id="r", household="h", action_id="a")
            refused = call(channel, "/hearth.v1.DeliveryService/Ack", token, unnamed)
            assert (await refusal_of(refused))[1] == "CHANNEL_NOT_PERMITTED"
            await call(
                channel, "/hearth.v1.DeliveryService/Ack", place.issuer.token(Role.GATEWAY, channels="*"), unnamed
            )

    run(test())


def outcome_signal(channel: str) -> signal_pb2.Signal:
    signal = signal_pb2.Signal(event_id="e", household=HOUSEHOLD, type="hearth.delivered")
    signal.fields["action_id"].text = "a"
    if channel:
        signal.fields["channel"].text = channel
    return signal


@pytest.mark.parametrize("other", ["sms", ""])
def test_what_a_gateway_tells_among_its_signals_is_of_its_own_channels_too(tmp_path: Path, other: str):
    def requests(channel: str) -> dict[str, Message]:
        signals = [signal_pb2.Signal(event_id="v", household=HOUSEHOLD, type="a.b"), outcome_signal(channel)]
        batch = signal_pb2.IngestRequest(signals=signals)
        inside = batch_from_signals(signals)
        plain = inside.rename_columns([name.removeprefix("s:") for name in inside.schema.names])
        arrow = signal_pb2.IngestRequest(arrow_stream=ipc_bytes(plain))
        asked = decision_pb2.DecideRequest(request_id="r", household=HOUSEHOLD, channel=CHANNEL, signals=signals)
        return {
            "/hearth.v1.SignalService/Ingest": batch,
            "/hearth.v1.SignalService/IngestStream": signal_pb2.IngestStreamRequest(batch=arrow),
            "/hearth.v1.DecisionService/Decide": asked,
        }

    async def test() -> None:
        async with place_of(tmp_path, with_certificates=False) as place, place.channel() as channel:
            for method, request in requests(other).items():
                refused = call(channel, method, place.issuer.token(Role.GATEWAY), request)
                assert (await refusal_of(refused))[1] == "CHANNEL_NOT_PERMITTED", method
            assert not any(shard.calls for shard in place.world.shards)
            for method, request in requests(CHANNEL).items():
                await call(channel, method, place.issuer.token(Role.GATEWAY), request)
            await call(
                channel,
                "/hearth.v1.SignalService/Ingest",
                place.issuer.token(Role.SOURCE),
                requests(other)["/hearth.v1.SignalService/Ingest"],
            )

    run(test())


def test_what_cannot_be_written_down_is_not_done_and_decisions_go_on(tmp_path: Path):
    async def test() -> None:
        async with place_of(tmp_path, with_certificates=False) as place, place.channel() as channel:
            (tmp_path / "audit").write_text("in the way")
            look = call(channel, "/hearth.v1.HouseholdService/Get", place.issuer.token(Role.AUDITOR))
            assert (await refusal_of(look))[1] == "AUDIT_UNAVAILABLE"
            assert not any(shard.calls for shard in place.world.shards)
            await call(channel, "/hearth.v1.DecisionService/Decide", place.issuer.token(Role.GATEWAY))

    run(test())


def test_health_without_credentials_is_for_who_opens_it(tmp_path: Path):
    async def test() -> None:
        rules = usual_rules() | {"open_health": True}
        async with place_of(tmp_path, with_certificates=False, rules=rules) as place, place.channel() as channel:
            await call(channel, "/grpc.health.v1.Health/Check")
            await call(channel, "/grpc.health.v1.Health/Watch")
            assert (await refusal_of(call(channel, "/grpc.health.v1.Health/Check", "abc")))[1] == "TOKEN_INVALID"
            assert (await refusal_of(call(channel, "/hearth.v1.DecisionService/Decide")))[1] == "NO_CREDENTIALS"

    run(test())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "says nothing"),
        ("a: [", "is no YAML"),
        ("{}", "nobody could come in"),
        ("open_health: true", "nobody could come in"),
        ("tokens: {issuer: i, audience: a, keys: 'http://id.example/keys'}", "fetched without TLS"),
        ("tokens: {issuer: i, audience: a, keys: k, algorithms: [HS256]}", "algorithms: HS256 is none of RS256"),
        ("tokens: {issuer: i, audience: a, keys: k, algorithms: [none]}", "algorithms: none is none of"),
        ("callers: [{token: t, user: u, roles: [sre]}]", "one of certificate, token and user"),
        ("callers: [{token: t, roles: [gateway]}]", "a gateway needs its channels"),
        ("callers: [{token: t, roles: [root]}]", "callers.0.roles.0: Input should be"),
        ("callers: [{token: t, roles: [sre]}, {token: t, roles: [auditor]}]", "token t stands there twice"),
        ("callers: [{token: t, roles: [sre], chanels: [app]}]", "callers.0.chanels: Extra inputs"),
    ],
)
def test_rules_that_are_wrong_are_told_by_file_and_place(tmp_path: Path, content: str, told: str):
    path = written(tmp_path / "access.yaml", content.encode())
    with pytest.raises(AccessUnusable) as wrong:
        load_rules(path)
    assert str(path) in str(wrong.value)
    assert told in str(wrong.value)
