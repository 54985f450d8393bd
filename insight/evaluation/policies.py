"""A policy to evaluate: for each decision, with which probability it would choose which action."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from insight.evaluation.decisions import Choices, LoggedDecisions, action_names, checked_choices, encode
from insight.tables import BadTable, numbers, texts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Policy:
    """What a policy would do about some decisions."""

    name: str
    choices: Choices
    actions: tuple[str, ...]
    """Names of the actions in `choices`; begins with those of the decisions."""


def read_policy(table: pa.Table, decisions: LoggedDecisions, *, file: str) -> Policy:
    """Return the policy of a table with the columns `decision_id`, `action` and `probability`.

    Without `decision_id` it is the same for every decision. Rows about decisions that are not among these are passed
    over; each decision among them needs its row.

    Raises:
        BadTable: a column is missing or holds something else, or a decision is missing.
    """
    actions, action = encode(action_names(table, "action", file=file), decisions.actions)
    probability = numbers(table, "probability", file=file)
    if "decision_id" not in table.column_names:
        decision = np.repeat(np.arange(decisions.count), len(action))
        action, probability = np.tile(action, decisions.count), np.tile(probability, decisions.count)
    else:
        found = pc.index_in(texts(table, "decision_id", file=file), value_set=decisions.ids.combine_chunks())
        known = np.asarray(found.is_valid().to_numpy(), np.bool_)
        decision = np.asarray(found.fill_null(0).to_numpy(), np.intp)[known]
        action, probability = action[known], probability[known]
        _check_all_there(decision, decisions, file=file)
    choices = checked_choices(
        decision, action, probability, decisions.count, what=f"{file}: 'probability'", ids=decisions.ids
    )
    return Policy(name=file, choices=choices, actions=actions)


def _check_all_there(decision: NDArray[np.intp], decisions: LoggedDecisions, *, file: str) -> None:
    missing = np.bincount(decision, minlength=decisions.count) == 0
    if missing.any():
        first = decisions.ids[int(np.flatnonzero(missing)[0])].as_py()
        raise BadTable(
            f"{file}: says nothing of {int(missing.sum()):,} of {decisions.count:,} decisions, first {first!r}; a "
            "policy that would do nothing says so by the action 'nothing' with probability 1"
        )
