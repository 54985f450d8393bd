"""The connection between an edge and a shard: known to be of one installation, and encrypted where others may listen.

Whoever calls a shard says the installation's pass word, once per stream. Over a Unix socket or loopback it goes as it
is; to other addresses both ends show certificates that are derived from the installation's secret, so that there are no
files to hand out: who has the secret can make them, and nobody else.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc
import grpc.aio

from wire.addresses import host_is_loopback
from wire.failures import Failure, code_of, status_of, trailers
from wire.installation import METADATA_KEY, Installation

SHARD_NAME: Final = "hearth-shard"
"""In the certificate of both ends, whatever address they have."""

WIRE_VERSION: Final = 1
"""Of the frames between edge and shard. A later one only adds what an older end may pass over, or is refused by it."""
VERSION_KEY: Final = "hearth-wire"
"""Metadata that tells it; who says nothing speaks version 1."""

Metadata = tuple[tuple[str, str], ...]


def is_private(address: str) -> bool:
    """Tell whether only this machine sees what goes over an address.

    >>> is_private("unix:/run/s"), is_private("127.0.0.1:5"), is_private("[::1]:5"), is_private("10.0.0.9:5")
    (True, True, True, False)
    """
    return address.startswith("unix:") or host_is_loopback(address.rpartition(":")[0].strip("[]"))


def shard_server(options: Sequence[tuple[str, int]], installation: Installation | None) -> grpc.aio.Server:
    """Return a server that answers only who knows the pass word; without an installation, everybody.

    Whoever speaks a later version of the frames than is known here is refused, too.
    """
    return grpc.aio.server(options=options, interceptors=[_Guard(installation)])


def listen(server: grpc.aio.Server, address: str, installation: Installation | None) -> int:
    """Let a server listen at an address; return the port, 0 if that cannot be, or for a Unix socket.

    Without an installation it is never encrypted: then only what is private should be listened on.
    """
    if installation is None or is_private(address):
        return server.add_insecure_port(address)
    key, certificate, authority = _papers(installation)
    credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
    return server.add_secure_port(address, credentials)


def channel(
    address: str, options: Sequence[tuple[str, int | str]], installation: Installation | None
) -> grpc.aio.Channel:
    """Return a channel to the shard at an address."""
    if installation is None or is_private(address):
        return grpc.aio.insecure_channel(address, options=options)
    key, certificate, authority = _papers(installation)
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    named = ("grpc.ssl_target_name_override", SHARD_NAME)
    return grpc.aio.secure_channel(address, credentials, options=[*options, named])


def introduction(installation: Installation | None) -> Metadata:
    """Return what an edge says at the beginning of each stream."""
    pass_word = ((METADATA_KEY, installation.pass_word),) if installation is not None else ()
    return ((VERSION_KEY, str(WIRE_VERSION)), *pass_word)


class _Guard(grpc.aio.ServerInterceptor):
    """Refuses who does not know the pass word, and who speaks a later version."""

    def __init__(self, installation: Installation | None) -> None:
        self._installation = installation

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return what answers the call: its method, or a refusal."""
        metadata: Any = handler_call_details.invocation_metadata
        said = {str(key): str(value) for key, value in metadata or ()}
        installation, version = self._installation, said.get(VERSION_KEY, "1")
        if installation is not None and not installation.is_pass_word(said.get(METADATA_KEY, "")):
            text = "whoever calls does not know the secret of this installation"
            return _refusing(Failure.WRONG_INSTALLATION, text)
        if not version.isdecimal() or int(version) > WIRE_VERSION:
            text = (
                f"whoever calls speaks version {version} of the frames between edge and shard, this shard version "
                f"{WIRE_VERSION}: replace the shards before the edges"
            )
            return _refusing(Failure.WIRE_TOO_NEW, text)
        return await continuation(handler_call_details)


def _refusing(failure: Failure, text: str) -> grpc.RpcMethodHandler[Any, Any]:
    async def refuse(_messages: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        status = status_of(failure, text)
        context.set_code(code_of(status))
        context.set_details(status.message)
        context.set_trailing_metadata(trailers(status))

    return grpc.stream_stream_rpc_method_handler(refuse)


def _papers(installation: Installation) -> tuple[bytes, bytes, bytes]:
    """Return key and certificate of either end, and the authority that both trust, in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    def key(purpose: str) -> ec.EllipticCurvePrivateKey:
        number = int.from_bytes(installation.derived(purpose)) % (ec.SECP256R1.group_order - 1) + 1
        return ec.derive_private_key(number, ec.SECP256R1())

    def certificate(name: str, own: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> x509.Certificate:
        common = x509.NameOID.COMMON_NAME
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(common, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(common, "hearth installation")]))
            .public_key(own.public_key())
            .serial_number(1 if is_authority else 2)
            # As long as the secret holds: to change it is to change these.
            .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
            .not_valid_after(datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(SHARD_NAME)]), critical=False)
            .sign(authority_key, hashes.SHA256())
        )

    authority_key, end_key = key("hop authority"), key("hop end")
    authority = certificate("hearth installation", authority_key, is_authority=True)
    end = certificate(SHARD_NAME, end_key, is_authority=False)
    return (
        end_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        end.public_bytes(Encoding.PEM),
        authority.public_bytes(Encoding.PEM),
    )
