"""What was reported of actions: a table of decisions finds its own without a look at all."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from serving.models.keyed_times import KeyedTimes
from serving.models.tables import column_of, keys, times

ACCEPT: Final = "hearth.accept"

SHOWN_BY: Final = ("hearth.impression", "hearth.click", ACCEPT, "hearth.decline", "hearth.convert")
"""Reports that prove an action was seen. `delivered` does not: a push may lie unread."""

ACTION: Final = "action_id"


class Reported:
    """Which actions were seen, and when they were accepted."""

    def __init__(self, spill_to: Path | None = None) -> None:
        """Begin with no report; `spill_to` as `KeyedTimes` takes it."""
        self._seen, self._accepted = KeyedTimes(spill_to), KeyedTimes(spill_to)

    @classmethod
    def of(cls, signals: pa.Table) -> "Reported":
        """Return what signals report, whatever else is among them; raises as `add`."""
        reported = cls()
        reported.add(signals)
        return reported

    def add(self, signals: pa.Table) -> None:
        """Take what signals report, whatever else is among them.

        Raises:
            BadExport: a column is missing or holds something else.
            OSError: what does not fit into memory cannot be written.
        """
        types = column_of(signals, "type").cast(pa.string())
        is_told = pc.and_kleene(pc.is_in(types, pa.array(SHOWN_BY)), pc.is_valid(column_of(signals, ACTION)))
        reports = signals.filter(is_told)
        accepts = reports.filter(pc.equal(reports["type"].cast(pa.string()), ACCEPT))
        seen = keys(reports, ACTION)
        self._seen.add(seen, np.zeros(len(seen), np.int64))
        self._accepted.add(keys(accepts, ACTION), times(accepts, "time"))

    def was_seen(self, decisions: pa.Table) -> NDArray[np.bool_]:
        """Return (n,) whether a report proves that each decision's action was seen, whenever it was."""
        zeros = np.zeros(len(decisions), np.int64)
        return self._seen.any_within(keys(decisions, ACTION), zeros, zeros + 1)

    def was_accepted(self, decisions: pa.Table, until_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (n,) whether an acceptance of each decision's action came in [decided, until)."""
        return self._accepted.any_within(keys(decisions, ACTION), times(decisions, "decided_at"), until_us)
