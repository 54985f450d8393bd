"""kill -9 of a shard, without Ray: at every named failpoint, and at 200 random times, under load.

Laws, as the three judges of oracles.py see them: nothing acknowledged is lost, nothing is counted twice, no order is
inverted; one decision per request and per moment; no cap, consent, quiet hour or decline is broken; one idempotency key
per action, and nothing accepted for sending vanishes; the live state, the product's replay and a plain replay of the
log are the same.

Every failpoint must be reached: one that never is fails its test. Those on the way from one shard to another are in
test_moves.py.
Negative controls: each switch of shard_process.py takes one guarantee away, and the very same trial must find it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from actors.failpoints import CLAIMS, MOVES, RELOCATIONS, Failpoint
from tests.chaos.oracles import Law, Verdict
from tests.chaos.restarts import nursery
from tests.chaos.shard_process import PARTITIONS
from tests.chaos.trial import Trial, trial

KILLS = 200
ROUNDS = 4
"""Directories over which the kills are spread; each is judged by itself."""

HITS = (1, 2, 5)
"""At which arrival at a failpoint the shard dies; a death each."""

HITS_OF = {
    Failpoint.EPOCH_OPENED: (1, 2, PARTITIONS),
    Failpoint.TICK_SYNCED: (1, 2),
    Failpoint.LOG_DROPPED: (1, 2),
}
"""Of those that are reached once per partition and start, or only every few seconds."""

SHORT_WINDOW = ("--request-window", "12s")
"""As long as a request id is remembered, no log is dropped."""

CONTROL_S = 5.0
"""Load after the kills of a negative control: that a decline arrives while a decision waits needs no kill, but time."""

TRIAL_S_MAX = 500.0

LAWS_OF_BREAK = {
    "ack-before-append": (Law.LOST,),
    "dedupe-off": (Law.DOUBLED,),
    "forget-requests": (Law.TWO_DECISIONS,),
    "fresh-keys": (Law.TWO_KEYS,),
    "no-recheck": (Law.OFFERED_AFTER_DECLINE, Law.CONSENT, Law.CAP),
}
"""What must be found, or one of it: chance says which veto arrives while a decision waits for its score."""


def verdict_of(folder: Path, course: Callable[[Trial], Awaitable[None]], *words: str, seed: int) -> Verdict:
    """Run a trial through its course and let it be judged."""

    async def run() -> Verdict:
        async with nursery(folder / "errors") as shards, trial(folder / "trial", shards, *words, seed=seed) as one:
            await course(one)
            verdict = await one.judged()
            one.load.history.save(folder / "history.jsonl")
            deaths = ", ".join(f"{count} {how}" for how, count in one.deaths.items())
            print(f"{sum(one.deaths.values())} kills ({deaths}): {verdict.summary}")
            return verdict

    return asyncio.run(asyncio.wait_for(run(), TRIAL_S_MAX))


def at_failpoint(failpoint: Failpoint, hits: tuple[int, ...]) -> Callable[[Trial], Awaitable[None]]:
    """Return the course that dies at one failpoint, once for each of these hits."""

    async def course(one: Trial) -> None:
        for hit in hits:
            await one.dies_at(failpoint, hit)

    return course


def at_random(count: int) -> Callable[[Trial], Awaitable[None]]:
    """Return the course of so many deaths at random times."""

    async def course(one: Trial) -> None:
        await one.kills(count)

    return course


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("failpoint", [one for one in Failpoint if one not in MOVES | CLAIMS | RELOCATIONS])
def test_a_shard_killed_at_a_failpoint_loses_and_doubles_nothing(failpoint, tmp_path, capsys):
    words = ("--snapshots", *(SHORT_WINDOW if failpoint is Failpoint.LOG_DROPPED else ()))
    course = at_failpoint(failpoint, HITS_OF.get(failpoint, HITS))
    verdict = verdict_of(tmp_path, course, *words, seed=1)

    with capsys.disabled():
        print(f"\n{failpoint}: {verdict.summary}")
    verdict.assert_clean()


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_shard_killed_at_random_times_loses_and_doubles_nothing(number, tmp_path, capsys):
    words = ("--snapshots",) if number % 2 else ()
    verdict = verdict_of(tmp_path, at_random(KILLS // ROUNDS), *words, seed=100 + number)

    with capsys.disabled():
        print(f"\n{KILLS // ROUNDS} random kills: {verdict.summary}")
    verdict.assert_clean()
    # So many between two kills that each had something to lose; how many more, the machine says.
    assert verdict.acknowledged_events > 10 * (KILLS // ROUNDS)
    assert verdict.actions > 10


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("switch", "laws"), LAWS_OF_BREAK.items(), ids=LAWS_OF_BREAK)
def test_the_judges_find_what_a_broken_guarantee_does(switch, laws, tmp_path):
    async def course(one: Trial) -> None:
        await one.kills(10)
        await asyncio.sleep(CONTROL_S)

    verdict = verdict_of(tmp_path, course, "--break", switch, seed=7)

    assert verdict.count(*laws) > 0, f"{switch}: {verdict.summary}"
