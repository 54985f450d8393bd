"""When the rows of a declaration are due under a plan."""

from collections.abc import Sequence
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
        self._rules: list[tuple[int, int, int, object, int]] = []
        for due in declaration.due:
            place, value, code = -1, None, 0
            if due.only_if is not None:
                name, value = due.only_if
                place = places[name]
                code = columns[place].values.index(value)
            self._rules.append((places[due.column], due.after_us(plan), place, value, code))
        self.lying = np.array([(at, later, place, code) for at, later, place, _, code in self._rules], np.int64)
        """(rules, 4) for kernels: column, µs after it; column of the condition, or -1, and what stands there."""
        self.lying.shape = (len(self._rules), 4)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def of(self, values: Sequence[Any]) -> int:
        """Return when a row of these values is due, or NEVER_DUE."""
        for column, after_us, place, value, _ in self._rules:
            if place < 0 or values[place] == value:
                return int(values[column]) + after_us
        return int(NEVER_DUE)

    def at(self, fields: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the same of rows (rows, columns) as they lie."""
        dues, is_told = np.full(fields.shape[0], NEVER_DUE), np.zeros(fields.shape[0], np.bool_)
        for column, after_us, place, _, code in self._rules:
            is_about = ~is_told
            if place >= 0:
                is_about &= fields[:, place] == code
            dues[is_about] = fields[is_about, column] + after_us
            is_told |= is_about
        return dues
