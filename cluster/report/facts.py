"""What a report of a model version is made of; each part is there, or says why it is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from insight.evaluation.evaluate import Evaluation
from serving.models.calibration import ScoreCalibration
from serving.models.comparison import Comparison
from serving.models.explaining import Explained
from serving.models.fairness import Part
from serving.models.watch import Watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Why a part of a report is not there."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good scores are on what the version has not seen."""

    rows: int
    auc: float
    logloss: float
    brier: float
    """Mean of (score − outcome)²."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTenth:
    """A tenth of the decisions, by score; the first is the highest."""

    number: int
    rows: int
    score: float
    accepted: int
    rate: float
    lift: float
    """Of the rate over that of all."""
    gained: float
    """Share of all acceptances in this tenth and those above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """One column of the training set."""

    name: str
    unit: str
    values: Sequence[str]
    unknown: float | None
    """Share of the rows, as that of never; None where the manifest does not tell."""
    never: float | None
    middle: str
    """Where the middle of the rows lies, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """All that a report shows."""

    version: str
    stage: str
    made: str
    """When it was made, ISO 8601."""
    written: str
    """When the report was."""
    playbook_version: str
    feature_schema_hash: str
    training: Mapping[str, Any]
    history: Sequence[str]
    columns: Sequence[ColumnFacts]
    judged_on: str
    """Which decisions scores are held against, in a sentence."""
    judged: ScoreCalibration | None
    """On these; None where there are none."""
    quality: Quality | None
    explained: Explained | Missing
    explained_on: str
    watched: Watched | Missing
    tenths: Sequence[ScoredTenth]
    parts: Sequence[Part] | Missing
    comparisons: Sequence[Comparison]
    evaluations: Sequence[Evaluation] | Missing
    verdict: str
    """In a sentence."""
    reasons: Sequence[str]
