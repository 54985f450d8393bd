"""Any batching gives the same state, in small (tests/chaos/test_any_batching.py is the same by the ten thousand).

Laws: for any plan and any history, the fold of whole batches, of random batches and event by event, and over 1 to 8
partitions, each put away and taken up again at a random record, gives the same household digests; in one partition the
same state digest. A fold that breaks it is found.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.household.batching import FAULTS, broken_lists, differences, layouts_kept, world_of
from tests.household.worlds import plans


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans(), chance=st.randoms(use_true_random=False), event_count=st.integers(1, 30))
def test_batches_partitions_and_snapshots_do_not_show(plan, chance, event_count):
    with layouts_kept():
        assert differences(world_of(plan, chance), chance, event_count=event_count) == []


@pytest.mark.chaos
def test_lists_from_seeds_hold_as_well():
    assert broken_lists(range(300)) == []


@pytest.mark.chaos
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fold_in_which_batches_or_snapshots_show_is_found(fault):
    with fault():
        assert broken_lists(range(100)) != []
