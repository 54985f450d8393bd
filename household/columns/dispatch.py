"""Which kernel an update, a reading or a combination of a feature runs: written from the table of kinds.

Numba compiles no table of functions to anything as fast as a chain of comparisons with numbers, and such a chain by
hand is one more place that knows every kind. So the chains are written here, as source, when this is imported.
"""

import math
from collections.abc import Callable
from typing import Any, Final

from household.columns.kinds.definition import Kernel
from household.columns.kinds.table import KINDS
from household.kernel import inlined_here
from household.plan import FeatureKind

WINDOW_UPDATE: Final = -1
"""Code of the update of a window, which features share: the one that is of no kind."""

_NUMBER: Final = {kind: number for number, kind in enumerate(KINDS)}


def update_code(kind: FeatureKind, *, is_off: bool = False) -> int:
    """Return what the kernels know a kind's update by; `is_off`: by one of its `off_events`."""
    return _NUMBER[kind] + (len(KINDS) if is_off else 0)


def kind_code(kind: FeatureKind) -> int:
    """Return what the kernels know a kind's reading and combination by."""
    return _NUMBER[kind]


def _chain(
    name: str, arguments: str, kernels: dict[int, Kernel | None], *, otherwise: float | None = None
) -> Callable[..., Any]:
    """Return a kernel that hands its arguments on to the one whose code it is called with."""
    known = {code: kernel for code, kernel in kernels.items() if kernel is not None}
    space: dict[str, Any] = {f"kernel_{code}": kernel for code, kernel in known.items()} | {"otherwise": otherwise}
    exec(compile(_chain_source(name, arguments, list(known)), f"<{name} of all kinds>", "exec"), space)
    chain: Callable[..., Any] = inlined_here(space[name])
    return chain


def _chain_source(name: str, arguments: str, codes: list[int]) -> str:
    """Return the chain as source.

    >>> print(_chain_source("f", "a, b", [3]))
    def f(code, a, b):
        if code == 3:
            return kernel_3(a, b)
        return otherwise
    """
    lines = [f"def {name}(code, {arguments}):"]
    for place, code in enumerate(codes):
        lines += [f"    {'elif' if place else 'if'} code == {code}:", f"        return kernel_{code}({arguments})"]
    return "\n".join([*lines, "    return otherwise"])


_updates = {update_code(one.kind): one.update for one in KINDS.values()}
_updates |= {update_code(one.kind, is_off=True): one.update_off for one in KINDS.values()}

update_cells = _chain("update_cells", "flat, cell, keep, terms, row, value, t", _updates)
"""Let an event change the cells of one feature."""

read_cells = _chain(
    "read_cells",
    "flat, slab, cell, keep, terms, row, t",
    {kind_code(one.kind): one.read for one in KINDS.values()},
    otherwise=math.nan,
)
"""Return the value of one feature as of t."""

combine_cells = _chain(
    "combine_cells",
    "flat, cell, other, keep, terms, row",
    {kind_code(one.kind): one.combine for one in KINDS.values()},
)
"""Put into one row's cells of a feature what another's hold."""
