"""What there is to learn from: logged decisions that count, as rows, and what became of each.

**Label.** `accepted` is 1 when a `hearth.accept` of the decision's action arrived at a time t with
decided ≤ t < decided + min(window, the offer's validity); window is 24 h by default. Otherwise it is 0.

**Which decisions count.** Those that chose an offer (not "do nothing"), were not withheld, and were shown: someone
reported an impression, click, accept, decline or convert of the action, or it was the answer to a Decide (`asked`;
where the export has no such column: its channel is inbound only). Left out as well, each with its count: rows of
another feature schema, of a playbook version that was not handed in, repeats of an action id (the first decision
counts), and decisions whose window had not ended at the newest record (censored: their zeros are not known yet, and
taking only their ones would bias the rate).
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from household.plan import Feature, Plan
from household.scoring import MINUTES_PER_WEEK, NEVER, rows_from_record, schema_hash
from serving.models.reported import Reported
from serving.models.tables import BadExport, column_of, flags, floats, numbers, text, times


class NotEnoughData(Exception):
    """Too little to learn from; says how much there is and how much is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How to learn. The defaults suit some thousand to some million decisions."""

    window_us: int = 86_400_000_000
    """Longest time from a decision to an acceptance that counts."""
    rows_min: int = 500
    """Fewer usable decisions train nothing."""
    positives_min: int = 50
    """Fewer acceptances train nothing."""
    holdout_share: float = 0.2
    """Newest share of rows, for the report only."""
    stopping_share: float = 0.15
    """Newest share of the rest, for early stopping."""
    rounds_max: int = 400
    stopping_rounds: int = 25
    depth: int = 4
    """Deeper trees cost latency and learn single households."""
    learning_rate: float = 0.08
    thread_count: int = 1
    """Part of the result: sums over another number of threads may differ in the last bits."""
    weigh_by_propensity: bool = False
    """Weigh each row by 1 / propensity, so that the model learns of all actions as if shown at random."""
    propensity_least: float = 0.05
    """Smaller propensities count as this; otherwise one row could outweigh all others."""
    allowed: frozenset[str] = frozenset()
    """Columns that somebody vouches for, though they look like leaks."""

    def __post_init__(self) -> None:
        assert self.window_us > 0
        # Both shares must leave rows to learn from.
        assert 0 < self.holdout_share < 0.9
        assert 0 < self.stopping_share < 0.9
        # Each part needs at least one acceptance to have an AUC.
        assert self.positives_min >= 3
        assert self.rows_min > self.positives_min
        assert 0 < self.propensity_least <= 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """What there is to learn from, oldest first."""

    rows: NDArray[np.float32]
    """(n, columns), exactly as they were scored."""
    accepted: NDArray[np.bool_]
    """(n,)"""
    propensity: NDArray[np.float64]
    """(n,)"""
    decided_us: NDArray[np.int64]
    """(n,)"""
    households: NDArray[np.str_]
    """(n,) whose decision it was; the action's id where the export does not tell."""
    left_out: dict[str, int]
    """Decisions not used, by reason."""


def gather(
    decisions: pa.Table, outcomes: pa.Table, plan: Plan, *, earlier_plans: Sequence[Plan], config: TrainingConfig
) -> Examples:
    """Return the labelled rows of all decisions that count, and how many did not, by reason.

    Raises:
        NotEnoughData: fewer rows or acceptances than the config asks for.
        BadExport: a column is missing or holds something else.
    """
    plans: dict[str, Plan] = {each.version: each for each in (*earlier_plans, plan)}
    left_out, reported = Counter[str](), Reported.of(outcomes)
    newest_us = max(_newest(decisions, "decided_at"), _newest(outcomes, "time"))
    table = _sorted(decisions)

    def keep(mask: NDArray[np.bool_], reason: str) -> None:
        nonlocal table
        left_out[reason] += int((~mask).sum())
        table = table.filter(pa.array(mask))

    keep(text(table, "action_id") != "", "nothing_chosen")
    keep(~flags(table, "withheld"), "withheld")
    keep(text(table, "feature_schema_hash") == schema_hash(plan), "other_schema")
    keep(np.isin(text(table, "playbook_version"), list(plans)), "unknown_playbook")
    keep(first_of_each(text(table, "action_id")), "repeated_action")
    keep(was_shown(table, reported, plans), "not_shown")
    window_us = np.minimum(validity_us(table, plans), config.window_us)
    ended = times(table, "decided_at") + window_us <= newest_us
    keep(ended, "window_open")

    decided_us = times(table, "decided_at")
    accepted = reported.was_accepted(table, decided_us + window_us[ended])
    rows_short, positives_short = len(decided_us) < config.rows_min, int(accepted.sum()) < config.positives_min
    if rows_short or positives_short:
        raise NotEnoughData(
            f"{len(decided_us)} usable decisions, {config.rows_min} needed; {int(accepted.sum())} accepted, "
            f"{config.positives_min} needed; left out: " + (_counted(left_out) or "none")
        )
    return Examples(
        rows=decision_rows(table, plans, plan),
        accepted=accepted,
        propensity=floats(table, "propensity"),
        decided_us=decided_us,
        households=text(table, "household" if "household" in table.column_names else "action_id"),
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def was_shown(table: pa.Table, reported: Reported, plans: dict[str, Plan]) -> NDArray[np.bool_]:
    """Return (n,) whether somebody is known to have seen each decision's action."""
    shown = reported.was_seen(table)
    if "asked" in table.column_names:
        return shown | flags(table, "asked")
    inbound = np.zeros(len(table), np.bool_)
    for part, plan in _by_plan(table, plans):
        channels = np.array([channel.inbound and not channel.outbound for channel in plan.channels], np.bool_)
        inbound[part] = channels[_indices(table, "channel", part, plan.channel_by_name)]
    return shown | inbound


def validity_us(table: pa.Table, plans: dict[str, Plan]) -> NDArray[np.int64]:
    """Return (n,) how long the offer of each decision is valid."""
    validity = np.empty(len(table), np.int64)
    for part, plan in _by_plan(table, plans):
        offers = np.array([offer.valid_us for offer in plan.offers], np.int64)
        validity[part] = offers[_indices(table, "chosen_offer", part, plan.offer_by_name)]
    return validity


def decision_rows(table: pa.Table, plans: dict[str, Plan], plan: Plan) -> NDArray[np.float32]:
    """Return (n, columns) the row that was scored of what each decision chose, to the last bit.

    Raises:
        BadExport: a column is missing or holds something else.
    """
    states = recorded_states(table, plan)
    minutes = numbers(table, "local_minute_of_week")
    if len(minutes) and not 0 <= minutes.min() <= minutes.max() < MINUTES_PER_WEEK:
        raise BadExport(f"local_minute_of_week: {minutes.min()} to {minutes.max()}, a week has {MINUTES_PER_WEEK}")
    prices, moments = numbers(table, "chosen_price_minor"), flags(table, "chosen_has_moment")
    table = _with_scored_channel(table)
    rows = np.empty((0, 0), np.float32)
    for part, plan in _by_plan(table, plans):
        built = rows_from_record(
            plan,
            state=states[part],
            offers=_indices(table, "chosen_offer", part, plan.offer_by_name),
            prices_minor=prices[part],
            has_moment=moments[part],
            channel=_indices(table, "channel", part, plan.channel_by_name),
            local_minute_of_week=minutes[part],
        )
        if not len(rows):
            rows = np.empty((len(table), built.shape[1]), np.float32)
        rows[part] = built
    return rows


def _with_scored_channel(table: pa.Table) -> pa.Table:
    """Return decisions with the channel they were scored for as their channel, where they went out on another."""
    if "scored_channel" not in table.column_names:
        return table
    channel = pc.coalesce(table["scored_channel"].cast(pa.string()), table["channel"].cast(pa.string()))
    return table.set_column(table.column_names.index("channel"), "channel", channel)


def recorded_states(table: pa.Table, plan: Plan) -> NDArray[np.float32]:
    """Return (n, scored features) the recorded readings of decisions with the feature schema of `plan`.

    Raises:
        BadExport: a column is missing or holds something else.
    """
    if "state_vector" in table.column_names:
        return _vectors(table, len(plan.scored_features))
    # An older playbook may mean something else by a name: the table says which column is whose.
    named = json.loads((table.schema.metadata or {}).get(b"hearth.feature_columns", b"{}"))
    features = [plan.features[index] for index in plan.scored_features]
    names = named.get(schema_hash(plan), [feature.name for feature in features])
    states = np.empty((len(table), len(features)), np.float32)
    for place, (feature, name) in enumerate(zip(features, names, strict=True)):
        states[:, place] = _readings(table, name, feature)
    return states


def _readings(table: pa.Table, name: str, feature: Feature) -> NDArray[np.float32]:
    """Return a column of a feature as its records hold it: NaN for not known, NEVER for never, an index for a label."""
    column = column_of(table, name)
    if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type):
        codes = pc.index_in(column.cast(pa.string()), value_set=pa.array(feature.values, pa.string()))
        unknown = pc.and_(pc.is_null(codes), pc.is_valid(column))
        if pc.any(unknown).as_py():
            label = column.filter(unknown)[0].as_py()
            raise BadExport(f"{name}: '{label}' is none of {', '.join(feature.values)}")
        column = codes
    try:
        readings = column.cast(pa.float32()).fill_null(float("nan")).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as wrong:
        raise BadExport(f"{name}: no readings: {wrong}") from wrong
    return np.asarray(np.clip(readings, -NEVER, NEVER), np.float32)


def _vectors(table: pa.Table, feature_count: int) -> NDArray[np.float32]:
    """Return the readings of an export that holds them as one list."""
    column = column_of(table, "state_vector")
    lengths = np.asarray(pc.list_value_length(column).fill_null(-1).to_numpy(), np.int64)
    wrong = lengths != feature_count
    if wrong.any():
        found = int(lengths[wrong][0])
        raise BadExport(f"state_vector: {found} values, the schema it names has {feature_count} features")
    # By way of the flat child: a null inside would be an unknown reading, which is NaN.
    flat = pc.list_flatten(column).combine_chunks().cast(pa.float32()).fill_null(float("nan"))
    return np.asarray(flat.to_numpy(zero_copy_only=False), np.float32).reshape(len(table), feature_count)


def _by_plan(table: pa.Table, plans: dict[str, Plan]) -> list[tuple[NDArray[np.intp], Plan]]:
    versions = text(table, "playbook_version")
    return [(np.flatnonzero(versions == version), plans[version]) for version in np.unique(versions).tolist()]


def _indices(table: pa.Table, name: str, part: NDArray[np.intp], index: dict[str, int]) -> NDArray[np.int64]:
    """Return the plan's indices in a column that holds names, or already indices."""
    column = column_of(table, name)
    if pa.types.is_integer(column.type):
        indices = numbers(table, name)[part]
        outside = (indices < 0) | (indices >= len(index))
        if outside.any():
            raise BadExport(f"{name}: index {indices[outside][0]}, the playbook has {len(index)}")
        return indices
    names, place = np.unique(text(table, name)[part], return_inverse=True)
    unknown = [each for each in names.tolist() if each not in index]
    if unknown:
        raise BadExport(f"{name}: '{unknown[0]}' is not in the playbook its row names")
    return np.array([index[each] for each in names.tolist()], np.int64)[place]


def _sorted(decisions: pa.Table) -> pa.Table:
    """Return the decisions oldest first; ids break ties, so that the order of the files does not matter."""
    return decisions.take(np.lexsort((text(decisions, "decision_id"), times(decisions, "decided_at"))))


def first_of_each(values: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return (n,) whether each value has not come before."""
    first = np.zeros(len(values), np.bool_)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _newest(table: pa.Table, name: str) -> int:
    found = times(table, name)
    return int(found.max()) if len(found) else -(2**62)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()) if count)
