"""20,000 random event lists, any batch sizes, 1 to 8 partitions, any snapshot point: the state hash is the same.

Laws: those of tests/household/test_any_batching.py, for LIST_COUNT lists from seeds 0 … LIST_COUNT - 1; each is of 1 to
40 events in seven households, with decisions, ticks, outcomes, epochs and a change of plan in between, and is folded
event by event, in whole batches, and in random batches over partitions, the latter two through a snapshot.
Negative controls: triggers asked at the end of a batch; outcomes folded as of its end; a snapshot that forgets
the known ids; one that holds what came later. Each must be found within CONTROL_COUNT lists.

More of them: `python -m tests.chaos.test_any_batching 100000`, half an hour and more on two cores.
"""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.household.batching import FAULTS, broken_lists

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1_800)]

LIST_COUNT = 20_000
CONTROL_COUNT = 400
SEEDS_PER_JOB = 1_000


def broken_of(count: int) -> list[str]:
    """Return what differs in so many lists; print how fast they went."""
    started_s = time.monotonic()
    workers = min(2, os.cpu_count() or 1)
    jobs = [range(first, min(first + SEEDS_PER_JOB, count)) for first in range(0, count, SEEDS_PER_JOB)]
    # Not forked: pytest may have threads by now.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = [one for part in pool.map(broken_lists, jobs) for one in part]
    elapsed_s = time.monotonic() - started_s
    print(f"\n{count:,} lists, {count / elapsed_s:,.0f} per second in {workers} processes: {len(found)} differences")
    return found


def test_many_lists_give_the_same_state_however_they_are_folded(capsys):
    with capsys.disabled():
        found = broken_of(LIST_COUNT)
    assert found == [], found[:10]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fold_in_which_batches_or_snapshots_show_is_found(fault):
    with fault():
        found = broken_lists(range(CONTROL_COUNT))
    print(f"{fault.__name__}: {len(found)} differences in {CONTROL_COUNT} lists")
    assert found != []


if __name__ == "__main__":
    sys.exit(1 if broken_of(int(sys.argv[1])) else 0)
