"""Laws: whole numbers of time are exact; what does not fit is marked and never guessed; an empty cell is absent."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake.reading.values import (
    TIME_US_MAX,
    Converted,
    as_calendar_time,
    as_counted_time,
    as_flag,
    as_number,
    as_text,
)


def result(converted: Converted) -> list[object]:
    pairs = zip(converted.values.to_pylist(), converted.is_wrong.tolist(), strict=True)
    return ["wrong" if is_wrong else value for value, is_wrong in pairs]


def us(*moment: int) -> int:
    since = datetime(*moment, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)  # type: ignore[misc, arg-type]
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


@given(st.integers(-(TIME_US_MAX // 1000), TIME_US_MAX // 1000 - 1))
def test_a_whole_number_of_milliseconds_is_exact_as_text_and_as_number(value: int):
    for column in (pa.array([str(value)]), pa.array([value])):
        assert result(as_counted_time(column, unit="ms", start_us=0)) == [value * 1000]


def test_counted_times_take_fractions_and_mark_what_is_no_time():
    column = pa.array(["1.5", "-2", "nan", "1e300", "soon", None, "99999999999999999999"])
    assert result(as_counted_time(column, unit="s", start_us=7)) == [
        1_500_007, -1_999_993, "wrong", "wrong", "wrong", None, "wrong",
    ]  # fmt: skip


def test_calendar_times_take_offsets_or_the_zone_of_the_mapping():
    column = pa.array(
        [
            "2026-07-01T12:00:00Z",
            "2026-07-01 12:00:00.1234567+02:00",
            "2026-07-01T12:00",
            "2026-02-30T00:00:00Z",
            "1783",
            None,
        ]
    )
    assert result(as_calendar_time(column, zone="Europe/Berlin", pattern=None)) == [
        us(2026, 7, 1, 12), us(2026, 7, 1, 10, 0, 0, 123456), us(2026, 7, 1, 10), "wrong", "wrong", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("2026-01-05 18:30:00+00", us(2026, 1, 5, 18, 30)),
        ("2026-01-05 18:30:00.123+01", us(2026, 1, 5, 17, 30, 0, 123_000)),
        ("2026-01-05T18:30:00-03", us(2026, 1, 5, 21, 30)),
        ("2026-01-05T18:30:00+0130", us(2026, 1, 5, 17)),
        ("2026-01-05t18:30:00z", us(2026, 1, 5, 18, 30)),
        ("2026-01-05 18:30:00 UTC", us(2026, 1, 5, 18, 30)),
        ("2026-01-05 18:30:00 +0100", us(2026, 1, 5, 17, 30)),
        ("2026-01-05T18:30:00,5Z", us(2026, 1, 5, 18, 30, 0, 500_000)),
        ("20260105T183000Z", us(2026, 1, 5, 18, 30)),
        ("20260105T1830+0130", us(2026, 1, 5, 17)),
        ("20260105", "wrong"),
        ("2026-01-05T18Z", us(2026, 1, 5, 18)),
        ("2026-01-05", us(2026, 1, 5)),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("9999-12-31T23:59:59-05:00", us(9999, 12, 31, 23, 59, 59) + 5 * 3_600_000_000),
        ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
        ("2016-12-31T23:59:60Z", us(2017, 1, 1)),
        ("2017-01-01T00:59:60.25+01", us(2017, 1, 1, 0, 0, 0, 250_000)),
        ("2026-01-05T24:00:00Z", us(2026, 1, 6)),
        ("2026-01-05T24:00", us(2026, 1, 6)),
        ("2026-01-05T12:30:60Z", "wrong"),
        ("2026-01-05T24:00:01Z", "wrong"),
        ("2026-01-05T25:00Z", "wrong"),
        ("2026-01-05T18:30:61Z", "wrong"),
        ("2026-01-05T18:30+24:00", "wrong"),
        ("2026-02-30 18:30:00+00", "wrong"),
        ("1767637800", "wrong"),
    ],
)
def test_iso_8601_as_databases_and_rfc_3339_write_it(text: str, time_us: object):
    for cells in ([text], [text, "2026-01-05T18:30:00Z", "nonsense", None]):
        assert result(as_calendar_time(pa.array(cells), zone="UTC", pattern=None))[0] == time_us


def test_nanoseconds_are_rounded_down_also_before_1970_and_as_numbers():
    wanted = [-1, -1, -2, 0, 1_767_637_800_123_456]
    ticks = [-1, -1_000, -1_001, 999, 1_767_637_800_123_456_999]
    assert result(as_calendar_time(pa.array(ticks, pa.timestamp("ns")), zone="UTC", pattern=None)) == wanted
    for column in (pa.array(ticks), pa.array([str(tick) for tick in ticks])):
        assert result(as_counted_time(column, unit="ns", start_us=0)) == wanted


def test_a_pattern_with_an_offset_may_name_the_first_and_the_last_day_of_the_calendar():
    column = pa.array(["9999-12-31 23:59 -0500", "0001-01-01 00:00 +0500"])
    assert result(as_calendar_time(column, zone="UTC", pattern="%Y-%m-%d %H:%M %z")) == [
        us(9999, 12, 31, 23, 59) + 5 * 3_600_000_000, us(1, 1, 1) - 5 * 3_600_000_000,
    ]  # fmt: skip


def test_an_hour_that_occurs_twice_or_never_is_one_instant_always():
    twice_and_never = pa.array(["2026-10-25T02:30:00", "2026-03-29T02:30:00"])
    assert result(as_calendar_time(twice_and_never, zone="Europe/Berlin", pattern=None)) == [
        us(2026, 10, 25, 0, 30), us(2026, 3, 29, 1, 0),
    ]  # fmt: skip


def test_a_pattern_and_arrows_own_types_are_times_too():
    assert result(as_calendar_time(pa.array(["05.01.2026 09:30", "?"]), zone="UTC", pattern="%d.%m.%Y %H:%M")) == [
        us(2026, 1, 5, 9, 30), "wrong",
    ]  # fmt: skip
    for kind in (pa.timestamp("ns"), pa.timestamp("s", "Europe/Berlin"), pa.date32()):
        column = (
            pa.array([datetime(2026, 1, 5, tzinfo=UTC)], pa.timestamp("us", "UTC")).cast(pa.timestamp("us")).cast(kind)
        )
        assert result(as_calendar_time(column, zone="UTC", pattern=None)) == [us(2026, 1, 5)]


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1", " 2.5 ", "-3e2", ".5", "+7", None], [1.0, 2.5, -300.0, 0.5, 7.0, None]),
        (["1,5", "0x10", "1_000", "--1", "one", " "], ["wrong"] * 6),
        (["inf", "-Infinity"], [float("inf"), float("-inf")]),
    ],
)
def test_numbers(cells: list[str | None], numbers: list[object]):
    assert result(as_number(pa.array(cells, pa.string()))) == numbers


def test_flags_and_texts():
    assert result(as_flag(pa.array(["TRUE", "0", " yes", "maybe", None]))) == [True, False, True, "wrong", None]
    assert as_text(pa.array([1.0, 2.5, None])).to_pylist() == ["1", "2.5", None]
    assert as_text(pa.array([float("nan"), 1.0])).to_pylist() == [None, "1"]
    assert as_text(pa.array([b"x", None])).to_pylist() == ["x", None]
    assert as_text(pa.array([True])).to_pylist() == ["true"]
