"""A slice of test_kills.py for every run of the tests: some failpoints, some random kills, two negative controls."""

import pytest

from actors.failpoints import Failpoint
from tests.chaos.oracles import Law
from tests.chaos.test_kills import at_failpoint, at_random, verdict_of
from tests.chaos.trial import Trial

AT_EACH = (
    Failpoint.GROUP_WRITTEN,
    Failpoint.GROUP_FOLDED,
    Failpoint.EPOCH_OPENED,
    Failpoint.HANDED_OVER,
    Failpoint.SNAPSHOT_WRITTEN,
)
RANDOM_KILLS = 5


def test_a_shard_killed_here_and_there_loses_and_doubles_nothing(tmp_path):
    async def course(one: Trial) -> None:
        for failpoint in AT_EACH:
            await at_failpoint(failpoint, (2,))(one)
        await at_random(RANDOM_KILLS)(one)

    verdict = verdict_of(tmp_path, course, "--snapshots", seed=1)

    verdict.assert_clean()
    assert verdict.acknowledged_events > 200


@pytest.mark.chaos
@pytest.mark.parametrize(("switch", "law"), [("ack-before-append", Law.LOST), ("dedupe-off", Law.DOUBLED)])
def test_the_judges_find_what_a_broken_guarantee_does(switch, law, tmp_path):
    verdict = verdict_of(tmp_path, at_random(3), "--break", switch, seed=2)

    assert verdict.count(law) > 0, f"{switch}: {verdict.summary}"
