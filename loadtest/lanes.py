"""Lanes: the stream divided by household, so that several requests are under way and each household keeps its order.

Within a lane, a piece is one Ingest, then the questions of those who are in contact. What a household does after its
contact is the next round of the same piece, so no signal overtakes a question. A piece is done in all lanes before the
next begins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.town import NO_CHANNEL, Town, TownSignals
from loadtest.town.vocabulary import BALANCE_CHECK

_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Which contacts ask, instead of only being told of."""

    share: float
    """Of the contacts; balance checks always ask."""

    def __post_init__(self) -> None:
        assert 0.0 <= self.share <= 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStep:
    """What a lane does with one piece."""

    before: TownSignals
    """Sent first, as one batch."""
    contacts: TownSignals
    """Each goes with its own question; at most one per household."""
    channels: NDArray[np.int8]
    """(contacts,) index of the channel that asks."""
    after: TownSignals
    """To be done in the next round."""


def lane_of(households: NDArray[np.int32], lane_count: int) -> NDArray[np.int64]:
    """Return the lane of each household; scattered, so that neighbours do not share one."""
    scattered = households.astype(np.uint64) * _MIX >> np.uint64(40)
    return (scattered % np.uint64(lane_count)).astype(np.int64)


def is_asking(town: Town, signals: TownSignals, asking: Asking) -> NDArray[np.bool_]:
    """Return which rows come as a question; depends on the event alone, not on how it is batched."""
    number = (signals.ids[:, 0] * np.uint64(1_000_003) + signals.ids[:, 1]) * _MIX >> np.uint64(40)
    is_chosen: NDArray[np.bool_] = number % np.uint64(10_000) < np.uint64(round(asking.share * 10_000))
    is_chosen |= signals.kinds == town.vocabulary.event[BALANCE_CHECK]
    is_contact: NDArray[np.bool_] = town.contact_channels(signals) != NO_CHANNEL
    return is_chosen & is_contact


def step_of(town: Town, signals: TownSignals, asking: Asking) -> LaneStep:
    """Divide a piece at each household's first question."""
    asked = np.flatnonzero(is_asking(town, signals, asking))
    households, first = np.unique(signals.households[asked], return_index=True)
    rows = np.arange(signals.count)
    question_row = np.full(signals.count, signals.count)
    if len(households):
        places = np.minimum(np.searchsorted(households, signals.households), len(households) - 1)
        has_question = households[places] == signals.households
        question_row = np.where(has_question, asked[first][places], signals.count)
    contacts = signals.take(rows == question_row)
    return LaneStep(
        before=signals.take(rows < question_row),
        contacts=contacts,
        channels=town.contact_channels(contacts),
        after=signals.take(rows > question_row),
    )
