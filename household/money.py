"""Money is whole minor units; how many of them make one major unit is the currency's own."""

_NO_DECIMALS = (
    *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV"),
    *("XAF", "XOF", "XPF"),
)
_THREE_DECIMALS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
_FOUR_DECIMALS = ("CLF", "UYW")

MINOR_DIGITS = dict.fromkeys(_NO_DECIMALS, 0) | dict.fromkeys(_THREE_DECIMALS, 3) | dict.fromkeys(_FOUR_DECIMALS, 4)
"""Decimals of the currencies that do not have two (ISO 4217)."""


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
