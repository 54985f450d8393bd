"""The facts the town is calibrated on, as constants. Where each comes from, and how it was derived, is in docs/town.md.

Nothing here is a published claim of what offers achieve: those never enter the simulator.
"""

import numpy as np
from numpy.typing import NDArray

HOURS = 24

# Copenhagen Networks Study: 24,333 texts by 555 people, 3,600 calls by 449, 28 days

TEXT_HOURS = (
    0.28, 0.21, 0.08, 0.05, 0.02, 0.01, 0.19, 0.69, 0.97, 1.31, 1.25, 1.41,
    1.66, 1.43, 1.37, 1.37, 1.69, 1.70, 1.39, 1.59, 1.64, 1.59, 1.33, 0.78,
)  # fmt: skip
"""Texts per hour of day over the mean hour; the peak is 1.70."""

CALL_HOURS = (
    0.34, 0.21, 0.23, 0.15, 0.12, 0.03, 0.18, 0.38, 0.53, 0.86, 1.12, 1.57,
    2.48, 1.43, 1.43, 1.83, 2.01, 2.66, 1.67, 1.16, 1.26, 0.86, 0.86, 0.63,
)  # fmt: skip
"""Calls per hour of day over the mean hour; the peak is 2.66."""

WEEKDAYS = (0.85, 1.06, 0.94, 1.07, 1.11, 1.26, 0.72)
"""Texts and calls per day of the week, in order, over the mean day."""

TEXTS_PER_DAY = 1.57
CALLS_PER_DAY = 0.29
ACTIVITY_LOG_SD = 1.45
"""Standard deviation of the logarithm of texts and calls per person: a lognormal with it gives the busiest 10 %
of people 57 % of the events (in the data 58 %), the busiest 1 % 19 % (in the data 22 %)."""

MISSED_CALL_SHARE = 0.10
CALL_SECONDS_LOG_MEAN = 3.07
CALL_SECONDS_LOG_SD = 1.66
"""Of answered calls with a length: the median is 21 s."""

BURST_GAP_LOG_MEAN = 4.38
BURST_GAP_LOG_SD = 1.3
"""Seconds between the texts of one exchange: the first quartile of all gaps is 79 s; 20 % are under a minute."""

# PaySim parameters: 24.6 million transactions of an African mobile-money operator, 30 days

WALLET_HOURS = (
    0.79, 0.28, 0.07, 0.01, 0.00, 0.00, 0.01, 0.08, 0.23, 0.34, 0.28, 0.39,
    0.59, 0.86, 1.06, 1.06, 1.47, 1.67, 2.54, 3.11, 3.09, 2.46, 2.05, 1.56,
)  # fmt: skip
"""Transactions per hour of day over the mean hour; the peak is 3.11."""

WALLET_MIX = {"cash_in": 0.200, "cash_out": 0.365, "payment": 0.349, "transfer": 0.081, "debit": 0.005}
"""Share of each kind of transaction."""

WALLET_PAYMENTS_PER_30_DAYS = 4.3
"""Mean over those who pay at all."""

PAYMENT_LOG_SD = 0.81
"""From a coefficient of variation of 0.96 among clients with 5 to 9 payments."""

TOP_UP_LOG_SD = 1.09
"""From a coefficient of variation of 1.5 of what is paid in."""

# chosen, for want of a public source

DATA_HOURS = (
    0.35, 0.20, 0.12, 0.08, 0.08, 0.12, 0.35, 0.75, 0.95, 1.00, 1.05, 1.15,
    1.30, 1.20, 1.10, 1.10, 1.20, 1.40, 1.60, 1.80, 2.05, 2.05, 1.75, 1.15,
)  # fmt: skip
"""Use of data: awake hours, with the evening busiest."""

EVENING_HOURS = (
    0.55, 0.25, 0.12, 0.06, 0.04, 0.04, 0.08, 0.15, 0.20, 0.25, 0.30, 0.40,
    0.55, 0.60, 0.65, 0.75, 0.95, 1.30, 1.90, 2.80, 3.60, 3.75, 2.90, 1.81,
)  # fmt: skip
"""Streaming and gaming."""

OFFICE_HOURS = (
    0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.05, 0.40, 1.30, 2.20, 2.55, 2.40,
    2.00, 1.90, 2.05, 2.15, 2.10, 1.80, 1.35, 0.90, 0.50, 0.25, 0.10, 0.00,
)  # fmt: skip
"""Shops and the call centre."""

FLAT_HOURS = (1.0,) * HOURS
"""What systems do without anybody's doing."""

# what a believable load is (asserted by the tests)

TOP_1_PERCENT_SHARE = (0.10, 0.50)
TOP_10_PERCENT_SHARE = (0.40, 0.90)
PEAK_HOUR_OVER_MEAN = (1.7, 3.5)
GAPS_UNDER_A_MINUTE_LEAST = 0.10


def as_hour_curve(relative: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the share of a day's events that each hour gets; sums to 1.

    >>> float(as_hour_curve(WALLET_HOURS).max().round(3))
    0.13
    """
    assert len(relative) == HOURS
    shares: NDArray[np.float64] = np.array(relative) / sum(relative)
    return shares
