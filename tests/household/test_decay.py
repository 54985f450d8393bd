"""The one exponential.

Laws: 2^(−elapsed / half life) to 1e-15; the same bits jitted and as plain Python; exact at whole halvings; 1 at 0;
nothing left after a thousand halvings.
"""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from household.columns.decay import decay

elapsed = st.floats(0.0, 1e17) | st.integers(0, 10**17).map(float)
half_lives = st.integers(1, 10**14).map(float)


@given(elapsed, half_lives)
def test_kernel_and_plain_python_give_the_same_bits(elapsed_us, half_life_us):
    assert decay(elapsed_us, half_life_us).hex() == decay.py_func(elapsed_us, half_life_us).hex()


@given(st.floats(0.0, 999.0))
def test_it_is_the_power_of_two_to_a_relative_error_of_1e_15(halvings):
    expected = math.pow(2.0, -halvings)

    assert abs(decay(halvings, 1.0) - expected) <= 1e-15 * expected


@given(st.integers(0, 1_000), half_lives)
def test_whole_halvings_are_exact(halvings, half_life_us):
    # Beyond 2^53 the product itself is rounded, and so is no whole number of half lives; that is the year 2255.
    assume(halvings * half_life_us <= 2**53)
    assert decay(halvings * half_life_us, half_life_us) == math.ldexp(1.0, -halvings)


@pytest.mark.parametrize("halvings", [1_000.5, 1e9, math.inf])
def test_nothing_is_left_after_a_thousand_halvings(halvings):
    assert decay(halvings, 1.0) == 0.0


@given(st.floats(0.0, 500.0), st.floats(0.0, 400.0))
def test_decaying_in_two_steps_is_decaying_in_one(first, second):
    in_one = decay(first + second, 1.0)

    assert decay(first, 1.0) * decay(second, 1.0) == pytest.approx(in_one, rel=1e-12)


@pytest.mark.parametrize(
    ("elapsed_us", "half_life_us", "bits"),
    [
        (1.0, 3.0, "0x1.965fea53d6e3ep-1"),
        (86400000000.0, 604800000000.0, "0x1.cfbb031a741a5p-1"),
        (123456789.0, 1000000.0, "0x1.750bdc32b7cdcp-124"),
        (999.9, 1.0, "0x1.125fbee2506b1p-1000"),
        (5.0, 11.0, "0x1.75a07cfb107eep-1"),
        (17.0, 23.0, "0x1.32bd47baa2767p-1"),
    ],
)
def test_its_bits_are_part_of_every_log_and_never_change(elapsed_us, half_life_us, bits):
    assert decay(elapsed_us, half_life_us).hex() == bits
