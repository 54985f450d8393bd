"""How kernels are compiled: one decorator for all of them."""

from numba import njit

kernel = njit(cache=True, error_model="numpy", nogil=True, _nrt=False)
"""Machine code that holds no GIL, divides as IEEE 754 does and counts no references.

Reference counting of the arrays passed between kernels took half of the fold's time. Without it a kernel cannot
allocate: whatever it needs, its caller hands in. `_nrt` is a private option of numba; should it go, `njit` without it
gives the same results, more slowly.
"""

inlined = njit(cache=True, error_model="numpy", nogil=True, _nrt=False, inline="always")
"""A kernel that is copied into its callers. The rules and cells of a partition are some twenty arrays: handing them
from one function to the next cost more than the work itself (the fold ran at a third of its speed).
"""

inlined_here = njit(error_model="numpy", nogil=True, _nrt=False, inline="always")
"""The same for a function that was written by a program: there is no file beside which to cache it."""
