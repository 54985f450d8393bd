"""When the rows of a declaration are due under a plan."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from household.plan import Plan
from household.tables.contract import Declaration, TableColumn
from household.tables.slots import NEVER_DUE


class DueRules:
    """The first rule that is about a row says when it is due."""

    def __init__(self, declaration: Declaration[Any], columns: tuple[TableColumn, ...], plan: Plan) -> None:
        """Take a declaration's rules with the times of a plan."""
        places = {column.name: place for place, column in enumerate(columns)}
        lying = []
        for due in declaration.due:
            place, code = -1, 0
            if due.only_if is not None:
                name, value = due.only_if
                place = places[name]
                code = columns[place].values.index(value)
            lying.append((places[due.column], due.after_us(plan), place, code))
        self.lying = np.array(lying, np.int64)
        """(rules, 4) for kernels: column, µs after it; column of the condition, or -1, and what stands there."""
        self.lying.shape = (len(lying), 4)
        self.after_us = [after_us for _, after_us, _, _ in lying]
        """(rules,) µs after its column."""

    def __bool__(self) -> bool:
        return bool(self.after_us)

    def at(self, fields: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the same of rows (rows, columns) as they lie."""
        dues, is_told = np.full(fields.shape[0], NEVER_DUE), np.zeros(fields.shape[0], np.bool_)
        for column, after_us, place, code in self.lying.tolist():
            is_about = ~is_told
            if place >= 0:
                is_about &= fields[:, place] == code
            dues[is_about] = fields[is_about, column] + after_us
            is_told |= is_about
        return dues
