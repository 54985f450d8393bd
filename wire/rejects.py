"""What may be told of a reject, by whoever reports it: limits, and the reasons that are no status of an event."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

REJECT_COUNT_MAX: Final = 10_000
"""In one request."""
REASON_BYTES_MAX: Final = 64
REASON_FORM: Final = re.compile(r"[A-Z][A-Z0-9_:]*")
DETAIL_LENGTH_MAX: Final = 4_096
ORIGINAL_BYTES_MAX: Final = 1024 * 1024
"""What is kept of the bytes of one."""


class OutsideReason(StrEnum):
    """Why something from outside never became an event."""

    UNREADABLE = "UNREADABLE"
    """It is not what its source was said to send."""
    TOO_LARGE = "TOO_LARGE"
    REFUSED = "REFUSED"
    """Hearth takes it in no form: its request is invalid as a whole."""


REPLAYED: Final = "REPLAYED:"
"""What the reason of an entry begins with that says what became of a replay; a status or an error follows."""


def is_mark(reason: str) -> bool:
    """Return whether a reason is that of an entry which only says what became of a replay."""
    return reason.startswith(REPLAYED)
