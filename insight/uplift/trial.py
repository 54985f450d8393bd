"""A trial: who was treated and who was not, what came of it, and the uplift that somebody predicted before."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from insight.evaluation.decisions import units_of
from insight.tables import BadTable, column, numbers, texts

_ARMS = {"treated": 1.0, "treatment": 1.0, "control": 0.0, "1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What the columns of a file are called."""

    treated: str = "treated"
    outcome: str = "outcome"
    score: str = "uplift"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """Rows of a trial, in any order."""

    is_treated: NDArray[np.bool_]
    """(n,)"""
    outcome: NDArray[np.float64]
    """(n,)"""
    score: NDArray[np.float64]
    """(n,) predicted uplift; larger is to be treated first."""
    propensity: NDArray[np.float64]
    """(n,) probability of being treated; the treated share where the file has no such column."""
    is_propensity_known: bool
    units: NDArray[np.intp]
    """(n,) index of the household; the row itself where none is named."""

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.outcome)

    @property
    def is_binary(self) -> bool:
        """Whether the outcome is 0 or 1 in all rows."""
        return bool(np.isin(self.outcome, (0.0, 1.0)).all())

    @property
    def design(self) -> NDArray[np.float64]:
        """(n,) weights that make both arms alike; all 1 where everybody had the same chance of being treated."""
        share = float(self.propensity.mean())
        # Refused before they are used where a propensity is 0 or 1.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.is_treated, share / self.propensity, (1 - share) / (1 - self.propensity))


def read_trial(table: pa.Table, *, file: str, columns: Columns | None = None) -> Trial:
    """Return the trial of a table: treated, outcome and score, optionally `propensity` and `household`.

    Raises:
        BadTable: a column is missing or holds something else.
    """
    columns = columns or Columns()
    if not table.num_rows:
        raise BadTable(f"{file}: has no rows")
    is_treated = _treated(table, columns.treated, file=file)
    is_known = "propensity" in table.column_names
    if is_known:
        propensity = numbers(table, "propensity", file=file)
        outside = (propensity < 0) | (propensity > 1)
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            raise BadTable(f"{file}: column 'propensity' is {propensity[row]:g} in row {row:,}; it is from 0 to 1")
    else:
        propensity = np.full(table.num_rows, is_treated.mean())
    return Trial(
        is_treated=is_treated,
        outcome=numbers(table, columns.outcome, file=file),
        score=numbers(table, columns.score, file=file),
        propensity=propensity,
        is_propensity_known=is_known,
        units=units_of(table, file=file),
    )


def _treated(table: pa.Table, name: str, *, file: str) -> NDArray[np.bool_]:
    found = column(table, name, file=file)
    if pa.types.is_string(found.type) or pa.types.is_large_string(found.type) or pa.types.is_dictionary(found.type):
        told = pc.utf8_lower(texts(table, name, file=file))
        values = np.array([_ARMS.get(one, np.nan) for one in told.to_pylist()])
    else:
        values = numbers(table, name, file=file)
    wrong = (values != 0.0) & (values != 1.0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise BadTable(
            f"{file}: column {name!r} is {found[row].as_py()!r} in row {row:,}; it is true or false, 1 or 0, or "
            "'treated' or 'control'"
        )
    return np.asarray(values == 1.0, np.bool_)
