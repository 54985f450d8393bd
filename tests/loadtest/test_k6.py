"""Laws of the foreign client: it finds nothing wrong with right answers, and finds what is wrong with wrong ones."""

import pytest

from loadtest.k6 import K6Missing, K6Settings, as_text, k6_binary, run_k6
from tests.loadtest.fake_hearth import Faults, running


@pytest.fixture(autouse=True)
def k6_is_here():
    try:
        k6_binary()
    except K6Missing as missing:
        pytest.skip(str(missing))


def test_right_answers_pass_every_check(hearth_of):
    with running(hearth_of()) as address:
        summary = run_k6(K6Settings(target=address, rate=50, seconds=1, channels="app,ussd", run="first"))

    assert summary["errors"] == 0
    assert [check["fails"] for check in summary["checks"]] == [0] * 6
    assert 50 <= summary["calls"] + summary["dropped"] <= 52
    assert f"{summary['calls']} of {summary['calls']}" in as_text(summary)
    # On a busy machine k6 may start calls late, which is not what is tested here.
    assert summary["ok"] or summary["dropped"]


def test_errors_and_missing_reasons_are_found(hearth_of):
    with running(hearth_of(Faults(fails_every=5, no_reasons=True))) as address:
        summary = run_k6(K6Settings(target=address, rate=50, seconds=1, run="second"))

    failed = {check["name"] for check in summary["checks"] if check["fails"]}
    assert not summary["ok"]
    assert summary["errors"] > 0
    assert {"status is OK", "at least one reason"} <= failed
