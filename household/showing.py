"""How often what a playbook offers was shown in this partition: what its scores are trusted by.

An action is shown once, when it is first given to a channel: as an answer, or at its hand-over. Counted only under a
playbook that smooths its scores or has budgets.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from household.plan import NONE, Plan
from household.tables.actions import LiveAction
from household.tables.shown import ShownOffer
from household.tables.table import Table


class Showing:
    """The counts of one plan's offers; belongs to the state thread, like the table it reads."""

    __slots__ = ("_counts", "_plan", "_table")

    def __init__(self, plan: Plan, table: Table[ShownOffer]) -> None:
        """Take the table as it will be by the first question."""
        self._plan, self._table = plan, table
        self._counts: NDArray[np.int64] | None = None

    @property
    def is_counted(self) -> bool:
        """Whether the plan asks for it."""
        return self._plan.arbitration.prior_weight > 0 or bool(self._plan.budgets)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(offers,) how often each was shown, by its index in the plan."""
        if self._counts is None:
            self._counts = np.zeros(len(self._plan.offers), np.int64)
            for row in self._table:
                offer = self._plan.offer_by_name.get(row.offer, NONE)
                if row.playbook == self._plan.name and offer != NONE:
                    self._counts[offer] = row.count
        return self._counts

    def shown(self, action: LiveAction) -> LiveAction:
        """Count an action that is given to a channel, unless it was before; return it as it is now."""
        is_news = not action.is_shown and self.count(action.offer)
        return replace(action, is_shown=True) if is_news else action

    def count(self, name: str) -> bool:
        """Count an action of an offer that is given to a channel for the first time; return whether that is counted."""
        offer = self._plan.offer_by_name.get(name, NONE)
        if offer == NONE or not self.is_counted:
            return False
        counts = self.counts
        counts[offer] += 1
        self._table.put(ShownOffer(self._plan.name, name, counts.item(offer)))
        return True
