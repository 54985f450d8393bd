"""The section `features`: what is kept per household and per member, and the windows that features share."""

from dataclasses import dataclass
from enum import StrEnum

from household.later import later
from household.plan.references import NONE, Scope


class FeatureKind(StrEnum):
    """What a feature keeps and how it reads; household/columns/features.py has one update and one read for each."""

    COUNT = "count"
    DECAYED_COUNT = "decayed_count"
    WINDOW_COUNT = "window_count"
    WINDOW_SUM = "window_sum"
    NEWEST_TIMES = "newest_times"
    """How many of the newest `keep` times lie within `span_us` before now: exact, unlike tumbling buckets."""
    LAST_SEEN = "last_seen"
    """Time since the newest event in `unit_us`; +infinity when there was none."""
    DISTINCT = "distinct"
    """Number of distinct values of a field, at most `keep`."""
    TREND = "trend"
    """Count over the newest `span_us` less the count over the span before, divided by the larger of that and 1."""
    SESSION_LENGTH = "session_length"
    """Length of the newest session in `unit_us`; gaps of `gap_us` or more end a session."""
    PROFILE = "profile"
    """The value of a field in the newest event that carries it."""
    PRODUCT_HELD = "product_held"
    """1 after an `events` event, 0 after an `off_events` event; the newest decides."""
    MOST_USED = "most_used"
    """Enum value with the largest decayed count; unknown before the first event."""
    MEDIAN_GAP = "median_gap"
    """Median of the gaps between the newest `keep` events in `unit_us`; unknown before there are two gaps."""
    PEAK_HOUR = "peak_hour"
    """Whether it is the hour of the day with the largest decayed count; unknown before the first event."""
    WINDOW_REACHED = "window_reached"
    """In how many of the newest buckets the sum of a field is at least `least`."""
    LINES_HOLDING = "lines_holding"
    """How many lines (values of `field`, at most `keep` of them) hold it: of each the newest event decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Tumbling buckets of counts and sums, stored sparsely, shared by all features that read them."""

    scope: Scope
    events: tuple[int, ...]
    bucket_us: int
    bucket_count: int
    """Buckets kept, the newest included."""
    where: int = NONE
    """Program over the event's fields; NONE counts all."""
    field: int = NONE
    """Field that is summed; NONE sums nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A value kept per household or per member. Fields not used by its kind stay at their defaults."""

    name: str
    """As written in conditions, scope included: `member.balance_checks_7d`."""
    kind: FeatureKind
    scope: Scope
    result: str
    """CEL type of its reading: int, double, bool or string (an enum's name)."""
    unit: str = ""
    events: tuple[int, ...] = ()
    off_events: tuple[int, ...] = ()
    where: int = NONE
    field: int = NONE
    window: int = NONE
    span_us: int = 0
    keep: int = 0
    half_life_us: int = 0
    gap_us: int = 0
    unit_us: int = 1
    initial: float | None = None
    """Reading before any event where the kind leaves it open (PROFILE); None is unknown."""
    values: tuple[str, ...] = ()
    """Names of an enum result."""
    scored: bool = True
    """Whether models see it. Sensitive features are conditions only, never model inputs."""
    least: float = later(0.0)
    """Of a sum, for its bucket to count."""
