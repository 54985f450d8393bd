"""Witnesses: features from whose reading it can be told whether a signal has been folded (read your writes)."""

import math
from collections.abc import Iterable

from hearth.v1 import household_pb2
from household.plan import NONE, Feature, FeatureKind, Plan

UNBOUNDED = frozenset({FeatureKind.COUNT, FeatureKind.WINDOW_COUNT})
TELLING = UNBOUNDED | {FeatureKind.NEWEST_TIMES, FeatureKind.DECAYED_COUNT, FeatureKind.LAST_SEEN}

ROUNDING = 1e-9
"""Relative slack for readings that went through a division or an exp."""


def witnesses(plan: Plan, event_type: str) -> tuple[Feature, ...]:
    """Return the features that change with every event of a type, whatever its fields."""
    index = plan.event_type_by_name[event_type]
    return tuple(one for one in plan.features if one.kind in TELLING and _counts_all(plan, one, index))


def _counts_all(plan: Plan, feature: Feature, event_type: int) -> bool:
    if feature.window != NONE:
        window = plan.windows[feature.window]
        return window.where == NONE and event_type in window.events
    return feature.where == NONE and event_type in feature.events


def holds_signal(feature: Feature, reading: float | None, age_us: int) -> bool:
    """Return whether a reading is possible after a signal that is `age_us` old at the time of reading."""
    if reading is None or math.isnan(reading):
        return False
    match feature.kind:
        case FeatureKind.LAST_SEEN:
            return bool(reading * feature.unit_us <= age_us * (1 + ROUNDING) + 1)
        case FeatureKind.DECAYED_COUNT:
            return reading >= math.exp2(-age_us / feature.half_life_us) * (1 - ROUNDING)
        case FeatureKind.NEWEST_TIMES:
            return reading >= 1 or age_us >= feature.span_us
        case _:
            return reading >= 1


def reading_after(feature: Feature, count: int) -> float | None:
    """Return the exact reading right after `count` signals within seconds and nothing else; None if it varies."""
    match feature.kind:
        case FeatureKind.COUNT | FeatureKind.WINDOW_COUNT:
            return float(count)
        case FeatureKind.NEWEST_TIMES:
            return float(min(count, feature.keep))
        case _:
            return None


def readings(features: Iterable[household_pb2.FeatureValue]) -> dict[str, float | None]:
    """Return the features of an answer by name; None where unknown."""
    return {one.name: one.value if one.HasField("value") else None for one in features}
