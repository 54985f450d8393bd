"""Laws of `hearth restart --rolling` on a real `hearth up` under load, its partitions on segment files:
- every shard, every edge and the coordinator is another process at its end;
- no call fails that is tried once more;
- nothing acknowledged is lost, doubled or contradicted, as the judges of tests/chaos/oracles.py see it.

Negative control: with every edge killed at once, calls do fail.

`python -m tests.chaos.rolling_trial --calls 100000` is the same at full size. What was measured is printed (-s).
"""

import asyncio
import os
import sys

import pytest

from tests.chaos.rolling_trial import Told, trial

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(3_000)]

CALLS = int(os.environ.get("CHAOS_ROLLING_CALLS", "5000"))
RATE = float(os.environ.get("CHAOS_ROLLING_RATE", "25"))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    seen = asyncio.run(trial(tmp_path_factory.mktemp("rolling"), calls=CALLS, rate=RATE))
    print(f"\n    {seen.summary}\n    {seen.verdict.summary}", file=sys.stderr)
    return seen


def test_every_process_is_replaced(told: Told):
    assert told.restarts_s
    assert told.stayed == []


def test_no_call_fails_that_is_tried_once_more(told: Told):
    assert told.calls >= CALLS
    assert told.restarting.calls > 0
    assert told.at_rest.failed + told.restarting.failed == 0, told.restarting.told()


def test_with_every_edge_killed_calls_fail(told: Told):
    assert told.control.failed > 0


def test_nothing_is_lost_doubled_or_contradicted(told: Told):
    told.verdict.assert_clean()
    assert told.verdict.decisions > 100
