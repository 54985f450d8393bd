"""Is the load believable? Shares of the busiest, the peak hour, gaps: measured on the signals, not on the settings."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.town import calibration
from loadtest.town.rhythm import US_PER_HOUR
from loadtest.town.signals import TownSignals
from loadtest.town.town import Town, utc_offset_us

PIECE_ROWS = 1_000_000
GAP_US = 60_000_000
GAPS_LEAST = 10
"""Subscribers with fewer gaps have no share worth the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Believability:
    """What a stream of signals looks like. Subscribers are members; set-up signals are left out."""

    signals: int
    setup_signals: int
    subscribers: int
    signals_per_subscriber_and_day: float
    top_1_percent_share: float
    top_10_percent_share: float
    peak_hour_over_mean: float
    """Of the hours of the day, over all days."""
    peak_hour: int
    gaps_under_a_minute: float
    """Of all gaps between one signal of a subscriber and the next."""
    median_subscriber_gaps_under_a_minute: float
    """The same share for each subscriber with at least 10 gaps; the median of them."""
    by_type: dict[str, int]

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return asdict(self)

    def ranges(self) -> list[tuple[str, float, float, float]]:
        """Return each stated range: name, value, least, most."""
        return [
            ("top 1 % of subscribers, share of signals", self.top_1_percent_share, *calibration.TOP_1_PERCENT_SHARE),
            ("top 10 % of subscribers, share of signals", self.top_10_percent_share, *calibration.TOP_10_PERCENT_SHARE),
            ("peak hour over mean hour", self.peak_hour_over_mean, *calibration.PEAK_HOUR_OVER_MEAN),
            ("gaps under a minute, all", self.gaps_under_a_minute, calibration.GAPS_UNDER_A_MINUTE_LEAST, 1.0),
            (
                "gaps under a minute, median subscriber",
                self.median_subscriber_gaps_under_a_minute,
                calibration.GAPS_UNDER_A_MINUTE_LEAST,
                1.0,
            ),
        ]


def measure(town: Town) -> Believability:
    """Return what the town's signals look like over its whole span."""
    members, times, hours, types = _collected(town)
    per_member = np.sort(np.bincount(members, minlength=town.people.size))[::-1]
    order = np.lexsort((times, members))
    members, times = members[order], times[order]
    is_same = np.diff(members) == 0
    is_short = (np.diff(times) < GAP_US) & is_same
    gaps = np.bincount(members[1:][is_same], minlength=town.people.size)
    short = np.bincount(members[1:][is_short], minlength=town.people.size)
    enough = gaps >= GAPS_LEAST
    days = (town.end_us - town.start_us) / (24 * US_PER_HOUR)
    return Believability(
        signals=int(hours.sum()),
        setup_signals=sum(types.values()) - int(hours.sum()),
        subscribers=town.people.size,
        signals_per_subscriber_and_day=len(members) / town.people.size / days,
        top_1_percent_share=_share(per_member, 0.01),
        top_10_percent_share=_share(per_member, 0.10),
        peak_hour_over_mean=float(hours.max() / hours.mean()),
        peak_hour=int(hours.argmax()),
        gaps_under_a_minute=float(is_short.sum() / max(int(is_same.sum()), 1)),
        median_subscriber_gaps_under_a_minute=float(np.median(short[enough] / gaps[enough])) if enough.any() else 0.0,
        by_type=dict(types.most_common()),
    )


def _share(sorted_counts: NDArray[np.int64], part: float) -> float:
    busiest = max(1, round(len(sorted_counts) * part))
    return float(sorted_counts[:busiest].sum() / max(int(sorted_counts.sum()), 1))


def _collected(town: Town) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Counter[str]]:
    """Return member indices and times of members' signals, signals per local hour, and all signals by type."""
    hours, types = np.zeros(24, np.int64), np.zeros(len(town.plan.event_types), np.int64)
    members, times = [], []
    offset_us = utc_offset_us(town.start_us, town.plan.policy.time_zone)
    for piece in _lived(town, types):
        hours += np.bincount((piece.times_us + offset_us) // US_PER_HOUR % 24, minlength=24)
        own = piece.members >= 0
        members.append(town.people.first_member[piece.households[own]] + piece.members[own])
        times.append(piece.times_us[own])
    named = {event.name: int(count) for event, count in zip(town.plan.event_types, types, strict=True) if count}
    return np.concatenate(members), np.concatenate(times), hours, Counter(named)


def _lived(town: Town, types: NDArray[np.int64]) -> Iterator[TownSignals]:
    """Yield the pieces without set-up signals; counts all rows in `types`."""
    for piece in town.pieces(PIECE_ROWS):
        types += np.bincount(piece.kinds, minlength=len(types))
        yield piece.take(piece.times_us >= town.start_us)
