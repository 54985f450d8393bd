"""Laws of money: written and read with exactly the decimals of its currency, whatever its sign."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from household.money import MINOR_DIGITS, amount_text, major_text, minor_digits, money_minor


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (500, "JPY", "500 JPY"),
        (1250, "KWD", "1.250 KWD"),
        (999, "EUR", "9.99 EUR"),
        (5, "EUR", "0.05 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (-1299, "EUR", "-12.99 EUR"),
        (0, "ISK", "0 ISK"),
        (12345, "CLF", "1.2345 CLF"),
        (1299, "", "1299 minor units"),
    ],
)
def test_an_amount_reads_as_its_currency_is_written(minor: int, currency: str, text: str):
    assert amount_text(minor, currency) == text


@given(st.integers(-(10**11), 10**11), st.sampled_from(["EUR", *MINOR_DIGITS]))
def test_what_is_written_is_what_a_playbook_would_read(minor: int, currency: str):
    assert money_minor(major_text(minor, currency), currency) == minor
    assert len(major_text(minor, currency).partition(".")[2]) == minor_digits(currency)
