"""Which version gave a term of exported decisions, and what it gave to what each of them chose.

Acceptance stands in columns of its own (`model_version`, `degraded`, `chosen_score`), other terms in `term_scores`, and
shadows of all terms in `shadows`.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from household.plan import ValueTerm
from serving.models.tables import flags, text

TERM_SCORES = "term_scores"
SHADOWS = "shadows"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecidedBy:
    """What gave a term, of each decision (n,)."""

    version: NDArray[np.str_]
    """Empty where nothing did."""
    degraded: NDArray[np.bool_]
    score: NDArray[np.float64]
    """Of what was chosen; NaN where there is none."""


def decided_by(table: pa.Table, term: ValueTerm) -> DecidedBy:
    """Return what gave a term of decisions, by which each was decided.

    Raises:
        BadExport: a column is missing.
    """
    if term is ValueTerm.ACCEPTANCE:
        return DecidedBy(
            version=text(table, "model_version"),
            degraded=flags(table, "degraded"),
            score=np.asarray(table["chosen_score"].cast(pa.float64()).fill_null(np.nan).to_numpy(), np.float64),
        )
    rows, told = _entries(table, TERM_SCORES, term)
    version = np.full(table.num_rows, "", object)
    version[rows] = pc.struct_field(told, "model_version").to_numpy(zero_copy_only=False)
    degraded = np.zeros(table.num_rows, np.bool_)
    degraded[rows] = pc.struct_field(told, "degraded").fill_null(False).to_numpy(zero_copy_only=False)
    lists = pc.struct_field(told, "scores")
    inner = np.asarray(pc.list_parent_indices(lists), np.intp)
    return DecidedBy(
        version=version.astype(np.str_), degraded=degraded, score=_of_chosen(table, rows[inner], lists.flatten())
    )


def scores_of(version: str, table: pa.Table, *, term: ValueTerm, is_shadow: bool) -> NDArray[np.float64]:
    """Return (n,) what a version gave to what each decision chose; NaN where it gave nothing.

    Of what decided it is what was decided by, whichever version that was.
    """
    if not is_shadow:
        return decided_by(table, term).score
    rows, told = _entries(table, SHADOWS, term)
    is_it = pc.equal(pc.struct_field(told, "model_version"), version).fill_null(False)
    return _of_chosen(table, rows[np.asarray(is_it.to_numpy(zero_copy_only=False), np.bool_)], told.filter(is_it))


def _entries(table: pa.Table, name: str, term: ValueTerm) -> tuple[NDArray[np.intp], pa.StructArray]:
    """Return the entries of a term in a column of lists, and the row of each."""
    if name not in table.column_names:
        return np.empty(0, np.intp), pa.array([], _type_of(name))
    lists = table[name].combine_chunks()
    parents, flat = np.asarray(pc.list_parent_indices(lists), np.intp), lists.flatten()
    if flat.type.get_field_index("term") < 0:
        # As it was before other terms were told.
        is_term = pa.array(np.full(len(flat), term is ValueTerm.ACCEPTANCE))
    else:
        is_term = pc.equal(pc.struct_field(flat, "term").fill_null(ValueTerm.ACCEPTANCE.value), term.value)
    return parents[np.asarray(is_term.to_numpy(zero_copy_only=False), np.bool_)], flat.filter(is_term)


def _type_of(name: str) -> pa.DataType:
    """Return the type of an entry where the column is not there."""
    score = pa.struct([("offer", pa.string()), ("score", pa.float64())])
    if name == SHADOWS:
        return pa.struct([("model_version", pa.string()), *score])
    return pa.struct([("model_version", pa.string()), ("degraded", pa.bool_()), ("scores", pa.list_(score))])


def _of_chosen(table: pa.Table, rows: NDArray[np.intp], told: pa.StructArray) -> NDArray[np.float64]:
    """Return (n,) the score of what each decision chose, of (k,) scores of offers and the row of each."""
    scores = np.full(table.num_rows, np.nan)
    chosen = table["chosen_offer"].cast(pa.string()).combine_chunks().take(pa.array(rows))
    is_it = pc.equal(pc.struct_field(told, "offer"), chosen).fill_null(False)
    is_chosen = np.asarray(is_it.to_numpy(zero_copy_only=False), np.bool_)
    scores[rows[is_chosen]] = pc.struct_field(told, "score").filter(is_it).to_numpy(zero_copy_only=False)
    return scores
