"""Certificates for tests: authorities, servers, clients, and lists of those that were revoked."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HOUR = datetime.timedelta(hours=1)


def written(path: Path, content: bytes) -> Path:
    """Put a file in place as a whole, as who renews certificates does."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def issue(
        self,
        name: str,
        *,
        age: datetime.timedelta = HOUR,
        life: datetime.timedelta = 2 * HOUR,
        uri: str = "",
        addresses: Sequence[str] = (),
    ) -> Paper:
        """Return a certificate of this authority, for a server on this machine, also at `addresses`, or a client."""
        return _made(name, issuer=self, age=age, life=life, uri=uri, addresses=addresses)

    def revoked(self, *papers: Paper) -> bytes:
        """Return this authority's list of revoked certificates."""
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=self.certificate.subject, last_update=now - HOUR, next_update=now + HOUR
        )
        for paper in papers:
            entry = x509.RevokedCertificateBuilder(paper.certificate.serial_number, now - HOUR).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def authority(name: str = "authority") -> Paper:
    """Return a new authority."""
    return _made(name, issuer=None, age=HOUR, life=24 * HOUR)


def _made(
    name: str,
    *,
    issuer: Paper | None,
    age: datetime.timedelta,
    life: datetime.timedelta,
    uri: str = "",
    addresses: Sequence[str] = (),
) -> Paper:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begins = datetime.datetime.now(datetime.UTC) - age
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(one)) for one in ("127.0.0.1", *addresses)]
    if uri:
        names.append(x509.UniformResourceIdentifier(uri))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + life)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return Paper(certificate=builder.sign(issuer.key if issuer else key, hashes.SHA256()), key=key)
