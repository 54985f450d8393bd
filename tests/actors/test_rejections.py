"""Laws: a rejection names the field and the bound that the fold looked at; unknown fields are counted by name."""

from pathlib import Path

import pytest

from actors.partition.answers import description
from actors.partition.unknown_fields import NAMES_MAX, UnknownFields
from hearth.v1 import signal_pb2
from serving.signal_batches import TooManyFields, batch_from_signals, pass_over
from tests.actors.harness import DAY, MINUTE, MONDAY, SECOND, corner, in_loop, running, signal

LONG = "x" * 129


def untimed() -> signal_pb2.Signal:
    made = signal("e", "h", "visit", MONDAY)
    made.ClearField("time")
    return made


@pytest.mark.parametrize(
    ("sent", "reason", "field", "detail"),
    [
        (signal("e", "h", "pya", MONDAY), "UNKNOWN_TYPE", "type",
         "type: the playbook declares no event type 'pya'; did you mean 'pay'?"),
        (signal("e", "h", "", MONDAY), "UNKNOWN_TYPE", "type", "type: is missing"),
        (signal("e", "h", "pay", MONDAY), "MISSING_FIELD", "amount", "amount: is missing, and pay needs it"),
        (signal("e", "h", "pay", MONDAY, fields={"amount": 1e9}), "OUT_OF_RANGE", "amount",
         "amount: 1000000000 is above 1000000"),
        (signal("e", "h", "pay", MONDAY, fields={"amount": -0.5}), "OUT_OF_RANGE", "amount",
         "amount: -0.5 is below 0"),
        (signal("e", "h", "pay", MONDAY, fields={"amount": float("nan")}), "BAD_VALUE", "amount",
         "amount: nan is no number to reckon with"),
        (signal("e", "h", "pay", MONDAY, fields={"amount": "much"}), "BAD_VALUE", "amount",
         "amount: the text 'much' stands where a number belongs"),
        (signal("e", "h", "pay", MONDAY, fields={"amount": 1.0, "pack": "gold"}), "BAD_VALUE", "pack",
         "pack: 'gold' is none of film, kids"),
        (signal("e", "h", "pay", MONDAY, fields={"amount": 1.0, "pack": 2.0}), "BAD_VALUE", "pack",
         "pack: the number 2 stands where a text belongs"),
        (signal("e", "h", "visit", MONDAY, fields={"marketing": 3.0}), "BAD_VALUE", "marketing",
         "marketing: 3 is neither 0 nor 1"),
        (signal("e", "h", "visit", -5 * SECOND), "PAST_CALENDAR", "time",
         "time: 1969-12-31T23:59:55+00:00 is before 1970"),
        (untimed(), "MISSING_TIME", "time",
         "time: is missing, or its nanos are none: 0 to 999,999,999"),
        (signal("", "h", "visit", MONDAY), "BAD_ID", "event_id", "event_id: is missing"),
        (signal(LONG, "h", "visit", MONDAY), "BAD_ID", "event_id", "event_id: 129 bytes, at most 128 are allowed"),
        (signal("e", "", "visit", MONDAY), "BAD_KEY", "household", "household: is missing"),
        (signal("e", "h", "visit", MONDAY, member=LONG), "BAD_KEY", "member",
         "member: 129 bytes, at most 128 are allowed"),
    ],
)  # fmt: skip
def test_a_rejection_names_field_value_and_bound(
    sent: signal_pb2.Signal, reason: str, field: str, detail: str, tmp_path: Path
):
    @in_loop
    async def check() -> None:
        async with running(tmp_path) as hearth:
            answer = await hearth.ingest(signal("good", "h", "visit", MONDAY), sent)
            (found,) = answer.rejections
            assert (found.index, found.reason, found.field, found.detail) == (1, reason, field, detail)

    check()


@in_loop
async def test_a_time_ahead_is_told_with_what_is_allowed(tmp_path: Path):
    async with running(tmp_path) as hearth:
        (found,) = (await hearth.ingest(signal("e", "h", "visit", MONDAY + DAY))).rejections
        assert found.field == "time"
        assert "86,400 s ahead of the owner's clock, at most" in found.detail
        (found,) = (await hearth.ingest(signal("f", "h", "visit", MONDAY + 5 * MINUTE + 1))).rejections
        assert "300.000001 s ahead of the owner's clock, at most 300 s" in found.detail


@in_loop
async def test_fields_that_the_playbook_does_not_know_are_told_and_counted(tmp_path: Path):
    async with running(tmp_path) as hearth:
        first = await hearth.ingest(
            signal("1", "h", "visit", MONDAY, fields={"amout": 1.0}),
            signal("2", "h", "visit", MONDAY, fields={"amout": "x", "amount": 1.0}),
            signal("3", "h", "visit", MONDAY, fields={"zzz": True}),
        )
        assert [(one.name, one.signals) for one in first.unknown_fields] == [("amout", 2), ("zzz", 1)]
        assert first.counts.applied == 3
        again = await hearth.ingest(signal("4", "h", "visit", MONDAY, fields={"amout": 1.0}))
        assert [(one.name, one.signals) for one in again.unknown_fields] == [("amout", 1)]
        report = hearth.shard.report()[0]
        assert (report["unknown_field:amout"], report["unknown_field:zzz"]) == (3, 1)
        assert "unknown_field:amount" not in report


def test_names_without_end_take_no_memory_without_end():
    unknown = UnknownFields()
    unknown.note(tuple((f"name_{number}", 2) for number in range(NAMES_MAX + 50)))
    unknown.note((("name_0", 1),))
    assert len(unknown.counts()) == NAMES_MAX
    assert (unknown.counts()["name_0"], unknown.others) == (3, 100)


def test_the_description_of_a_playbook_has_its_types_fields_and_bounds():
    pay = next(one for one in description(corner()).types if one.name == "pay")
    amount, pack = pay.fields
    assert (amount.name, amount.kind, amount.required, amount.least, amount.most) == ("amount", "number", True, 0, 1e6)
    assert (pack.kind, list(pack.values), pack.required, pack.HasField("least")) == (
        "enum",
        ["film", "kids"],
        False,
        False,
    )


def test_of_too_many_fields_those_that_are_not_known_are_passed_over():
    sent = [
        signal(f"e{number}", "h", "visit", MONDAY, fields={f"x{number}": 1.0, "amount": 2.0}) for number in range(600)
    ]
    with pytest.raises(TooManyFields):
        batch_from_signals(sent)

    passed_over = pass_over(sent, {"amount"})

    assert len(passed_over) == 600
    assert all(one.passed_over and one.signals == 1 for one in passed_over)
    batch = batch_from_signals(sent)
    assert [name for name in batch.schema.names if ":" in name] == ["n:amount"]
