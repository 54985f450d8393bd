"""How kernels are compiled: one decorator for all of them."""

from numba import njit

kernel = njit(cache=True, error_model="numpy", nogil=True, _nrt=False)
"""Machine code that holds no GIL, divides as IEEE 754 does and counts no references.

Reference counting of the arrays passed between kernels took half of the fold's time. Without it a kernel cannot
allocate: whatever it needs, its caller hands in. `_nrt` is a private option of numba; should it go, `njit` without it
gives the same results, more slowly.
"""
