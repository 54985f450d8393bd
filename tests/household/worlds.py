"""Small random worlds for Hypothesis: plans over all kinds of features, and the unruly events that meet them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from household.columns.kinds import table
from household.columns.kinds.definition import Kind, Parameter
from household.columns.program import Op
from household.events import LONGEST_KEY, NO_TIME_US, UNKNOWN_TYPE
from household.plan import (
    NONE,
    EventField,
    EventTimeRules,
    EventType,
    Feature,
    FeatureKind,
    Field,
    FieldKind,
    Journey,
    Plan,
    Program,
    Scope,
    Trigger,
    Window,
)
from tests.household.oracle import Event

Option = TypeVar("Option")

S = 1_000_000
"""A second, in microseconds."""

START_US = 1_750_000_000 * S

AMOUNT, IS_NIGHT, GENRE, PARTNER = range(4)
GENRES = ("film", "music", "games")
FIELDS = (
    Field(name="amount", kind=FieldKind.NUMBER),
    Field(name="is_night", kind=FieldKind.FLAG),
    Field(name="genre", kind=FieldKind.ENUM, values=GENRES),
    Field(name="partner", kind=FieldKind.TEXT),
)

ACCEPT, DECLINE = 3, 4
PLAIN_TYPES = (0, 1, 2)

Code = tuple[tuple[int, float], ...]
"""Instructions with their arguments."""


@st.composite
def event_types(draw: st.DrawFn) -> tuple[EventType, ...]:
    """Three types that carry some of the fields, and two reserved ones."""

    def uses() -> tuple[EventField, ...]:
        least = draw(st.sampled_from([-1e300, -2.0, 0.0]))
        every = (
            EventField(field=AMOUNT, required=draw(st.integers(0, 3)) == 3, least=least, most=9.0),
            EventField(field=IS_NIGHT, required=draw(st.integers(0, 3)) == 3, least=0.0, most=1.0),
            EventField(field=GENRE, least=0.0, most=2.0),
            EventField(field=PARTNER, required=False),
        )
        # The genre is an index: a type that may carry it always declares its range, as compiled plans do.
        return tuple(use for use in every if use.field == GENRE or draw(st.booleans()))

    plain = tuple(EventType(name=name, source="app", fields=uses()) for name in ("visit", "top_up", "stream"))
    genre = (EventField(field=GENRE, least=0.0, most=2.0),)
    return (
        *plain,
        EventType(name="hearth.accept", source="hearth", fields=genre),
        EventType(name="hearth.decline", source="hearth", fields=genre),
    )


constants = st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0, 0.5])


def numbers(feature_count: int, depth: int) -> st.SearchStrategy[Code]:
    """Return code that leaves a number; it may read fields and, if there are any, features."""
    atoms = [
        constants.map(lambda value: ((Op.CONST, value),)),
        st.sampled_from([AMOUNT, IS_NIGHT, GENRE]).map(lambda index: ((Op.FIELD, float(index)),)),
    ]
    if feature_count:
        features = st.integers(0, feature_count - 1).map(lambda index: ((Op.FEATURE, float(index)),))
        atoms += [features, features]
    if depth == 0:
        return st.one_of(atoms)
    inner = numbers(feature_count, depth - 1)
    arithmetic = st.sampled_from([Op.ADD, Op.SUBTRACT, Op.MULTIPLY, Op.DIVIDE, Op.DIVIDE_INT, Op.MODULO_INT])
    select = st.tuples(conditions(feature_count, depth - 1), inner, inner)
    return st.one_of(
        *atoms,
        st.tuples(inner, inner, arithmetic).map(lambda part: (*part[0], *part[1], (part[2], 0.0))),
        st.tuples(inner, st.sampled_from([Op.NEGATE, Op.TRUNCATE])).map(lambda part: (*part[0], (part[1], 0.0))),
        select.map(lambda part: (*part[0], *part[1], *part[2], (Op.SELECT, 0.0))),
    )


def conditions(feature_count: int, depth: int) -> st.SearchStrategy[Code]:
    """Return code that leaves 1, 0 or NaN."""
    operands = numbers(feature_count, max(depth - 1, 0))
    comparison = st.sampled_from(
        [Op.EQUAL, Op.NOT_EQUAL, Op.LESS, Op.LESS_EQUAL, Op.GREATER, Op.GREATER_EQUAL, Op.GREATER_EQUAL]
    )
    compared = st.tuples(operands, operands, comparison).map(lambda part: (*part[0], *part[1], (part[2], 0.0)))
    known = operands.map(lambda code: (*code, (Op.IS_KNOWN, 0.0)))
    if depth == 0:
        return st.one_of(compared, known)
    inner = conditions(feature_count, depth - 1)

    def joined(part: tuple[Code, Code, bool, bool]) -> Code:
        left, right, is_and, skips = part
        op, skip = (Op.AND, Op.SKIP_IF_FALSE) if is_and else (Op.OR, Op.SKIP_IF_TRUE)
        jump = ((skip, float(len(right) + 1)),) if skips else ()
        return (*left, *jump, *right, (op, 0.0))

    return st.one_of(
        compared,
        known,
        inner.map(lambda code: (*code, (Op.NOT, 0.0))),
        st.tuples(inner, inner, st.booleans(), st.booleans()).map(joined),
    )


def program_of(code: Code) -> Program:
    """Return code as a plan holds it."""
    return Program(text=repr(code), ops=tuple(int(op) for op, _ in code), args=tuple(float(arg) for _, arg in code))


some_types = st.lists(st.sampled_from([0, 1, 2, ACCEPT]), min_size=1, max_size=3, unique=True).map(tuple)
scopes = st.sampled_from(list(Scope))
FIELD_OF_KIND = {FieldKind.NUMBER: AMOUNT, FieldKind.FLAG: IS_NIGHT, FieldKind.ENUM: GENRE, FieldKind.TEXT: PARTNER}


def parameters(kind: Kind, parameter: Parameter, events: tuple[int, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Return what a plan may hold of a parameter of a feature without window."""
    match parameter:
        case Parameter.KEEP:
            return st.integers(1, 5).map(lambda keep: {"keep": keep})
        case Parameter.SPAN:
            return st.sampled_from([5, 12]).map(lambda span: {"span_us": span * S})
        case Parameter.HALF_LIFE:
            return st.sampled_from([7 * S, 50_000]).map(lambda half_life_us: {"half_life_us": half_life_us})
        case Parameter.GAP:
            return st.sampled_from([2, 6]).map(lambda gap: {"gap_us": gap * S})
        case Parameter.UNIT:
            return st.sampled_from([1, S, 3 * S]).map(lambda unit_us: {"unit_us": unit_us})
        case Parameter.OFF_EVENTS:
            return st.just({"off_events": tuple(type_ for type_ in PLAIN_TYPES if type_ not in events)})
        case Parameter.INITIAL:
            return st.sampled_from([None, 0.0, 2.0]).map(lambda initial: {"initial": initial})
        case Parameter.FIELD:
            values = GENRES if kind.has_cell_per_value else ()
            fields = [FIELD_OF_KIND[one] for one in kind.field_kinds]
            return st.sampled_from(fields).map(lambda field: {"field": field, "values": values})
        case Parameter.LEAST | Parameter.BUCKET:
            raise AssertionError(f"{kind.kind} reads no window")


@st.composite
def features_and_windows(
    draw: st.DrawFn, kinds: list[FeatureKind], where_count: int
) -> tuple[tuple[Feature, ...], tuple[Window, ...]]:
    """One feature per kind; some windows are shared, some read as a part."""
    windows: list[Window] = []
    features = []
    for number, kind in enumerate(kinds):
        scope = draw(scopes)
        events = draw(some_types)
        where = draw(st.sampled_from([NONE, NONE, *range(where_count)]))
        feature = Feature(name=f"{scope}.f{number}", kind=kind, scope=scope, result="double", events=events)
        definition = table.KINDS[kind]
        if definition.spans:
            bucket_us, count = draw(st.sampled_from([(3 * S, 6), (7 * S, 2), (4 * S, 20)]))
            window = Window(
                scope=scope, events=events, bucket_us=bucket_us, bucket_count=count, where=where, field=AMOUNT
            )
            is_shared = draw(st.booleans())
            if windows and is_shared:
                window = windows[-1]
            elif Parameter.FIELD not in definition.parameters and draw(st.booleans()):
                window = replace(window, field=NONE)
            if window not in windows:
                windows.append(window)
            most = window.bucket_count // definition.spans
            span = window.bucket_us * draw(st.integers(1, most))
            feature = replace(feature, scope=window.scope, events=(), window=windows.index(window), span_us=span)
            if Parameter.LEAST in definition.parameters:
                feature = replace(feature, least=draw(st.sampled_from([0.0, 1.0, 7.0])))
        else:
            for parameter in definition.parameters:
                feature = replace(feature, **draw(parameters(definition, parameter, events)))
            feature = replace(feature, where=where)
        features.append(feature)
    return tuple(features), tuple(windows)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan of a few features of any kinds, filters, and journeys whose triggers read everything."""
    kinds = draw(st.lists(st.sampled_from(list(FeatureKind)), min_size=1, max_size=6))
    filters = draw(st.lists(conditions(0, 1), max_size=2))
    features, windows = draw(features_and_windows(kinds, len(filters)))
    triggers = draw(st.lists(conditions(len(features), 2), max_size=3))
    journeys = tuple(
        Journey(
            name=f"j{number}",
            trigger=Trigger(
                events=draw(some_types),
                program=len(filters) + number,
                cooldown_us=draw(st.sampled_from([0, 1, 4 * S, 15 * S])),
                scope=draw(scopes),
            ),
        )
        for number in range(len(triggers))
    )
    # A journey that a contact starts has no trigger; its place among the others must not matter.
    contact = (Journey(name="contact", contact_events=(0,)),)
    return Plan(
        name="world",
        fields=FIELDS,
        event_types=draw(event_types()),
        programs=tuple(program_of(code) for code in [*filters, *triggers]),
        windows=windows,
        features=features,
        journeys=contact + journeys if draw(st.booleans()) else journeys + contact,
        clock=EventTimeRules(
            lateness_us=draw(st.sampled_from([100 * S, 100 * S, 100 * S, 20 * S, 5 * S, 0])), future_us=3 * S
        ),
    )


VALUES = (
    (0.0, 1.0, 2.0, 5.0, 9.0, 3.0, 1.0, 4.0, 0.0, 7.0, 8.0, 6.0, 2.0, -2.0, 10.0, float("nan")),
    (0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 2.0),
    (0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0),
    (7.0, 11.0, 2.0**53 - 1.0, 13.0),
)
"""Per field: mostly sound values, some outside the range, and NaN."""

HOUSEHOLDS = (b"a", b"b", b"a", b"b", b"a", b"c" * LONGEST_KEY)
MEMBERS = (b"", b"x", b"y", b"x", b"x", b"z" * LONGEST_KEY)
KINDS = (0, 1, 2, 0, 1, 2, 0, 1, 2, ACCEPT, DECLINE)
STEPS_US = (S, 0, S // 2, S, 2 * S, 3 * S, 8 * S, -S, -3 * S, -9 * S, 1, -40 * S)
ODD_TIMES_US = (NO_TIME_US, -1, 0, 7_258_118_400_000_000, 7_258_118_400_000_000 - 1, START_US + 900 * S)
DICE = 12
"""Bytes that decide an event. One draw per event: Hypothesis is slow at drawing, not at counting."""


def event_lists(*, most: int = 40) -> st.SearchStrategy[list[Event]]:
    """Events mostly in order, with disorder, repeats, gaps and every kind of fault.

    Drawn byte by byte they shrink well but are dull (Hypothesis likes zeros); from a seed they are lively.
    """
    dull = st.lists(st.binary(min_size=DICE, max_size=DICE), max_size=most // 2)
    lively = st.builds(_throws, st.integers(0, 2**32 - 1), st.integers(most // 2, most))
    return st.one_of(dull, lively, lively, lively).map(_events)


def _throws(seed: int, count: int) -> list[bytes]:
    chance = np.random.default_rng(seed)
    return [chance.bytes(DICE) for _ in range(count)]


def _events(throws: list[bytes]) -> list[Event]:
    clock_us, events = START_US, list[Event]()
    for number, dice in enumerate(throws):
        if events and dice[0] % 8 == 7:
            events.append(events[dice[1] % len(events)])
            continue
        time_us = clock_us + _pick(STEPS_US, dice[1])
        clock_us = max(clock_us, time_us)
        event = Event(
            id=f"e{number}".encode(),
            household=_pick(HOUSEHOLDS, dice[2]),
            member=_pick(MEMBERS, dice[3]),
            kind=_pick(KINDS, dice[4]),
            time_us=time_us,
            values=tuple((field, _pick(VALUES[field], dice[5 + field])) for field in range(4) if dice[5 + field] < 240),
            action_id="no-such-action" if dice[9] % 2 else "",
        )
        events.append(_spoilt(event, dice[11]) if dice[10] % 8 == 7 else event)
    return events


def _pick(options: Sequence[Option], die: int) -> Option:
    return options[die % len(options)]


def _spoilt(event: Event, die: int) -> Event:
    """The same event with something wrong, or nearly wrong, about it."""
    long_id = b"i" * LONGEST_KEY
    changes: list[dict[str, Any]] = [
        {"id": _pick((b"", long_id, long_id + b"i"), die)},
        {"household": _pick((b"", b"h" * (LONGEST_KEY + 1)), die)},
        {"member": b"m" * (LONGEST_KEY + 1)},
        {"kind": UNKNOWN_TYPE},
        {"is_bad": True},
        {"kind": ACCEPT, "time_us": NO_TIME_US},
        {"id": b"e0"},
        {"time_us": _pick(ODD_TIMES_US, die)},
    ]
    return replace(event, **changes[die // 32])
