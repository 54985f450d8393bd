"""The section `features`: what is kept per household and per member, and the windows that features share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from household.columns.kinds.definition import Kind, Parameter, Result
from household.columns.kinds.table import KINDS
from household.columns.program import Op
from household.columns.windows import MOST_BUCKETS
from household.plan import NONE, EventType, Feature, FeatureKind, Field, FieldKind, Scope, Window
from playbooks.conditions import WRONG, Conditions, known_code
from playbooks.diagnostics import suggestion
from playbooks.lowering import ValueKind, reference
from playbooks.reading import Reader, check_name, describe, is_name, report_repeated
from playbooks.values import UNIT_US
from playbooks.vocabulary import Vocabulary
from written.problems import Problems
from written.yaml_tree import Entry

UNITS = {
    "seconds": UNIT_US["s"],
    "minutes": UNIT_US["m"],
    "hours": UNIT_US["h"],
    "days": UNIT_US["d"],
    "weeks": UNIT_US["w"],
}
"""Units that times can be read in."""

BUCKETS_WANTED = 28
"""Without an explicit bucket, the largest usual one that divides the span into at least this many."""

USUAL_BUCKETS_US = tuple(
    count * UNIT_US[unit]
    for unit, counts in {"d": (7, 1), "h": (12, 6, 3, 2, 1), "m": (30, 15, 10, 5, 1), "s": (30, 10, 1)}.items()
    for count in counts
)

KEEP_MAX = 64
"""Most times or values that one feature keeps; each is a cell of every row."""

_RESULT_NAME = {
    ValueKind.INT: "int",
    ValueKind.DOUBLE: "double",
    ValueKind.BOOL: "bool",
    ValueKind.ENUM: "string",
    ValueKind.TEXT: "string",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A feature on its way: windows are shared out once all are known."""

    feature: Feature
    window: Window | None = None


def read_features(
    top: Reader,
    vocabulary: Vocabulary,
    conditions: Conditions,
    problems: Problems,
    *,
    of_products: Sequence[Entry] = (),
) -> tuple[tuple[Feature, ...], tuple[Window, ...]]:
    """Read the section and make every feature known to the conditions that follow."""
    drafts: list[_Draft] = []
    written = top.entries("features", named=False)
    report_repeated(written, of_products, "feature", problems)
    for entry in (*written, *of_products):
        draft = _feature(entry, vocabulary, conditions, problems)
        if draft is None:
            conditions.declare(entry.key, WRONG)
            continue
        kind = _value_kind(draft.feature, vocabulary)
        code = reference(Op.FEATURE, len(drafts), kind, draft.feature.values)
        conditions.declare(entry.key, known_code(code))
        drafts.append(draft)
    return _share_windows(drafts)


def _value_kind(feature: Feature, vocabulary: Vocabulary) -> ValueKind:
    match KINDS[feature.kind].result:
        case Result.INT:
            return ValueKind.INT
        case Result.DOUBLE:
            return ValueKind.DOUBLE
        case Result.BOOL:
            return ValueKind.BOOL
        case Result.ENUM:
            return ValueKind.ENUM
        case Result.FIELD:
            return _field_value_kind(vocabulary.fields[feature.field].kind)


def _field_value_kind(kind: FieldKind) -> ValueKind:
    match kind:
        case FieldKind.FLAG:
            return ValueKind.BOOL
        case FieldKind.ENUM:
            return ValueKind.ENUM
        case FieldKind.NUMBER | FieldKind.TEXT:
            return ValueKind.DOUBLE


def _feature(entry: Entry, vocabulary: Vocabulary, conditions: Conditions, problems: Problems) -> _Draft | None:
    scope_name, _, name = entry.key.partition(".")
    if scope_name not in set(Scope) or not name:
        own = name or scope_name
        right = f"write household.{own} or member.{own}"
        problems.add(entry.place, f"feature '{entry.key}' belongs to nobody", right)
        return None
    check_name(name, entry.place, problems)
    reader = Reader(entry.value, f"feature '{entry.key}'", problems, place=entry.place)
    kind = reader.choice("kind", FeatureKind, required=True)
    if kind is None or not is_name(name):
        return None
    feature = Feature(name=entry.key, kind=kind, scope=Scope(scope_name), result="")
    reading = _Reading(reader, vocabulary, conditions)
    draft = reading.draft(feature)
    if draft is None:
        return None
    reader.finish()
    result = _RESULT_NAME[_value_kind(draft.feature, vocabulary)]
    return replace(draft, feature=replace(draft.feature, result=result))


class _Reading:
    """Reads the keys of one feature, by its kind."""

    def __init__(self, reader: Reader, vocabulary: Vocabulary, conditions: Conditions) -> None:
        self._reader = reader
        self._vocabulary = vocabulary
        self._conditions = conditions
        self._problems = reader.problems

    def draft(self, feature: Feature) -> _Draft | None:
        """Return what is written; None if it is not whole."""
        reader, kind = self._reader, KINDS[feature.kind]
        events = self._vocabulary.resolve_events(reader.names("events", required=True), self._problems)
        off_events: tuple[int, ...] = ()
        if Parameter.OFF_EVENTS in kind.parameters:
            names = reader.names("off_events", required=True)
            off_events = self._vocabulary.resolve_events(names, self._problems)
        types = self._vocabulary.types((*events, *off_events))
        where = reader.scalar("where")
        feature = replace(
            feature,
            unit=reader.text("unit", kind.unit),
            events=events,
            off_events=off_events,
            where=NONE if where is None else self._conditions.about_event(where, f"'where' of {reader.what}", types),
            scored=reader.flag("scored", True),
        )
        if Parameter.FIELD in kind.parameters:
            field = self._field(kind, types)
            if field is None:
                return None
            feature = replace(feature, field=field, values=self._values(kind, self._vocabulary.fields[field]))
        for parameter in kind.parameters:
            feature = self._with(parameter, feature)
        return _Draft(feature=feature, window=self._window(feature, kind.spans) if kind.spans else None)

    def _with(self, parameter: Parameter, feature: Feature) -> Feature:
        """Return the feature with what is written of a parameter."""
        reader = self._reader
        match parameter:
            case Parameter.KEEP:
                return replace(feature, keep=reader.whole("keep", 1, least=1, most=KEEP_MAX, required=True))
            case Parameter.SPAN:
                return replace(feature, span_us=reader.duration_us("span", 1, required=True))
            case Parameter.HALF_LIFE:
                return replace(feature, half_life_us=reader.duration_us("half_life", 1, required=True))
            case Parameter.GAP:
                return replace(feature, gap_us=reader.duration_us("gap", 1, required=True))
            case Parameter.UNIT:
                return replace(feature, unit_us=self._unit_us())
            case Parameter.LEAST:
                return replace(feature, least=reader.number("least", 0.0, required=True))
            case Parameter.INITIAL:
                return replace(feature, initial=self._initial(self._vocabulary.fields[feature.field]))
            case Parameter.FIELD | Parameter.OFF_EVENTS | Parameter.BUCKET:
                return feature  # read with what they belong to: the events' types, the window

    def _values(self, kind: Kind, declared: Field) -> tuple[str, ...]:
        """Return the names that a reading may be."""
        if kind.has_cell_per_value and len(declared.values) > KEEP_MAX:
            named = kind.kind.replace("_", "-")
            wrong = (
                f"{self._reader.what}: its field has {len(declared.values)} values, {named} keeps at most {KEEP_MAX}"
            )
            self._problems.add(self._reader.key_place("field"), wrong, "use a field with fewer values")
        return declared.values if kind.result in (Result.ENUM, Result.FIELD) else ()

    def _field(self, kind: Kind, types: tuple[EventType, ...]) -> int | None:
        name = self._reader.scalar("field", required=True)
        if name is None or name.text in self._vocabulary.wrong_fields:
            return None
        index = self._vocabulary.field_index.get(name.text)
        if index is None:
            right = suggestion(name.text, self._vocabulary.field_index, what="fields")
            self._problems.add(name.place, f"field '{name.text}' is not defined", right)
            return None
        for event in self._vocabulary.not_carrying(types, index):
            wrong = f"{self._reader.what}: event '{event.name}' does not carry '{name.text}'"
            self._problems.add(name.place, wrong, "add the field to that event type, or leave the type out")
        declared: Field = self._vocabulary.fields[index]
        if declared.kind not in kind.field_kinds:
            wrong = f"{self._reader.what}: {kind.kind} cannot use '{name.text}', a field of kind {declared.kind}"
            self._problems.add(name.place, wrong, f"name a field of kind {' or '.join(kind.field_kinds)}")
            return None
        return index

    def _unit_us(self) -> int:
        unit = self._reader.scalar("unit", required=True)
        if unit is None:
            return 1
        if unit.text not in UNITS:
            right = suggestion(unit.text, UNITS, what="units")
            self._problems.add(unit.place, f"'unit' of {self._reader.what} is {describe(unit)}", right)
        return UNITS.get(unit.text, 1)

    def _initial(self, declared: Field) -> float | None:
        match declared.kind:
            case FieldKind.FLAG:
                return float(self._reader.flag("initial", False)) if self._reader.has("initial") else None
            case FieldKind.ENUM:
                value = self._reader.scalar("initial")
                if value is None:
                    return None
                if value.text not in declared.values:
                    right = suggestion(value.text, declared.values, what=f"values of '{declared.name}'")
                    self._problems.add(value.place, f"'{value.text}' is none of the declared values", right)
                    return None
                return float(declared.values.index(value.text))
            case FieldKind.NUMBER | FieldKind.TEXT:
                return self._reader.number("initial", 0.0) if self._reader.has("initial") else None

    def _window(self, feature: Feature, spans: int) -> Window:
        span_us = feature.span_us
        bucket_us = self._reader.duration_us("bucket", usual_bucket_us(span_us))
        place = self._reader.key_place("bucket" if self._reader.has("bucket") else "span")
        if span_us % bucket_us:
            wrong = f"{self._reader.what}: its span is no whole number of buckets"
            self._problems.add(place, wrong, "choose a bucket that divides the span, such as 6h for 7d")
        elif spans * span_us // bucket_us > MOST_BUCKETS:
            wrong = f"{self._reader.what} would keep {spans * span_us // bucket_us} buckets, at most {MOST_BUCKETS}"
            self._problems.add(place, wrong, "choose a larger bucket")
        return Window(
            scope=feature.scope,
            events=feature.events,
            bucket_us=bucket_us,
            bucket_count=spans * span_us // bucket_us,
            where=feature.where,
            field=feature.field,
        )


def usual_bucket_us(span_us: int) -> int:
    """Return the bucket of a window that names none.

    >>> usual_bucket_us(7 * UNIT_US["d"]) // UNIT_US["h"], usual_bucket_us(30 * UNIT_US["d"]) // UNIT_US["h"]
    (6, 24)
    """
    for bucket_us in USUAL_BUCKETS_US:
        if span_us % bucket_us == 0 and span_us // bucket_us >= BUCKETS_WANTED:
            return bucket_us
    return span_us


def _share_windows(drafts: list[_Draft]) -> tuple[tuple[Feature, ...], tuple[Window, ...]]:
    """Give features that need the same buckets one window; one that only counts may read a window that also sums."""
    summing: dict[Window, Window] = {}
    for draft in drafts:
        if draft.window is not None and draft.window.field != NONE:
            summing.setdefault(replace(draft.window, field=NONE), draft.window)
    windows: dict[Window, int] = {}
    features = []
    for draft in drafts:
        if draft.window is None:
            features.append(draft.feature)
            continue
        window = draft.window if draft.window.field != NONE else summing.get(draft.window, draft.window)
        features.append(replace(draft.feature, window=windows.setdefault(window, len(windows))))
    return tuple(features), tuple(windows)
