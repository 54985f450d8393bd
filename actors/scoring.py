"""How a shard asks the model plane: one batch in flight per model version, a deadline, and an answer in any case.

Requests that arrive while a batch is away are joined into the next one, which leaves the moment the first returns; no
timer holds anything back. A request not answered within its slice is scored by the champion in this process and marked
degraded. After several failures in a row the breaker opens: everything is scored here, while now and then a copy of
some rows tries whether the model plane is well again, so that no request pays for the trial.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from household.scoring import Scored

Call = Callable[[bytes, int], Awaitable[bytes]]
"""Rows (count × columns float32, row by row) and their count to scores (count float32). May raise anything."""


class LocalModel(Protocol):
    """A model in this process. Must take the same columns as the model that is served."""

    model_version: str

    def score_now(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n,) scores of `rows`, (n, columns), in well under a millisecond for a decision's rows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringConfig:
    """When to stop waiting for the model plane."""

    slice_ms: float = 4.0
    """What a request may wait for it, from its arrival, its time in the queue included."""
    batch_bytes_max: int = 102_400
    """A batch beyond this leaves Ray's direct path for the object store."""
    failures_max: int = 5
    """Failed batches in a row that open the breaker."""
    rest_ms: float = 1_000.0
    """How long an open breaker leaves the model plane alone before each trial."""
    warm_up_ms: float = 10_000.0
    """What the first calls may take; they find the replicas and open connections."""
    warm_up_calls: int = 3

    def __post_init__(self) -> None:
        assert self.slice_ms > 0
        assert self.batch_bytes_max > 0
        assert self.failures_max > 0
        # A trial that lasts longer than the rest would leave no rest.
        assert self.rest_ms >= self.slice_ms
        assert self.warm_up_calls > 0
        # The first call finds its replica in some hundred ms; a budget of one slice would always fail.
        assert self.warm_up_ms >= self.slice_ms


@dataclass(slots=True, kw_only=True)
class ScoringCounters:
    """What happened since the start; only ever grows."""

    requests: int = 0
    rows: int = 0
    batches: int = 0
    """Sent to the model plane, warm-up and trials not included."""
    late_requests: int = 0
    """Out of time, so scored here."""
    degraded_requests: int = 0
    """Scored here for whatever reason."""
    failed_batches: int = 0
    openings: int = 0
    """Times the breaker opened."""
    last_failure: str = ""


@dataclass(slots=True, kw_only=True, eq=False)
class _Request:
    rows: NDArray[np.float32]
    deadline: float
    answer: asyncio.Future[Scored]


class ServeScorer:
    """Scores by one model version of the model plane, or in this process when that fails. A `Scorer`.

    Belongs to the event loop it is made in.
    """

    def __init__(
        self, call: Call, *, model_version: str, column_count: int, local: LocalModel, config: ScoringConfig
    ) -> None:
        self.model_version = model_version
        self.counters = ScoringCounters()
        self._call = call
        self._column_count = column_count
        self._local = local
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Request] = deque()
        self._away: list[_Request] = []
        self._batch: asyncio.Future[bytes] | None = None
        self._trial: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._is_sending_soon = False
        self._failures_in_row = 0
        self._rests_until: float | None = None
        """Loop time of the next trial while the breaker is open, else None."""

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open, so that nothing waits for the model plane."""
        return self._rests_until is not None

    async def warm_up(self) -> None:
        """Make the first calls, here and there, before any decision depends on them. A failure opens the breaker."""
        row = np.zeros((1, self._column_count), np.float32)
        self._local.score_now(row)
        for _ in range(self._config.warm_up_calls):
            await asyncio.wait([self._try(row, self._config.warm_up_ms)])
            if self.is_open:
                return

    async def score(self, rows: NDArray[np.float32]) -> Scored:
        """Return one score per row, after at most the slice and the time of a prediction here.

        Args:
            rows: (n, columns) float32, C-contiguous; not to be changed until the answer is there.
        """
        assert rows.dtype == np.float32
        assert rows.flags.c_contiguous
        assert rows.ndim == 2
        assert rows.shape[1] == self._column_count, f"{rows.shape[1]} columns, {self._column_count} expected"

        self.counters.requests += 1
        self.counters.rows += len(rows)
        request = _Request(
            rows=rows, deadline=self._loop.time() + self._config.slice_ms / 1_000, answer=self._loop.create_future()
        )
        if self.is_open:
            self._try_again(rows)
            self._score_here([request])
        else:
            self._waiting.append(request)
            self._send_soon()
            if self._alarm is None:
                self._set_alarm()
        return await request.answer

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
        if not np.isfinite(np.frombuffer(answer, np.float32)).all():
            raise ValueError("a score is not a number")
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
            self._answer(away, np.frombuffer(batch.result(), np.float32), self.model_version, degraded=False)
        else:
            self._score_here(away)
            self._failed(failure)
        if self._waiting:
            self._send_soon()
        self._set_alarm()

    def _give_up(self) -> asyncio.Future[bytes] | None:
        batch, self._batch = self._batch, None
        return batch

    def _out_of_time(self) -> None:
        self._alarm = None
        now = self._loop.time()
        late = [each for each in (*self._away, *self._waiting) if each.deadline <= now and not each.answer.done()]
        self.counters.late_requests += len(late)
        self._score_here(late)
        if self._away and all(request.answer.done() for request in self._away):
            self._away = []
            batch = self._give_up()
            assert batch is not None
            batch.cancel()
            self._failed(f"no answer within {self._config.slice_ms} ms")
            self._send_soon()
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Ring at the deadline of the oldest request without an answer: they stand in order of arrival."""
        oldest = next((each for each in (*self._away, *self._waiting) if not each.answer.done()), None)
        if oldest is not None and self._alarm is not None and self._alarm.when() <= oldest.deadline:
            return  # rings early at worst, and is set again then
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if oldest is None else self._loop.call_at(oldest.deadline, self._out_of_time)

    def _score_here(self, requests: list[_Request]) -> None:
        asked = [request for request in requests if not request.answer.done()]
        if not asked:
            return
        self.counters.degraded_requests += len(asked)
        try:
            scores = self._local.score_now(np.concatenate([request.rows for request in asked]))
        except BaseException as wrong:
            for request in asked:
                request.answer.set_exception(wrong)
            raise
        self._answer(asked, scores, self._local.model_version, degraded=True)

    def _answer(
        self, requests: list[_Request], scores: NDArray[np.float32], model_version: str, *, degraded: bool
    ) -> None:
        start = 0
        for request in requests:
            end = start + len(request.rows)
            if not request.answer.done():
                part = scores[start:end]
                request.answer.set_result(Scored(scores=part, model_version=model_version, degraded=degraded))
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
            self._try(rows, self._config.slice_ms)

    def _try(self, rows: NDArray[np.float32], within_ms: float) -> asyncio.Future[None]:
        self._trial = asyncio.ensure_future(self._ask_within(rows.tobytes(), len(rows), within_ms))
        self._trial.add_done_callback(self._tried)
        return self._trial

    async def _ask_within(self, buf: bytes, count: int, within_ms: float) -> None:
        async with asyncio.timeout(within_ms / 1_000):
            await self._ask(buf, count)

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


async def connect(
    app_name: str,
    *,
    model_version: str,
    feature_schema_hash: str,
    column_count: int,
    local: LocalModel,
    config: ScoringConfig,
    deployment: str = "Scorer",
) -> ServeScorer:
    """Return a warm scorer of the Serve application `app_name`.

    Comes back with an open breaker, not an error, when the application does not answer.
    """
    call = serve_call(app_name, deployment=deployment, feature_schema_hash=feature_schema_hash)
    scorer = ServeScorer(call, model_version=model_version, column_count=column_count, local=local, config=config)
    await scorer.warm_up()
    return scorer


def serve_call(app_name: str, *, deployment: str, feature_schema_hash: str) -> Call:
    """Return a call of a deployment's `score` by gRPC, on this node where it has a replica. Needs a running loop."""
    # Here, so that a shard that scores locally, and the tests, start without Serve.
    from ray.serve.handle import DeploymentHandle

    handle: DeploymentHandle[object] = DeploymentHandle(deployment, app_name)
    handle._init(_prefer_local_routing=True)
    score = handle.options(
        method_name="score", _by_reference=False, request_serialization="pickle", response_serialization="pickle"
    )

    async def call(buf: bytes, count: int) -> bytes:
        answer: bytes = await score.remote(buf, count, feature_schema_hash)
        return answer

    return call


def _failure(done: asyncio.Future[bytes] | asyncio.Future[None]) -> str | None:
    """Return what went wrong, None for nothing; whatever a call raised counts the same."""
    if done.cancelled():
        return "cancelled"
    wrong = done.exception()
    return None if wrong is None else f"{type(wrong).__name__}: {wrong}"[:500]
