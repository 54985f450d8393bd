"""The secret of an installation: what its processes know each other by, and what pseudonyms and the audit log hang on.

One secret, made once, kept with the data directory; for each use a key of its own is derived from it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

SECRET_BYTES: Final = 32
METADATA_KEY: Final = "hearth-installation"
"""By which an edge shows a shard that it is of the same installation."""
PSEUDONYM_BYTES: Final = 6


@dataclass(frozen=True, slots=True)
class Installation:
    """Knows the secret; shows it to nobody."""

    secret: bytes

    def __post_init__(self) -> None:
        assert len(self.secret) == SECRET_BYTES

    def __repr__(self) -> str:
        return "Installation()"

    def derived(self, purpose: str) -> bytes:
        """Return the key for one purpose; from it nobody learns the secret or another key. 32 bytes."""
        return hmac.digest(self.secret, b"hearth/" + purpose.encode(), hashlib.sha256)

    @property
    def pass_word(self) -> str:
        """What an edge says to a shard; goes over sockets of one user, or encrypted."""
        return self.derived("hop").hex()

    def is_pass_word(self, said: str) -> bool:
        """Tell whether somebody knows it, in a time that tells nothing of it."""
        return hmac.compare_digest(self.pass_word.encode(), said.encode())

    def pseudonym(self, identifier: str) -> str:
        """Return by what name an identifier may stand where people look: always the same here, another elsewhere.

        >>> here, elsewhere = Installation(bytes(32)), Installation(bytes(31) + b"1")
        >>> here.pseudonym("household-7") == here.pseudonym("household-7") != elsewhere.pseudonym("household-7")
        True
        """
        return "~" + hmac.digest(self.derived("pseudonym"), identifier.encode(), hashlib.sha256)[:PSEUDONYM_BYTES].hex()
