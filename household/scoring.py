"""What a model sees: the one place where a score row is built, for a live decision and for training alike.

A row is the household's scored readings, then the offer, then the context. A decision record stores the readings as
they were (`state_vector`) and the few numbers beside them, so training rebuilds the very bits that were scored.
"""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from household.plan import Feature, Plan, PlanVersion, ValueTerm
from household.plan.definitions import FieldDefinition, feature_definition

SCORING_LAYOUT: Final = 1
"""Version of the order and encoding of columns. Part of the schema hash."""

NEVER: Final = 1e30
"""What +infinity ("never") becomes. XGBoost refuses infinities and reads NaN as missing, so mapping never to NaN would
make it equal to unknown. A large finite value keeps the order: never is longer ago than any time. Not the largest
float32: XGBoost doubles the largest value it meets to make the last histogram cut."""

MINUTES_PER_WEEK: Final = 7 * 24 * 60

OFFER_COLUMNS: Final = ("prior_acceptance", "price_minor", "margin_minor", "family", "kind", "has_moment")
"""Offers enter by their properties, not by their index: a new offer or an edited text leaves the model in force, and
what was learned about streaming packs at this price carries over to the next streaming pack."""

CONTEXT_COLUMNS: Final = ("channel", "local_hour", "weekday")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreColumn:
    """One column of a score row."""

    name: str
    unit: str = ""
    values: tuple[str, ...] = ()
    """Names of a coded column; its value is the index here. Empty for a number."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureSchema:
    """The columns that models of one plan see, and what is needed to fill them."""

    columns: tuple[ScoreColumn, ...]
    hash: str
    """First 16 hex digits of the SHA-256 of everything that gives a column its meaning."""
    scored: NDArray[np.intp]
    """(features scored,) index of each reading that models see, in column order."""
    offers: NDArray[np.float32]
    """(offers, 4) prior acceptance, margin, family, kind."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each column, in order."""
        return tuple(column.name for column in self.columns)

    def names_for(self, term: ValueTerm) -> tuple[str, ...]:
        """Return the columns that models of a term see, in order: all, or those of the household, which come first."""
        return self.names[: len(self.scored)] if term.is_of_household else self.names


class Way(StrEnum):
    """Which way the scores of a decision came."""

    SERVE = "serve"
    SHARD = "shard"
    """By the champion kept in the shard: the same model, and so the same scores."""
    PRIOR = "prior"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """What a scorer answers for one matrix of rows."""

    scores: NDArray[np.float32]
    """(rows,) P(accept), or what another term's model says."""
    model_version: str
    """Of the model that made these scores, which is another than asked for when `degraded`."""
    degraded: bool
    """The scores are worse than those of the model that is in force. Another way to the same scores is not worse."""
    way: Way = Way.SERVE


class ModelMissing(Exception):
    """A model is in force and cannot be used here; says why."""


class Scorer(Protocol):
    """Scores in time: an answer always comes, if need be from a model at hand."""

    async def score(self, rows: NDArray[np.float32], *, deadline_s: float | None = None) -> Scored:
        """Return one score per row of `rows`, (n, columns) float32, contiguous.

        Args:
            deadline_s: when whoever asked will have gone, by the clock of the running loop; None if nobody waits.

        Raises:
            ModelMissing: there should be a model, and there is none.
        """
        ...


_schema_by_version: dict[PlanVersion, FeatureSchema] = {}
_SCHEMAS_KEPT: Final = 64


def feature_schema(plan: Plan) -> FeatureSchema:
    """Return the schema of `plan`; made once per plan version, as it is asked for on every decision."""
    found = _schema_by_version.get(plan.version)
    if found is None:
        if len(_schema_by_version) >= _SCHEMAS_KEPT:
            _schema_by_version.clear()
        found = _schema_by_version[plan.version] = _make_schema(plan)
    return found


def schema_hash(plan: Plan) -> str:
    """Return 16 hex digits that change whenever the meaning of a column could change, and not otherwise.

    Covered: name, kind, unit, values and definition of every scored feature, names of channels, families and kinds of
    offer, the currency, the layout. Not covered: offers themselves, texts, rules, and features that models do not see.
    """
    return feature_schema(plan).hash


def state_vector(plan: Plan, readings: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the readings that models see, as a decision record stores them.

    NaN (unknown) stays NaN; everything else is held within ±NEVER, so +infinity (never) becomes NEVER.

    Args:
        readings: (features,) every reading of the asking member and household, in plan order.

    Returns:
        (scored features,) float32.
    """
    assert readings.shape == (len(plan.features),)
    scored: NDArray[np.float64] = readings[feature_schema(plan).scored]
    # Not np.clip: this is made for every decision, and that takes several times as long.
    held: NDArray[np.float64] = np.maximum(np.minimum(scored, NEVER), -NEVER)
    return held.astype(np.float32)


def score_rows(
    plan: Plan,
    *,
    readings: NDArray[np.float64],
    offers: NDArray[np.integer],
    prices_minor: NDArray[np.integer],
    has_moment: NDArray[np.bool_] | bool,
    channel: NDArray[np.integer] | int,
    local_minute_of_week: int,
) -> NDArray[np.float32]:
    """Return the rows of one decision: what the model is asked, one row per offer.

    Args:
        readings: (features,) float64, every reading in plan order.
        offers: (k,) offer indices, in any order, repeats allowed.
        prices_minor: (k,) what this household would pay for each; exact below 2^24.
        has_moment: (k,) or one for all: whether a moment, not a mere contact, brings the offer up.
        channel: (k,) or one for all: index of the channel that asks, or that would carry the action.
        local_minute_of_week: 0 ≤ m < 10,080, Monday 00:00 is 0, in the plan's time zone.

    Returns:
        (k, columns) float32, C-contiguous.
    """
    return rows_from_record(
        plan,
        state=state_vector(plan, readings),
        offers=offers,
        prices_minor=prices_minor,
        has_moment=has_moment,
        channel=channel,
        local_minute_of_week=local_minute_of_week,
    )


def rows_from_record(
    plan: Plan,
    *,
    state: NDArray[np.float32],
    offers: NDArray[np.integer],
    prices_minor: NDArray[np.integer],
    has_moment: NDArray[np.bool_] | bool,
    channel: NDArray[np.integer] | int,
    local_minute_of_week: NDArray[np.integer] | int,
) -> NDArray[np.float32]:
    """Return the rows that were scored, bit for bit, from what decision records store.

    Of one record: `state` (scored features,), `channel` and `local_minute_of_week` numbers. Of many at once, one row
    each: `state` (k, scored features) and arrays (k,). Other arguments as in `score_rows`. `plan` is the one that was
    in force at the decision: an offer's prior and margin are taken from it.

    Returns:
        (k, columns) float32, C-contiguous.
    """
    schema = feature_schema(plan)
    scored = len(schema.scored)
    assert offers.ndim == 1
    assert prices_minor.shape == offers.shape
    assert state.dtype == np.float32
    assert state.shape in ((scored,), (len(offers), scored)), f"state {state.shape}, {scored} features are scored"
    minute = np.asarray(local_minute_of_week)
    assert bool(((minute >= 0) & (minute < MINUTES_PER_WEEK)).all()), "minute of the week out of range"

    rows = np.empty((len(offers), len(schema.columns)), np.float32)
    prior, margin, family, kind = schema.offers[offers].T
    offer_and_context = (
        *(prior, prices_minor, margin, family, kind, has_moment),
        *(channel, minute % 1440 // 60, minute // 1440),
    )
    rows[:, :scored] = state
    for place, value in enumerate(offer_and_context, scored):
        rows[:, place] = value
    return rows


def _make_schema(plan: Plan) -> FeatureSchema:
    kinds = tuple(sorted({offer.kind for offer in plan.offers}))
    channels = tuple(channel.name for channel in plan.channels)
    values = {"family": plan.families, "kind": kinds, "channel": channels}
    units = {"price_minor": plan.currency, "margin_minor": plan.currency, "local_hour": "h"}
    features = [plan.features[index] for index in plan.scored_features]
    columns = tuple(ScoreColumn(name=each.name, unit=each.unit, values=each.values) for each in features) + tuple(
        ScoreColumn(name=name, unit=units.get(name, ""), values=values.get(name, ()))
        for name in OFFER_COLUMNS + CONTEXT_COLUMNS
    )
    meaning = {
        "layout": SCORING_LAYOUT,
        "never": NEVER,
        "features": [feature_meaning(plan, each) for each in features],
        "columns": [[column.name, column.unit, column.values] for column in columns],
    }
    family_index = {name: index for index, name in enumerate(plan.families)}
    offers = np.array(
        [
            (
                offer.prior_acceptance,
                offer.margin_minor,
                family_index.get(offer.family, np.nan),
                kinds.index(offer.kind),
            )
            for offer in plan.offers
        ],
        np.float32,
    ).reshape(-1, 4)
    return FeatureSchema(
        columns=columns,
        hash=hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16],
        scored=np.array(plan.scored_features, np.intp),
        offers=offers,
    )


def feature_meaning(plan: Plan, feature: Feature) -> dict[str, object]:
    """Return a feature's definition as the schema hash is made of it."""
    meant = feature_definition(plan, feature)
    window = meant.window
    return {
        "name": meant.name,
        "kind": meant.kind,
        "scope": meant.scope,
        "result": meant.result,
        "unit": meant.unit,
        "events": meant.events,
        "off_events": meant.off_events,
        "where": meant.where,
        "field": _plain(meant.field),
        "window": window
        and [
            window.scope,
            window.events,
            window.bucket_us,
            window.bucket_count,
            window.where,
            _plain(window.field),
        ],
        "numbers": [meant.span_us, meant.keep, meant.half_life_us, meant.gap_us, meant.unit_us],
        "initial": meant.initial,
        "values": meant.values,
    }


def _plain(field: FieldDefinition | None) -> list[str] | None:
    return None if field is None else [field.name, field.kind]
