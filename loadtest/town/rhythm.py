"""Who does something in a given hour, and how one thing leads to more of the same within minutes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.town import calibration
from loadtest.town.people import Persona

US_PER_SECOND = 1_000_000
US_PER_HOUR = 3_600 * US_PER_SECOND
US_PER_DAY = 24 * US_PER_HOUR

HOURS_LATER = np.array([0, 1, 1, 0, 0, -1, -2])
"""How many hours later than others each persona lives; in the order of Persona."""

LONGEST_BURST_GAP_S = 1_500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Members who may do one kind of thing, each with a mean number per day, grouped by persona."""

    members: NDArray[np.int64]
    cumulative: NDArray[np.float64]
    """(members + 1,) running sum of the means, from 0."""
    group_starts: NDArray[np.int64]
    """(personas + 1,) where each persona's members begin."""
    hour_curves: NDArray[np.float64]
    """(personas, 24) share of the day's total in each hour."""

    def drawn(
        self, draw: np.random.Generator, *, hour: int, day_factor: float, trend: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return the members who do it in one hour; a member may come up more than once.

        Args:
            draw: the block's own chance.
            hour: local hour of day.
            day_factor: how busy the day is, 1 for the mean.
            trend: (personas,) what has become of each persona's habit, 1 for no change.
        """
        edges = self.cumulative[self.group_starts]
        masses = np.diff(edges)
        counts = draw.poisson(masses * self.hour_curves[:, hour] * day_factor * trend)
        lower, width = np.repeat(edges[:-1], counts), np.repeat(masses, counts)
        places = np.searchsorted(self.cumulative, lower + draw.random(len(lower)) * width, side="right") - 1
        return self.members[np.minimum(places, len(self.members) - 1)]


def gathered(personas: NDArray[np.int8], per_day: NDArray[np.float64], hours: tuple[float, ...]) -> Crowd:
    """Return the crowd of all members with a mean above 0, on an hour curve shifted to each persona's habits."""
    members = np.flatnonzero(per_day > 0)
    members = members[np.argsort(personas[members], kind="stable")]
    curve = calibration.as_hour_curve(hours)
    return Crowd(
        members=members,
        cumulative=np.concatenate([[0.0], np.cumsum(per_day[members])]),
        group_starts=np.searchsorted(personas[members], np.arange(len(Persona) + 1)),
        hour_curves=np.stack([np.roll(curve, int(later)) for later in HOURS_LATER]),
    )


def burst(
    draw: np.random.Generator,
    begins_us: NDArray[np.int64],
    sizes: NDArray[np.int64],
    *,
    gap_log_mean: float,
    gap_log_sd: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the events of bursts: for each the index of its burst, and its time.

    Args:
        draw: the block's own chance.
        begins_us: (bursts,) when each begins; its first event is then.
        sizes: (bursts,) events in each, at least 1.
        gap_log_mean: mean of the logarithm of the seconds between one event and the next.
        gap_log_sd: its standard deviation.
    """
    which = np.repeat(np.arange(len(begins_us)), sizes)
    gaps_s = np.minimum(draw.lognormal(gap_log_mean, gap_log_sd, len(which)), LONGEST_BURST_GAP_S)
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(sizes) else np.empty(0, np.int64)
    gaps_s[firsts] = 0.0
    elapsed_s = np.cumsum(gaps_s)
    elapsed_s -= np.repeat(elapsed_s[firsts], sizes)
    return which, np.repeat(begins_us, sizes) + (elapsed_s * US_PER_SECOND).astype(np.int64)
