"""What scalars mean: durations, shares, numbers. Each parser returns None for text it cannot read exactly."""

import math
import re
from decimal import Decimal, InvalidOperation

UNIT_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
"""Microseconds per unit in which a duration may be written."""

DURATION_US_MAX = 3_660 * UNIT_US["d"]
"""Ten years; a longer duration is a slip of the keyboard."""


def duration_us(text: str) -> int | None:
    """Return a duration in microseconds.

    >>> duration_us("7d"), duration_us("15m"), duration_us("1d12h"), duration_us("soon")
    (604800000000, 900000000, 129600000000, None)
    """
    if not re.fullmatch(r"(\d{1,9}(ms|[smhdw]))+", text):
        return None
    total = sum(int(count) * UNIT_US[unit] for count, unit in re.findall(r"(\d+)(ms|[smhdw])", text))
    return total if total <= DURATION_US_MAX else None


def number(text: str) -> float | None:
    """Return a finite number.

    >>> number("0.5"), number("-3"), number("1e3"), number("nan"), number("many")
    (0.5, -3.0, 1000.0, None, None)
    """
    if not re.fullmatch(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", text):
        return None
    value = float(text.replace("_", ""))
    return value if math.isfinite(value) else None


def whole(text: str) -> int | None:
    """Return a whole number.

    >>> whole("12"), whole("1_000"), whole("1.5")
    (12, 1000, None)
    """
    return int(text.replace("_", "")) if re.fullmatch(r"-?\d[\d_]{0,15}", text) else None


def share(text: str) -> float | None:
    """Return a share of 1, written as `0.1` or `10%`.

    >>> share("10%"), share("0.1"), share("1.5")
    (0.1, 0.1, None)
    """
    try:
        value = Decimal(text[:-1]) / 100 if text.endswith("%") else Decimal(text)
    except InvalidOperation:
        return None
    return float(value) if value.is_finite() and 0 <= value <= 1 else None


def minute_of_day(text: str) -> int | None:
    """Return the minute of the day of a time written `21:00`.

    >>> minute_of_day("21:00"), minute_of_day("24:00")
    (1260, None)
    """
    found = re.fullmatch(r"(\d{1,2}):(\d{2})", text)
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        return None
    return int(found[1]) * 60 + int(found[2])
