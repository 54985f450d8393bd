"""The plan and its canonical bytes.

Laws: bytes → plan → bytes is identity; equal plans have equal bytes and one version; a change of any value, however
deep, changes the version; bytes that are no plan of this layout are refused, saying why.
"""

import dataclasses
import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings

from household.plan import (
    Arbitration,
    Channel,
    ContactCap,
    ContactPolicy,
    ContactRule,
    EventField,
    EventTimeRules,
    EventType,
    Feature,
    FeatureKind,
    Field,
    FieldKind,
    Journey,
    Limit,
    Offer,
    Plan,
    PlanUnreadable,
    Program,
    RuleScope,
    Scope,
    Segment,
    SegmentPrice,
    Selector,
    Treatment,
    Trigger,
    Window,
    plan_from_bytes,
)
from tests.household.worlds import plans

FULL = Plan(
    name="full",
    fields=(Field(name="genre", kind=FieldKind.ENUM, values=("film", "músic")),),
    event_types=(EventType(name="visit", source="app", fields=(EventField(field=0, required=True, most=1.0),)),),
    programs=(Program(text="true", ops=(1,), args=(1.0,)),),
    windows=(Window(scope=Scope.HOUSEHOLD, events=(0,), bucket_us=5, bucket_count=6),),
    features=(
        Feature(name="household.visits", kind=FeatureKind.COUNT, scope=Scope.HOUSEHOLD, result="int", events=(0,)),
        Feature(
            name="member.genre",
            kind=FeatureKind.PROFILE,
            scope=Scope.MEMBER,
            result="string",
            off_events=(0,),
            initial=1.0,
            values=("film", "músic"),
        ),
    ),
    segments=(Segment(name="all", program=0),),
    channels=(Channel(name="push", inbound=False, outbound=True, consent=0),),
    families=("content",),
    offers=(
        Offer(
            name="film_pack",
            kind="offer",
            family="content",
            segment_prices=(SegmentPrice(segment=0, price_minor=5),),
            excludes=(0,),
            treatments=(Treatment(name="t", channel=0, text="…", parameters=(("size", "big"), ("days", "7"))),),
        ),
    ),
    journeys=(
        Journey(name="j", trigger=Trigger(events=(0,), program=0), contact_events=(0,), offers=(0,), outbound=(0,)),
        Journey(name="contact"),
    ),
    policy=ContactPolicy(
        caps=(ContactCap(name="c", scope=Scope.MEMBER, channels=(0,), window_us=7, most=1),),
        rules=(ContactRule(name="r", scope=RuleScope.LINE, limit=Limit.COUNT, what=Selector(), other=Selector()),),
    ),
    arbitration=Arbitration(exploration=0.25),
    clock=EventTimeRules(lateness_us=5),
)


@given(plan=plans())
@settings(max_examples=30)
def test_the_bytes_of_a_plan_give_the_plan(plan):
    read = plan_from_bytes(plan.canonical_bytes)

    assert read == plan
    assert read.canonical_bytes == plan.canonical_bytes
    assert read.version == plan.version


def test_the_bytes_of_a_plan_with_everything_in_it_give_the_plan():
    read = plan_from_bytes(FULL.canonical_bytes)

    assert read == FULL
    assert read.version == FULL.version
    assert type(read.features[0].kind) is FeatureKind


def test_the_version_is_the_same_on_every_machine_and_day():
    assert Plan(name="empty").version == "53996f17504dd381"


def test_a_whole_number_where_a_fraction_may_stand_is_the_same_plan():
    whole = Plan(name="p", arbitration=Arbitration(exploration=0), programs=(Program(text="", ops=(1,), args=(3,)),))
    fraction = Plan(
        name="p", arbitration=Arbitration(exploration=0.0), programs=(Program(text="", ops=(1,), args=(3.0,)),)
    )

    assert whole == fraction
    assert whole.version == fraction.version
    assert plan_from_bytes(whole.canonical_bytes).version == whole.version


def changed_everywhere(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the value with each of its parts changed in turn, and where."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            for where, changed in changed_everywhere(getattr(value, field.name), f"{path}.{field.name}"):
                yield where, dataclasses.replace(value, **{field.name: changed})
    elif isinstance(value, tuple):
        if not path.endswith("]"):  # a pair inside a list stays a pair
            yield f"{path}[+]", (*value, value[0] if value else "more")
        if len(set(value)) > 1:
            yield f"{path} reversed", value[::-1]
        for index, item in enumerate(value):
            for where, changed in changed_everywhere(item, f"{path}[{index}]"):
                yield where, (*value[:index], changed, *value[index + 1 :])
    elif isinstance(value, StrEnum):
        yield path, next(other for other in type(value) if other is not value)
    elif isinstance(value, bool):
        yield path, not value
    elif isinstance(value, str):
        yield path, value + "x"
    else:
        yield path, 1.5 if value is None else value + 1 if abs(value) < 1e20 else value * 2


CHANGES = dict(changed_everywhere(FULL))


@pytest.mark.parametrize("where", CHANGES)
def test_a_change_of_any_value_changes_the_version(where):
    assert CHANGES[where].version != FULL.version


def test_every_field_of_every_part_of_a_plan_was_changed_above():
    kinds = [Plan, Field, EventField, EventType, Program, Window, Feature, Segment, Channel, Treatment, SegmentPrice]
    kinds += [Offer, Trigger, Journey, ContactCap, ContactRule, Selector, ContactPolicy, Arbitration, EventTimeRules]
    fields = {field.name for kind in kinds for field in dataclasses.fields(kind)}

    assert {name for where in CHANGES for name in where.replace("[", ".").split(".")} >= fields - {"name"}


def told(**changes: Any) -> bytes:
    return json.dumps(json.loads(FULL.canonical_bytes) | changes).encode()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"\xff", "not a plan"),
        (b"{", "not a plan"),
        (b"[]", "not a plan"),
        (b"{}", "layout None"),
        (told(layout=2), "plan layout 2, this software reads 1"),
        (told(surprise=1), "surprise"),
        (told(name=5), "not a plan"),
        (told(currency=None), "not a plan"),
        (told(families=["a", 3]), "not a plan"),
        (told(segments=[{"name": "all", "program": "first"}]), "not a plan"),
        (told(segments=[{"name": "all"}]), "program"),
        (told(segments=7), "not a plan"),
        (told(fields=[{"name": "f", "kind": "colour"}]), "colour"),
        (told(clock={"lateness_us": 1.5}), "not a plan"),
    ],
)
def test_bytes_that_are_no_plan_are_refused_saying_why(raw, says):
    with pytest.raises(PlanUnreadable, match=says):
        plan_from_bytes(raw)


def test_names_lead_to_indices():
    assert FULL.event_type_by_name == {"visit": 0}
    assert FULL.field_by_name == {"genre": 0}
    assert FULL.channel_by_name == {"push": 0}
    assert FULL.offer_by_name == {"film_pack": 0}
    assert FULL.journey_by_name == {"j": 0, "contact": 1}
    assert FULL.scored_features == (0, 1)
    assert dataclasses.replace(
        FULL, features=(dataclasses.replace(FULL.features[0], scored=False), FULL.features[1])
    ).scored_features == (1,)
