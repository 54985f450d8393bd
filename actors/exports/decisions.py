"""Decisions of the log as one table: everything that was weighed, and each feature in a column of its own.

A log may span several playbooks. A column belongs to one definition of a feature: where another playbook means
something else by the same name, the newest keeps it, and the older one's readings stand under `name@schema-hash`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.exports.columns import TIME, key_text, labels
from actors.log.contract import StoredRecord
from actors.records.codec import NEVER_RECORDED, DecisionRecord
from household.columns.kinds.table import KINDS
from household.decision import Decision, SlateAction
from household.plan import Feature, Plan, ValueTerm
from household.scoring import feature_meaning, schema_hash

PRICE = pa.struct([("of", pa.string()), ("minor", pa.float64())])
TERMS = pa.struct(
    [
        ("gain_minor", pa.float64()),
        ("cost_minor", pa.float64()),
        ("probability", pa.float64()),
        ("shown", pa.int64()),
        ("increment_minor", pa.float64()),
        ("is_gross", pa.bool_()),
        ("context", pa.float64()),
        ("lever", pa.float64()),
        ("prices", pa.list_(PRICE)),
        ("uplift", pa.float64()),
        ("stay", pa.float64()),
    ]
)
CANDIDATE = pa.struct(
    [
        ("offer", pa.string()),
        ("score", pa.float64()),
        ("value_minor", pa.float64()),
        ("vetoes", pa.list_(pa.string())),
        ("rank", pa.int32()),
        ("terms", TERMS),
    ]
)
ACTION = pa.struct(
    [
        ("action_id", pa.string()),
        ("offer", pa.string()),
        ("journey", pa.string()),
        ("price_minor", pa.int64()),
        ("valid_until", TIME),
    ]
)
SHADOW = pa.struct(
    [("model_version", pa.string()), ("offer", pa.string()), ("score", pa.float64()), ("term", pa.string())]
)
TERM_SCORES = pa.struct(
    [
        ("term", pa.string()),
        ("model_version", pa.string()),
        ("degraded", pa.bool_()),
        ("why", pa.string()),
        ("scores", pa.list_(pa.struct([("offer", pa.string()), ("score", pa.float64())]))),
    ]
)
WITHDRAWAL = pa.struct([("action_id", pa.string()), ("reason", pa.string())])

ARM = pa.struct([("experiment", pa.string()), ("layer", pa.string()), ("arm", pa.string()), ("share", pa.float64())])
SCARCE = pa.struct(
    [
        ("budget", pa.string()),
        ("price_minor", pa.float64()),
        ("share", pa.int64()),
        ("left", pa.int64()),
        ("used", pa.int64()),
    ]
)
GHOST = pa.struct(
    [
        ("offer", pa.string()),
        ("journey", pa.string()),
        ("channel", pa.string()),
        ("time", TIME),
        ("experiments", pa.list_(pa.string())),
    ]
)

FIXED = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("decision_id", pa.string()),
        ("request_id", pa.string()),
        ("household", pa.string()),
        ("member", pa.string()),
        ("decided_at", TIME),
        ("asked", pa.bool_()),
        ("channel", pa.string()),
        ("playbook_version", pa.string()),
        ("model_version", pa.string()),
        ("feature_schema_hash", pa.string()),
        ("degraded", pa.bool_()),
        ("withheld", pa.bool_()),
        ("propensity", pa.float64()),
        ("reasons", pa.list_(pa.string())),
        ("moments", pa.list_(pa.string())),
        ("local_minute_of_week", pa.int32()),
        ("action_id", pa.string()),
        ("chosen_offer", pa.string()),
        ("chosen_price_minor", pa.int64()),
        ("chosen_has_moment", pa.bool_()),
        ("chosen_score", pa.float64()),
        ("valid_until", TIME),
        ("stands", pa.string()),
        ("send_channel", pa.string()),
        ("scored_channel", pa.string()),
        ("send_not_before", TIME),
        ("send_before", TIME),
        ("currency", pa.string()),
        ("candidates", pa.list_(CANDIDATE)),
        ("slate", pa.list_(ACTION)),
        ("withdrawals", pa.list_(WITHDRAWAL)),
        ("arms", pa.list_(ARM)),
        ("ghosts", pa.list_(GHOST)),
        ("shadows", pa.list_(SHADOW)),
        ("scarce", pa.list_(SCARCE)),
        ("term_scores", pa.list_(TERM_SCORES)),
        ("unnamed_features", pa.list_(pa.float32())),
    ]
)
"""The columns that do not depend on playbooks."""

Row = tuple[int, StoredRecord, DecisionRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionColumns:
    """The columns of decisions under some plans."""

    schema: pa.Schema
    plans: Mapping[str, Plan]
    places: Mapping[str, tuple[int, ...]]
    """By plan version: of each of its scored features, the index of its column among those of features."""
    features: tuple[Feature, ...]
    """What each column of features holds."""

    @classmethod
    def of(cls, plans: Mapping[str, Plan]) -> "DecisionColumns":
        """Return the columns under these plans, the newest last."""
        column_of: dict[str, int] = {}
        names: list[str] = []
        features: list[Feature] = []
        places: dict[str, tuple[int, ...]] = {}
        named: dict[str, list[str]] = {}
        newest_first = list(reversed(list(plans.values())))
        for plan in newest_first:
            own = []
            for feature in (plan.features[index] for index in plan.scored_features):
                meaning = json.dumps(feature_meaning(plan, feature), sort_keys=True)
                if meaning not in column_of:
                    column_of[meaning] = len(names)
                    is_taken = feature.name in names
                    names.append(f"{feature.name}@{schema_hash(plan)}" if is_taken else feature.name)
                    features.append(feature)
                own.append(column_of[meaning])
            places[plan.version] = tuple(own)
            named[schema_hash(plan)] = [names[place] for place in own]
        metadata = {
            "hearth.kind": "decisions",
            "hearth.feature_schema_hash": schema_hash(newest_first[0]) if newest_first else "",
            "hearth.feature_columns": json.dumps(named),
        }
        columns = [
            pa.field(name, _kind(feature), metadata={"unit": feature.unit, "kind": str(feature.kind)})
            for name, feature in zip(names, features, strict=True)
        ]
        schema = pa.schema([*FIXED, *columns], metadata)
        return cls(schema=schema, plans=plans, places=places, features=tuple(features))


def _kind(feature: Feature) -> pa.DataType:
    match feature.result:
        case "bool":
            return pa.bool_()
        case "string":
            return pa.string()
        case _:
            return pa.float32()


def decision_table(rows: Sequence[Row], columns: DecisionColumns) -> pa.Table:
    """Return the table of some decisions."""
    fixed: dict[str, list[object]] = {name: [] for name in FIXED.names}
    for partition, stored, read in rows:
        for name, value in _fixed(partition, stored, read.decision, columns.plans).items():
            fixed[name].append(value)
    decisions = [read.decision for _, _, read in rows]
    fixed_arrays = {name: pa.array(values, FIXED.field(name).type) for name, values in fixed.items() if values}
    fixed_arrays["candidates"] = _candidates(decisions)
    arrays = [fixed_arrays.get(name, pa.nulls(0, FIXED.field(name).type)) for name in FIXED.names]
    return pa.table([*arrays, *_features(decisions, columns)], schema=columns.schema)


def chosen(decision: Decision) -> SlateAction | None:
    """Return the action that was given to the asking channel or sent; None for none, or one of an earlier slate."""
    wanted = decision.answered or (decision.slate[0].action_id if decision.slate and decision.send_channel else "")
    return next((action for action in decision.slate if action.action_id == wanted), None)


def _fixed(partition: int, stored: StoredRecord, decision: Decision, plans: Mapping[str, Plan]) -> dict[str, object]:
    action, plan = chosen(decision), plans.get(decision.plan_version)
    score = next((one.score for one in decision.candidates if action and one.offer == action.offer), None)
    return {
        "partition": partition,
        "offset": stored.offset,
        "decision_id": decision.decision_id,
        "request_id": decision.request_id,
        "household": key_text(decision.household),
        "member": key_text(decision.member),
        "decided_at": decision.decided_us,
        "asked": bool(decision.channel),
        "channel": decision.channel or decision.send_channel,
        "playbook_version": decision.plan_version,
        "model_version": decision.model_version,
        "feature_schema_hash": decision.schema_hash,
        "degraded": decision.degraded,
        "withheld": decision.withheld,
        "propensity": decision.propensity,
        "reasons": decision.reasons,
        "moments": [moment.moment_id for moment in decision.moments],
        "local_minute_of_week": decision.local_minute_of_week,
        "action_id": action.action_id if action else None,
        "chosen_offer": action.offer if action else None,
        "chosen_price_minor": action.price_minor if action else None,
        "chosen_has_moment": bool(action.journey) if action else None,
        "chosen_score": score,
        "valid_until": action.valid_until_us if action else None,
        "stands": decision.stands or None,
        "send_channel": decision.send_channel or None,
        "scored_channel": decision.scored_channel or None,
        "send_not_before": decision.send_not_before_us or None,
        "send_before": decision.send_before_us or None,
        "currency": plan.currency if plan is not None else None,
        "slate": [
            (one.action_id, one.offer, one.journey or None, one.price_minor, one.valid_until_us)
            for one in decision.slate
        ],
        "withdrawals": [(one.action_id, one.reason) for one in decision.withdrawals],
        "arms": [(one.experiment, one.layer.value, one.arm, one.share_bp / 10_000) for one in decision.arms],
        "ghosts": [
            (one.offer, one.journey or None, one.channel, one.time_us, one.experiments) for one in decision.ghosts
        ],
        "shadows": _shadows(decision),
        "scarce": [(one.budget, one.price_minor, one.share, one.left, one.used) for one in decision.scarce],
        "term_scores": _term_scores(decision),
        "unnamed_features": None if _is_named(decision, plan) else decision.state_vector,
    }


def _shadows(decision: Decision) -> list[tuple[str, str, float, str]]:
    """Return the score of each version in shadow for each candidate that was scored."""
    if not decision.shadows:
        return []
    offers = [one.offer for one in decision.candidates if one.score is not None]
    return [
        (shadow.model_version, offer, score, shadow.term or ValueTerm.ACCEPTANCE.value)
        for shadow in decision.shadows
        for offer, score in zip(offers, shadow.scores, strict=False)
    ]


def _term_scores(decision: Decision) -> list[tuple[str, str, bool, str | None, list[tuple[str, float]]]]:
    """Return what models of other terms than acceptance said of each candidate that was scored."""
    if not decision.term_scores:
        return []
    offers = [one.offer for one in decision.candidates if one.score is not None]
    return [
        (one.term, one.model_version, one.degraded, one.why or None, list(zip(offers, one.scores, strict=False)))
        for one in decision.term_scores
    ]


def _candidates(decisions: Sequence[Decision]) -> pa.ListArray:
    """Return all candidates of each decision; built flat, for there may be some dozens to each."""
    candidates = [one for decision in decisions for one in decision.candidates]
    ranks = [
        rank
        for decision in decisions
        for places in ({action.offer: place for place, action in enumerate(decision.slate)},)
        for rank in (places.get(one.offer) for one in decision.candidates)
    ]
    vetoes = pa.ListArray.from_arrays(
        pa.array(_ends([len(one.vetoes) for one in candidates]), pa.int32()),
        pa.array([veto for one in candidates for veto in one.vetoes], pa.string()),
    )
    flat = pa.StructArray.from_arrays(
        [
            pa.array([one.offer for one in candidates], pa.string()),
            pa.array([one.score for one in candidates], pa.float64()),
            pa.array([one.value_minor for one in candidates], pa.float64()),
            vetoes,
            pa.array(ranks, pa.int32()),
            pa.array([one.terms for one in candidates], TERMS),
        ],
        fields=list(CANDIDATE),
    )
    ends = pa.array(_ends([len(decision.candidates) for decision in decisions]), pa.int32())
    return pa.ListArray.from_arrays(ends, flat)


def _ends(lengths: Sequence[int]) -> NDArray[np.int32]:
    """Return where each of some lists begins in the flat one, and the end."""
    return np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])


def _is_named(decision: Decision, plan: Plan | None) -> bool:
    return plan is not None and len(decision.state_vector) == len(plan.scored_features)


def _features(decisions: Sequence[Decision], columns: DecisionColumns) -> list[pa.Array]:
    """Return each column of features: null where not known, and where the decision's playbook does not have it."""
    values = np.full((len(columns.features), len(decisions)), np.nan, np.float32)
    rows_by_version: dict[str, list[int]] = {}
    for row, decision in enumerate(decisions):
        if _is_named(decision, columns.plans.get(decision.plan_version)):
            rows_by_version.setdefault(decision.plan_version, []).append(row)
    for version, rows in rows_by_version.items():
        vectors = np.stack([decisions[row].state_vector for row in rows])
        values[np.ix_(columns.places[version], rows)] = vectors.T
    return [_feature(feature, column) for feature, column in zip(columns.features, values, strict=True)]


def _feature(feature: Feature, values: NDArray[np.float32]) -> pa.Array:
    match feature.result:
        case "bool":
            is_flag = (values == 0.0) | (values == 1.0)
            return pa.array(values == 1.0, mask=~is_flag)
        case "string":
            return labels(values, feature.values)
        case _:
            if KINDS[feature.kind].reads_never:
                values = np.where(values >= NEVER_RECORDED, np.float32(np.inf), values)
            return pa.array(values, mask=np.isnan(values))
