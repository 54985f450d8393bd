"""Instants as people type them on a command line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cluster.errors import UsageWrong

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
END: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""What is later, or before the epoch, has no place in every calendar that it would be shown in."""

_MICROSECONDS = re.compile(r"[0-9]{1,7}|[0-9]{9,18}")
"""Eight digits are a day, as ISO 8601 has them."""

_LIKE_SECONDS: Final = range(10**9, 10**14)
"""Numbers that are seconds or milliseconds of our days; as microseconds they would be of the early seventies."""


def instant_us(text: str, *, option: str, zone: str = "UTC") -> int:
    """Return an instant in microseconds since 1970, of ISO 8601 or of such a number; none of seconds or milliseconds.

    Args:
        text: as it was typed.
        option: that it was typed for; the error names it.
        zone: IANA name, of a text without an offset.

    Raises:
        UsageWrong: it is none, or none between 1970 and 9999.

    >>> instant_us("2025-01-06T10:00:00.000001Z", option="--at"), instant_us("2025-01-06 11:00+01:00", option="--at")
    (1736157600000001, 1736157600000000)
    >>> instant_us("1736157600000000", option="--at")
    1736157600000000
    """
    try:
        if _MICROSECONDS.fullmatch(text):
            if int(text) in _LIKE_SECONDS:
                wrong = f"{option} {text} is too small for microseconds since 1970; write 2026-11-01T12:00:00Z"
                raise UsageWrong(wrong)
            found = EPOCH + timedelta(microseconds=int(text))
        else:
            found = datetime.fromisoformat(text)
            found = found if found.tzinfo is not None else found.replace(tzinfo=ZoneInfo(zone))
        if not EPOCH <= found < END:
            raise OverflowError
    except ValueError:
        example = "write 2026-11-01, 2026-11-01T12:00 or 2026-11-01T12:00:00Z"
        raise UsageWrong(f"{option} {text} is no instant; {example}") from None
    except OverflowError:
        raise UsageWrong(f"{option} {text} lies outside of what can be asked for, 1970 to 9999") from None
    return (found - EPOCH) // timedelta(microseconds=1)
