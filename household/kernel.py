"""How kernels are compiled: one decorator for all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes with any source below a folder."""
    facts = ((str(file.relative_to(folder)), file.stat()) for file in sorted(folder.rglob("*.py")))
    return tuple((name, fact.st_mtime_ns, fact.st_size) for name, fact in facts)


_SOURCES = _stamp(Path(__file__).parent)


def _cached(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles, and keeps what it compiled while no source of the core has changed.

    Numba takes an entry of its cache for good while the file of that very function stays as it is. What was copied
    into it from other files may be another by then, and an upgrade would fold by the rules of before.
    """
    compile_function = njit(cache=True, **options)

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = compile_function(function)
        if compiled is function:
            return compiled  # NUMBA_DISABLE_JIT: plain Python, to look into it
        index = compiled._cache._cache_file  # numba has no public way
        index._source_stamp = (index._source_stamp, _SOURCES)
        index._load_index = _or_nothing(index._load_index)
        return compiled

    return decorate


def _or_nothing(load: Callable[[], dict[Any, Any]]) -> Callable[[], dict[Any, Any]]:
    """Return what loads an index of the cache; an empty one where it names what an upgrade has taken away.

    It is read before its stamp is looked at, and named tuples that are arguments lie in it by the names of their
    classes.
    """

    def loaded() -> dict[Any, Any]:
        try:
            return load()
        except (AttributeError, ImportError, TypeError):
            return {}

    return loaded


kernel = _cached(error_model="numpy", nogil=True, _nrt=False)
"""Machine code that holds no GIL, divides as IEEE 754 does and counts no references.

Reference counting of the arrays passed between kernels took half of the fold's time. Without it a kernel cannot
allocate: whatever it needs, its caller hands in. `_nrt` is a private option of numba; should it go, `njit` without it
gives the same results, more slowly.
"""

inlined = _cached(error_model="numpy", nogil=True, _nrt=False, inline="always")
"""A kernel that is copied into its callers. The rules and cells of a partition are some twenty arrays: handing them
from one function to the next cost more than the work itself (the fold ran at a third of its speed).
"""

inlined_here = njit(error_model="numpy", nogil=True, _nrt=False, inline="always")
"""The same for a function that was written by a program: there is no file beside which to cache it."""
