"""Is it the same definition? What features and windows mean, by names instead of a plan's own numbers.

Two plans mean the same by a feature if its definitions are equal: then models that saw one may see the other. What its
cells hold can be the same all the same (`FeatureDefinition.kept`): then it goes on under the other plan.
"""

from dataclasses import dataclass, replace

from household.plan.features import Feature, FeatureKind, Window
from household.plan.plan import Plan
from household.plan.references import NONE, Scope
from household.plan.vocabulary import FieldKind


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDefinition:
    """A field of another kind is another field, whatever its name."""

    name: str
    kind: FieldKind


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowDefinition:
    """What a window holds."""

    scope: Scope
    events: tuple[str, ...]
    """In order of their names."""
    where: str | None
    """Text of the condition; None counts all."""
    field: FieldDefinition | None
    bucket_us: int
    bucket_count: int

    @property
    def counted(self) -> "WindowDefinition":
        """What it counts, whatever it sums."""
        return replace(self, field=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDefinition:
    """What a feature's reading means."""

    name: str
    kind: FeatureKind
    scope: Scope
    result: str
    unit: str
    events: tuple[str, ...]
    off_events: tuple[str, ...]
    where: str | None
    field: FieldDefinition | None
    field_values: tuple[str, ...]
    """Names of the field's values."""
    window: WindowDefinition | None
    span_us: int
    keep: int
    half_life_us: int
    gap_us: int
    unit_us: int
    initial: float | None
    values: tuple[str, ...]
    least: float

    def kept(self, *, is_recoded: bool) -> "FeatureDefinition":
        """Return it without what only a reading depends on: equal ones have cells that mean the same.

        Args:
            is_recoded: whether values are written anew by name, so that they may be others.
        """
        values = () if is_recoded else self.values or self.field_values
        only_read = replace(self, result="", unit="", window=None, span_us=0, unit_us=1, initial=None, least=0.0)
        return replace(only_read, values=values, field_values=())


def window_definition(plan: Plan, window: Window) -> WindowDefinition:
    """Return what a window of a plan holds."""
    return WindowDefinition(
        scope=window.scope,
        events=_event_names(plan, window.events),
        where=_text(plan, window.where),
        field=_field(plan, window.field),
        bucket_us=window.bucket_us,
        bucket_count=window.bucket_count,
    )


def feature_definition(plan: Plan, feature: Feature) -> FeatureDefinition:
    """Return what a feature of a plan means; moving unrelated things in the plan changes nothing."""
    return FeatureDefinition(
        name=feature.name,
        kind=feature.kind,
        scope=feature.scope,
        result=feature.result,
        unit=feature.unit,
        events=_event_names(plan, feature.events),
        off_events=_event_names(plan, feature.off_events),
        where=_text(plan, feature.where),
        field=_field(plan, feature.field),
        field_values=() if feature.field == NONE else plan.fields[feature.field].values,
        window=None if feature.window == NONE else window_definition(plan, plan.windows[feature.window]),
        span_us=feature.span_us,
        keep=feature.keep,
        half_life_us=feature.half_life_us,
        gap_us=feature.gap_us,
        unit_us=feature.unit_us,
        initial=feature.initial,
        values=feature.values,
        least=feature.least,
    )


def _event_names(plan: Plan, events: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(sorted(plan.event_types[event].name for event in events))


def _text(plan: Plan, program: int) -> str | None:
    return None if program == NONE else plan.programs[program].text


def _field(plan: Plan, field: int) -> FieldDefinition | None:
    return None if field == NONE else FieldDefinition(name=plan.fields[field].name, kind=plan.fields[field].kind)
