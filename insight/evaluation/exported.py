"""Hearth's own decisions, as `hearth log export --kind decisions` writes them, made ready for evaluation.

The action is **which offer came first in the slate**. Exploration draws that alone: the rest of the slate follows by
value. So the recorded propensity is exact for the whole slate, the probabilities of all that could have come first
follow from it, and what became of any action of the slate is what the choice brought.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from insight.evaluation.decisions import (
    CONTEXT_PREFIXES,
    NEVER,
    NOTHING,
    Choices,
    LoggedDecisions,
    encode,
    unique_ids,
    units_of,
)
from insight.tables import BadTable, column, context, numbers, texts

ACCEPT: Final = "hearth.accept"
WINDOW_US: Final = 86_400_000_000
"""How long an acceptance counts, unless told otherwise. The same for every offer, so that none is favoured."""

NEEDED: Final = ("decision_id", "household", "decided_at", "withheld", "propensity", "stands", "candidates", "slate")


def is_exported(table: pa.Table) -> bool:
    """Return whether a table is an export of Hearth's decisions and not another system's."""
    return {"candidates", "slate"} <= set(table.column_names)


def read_exported(
    table: pa.Table, outcomes: pa.Table | None, *, file: str, reward: str | None = None, window_us: int = WINDOW_US
) -> LoggedDecisions:
    """Return the decisions of an export that had anything to choose, with their rewards.

    Args:
        outcomes: an export of signals; then the reward is 1 where an acceptance of any action of the slate came in
            [decided, decided + window), and decisions whose window had not ended at its newest signal are left out.
        reward: the column that holds the reward instead.

    Raises:
        BadTable: a column is missing or holds something else.
    """
    for name in NEEDED:
        column(table, name, file=file)
    unique_ids(table, file=file)
    left_out: dict[str, int] = {}

    def keep(mask: NDArray[np.bool_], reason: str) -> None:
        nonlocal table
        if not mask.all():
            left_out[reason] = int((~mask).sum())
            table = table.filter(pa.array(mask))

    keep(_is_empty(texts(table, "stands", file=file)), "slate stood")
    keep(_scored_count(table) > 0, "nothing to choose")
    keep(numbers(table, "withheld", file=file) == 0.0, "withheld")
    if reward is None:
        if outcomes is None:
            raise BadTable(
                f"{file}: what came of the decisions is not in it; name the signals with --outcomes (`hearth log "
                "export --kind signals`), or the column that holds the reward with --reward"
            )
        newest_us = max(_newest_us(outcomes, "time"), _newest_us(table, "decided_at"))
        keep(_times_us(table, "decided_at") + window_us <= newest_us, "window open")
        rewards = _accepted(table, outcomes, window_us)
    else:
        rewards = numbers(table, reward, file=file)
    actions, action, propensity, logged = _choices(table, file=file)
    names = [name for name in table.column_names if name.startswith(CONTEXT_PREFIXES)]
    names += [name for name in ("channel", "local_minute_of_week") if name in table.column_names]
    return LoggedDecisions(
        ids=unique_ids(table, file=file),
        units=units_of(table, file=file),
        actions=actions,
        action=action,
        propensity=propensity,
        reward=rewards,
        context=context(table, names, never=NEVER),
        context_names=tuple(names),
        logged=logged,
        left_out=left_out,
    )


def scored_candidates(table: pa.Table) -> tuple[NDArray[np.intp], pa.Table]:
    """Return the decision of each candidate that was scored and might have come first, and what is told of them.

    That is offers, scores, values, ranks and terms; an export from before terms were kept has none. What was scored may
    have been vetoed since: by a control group, by a budget.
    """
    lists = table.column("candidates").combine_chunks()
    decision = np.asarray(pc.list_parent_indices(lists).to_numpy(), np.intp)
    flat = lists.flatten()
    kept = [name for name in ("offer", "score", "value_minor", "rank", "terms") if flat.type.get_field_index(name) >= 0]
    every = pa.table({name: pc.struct_field(flat, name) for name in kept})
    is_scored = every.column("score").is_valid()
    if flat.type.get_field_index("vetoes") >= 0:
        against = pc.fill_null(pc.list_value_length(pc.struct_field(flat, "vetoes")), 0)
        is_scored = pc.and_(is_scored, pc.equal(against, 0))
    return decision[np.asarray(is_scored.to_numpy(), np.bool_)], every.filter(is_scored)


def _scored_count(table: pa.Table) -> NDArray[np.intp]:
    decision, _ = scored_candidates(table)
    return np.bincount(decision, minlength=table.num_rows)


def first_offers(table: pa.Table) -> pa.ChunkedArray:
    """Return (n,) the offer that came first in each slate, or NOTHING."""
    slates = table.column("slate").combine_chunks()
    offers = pc.struct_field(slates.flatten(), "offer")
    parents = np.asarray(pc.list_parent_indices(slates).to_numpy(), np.intp)
    first = np.full(table.num_rows, -1, np.int64)
    first[parents[::-1]] = np.arange(len(parents))[::-1]
    return pa.chunked_array([offers.take(pa.array(first, mask=first < 0)).fill_null(NOTHING)])


def _choices(table: pa.Table, *, file: str) -> tuple[tuple[str, ...], NDArray[np.intp], NDArray[np.float64], Choices]:
    """Return actions, the one that came first, its propensity, and the probability with which each would have.

    Of k worth more than nothing, a draw at share ε puts any one first with ε/k; otherwise one of the m best comes
    first, by lot. So one that is not among the best has ε/k, each of the best (1 − ε)/m + ε/k, and either tells the
    other. Before there were lots, the one written first had all that the best have.
    """
    count = table.num_rows
    decision, candidates = scored_candidates(table)
    value = np.asarray(candidates.column("value_minor").fill_null(np.nan).to_numpy(), np.float64)
    is_worth = value > 0.0
    decision, value = decision[is_worth], value[is_worth]
    actions, offer = encode(candidates.column("offer").filter(pa.array(is_worth)), (NOTHING,))
    actions, first = encode(first_offers(table), actions)
    propensity = numbers(table, "propensity", file=file, may_miss=True)
    several = np.bincount(decision, minlength=count)

    is_first = offer == first[decision]
    best = np.full(count, -np.inf)
    np.maximum.at(best, decision, value)
    first_value = np.full(count, np.nan)
    first_value[decision[is_first]] = value[is_first]
    known = np.bincount(decision[is_first], minlength=count) == 1
    fits = np.where(several > 0, known, first == 0)
    share = 1.0 / np.maximum(several, 1)
    is_best_first = propensity >= share - 1e-9
    fits &= ~is_best_first | (several == 0) | (first_value == best) | (np.abs(propensity - share) < 1e-9)
    fits &= (several > 1) | (propensity == 1.0) | np.isnan(propensity) | (propensity == 0.0)
    if not fits.all():
        row = int(np.flatnonzero(~fits)[0])
        raise BadTable(
            f"{file}: decision {table.column('decision_id')[row].as_py()!r} has {actions[first[row]]!r} first with "
            f"propensity {propensity[row]:g}, which goes with none of the {several[row]} candidates worth more than "
            "nothing as they were weighed; the export was changed, or is another system's"
        )
    # What comes first unexplored: the first itself where it did, those of the highest value where it did not.
    is_best = np.where(is_best_first[decision], is_first, (value == best[decision]) & ~is_first)
    is_tied = value == best[decision]
    tied = np.maximum(np.bincount(decision[is_tied], minlength=count), 1)
    by_lot = np.where(is_best_first, propensity <= 1 / tied + 1e-9, first_value < best) & (first_value <= best)
    is_best = np.where(by_lot[decision], is_tied, is_best & _first_in_decision(decision, is_best))
    tied = np.where(by_lot, tied, 1)
    explored = np.where(is_best_first, (1 - tied * propensity) / np.maximum(several - tied, 1), propensity)
    explored = np.where(several == tied, share, explored)
    rest = (several - tied) * explored
    probability = np.where(is_best, ((1 - rest) / tied)[decision], explored[decision])
    idle = np.flatnonzero(several == 0)
    logged = Choices(
        decision=np.concatenate([decision, idle]),
        action=np.concatenate([offer, np.zeros(len(idle), np.intp)]),
        probability=np.concatenate([probability, np.ones(len(idle))]),
    )
    return actions, first, propensity, logged


def _first_in_decision(decision: NDArray[np.intp], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where `mask` holds for the first time in its decision; entries of a decision are adjacent."""
    first = np.zeros(len(mask), np.bool_)
    where = np.flatnonzero(mask)
    first[where[np.unique(decision[where], return_index=True)[1]]] = True
    return first


def _accepted(table: pa.Table, outcomes: pa.Table, window_us: int) -> NDArray[np.float64]:
    """Return (n,) 1 where an action of the slate was accepted within the window, else 0."""
    slates = table.column("slate").combine_chunks()
    parents = np.asarray(pc.list_parent_indices(slates).to_numpy(), np.intp)
    actions = pc.struct_field(slates.flatten(), "action_id")
    accepted = np.zeros(table.num_rows)
    if "action_id" not in outcomes.column_names:
        return accepted
    reports = outcomes.filter(pc.equal(column(outcomes, "type", file="outcomes"), ACCEPT))
    place = pc.index_in(texts(reports, "action_id", file="outcomes"), value_set=actions)
    is_ours = np.asarray(pc.and_(place.is_valid(), reports.column("time").is_valid()).to_numpy(), np.bool_)
    row = parents[np.asarray(place.fill_null(0).to_numpy(), np.intp)[is_ours]]
    time_us = _times_us(reports.filter(pa.array(is_ours)), "time")
    since_us = time_us - _times_us(table, "decided_at")[row]
    accepted[row[(since_us >= 0) & (since_us < window_us)]] = 1.0
    return accepted


def _times_us(table: pa.Table, name: str) -> NDArray[np.int64]:
    found = table.column(name)
    if not pa.types.is_timestamp(found.type):
        raise BadTable(f"column {name!r} is {found.type}, and should be a timestamp as Hearth exports it")
    return np.asarray(found.cast(pa.timestamp("us", found.type.tz)).cast(pa.int64()).to_numpy(), np.int64)


def _newest_us(table: pa.Table, name: str) -> int:
    known = table.filter(column(table, name, file="outcomes").is_valid())
    return int(_times_us(known, name).max(initial=-(2**62)))


def _is_empty(column_: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(column_.fill_null(""), "").to_numpy(), np.bool_)
