"""The one exponential of Hearth: the same arithmetic in kernels, in the oracle and in training, on every machine.

Only additions, multiplications, a floor and a scaling by a power of two, so IEEE 754 gives the same bits everywhere;
a C library's exp may differ between versions.
"""

import math

from household.kernel import kernel

_LN2 = 0.6931471805599453
_E3 = 1.0 / 6.0
_E4 = 1.0 / 24.0
_E5 = 1.0 / 120.0
_E6 = 1.0 / 720.0
_E7 = 1.0 / 5040.0
_E8 = 1.0 / 40320.0
_E9 = 1.0 / 362880.0
_E10 = 1.0 / 3628800.0
_E11 = 1.0 / 39916800.0
_E12 = 1.0 / 479001600.0
_E13 = 1.0 / 6227020800.0


@kernel
def decay(elapsed_us: float, half_life_us: float) -> float:
    """Return 2^(−elapsed / half life), for elapsed ≥ 0; relative error below 1e-15.

    >>> decay.py_func(7.0, 7.0), decay.py_func(0.0, 7.0), decay.py_func(14.0, 7.0)
    (0.5, 1.0, 0.25)
    """
    halvings = elapsed_us / half_life_us
    if halvings > 1000.0:
        return 0.0
    whole = math.floor(halvings + 0.5)
    x = (whole - halvings) * _LN2
    # Taylor series of e^x, even and odd powers apart so that the two chains run side by side; |x| <= ln(2)/2, so the
    # term after the last is below 2^-56.
    y = x * x
    even = _E12
    even = even * y + _E10
    even = even * y + _E8
    even = even * y + _E6
    even = even * y + _E4
    even = even * y + 0.5
    even = even * y + 1.0
    odd = _E13
    odd = odd * y + _E11
    odd = odd * y + _E9
    odd = odd * y + _E7
    odd = odd * y + _E5
    odd = odd * y + _E3
    odd = odd * y + 1.0
    return math.ldexp(even + odd * x, -int(whole))
