"""One look at all candidates for whoever asks, as of now: what speaks against each, its price, and what is known."""

import numpy as np

from household.deciding.candidate_columns import CandidateColumns, Looked, look
from household.plan import NONE
from household.state import PartitionState


def looked_at(
    state: PartitionState, columns: CandidateColumns, household: int, member: int, *, reads: bool = True
) -> Looked:
    """Return what programs and prices say of candidates now, and what features read; no readings without `reads`."""
    is_denied = False
    if state.graph and columns.consent != NONE:
        # What was one household's word is not that of all who were merged: each that has one has to say yes.
        consent = np.array([columns.consent])
        is_denied = any(
            state.conditions_alone(consent, row, member, state.now_us)[0] != 1.0
            for row in state.graph.merged_rows(household)
        )
    cells, household, member = state.seen_together(household, member)
    return look(
        state.layout.rules,
        cells,
        columns,
        household,
        member,
        state.now_us,
        is_denied=is_denied,
        reads=reads,
    )
