"""Laws: whatever is typed for an instant is one or is named; and so is what is no text at all."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.cli import main
from cluster.commands import registering
from cluster.errors import UsageWrong
from cluster.instants import instant_us
from tests.cluster.conftest import Run

TEXTS = st.text() | st.datetimes().map(datetime.isoformat) | st.integers().map(str)
TIMES = st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[+-][0-9]{2}:[0-9]{2}", fullmatch=True)


@given(TEXTS | TIMES, st.sampled_from(["UTC", "Pacific/Kiritimati", "Pacific/Niue"]))
def test_whatever_is_typed_is_an_instant_that_can_be_shown_or_is_named(text: str, zone: str):
    try:
        found = instant_us(text, option="--at", zone=zone)
    except UsageWrong:
        return
    assert found >= 0
    assert datetime.fromtimestamp(found / 1e6, tz=UTC).year < 10_000


def test_days_and_seconds_are_not_taken_for_microseconds():
    assert instant_us("20250106", option="--at") == instant_us("2025-01-06", option="--at")
    for seconds in ("1736157600", "1736157600000", "00001736157600"):
        with pytest.raises(UsageWrong, match=r"--at .* is too small for microseconds"):
            instant_us(seconds, option="--at")


def test_an_instant_is_read_to_the_microsecond_and_in_the_zone_that_is_meant():
    assert instant_us("2025-01-06T10:00:00.000001", option="--at") == 1_736_157_600_000_001
    assert instant_us("2025-01-06T10:00", option="--at", zone="Europe/Berlin") == 1_736_154_000_000_000


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00", "1969-12-31", "9" * 18, "9" * 30, "", "soon"]
)
def test_what_no_calendar_has_is_named(text: str):
    with pytest.raises(UsageWrong, match="--as-of"):
        instant_us(text, option="--as-of")


@pytest.mark.parametrize("command", ["explain", "household show"])
def test_bytes_that_are_no_text_are_named(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "h\udcff", "--target", "127.0.0.1:9"])
    assert (ended.value.code, capsys.readouterr().err) == (2, "hearth: b'h\\xff' is no text in UTF-8\n")


def test_what_a_model_has_seen_is_told_in_any_zone_and_does_not_lie_ahead(run: Run, monkeypatch: pytest.MonkeyPatch):
    saw: list[int | None] = []
    monkeypatch.setattr(
        registering, "register_version", lambda config, files, *, origin, **_: saw.append(origin.seen_to_us) or 0
    )
    for told in ("2026-01-06T12:00:00+02:00", "2026-01-06T10:00:00"):
        assert run("models", "register", "model.ubj", "--seen-to", told).code == 0
    assert saw == [1_767_693_600_000_000] * 2
    ahead = run("models", "register", "model.ubj", "--seen-to", "2999-01-01")
    assert (ahead.code, "is yet to come" in ahead.err, len(saw)) == (2, True, 2)
