"""Laws: whoever connects anew gets the newest whole pair of certificate and key, without a restart; what is open goes
on; files that are wrong or half in place change nothing, and are told once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from serving.edge_config import EdgeConfig
from serving.replica import _listen
from serving.tls import ServerCertificates, TlsFiles, TlsUnusable, check_files
from tests.parts.certificates import Paper, authority, written

METHOD = "/test.Named/Ask"


async def named(_message: bytes, context: grpc.aio.ServicerContext) -> bytes:
    return b"".join(context.auth_context().get("x509_common_name", ()))


def put(folder: Path, paper: Paper) -> TlsFiles:
    return TlsFiles(
        certificate=written(folder / "server.pem", paper.pem), key=written(folder / "server.key", paper.key_pem)
    )


@asynccontextmanager
async def listening(files: TlsFiles) -> AsyncIterator[int]:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(named)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Named", {"Ask": handler}),))
    port = _listen(server, EdgeConfig(tls=files), 0)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def channel(port: int, ca: Paper, own: Paper | None = None) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(ca.pem, own and own.key_pem, own and own.pem)
    # Each has a connection of its own.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    return grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options)


async def ask(one: grpc.aio.Channel) -> bytes:
    return await one.unary_unary(METHOD)(b"", timeout=20)


async def refused(one: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await ask(one)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


def test_certificates_are_renewed_under_open_connections(tmp_path: Path):
    async def test() -> None:
        first, second = authority("first"), authority("second")
        files = put(tmp_path, first.issue("server"))
        async with listening(files) as port, channel(port, first) as opened:
            await ask(opened)
            put(tmp_path, second.issue("server"))
            async with channel(port, second) as anew:
                await ask(anew)
                async with channel(port, first) as late:
                    await refused(late)
                await asyncio.gather(ask(opened), ask(anew))

    asyncio.run(test())


def test_who_shows_no_certificate_of_the_authority_is_not_let_in_and_the_authority_may_change(tmp_path: Path):
    async def test() -> None:
        ca, clients, later = authority(), authority("clients"), authority("later")
        pair = put(tmp_path, ca.issue("server"))
        client_ca = written(tmp_path / "clients.pem", clients.pem)
        files = TlsFiles(certificate=pair.certificate, key=pair.key, client_ca=client_ca)
        async with listening(files) as port, channel(port, ca, clients.issue("gateway-1")) as known:
            assert await ask(known) == b"gateway-1"
            async with channel(port, ca) as nobody, channel(port, ca, later.issue("gateway-1")) as stranger:
                await asyncio.gather(refused(nobody), refused(stranger))
            written(client_ca, later.pem)
            async with channel(port, ca, later.issue("gateway-2")) as new:
                assert await ask(new) == b"gateway-2"
            assert await ask(known) == b"gateway-1"

    asyncio.run(test())


def test_half_a_renewal_and_wrong_files_change_nothing_and_are_told_once(tmp_path: Path, caplog):
    ca = authority()
    files = put(tmp_path, ca.issue("server"))
    certificates = ServerCertificates(files)
    assert certificates.changed() is None

    other = ca.issue("other")
    with caplog.at_level(logging.INFO):
        written(files.certificate, other.pem)
        assert [certificates.changed(), certificates.changed()] == [None, None]
        assert len(caplog.records) == 1, "told once"
        assert "is not the key of the first certificate" in caplog.text
        files.key.unlink()
        assert certificates.changed() is None
        written(files.key, other.key_pem)
        assert certificates.changed() is not None
    assert certificates.changed() is None


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda files: files.key.unlink(), "server.key cannot be read: No such file"),
        (lambda files: files.certificate.write_text("x"), "server.pem holds no certificate in PEM"),
        (lambda files: files.key.write_text("x"), "server.key is no private key in PEM without a passphrase"),
        (lambda files: files.key.write_bytes(authority().key_pem), "server.key is not the key of the first"),
        (lambda files: files.client_ca.write_text("x"), "clients.pem holds no certificate"),
    ],
)
def test_files_that_cannot_be_used_are_told_with_their_names(tmp_path: Path, spoil, told: str):
    pair = put(tmp_path, authority())
    client_ca = written(tmp_path / "clients.pem", authority().pem)
    files = TlsFiles(certificate=pair.certificate, key=pair.key, client_ca=client_ca)
    check_files(files)
    spoil(files)
    with pytest.raises(TlsUnusable, match=told):
        check_files(files)
