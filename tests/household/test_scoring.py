"""What a model sees.

Laws: the rows of a live decision equal the rows rebuilt from its record, to the last bit; the schema hash changes with
the meaning of a column and with nothing else; unknown stays unknown and never is longer ago than any time.
"""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from household.plan import (
    Channel,
    EventType,
    Feature,
    FeatureKind,
    Field,
    FieldKind,
    Offer,
    Plan,
    Program,
    Scope,
    Treatment,
    Window,
)
from household.scoring import (
    CONTEXT_COLUMNS,
    NEVER,
    OFFER_COLUMNS,
    feature_schema,
    rows_from_record,
    schema_hash,
    score_rows,
    state_vector,
)

PLAN = Plan(
    name="shop",
    fields=(Field(name="amount", kind=FieldKind.NUMBER),),
    event_types=(EventType(name="top_up", source="billing"), EventType(name="visit", source="app")),
    programs=(Program(text="amount > 5.0", ops=(), args=()),),
    windows=(Window(scope=Scope.HOUSEHOLD, events=(0,), bucket_us=3_600_000_000, bucket_count=24, where=0, field=0),),
    features=(
        Feature(name="spent_1d", kind=FeatureKind.WINDOW_SUM, scope=Scope.HOUSEHOLD, result="double", window=0),
        Feature(name="visited", kind=FeatureKind.LAST_SEEN, scope=Scope.HOUSEHOLD, result="double", events=(1,)),
        Feature(name="health", kind=FeatureKind.COUNT, scope=Scope.MEMBER, result="int", events=(1,), scored=False),
        Feature(name="tier", kind=FeatureKind.PROFILE, scope=Scope.HOUSEHOLD, result="string", values=("none", "gold")),
    ),
    channels=(Channel(name="push", inbound=False, outbound=True), Channel(name="ivr", inbound=True, outbound=False)),
    families=("mobile", "content"),
    offers=(
        Offer(name="top_up_bundle", kind="offer", family="mobile", price_minor=500, prior_acceptance=0.1),
        Offer(name="thanks", kind="message", family="content", margin_minor=-3, prior_acceptance=0.5),
    ),
)

any_reading = st.floats(width=64)


@given(
    st.lists(any_reading, min_size=4, max_size=4),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10**7), st.booleans()), max_size=9),
    st.integers(0, 1),
    st.integers(0, 10_079),
)
def test_rows_online_equal_rows_from_the_record_to_the_last_bit(readings, candidates, channel, minute):
    offers = np.array([each[0] for each in candidates], np.int64)
    prices = np.array([each[1] for each in candidates], np.int64)
    moments = np.array([each[2] for each in candidates], np.bool_)
    live = np.array(readings, np.float64)
    online = score_rows(
        PLAN,
        readings=live,
        offers=offers,
        prices_minor=prices,
        has_moment=moments,
        channel=channel,
        local_minute_of_week=minute,
    )
    stored = state_vector(PLAN, live)
    one_record = rows_from_record(
        PLAN,
        state=stored,
        offers=offers,
        prices_minor=prices,
        has_moment=moments,
        channel=channel,
        local_minute_of_week=minute,
    )
    many_records = rows_from_record(
        PLAN,
        state=np.tile(stored, (len(offers), 1)),
        offers=offers,
        prices_minor=prices,
        has_moment=moments,
        channel=np.full(len(offers), channel),
        local_minute_of_week=np.full(len(offers), minute),
    )

    assert online.flags.c_contiguous
    assert online.tobytes() == one_record.tobytes() == many_records.tobytes()
    assert not np.isinf(online).any()


def test_a_row_holds_readings_then_offer_then_context():
    rows = score_rows(
        PLAN,
        readings=np.array([12.5, np.inf, 3.0, np.nan]),
        offers=np.array([1, 0]),
        prices_minor=np.array([0, 450]),
        has_moment=True,
        channel=1,
        local_minute_of_week=2 * 1440 + 23 * 60 + 59,
    )
    expected = np.array(
        [[12.5, NEVER, np.nan, 0.5, 0, -3, 1, 0, 1, 1, 23, 2], [12.5, NEVER, np.nan, 0.1, 450, 0, 0, 1, 1, 1, 23, 2]],
        np.float32,
    )
    np.testing.assert_array_equal(rows, expected)
    assert feature_schema(PLAN).names == ("spent_1d", "visited", "tier", *OFFER_COLUMNS, *CONTEXT_COLUMNS)
    assert feature_schema(PLAN).columns[-3].values == ("push", "ivr")


def test_never_is_longer_ago_than_any_time_and_is_not_unknown():
    vector = state_vector(PLAN, np.array([1e300, np.inf, 0.0, -np.inf]))
    assert vector.tolist() == [np.float32(NEVER), np.float32(NEVER), np.float32(-NEVER)]
    assert np.isnan(state_vector(PLAN, np.full(4, np.nan))).all()
    assert np.isfinite(np.float32(2) * np.float32(NEVER))


def test_a_minute_outside_the_week_is_a_bug():
    with pytest.raises(AssertionError, match="minute of the week"):
        score_rows(
            PLAN,
            readings=np.zeros(4),
            offers=np.array([0]),
            prices_minor=np.array([0]),
            has_moment=False,
            channel=0,
            local_minute_of_week=10_080,
        )


def feature(index: int, **changes: object) -> Plan:
    features = list(PLAN.features)
    features[index] = dataclasses.replace(features[index], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(PLAN, features=tuple(features))


def window(**changes: object) -> Plan:
    return dataclasses.replace(PLAN, windows=(dataclasses.replace(PLAN.windows[0], **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        feature(0, name="spent_one_day"),
        feature(1, unit="h"),
        feature(1, unit_us=1_000),
        feature(1, events=(0,)),
        feature(3, values=("none", "silver", "gold")),
        feature(3, scored=False),
        feature(2, scored=True),
        window(bucket_count=48),
        window(where=-1),
        dataclasses.replace(PLAN, features=PLAN.features[::-1]),
        dataclasses.replace(PLAN, channels=PLAN.channels[::-1]),
        dataclasses.replace(PLAN, families=("mobile", "content", "gaming")),
        dataclasses.replace(PLAN, currency="USD"),
        dataclasses.replace(PLAN, programs=(Program(text="amount > 6.0", ops=(), args=()),)),
        dataclasses.replace(PLAN, offers=(*PLAN.offers, Offer(name="b", kind="badge", family="mobile"))),
    ],
    ids=lambda plan: plan.version,
)
def test_the_hash_changes_when_a_column_may_mean_something_else(other):
    assert schema_hash(other) != schema_hash(PLAN)


@pytest.mark.parametrize(
    "other",
    [
        feature(2, name="illness"),
        dataclasses.replace(PLAN, name="another name"),
        dataclasses.replace(PLAN, offers=(*PLAN.offers, Offer(name="c", kind="offer", family="mobile"))),
        dataclasses.replace(PLAN, offers=PLAN.offers[::-1]),
        dataclasses.replace(
            PLAN,
            offers=(
                dataclasses.replace(PLAN.offers[0], treatments=(Treatment(name="t", channel=0, text="Hello"),)),
                dataclasses.replace(PLAN.offers[1], prior_acceptance=0.4),
            ),
        ),
        dataclasses.replace(
            PLAN,
            event_types=(EventType(name="new", source="app"), *PLAN.event_types),
            features=tuple(
                dataclasses.replace(each, events=tuple(event + 1 for event in each.events)) for each in PLAN.features
            ),
            windows=(dataclasses.replace(PLAN.windows[0], events=(1,)),),
        ),
    ],
    ids=lambda plan: plan.version,
)
def test_the_hash_stays_when_no_column_changes_its_meaning(other):
    assert other.version != PLAN.version
    assert schema_hash(other) == schema_hash(PLAN)


def test_the_hash_is_the_same_on_every_machine():
    assert schema_hash(PLAN) == "e9b5390006ce26e1"
