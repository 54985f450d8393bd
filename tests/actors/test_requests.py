"""A request id used for another request is refused, always with the same error, and nothing of it is done.

Laws: another member, channel or signals, another action, outcome or channel of a report, another kind of call: each is
another request, whether the first is under way, answered, replayed from the log or read from a snapshot; the same
request on another household is another request, in whatever partitions the two live; what was refused loses nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hearth.v1 import decision_pb2
from tests.actors.harness import Hearth, ScriptedScorer, in_loop, outcome, reason_of, running, signal
from tests.actors.test_decider import MONDAY, visit

REUSED = "REQUEST_ID_REUSED"
IMPRESSION, ACCEPT = decision_pb2.OUTCOME_IMPRESSION, decision_pb2.OUTCOME_ACCEPT
ACCEPTED = decision_pb2.ACTION_STATUS_ACCEPTED

Call = Callable[[Hearth, str], Awaitable[Any]]

CALLS: dict[str, Call] = {
    "decide": lambda hearth, key: hearth.decide("h", visit(number=1), member="m", request_id=key),
    "other signals": lambda hearth, key: hearth.decide("h", visit(number=2), member="m", request_id=key),
    "more signals": lambda hearth, key: hearth.decide(
        "h", visit(number=1), visit(number=2), member="m", request_id=key
    ),
    "no signals": lambda hearth, key: hearth.decide("h", member="m", request_id=key),
    "other member": lambda hearth, key: hearth.decide("h", visit(number=1), request_id=key),
    "other channel": lambda hearth, key: hearth.decide("h", visit(number=1), member="m", channel="web", request_id=key),
    "report": lambda hearth, key: hearth.report("h", "a", IMPRESSION, request_id=key),
    "other outcome": lambda hearth, key: hearth.report("h", "a", ACCEPT, request_id=key),
    "other action": lambda hearth, key: hearth.report("h", "b", IMPRESSION, request_id=key),
    "report elsewhere": lambda hearth, key: hearth.report("h", "a", IMPRESSION, channel="web", request_id=key),
    "ack": lambda hearth, key: hearth.ack("h", "a", request_id=key),
    "refusing ack": lambda hearth, key: hearth.ack("h", "a", delivered=False, request_id=key),
}


def is_repeated(answer: Any) -> bool:
    """An Ack says it by its reason alone."""
    return bool(getattr(answer, "repeated_request", False)) or getattr(answer, "reason", "") == "ALREADY_REPORTED"


async def check_reuse(hearth: Hearth, first: str, key: str) -> None:
    """Every other call under the id is refused and folds nothing; the call itself is answered as before."""
    received, decisions = hearth.counter("received"), hearth.counter("decisions")
    for name, call in CALLS.items():
        if name != first:
            assert reason_of(await outcome(call(hearth, key))) == REUSED, name
    assert (hearth.counter("received"), hearth.counter("decisions")) == (received, decisions)
    assert is_repeated(await CALLS[first](hearth, key))


@in_loop
async def test_another_request_under_a_known_id_is_refused_also_after_a_restart(tmp_path: Path):
    async with running(tmp_path / "log", snapshots=tmp_path / "snapshots") as hearth:
        await hearth.ingest(visit())
        for first, call in CALLS.items():
            assert not is_repeated(await call(hearth, first)), first
            await check_reuse(hearth, first, first)
        replayed = hearth.disk_copy(tmp_path / "replayed")
        await hearth.snapshot()
        snapshot = hearth.disk_copy(tmp_path / "snapshot")
    for place, snapshots in ((replayed, None), (snapshot, tmp_path / "snapshots")):
        async with running(place, snapshots=snapshots) as hearth:
            for first in CALLS:
                await check_reuse(hearth, first, first)


@pytest.mark.parametrize("other", [name for name in CALLS if name != "decide"])
@in_loop
async def test_another_request_under_an_id_that_is_under_way_is_refused_at_once(tmp_path: Path, other: str):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        scorer.hold()
        first = asyncio.create_task(CALLS["decide"](hearth, "once"))
        same = asyncio.create_task(CALLS["decide"](hearth, "once"))
        await scorer.asked.wait()
        assert reason_of(await outcome(CALLS[other](hearth, "once"))) == REUSED
        scorer.free.set()
        assert (await first).decision_id == (await same).decision_id
        assert (hearth.counter("received"), hearth.counter("decisions")) == (1, 1)
        await check_reuse(hearth, "decide", "once")


@in_loop
async def test_of_many_requests_at_once_under_one_id_one_wins_and_the_others_are_refused(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await hearth.ingest(visit())
        answers = await asyncio.gather(*(outcome(call(hearth, "once")) for call in CALLS.values()))
        won = [name for name, answer in zip(CALLS, answers, strict=True) if not isinstance(answer, Exception)]
        assert len(won) == 1
        assert {reason_of(answer) for answer in answers if isinstance(answer, Exception)} == {REUSED}
        await check_reuse(hearth, won[0], "once")


@in_loop
async def test_an_accept_under_the_id_of_an_impression_is_refused_and_not_lost(tmp_path: Path):
    async with running(tmp_path) as hearth:
        shown = (await hearth.decide("h", visit(), member="m")).action.action_id
        assert (await hearth.report("h", shown, IMPRESSION, request_id="once")).effective
        assert reason_of(await outcome(hearth.accept("h", shown, request_id="once"))) == REUSED
        accepted = await hearth.accept("h", shown, request_id="twice")
        assert (accepted.effective, accepted.status) == (True, ACCEPTED)


@in_loop
async def test_a_report_under_the_event_id_of_a_signal_is_another_event(tmp_path: Path):
    async with running(tmp_path) as hearth:
        shown = (await hearth.decide("h", visit(), member="m")).action.action_id
        await hearth.ingest(signal("once", "h", "visit", MONDAY, member="m"))
        accepted = await hearth.accept("h", shown, request_id="once")
        assert (accepted.effective, accepted.status) == (True, ACCEPTED)


@in_loop
async def test_one_id_on_many_households_is_as_many_events_and_requests_in_whatever_partitions(tmp_path: Path):
    homes = [f"house-{number}" for number in range(20)]
    async with running(tmp_path, partitions=(0, 1, 2)) as hearth:
        for expected in ("applied", "duplicate"):
            answer = await hearth.ingest(*(signal("once", home, "visit", MONDAY, member="m") for home in homes))
            assert getattr(answer.counts, expected) == len(homes)
        decided = [await hearth.decide(home, member="m", request_id="once") for home in homes]
        assert not any(answer.repeated_request for answer in decided)
        assert len({answer.decision_id for answer in decided}) == len(homes)
        again = [await hearth.decide(home, member="m", request_id="once") for home in homes]
        assert [answer.decision_id for answer in again] == [answer.decision_id for answer in decided]
        for home, answer in zip(homes, decided, strict=True):
            accepted = await hearth.accept(home, answer.action.action_id, request_id="done")
            assert accepted.effective
