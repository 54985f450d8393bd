"""When a shard stops waiting for the model plane, what it counts of that, and what it asks."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ScorerCall = Callable[[bytes, int], Awaitable[bytes]]
"""Rows (count × columns float32, row by row) and their count to scores (count float32). May raise anything."""


class LocalModel(Protocol):
    """A model in this process: the one that is served, or one that takes the same columns."""

    model_version: str

    def score_now(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n,) scores of `rows`, (n, columns), in well under a millisecond for a decision's rows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringConfig:
    """When to stop waiting for the model plane."""

    slice_ms_max: float = 100.0
    """Most that a request waits for it, from its arrival, its time in the queue included; mostly it is far less."""
    slice_ms_min: float = 2.0
    """Least that a request waits, so that a pace without any spread does not turn away what comes a moment later."""
    deadline_share: float = 0.5
    """Most of what its deadline leaves that a request waits; the rest is for writing the decision down."""
    patience_ms: float = 1_000.0
    """A batch that has not returned by then is given up. It keeps nobody waiting, but tells how slow the plane is."""
    batch_bytes_max: int = 102_400
    """A batch beyond this leaves Ray's direct path for the object store."""
    failures_max: int = 5
    """Failed batches in a row that open the breaker."""
    rest_ms: float = 1_000.0
    """How long a model plane that is broken, or too slow for anybody to wait for, is left alone before each trial."""
    warm_up_ms: float = 10_000.0
    """What the first calls may take; they find the replicas and open connections."""
    warm_up_calls: int = 3

    def __post_init__(self) -> None:
        assert 0 < self.slice_ms_min <= self.slice_ms_max
        # A request whose deadline leaves no time to write the decision down would be scored in vain.
        assert 0 < self.deadline_share < 1
        # What is given up sooner than it is waited for would never be late.
        assert self.patience_ms >= self.slice_ms_max
        assert self.batch_bytes_max > 0
        assert self.failures_max > 0
        assert self.rest_ms > 0
        assert self.warm_up_calls > 0
        # The first call finds its replica in some hundred ms; a budget of one slice would always fail.
        assert self.warm_up_ms >= self.slice_ms_max


@dataclass(slots=True, kw_only=True)
class ScoringCounters:
    """What happened since the start; only ever grows."""

    requests: int = 0
    rows: int = 0
    batches: int = 0
    """Sent to the model plane, warm-up and trials not included."""
    late_requests: int = 0
    """Waited in vain, and then scored here."""
    local_requests: int = 0
    """Scored here for whatever reason."""
    degraded_requests: int = 0
    """Scored here by another model, or with other scores, than the model plane's."""
    failed_batches: int = 0
    openings: int = 0
    """Times the breaker opened."""
    last_failure: str = ""
    slice_us: int = 0
    """What a request waits at most at present; 0 while nothing is measured."""
