"""What a run saw: counts, latencies, and breaches of what Hearth promises, as the outside sees them."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hearth.v1 import signal_pb2

EXAMPLES_KEPT = 5
"""Breaches of each kind that the report shows in full; all are counted."""

RECENT = 2_000
"""Latencies that the progress line looks back on."""


@dataclass(slots=True)
class Latencies:
    """Every single latency, so that percentiles are exact."""

    ms: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, seconds: float) -> None:
        """Keep one."""
        self.ms.append(seconds * 1_000)

    def percentiles(self, newest: int = 0) -> dict[str, float]:
        """Return p50, p90, p99, p999 and max in milliseconds of all, or of the newest so many; empty if of none."""
        chosen = np.array(self.ms[-newest:] if newest else self.ms)
        if not len(chosen):
            return {}
        # The smallest latency that at least so many of all do not exceed: a latency that really occurred.
        points = np.percentile(chosen, [50, 90, 99, 99.9, 100], method="inverted_cdf")
        return {
            name: round(float(point), 3)
            for name, point in zip(("p50", "p90", "p99", "p999", "max"), points, strict=True)
        }


@dataclass(slots=True)
class Promise:
    """One thing that must never happen: how often it was looked for, how often found, and examples."""

    trials: int = 0
    violations: int = 0
    examples: list[str] = field(default_factory=list)

    def hold(self, kept: bool, example: str) -> None:
        """Count one trial."""
        self.trials += 1
        if not kept:
            self.violations += 1
            if len(self.examples) < EXAMPLES_KEPT:
                self.examples.append(example)

    def as_report(self) -> dict[str, Any]:
        """Return it for the report."""
        return {"trials": self.trials, "violations": self.violations, "examples": self.examples}


@dataclass(slots=True)
class SignalTally:
    """Signals by fate; in = applied + duplicate + late + rejected, or Hearth has lost some."""

    sent: int = 0
    received: int = 0
    applied: int = 0
    duplicate: int = 0
    late: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Of the rejections that were told, at most 100 per request."""

    def add(self, sent: int, counts: signal_pb2.SignalCounts, rejections: Any) -> bool:
        """Count one answer; return whether it accounts for every signal that was sent."""
        self.sent += sent
        self.received += counts.received
        self.applied += counts.applied
        self.duplicate += counts.duplicate
        self.late += counts.late
        self.rejected += counts.rejected
        self.reasons.update(rejection.reason for rejection in rejections)
        accounted = counts.applied + counts.duplicate + counts.late + counts.rejected
        return bool(counts.received == sent == accounted)

    def as_report(self) -> dict[str, Any]:
        """Return it for the report."""
        return {
            "in": self.received,
            "sent": self.sent,
            "applied": self.applied,
            "duplicate": self.duplicate,
            "late": self.late,
            "rejected": self.rejected,
            "rejection_reasons": dict(self.reasons.most_common()),
        }


@dataclass(slots=True)
class DecisionTally:
    """Decisions by what was asked, answered and why."""

    total: int = 0
    nothing: int = 0
    degraded: int = 0
    by_channel: Counter[str] = field(default_factory=Counter)
    by_action: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    """By the first, most important reason."""
    by_model: Counter[str] = field(default_factory=Counter)
    playbooks: set[str] = field(default_factory=set)

    def as_report(self) -> dict[str, Any]:
        """Return it for the report."""
        return {
            "total": self.total,
            "nothing": self.nothing,
            "with_action": self.total - self.nothing,
            "degraded": self.degraded,
            "by_channel": dict(self.by_channel.most_common()),
            "by_action": dict(self.by_action.most_common()),
            "by_reason": dict(self.by_reason.most_common()),
            "by_model": dict(self.by_model.most_common()),
            "playbook_versions": sorted(self.playbooks),
        }


@dataclass(slots=True)
class Tally:
    """Everything a run collects."""

    signals: SignalTally = field(default_factory=SignalTally)
    decisions: DecisionTally = field(default_factory=DecisionTally)
    decide: Latencies = field(default_factory=Latencies)
    """From the moment a question was due until its answer, attempts that failed included."""
    ingest: Latencies = field(default_factory=Latencies)
    outcomes: Counter[str] = field(default_factory=Counter)
    """Reports that were acknowledged, by outcome."""
    ineffective: Counter[str] = field(default_factory=Counter)
    """Reports that changed nothing, by reason."""
    deliveries: int = 0
    redeliveries: int = 0
    deliveries_by_channel: Counter[str] = field(default_factory=Counter)
    acks: Counter[str] = field(default_factory=Counter)
    accounted: Promise = field(default_factory=Promise)
    read_your_writes: Promise = field(default_factory=Promise)
    same_action: Promise = field(default_factory=Promise)
    declined_again: Promise = field(default_factory=Promise)
    accepted_again: Promise = field(default_factory=Promise)
    well_formed: Promise = field(default_factory=Promise)

    @property
    def promises(self) -> dict[str, Promise]:
        """All promises by name."""
        return {
            "every_signal_accounted_for": self.accounted,
            "read_your_writes": self.read_your_writes,
            "same_action_on_all_channels": self.same_action,
            "declined_never_offered_again": self.declined_again,
            "accepted_withdrawn_everywhere": self.accepted_again,
            "answers_well_formed": self.well_formed,
        }

    @property
    def violations(self) -> int:
        """Breaches of all promises together."""
        return sum(promise.violations for promise in self.promises.values())

    def as_report(self) -> dict[str, Any]:
        """Return everything for the report."""
        return {
            "signals": self.signals.as_report(),
            "decisions": self.decisions.as_report(),
            "outcomes": dict(self.outcomes.most_common()),
            "ineffective_reports": dict(self.ineffective.most_common()),
            "deliveries": {
                "total": self.deliveries,
                "redelivered": self.redeliveries,
                "by_channel": dict(self.deliveries_by_channel.most_common()),
                "acks": dict(self.acks.most_common()),
            },
            "latency_ms": {"count": len(self.decide.ms), **self.decide.percentiles()},
            "ingest_latency_ms": {"count": len(self.ingest.ms), **self.ingest.percentiles()},
            "promises": {name: promise.as_report() for name, promise in self.promises.items()},
            "violations": self.violations,
        }
