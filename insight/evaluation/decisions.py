"""Decisions that were made, each with the probability of what was chosen and what it brought: the documented schema.

Any system can write it (docs/evaluation.md). Hearth's own exports are read by `insight/evaluation/exported.py`.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from insight.tables import BadTable, column, context, numbers, texts

NOTHING: Final = "nothing"
"""The action of leaving a household in peace; null and empty names mean it."""

CONTEXT_PREFIXES: Final = ("context.", "member.", "household.")
"""Columns that the outcome model sees: what was known when it was decided, and nothing that came after."""

SLATE_SEPARATOR: Final = " > "
"""Between the actions of a slate where it is named as one."""

NEVER: Final = 1e30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choices:
    """Probabilities of actions, one entry for each decision and action; an action without an entry has 0."""

    decision: NDArray[np.intp]
    """(entries,) index of the decision."""
    action: NDArray[np.intp]
    """(entries,) index into names of actions that go with it."""
    probability: NDArray[np.float64]
    """(entries,)"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoggedDecisions:
    """What was decided, with what probability, and what came of it."""

    ids: pa.ChunkedArray
    """(n,) text, each once."""
    units: NDArray[np.intp]
    """(n,) index of the household each is about: 0 to the last, all used. The decision itself where none is named."""
    actions: tuple[str, ...]
    """Names of all actions that were or could have been chosen."""
    action: NDArray[np.intp]
    """(n,) what was chosen."""
    propensity: NDArray[np.float64]
    """(n,) probability with which it was; NaN where the file does not say."""
    reward: NDArray[np.float64]
    """(n,) what came of it."""
    context: NDArray[np.float32]
    """(n, columns) what was known, NaN where not known."""
    context_names: tuple[str, ...]
    logged: Choices | None
    """Probability of everything that could have been chosen; None where only the chosen action's is known."""
    left_out: dict[str, int]
    """Decisions of the file that are not among these, by reason."""

    @property
    def count(self) -> int:
        """How many decisions there are."""
        return len(self.action)

    def only(self, kept: NDArray[np.bool_], reason: str) -> "LoggedDecisions":
        """Return those that are kept, the others counted under a reason."""
        if kept.all():
            return self
        logged = self.logged
        if logged is not None:
            logged = _only(logged, kept)
        return replace(
            self,
            ids=self.ids.filter(pa.array(kept)),
            units=np.unique(self.units[kept], return_inverse=True)[1],
            action=self.action[kept],
            propensity=self.propensity[kept],
            reward=self.reward[kept],
            context=self.context[kept],
            logged=logged,
            left_out=self.left_out | {reason: self.left_out.get(reason, 0) + int((~kept).sum())},
        )


def _only(choices: Choices, kept: NDArray[np.bool_]) -> Choices:
    entries = kept[choices.decision]
    place = np.cumsum(kept) - 1
    return Choices(
        decision=place[choices.decision[entries]],
        action=choices.action[entries],
        probability=choices.probability[entries],
    )


def read_decisions(table: pa.Table, *, file: str, reward: str = "reward") -> LoggedDecisions:
    """Return the decisions of a table in the documented schema.

    Columns: `decision_id`, `action` (text; a list of text is a slate, matched whole), `propensity`, the reward;
    optional `household`, `context.…`, and `actions` with `propensities` (lists: all that could have been chosen).

    Raises:
        BadTable: a column is missing or holds something else.
    """
    ids = unique_ids(table, file=file)
    named = action_names(table, "action", file=file)
    actions, action = encode(named)
    propensity = numbers(table, "propensity", file=file, may_miss=True)
    outside = (propensity < 0) | (propensity > 1 + 1e-9)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise BadTable(
            f"{file}: column 'propensity' is {propensity[row]:g} in row {row:,}; it is a probability, from 0 to 1"
        )
    logged = None
    if "actions" in table.column_names or "propensities" in table.column_names:
        actions, logged = _logged(table, actions, file=file)
        _check_chosen(ids, actions, action, propensity, logged, file=file)
    names = [name for name in table.column_names if name.startswith(CONTEXT_PREFIXES)]
    return LoggedDecisions(
        ids=ids,
        units=units_of(table, file=file),
        actions=actions,
        action=action,
        propensity=propensity,
        reward=numbers(table, reward, file=file),
        context=context(table, names, never=NEVER),
        context_names=tuple(names),
        logged=logged,
        left_out={},
    )


def unique_ids(table: pa.Table, *, file: str) -> pa.ChunkedArray:
    """Return the ids of decisions.

    Raises:
        BadTable: one is missing, or there more than once.
    """
    ids = texts(table, "decision_id", file=file)
    if ids.null_count:
        raise BadTable(f"{file}: column 'decision_id' is null in {ids.null_count:,} rows; each decision needs its id")
    counts = pc.value_counts(ids)
    often = counts.filter(pc.greater(pc.struct_field(counts, "counts"), 1)) if len(counts) < len(ids) else []
    if len(often):
        raise BadTable(
            f"{file}: decision_id {often[0]['values'].as_py()!r} is there {often[0]['counts'].as_py()} times, and "
            f"{len(often) - 1:,} others more than once; each decision needs an id of its own"
        )
    return ids


def units_of(table: pa.Table, *, file: str) -> NDArray[np.intp]:
    """Return (n,) the index of each row's household; the row's own where the table names none."""
    if "household" not in table.column_names:
        return np.arange(table.num_rows)
    named = texts(table, "household", file=file)
    if named.null_count:
        raise BadTable(f"{file}: column 'household' is null in {named.null_count:,} rows; name it, or drop the column")
    return np.asarray(named.combine_chunks().dictionary_encode().indices.to_numpy(), np.intp)


def action_names(table: pa.Table, name: str, *, file: str) -> pa.ChunkedArray:
    """Return a column of actions as text: a slate as its actions in order, nothing as NOTHING."""
    found = column(table, name, file=file)
    if pa.types.is_list(found.type) or pa.types.is_large_list(found.type):
        if not pa.types.is_string(found.type.value_type):
            raise BadTable(f"{file}: column {name!r} is {found.type}, and should be a list of text")
        found = pa.chunked_array([pc.binary_join(found.combine_chunks(), SLATE_SEPARATOR)])
    else:
        found = texts(table, name, file=file)
    found = found.fill_null(NOTHING)
    return pc.if_else(pc.equal(found, ""), NOTHING, found)


def encode(names: pa.ChunkedArray, known: tuple[str, ...] = ()) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Return all names, those known first, and the index of each of `names` among them."""
    new = [name for name in sorted(set(pc.unique(names).to_pylist())) if name not in set(known)]
    every = (*known, *new)
    return every, np.asarray(pc.index_in(names, value_set=pa.array(every, pa.string())).to_numpy(), np.intp)


def _logged(table: pa.Table, known: tuple[str, ...], *, file: str) -> tuple[tuple[str, ...], Choices]:
    lists = column(table, "actions", file=file).combine_chunks()
    shares = column(table, "propensities", file=file).combine_chunks()
    for name, kind in (("actions", lists.type), ("propensities", shares.type)):
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise BadTable(f"{file}: column {name!r} is {kind}, and should be a list for each decision")
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    others = pc.list_value_length(shares).fill_null(0).to_numpy(zero_copy_only=False)
    if (lengths != others).any():
        row = int(np.flatnonzero(lengths != others)[0])
        raise BadTable(
            f"{file}: row {row:,} has {lengths[row]} 'actions' and {others[row]} 'propensities'; they go together"
        )
    flat = pa.table({"action": lists.flatten(), "propensity": shares.flatten()})
    actions, action = encode(action_names(flat, "action", file=file), known)
    decision = np.repeat(np.arange(table.num_rows), lengths)
    probability = numbers(flat, "propensity", file=f"{file}: 'propensities'")
    return actions, checked_choices(decision, action, probability, table.num_rows, what=f"{file}: 'propensities'")


def checked_choices(
    decision: NDArray[np.intp],
    action: NDArray[np.intp],
    probability: NDArray[np.float64],
    count: int,
    *,
    what: str,
    ids: pa.ChunkedArray | None = None,
) -> Choices:
    """Return probabilities that are some, once for each action, and 1 in all for each decision.

    Raises:
        BadTable: they are not.
    """

    def name(index: int) -> str:
        return f"row {index:,}" if ids is None else f"decision {ids[index].as_py()!r}"

    wrong = (probability < 0) | (probability > 1 + 1e-9)
    if wrong.any():
        entry = int(np.flatnonzero(wrong)[0])
        raise BadTable(f"{what}: {probability[entry]:g} for {name(int(decision[entry]))} is no probability")
    keys = decision * (int(action.max(initial=0)) + 1) + action
    ordered = np.sort(keys)
    twice = ordered[1:] == ordered[:-1]
    if twice.any():
        first = int(ordered[1:][twice][0] // (int(action.max()) + 1))
        raise BadTable(f"{what}: {name(first)} has an action more than once; add its probabilities up")
    sums = np.bincount(decision, probability, count)
    off = np.abs(sums - 1.0) > 1e-6
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise BadTable(
            f"{what}: the probabilities of {name(row)} add up to {sums[row]:g}, and of {int(off.sum()):,} in all not "
            f"to 1; doing nothing is an action as well, named '{NOTHING}'"
        )
    return Choices(decision=decision, action=action, probability=probability)


def _check_chosen(
    ids: pa.ChunkedArray,
    actions: tuple[str, ...],
    action: NDArray[np.intp],
    propensity: NDArray[np.float64],
    logged: Choices,
    *,
    file: str,
) -> None:
    """Hold the propensity of the chosen action against the same in the list of all."""
    listed = probability_of(logged, action, action_count=len(actions))
    differs = ~np.isnan(propensity) & (np.abs(listed - propensity) > 1e-6)
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise BadTable(
            f"{file}: decision {ids[row].as_py()!r} chose {actions[action[row]]!r} with 'propensity' "
            f"{propensity[row]:g}, and its 'propensities' say {listed[row]:g}; they must agree"
        )


def probability_of(choices: Choices, action: NDArray[np.intp], *, action_count: int) -> NDArray[np.float64]:
    """Return (n,) the probability that choices give to one action of each decision."""
    keys = choices.decision * action_count + choices.action
    order = np.argsort(keys)
    wanted = np.arange(len(action)) * action_count + action
    if not len(keys):
        return np.zeros(len(action))
    place = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    entry = order[place]
    return np.where(keys[entry] == wanted, choices.probability[entry], 0.0)
