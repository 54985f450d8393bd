"""The plan: a playbook compiled to immutable, typed, hashed data that apply and decide run on.

Everything a rule refers to is an index into a tuple of this plan; names are kept for people, records and migrations.
The compiler in `playbooks/` makes plans; this module owns their shape, their canonical bytes and their hash.
"""

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, NewType, get_args, get_origin

from household.later import is_silent, later

EventTimeUs = NewType("EventTimeUs", int)
"""Microseconds since 1970 UTC, on the event-time axis. Exact in a float64 until the year 2255."""

PlanVersion = NewType("PlanVersion", str)
"""First 16 hex digits of the SHA-256 of the plan's canonical bytes."""

PLAN_LAYOUT = 1
"""Version of the plan's shape; a reader refuses any other."""

NONE = -1
"""An index that refers to nothing."""


class Scope(StrEnum):
    """Whose cells a feature or a cooldown lives in."""

    HOUSEHOLD = "household"
    MEMBER = "member"


class FieldKind(StrEnum):
    """How a field's values are held in a float64 column."""

    NUMBER = "number"
    FLAG = "flag"
    """0 or 1."""
    ENUM = "enum"
    """Index into the field's declared values."""
    TEXT = "text"
    """53 bits of a hash: only equality and distinct counts make sense."""


class FeatureKind(StrEnum):
    """What a feature keeps and how it reads; household/columns/features.py has one update and one read for each."""

    COUNT = "count"
    DECAYED_COUNT = "decayed_count"
    WINDOW_COUNT = "window_count"
    WINDOW_SUM = "window_sum"
    NEWEST_TIMES = "newest_times"
    """How many of the newest `keep` times lie within `span_us` before now: exact, unlike tumbling buckets."""
    LAST_SEEN = "last_seen"
    """Time since the newest event in `unit_us`; +infinity when there was none."""
    DISTINCT = "distinct"
    """Number of distinct values of a field, at most `keep`."""
    TREND = "trend"
    """Count over the newest `span_us` less the count over the span before, divided by the larger of that and 1."""
    SESSION_LENGTH = "session_length"
    """Length of the newest session in `unit_us`; gaps of `gap_us` or more end a session."""
    PROFILE = "profile"
    """The value of a field in the newest event that carries it."""
    PRODUCT_HELD = "product_held"
    """1 after an `events` event, 0 after an `off_events` event; the newest decides."""
    MOST_USED = "most_used"
    """Enum value with the largest decayed count; unknown before the first event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A named value that events may carry."""

    name: str
    kind: FieldKind
    values: tuple[str, ...] = ()
    """Names of an ENUM's values; a value is its index here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventField:
    """Use of a field by an event type. A value outside `least … most`, or a missing required one, rejects the event."""

    field: int
    required: bool = False
    least: float = -1e300
    most: float = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """A type of signal."""

    name: str
    source: str
    """network, billing, app, wallet, call_centre, partner, or hearth for the reserved types."""
    fields: tuple[EventField, ...] = ()
    action_window_us: int = 900_000_000
    """A moment older than this makes no offer: STALE_SIGNAL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A condition or value, lowered to stack code (household/columns/program.py)."""

    text: str
    """The CEL source, for explanations."""
    ops: tuple[int, ...]
    args: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Tumbling buckets of counts and sums, stored sparsely, shared by all features that read them."""

    scope: Scope
    events: tuple[int, ...]
    bucket_us: int
    bucket_count: int
    """Buckets kept, the newest included."""
    where: int = NONE
    """Program over the event's fields; NONE counts all."""
    field: int = NONE
    """Field that is summed; NONE sums nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A value kept per household or per member. Fields not used by its kind stay at their defaults."""

    name: str
    """As written in conditions, scope included: `member.balance_checks_7d`."""
    kind: FeatureKind
    scope: Scope
    result: str
    """CEL type of its reading: int, double, bool or string (an enum's name)."""
    unit: str = ""
    events: tuple[int, ...] = ()
    off_events: tuple[int, ...] = ()
    where: int = NONE
    field: int = NONE
    window: int = NONE
    span_us: int = 0
    keep: int = 0
    half_life_us: int = 0
    gap_us: int = 0
    unit_us: int = 1
    initial: float | None = None
    """Reading before any event where the kind leaves it open (PROFILE); None is unknown."""
    values: tuple[str, ...] = ()
    """Names of an enum result."""
    scored: bool = True
    """Whether models see it. Sensitive features are conditions only, never model inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A named condition."""

    name: str
    program: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A way to reach a member."""

    name: str
    inbound: bool
    """The member asks there."""
    outbound: bool
    """We may send there unasked."""
    consent: int = NONE
    """Program that must be true for any contact on it; NONE needs none. An error or unknown counts as no."""
    cost_minor: int = 0
    quiet_hours: bool = False
    groups: tuple[str, ...] = later(())
    """Groups of subscribers that each get every action, the one whose acknowledgement settles first.

    Empty: all subscribers share, whatever group they name.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """How an offer looks on one channel."""

    name: str
    channel: int
    text: str
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentPrice:
    """Price for those in a segment; the first that holds applies."""

    segment: int
    price_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One thing worth doing: offer, message, badge, reward or escalation."""

    name: str
    kind: str
    family: str
    price_minor: int = 0
    segment_prices: tuple[SegmentPrice, ...] = ()
    margin_minor: int = 0
    """What we earn when it is accepted, before contact cost."""
    cost_minor: int = 0
    """What making the offer costs whether or not it is accepted, besides the channel's cost."""
    lever: float = 1.0
    """Business weight on the value; 1 is neutral."""
    prior_acceptance: float = 0.0
    """P(accept) while no model is in force."""
    eligible: int = NONE
    """Program; NONE is always eligible."""
    excludes: tuple[int, ...] = ()
    """Offers that may not be live or accepted beside it."""
    standing: bool = False
    """Whether a contact alone (no moment) may bring it up."""
    valid_us: int = 86_400_000_000
    treatments: tuple[Treatment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """When a journey's moment arises: a condition, evaluated after each event of the given types, as of that event."""

    events: tuple[int, ...]
    program: int
    cooldown_us: int = 0
    """A trigger fires again only when at least this has passed since it last fired in its scope."""
    scope: Scope = Scope.HOUSEHOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """From a moment to an outcome."""

    name: str
    title: str = ""
    trigger: Trigger | None = None
    """None for a journey that a contact starts."""
    contact_events: tuple[int, ...] = ()
    """Event types that count as a contact, for a journey without trigger. A Decide without signals is one as well."""
    offers: tuple[int, ...] = ()
    control_share: float = 0.0
    """Share of households, by salted hash, whose decision is recorded as withheld and never shown."""
    outbound: tuple[int, ...] = ()
    """Channels on which it may speak unasked, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactCap:
    """At most `most` contacts on these channels within a rolling window."""

    name: str
    scope: Scope
    channels: tuple[int, ...]
    window_us: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPolicy:
    """What protects the member from us."""

    caps: tuple[ContactCap, ...] = ()
    quiet_from_minute: int = 0
    """Local minute of the day; equal to `quiet_to_minute` means no quiet hours."""
    quiet_to_minute: int = 0
    time_zone: str = "UTC"
    decline_offer_us: int = 7_776_000_000_000
    decline_family_us: int = 604_800_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Arbitration:
    """How the best of several is chosen."""

    exploration: float = 0.0
    """Share of decisions that take a uniformly random action among those worth taking; its propensity is recorded."""
    slate_length: int = 5
    salt: str = "hearth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The event-time rules of the fold."""

    lateness_us: int = 86_400_000_000
    """Events older than now − this are late."""
    future_us: int = 300_000_000
    """Events newer than the owner's stamp + this are rejected. One less far ahead counts, on the wall clock, as now."""
    request_window_us: int = 86_400_000_000
    """How long a request_id is remembered."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole playbook, compiled."""

    name: str
    currency: str = "EUR"
    fields: tuple[Field, ...] = ()
    event_types: tuple[EventType, ...] = ()
    programs: tuple[Program, ...] = ()
    windows: tuple[Window, ...] = ()
    features: tuple[Feature, ...] = ()
    segments: tuple[Segment, ...] = ()
    channels: tuple[Channel, ...] = ()
    families: tuple[str, ...] = ()
    offers: tuple[Offer, ...] = ()
    journeys: tuple[Journey, ...] = ()
    policy: ContactPolicy = ContactPolicy()
    arbitration: Arbitration = Arbitration()
    clock: Clock = Clock()
    layout: int = PLAN_LAYOUT

    @cached_property
    def canonical_bytes(self) -> bytes:
        """The same bytes for the same plan, on every machine; what the hash is of and what the log carries."""
        return json.dumps(_to_plain(Plan, self), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @cached_property
    def version(self) -> PlanVersion:
        """Identity of this plan: any change of any value changes it."""
        return PlanVersion(hashlib.sha256(self.canonical_bytes).hexdigest()[:16])

    @cached_property
    def event_type_by_name(self) -> dict[str, int]:
        """Index of each event type."""
        return {event.name: index for index, event in enumerate(self.event_types)}

    @cached_property
    def field_by_name(self) -> dict[str, int]:
        """Index of each field."""
        return {field.name: index for index, field in enumerate(self.fields)}

    @cached_property
    def channel_by_name(self) -> dict[str, int]:
        """Index of each channel."""
        return {channel.name: index for index, channel in enumerate(self.channels)}

    @cached_property
    def offer_by_name(self) -> dict[str, int]:
        """Index of each offer."""
        return {offer.name: index for index, offer in enumerate(self.offers)}

    @cached_property
    def journey_by_name(self) -> dict[str, int]:
        """Index of each journey."""
        return {journey.name: index for index, journey in enumerate(self.journeys)}

    @cached_property
    def contact_types(self) -> frozenset[int]:
        """Event types that count as a contact for some journey."""
        return frozenset(event for journey in self.journeys for event in journey.contact_events)

    @cached_property
    def scored_features(self) -> tuple[int, ...]:
        """Indices of the features that models see, in the order of a score row."""
        return tuple(index for index, feature in enumerate(self.features) if feature.scored)


class PlanUnreadable(Exception):
    """The bytes are not a plan of this layout; names what is wrong."""


def plan_from_bytes(canonical: bytes) -> Plan:
    """Return the plan whose `canonical_bytes` these are.

    Raises:
        PlanUnreadable: not JSON, another layout, or a value of the wrong kind.
    """
    try:
        plain = json.loads(canonical)
        if plain.get("layout") != PLAN_LAYOUT:
            raise PlanUnreadable(f"plan layout {plain.get('layout')}, this software reads {PLAN_LAYOUT}")
        plan = _from_plain(Plan, plain)
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise PlanUnreadable(f"not a plan: {wrong}") from wrong
    assert isinstance(plan, Plan)
    return plan


def _to_plain(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        types_by_name = _field_types(type(value))  # type: ignore[arg-type]
        return {
            name: _to_plain(inner, getattr(value, name))
            for name, inner in types_by_name.items()
            if not is_silent(value, name)
        }
    if isinstance(value, tuple):
        return [_to_plain(inner, item) for inner, item in zip(_inner(kind, len(value)), value, strict=True)]
    # 3 and 3.0 are equal, so they must have the same bytes.
    return float(value) if type(value) is int and float in (kind, *get_args(kind)) else value


def _inner(kind: Any, count: int) -> tuple[Any, ...]:
    """Return the types of a tuple's items."""
    inner = get_args(kind)
    return inner[:1] * count if inner[-1] is Ellipsis else inner


@cache
def _field_types(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _from_plain(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        types_by_name = _field_types(kind)  # type: ignore[arg-type]
        return kind(**{name: _from_plain(types_by_name[name], item) for name, item in value.items()})  # type: ignore[operator]
    origin = get_origin(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is no list")
        return tuple(_from_plain(inner, item) for inner, item in zip(_inner(kind, len(value)), value, strict=True))
    if origin is types.UnionType:
        if value is None:
            return None
        return _from_plain(next(arm for arm in get_args(kind) if arm is not type(None)), value)
    if issubclass(kind, StrEnum):
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
