"""Two subjects made one: what one household's, or member's, features hold is put into another's cells.

What is promised of each kind is told by its definition (`Kind.combination`). Cells of triggers are not features and
stay as they are.
"""

import numpy as np
from numpy.typing import NDArray

from household.columns.dispatch import combine_cells
from household.columns.features import Cells
from household.columns.layout import Layout, Rules
from household.columns.windows import CLASSES, grown_slab, window_combined
from household.kernel import kernel
from household.plan import Plan, Scope


@kernel
def _combine_features(rules: Rules, flat: NDArray[np.float64], is_member: int, ours: int, theirs: int) -> None:
    for feature in range(rules.reads.shape[0]):
        if rules.reads[feature, 1] == is_member:
            code, cell, keep = rules.reads[feature, 0], rules.reads[feature, 2], rules.reads[feature, 3]
            combine_cells(code, flat, ours + cell, theirs + cell, keep, rules.read_terms, feature)


def combine_rows(plan: Plan, layout: Layout, cells: Cells, scope: Scope, ours: int, theirs: int) -> Cells:
    """Put what one row holds into another of its scope; return the cells, whose slab may have grown.

    Args:
        ours: base of the row that goes on; changed in place.
        theirs: base of the other row; it stays as it is and shares nothing with ours.
    """
    width = (layout.member_initial if scope is Scope.MEMBER else layout.household_initial).shape[0]
    if not width:
        # All rows of nothing begin at the same place.
        return cells
    assert ours != theirs, "a subject is not combined with itself"
    _combine_features(layout.rules, cells.flat, int(scope is Scope.MEMBER), ours, theirs)
    for window, cell in zip(plan.windows, layout.window_cells, strict=True):
        if window.scope is scope and cells.flat[theirs + cell] != 0.0:
            # The run of both has at most twice as many entries as a window, in one of the classes of the slab.
            while int(cells.slab.free[CLASSES]) + 4 * window.bucket_count >= cells.slab.bucket.shape[0]:
                cells = cells._replace(slab=grown_slab(cells.slab))
            handles = cells.flat[ours + cell], cells.flat[theirs + cell]
            cells.flat[ours + cell] = window_combined(cells.slab, *handles, window.bucket_count)
    return cells
