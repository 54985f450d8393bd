"""Money is whole minor units; how many of them make one major unit is the currency's own.

Whoever shows or reads an amount does it here.
"""

import re
from decimal import Decimal

_NO_DECIMALS = (
    *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV"),
    *("XAF", "XOF", "XPF"),
)
_THREE_DECIMALS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
_FOUR_DECIMALS = ("CLF", "UYW")

MINOR_DIGITS = dict.fromkeys(_NO_DECIMALS, 0) | dict.fromkeys(_THREE_DECIMALS, 3) | dict.fromkeys(_FOUR_DECIMALS, 4)
"""Decimals of the currencies that do not have two (ISO 4217)."""


MONEY_MINOR_MAX = 10**12
"""Far above any price, far below where a float64 model input would lose units."""


def minor_digits(currency: str) -> int:
    """Return how many decimals a currency has."""
    return MINOR_DIGITS.get(currency, 2)


def major_text(minor: int, currency: str) -> str:
    """Return an amount in major units, exactly, with all the decimals its currency has.

    >>> major_text(1299, "EUR"), major_text(500, "JPY"), major_text(1250, "KWD"), major_text(-5, "EUR")
    ('12.99', '500', '1.250', '-0.05')
    """
    digits = minor_digits(currency)
    text = str(abs(minor)).rjust(digits + 1, "0")
    sign = "-" if minor < 0 else ""
    return sign + (f"{text[:-digits]}.{text[-digits:]}" if digits else text)


def amount_text(minor: int, currency: str) -> str:
    """Return an amount in major units with its currency; in minor units where the currency is not known.

    >>> amount_text(1299, "EUR"), amount_text(1250, "KWD"), amount_text(1299, "")
    ('12.99 EUR', '1.250 KWD', '1299 minor units')
    """
    return f"{major_text(minor, currency)} {currency}" if currency else f"{minor} minor units"


def worth_text(minor: float, currency: str) -> str:
    """Return what something is worth, in major units, to a tenth of the minor unit; as it is for no currency.

    >>> worth_text(7.04, "EUR"), worth_text(7.04, "JPY"), worth_text(1_250_000, "KWD"), worth_text(7.04, "")
    ('0.070', '7.0', '1,250.0000', '7.0')
    """
    if not currency:
        return f"{minor:,.1f}"
    digits = minor_digits(currency)
    return f"{minor / 10**digits:,.{digits + 1}f}"


def money_minor(text: str, currency: str) -> int | None:
    """Return an amount in minor units, exactly; None if it is no amount or has more decimals than the currency.

    >>> money_minor("9.99", "EUR"), money_minor("5", "EUR"), money_minor("9.999", "EUR"), money_minor("500", "JPY")
    (999, 500, None, 500)
    """
    if not re.fullmatch(r"-?\d{1,12}(\.\d{1,6})?", text):
        return None
    minor = Decimal(text).scaleb(minor_digits(currency))
    return int(minor) if minor == minor.to_integral_value() and abs(minor) <= MONEY_MINOR_MAX else None
