"""Certificates of the public port, and the list of those that were revoked, that are soon out of date, or are so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from serving.tls import TlsFiles, TlsUnusable, certificates_of, read_pem

SOON: Final = timedelta(days=14)
LEFT_MIN: Final = 1 / 3
"""Of its life: what lives for days only is not always soon over."""


def expiring(files: TlsFiles, now: datetime) -> Iterator[str]:
    """Yield what is out of date, or soon, or cannot be read, each with what to do.

    Args:
        files: of the public port.
        now: with a time zone.
    """
    try:
        for path in filter(None, (files.certificate, files.client_ca)):
            for one in certificates_of(read_pem(path), path):
                begins, ends = one.not_valid_before_utc, one.not_valid_after_utc
                if now >= ends:
                    yield f"{_name(one)} in {path} has expired at {_said(ends)}: nobody connects any more; renew it"
                elif now < begins:
                    yield f"{_name(one)} in {path} holds from {_said(begins)} only; look at the clock"
                elif ends - now < min(SOON, (ends - begins) * LEFT_MIN):
                    yield f"{_name(one)} in {path} expires at {_said(ends)}; renew it, no restart is needed"
        if files.revoked is not None:
            due = x509.load_pem_x509_crl(read_pem(files.revoked)).next_update_utc
            if due is not None and now >= due:
                yield f"{files.revoked} is out of date since {_said(due)}: who was revoked since gets in; renew it"
    except TlsUnusable as wrong:
        yield str(wrong)
    except ValueError as wrong:
        yield f"{files.revoked} is no list of revoked certificates in PEM (-----BEGIN X509 CRL-----): {wrong}"


def _name(certificate: x509.Certificate) -> str:
    return f"certificate {certificate.subject.rfc4514_string() or 'without a subject'}"


def _said(time: datetime) -> str:
    return time.isoformat(sep=" ", timespec="minutes")
