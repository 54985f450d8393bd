"""What the load test shows a Hearth that has TLS and asks who calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayCredentials:
    """Whom to trust and who to be; without `ca` the connection has no TLS, and nobody is named."""

    ca: Path | None = None
    """PEM file of the authority of Hearth's certificate."""
    cert: Path | None = None
    key: Path | None = None
    token: str = ""
    """A JWT, or @FILE with one, read again for each call."""

    def __post_init__(self) -> None:
        assert (self.cert is None) == (self.key is None), "--cert and --key belong together"
        # It would travel for everyone to read.
        assert self.ca is not None or not (self.token or self.cert), "--token and --cert need --ca"

    def __repr__(self) -> str:
        return f"GatewayCredentials(ca={self.ca})"

    def channel(self, target: str, options: Sequence[tuple[str, int]]) -> grpc.aio.Channel:
        """Return a channel that shows them."""
        if self.ca is None:
            return grpc.aio.insecure_channel(target, options=options)
        tls = grpc.ssl_channel_credentials(
            self.ca.read_bytes(),
            self.key.read_bytes() if self.key is not None else None,
            self.cert.read_bytes() if self.cert is not None else None,
        )
        if self.token:
            tls = grpc.composite_channel_credentials(tls, grpc.metadata_call_credentials(_TokenOfCall(self.token)))
        return grpc.aio.secure_channel(target, tls, options=options)


NOBODY = GatewayCredentials()


class _TokenOfCall(grpc.AuthMetadataPlugin):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        token = Path(self._token[1:]).read_text().strip() if self._token.startswith("@") else self._token
        callback((("authorization", f"Bearer {token}"),), None)
