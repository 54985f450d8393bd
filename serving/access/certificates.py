"""Client certificates, after TLS has found them to be of the authority: expired meanwhile, revoked, and whose they are.

TLS looks once, when a connection is made; connections last for days. So both are looked at again at each call.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from serving.access.principal import EVERY_CHANNEL, Principal
from serving.access.rights import Role
from serving.access.rules import AccessRules, AccessUnusable, CallerRule
from serving.tls import Stamp, TlsFiles, TlsUnusable, certificates_of, read_pem, stamp_of
from wire.failures import Failure, failed

logger = logging.getLogger(__name__)

KNOWN_MAX: Final = 10_000
PEM_KEY: Final = "x509_pem_cert"
"""By which gRPC gives a client's certificate."""
_END: Final = b"-----END X509 CRL-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    principal: Principal | None
    """None where the rules do not name him."""
    expires_s: float
    issuer: bytes
    serial: int


class ClientCertificates:
    """Knows who a client certificate names."""

    def __init__(self, rules: AccessRules | None, files: TlsFiles, *, wall_s: Callable[[], float]) -> None:
        """Take the rules; without any, whoever has a certificate of the authority may do everything.

        Raises:
            AccessUnusable: the list of revoked certificates cannot be used.
        """
        callers = rules.callers if rules is not None else ()
        self._by_name = {rule.certificate: rule for rule in callers if rule.certificate is not None}
        self._is_open = rules is None
        self._files = files
        self._wall_s = wall_s
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._revoked: frozenset[tuple[bytes, int]] = frozenset()
        self._stamp: Stamp = ()
        if files.revoked is not None:
            self._read(files.revoked)

    def refresh(self) -> None:
        """Read the list of revoked certificates anew if it has changed. What is wrong is told; the old one holds."""
        if self._files.revoked is None or stamp_of((self._files.revoked, self._files.client_ca)) == self._stamp:
            return
        try:
            self._read(self._files.revoked)
        except AccessUnusable as wrong:
            self._stamp = stamp_of((self._files.revoked, self._files.client_ca))
            logger.warning("a new list of revoked certificates is not taken, the old one holds: %s", wrong)

    def principal(self, auth_context: Mapping[str, Iterable[bytes]]) -> Principal | None:
        """Return who the certificate of a connection names; None where the rules name nobody of this subject.

        Raises:
            CallFailed: there is none, it has expired, or it was revoked.
        """
        pem = next(iter(auth_context.get(PEM_KEY, ())), None)
        if pem is None:
            raise failed(Failure.NO_CREDENTIALS, "no client certificate was shown; Hearth asks for one")
        known = self._known.get(pem)
        if known is None:
            known = self._known[pem] = self._looked_at(pem)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        if (known.issuer, known.serial) in self._revoked:
            raise failed(Failure.CERTIFICATE_REVOKED, "the client certificate was revoked; ask for a new one")
        if self._wall_s() >= known.expires_s:
            raise failed(Failure.CERTIFICATE_EXPIRED, "the client certificate has expired; renew it")
        return known.principal

    def _looked_at(self, pem: bytes) -> _Known:
        certificate = x509.load_pem_x509_certificate(pem)
        subject = certificate.subject.rfc4514_string()
        rule = next((self._by_name[name] for name in names_of(certificate) if name in self._by_name), None)
        if rule is None and self._is_open:
            rule = CallerRule(certificate=subject or "-", roles=tuple(Role), channels=(EVERY_CHANNEL,))
        expires_s = certificate.not_valid_after_utc.timestamp()
        return _Known(
            principal=rule.principal(f"certificate:{subject[:256]}", expires_s=expires_s) if rule is not None else None,
            expires_s=expires_s,
            issuer=certificate.issuer.public_bytes(),
            serial=certificate.serial_number,
        )

    def _read(self, path: Path) -> None:
        stamp = stamp_of((path, self._files.client_ca))
        assert self._files.client_ca is not None, "who revokes?"
        try:
            authorities = certificates_of(read_pem(self._files.client_ca), self._files.client_ca)
            content = read_pem(path)
        except TlsUnusable as wrong:
            raise AccessUnusable(str(wrong)) from wrong
        self._revoked = frozenset(_revoked(content, path, authorities))
        self._stamp = stamp


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return by what names rules may mean a certificate: its subject, the URIs among its names, its common name."""
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = alternatives.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [certificate.subject.rfc4514_string(), *uris, *(str(one.value) for one in common)]


def _revoked(content: bytes, path: Path, authorities: Sequence[x509.Certificate]) -> set[tuple[bytes, int]]:
    found: set[tuple[bytes, int]] = set()
    parts = [part + _END for part in content.split(_END)[:-1]]
    if not parts:
        raise AccessUnusable(f"{path} holds no list of revoked certificates in PEM (-----BEGIN X509 CRL-----)")
    for part in parts:
        try:
            listed = x509.load_pem_x509_crl(part)
        except ValueError as wrong:
            raise AccessUnusable(f"{path} holds a list of revoked certificates that cannot be read: {wrong}") from wrong
        if not any(_is_signed_by(listed, one) for one in authorities):
            raise AccessUnusable(
                f"{path} is not signed by an authority in tls_client_ca: whoever made it may not revoke"
            )
        issuer = listed.issuer.public_bytes()
        found |= {(issuer, one.serial_number) for one in listed}
    return found


def _is_signed_by(listed: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        return listed.issuer == authority.subject and listed.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except TypeError:  # a kind of key that signs no such lists
        return False
