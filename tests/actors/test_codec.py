"""Bytes to values and back.

Laws: a decision survives its record whole; a plan and an epoch do; a signal batch means the same whatever way its
columns are encoded; whatever is not a payload of its kind, or newer than this software, raises PayloadUnreadable and
nothing else, and never ends the process.
"""

import dataclasses
import math
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.records import codec
from actors.records.payload import PayloadUnreadable
from actors.records.signals import decode_signals, decode_together, events_from_batch
from household.decision import Candidate, Decision, Moment, SlateAction
from household.decision_bytes import encode_decision
from household.events import NO_TIME_US, UNKNOWN_TYPE, EventBatch
from household.plan import PlanUnreadable
from household.state import FOLD_VERSION
from household.terms import Price, Terms
from serving.signal_batches import batch_from_signals
from tests.actors.harness import MONDAY, corner, signal
from wire.batches import ipc_bytes

texts = st.text(max_size=12)
keys = st.binary(max_size=12)
times_us = st.integers(0, 2**52)
prices = st.integers(-(2**40), 2**40)
scores = st.floats(0, 1)
moments = st.builds(
    Moment,
    moment_id=texts,
    journey=texts,
    member=st.integers(-1, 5),
    event_id=keys,
    event_type=texts,
    time_us=times_us,
)
candidates = st.builds(
    Candidate,
    offer=texts,
    score=st.none() | scores,
    value_minor=st.none() | st.floats(allow_nan=False),
    vetoes=st.lists(texts, max_size=3).map(tuple),
    terms=st.none()
    | st.builds(
        Terms,
        gain_minor=st.floats(allow_nan=False),
        cost_minor=prices,
        probability=scores,
        shown=st.integers(0, 2**40),
        increment_minor=prices,
        is_gross=st.booleans(),
        context=st.just(1.0) | scores,
        lever=st.just(1.0) | scores,
        uplift=st.none() | scores,
        stay=st.just(1.0) | scores,
        prices=st.lists(st.builds(Price, of=texts, minor=st.floats(0, 2**40)), max_size=2).map(tuple),
    ),
)
actions = st.builds(
    SlateAction, action_id=texts, offer=texts, journey=texts, price_minor=prices, valid_until_us=times_us
)
vectors = st.lists(st.floats(width=32), max_size=6).map(lambda values: np.array(values, np.float32))
decisions = st.builds(
    Decision,
    decision_id=texts,
    request_id=texts,
    household=keys,
    member=keys,
    channel=texts,
    decided_us=times_us,
    moments=st.lists(moments, max_size=3).map(tuple),
    plan_version=texts,
    model_version=texts,
    schema_hash=texts,
    degraded=st.booleans(),
    withheld=st.booleans(),
    propensity=scores,
    reasons=st.lists(texts, max_size=3).map(tuple),
    candidates=st.lists(candidates, max_size=3).map(tuple),
    slate=st.lists(actions, max_size=3).map(tuple),
    stands=texts,
    answered=texts,
    send_channel=texts,
    send_before_us=times_us,
    local_minute_of_week=st.integers(0, 10_079),
    state_vector=vectors,
)

MEMBER_KEYS = {row: f"member-{row}".encode() for row in range(6)}


def rows(household: str = "h", count: int = 4):
    return [
        signal(
            f"e{n}", household, "pay", MONDAY + n, member="m", fields={"amount": n / 4, "pack": ("film", "kids")[n % 2]}
        )
        for n in range(count)
    ]


def a_decision() -> Decision:
    return Decision(
        decision_id="d",
        request_id="",
        household=b"h",
        member=b"",
        channel="app",
        decided_us=1,
        moments=(),
        plan_version="p",
        model_version="prior",
        schema_hash="",
        degraded=False,
        withheld=False,
        propensity=1.0,
        reasons=("WHY",),
        candidates=(),
        slate=(),
        stands="",
        answered="",
        send_channel="",
        send_before_us=0,
        local_minute_of_week=0,
        state_vector=np.zeros(2, np.float32),
    )


# --- decisions --------------------------------------------------------------------------------------------------------


@given(decisions)
def test_a_decision_survives_its_record_whole(decision: Decision):
    read = codec.decode_decision(encode_decision(decision, member_keys=MEMBER_KEYS))
    assert read.moment_members == tuple(MEMBER_KEYS.get(moment.member, b"") for moment in decision.moments)
    for field in dataclasses.fields(Decision):
        before, after = getattr(decision, field.name), getattr(read.decision, field.name)
        if field.name == "state_vector":
            assert before.tobytes() == after.tobytes()
        elif field.name == "moments":
            assert tuple(dataclasses.replace(moment, member=-1) for moment in before) == after
        else:
            assert before == after
            assert type(before) is type(after)


@given(decisions)
def test_a_decision_has_one_encoding(decision: Decision):
    payload = encode_decision(decision, member_keys=MEMBER_KEYS)
    read = codec.decode_decision(payload)
    rows_again = dict(enumerate(read.moment_members))
    moments_again = tuple(dataclasses.replace(moment, member=row) for row, moment in enumerate(read.decision.moments))
    again = dataclasses.replace(read.decision, moments=moments_again)
    assert encode_decision(again, member_keys=rows_again) == payload


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgpack.packb(7),
        msgpack.packb([1, 2]),
        msgpack.packb({"decision_id": "d"}),
        msgpack.packb({"moments": [], "candidates": [[1]], "reasons": [], "slate": []}),
        encode_decision(a_decision(), member_keys={})[:-3],
        encode_decision(a_decision(), member_keys={}) + b"\0",
    ],
)
def test_what_is_no_decision_is_unreadable(payload: bytes):
    with pytest.raises(PayloadUnreadable):
        codec.decode_decision(payload)


# --- plans and epochs -------------------------------------------------------------------------------------------------


def test_a_plan_survives_its_record_under_the_same_version():
    plan = corner()
    assert codec.decode_plan(codec.encode_plan(plan)) == plan
    assert codec.decode_plan(codec.encode_plan(plan)).version == plan.version
    with pytest.raises(PlanUnreadable):
        codec.decode_plan(b"no plan")


@given(st.text(max_size=20), st.booleans())
def test_an_epoch_survives_its_record(owner: str, stream_clock: bool):
    opening = codec.EpochOpening(owner=owner, stream_clock=stream_clock, fold_version=FOLD_VERSION)
    assert codec.decode_epoch(codec.encode_epoch(opening)) == opening


def test_an_epoch_of_a_newer_fold_is_refused_by_name():
    newer = codec.EpochOpening(owner="shard-0", stream_clock=False, fold_version=FOLD_VERSION + 1)
    with pytest.raises(PayloadUnreadable, match=f"fold version {FOLD_VERSION + 1}.* is at {FOLD_VERSION}"):
        codec.decode_epoch(codec.encode_epoch(newer))


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgpack.packb(7), msgpack.packb({"owner": "x"})])
def test_what_is_no_epoch_is_unreadable(payload: bytes):
    with pytest.raises(PayloadUnreadable):
        codec.decode_epoch(payload)


# --- signals ----------------------------------------------------------------------------------------------------------


def test_a_signal_batch_becomes_columns_of_the_plan():
    plan = corner()
    sent = [*rows(), signal("x", "g", "no.such.type", MONDAY), signal("y", "g", "hearth.accept", MONDAY)]
    sent[-1].fields["action_id"].text = "a-0"
    sent[-1].ClearField("time")
    batch = decode_signals(ipc_bytes(batch_from_signals(sent)), plan)
    assert [batch.ids[row] for row in range(6)] == [b"e0", b"e1", b"e2", b"e3", b"x", b"y"]
    assert [batch.households[row] for row in range(6)] == [b"h"] * 4 + [b"g"] * 2
    assert [batch.members[row] for row in range(6)] == [b"m"] * 4 + [b""] * 2
    pay, accept = plan.event_type_by_name["pay"], plan.event_type_by_name["hearth.accept"]
    assert batch.types.tolist() == [pay] * 4 + [UNKNOWN_TYPE, accept]
    assert batch.times_us.tolist() == [MONDAY + n for n in range(4)] + [MONDAY, NO_TIME_US]
    assert batch.values[plan.field_by_name["amount"]].tolist()[:4] == [0.0, 0.25, 0.5, 0.75]
    assert batch.values[plan.field_by_name["pack"]].tolist()[:4] == [0.0, 1.0, 0.0, 1.0]
    assert math.isnan(batch.values[plan.field_by_name["amount"], 4])
    assert batch.is_bad.tolist() == [0] * 6
    assert [(one.row, one.outcome, one.action_id) for one in batch.outcomes] == [(5, "accept", "a-0")]


@pytest.mark.parametrize(
    ("name", "value", "is_bad"),
    [
        ("amount", 1.0, False),
        ("amount", float("nan"), True),
        ("amount", float("inf"), True),
        ("amount", "1.0", True),
        ("pack", "film", False),
        ("pack", "opera", True),
        ("pack", 0.0, True),
        ("marketing", True, False),
        ("marketing", 0.5, True),
        ("not_declared", "whatever", False),
    ],
)
def test_a_value_of_the_wrong_kind_marks_its_row(name: str, value: float | str | bool, is_bad: bool):
    sent = [signal("a", "h", "pay", MONDAY), signal("b", "h", "pay", MONDAY, fields={name: value})]
    batch = decode_signals(ipc_bytes(batch_from_signals(sent)), corner())
    assert batch.is_bad.tolist() == [0, int(is_bad)]


def reencoded(batch: pa.RecordBatch, how: str) -> pa.RecordBatch:
    def one(column: pa.Array) -> pa.Array:
        match how:
            case "plain":
                return column.dictionary.take(column.indices) if pa.types.is_dictionary(column.type) else column
            case "unsigned":
                if not pa.types.is_dictionary(column.type):
                    return column
                return pa.DictionaryArray.from_arrays(column.indices.cast(pa.uint8()), column.dictionary)
            case "unsorted":
                if not pa.types.is_dictionary(column.type) or len(column.dictionary) < 2:
                    return column
                entries = column.dictionary.take(pa.array(range(len(column.dictionary))[::-1]))
                last = pa.scalar(len(entries) - 1, column.indices.type)
                return pa.DictionaryArray.from_arrays(pa.compute.subtract(last, column.indices), entries)
        raise AssertionError(how)

    return pa.RecordBatch.from_arrays([one(column) for column in batch.columns], names=batch.schema.names)


@pytest.mark.parametrize("how", ["plain", "unsigned", "unsorted", "sliced", "shuffled columns"])
def test_a_batch_means_the_same_however_its_columns_are_encoded(how: str):
    plan = corner()
    sent = batch_from_signals([*rows(), signal("x", "g", "visit", MONDAY)])
    if how == "sliced":
        padded = batch_from_signals([signal("z", "z", "check", 0), *rows(), signal("x", "g", "visit", MONDAY)])
        other = padded.slice(1)
    elif how == "shuffled columns":
        other = sent.select(sent.schema.names[::-1])
    else:
        other = reencoded(sent, how)
    wanted, found = events_from_batch(sent, plan), events_from_batch(other, plan)
    for row in range(5):
        assert (found.ids[row], found.households[row], found.members[row]) == (
            wanted.ids[row],
            wanted.households[row],
            wanted.members[row],
        )
    assert found.types.tolist() == wanted.types.tolist()
    assert found.times_us.tolist() == wanted.times_us.tolist()
    assert np.array_equal(found.values, wanted.values, equal_nan=True)
    assert found.is_bad.tolist() == wanted.is_bad.tolist()


def same(found: EventBatch, wanted: EventBatch) -> bool:
    """Whether two batches are the same to the fold."""
    keys = [
        [[one[row] for row in range(batch.count)] for one in (batch.ids, batch.households, batch.members)]
        for batch in (found, wanted)
    ]
    arrays = all(
        np.array_equal(getattr(found, name), getattr(wanted, name)) for name in ("types", "times_us", "is_bad")
    )
    values = np.array_equal(found.values, wanted.values, equal_nan=True)
    return keys[0] == keys[1] and arrays and values and found.outcomes == wanted.outcomes


a_signal = st.builds(
    lambda number, kind, member, fields, time: signal(
        f"e{number}", "h" * (number % 3), kind, time, member=member, fields=fields
    ),
    st.integers(0, 99),
    st.sampled_from(["pay", "visit", "no.such.type", "hearth.accept", "hearth.decline"]),
    st.sampled_from(["", "m", "other"]),
    st.dictionaries(
        st.sampled_from(["amount", "pack", "marketing", "action_id", "channel", "not_declared"]),
        st.sampled_from(["film", "kids", "opera", 1.0, 0.0, float("nan"), True]),
        max_size=3,
    ),
    st.sampled_from([MONDAY, MONDAY + 1]),
)


@given(st.lists(st.lists(a_signal, min_size=1, max_size=4), min_size=1, max_size=8))
def test_batches_decoded_together_are_as_each_decoded_alone(sent: list[list[Any]]):
    payloads = [ipc_bytes(batch_from_signals(signals)) for signals in sent]
    together, plan = decode_together(payloads, corner()), corner()
    assert len(together) == len(payloads)
    for payload, found in zip(payloads, together, strict=True):
        alone = decode_signals(payload, plan)
        assert same(found, alone)
        assert found.unknown_fields == alone.unknown_fields
        assert all(one.flags.c_contiguous and one.flags.writeable for one in (found.types, found.values))


def test_batches_that_do_not_go_together_say_so():
    """Each has 200 names of its own, and codes of one byte for them."""
    alone = []
    for batch in range(2):
        names = pa.array([f"{batch}-{n}" for n in range(200)])
        codes = pa.DictionaryArray.from_arrays(pa.array(range(200), pa.uint8()), names)
        sent = batch_from_signals([signal(f"e{n}", "h", "pay", MONDAY) for n in range(200)])
        alone.append(ipc_bytes(sent.append_column("s:pack", codes)))
    with pytest.raises(PayloadUnreadable):
        decode_together(alone, corner())
    assert all(decode_signals(payload, corner()).count == 200 for payload in alone)


def test_the_letters_of_a_batch_are_the_folds_own():
    """Arrow's buffers are read-only, and a kernel compiled for both would compile twice."""
    batch = decode_signals(ipc_bytes(batch_from_signals(rows())), corner())
    for keys_of_batch in (batch.ids, batch.households, batch.members):
        assert keys_of_batch.letters.flags.writeable
    for array in (batch.types, batch.times_us, batch.values, batch.is_bad):
        assert array.flags.writeable
        assert array.flags.c_contiguous


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_are_unreadable_or_a_sound_batch_and_never_the_end_of_the_process(seed: int):
    plan, chance = corner(), np.random.default_rng(seed)
    good = ipc_bytes(batch_from_signals(rows(count=20)))
    unreadable = 0
    for _ in range(500):
        damaged = bytearray(good)
        for at in chance.integers(len(damaged), size=chance.integers(1, 4)):
            damaged[at] = chance.integers(256)
        try:
            batch = decode_signals(bytes(damaged[: chance.integers(1, len(damaged) + 400)]), plan)
        except PayloadUnreadable:
            unreadable += 1
            continue
        for keys_of_batch in (batch.ids, batch.households, batch.members):
            assert bool((np.diff(keys_of_batch.offsets) >= 0).all())
            assert 0 <= keys_of_batch.offsets[0] <= keys_of_batch.offsets[-1] <= len(keys_of_batch.letters)
        assert bool((batch.types < len(plan.event_types)).all())
    assert 250 < unreadable < 500
