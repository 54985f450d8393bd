"""How much, how long and how often: the amounts of what happens in the town, drawn."""

import numpy as np
from numpy.typing import NDArray

from loadtest.town import calibration
from loadtest.town.page import Floats, Ints
from loadtest.town.rhythm import burst


def exchange(draw: np.random.Generator, times_us: Ints, *, mean_more: float) -> tuple[Ints, Ints]:
    """Return an exchange for each time: the event itself and some more soon after."""
    sizes = 1 + draw.poisson(draw.gamma(1.0, mean_more, len(times_us)))
    return burst(
        draw,
        times_us,
        sizes,
        gap_log_mean=calibration.BURST_GAP_LOG_MEAN,
        gap_log_sd=calibration.BURST_GAP_LOG_SD,
    )


def call_minutes(draw: np.random.Generator, count: int) -> Floats:
    """Return how long calls last, in minutes; 0 of one that nobody took."""
    seconds = draw.lognormal(calibration.CALL_SECONDS_LOG_MEAN, calibration.CALL_SECONDS_LOG_SD, count)
    answered = draw.random(count) >= calibration.MISSED_CALL_SHARE
    return np.where(answered, np.round(np.minimum(seconds, 14_400) / 60, 2), 0.0)


def topup_minor(draw: np.random.Generator, count: int) -> Floats:
    """Return what is paid in, in minor units: the amounts that are sold."""
    return draw.choice(np.array([500.0, 1_000.0, 1_500.0, 2_000.0, 3_000.0]), count, p=[0.25, 0.35, 0.15, 0.15, 0.10])


def spent_minor(draw: np.random.Generator, count: int) -> Floats:
    """Return what is paid in shops, in minor units."""
    return np.round(draw.lognormal(6.8, calibration.PAYMENT_LOG_SD, count)).clip(50, 200_000)


def bill_minor(draw: np.random.Generator, members: NDArray[np.int8]) -> Floats:
    """Return what a month costs each household by how many its members are, in minor units."""
    return np.round(1_500.0 + 1_200.0 * members + draw.gamma(2.0, 600.0, len(members)))
