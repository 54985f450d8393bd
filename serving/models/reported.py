"""What was reported of actions, in the order of their ids: a table of decisions finds its own without a look at all."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from serving.models.tables import column_of, times

ACCEPT: Final = "hearth.accept"

SHOWN_BY: Final = ("hearth.impression", "hearth.click", ACCEPT, "hearth.decline", "hearth.convert")
"""Reports that prove an action was seen. `delivered` does not: a push may lie unread."""

ACTION: Final = "action_id"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reported:
    """Which actions were seen, and when they were accepted."""

    seen: NDArray[np.bytes_]
    """(actions,) their ids in order, each once."""
    accepted: NDArray[np.bytes_]
    """(acceptances,) the ids of their actions, in order."""
    accepted_us: NDArray[np.int64]
    """(acceptances,)"""

    @classmethod
    def of(cls, signals: pa.Table) -> "Reported":
        """Return what signals report, whatever else is among them.

        Raises:
            BadExport: a column is missing or holds something else.
        """
        types = column_of(signals, "type").cast(pa.string())
        is_told = pc.and_kleene(pc.is_in(types, pa.array(SHOWN_BY)), pc.is_valid(column_of(signals, ACTION)))
        reports = signals.filter(is_told)
        accepts = reports.filter(pc.equal(reports["type"].cast(pa.string()), ACCEPT))
        accepted = _ids(accepts)
        order = np.argsort(accepted, kind="stable")
        return cls(seen=np.unique(_ids(reports)), accepted=accepted[order], accepted_us=times(accepts, "time")[order])

    def was_seen(self, decisions: pa.Table) -> NDArray[np.bool_]:
        """Return (n,) whether a report proves that each decision's action was seen."""
        if not len(self.seen):
            return np.zeros(len(decisions), np.bool_)
        actions = _ids(decisions)
        place = np.minimum(np.searchsorted(self.seen, actions), len(self.seen) - 1)
        return np.asarray(self.seen[place] == actions)

    def was_accepted(self, decisions: pa.Table, until_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (n,) whether an acceptance of each decision's action came in [decided, until)."""
        actions, decided_us = _ids(decisions), times(decisions, "decided_at")
        first = np.searchsorted(self.accepted, actions)
        counts = np.searchsorted(self.accepted, actions, side="right") - first
        # One line for each acceptance of each row's action: hardly ever more than one.
        rows = np.repeat(np.arange(len(actions)), counts)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts) + first[rows]
        time_us = self.accepted_us[place]
        accepted = np.zeros(len(actions), np.bool_)
        accepted[rows[(decided_us[rows] <= time_us) & (time_us < until_us[rows])]] = True
        return accepted


def _ids(table: pa.Table) -> NDArray[np.bytes_]:
    """Return (n,) the ids of actions; bytes, which take a quarter of what text does."""
    ids = column_of(table, ACTION).cast(pa.string()).cast(pa.binary())
    return np.asarray(ids.fill_null(b"").to_numpy(), np.bytes_)
