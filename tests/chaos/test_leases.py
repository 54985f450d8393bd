"""Thousands of random schedules of holders and a challenger on clocks of different rates: never two owners at once.

Laws: those of tests/cluster/test_leases.py, for SCHEDULE_COUNT schedules of delays, pauses, lost calls, late commits
and hand-offs. Negative controls: each part of the rule left out (tests/cluster/lease_world.py) must be found by random
schedules, too, within CONTROL_COUNT of them.
"""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.cluster.lease_world import BROKEN, RATES, SCHEDULES, is_broken_by

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

SCHEDULE_COUNT = 1_000
CONTROL_COUNT = 2_000

SLOW = list(HealthCheck)


@settings(max_examples=SCHEDULE_COUNT, suppress_health_check=SLOW)
@given(SCHEDULES, RATES)
def test_no_two_hold_it_at_one_instant(schedule, rates):
    assert not is_broken_by(schedule, rates)


# Random schedules seldom find it; tests/cluster/test_leases.py has one schedule that does.
SELDOM_FOUND = {"stamps before reading"}


@pytest.mark.parametrize("left_out", sorted(BROKEN.keys() - SELDOM_FOUND))
def test_negative_control_random_schedules_find_what_is_left_out(left_out):
    @settings(
        max_examples=CONTROL_COUNT,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=SLOW,
    )
    @given(SCHEDULES, RATES)
    def no_two_hold_it(schedule, rates):
        assert not is_broken_by(schedule, rates, **BROKEN[left_out])

    with pytest.raises(AssertionError):
        no_two_hold_it()
