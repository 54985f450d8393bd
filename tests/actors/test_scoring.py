"""How a shard asks the model plane.

Laws: every request is answered, once, with the scores of its own rows; at most one batch is in flight; what a request
waits follows what the model plane takes and what the request's deadline leaves; what is not answered by then the
champion here scores, which is degraded only where it scores otherwise than the plane; a broken or hopelessly slow model
plane is left alone, and found again, without a request paying for it.

The loop's clock is ours: it stands still until nothing is left to do, then jumps to the next timer.
"""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from actors.partition.scoring import ServeScorer
from actors.partition.scoring_settings import ScoringConfig
from household.scoring import Scored, Way

COLUMNS = 3


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose timers are due the moment nothing else is."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None) -> object:
            assert timeout is not None, "everything waits, and no timer runs: a request is lost"
            self.now += timeout
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


class Local:
    """The model that is served, here: scores a row as its first value. Another model scores 1 minus that."""

    def __init__(self, model_version: str) -> None:
        self.model_version = model_version
        self.calls = 0

    def score_now(self, rows: np.ndarray) -> np.ndarray:
        self.calls += 1
        return rows[:, 0] if self.model_version == "v7" else 1 - rows[:, 0]


class Plane:
    """A model plane that scores a row as its first value; each call does what the test says, in turn, then answers."""

    def __init__(self, *acts: Callable[[], Awaitable[None]]) -> None:
        self.acts = list(acts)
        self.counts: list[int] = []
        self.in_flight = 0
        self.in_flight_most = 0

    async def __call__(self, buf: bytes, count: int) -> bytes:
        self.counts.append(count)
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        try:
            if self.acts:
                await self.acts.pop(0)()
            return np.frombuffer(buf, np.float32).reshape(count, COLUMNS)[:, 0].tobytes()
        finally:
            self.in_flight -= 1


def takes(ms: float) -> Callable[[], Awaitable[None]]:
    return lambda: asyncio.sleep(ms / 1_000)


def fails() -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        raise RuntimeError("replica died")

    return act


def rows(*firsts: float) -> np.ndarray:
    return np.array([[first / 100, 0, 0] for first in firsts], np.float32).reshape(-1, COLUMNS)


def play(plane: Callable[[bytes, int], Awaitable[bytes]], story, *, local_version: str = "v7", **config):
    """Run `story(scorer, local)` in a loop of its own and return what it returns."""

    async def main():
        local = Local(local_version)
        scorer = ServeScorer(
            plane, model_version="v7", column_count=COLUMNS, local=local, config=ScoringConfig(**config)
        )
        result = await story(scorer, local)
        scorer.close()
        return result

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        result = runner.run(main())
    assert getattr(plane, "in_flight_most", 1) <= 1, "two batches in flight"
    return result


def told(scored: Scored) -> tuple[list[float], str]:
    assert scored.model_version == "v7"
    assert not scored.degraded
    return (scored.scores * 100).round(3).tolist(), scored.way.value


def now_ms() -> float:
    return round(asyncio.get_running_loop().time() * 1_000, 6)


async def paced(scorer: ServeScorer, plane: Plane, ms: float, count: int = 60) -> None:
    """Let the plane take so long for a while, until the scorer is used to it."""
    for _ in range(count):
        plane.acts = [takes(ms)]
        await scorer.score(rows(1))
    await asyncio.sleep(1)


def test_a_request_alone_leaves_at_once():
    async def story(scorer, local):
        answer = await scorer.score(rows(1, 2))
        return told(answer), local.calls, now_ms()

    plane = Plane()
    assert play(plane, story) == (([1, 2], "serve"), 0, 0.0)
    assert plane.counts == [2]


def test_requests_of_one_turn_leave_in_one_batch():
    async def story(scorer, _):
        return [told(each)[0] for each in await asyncio.gather(*(scorer.score(rows(i, i + 0.5)) for i in range(9)))]

    plane = Plane()
    assert play(plane, story) == [[i, i + 0.5] for i in range(9)]
    assert plane.counts == [18]


def test_what_arrives_while_a_batch_is_away_is_joined_into_the_next():
    async def story(scorer, _):
        first = asyncio.ensure_future(scorer.score(rows(1)))
        await asyncio.sleep(0.000_5)
        rest = [asyncio.ensure_future(scorer.score(rows(i))) for i in (2, 3)]
        await asyncio.sleep(0.000_2)
        rest.append(asyncio.ensure_future(scorer.score(rows(4, 5))))
        answers = [told(await each) for each in (first, *rest)]
        return answers, now_ms()

    plane = Plane(takes(1))
    answers, now = play(plane, story)
    assert answers == [([1], "serve"), ([2], "serve"), ([3], "serve"), ([4, 5], "serve")]
    assert plane.counts == [1, 4]
    assert now == 1


def test_a_batch_stays_within_its_bytes_and_the_rest_follows():
    async def story(scorer, _):
        answers = await asyncio.gather(*(scorer.score(rows(i)) for i in range(5)))
        return [told(each)[0] for each in answers]

    plane = Plane()
    assert play(plane, story, batch_bytes_max=2 * COLUMNS * 4) == [[0], [1], [2], [3], [4]]
    assert plane.counts == [2, 2, 1]


def test_a_request_larger_than_a_batch_leaves_alone():
    async def story(scorer, _):
        return told(await scorer.score(rows(*range(50))))[0]

    assert play(Plane(), story, batch_bytes_max=1) == list(range(50))


def test_no_rows_are_scored_as_no_scores():
    async def story(scorer, _):
        return told(await scorer.score(rows()))

    assert play(Plane(), story) == ([], "serve")


# --- how long a request waits ----------------------------------------------------------------------------------------


def test_while_nothing_is_measured_a_request_waits_the_most_and_is_then_scored_here():
    async def story(scorer, local):
        answer = told(await scorer.score(rows(1, 2)))
        return answer, local.calls, now_ms(), scorer.counters.late_requests, scorer.counters.degraded_requests

    assert play(Plane(takes(500)), story, slice_ms_max=80) == (([1, 2], "shard"), 1, 80, 1, 0)


@pytest.mark.parametrize("usual_ms", [3.0, 12.0, 60.0])
def test_the_slice_follows_what_the_plane_takes(usual_ms: float):
    async def story(scorer, _):
        await paced(scorer, plane, usual_ms)
        assert scorer.counters.late_requests == 0
        plane.acts = [takes(usual_ms * 1.2), takes(500)]
        in_time = told(await scorer.score(rows(1)))[1]
        before = now_ms()
        late = told(await scorer.score(rows(1)))[1]
        return in_time, late, now_ms() - before, scorer.counters.slice_us / 1_000

    plane = Plane()
    in_time, late, waited, slice_ms = play(plane, story)
    assert (in_time, late) == ("serve", "shard")
    assert 1.2 * usual_ms < waited < 1.4 * usual_ms
    assert slice_ms == pytest.approx(waited, abs=0.002)


def test_a_plane_that_becomes_slower_is_waited_for_again_after_a_few_requests():
    async def story(scorer, _):
        await paced(scorer, plane, 3)
        ways = []
        for _ in range(10):
            plane.acts = [takes(25)]
            ways.append(told(await scorer.score(rows(1)))[1])
            await asyncio.sleep(0.05)
        return ways, scorer.is_open, scorer.counters.failed_batches

    ways, is_open, failed = play(plane := Plane(), story)
    assert ways == ["shard"] + ["serve"] * 9
    assert (is_open, failed) == (False, 0)
    assert plane.in_flight == 0


def test_nobody_waits_for_what_the_deadline_does_not_leave():
    async def story(scorer, _):
        await paced(scorer, plane, 10)
        loop, seen = asyncio.get_running_loop(), []
        for left_ms in (1_000, 21, 19, 0, -5):
            before = now_ms()
            plane.acts = [takes(10)]
            answer = told(await scorer.score(rows(1), deadline_s=loop.time() + left_ms / 1_000))
            seen.append((answer[1], round(now_ms() - before, 3)))
            await asyncio.sleep(0.1)
        return seen

    plane = Plane()
    # Half of what the deadline leaves is for the rest of the decision.
    assert play(plane, story) == [("serve", 10), ("serve", 10), ("shard", 0), ("shard", 0), ("shard", 0)]


def test_a_request_late_by_its_deadline_leaves_its_batch_to_the_others():
    async def story(scorer, _):
        await paced(scorer, plane, 10)
        now_s = asyncio.get_running_loop().time()
        plane.acts = [takes(10.0)]
        hurried = asyncio.ensure_future(scorer.score(rows(1), deadline_s=now_s + 0.020_5))
        patient = asyncio.ensure_future(scorer.score(rows(2)))
        return told(await hurried), told(await patient), plane.counts[-1]

    plane = Plane()
    assert play(plane, story) == (([1], "serve"), ([2], "serve"), 2)


def test_behind_a_batch_that_is_overdue_nobody_waits():
    async def story(scorer, _):
        await paced(scorer, plane, 5)
        plane.acts = [takes(400)]
        first = told(await scorer.score(rows(1)))[1]
        before, ways = now_ms(), []
        for i in range(100):
            ways.append(told(await scorer.score(rows(i)))[1])
        return first, set(ways), now_ms() - before

    plane = Plane()
    assert play(plane, story) == ("shard", {"shard"}, 0)


def test_a_plane_too_slow_for_anybody_is_measured_now_and_then_and_used_again_once_it_is_quick():
    async def story(scorer, _):
        ways = []
        for _ in range(12):
            plane.acts = [takes(300)] * 9
            ways.append(told(await scorer.score(rows(1)))[1])
            await asyncio.sleep(0.5)
        sent = len(plane.counts)
        before = now_ms()
        for _ in range(60):
            plane.acts = [takes(2)] * 9
            ways.append(told(await scorer.score(rows(1)))[1])
            await asyncio.sleep(0.5)
        return ways, sent, now_ms() - before

    plane = Plane()
    ways, sent, _ = play(plane, story, slice_ms_max=50)
    assert set(ways[:12]) == {"shard"}
    assert sent <= 7, "a copy a second, and no more"
    assert ways[-1] == "serve"


def test_a_batch_that_never_returns_is_given_up_and_counts_as_a_failure():
    async def story(scorer, _):
        await scorer.score(rows(1))
        await asyncio.sleep(1.1)
        return scorer.counters.failed_batches, scorer.counters.last_failure, told(await scorer.score(rows(2)))[0]

    plane = Plane(takes(10_000))
    assert play(plane, story) == (1, "no answer within 1000.0 ms", [2])
    assert plane.in_flight == 0


# --- what scores here ------------------------------------------------------------------------------------------------


def test_another_model_here_is_degraded_and_under_its_own_version():
    async def story(scorer, _):
        answer = await scorer.score(rows(25))
        return answer.scores.tolist(), answer.model_version, answer.degraded, answer.way.value, scorer.counters

    scores, version, degraded, way, counters = play(Plane(fails()), story, local_version="older")
    assert (scores, version, degraded, way) == ([0.75], "older", True, "shard")
    assert (counters.local_requests, counters.degraded_requests) == (1, 1)


def test_the_same_model_that_scores_otherwise_here_is_degraded():
    """As on a machine whose exp differs in the last bits."""

    async def story(scorer, local):
        local.score_now = lambda those: np.nextafter(those[:, 0], np.float32(1))
        await scorer.warm_up(rows(3, 7))
        plane.acts = [fails()]
        answer = await scorer.score(rows(25))
        return answer.degraded, answer.way.value

    plane = Plane()
    assert play(plane, story) == (True, "shard")


def test_a_failed_batch_is_scored_here_at_once():
    async def story(scorer, _):
        both = await asyncio.gather(scorer.score(rows(1)), scorer.score(rows(2)))
        return [told(each) for each in both], now_ms(), scorer.counters.last_failure

    answers, now, failure = play(Plane(fails()), story)
    assert answers == [([1], "shard"), ([2], "shard")]
    assert now == 0.0
    assert failure == "RuntimeError: replica died"


@pytest.mark.parametrize("scores", [[], [0.0], [np.nan, 0.5], [0.5, 1.5], [-0.1, 0.5], [np.inf, 0.5], [0.1, 0.2, 0.3]])
def test_an_answer_of_the_wrong_length_or_that_is_no_probability_is_a_failure(scores: list[float]):
    async def plane(_buf: bytes, _count: int) -> bytes:
        return np.array(scores, np.float32).tobytes()

    async def story(scorer, _):
        return told(await scorer.score(rows(1, 2))), scorer.counters.failed_batches

    assert play(plane, story) == (([1, 2], "shard"), 1)


# --- the breaker -----------------------------------------------------------------------------------------------------


def test_the_breaker_opens_after_failures_in_a_row_and_nothing_is_sent_any_more():
    async def story(scorer, _):
        for i in range(3):
            assert told(await scorer.score(rows(i)))[1] == "shard"
        assert scorer.is_open
        before = now_ms()
        for i in range(100):
            assert told(await scorer.score(rows(i))) == ([i], "shard")
        return now_ms() - before, scorer.counters.openings

    plane = Plane(*[fails()] * 3)
    assert play(plane, story, failures_max=3) == (0.0, 1)
    assert len(plane.counts) == 3


def test_a_success_between_failures_keeps_the_breaker_closed():
    async def story(scorer, _):
        ways = [told(await scorer.score(rows(1)))[1] for _ in range(6)]
        return ways, scorer.is_open

    plane = Plane(fails(), fails(), takes(0), fails(), fails(), takes(0))
    assert play(plane, story, failures_max=3) == (["shard", "shard", "serve"] * 2, False)


def test_after_a_rest_a_copy_tries_the_model_plane_while_the_request_is_scored_here():
    async def story(scorer, _):
        seen = [told(await scorer.score(rows(1)))[1]]
        await asyncio.sleep(1.0)
        before = now_ms()
        seen.append(told(await scorer.score(rows(2)))[1])
        assert now_ms() == before
        await asyncio.sleep(0.002)
        assert not scorer.is_open
        seen.append(told(await scorer.score(rows(3)))[1])
        return seen

    plane = Plane(fails(), takes(1))
    assert play(plane, story, failures_max=1) == ["shard", "shard", "serve"]
    assert plane.counts == [1, 1, 1]


def test_a_trial_that_fails_or_is_late_rests_again():
    async def story(scorer, _):
        await scorer.score(rows(1))
        for _ in range(2):
            await asyncio.sleep(1.0)
            await scorer.score(rows(2))
            await asyncio.sleep(0.2)
            assert scorer.is_open
            await scorer.score(rows(3))
        return scorer.counters.openings

    plane = Plane(fails(), fails(), takes(500))
    assert play(plane, story, failures_max=1, patience_ms=150) == 1
    assert plane.counts == [1, 1, 1]


def test_warming_up_finds_out_that_nobody_answers_before_a_decision_does():
    async def story(scorer, local):
        await scorer.warm_up()
        return scorer.is_open, scorer.counters.slice_us

    # What it learns is what the last call took, not the first, which had to find its replica.
    assert play(Plane(takes(500), takes(40), takes(4)), story) == (False, 12_000)
    broken = Plane(*[fails()] * 3)
    assert play(broken, story) == (True, 0)
    assert broken.counts == [1]


def test_a_caller_that_goes_away_takes_nothing_with_it():
    async def story(scorer, _):
        gone = asyncio.ensure_future(scorer.score(rows(1)))
        stays = asyncio.ensure_future(scorer.score(rows(2)))
        await asyncio.sleep(0.000_1)
        gone.cancel()
        return told(await stays)

    assert play(Plane(takes(1)), story) == ([2], "serve")


def test_closing_answers_what_waits():
    async def story(scorer, _):
        asked = [asyncio.ensure_future(scorer.score(rows(i))) for i in (1, 2)]
        await asyncio.sleep(0.000_1)
        asked.append(asyncio.ensure_future(scorer.score(rows(3))))
        await asyncio.sleep(0)
        scorer.close()
        return [told(await each)[0] for each in asked]

    assert play(Plane(takes(1)), story) == [[1], [2], [3]]


def test_a_champion_that_fails_is_told_to_every_caller():
    async def story(scorer, local):
        local.score_now = lambda _rows: 1 / 0
        answers = await asyncio.gather(scorer.score(rows(1)), scorer.score(rows(2)), return_exceptions=True)
        return [type(each) for each in answers]

    assert play(Plane(fails()), quietly(story)) == [ZeroDivisionError, ZeroDivisionError]


def quietly(story):
    """The loop would log the exception that a callback raised again; here it is meant."""

    async def told_nobody(scorer, local):
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        return await story(scorer, local)

    return told_nobody


@given(
    requests=st.lists(
        st.tuples(st.floats(0, 30), st.integers(0, 4), st.one_of(st.none(), st.floats(-1, 40))), min_size=1, max_size=40
    ),
    acts=st.lists(st.one_of(st.just(None), st.floats(0, 30)), max_size=40),
)
def test_every_request_is_answered_in_time_with_the_scores_of_its_own_rows(requests, acts):
    async def story(scorer, _):
        loop = asyncio.get_running_loop()

        async def ask(number: int, after_ms: float, count: int, left_ms: float | None) -> None:
            await asyncio.sleep(after_ms / 1_000)
            sent = loop.time()
            firsts = [float(number * 2 + i / 10) for i in range(count)]
            deadline_s = None if left_ms is None else sent + left_ms / 1_000
            answer = await scorer.score(rows(*firsts), deadline_s=deadline_s)
            assert told(answer)[0] == pytest.approx(firsts, abs=1e-3)
            most_s = 0.01 if left_ms is None else min(0.01, max(left_ms, 0) / 2_000)
            assert loop.time() - sent <= most_s + 1e-9

        await asyncio.gather(*(ask(number, *each) for number, each in enumerate(requests)))
        assert scorer.counters.requests == len(requests)
        assert not [each for each in scorer._waiting if not each.is_copy]
        return True

    plane = Plane(*(fails() if act is None else takes(act) for act in acts))
    assert play(plane, story, failures_max=3, rest_ms=5, slice_ms_max=10, patience_ms=20)


@pytest.mark.parametrize(
    "wrong",
    [
        {"slice_ms_min": 0},
        {"slice_ms_min": 200},
        {"deadline_share": 1},
        {"patience_ms": 50},
        {"batch_bytes_max": 0},
        {"failures_max": 0},
        {"rest_ms": 0},
        {"warm_up_calls": 0},
        {"warm_up_ms": 1},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(wrong):
    with pytest.raises(AssertionError):
        ScoringConfig(**wrong)


def test_what_is_due_at_once_is_answered_in_the_loop_that_shards_run_in():
    """uvloop gives a handle without a time for what is due within half a millisecond."""

    async def main() -> list[Scored]:
        scorer = ServeScorer(
            Plane(takes(50)), model_version="v7", column_count=COLUMNS, local=Local("v7"), config=ScoringConfig()
        )

        async def ask(first: float) -> Scored:
            return await scorer.score(rows(first), deadline_s=asyncio.get_running_loop().time() + 0.000_6)

        try:
            return await asyncio.gather(*map(ask, (1, 2, 3)))
        finally:
            scorer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        scored = runner.run(main())

    assert [(one.way, one.degraded, one.scores.tolist()) for one in scored] == [
        (Way.SHARD, False, rows(first)[:, 0].tolist()) for first in (1, 2, 3)
    ]
