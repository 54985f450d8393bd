"""How a shard asks the model plane.

Laws: every request is answered, once, with the scores of its own rows; at most one batch is in flight; what the model
plane does not answer in time the local champion scores, marked degraded and under its own version; a broken model plane
is left alone, and found again, without a request paying for it.

The loop's clock is ours: it stands still until nothing is left to do, then jumps to the next timer.
"""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.scoring import ScoringConfig, ServeScorer
from household.scoring import Scored

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
    """Scores a row as minus its first value."""

    model_version = "champion"

    def __init__(self) -> None:
        self.calls = 0

    def score_now(self, rows: np.ndarray) -> np.ndarray:
        self.calls += 1
        return -rows[:, 0]


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
    return np.array([[first, 0, 0] for first in firsts], np.float32).reshape(-1, COLUMNS)


def play(plane: Callable[[bytes, int], Awaitable[bytes]], story, **config):
    """Run `story(scorer, local)` in a loop of its own and return what it returns."""

    async def main():
        local = Local()
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


def told(scored: Scored) -> tuple[list[float], str, bool]:
    return scored.scores.tolist(), scored.model_version, scored.degraded


def test_a_request_alone_leaves_at_once():
    async def story(scorer, local):
        answer = await scorer.score(rows(1, 2))
        return told(answer), local.calls, asyncio.get_running_loop().time()

    plane = Plane()
    assert play(plane, story) == (([1, 2], "v7", False), 0, 0.0)
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
        return answers, asyncio.get_running_loop().time()

    plane = Plane(takes(1))
    answers, now = play(plane, story)
    assert answers == [([1], "v7", False), ([2], "v7", False), ([3], "v7", False), ([4, 5], "v7", False)]
    assert plane.counts == [1, 4]
    assert now == pytest.approx(0.001)


def test_a_batch_stays_within_its_bytes_and_the_rest_follows():
    async def story(scorer, _):
        answers = await asyncio.gather(*(scorer.score(rows(i)) for i in range(5)))
        return [each.scores.tolist() for each in answers]

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

    assert play(Plane(), story) == ([], "v7", False)


def test_after_its_slice_the_champion_here_scores_and_the_answer_says_so():
    async def story(scorer, local):
        answer = told(await scorer.score(rows(1, 2)))
        return answer, local.calls, asyncio.get_running_loop().time(), scorer.counters.late_requests

    plane = Plane(takes(50))
    assert play(plane, story) == (([-1, -2], "champion", True), 1, 0.004, 1)
    assert plane.in_flight == 0


def test_the_slice_runs_from_arrival_and_a_younger_request_keeps_its_own():
    async def story(scorer, _):
        old = asyncio.ensure_future(scorer.score(rows(1)))
        await asyncio.sleep(0.002)
        queued = asyncio.ensure_future(scorer.score(rows(2)))
        old_answer = told(await old)
        return old_answer, told(await queued), asyncio.get_running_loop().time()

    # The first is late at 4 ms; the second leaves then, and is back at 5 ms, before its own 6 ms.
    old, queued, now = play(Plane(takes(50), takes(1)), story)
    assert (old, queued) == (([-1], "champion", True), ([2], "v7", False))
    assert now == pytest.approx(0.005)


def test_a_failed_batch_is_scored_here_at_once():
    async def story(scorer, _):
        both = await asyncio.gather(scorer.score(rows(1)), scorer.score(rows(2)))
        return [told(each) for each in both], asyncio.get_running_loop().time(), scorer.counters.last_failure

    answers, now, failure = play(Plane(fails()), story)
    assert answers == [([-1], "champion", True), ([-2], "champion", True)]
    assert now == 0.0
    assert failure == "RuntimeError: replica died"


@pytest.mark.parametrize("answer", [b"", b"\0" * 4, np.full(2, np.nan, np.float32).tobytes()])
def test_an_answer_of_the_wrong_length_or_that_is_no_number_is_a_failure(answer: bytes):
    async def plane(_buf: bytes, _count: int) -> bytes:
        return answer

    async def story(scorer, _):
        return told(await scorer.score(rows(1, 2)))

    assert play(plane, story) == ([-1, -2], "champion", True)


def test_the_breaker_opens_after_failures_in_a_row_and_nothing_waits_any_more():
    async def story(scorer, _):
        for i in range(3):
            assert (await scorer.score(rows(i))).degraded
        assert scorer.is_open
        before = asyncio.get_running_loop().time()
        for i in range(100):
            assert told(await scorer.score(rows(i))) == ([-i], "champion", True)
        return asyncio.get_running_loop().time() - before, scorer.counters.openings

    plane = Plane(*[takes(50)] * 3)
    assert play(plane, story, failures_max=3) == (0.0, 1)
    assert len(plane.counts) == 3


def test_a_success_between_failures_keeps_the_breaker_closed():
    async def story(scorer, _):
        degraded = [(await scorer.score(rows(1))).degraded for _ in range(6)]
        return degraded, scorer.is_open

    plane = Plane(fails(), fails(), takes(0), fails(), fails(), takes(0))
    assert play(plane, story, failures_max=3) == ([True, True, False, True, True, False], False)


def test_after_a_rest_a_copy_tries_the_model_plane_while_the_request_is_scored_here():
    async def story(scorer, _):
        seen = [(await scorer.score(rows(1))).degraded]
        await asyncio.sleep(1.0)
        before = asyncio.get_running_loop().time()
        seen.append((await scorer.score(rows(2))).degraded)
        assert asyncio.get_running_loop().time() == before
        await asyncio.sleep(0.002)
        assert not scorer.is_open
        seen.append((await scorer.score(rows(3))).degraded)
        return seen

    plane = Plane(fails(), takes(1))
    assert play(plane, story, failures_max=1) == [True, True, False]
    assert plane.counts == [1, 1, 1]


def test_a_trial_that_fails_or_is_late_rests_again():
    async def story(scorer, _):
        await scorer.score(rows(1))
        for _ in range(2):
            await asyncio.sleep(1.0)
            await scorer.score(rows(2))
            await asyncio.sleep(0.01)
            assert scorer.is_open
            await scorer.score(rows(3))
        return scorer.counters.openings

    plane = Plane(fails(), fails(), takes(50))
    assert play(plane, story, failures_max=1) == 1
    assert plane.counts == [1, 1, 1]


def test_warming_up_finds_out_that_nobody_answers_before_a_decision_does():
    async def story(scorer, local):
        await scorer.warm_up()
        return scorer.is_open, local.calls

    assert play(Plane(takes(500)), story) == (False, 1)
    broken = Plane(*[fails()] * 3)
    assert play(broken, story) == (True, 1)
    assert broken.counts == [1]


def test_a_caller_that_goes_away_takes_nothing_with_it():
    async def story(scorer, _):
        gone = asyncio.ensure_future(scorer.score(rows(1)))
        stays = asyncio.ensure_future(scorer.score(rows(2)))
        await asyncio.sleep(0.000_1)
        gone.cancel()
        return told(await stays)

    assert play(Plane(takes(1)), story) == ([2], "v7", False)


def test_closing_answers_what_waits():
    async def story(scorer, _):
        asked = [asyncio.ensure_future(scorer.score(rows(i))) for i in (1, 2)]
        await asyncio.sleep(0.000_1)
        asked.append(asyncio.ensure_future(scorer.score(rows(3))))
        await asyncio.sleep(0)
        scorer.close()
        return [told(await each)[0] for each in asked]

    assert play(Plane(takes(1)), story) == [[-1], [-2], [-3]]


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
    requests=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 4)), min_size=1, max_size=40),
    acts=st.lists(st.one_of(st.just(None), st.floats(0, 9)), max_size=40),
)
def test_every_request_is_answered_in_time_with_the_scores_of_its_own_rows(requests, acts):
    async def story(scorer, _):
        loop = asyncio.get_running_loop()

        async def ask(number: int, after_ms: float, count: int) -> None:
            await asyncio.sleep(after_ms / 1_000)
            sent = loop.time()
            firsts = [float(number * 10 + i + 1) for i in range(count)]
            answer = await scorer.score(rows(*firsts))
            expected = [-first for first in firsts] if answer.degraded else firsts
            assert told(answer) == (expected, "champion" if answer.degraded else "v7", answer.degraded)
            assert loop.time() - sent <= 0.004 + 1e-9

        await asyncio.gather(*(ask(number, *each) for number, each in enumerate(requests)))
        assert scorer.counters.requests == len(requests)
        assert not scorer._waiting
        return True

    plane = Plane(*(fails() if act is None else takes(act) for act in acts))
    assert play(plane, story, failures_max=3, rest_ms=5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"slice_ms": 0},
        {"batch_bytes_max": 0},
        {"failures_max": 0},
        {"rest_ms": 1},
        {"warm_up_calls": 0},
        {"warm_up_ms": 1},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(wrong):
    with pytest.raises(AssertionError):
        ScoringConfig(**wrong)
