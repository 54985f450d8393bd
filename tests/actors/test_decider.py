"""How a partition decides, on request and by itself.

Laws: a household has one decision under way at a time; a request_id gives one decision, whatever the retries and
restarts, and a retry shows what has become of it; signals that come with the question are folded first and settled by
its one record; a moment is decided exactly once, by the request that brought it or else by the owner, this one or the
next; what arrived while a score was awaited wins; what an older term wrote is void; a broken model costs no decision.
"""

import asyncio
from pathlib import Path

import grpc
import pytest

from actors.log.contract import Epoch, Offset, Record, RecordKind, StoredRecord
from actors.partition import attempts
from actors.partition.model_plane import MissingModel
from actors.records import codec
from actors.records.replay import Replay
from hearth.v1 import decision_pb2
from household.digest import state_digest
from household.scoring import Way
from household.tables.decisions import DECISIONS_KEPT
from tests.actors.harness import (
    DAY,
    HOUR,
    MINUTE,
    MONDAY,
    DiskFiles,
    Hearth,
    ScriptedScorer,
    SettableClock,
    in_loop,
    kinds,
    outcome,
    reason_of,
    records,
    replayed,
    running,
    signal,
)
from tests.household.side import sides_of

LIVE, ACCEPTED = decision_pb2.ACTION_STATUS_LIVE, decision_pb2.ACTION_STATUS_ACCEPTED
DECLINED, EXPIRED = decision_pb2.ACTION_STATUS_DECLINED, decision_pb2.ACTION_STATUS_EXPIRED
WITHDRAWN = decision_pb2.ACTION_STATUS_WITHDRAWN


def visit(household: str = "h", number: int = 0, time_us: int = MONDAY):
    return signal(f"{household}-visit{number}", household, "visit", time_us, member="m")


def check(household: str = "h", number: int = 0, time_us: int = MONDAY):
    return signal(f"{household}-check{number}", household, "check", time_us, member="m")


def consent(household: str = "h", *, given: bool = True, time_us: int = MONDAY):
    return signal(f"{household}-consent{given}", household, "consent", time_us, member="m", fields={"marketing": given})


async def a_moment(hearth: Hearth, household: str = "h") -> None:
    """Ingest a moment of a member who may be written to; the owner decides it by itself."""
    now_us = hearth.clock.now_us()
    await hearth.ingest(consent(household), *(check(household, n, now_us) for n in (1, 2)))


# --- one at a time ----------------------------------------------------------------------------------------------------


@in_loop
async def test_a_household_has_one_decision_under_way_and_the_next_sees_its_slate(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        await hearth.ingest(visit("a"), visit("b"))
        scorer.hold()
        asked = [asyncio.create_task(hearth.decide("a", member="m")) for _ in range(5)]
        asked.append(asyncio.create_task(hearth.decide("b", member="m")))
        await scorer.asked.wait()
        for _ in range(20):
            await hearth.turn()
        assert len(scorer.batches) == 2
        scorer.free.set()
        answers = await asyncio.gather(*asked)
        assert len({answer.action.action_id for answer in answers[:5]}) == 1
        assert len({answer.decision_id for answer in answers}) == 6
        assert [answer.reasons[0] for answer in answers[1:5]] == ["SLATE_STANDS"] * 4
        assert len(scorer.batches) == 2


@in_loop
async def test_a_slow_score_of_one_household_holds_up_no_other(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        await hearth.ingest(visit("a"), visit("b"))
        scorer.hold()
        slow = asyncio.create_task(hearth.decide("a", member="m"))
        await scorer.asked.wait()
        await hearth.use(None)
        assert (await hearth.decide("b", member="m")).model_version == "prior"
        assert (await hearth.ingest(visit("b", 1))).counts.applied == 1
        assert not slow.done()
        scorer.free.set()
        assert (await slow).model_version == "scripted"


# --- request ids ------------------------------------------------------------------------------------------------------


@in_loop
async def test_two_calls_with_one_request_id_give_one_decision(tmp_path: Path):
    async with running(tmp_path) as hearth:
        answers = await asyncio.gather(*(hearth.decide("h", visit(), member="m", request_id="once") for _ in range(10)))
        assert len({answer.decision_id for answer in answers}) == 1
        assert [answer.repeated_request for answer in answers] == [False] + [True] * 9
        assert hearth.counter("decisions") == 1
        assert hearth.counter("applied") == 1
        assert {answer.action.action_id for answer in answers} == {answers[0].action.action_id}


@pytest.mark.parametrize("became", [LIVE, ACCEPTED, DECLINED, EXPIRED, WITHDRAWN])
@in_loop
async def test_a_retry_shows_what_has_become_of_the_action_also_after_a_restart(tmp_path: Path, became: int):
    clock = SettableClock()
    async with running(tmp_path / "log", clock) as hearth:
        shown = await hearth.decide("h", visit(), member="m", request_id="once")
        assert (shown.action.status, shown.repeated_request) == (LIVE, False)
        if became == ACCEPTED:
            await hearth.accept("h", shown.action.action_id, member="m")
        elif became == DECLINED:
            await hearth.decline("h", shown.action.action_id, member="m")
        elif became == EXPIRED:
            clock.pass_us(2 * HOUR)
        elif became == WITHDRAWN:
            await hearth.accept("h", f"{shown.decision_id}-1", member="m")  # the one behind it on the slate
        again = await hearth.decide("h", visit(), member="m", request_id="once")
        left = hearth.disk_copy(tmp_path / "left")
    async with running(left, clock) as next_owner:
        after = await next_owner.decide("h", visit(), member="m", request_id="once")
        for answer in (again, after):
            assert answer.repeated_request
            assert answer.decision_id == shown.decision_id
            assert answer.action.status == became
            answer.action.status = shown.action.status
            assert answer.action == shown.action


@in_loop
async def test_a_retry_of_an_answer_from_a_standing_slate_shows_it_too_also_when_the_slate_is_gone(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path / "log", clock) as hearth:
        shown = await hearth.decide("h", visit(), member="m", channel="app")
        stands = await hearth.decide("h", member="m", channel="web", request_id="once")
        assert stands.action.status == LIVE
        first = await hearth.decide("h", member="m", channel="web", request_id="once")
        await hearth.decline("h", shown.action.action_id, member="m")
        gone = await hearth.decide("h", member="m", channel="web", request_id="once")
        left = hearth.disk_copy(tmp_path / "left")
    async with running(left, clock) as next_owner:
        after = await next_owner.decide("h", member="m", channel="web", request_id="once")
    declined = stands.action.action_id == shown.action.action_id
    assert [one.action.action_id for one in (first, gone, after)] == [stands.action.action_id] * 3
    assert [one.action.status for one in (first, gone, after)] == [LIVE] + [DECLINED if declined else WITHDRAWN] * 2
    assert [one.decision_id for one in (first, gone, after)] == [stands.decision_id] * 3


@in_loop
async def test_a_retry_after_an_unknown_outcome_gives_one_decision_and_folds_its_signals_once(tmp_path: Path):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        scorer.hold()
        first = asyncio.create_task(outcome(hearth.decide("h", visit(), member="m", request_id="once")))
        await scorer.asked.wait()
        disk.break_syncs()
        scorer.free.set()
        failure = await first
        assert failure.status.code == grpc.StatusCode.UNAVAILABLE.value[0]
        disk.mend()
        await hearth.assign(0)
        answers = [await hearth.decide("h", visit(), member="m", request_id="once") for _ in range(3)]
        assert len({answer.decision_id for answer in answers}) == 1
        assert hearth.counter("decisions") == 1
        assert hearth.counter("applied") == 1


@in_loop
async def test_a_request_id_is_forgotten_after_its_window(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        first = await hearth.decide("h", visit(), member="m", request_id="once")
        clock.pass_us(DAY)
        assert (await hearth.decide("h", visit(), member="m", request_id="once")).decision_id == first.decision_id
        clock.pass_us(1)
        assert (await hearth.decide("h", visit(), member="m", request_id="once")).decision_id != first.decision_id


@in_loop
async def test_one_request_id_on_two_households_is_two_requests(tmp_path: Path):
    async with running(tmp_path) as hearth:
        mine = await hearth.decide("a", visit("a"), member="m", request_id="once")
        other = await hearth.decide("b", visit("b"), member="m", request_id="once")
        assert (other.repeated_request, other.signal_counts.applied) == (False, 1)
        assert other.decision_id != mine.decision_id
        for household, first in (("a", mine), ("b", other)):
            again = await hearth.decide(household, visit(household), member="m", request_id="once")
            assert (again.decision_id, again.repeated_request) == (first.decision_id, True)


@in_loop
async def test_an_unknown_household_is_an_answer_and_its_retry_the_same(tmp_path: Path):
    async with running(tmp_path) as hearth:
        first = await hearth.decide("nobody", request_id="once")
        again = await hearth.decide("nobody", request_id="once")
        assert (list(first.reasons), first.HasField("action")) == (["UNKNOWN_HOUSEHOLD"], False)
        assert (again.decision_id, again.repeated_request) == (first.decision_id, True)


@in_loop
async def test_an_unknown_channel_is_refused_and_decides_nothing(tmp_path: Path):
    async with running(tmp_path) as hearth:
        failure = await outcome(hearth.decide("h", visit(), channel="pigeon"))
        assert reason_of(failure) == "UNKNOWN_CHANNEL"
        assert (hearth.counter("received"), hearth.counter("decisions")) == (0, 0)


@pytest.mark.parametrize("channel", ["push", "sms"])
@in_loop
async def test_nobody_asks_on_a_channel_that_only_sends(tmp_path: Path, channel: str):
    async with running(tmp_path) as hearth:
        failure = await outcome(hearth.decide("h", visit(), channel=channel))
        assert reason_of(failure) == "CHANNEL_NOT_INBOUND"
        assert (hearth.counter("received"), hearth.counter("decisions")) == (0, 0)


# --- signals with the question ----------------------------------------------------------------------------------------


@in_loop
async def test_signals_with_the_question_are_folded_first_and_its_one_record_settles_their_moments(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await hearth.ingest(consent())
        answer = await hearth.decide("h", check("h", 1), check("h", 2), member="m")
        assert (answer.signal_counts.received, answer.signal_counts.applied) == (2, 2)
        assert answer.action.offer == "topup"
        for _ in range(20):
            await hearth.turn()
        record = await hearth.explain("h")
        assert [moment.journey for moment in record.moments] == ["low"]
        assert {one.name: one.value for one in record.features}["member.checks_7d"] == 2
        assert [hearth.counter(name) for name in ("moments", "pending", "decisions", "outbox")] == [1, 0, 1, 0]
    assert kinds(tmp_path)[-2:] == [RecordKind.SIGNALS, RecordKind.DECISION]


@in_loop
async def test_rejected_signals_of_a_question_are_told_and_it_is_answered_all_the_same(tmp_path: Path):
    async with running(tmp_path) as hearth:
        answer = await hearth.decide("h", visit(), signal("x", "h", "no.such.type", MONDAY), member="m")
        assert (answer.signal_counts.applied, answer.signal_counts.rejected) == (1, 1)
        assert [(one.index, one.reason) for one in answer.rejections] == [(1, "UNKNOWN_TYPE")]
        assert answer.HasField("action")


# --- moments ----------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_moment_that_nobody_asks_about_is_decided_by_the_owner(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await a_moment(hearth)
        await hearth.until(lambda: hearth.counter("decisions") == 1)
        record = await hearth.explain("h")
        assert (record.request_id, record.channel, record.slate[0].offer) == ("", "", "topup")
        assert [hearth.counter(name) for name in ("moments", "pending", "outbox")] == [1, 0, 1]


@in_loop
async def test_many_moments_are_scored_in_few_batches_and_each_is_decided_once(tmp_path: Path):
    async with running(tmp_path / "log") as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        households = [f"h{n}" for n in range(300)]
        await hearth.ingest(*(one for name in households for one in (consent(name), check(name, 1), check(name, 2))))
        await hearth.until(lambda: hearth.counter("decisions") == 300)
        assert [hearth.counter(name) for name in ("moments", "pending", "outbox")] == [300, 0, 300]
        assert len(scorer.batches) == 5
        wanted = await hearth.digest()
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == wanted
    decided = [
        moment.moment_id
        for stored in records(tmp_path / "log")
        if stored.record.kind is RecordKind.DECISION
        for moment in codec.decode_decision(stored.record.payload).decision.moments
    ]
    assert len(decided) == len(set(decided)) == 300


@in_loop
async def test_moments_of_an_owner_that_died_are_decided_by_the_next_one_exactly_once(tmp_path: Path):
    async with running(tmp_path / "log") as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        scorer.hold()
        for name in ("a", "b", "c"):
            await a_moment(hearth, name)
        await scorer.asked.wait()
        assert hearth.counter("pending") == 3
        left = hearth.disk_copy(tmp_path / "left")
    async with running(left) as second:
        await second.until(lambda: second.counter("decisions") == 3)
        assert second.counter("pending") == 0
        left_again = second.disk_copy(tmp_path / "again")
    async with running(left_again) as third:
        for _ in range(50):
            await third.turn()
        assert [third.counter(name) for name in ("moments", "pending", "decisions", "outbox")] == [3, 0, 3, 3]
    found = kinds(left_again)
    assert found.count(RecordKind.DECISION) == 3
    assert found[found.index(RecordKind.DECISION) - 1] == RecordKind.EPOCH


@in_loop
async def test_a_request_under_way_takes_the_moment_and_the_owner_leaves_it_to_it(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        await hearth.ingest(visit())
        scorer.hold()
        asked = asyncio.create_task(hearth.decide("h", member="m"))
        await scorer.asked.wait()
        await a_moment(hearth)
        for _ in range(30):
            await hearth.turn()
        assert hearth.counter("pending") == 1
        scorer.free.set()
        answer = await asked
        assert answer.action.offer == "topup"
        assert list((await hearth.explain("h")).reasons) == ["BEST_VALUE", "MOMENT:low", "CONTACT:contact", "GROSS"]
        for _ in range(30):
            await hearth.turn()
        assert [hearth.counter(name) for name in ("pending", "decisions")] == [0, 1]


@in_loop
async def test_a_moment_left_to_a_request_that_decides_nothing_is_decided_by_the_owner(tmp_path: Path):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        shown = await hearth.decide("h", visit(), member="m", request_id="once")
        disk.hold()
        moment = asyncio.create_task(a_moment(hearth))
        await disk.held()
        # Retries hold the household while the moment arises, and decide nothing.
        retries = [asyncio.create_task(hearth.decide("h", visit(), member="m", request_id="once")) for _ in range(20)]
        disk.release()
        await asyncio.gather(moment, *retries)
        await hearth.until(lambda: hearth.counter("pending") == 0)
        assert hearth.counter("decisions") == 2
        assert {one.result().decision_id for one in retries} == {shown.decision_id}


@pytest.mark.parametrize("seed", range(5))
@in_loop
async def test_no_moment_is_left_behind_however_requests_and_moments_meet(tmp_path: Path, seed: int):
    async with running(tmp_path / "log") as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        tasks = []
        for n in range(60):
            name = f"h{n % 6}"
            at = MONDAY + n // 6 * HOUR
            hearth.clock.at_us = max(hearth.clock.at_us, at)
            tasks.append(asyncio.create_task(hearth.ingest(consent(name), check(name, 2 * n, at))))
            tasks.append(asyncio.create_task(hearth.decide(name, check(name, 2 * n + 1, at), member="m")))
            tasks.append(asyncio.create_task(hearth.decide(name, member="m", request_id=f"again{n % 3}-{name}")))
            for _ in range((seed * 7 + n) % 5):
                await hearth.turn()
        await asyncio.gather(*tasks)
        await hearth.until(lambda: hearth.counter("pending") == 0)
        assert hearth.counter("moments") >= 6
        wanted = await hearth.digest()
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == wanted


@in_loop
async def test_a_defect_in_one_households_moments_leaves_the_others_theirs(tmp_path: Path, caplog, monkeypatch):
    async with running(tmp_path) as hearth:
        sound = attempts.decide

        def sometimes_broken(state, draft, *others, **named):
            if draft.ask.household == b"h3":
                raise ZeroDivisionError("only h3")
            return sound(state, draft, *others, **named)

        monkeypatch.setattr(attempts, "decide", sometimes_broken)
        await hearth.ingest(
            *(one for n in range(6) for one in (consent(f"h{n}"), check(f"h{n}", 1), check(f"h{n}", 2)))
        )
        await hearth.until(lambda: hearth.counter("pending") == 1)
        assert hearth.counter("decisions") == 5
        await hearth.until(lambda: "only h3" in caplog.text)
        assert hearth.shard.report()[0]["is_lost"] is False
        monkeypatch.undo()
        answer = await hearth.decide("h3", member="m")
        assert answer.action.offer == "topup"
        assert hearth.counter("pending") == 0


@in_loop
async def test_a_shutdown_while_moments_are_being_decided_leaves_each_decided_once_or_pending(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        scorer.hold()
        await a_moment(hearth)
        await scorer.asked.wait()
        assert hearth.counter("pending") == 1
    assert replayed(tmp_path).counters.decisions == 0
    async with running(tmp_path) as next_owner:
        await next_owner.until(lambda: next_owner.counter("decisions") > 0)
        assert next_owner.counter("pending") == 0
    assert replayed(tmp_path).counters.decisions == 1


# --- what arrives meanwhile -------------------------------------------------------------------------------------------


@in_loop
async def test_an_opt_out_that_arrives_while_a_score_is_awaited_wins(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        await hearth.ingest(visit())
        scorer.hold()
        asked = asyncio.create_task(hearth.decide("h", member="m"))
        await scorer.asked.wait()
        await hearth.ingest(signal("out", "h", "opt_out", MONDAY, member="m"))
        scorer.free.set()
        answer = await asked
        assert not answer.HasField("action")
        assert "ALL_VETOED" in answer.reasons
        assert {veto for one in (await hearth.explain("h")).candidates for veto in one.vetoes} == {"NO_CONSENT"}
        assert hearth.counter("decisions") == 1


@in_loop
async def test_an_opt_out_that_arrives_while_an_unasked_decision_is_scored_wins(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        scorer.hold()
        await a_moment(hearth)
        await scorer.asked.wait()
        await hearth.ingest(signal("out", "h", "opt_out", MONDAY, member="m"))
        scorer.free.set()
        await hearth.until(lambda: hearth.counter("decisions") == 1)
        (decision,) = await hearth.decisions("h")
        assert decision.reasons[1:3] == ["HELD", "NO_CONSENT"]
        async with hearth.subscribed("push", "sms") as deliveries:
            handed = asyncio.ensure_future(anext(deliveries))
            for _ in range(20):
                await hearth.turn()
            assert not handed.done(), "it waits for her to opt in again, while it is worth saying"
            handed.cancel()
            await asyncio.wait([handed])


@in_loop
async def test_an_opt_out_that_is_synced_before_a_standing_slate_is_answered_again_wins(tmp_path: Path):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        await hearth.decide("h", visit(), member="m")
        disk.hold()
        opting_out = asyncio.create_task(hearth.ingest(signal("out", "h", "opt_out", MONDAY, member="m")))
        await disk.held()
        asked = asyncio.create_task(hearth.decide("h", member="m"))
        for _ in range(20):
            await hearth.turn()
        disk.release()
        await opting_out
        assert not (await asked).HasField("action")


@in_loop
async def test_a_decline_that_arrives_while_a_score_is_awaited_wins(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        shown = await hearth.decide("h", visit(), member="m")
        clock.pass_us(HOUR)
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        scorer.hold()
        asked = asyncio.create_task(hearth.decide("h", check("h", 1), check("h", 2), visit("h", 2), member="m"))
        await scorer.asked.wait()
        declined = await hearth.decline("h", shown.action.action_id, member="m")
        assert declined.effective
        scorer.free.set()
        answer = await asked
        assert answer.action.offer not in ("", shown.action.offer)


# --- old terms --------------------------------------------------------------------------------------------------------


@in_loop
async def test_what_an_older_term_wrote_after_a_newer_one_began_is_void(tmp_path: Path):
    async with running(tmp_path / "log") as hearth:
        await a_moment(hearth)
        await hearth.until(lambda: hearth.counter("decisions") == 1)
        await hearth.decide("h", visit(), member="m")
    stored = [one.record for one in records(tmp_path / "log")]
    opening = codec.EpochOpening(owner="shard-9", stream_clock=False, fold_version=1)
    newer = Record(
        kind=RecordKind.EPOCH, version=1, epoch=Epoch(5), stamp_us=MONDAY, payload=codec.encode_epoch(opening)
    )
    at = next(n for n, record in enumerate(stored) if record.kind is RecordKind.DECISION)
    replay = Replay()
    for offset, record in enumerate([*stored[:at], newer, *stored[at:]]):
        replay.fold(StoredRecord(offset=Offset(offset), record=record))
    state = replay.now
    assert (state.counters.decisions, state.counters.voided) == (0, 2)
    assert (len(state.outbox), len(state.actions), len(state.requests)) == (0, 0, 0)
    assert [moment.journey for ledger in sides_of(state).values() for moment in ledger.pending] == ["low"]


@in_loop
async def test_ticks_plans_and_epochs_of_an_older_term_are_void_and_its_signals_are_not(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        await a_moment(hearth)
        await hearth.until(lambda: hearth.counter("outbox") == 1)
    stored = [one.record for one in records(tmp_path)]

    def record(kind: RecordKind, epoch: int, payload: bytes, time_us: int) -> Record:
        return Record(kind=kind, version=1, epoch=Epoch(epoch), stamp_us=time_us, payload=payload)

    opening = codec.encode_epoch(codec.EpochOpening(owner="shard-9", stream_clock=False, fold_version=1))
    signals = next(one.payload for one in stored if one.kind is RecordKind.SIGNALS)
    plan = next(one.payload for one in stored if one.kind is RecordKind.PLAN)
    late = [
        record(RecordKind.EPOCH, 5, opening, MONDAY),
        record(RecordKind.TICK, 1, b"", MONDAY + DAY),
        record(RecordKind.PLAN, 1, plan.replace(b'"corner"', b'"stale!"'), MONDAY),
        record(RecordKind.EPOCH, 2, opening, MONDAY),
        record(RecordKind.SIGNALS, 1, signals, MONDAY + MINUTE),
    ]
    replay = Replay()
    for offset, one in enumerate([*stored, *late]):
        replay.fold(StoredRecord(offset=Offset(offset), record=one))
    state = replay.now
    assert (state.epoch, replay.epoch, state.plan.name) == (5, 5, "corner")
    assert (len(state.outbox), state.counters.expired) == (1, 0)
    assert (state.counters.voided, replay.void_plans, replay.void_epochs) == (1, 1, 1)
    assert (state.counters.received, state.counters.by_status["DUPLICATE"]) == (6, 3)
    assert state.now_us == MONDAY + MINUTE


# --- models -----------------------------------------------------------------------------------------------------------


@in_loop
async def test_whose_slate_stands_is_explained_however_many_decisions_came_after_it(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await hearth.ingest(consent())
        made = await hearth.decide("h", check("h", 1), check("h", 2), member="m")
        assert made.action.action_id
        before = await hearth.explain("h", made.decision_id)
        for _ in range(DECISIONS_KEPT + 1):
            asked = await hearth.decide("h", member="m")
            assert asked.action.action_id == made.action.action_id
        assert made.decision_id not in {one.decision_id for one in await hearth.decisions("h")}
        assert await hearth.explain("h", made.decision_id) == before
        newest = await hearth.explain("h")
        assert (newest.stands, newest.answered.action_id) == (made.decision_id, made.action.action_id)
        assert newest.answered.offer == made.action.offer


@in_loop
async def test_a_scorer_that_fails_costs_no_decision_and_the_answer_says_so(tmp_path: Path, caplog):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        scorer.failure = RuntimeError("no such column")
        await hearth.use(scorer)
        answer = await hearth.decide("h", visit(), member="m")
        assert answer.HasField("action")
        assert (answer.degraded, answer.model_version) == (True, "prior")
        await a_moment(hearth, "g")
        await hearth.until(lambda: hearth.counter("decisions") == 2)
        told = await hearth.explain("g")
        assert (told.degraded, told.scored_by) == (True, decision_pb2.SCORED_BY_PRIOR)
        assert "no such column" in caplog.text
        for number in range(3):
            await hearth.decide(f"more-{number}", visit(household=f"more-{number}"), member="m")
        assert caplog.text.count("the scorer failed") == 1, "every decision would log it"
        assert hearth.shard.report()[0]["degraded"] == 5


@in_loop
async def test_a_model_that_should_be_there_and_is_not_is_degraded_and_says_why_once(tmp_path: Path, caplog):
    async with running(tmp_path) as hearth:
        for number in range(3):
            assert not (await hearth.decide(f"h{number}", visit(household=f"h{number}"), member="m")).degraded
        await hearth.use(MissingModel("model v1 is damaged"))
        for number in range(3):
            answer = await hearth.decide(f"g{number}", visit(household=f"g{number}"), member="m")
            assert (answer.degraded, answer.model_version) == (True, "prior")
        assert caplog.text.count("model v1 is damaged") == 1
        report = hearth.shard.report()[0]
        assert (report["scored_prior"], report["degraded"]) == (6, 3)


@in_loop
async def test_a_decision_says_which_way_its_scores_came(tmp_path: Path):
    async with running(tmp_path) as hearth:
        assert (await hearth.decide("h", visit(), member="m")).scored_by == decision_pb2.SCORED_BY_PRIOR
        for way, said in ((Way.SERVE, decision_pb2.SCORED_BY_SERVE), (Way.SHARD, decision_pb2.SCORED_BY_SHARD)):
            await hearth.use(ScriptedScorer(way=way))
            name = f"h-{way}"
            answer = await hearth.decide(name, visit(household=name), member="m")
            assert (answer.scored_by, answer.degraded) == (said, False)
            assert (await hearth.explain(name)).scored_by == said
        nobody = await hearth.decide("unknown", member="m")
        assert nobody.scored_by == decision_pb2.SCORED_BY_UNSPECIFIED
        report = hearth.shard.report()[0]
        ways = [report[name] for name in ("scored_serve", "scored_shard", "scored_prior", "degraded")]
        assert ways == [1, 1, 1, 0]


@in_loop
async def test_the_scorer_knows_when_whoever_asks_will_have_gone(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        before_s = asyncio.get_running_loop().time()
        await hearth.decide("h", visit(), member="m", timeout_s=30.0)
        await a_moment(hearth, "g")
        await hearth.until(lambda: len(scorer.deadlines) == 2)
        asked, moment = scorer.deadlines
        assert asked is not None
        assert before_s + 30 <= asked <= asyncio.get_running_loop().time() + 30
        assert moment is None


@in_loop
async def test_scores_reach_the_decision_they_were_made_for(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer(0.25)
        await hearth.use(scorer)
        answer = await hearth.decide("h", visit(), member="m")
        record = await hearth.explain("h")
        assert (answer.model_version, answer.degraded) == ("scripted", False)
        scored = [one for one in record.candidates if not one.vetoes]
        assert [one.score for one in scored] == [0.25] * len(scored)
        assert scorer.batches == [len(scored)]
