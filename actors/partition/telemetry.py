"""What a shard counts and times about itself: plain numbers that are bumped here and read elsewhere.

Knows no exporter. Each number is bumped in one thread only (the event loop, or the state thread where it says so), so
nothing needs a lock; whoever reads may see a number that is a moment old. No key or id of a household, member, action
or request ever enters.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from actors.log.contract import Offset, Record
from actors.partition.caller import CallerGone
from actors.partition.scoring_settings import ScoringCounters
from hearth.internal.v1 import shard_pb2
from household.deciding.weighed import veto_counts
from household.decision import Decision
from household.events import Status
from wire.failures import CallFailed, Failure

MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000

LATENCY_BOUNDS_NS: Final = tuple(
    int(bound * MILLISECOND_NS)
    for bound in (
        *(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        *(12, 15, 20, 30, 50, 75, 100, 250, 500, 1_000, 2_500, 5_000),
    )
)
"""Fine below 10 ms, where a decision has to end."""

LAG_BOUNDS_US: Final = tuple(
    int(bound * 1e6) for bound in (0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3_600, 86_400)
)
VERSIONS_KEPT: Final = 16
"""Model versions that are counted apart; of more, the one that came first is dropped."""

COUNT_BOUNDS: Final = (1, 2, 3, 5, 8, 13, 20, 35, 60, 100, 200, 500, 1_000)
SIZE_BOUNDS: Final = tuple(1 << power for power in range(9, 25, 2))

FEW_LAGS: Final = 8
"""Up to here a loop is quicker than numpy."""


class Stage(Enum):
    """The parts of a Decide inside the shard; a part may come again when the state has moved on meanwhile."""

    WAIT = "wait"
    """For another decision of the household, and to see whether the request was answered before: of one that is not
    scored, until its group is formed."""
    SIGNALS = "signals"
    """Append, sync and fold the signals that came with it."""
    PREPARE = "prepare"
    SCORE = "score"
    DECIDE = "decide"
    """Wait for the group, look at the vetoes once more, make the slate, encode."""
    COMMIT = "commit"
    """Append, sync, fold."""
    ANSWER = "answer"


class Outcome(Enum):
    """What a decision came to."""

    ACTION = "action"
    NOTHING = "nothing"
    SERVED = "served"
    """An earlier decision's slate still stands and was shown again."""
    WITHHELD = "withheld"


class Histogram:
    """Counts per bucket, of whole numbers. Bucket i holds bounds[i - 1] < value ≤ bounds[i].

    >>> histogram = Histogram((10, 20))
    >>> for value in (3, 10, 11, 99):
    ...     histogram.record(value)
    >>> histogram.counts, histogram.sum
    ([2, 1, 1], 123)
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        assert list(bounds) == sorted(set(bounds)), "bounds must grow"

        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0

    def record(self, value: int) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def record_all(self, values: NDArray[np.int64]) -> None:
        """Count each of (n,) values."""
        if values.shape[0] <= FEW_LAGS:
            for value in values.tolist():
                self.record(value)
            return
        places = np.searchsorted(self.bounds, values, side="left")
        for place, count in enumerate(np.bincount(places, minlength=len(self.counts)).tolist()):
            self.counts[place] += count
        self.sum += int(values.sum())


class Laps:
    """When each stage of one call ended; made for a call only if somebody wants to know."""

    __slots__ = ("decision", "ends", "started_ns")

    def __init__(self) -> None:
        self.started_ns = time.monotonic_ns()
        self.ends: list[tuple[Stage, int]] = []
        self.decision: Decision | None = None
        """What it came to, for a trace to tell its outcome and its model."""

    def end(self, stage: Stage) -> None:
        """Say that a stage ended now and the next begins."""
        self.ends.append((stage, time.monotonic_ns()))


class CallTracer(Protocol):
    """Makes the spans of those calls whose caller is traced."""

    def begin(self, parent: str) -> str:
        """Return the traceparent of the call's own span; `parent` is the caller's, never empty."""
        ...

    def end(self, call: TracedCall) -> None:
        """Take a call that is over. Never blocks, never raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedCall:
    """A call that is over and whose caller is traced."""

    method: str
    partition: int
    code: int
    """gRPC's number; 0 is OK."""
    parent: str
    """The caller's traceparent."""
    own: str
    """The call's own, from `begin`."""
    ended_ns: int
    """Of the monotonic clock, as are those of `laps`."""
    laps: Laps


@dataclass(frozen=True, slots=True)
class Gauges:
    """How a shard stands at one moment."""

    partitions_owned: int = 0
    waiting_bytes: int = 0
    moments_pending: int = 0
    """Households whose moments wait for a decision that nobody asked for."""
    outbox_size: int = 0
    households: int = 0
    is_lease_held: bool = False
    is_clock_confirmed: bool = False
    snapshots_written: int = 0
    """Since the shard started, as are all that only grow."""
    snapshots_failed: int = 0
    snapshot_age_s: int = 0
    """Of the partition whose newest snapshot is the oldest, among those where anything was folded since."""
    log_tail_events: int = 0
    """Events since the newest snapshot, of the partition with the most."""
    rejects_kept: int = 0
    rejects_missed: int = 0
    rejects_dropped: int = 0
    reject_failures: int = 0
    log_repetitions: int = 0
    """Groups found twice in the logs of the partitions owned."""


@dataclass(slots=True, eq=False)
class ShardTelemetry:
    """The numbers of one shard since it started."""

    tracer: CallTracer | None = None
    signals_by_status: list[int] = field(default_factory=lambda: [0] * len(Status))
    signal_lag_us: Histogram = field(default_factory=lambda: Histogram(LAG_BOUNDS_US))
    unknown_field_values: int = 0
    """Values of fields that the playbook does not know."""
    moments_fired: int = 0
    decisions_by_channel: dict[tuple[str, bool], list[int]] = field(default_factory=dict)
    """(channel, whether a request asked) → decisions by outcome, in the order of Outcome."""
    degraded_decisions: int = 0
    decisions_by_way: dict[str, int] = field(default_factory=dict)
    """Way of their scores → decisions; those that had nothing to score are left out."""
    decisions_by_model: dict[str, int] = field(default_factory=dict)
    """Model version, or `prior` → decisions that it scored."""
    score_ns_by_model: dict[str, Histogram] = field(default_factory=dict)
    """Model version, or `prior` → how long a Decide waited for its scores."""
    void_decisions: int = 0
    vetoes_by_reason: dict[str, int] = field(default_factory=dict)
    remade_decisions: int = 0
    """Times a decision was made again because the state had moved on."""
    repeated_requests: int = 0
    decide_ns: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_NS))
    stage_ns: dict[Stage, Histogram] = field(
        default_factory=lambda: {stage: Histogram(LATENCY_BOUNDS_NS) for stage in Stage}
    )
    calls: dict[tuple[str, int], int] = field(default_factory=dict)
    """(method, gRPC code) → calls answered."""
    group_records: Histogram = field(default_factory=lambda: Histogram(COUNT_BOUNDS))
    group_bytes: Histogram = field(default_factory=lambda: Histogram(SIZE_BOUNDS))
    append_ns: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_NS))
    partitions_lost: int = 0
    scoring: list[ScoringCounters] = field(default_factory=list)
    """Of each scorer since the start, the present one last."""
    gauges: Callable[[], Gauges] = Gauges
    """Asked at export, from another thread."""

    def signals_folded(
        self,
        statuses: NDArray[np.uint8],
        times_us: NDArray[np.int64],
        *,
        moments: int,
        now_us: int | None,
        unknown_field_values: int = 0,
    ) -> None:
        """Count a batch of signals by what became of each, and how old the applied ones were at `now_us`, if given."""
        self.unknown_field_values += unknown_field_values
        if statuses.shape[0] <= FEW_LAGS:
            for status in statuses.tolist():
                self.signals_by_status[status] += 1
        else:
            for status, count in enumerate(np.bincount(statuses, minlength=len(Status)).tolist()):
                self.signals_by_status[status] += count
        self.moments_fired += moments
        if now_us is not None:
            applied = times_us[statuses == Status.APPLIED]
            self.signal_lag_us.record_all(np.maximum(now_us - applied, 0))

    def decision_folded(self, decision: Decision, *, is_in_force: bool) -> None:
        """Count a decision; one that is void changed nothing. Called in the state thread, and there only."""
        if not is_in_force:
            self.void_decisions += 1
            return
        channel = decision.channel or decision.send_channel
        key = (channel, bool(decision.channel))
        by_outcome = self.decisions_by_channel.get(key)
        if by_outcome is None:
            by_outcome = self.decisions_by_channel[key] = [0] * len(_OUTCOMES)
        by_outcome[_OUTCOMES.index(outcome_of(decision))] += 1
        self.degraded_decisions += decision.is_degraded
        if decision.scored_by:
            self.decisions_by_way[decision.scored_by] = self.decisions_by_way.get(decision.scored_by, 0) + 1
            version = decision.model_version
            self.decisions_by_model[version] = self.decisions_by_model.get(version, 0) + 1
            _keep_few(self.decisions_by_model)
        vetoes = self.vetoes_by_reason
        for veto, count in veto_counts(decision.candidates).items():
            vetoes[veto] = vetoes.get(veto, 0) + count

    def appended(self, records: Sequence[Record], took_ns: int) -> None:
        """Count a group that was made durable."""
        self.group_records.record(len(records))
        self.group_bytes.record(sum(len(record.payload) for record in records))
        self.append_ns.record(took_ns)

    def observed(self, method: int, partition: int, traceparent: str) -> Observed:
        """Return the context in which a call is answered: counted and timed, and traced if its caller is."""
        return Observed(self, _METHODS.get(method, "Unknown"), partition, traceparent)

    def called(self, method: str, code: int) -> None:
        """Count a call and how it ended."""
        key = (method, code)
        self.calls[key] = self.calls.get(key, 0) + 1

    def decided(self, laps: Laps, ended_ns: int) -> None:
        """Take the times of a Decide that was answered."""
        laps.ends.append((Stage.ANSWER, ended_ns))
        began_ns = laps.started_ns
        prepared = scored_ns = 0
        for stage, at_ns in laps.ends:
            self.stage_ns[stage].record(at_ns - began_ns)
            scored_ns += (at_ns - began_ns) * (stage is Stage.SCORE)
            began_ns = at_ns
            prepared += stage is Stage.PREPARE
        if laps.decision is not None and laps.decision.scored_by:
            self.scored_in(laps.decision.model_version, scored_ns)
        self.decide_ns.record(ended_ns - laps.started_ns)
        if prepared:
            self.remade_decisions += prepared - 1
        else:
            self.repeated_requests += 1

    def scored_in(self, version: str, took_ns: int) -> None:
        """Count how long a Decide waited for the scores of a model version."""
        histogram = self.score_ns_by_model.get(version)
        if histogram is None:
            histogram = self.score_ns_by_model[version] = Histogram(LATENCY_BOUNDS_NS)
            _keep_few(self.score_ns_by_model)
        histogram.record(took_ns)


def _keep_few(by_version: dict[str, Any]) -> None:
    if len(by_version) > VERSIONS_KEPT:
        del by_version[next(iter(by_version))]


class Observed:
    """One call while it is being answered."""

    __slots__ = ("_laps", "_method", "_own", "_parent", "_partition", "_telemetry")

    def __init__(self, telemetry: ShardTelemetry, method: str, partition: int, parent: str) -> None:
        self._telemetry = telemetry
        self._method = method
        self._partition = partition
        self._parent = parent
        self._own = ""
        self._laps = Laps()

    def __enter__(self) -> Laps:
        if self._parent and self._telemetry.tracer is not None:
            self._own = self._telemetry.tracer.begin(self._parent)
        return self._laps

    def __exit__(self, _type: object, wrong: BaseException | None, _where: TracebackType | None) -> None:
        ended_ns = time.monotonic_ns()
        code = _code(wrong)
        self._telemetry.called(self._method, code)
        if self._method == "Decide" and wrong is None:
            self._telemetry.decided(self._laps, ended_ns)
        if self._own and self._telemetry.tracer is not None:
            self._telemetry.tracer.end(
                TracedCall(
                    method=self._method,
                    partition=self._partition,
                    code=code,
                    parent=self._parent,
                    own=self._own,
                    ended_ns=ended_ns,
                    laps=self._laps,
                )
            )


_OUTCOMES: Final = tuple(Outcome)
_CANCELLED: Final = 1
_METHODS: Final = {
    number: name.removeprefix("METHOD_").capitalize() for name, number in shard_pb2.Method.items() if number
}


def _code(wrong: BaseException | None) -> int:
    if wrong is None:
        return 0
    if isinstance(wrong, CallFailed):
        return int(wrong.status.code)
    if isinstance(wrong, CallerGone):
        return Failure.DEADLINE_EXCEEDED.number
    return Failure.INTERNAL.number if isinstance(wrong, Exception) else _CANCELLED


def outcome_of(decision: Decision) -> Outcome:
    """Return what a decision came to, as the ledger counts it."""
    if decision.stands:
        return Outcome.SERVED
    if not decision.slate:
        return Outcome.NOTHING
    return Outcome.WITHHELD if decision.withheld else Outcome.ACTION


def timed_append(append: Callable[[list[Record]], Offset], records: list[Record]) -> tuple[Offset, int]:
    """Append; return where, and how many nanoseconds it took. For the thread that appends."""
    started_ns = time.monotonic_ns()
    offset = append(records)
    return offset, time.monotonic_ns() - started_ns
