"""How a shard asks the model plane: one batch in flight per model version, a deadline, and an answer in any case.

Requests that arrive while a batch is away are joined into the next one, which leaves the moment the first returns; no
timer holds anything back. How long a request waits follows what the model plane is measured to take, within what the
request's own deadline leaves. One that is not answered by then, or that could not be, is scored by the champion in this
process: the same model, and so the same scores, which is no degradation. After several failures in a row the breaker
opens: everything is scored here, while now and then a copy of some rows tries whether the model plane is well again, so
that no request pays for the trial.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actors.partition.pace import ScorerPace
from actors.partition.scoring_settings import LocalModel, ScorerCall, ScoringConfig, ScoringCounters
from household.scoring import Scored, Way

TICK_S: Final = 0.000_5
"""A loop may ring so much too early: uvloop counts in milliseconds. What is due by then is late."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Request:
    rows: NDArray[np.float32]
    deadline: float
    answer: asyncio.Future[Scored]
    is_copy: bool = False
    """Of one that was scored here: nobody waits for it, it only measures."""


class ServeScorer:
    """Scores by one model version of the model plane, or in this process when that is late or fails. A `Scorer`.

    Belongs to the event loop it is made in.
    """

    def __init__(
        self,
        call: ScorerCall,
        *,
        model_version: str,
        column_count: int,
        local: LocalModel,
        config: ScoringConfig,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """`bounds`: least and most that a score may be; beyond them it is a failure of the model plane."""
        self.model_version = model_version
        self.counters = ScoringCounters()
        self._call = call
        self._column_count = column_count
        self._local = local
        self._bounds = bounds
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._pace = ScorerPace()
        self._is_same = local.model_version == model_version
        """Whether the model here gives the scores of the one that is served; seen otherwise, it is degraded."""
        self._measures_from = self._loop.time() + config.rest_ms / 1_000
        """Loop time from which a copy of a request may measure a pace that is too slow for anybody to wait for."""
        self._waiting: deque[_Request] = deque()
        self._away: list[_Request] = []
        self._batch: asyncio.Future[bytes] | None = None
        self._sent_s = 0.0
        """Loop time at which the batch left."""
        self._trial: asyncio.Future[None] | None = None
        self._alarm: asyncio.Handle | None = None
        self._rings_s = 0.0
        """Loop time of the alarm. Kept here: uvloop's handle of what is due within half a millisecond has no time."""
        self._is_sending_soon = False
        self._failures_in_row = 0
        self._rests_until: float | None = None
        """Loop time of the next trial while the breaker is open, else None."""

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open, so that nothing waits for the model plane."""
        return self._rests_until is not None

    async def warm_up(self, rows: NDArray[np.float32] | None = None) -> None:
        """Make the first calls, here and there, before any decision depends on them. A failure opens the breaker.

        Args:
            rows: (n, columns) float32 on which the scores here and there are compared; zeros if None.
        """
        if rows is None:
            rows = np.zeros((1, self._column_count), np.float32)
        self._local.score_now(rows)
        for _ in range(self._config.warm_up_calls):
            # The first calls find their replica and open connections: only the last tells what a call takes.
            self._pace.forget()
            await asyncio.wait([self._try(rows, self._config.warm_up_ms)])
            if self.is_open:
                return

    async def score(self, rows: NDArray[np.float32], *, deadline_s: float | None = None) -> Scored:
        """Return one score per row, after at most the slice and the time of a prediction here.

        Args:
            rows: (n, columns) float32, C-contiguous; not to be changed until the answer is there.
            deadline_s: loop time at which whoever asked will have gone; None if nobody waits.
        """
        assert rows.dtype == np.float32
        assert rows.flags.c_contiguous
        assert rows.ndim == 2
        assert rows.shape[1] == self._column_count, f"{rows.shape[1]} columns, {self._column_count} expected"

        self.counters.requests += 1
        self.counters.rows += len(rows)
        now = self._loop.time()
        slice_s = self._slice_s(now, deadline_s)
        request = _Request(rows=rows, deadline=now + slice_s, answer=self._loop.create_future())
        if self.is_open:
            self._try_again(rows)
            self._score_here([request])
        elif slice_s == 0.0:
            self._measure(rows, now)
            self._score_here([request])
        else:
            self._wait(request)
        return await request.answer

    def _slice_s(self, now: float, deadline_s: float | None) -> float:
        """Return how long a request that arrives now may wait; 0 if it would most likely wait in vain."""
        config, mean_ms, most_ms = self._config, self._pace.mean_ms, self._pace.most_ms
        limit_s = config.slice_ms_max / 1_000
        if deadline_s is not None:
            limit_s = min(limit_s, (deadline_s - now) * config.deadline_share)
        if mean_ms is None or most_ms is None:
            return max(limit_s, 0.0)
        flights = 1
        if self._batch is not None:
            if now - self._sent_s > max(most_ms, config.slice_ms_min) / 1_000:
                return 0.0  # it is overdue, and whoever came now would stand behind it
            flights = 2
        if flights * mean_ms / 1_000 > limit_s:
            return 0.0
        return min(limit_s, flights * max(most_ms, config.slice_ms_min) / 1_000)

    def _wait(self, request: _Request) -> None:
        self._waiting.append(request)
        self._send_soon()
        if self._alarm is None or request.deadline < self._rings_s:
            self._set_alarm()

    def _measure(self, rows: NDArray[np.float32], now: float) -> None:
        """Send a copy of rows that are scored here, so that a plane that has become quick again is noticed."""
        if now < self._measures_from or self._batch is not None or not len(rows):
            return
        self._measures_from = now + self._config.rest_ms / 1_000
        patience_s = self._config.patience_ms / 1_000
        answer: asyncio.Future[Scored] = self._loop.create_future()
        self._wait(_Request(rows=rows, deadline=now + patience_s, answer=answer, is_copy=True))

    def close(self) -> None:
        """Give up what is in flight and score what waits here, so that no request is lost. Twice is once."""
        for task in (self._give_up(), self._trial):
            if task is not None:
                task.cancel()
        self._trial = None
        self._score_here([*self._away, *self._waiting])
        self._away = []
        self._waiting.clear()
        self._set_alarm()

    # --- sending ---

    def _send_soon(self) -> None:
        # In the loop's next turn, so that requests that arrived in one frame leave in one batch.
        if self._batch is None and not self._is_sending_soon:
            self._is_sending_soon = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._is_sending_soon = False
        if self._batch is not None:
            return
        self._away = self._next_batch()
        if not self._away:
            return
        self.counters.batches += 1
        rows = [request.rows for request in self._away]
        buf = b"".join(part.tobytes() for part in rows)
        self._sent_s = self._loop.time()
        self._batch = asyncio.ensure_future(self._ask(buf, sum(map(len, rows))))
        self._batch.add_done_callback(self._returned)

    def _next_batch(self) -> list[_Request]:
        batch: list[_Request] = []
        size = 0
        while self._waiting:
            request = self._waiting[0]
            if request.answer.done():
                self._waiting.popleft()
                continue
            size += request.rows.nbytes
            if batch and size > self._config.batch_bytes_max:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _ask(self, buf: bytes, count: int) -> bytes:
        answer = await self._call(buf, count)
        if len(answer) != 4 * count:
            raise ValueError(f"{len(answer)} bytes for {count} scores")
        scores = np.frombuffer(answer, np.float32)
        least, most = self._bounds
        if not bool((scores >= least).all() and (scores <= most).all()):  # not a number is neither
            raise ValueError(f"a score is not within {least:g} and {most:g}")
        return answer

    # --- what comes back ---

    def _returned(self, batch: asyncio.Future[bytes]) -> None:
        failure = _failure(batch)
        if batch is not self._batch:
            return  # given up before
        self._batch = None
        away, self._away = self._away, []
        if failure is None:
            self._failures_in_row = 0
            self._took(self._loop.time() - self._sent_s)
            self._answer(away, np.frombuffer(batch.result(), np.float32), self.model_version, Way.SERVE)
        else:
            self._score_here(away)
            self._failed(failure)
        if self._waiting:
            self._send_soon()
        self._set_alarm()

    def _give_up(self) -> asyncio.Future[bytes] | None:
        batch, self._batch = self._batch, None
        return batch

    def _took(self, seconds: float) -> None:
        self._pace.took(seconds * 1_000)
        most_ms = min(self._pace.most_ms or 0.0, self._config.slice_ms_max)
        self.counters.slice_us = int(max(most_ms, self._config.slice_ms_min) * 1_000)

    def _out_of_time(self) -> None:
        self._alarm = None
        now = self._loop.time() + TICK_S
        late = [each for each in (*self._away, *self._waiting) if each.deadline <= now and not each.answer.done()]
        self.counters.late_requests += sum(not each.is_copy for each in late)
        self._score_here(late)
        self._waiting = deque(each for each in self._waiting if not each.answer.done())
        if self._batch is not None and now >= self._given_up_s:
            self._away = []
            batch = self._give_up()
            assert batch is not None
            batch.cancel()
            self._took(now - self._sent_s)
            self._failed(f"no answer within {self._config.patience_ms} ms")
            if self._waiting:
                self._send_soon()
        self._set_alarm()

    @property
    def _given_up_s(self) -> float:
        return self._sent_s + self._config.patience_ms / 1_000

    def _set_alarm(self) -> None:
        """Ring when the next request without an answer is late, or the batch that is away is to be given up."""
        due = [each.deadline for each in (*self._away, *self._waiting) if not each.answer.done()]
        if self._batch is not None:
            due.append(self._given_up_s)
        when = min(due, default=None)
        if when is not None and self._alarm is not None and self._rings_s <= when:
            return  # rings early at worst, and is set again then
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if when is not None:
            self._alarm, self._rings_s = self._loop.call_at(when, self._out_of_time), when

    def _score_here(self, requests: list[_Request]) -> None:
        asked = [request for request in requests if not request.answer.done()]
        for copy in (request for request in asked if request.is_copy):
            copy.answer.cancel()
        asked = [request for request in asked if not request.is_copy]
        if not asked:
            return
        self.counters.local_requests += len(asked)
        if not self._is_same:
            self.counters.degraded_requests += len(asked)
        try:
            scores = self._local.score_now(np.concatenate([request.rows for request in asked]))
        except BaseException as wrong:
            for request in asked:
                request.answer.set_exception(wrong)
            raise
        self._answer(asked, scores, self._local.model_version, Way.SHARD)

    def _answer(self, requests: list[_Request], scores: NDArray[np.float32], model_version: str, way: Way) -> None:
        start, degraded = 0, way is Way.SHARD and not self._is_same
        for request in requests:
            end = start + len(request.rows)
            if not request.answer.done():
                part = scores[start:end]
                scored = Scored(scores=part, model_version=model_version, degraded=degraded, way=way)
                request.answer.set_result(scored)
            start = end

    # --- the breaker ---

    def _failed(self, failure: str) -> None:
        self.counters.failed_batches += 1
        self.counters.last_failure = failure
        self._failures_in_row += 1
        if self._failures_in_row >= self._config.failures_max and not self.is_open:
            self.counters.openings += 1
            self._rest()
            self._score_here(list(self._waiting))
            self._waiting.clear()

    def _rest(self) -> None:
        self._rests_until = self._loop.time() + self._config.rest_ms / 1_000

    def _try_again(self, rows: NDArray[np.float32]) -> None:
        assert self._rests_until is not None
        if self._trial is None and len(rows) and self._loop.time() >= self._rests_until:
            self._try(rows, self._config.patience_ms)

    def _try(self, rows: NDArray[np.float32], within_ms: float) -> asyncio.Future[None]:
        self._trial = asyncio.ensure_future(self._ask_within(rows.tobytes(), len(rows), within_ms))
        self._trial.add_done_callback(self._tried)
        return self._trial

    async def _ask_within(self, buf: bytes, count: int, within_ms: float) -> None:
        began_s = self._loop.time()
        async with asyncio.timeout(within_ms / 1_000):
            answer = await self._ask(buf, count)
        self._took(self._loop.time() - began_s)
        here = self._local.score_now(np.frombuffer(buf, np.float32).reshape(count, self._column_count))
        self._is_same = self._local.model_version == self.model_version and here.tobytes() == answer

    def _tried(self, trial: asyncio.Future[None]) -> None:
        failure = _failure(trial)
        if trial is not self._trial:
            return  # closed meanwhile
        self._trial = None
        if failure is None:
            self._rests_until = None
            self._failures_in_row = 0
        else:
            self.counters.last_failure = failure
            self._rest()


def _failure(done: asyncio.Future[bytes] | asyncio.Future[None]) -> str | None:
    """Return what went wrong, None for nothing; whatever a call raised counts the same."""
    if done.cancelled():
        return "cancelled"
    wrong = done.exception()
    return None if wrong is None else f"{type(wrong).__name__}: {wrong}"[:500]
