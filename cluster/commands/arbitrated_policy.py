"""What Hearth would have done about recorded decisions with another model version: its policy, by its own arbitration.

Scores are of the very rows that were scored, values and exploration by the same code that decides. A decision of which
the export does not hold all that is needed is left out, counted with its reason; no reason hangs on what exploration
drew, so what is left is no better or worse than by chance. Evaluated is what comes first in the slate; that nothing
below the first matters is assumed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cluster.commands.promotion import contender, plans_known
from cluster.config import HearthConfig
from household.deciding.arbitration import ALWAYS_NOTHING_MINOR, first_propensities
from household.plan import Plan, PlanVersion
from household.scoring import feature_schema, rows_from_record, schema_hash
from household.terms import GRAIN_MINOR
from household.weighing import VALUE, weigh_all, worths_of
from insight.evaluation.decisions import NOTHING, Choices, LoggedDecisions, encode
from insight.evaluation.exported import scored_candidates
from insight.evaluation.policies import Policy
from insight.tables import BadTable
from serving.models.examples import recorded_states
from serving.models.tables import BadExport

NOT_ASKED: Final = "not asked: on which channels it might have gone out is not recorded"
OTHER_SCHEMA: Final = "other feature schema"
UNKNOWN_PLAYBOOK: Final = "unknown playbook"
SEEN: Final = "seen by the model"
PRICE_UNKNOWN: Final = "price by segment, not recorded"
OTHER_VALUE: Final = "value not as the playbook has it"

_Score = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Weighed:
    """The candidates of decisions of one playbook that were scored, those of a decision together."""

    plan: Plan
    decision: NDArray[np.intp]
    """(k,) row of the table."""
    offer: NDArray[np.int64]
    """(k,) index in the plan."""
    score: NDArray[np.float64]
    """(k,) as recorded."""
    value: NDArray[np.float64]
    """(k,) as recorded."""
    shown: NDArray[np.int64]
    """(k,) how often it had been shown."""
    context: NDArray[np.float64]
    """(k,) factor of when and where."""
    prices: NDArray[np.float64]
    """(k,) minor units, what using something scarce cost."""
    partition_count: int

    def only(self, mask: NDArray[np.bool_]) -> "_Weighed":
        """Return those of a mask (k,)."""
        return replace(
            self,
            decision=self.decision[mask],
            offer=self.offer[mask],
            score=self.score[mask],
            value=self.value[mask],
            shown=self.shown[mask],
            context=self.context[mask],
            prices=self.prices[mask],
        )


def policy_of_version(
    config: HearthConfig, version: str, table: pa.Table, decisions: LoggedDecisions
) -> tuple[Policy, LoggedDecisions]:
    """Return what a version would have done, and the decisions of which that can be told.

    Args:
        version: of the registry, an alias, or `prior`.
        table: the export that `decisions` were read from.

    Raises:
        CommandFailed: the version is not known, or cannot be served.
        BadTable: the export lacks a column.
    """
    plan, ours = contender(config, version)
    plans = {one.version: one for one in (*plans_known(config), plan)}
    table = table.take(pc.index_in(decisions.ids, value_set=table.column("decision_id").combine_chunks()))
    reasons = _Reasons(decisions.count)
    reasons.leave_out(~_flags(table, "asked"), NOT_ASKED)
    reasons.leave_out(_texts(table, "feature_schema_hash") != schema_hash(plan), OTHER_SCHEMA)
    reasons.leave_out(~np.isin(_texts(table, "playbook_version"), list(plans)), UNKNOWN_PLAYBOOK)
    if ours.seen_to_us is not None:
        reasons.leave_out(_times_us(table) <= ours.seen_to_us, SEEN)
    parts = []
    for weighed in _weighed(table, plans, reasons.kept, config.partition_count):
        prices, is_unknown = _prices(table, weighed)
        reasons.leave_out_some(weighed.decision[is_unknown], PRICE_UNKNOWN)
        reasons.leave_out_some(weighed.decision[_differs(table, weighed)], OTHER_VALUE)
        parts.append((weighed, prices))
    kept = reasons.kept
    try:
        chosen = [_choices(table, weighed, prices, kept, ours.score) for weighed, prices in parts if kept.any()]
    except BadExport as wrong:
        raise BadTable(f"the decisions: {wrong}") from wrong
    for reason, mask in reasons.masks(decisions.count):
        decisions = decisions.only(mask, reason)
    return _as_policy(version, chosen, kept, decisions), decisions


class _Reasons:
    """Which decisions are left out, each for the first reason that holds."""

    def __init__(self, count: int) -> None:
        self._reason = np.full(count, "", object)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(n,) those that are not left out so far."""
        return np.asarray(self._reason == "", np.bool_)

    def leave_out(self, mask: NDArray[np.bool_], reason: str) -> None:
        self._reason[mask & self.kept] = reason

    def leave_out_some(self, rows: NDArray[np.intp], reason: str) -> None:
        mask = np.zeros(len(self._reason), np.bool_)
        mask[rows] = True
        self.leave_out(mask, reason)

    def masks(self, count: int) -> list[tuple[str, NDArray[np.bool_]]]:
        """Return of each reason which of the decisions, less those of the reasons before, it leaves."""
        found, here = [], np.ones(count, np.bool_)
        for reason in dict.fromkeys(self._reason[self._reason != ""].tolist()):
            left = self._reason != reason
            found.append((reason, left[here]))
            here &= left
        return found


def _flags(table: pa.Table, name: str) -> NDArray[np.bool_]:
    return np.asarray(table.column(name).fill_null(False).to_numpy(), np.bool_)


def _texts(table: pa.Table, name: str) -> NDArray[np.object_]:
    return np.asarray(table.column(name).fill_null("").to_pylist(), object)


def _times_us(table: pa.Table) -> NDArray[np.int64]:
    return np.asarray(table.column("decided_at").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy(), np.int64)


def _weighed(
    table: pa.Table, plans: Mapping[PlanVersion, Plan], kept: NDArray[np.bool_], partition_count: int
) -> list[_Weighed]:
    decision, candidates = scored_candidates(table)
    names, score = candidates.column("offer"), candidates.column("score").to_numpy()
    value = candidates.column("value_minor").fill_null(np.nan).to_numpy()
    shown, context, prices = _circumstances(candidates)
    versions, found = _texts(table, "playbook_version"), []
    for version in sorted(set(versions[kept].tolist())):
        plan = plans[PlanVersion(version)]
        part = kept[decision] & (versions[decision] == version)
        known = pa.array([one.name for one in plan.offers], pa.string())
        offer = pc.index_in(names.filter(pa.array(part)), value_set=known)
        if offer.null_count:
            raise BadTable(
                f"the decisions: an offer is weighed that playbook {version}, which they name, does not have"
            )
        found.append(
            _Weighed(
                plan=plan,
                decision=decision[part],
                offer=np.asarray(offer.to_numpy(), np.int64),
                score=np.asarray(score[part], np.float64),
                value=np.asarray(value[part], np.float64),
                shown=shown[part],
                context=context[part],
                prices=prices[part],
                partition_count=partition_count,
            )
        )
    return found


def _circumstances(
    candidates: pa.Table,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return (k,) how often each was shown, the factor of when and where, and what it uses that is scarce."""
    count = candidates.num_rows
    if "terms" not in candidates.column_names:
        return np.zeros(count, np.int64), np.ones(count), np.zeros(count)
    terms = candidates.column("terms").combine_chunks()
    shown = pc.struct_field(terms, "shown").fill_null(0).to_numpy()
    context = pc.struct_field(terms, "context").fill_null(1.0).to_numpy()
    lists = pc.struct_field(terms, "prices")
    prices = np.zeros(count)
    np.add.at(prices, pc.list_parent_indices(lists).to_numpy(), pc.struct_field(lists.flatten(), "minor").to_numpy())
    return np.asarray(shown, np.int64), np.asarray(context, np.float64), prices


def _prices(table: pa.Table, weighed: _Weighed) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (k,) the price of each candidate, and where it is not known.

    An offer with prices by segment has its price in the slate alone. Which candidates reach the slate may hang on what
    exploration drew, and on lots where some are worth the same; those that reach it whatever was drawn are known.
    """
    plan = weighed.plan
    prices = np.array([plan.offers[one].price_minor for one in weighed.offer.tolist()], np.int64)
    by_segment = np.array([bool(plan.offers[one].segment_prices) for one in weighed.offer.tolist()], np.bool_)
    is_worth = weighed.value > ALWAYS_NOTHING_MINOR
    order = np.lexsort((weighed.offer, -weighed.value, ~is_worth, weighed.decision))
    _, starts, counts = np.unique(weighed.decision, return_index=True, return_counts=True)
    in_order = np.arange(len(order)) - np.repeat(starts, counts)
    is_last = np.ones(len(order), np.bool_)
    is_last[:-1] = (np.diff(weighed.decision[order]) != 0) | (np.diff(weighed.value[order]) != 0)
    last = np.flatnonzero(is_last)
    rank = np.empty(len(order), np.intp)
    rank[order] = in_order[last[np.searchsorted(last, np.arange(len(order)))]]
    worth_count = np.bincount(weighed.decision[is_worth], minlength=table.num_rows)[weighed.decision]
    length = plan.arbitration.slate_length
    in_slate = is_worth & ((rank < length - 1) | (worth_count <= length))
    slates = table.column("slate")
    for entry in np.flatnonzero(by_segment & in_slate).tolist():
        name = plan.offers[int(weighed.offer[entry])].name
        slate = slates[int(weighed.decision[entry])].as_py()
        price = next((one["price_minor"] for one in slate if one["offer"] == name), None)
        if price is None:
            in_slate[entry] = False
        else:
            prices[entry] = price
    return prices, by_segment & ~in_slate


def _costs(table: pa.Table, weighed: _Weighed) -> NDArray[np.int64]:
    """Return (k,) the cost of the channel that asked."""
    costs = {one.name: one.cost_minor for one in weighed.plan.channels}
    by_row = np.array([costs.get(name, 0) for name in _texts(table, "channel").tolist()], np.int64)
    return by_row[weighed.decision]


def _values(weighed: _Weighed, score: NDArray[np.floating], costs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (k,) the value of each candidate at these scores, as arbitration has it."""
    offers, prior_weight = weighed.plan.offers, weighed.plan.arbitration.prior_weight / weighed.partition_count
    own_costs = np.array([one.cost_minor for one in offers], np.int64)
    terms = weigh_all(
        worths_of(offers),
        np.asarray(weighed.offer, np.int64),
        np.asarray(score, np.float64),
        costs_minor=own_costs[weighed.offer] + costs,
        shown=weighed.shown,
        prior_weight=prior_weight,
        contexts=weighed.context,
    )
    return np.asarray(terms.amounts[:, VALUE] - weighed.prices)


def _differs(table: pa.Table, weighed: _Weighed) -> NDArray[np.bool_]:
    """Return (k,) where the recorded value is not that of the recorded score."""
    made = _values(weighed, weighed.score, _costs(table, weighed))
    return ~(np.abs(made - weighed.value) <= np.maximum(GRAIN_MINOR, 1e-6 * np.abs(made)))


def _choices(
    table: pa.Table, weighed: _Weighed, prices: NDArray[np.int64], kept: NDArray[np.bool_], score: _Score
) -> tuple[NDArray[np.intp], list[str], NDArray[np.float64]]:
    """Return row, offer and probability of all that may come first, for the decisions that are kept."""
    plan, part = weighed.plan, kept[weighed.decision]
    weighed = weighed.only(part)
    rows = np.unique(weighed.decision)
    few, place = table.take(pa.array(rows)), np.searchsorted(rows, weighed.decision)
    channels = {name: index for index, name in enumerate(one.name for one in plan.channels)}
    channel = np.array([channels[name] for name in _texts(few, "channel").tolist()], np.int64)
    minute = np.asarray(few.column("local_minute_of_week").to_numpy(), np.int64)
    scored = rows_from_record(
        plan,
        state=recorded_states(few, plan)[place],
        offers=weighed.offer,
        prices_minor=prices[part],
        has_moment=_has_moment(few, plan)[place],
        channel=channel[place],
        local_minute_of_week=minute[place],
    )
    assert scored.shape[1] == len(feature_schema(plan).columns)
    values = _values(weighed, score(scored), _costs(table, weighed))
    is_worth = values > ALWAYS_NOTHING_MINOR
    order = np.lexsort((weighed.offer, -values, ~is_worth, weighed.decision))
    order = order[is_worth[order]]
    decision, offer = weighed.decision[order], weighed.offer[order]
    count = np.bincount(decision, minlength=table.num_rows)
    best = np.full(table.num_rows, -np.inf)
    np.maximum.at(best, decision, values[order])
    is_best = values[order] == best[decision]
    tied = np.bincount(decision[is_best], minlength=table.num_rows)
    sizes = list(zip(count[decision].tolist(), tied[decision].tolist(), strict=True))
    shares = {
        (size, alike): first_propensities(size, plan.arbitration.exploration, tied=alike) for size, alike in set(sizes)
    }
    probability = np.array(
        [shares[size][0 if first else 1] for size, first in zip(sizes, is_best.tolist(), strict=True)], np.float64
    )
    idle = np.setdiff1d(rows, decision)
    names = [plan.offers[one].name for one in offer.tolist()] + [NOTHING] * len(idle)
    return np.concatenate([decision, idle]), names, np.concatenate([probability, np.ones(len(idle))])


def _has_moment(table: pa.Table, plan: Plan) -> NDArray[np.bool_]:
    """Return (n,) whether moments brought up the candidates: a moment's offers come alone."""
    bringing = {f"MOMENT:{one.name}" for one in plan.journeys if one.offers}
    return np.array([not bringing.isdisjoint(one or ()) for one in table.column("reasons").to_pylist()], np.bool_)


def _as_policy(
    version: str,
    chosen: list[tuple[NDArray[np.intp], list[str], NDArray[np.float64]]],
    kept: NDArray[np.bool_],
    decisions: LoggedDecisions,
) -> Policy:
    rows = np.concatenate([np.empty(0, np.intp), *(one[0] for one in chosen)])
    names = pa.chunked_array([pa.array([name for one in chosen for name in one[1]], pa.string())])
    actions, action = encode(names, decisions.actions)
    choices = Choices(
        decision=(np.cumsum(kept) - 1)[rows],
        action=action,
        probability=np.concatenate([np.empty(0), *(one[2] for one in chosen)]),
    )
    return Policy(name=version, choices=choices, actions=actions)
