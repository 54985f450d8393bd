"""The hash of a request's body: the same for the same ask however it travels, another for any other."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hearth.v1 import decision_pb2, delivery_pb2, signal_pb2
from serving.identity import ack_hash, decide_hash, report_hash


def a_signal(**changed: object) -> signal_pb2.Signal:
    plain = {
        "event_id": "e",
        "type": "app.visit",
        "household": "h",
        "member": "m",
        "time": Timestamp(seconds=5, nanos=7),
    }
    one = signal_pb2.Signal(**plain | changed)  # type: ignore[arg-type]
    one.fields["amount"].number = 5.5
    one.fields["shop"].text = "corner"
    return one


def a_decide(*signals: signal_pb2.Signal, **changed: str) -> decision_pb2.DecideRequest:
    plain = {"request_id": "r", "household": "h", "member": "m", "channel": "app"}
    return decision_pb2.DecideRequest(**plain | changed, signals=signals)  # type: ignore[arg-type]


def test_what_is_recorded_stays_what_it_was():
    assert decide_hash(a_decide(a_signal())).hex() == "423493513d4c77a6c68088147de147ae"
    report = decision_pb2.ReportRequest(
        household="h", channel="app", action_id="a", outcome=decision_pb2.OUTCOME_ACCEPT, time=Timestamp(seconds=9)
    )
    assert report_hash(report).hex() == "538500b974349c1ea79215f920d32039"
    assert (
        ack_hash(delivery_pb2.AckRequest(household="h", action_id="a", delivered=True)).hex()
        == "56ad51ca5e0e481b564bdb38821e69dc"
    )


def test_neither_the_request_id_nor_the_order_of_fields_counts():
    asked = a_decide(a_signal())
    other = signal_pb2.Signal(
        event_id="e", type="app.visit", household="h", member="m", time=Timestamp(seconds=5, nanos=7)
    )
    other.fields["shop"].text = "corner"
    other.fields["amount"].number = 5.5
    other.fields["nothing"].SetInParent()
    assert decide_hash(a_decide(other, request_id="another")) == decide_hash(asked)
    ack = {"household": "h", "action_id": "a"}
    told = ack_hash(delivery_pb2.AckRequest(**ack, request_id="x", detail="busy"))
    assert told == ack_hash(delivery_pb2.AckRequest(**ack))


def changed_field(name: str, **value: object) -> signal_pb2.Signal:
    one = a_signal()
    one.fields[name].CopyFrom(signal_pb2.FieldValue(**value))  # type: ignore[arg-type]
    return one


def test_everything_else_of_a_decide_counts():
    first, second = a_signal(), a_signal(event_id="f")
    asks = [
        a_decide(),
        a_decide(household="i"),
        a_decide(member=""),
        a_decide(member="hm", household=""),
        a_decide(channel="web"),
        a_decide(first),
        a_decide(second),
        a_decide(first, second),
        a_decide(second, first),
        a_decide(first, first),
        *(a_decide(a_signal(**{name: "x"})) for name in ("type", "household", "member", "source")),
        a_decide(a_signal(time=Timestamp(seconds=5, nanos=8))),
        a_decide(a_signal(time=Timestamp())),
        a_decide(a_signal(time=None)),
        a_decide(changed_field("amount", number=5.25)),
        a_decide(changed_field("amount", text="5.5")),
        a_decide(changed_field("more", flag=False)),
        a_decide(changed_field("shop", text="")),
    ]
    assert len({decide_hash(ask) for ask in asks}) == len(asks)


def test_everything_else_of_a_report_and_an_ack_counts_and_they_are_never_the_same():
    base = {"household": "h", "action_id": "a"}
    reports = [
        decision_pb2.ReportRequest(**base, outcome=outcome, **more)  # type: ignore[arg-type]
        for outcome in (decision_pb2.OUTCOME_ACCEPT, decision_pb2.OUTCOME_DECLINE)
        for more in ({}, {"channel": "app"}, {"member": "app"}, {"time": Timestamp()}, {"time": Timestamp(nanos=1)})
    ]
    acks = [
        delivery_pb2.AckRequest(**base, delivered=delivered, **more)  # type: ignore[arg-type]
        for delivered in (False, True)
        for more in ({}, {"channel": "sms"}, {"group": "sms"})
    ]
    hashes = {*map(report_hash, reports), *map(ack_hash, acks), report_hash(decision_pb2.ReportRequest(household="h"))}
    assert len(hashes) == len(reports) + len(acks) + 1


@pytest.mark.parametrize("number", [0.1, 1e300, -0.0, float("inf")])
def test_a_number_counts_to_its_last_bit(number: float):
    one, other = changed_field("amount", number=number), changed_field("amount", number=number or 0.0)
    is_same = str(number) == str(number or 0.0)
    assert (decide_hash(a_decide(one)) == decide_hash(a_decide(other))) == is_same
