"""TLS on the public port: certificates from files, read anew when the files change, without a restart.

gRPC asks for them at each handshake; open connections go on with what they were opened with. New files that cannot be
used, or that are only half in place, change nothing: the old certificates serve until the new ones are whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

logger = logging.getLogger(__name__)

Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""What tells one content of files from the next: of each the time of its last change, its size and its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of a listener with TLS. With `client_ca`, clients have to show a certificate of that authority."""

    certificate: Path
    """The server's, with those of authorities between it and the root, in this order."""
    key: Path
    """Private, without a passphrase."""
    client_ca: Path | None = None
    revoked: Path | None = None
    """List of revoked client certificates, as that authority issues it."""


class TlsUnusable(Exception):
    """A file of certificates or keys cannot be used; says which, why, and what would be right."""


class ServerCertificates:
    """What a listener shows its clients, and by what it knows them."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files.

        Raises:
            TlsUnusable: they cannot be used.
        """
        self._files = files
        self._stamp = stamp_of(self._paths())
        self._configuration = _configuration(files)
        self._refused: Stamp | None = None
        """Of files that were found unusable, so that the log tells of them once."""

    def credentials(self) -> grpc.ServerCredentials:
        """Return what gRPC listens with; must be kept as long as it listens."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration,
            cast(Any, self.changed),  # its stubs do not know that None means: the same as before
            require_client_authentication=self._files.client_ca is not None,
        )

    def changed(self) -> Any | None:
        """Return the certificates if they are others than when last asked, else None. Called at each handshake."""
        stamp = stamp_of(self._paths())
        if stamp in (self._stamp, self._refused):
            return None
        try:
            configuration = _configuration(self._files)
        except TlsUnusable as wrong:
            self._refused = stamp
            logger.warning("new certificates are not taken, the old ones serve on: %s", wrong)
            return None
        self._stamp, self._refused = stamp, None
        logger.info("new certificates serve from here on: %s", self._files.certificate)
        return configuration

    def _paths(self) -> Iterable[Path | None]:
        return self._files.certificate, self._files.key, self._files.client_ca


def stamp_of(paths: Iterable[Path | None]) -> Stamp:
    """Return what tells the present content of files from another; a file that is not there counts as one content."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def check_files(files: TlsFiles) -> None:
    """Look whether a listener can use these files.

    Raises:
        TlsUnusable: it cannot.
    """
    _configuration(files)


def _configuration(files: TlsFiles) -> Any:
    certificate, key = read_pem(files.certificate), read_pem(files.key)
    client_ca = read_pem(files.client_ca) if files.client_ca is not None else None
    chain = certificates_of(certificate, files.certificate)
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as wrong:
        raise TlsUnusable(f"{files.key} is no private key in PEM without a passphrase: {wrong}") from wrong
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if chain[0].public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        raise TlsUnusable(
            f"{files.key} is not the key of the first certificate in {files.certificate}: give the two that were made "
            "together"
        )
    if client_ca is not None:
        assert files.client_ca is not None
        certificates_of(client_ca, files.client_ca)
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=client_ca)


def read_pem(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        TlsUnusable: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as wrong:
        raise TlsUnusable(f"{path} cannot be read: {wrong.strerror}") from wrong


def certificates_of(pem: bytes, path: Path) -> list[x509.Certificate]:
    """Return the certificates in a file, at least one.

    Raises:
        TlsUnusable: there is none, or one cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as wrong:
        raise TlsUnusable(f"{path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----): {wrong}") from wrong
