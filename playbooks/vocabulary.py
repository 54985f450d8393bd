"""The sections `fields` and `events`: what signals there are and what they carry."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from household.events import RESERVED_TYPES
from household.plan import EventField, EventType, Field, FieldKind
from playbooks.diagnostics import suggestion
from playbooks.reading import Reader, describe, is_name, resolve
from written.problems import Problems
from written.yaml_tree import Entry, Listing, Nothing, Scalar, YamlMapping

ENUM_VALUES_MAX = 256
"""A longer list belongs in a text field: most-used features keep a cell per value."""

ALL = "all"
"""Instead of a list of names: every one that the playbook declares."""


class Source(StrEnum):
    """Where signals come from."""

    NETWORK = "network"
    BILLING = "billing"
    APP = "app"
    WALLET = "wallet"
    CALL_CENTRE = "call_centre"
    PARTNER = "partner"


@dataclass(slots=True)
class Vocabulary:
    """Fields and event types, the reserved ones last, and which names were declared wrongly."""

    fields: list[Field] = field(default_factory=list)
    events: list[EventType] = field(default_factory=list)
    wrong_fields: set[str] = field(default_factory=set)
    wrong_events: set[str] = field(default_factory=set)
    incomplete_events: set[str] = field(default_factory=set)
    """Types of which a field was declared wrongly: nothing is said about what they do not carry."""
    field_index: dict[str, int] = field(default_factory=dict)
    event_index: dict[str, int] = field(default_factory=dict)

    def resolve_events(self, names: Iterable[Scalar], problems: Problems) -> tuple[int, ...]:
        """Return the indices of event types; `all` stands for every declared one."""
        listed = [name for name in names if name.text not in self.wrong_events]
        if len(listed) == 1 and listed[0].text == ALL:
            return tuple(index for name, index in self.event_index.items() if name not in RESERVED_TYPES)
        return resolve(listed, self.event_index, what="event", plural="events", problems=problems)

    def not_carrying(self, types: Iterable[EventType], field_index: int) -> list[EventType]:
        """Return the event types that certainly do not carry a field."""
        sound = (event for event in types if event.name not in self.incomplete_events)
        return [event for event in sound if all(use.field != field_index for use in event.fields)]

    def types(self, indices: Iterable[int]) -> tuple[EventType, ...]:
        """Return event types by index."""
        return tuple(self.events[index] for index in indices)


def read_vocabulary(top: Reader, problems: Problems) -> Vocabulary:
    """Read both sections."""
    vocabulary = Vocabulary()
    for entry in top.entries("fields"):
        declared = _field(entry, problems)
        if declared is None:
            vocabulary.wrong_fields.add(entry.key)
        else:
            vocabulary.field_index[entry.key] = len(vocabulary.fields)
            vocabulary.fields.append(declared)
    for entry in top.entries("events", named=False):
        event = _event(entry, vocabulary, problems)
        if event is None:
            vocabulary.wrong_events.add(entry.key)
        else:
            vocabulary.event_index[entry.key] = len(vocabulary.events)
            vocabulary.events.append(event)
    for name in RESERVED_TYPES:
        vocabulary.event_index[name] = len(vocabulary.events)
        vocabulary.events.append(EventType(name=name, source="hearth"))
    return vocabulary


def _field(entry: Entry, problems: Problems) -> Field | None:
    match entry.value:
        case Scalar(text=("number" | "flag" | "text") as kind):
            return Field(name=entry.key, kind=FieldKind(kind))
        case Listing() as listing:
            return _enum(entry.key, listing, problems)
        case Scalar() as scalar:
            wrong, place = f"field '{entry.key}' is {describe(scalar)}", scalar.place
        case other:
            wrong, place = f"field '{entry.key}' is {describe(other)}", entry.place
    problems.add(place, wrong, "write number, flag, text, or a list of its values: [prepaid, postpaid]")
    return None


def _enum(name: str, listing: Listing, problems: Problems) -> Field | None:
    found: list[str] = []
    for item in listing.items:
        if not isinstance(item, Scalar) or not item.text or len(item.text) > 64:
            problems.add(item.place, f"field '{name}' lists {describe(item)}", "write a short text")
        elif item.text in found:
            problems.add(item.place, f"field '{name}' lists '{item.text}' twice", "remove one of the two")
        else:
            found.append(item.text)
    if not 1 <= len(listing.items) <= ENUM_VALUES_MAX:
        right = f"list 1 to {ENUM_VALUES_MAX}, or make it a text"
        problems.add(listing.place, f"field '{name}' lists {len(listing.items)} values", right)
        return None
    return Field(name=name, kind=FieldKind.ENUM, values=tuple(found)) if found else None


def _event(entry: Entry, vocabulary: Vocabulary, problems: Problems) -> EventType | None:
    what = f"event '{entry.key}'"
    if not all(is_name(part) for part in entry.key.split(".")):
        right = "names are lower-case letters, digits and _, in parts divided by dots: wallet.payment"
        problems.add(entry.place, f"'{entry.key}' is not a possible name", right)
        return None
    if entry.key.startswith("hearth.") or entry.key == ALL:
        problems.add(entry.place, f"{what} is reserved", "choose another name; the hearth types are always there")
        return None
    reader = Reader(entry.value, what, problems, place=entry.place)
    source = reader.choice("source", Source, required=True)
    action_window_us = reader.duration_us("action_window", EventType(name="", source="").action_window_us)
    half_life_us = reader.duration_us("half_life", 0)
    uses = [_use(one, what, vocabulary, problems) for one in reader.entries("fields", named=False)]
    fields = tuple(use for use in uses if use is not None)
    if len(fields) < len(uses):
        vocabulary.incomplete_events.add(entry.key)
    reader.finish()
    return EventType(
        name=entry.key,
        source=(source or Source.NETWORK).value,
        fields=fields,
        action_window_us=action_window_us,
        half_life_us=half_life_us,
    )


def _use(entry: Entry, what: str, vocabulary: Vocabulary, problems: Problems) -> EventField | None:
    if entry.key in vocabulary.wrong_fields:
        return None
    if entry.key not in vocabulary.field_index:
        right = suggestion(entry.key, vocabulary.field_index, what="fields")
        problems.add(entry.place, f"{what} carries '{entry.key}', which is not among the fields", right)
        return None
    index = vocabulary.field_index[entry.key]
    match entry.value:
        case Scalar(text=("required" | "optional") as word):
            return EventField(field=index, required=word == "required", **_least_and_most(vocabulary.fields[index]))
        case YamlMapping() as mapping:
            return _detailed_use(Reader(mapping, f"'{entry.key}' of {what}", problems), index, vocabulary.fields[index])
        case Scalar() | Listing() | Nothing() as other:
            wrong = f"'{entry.key}' of {what} is {describe(other)}"
            problems.add(entry.place, wrong, "write required, optional, or {required: true, min: 0, max: 100}")
            return None


def _least_and_most(declared: Field) -> dict[str, float]:
    match declared.kind:
        case FieldKind.FLAG:
            return {"least": 0.0, "most": 1.0}
        case FieldKind.ENUM:
            return {"least": 0.0, "most": float(len(declared.values) - 1)}
        case FieldKind.NUMBER | FieldKind.TEXT:
            return {}


def _detailed_use(reader: Reader, index: int, declared: Field) -> EventField:
    required = reader.flag("required", False)
    if declared.kind is not FieldKind.NUMBER:
        reader.finish()
        return EventField(field=index, required=required, **_least_and_most(declared))
    open_use = EventField(field=index)
    least, most = reader.number("min", open_use.least), reader.number("max", open_use.most)
    if least > most:
        wrong = f"{reader.what}: min {least} is above max {most}"
        reader.problems.add(reader.key_place("min"), wrong, "swap the two")
    reader.finish()
    return EventField(field=index, required=required, least=least, most=most)
