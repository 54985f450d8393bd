"""Who lives in the town: households, their members, what they hold and how they live. Drawn once, from the seed."""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from loadtest.town import calibration

MEMBER_COUNT_MAX = 5


class Persona(IntEnum):
    """How a member lives; decides what they do, when, and what they like."""

    COMMUTER = 0
    STREAMER = 1
    GAMER = 2
    QUIET_CHURNER = 3
    """Uses the app less every week and never says why."""
    PARENT = 4
    CHILD = 5
    SENIOR = 6


class Home(IntEnum):
    """Kinds of household."""

    SINGLE = 0
    COUPLE = 1
    FAMILY = 2
    SENIORS = 3


HOME_WEIGHTS = (0.30, 0.28, 0.27, 0.15)
PREPAID_BY_HOME = np.array([0.55, 0.45, 0.35, 0.40])
BROADBAND_BY_HOME = np.array([0.35, 0.55, 0.80, 0.45])
SMART_HOME_BY_HOME = np.array([0.04, 0.09, 0.15, 0.03])

ADULT_PERSONAS = (Persona.COMMUTER, Persona.STREAMER, Persona.GAMER, Persona.QUIET_CHURNER)
ADULT_WEIGHTS = (0.48, 0.24, 0.14, 0.14)

APP_USER = np.array([0.85, 0.90, 0.95, 0.90, 0.80, 0.60, 0.35])
"""Share of each persona that has the app."""
WALLET_USER = np.array([0.50, 0.55, 0.45, 0.35, 0.50, 0.05, 0.15])
STREAMS_CONTENT = np.array([0.55, 1.00, 0.75, 0.55, 0.60, 0.80, 0.25])
CONSENT_WEIGHTS = (0.08, 0.24, 0.68)
"""Never asked, no, yes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The town's inhabitants: (households,) arrays and (members,) arrays; members of a household are adjacent."""

    home: NDArray[np.int8]
    member_count: NDArray[np.int8]
    first_member: NDArray[np.int64]
    """Index of each household's member M1."""
    is_broadband: NDArray[np.bool_]
    is_smart_home: NDArray[np.bool_]
    devices: NDArray[np.int16]
    """Devices in the home network."""

    household: NDArray[np.int32]
    """Index of each member's household."""
    number: NDArray[np.int8]
    """0 for M1."""
    persona: NDArray[np.int8]
    activity: NDArray[np.float64]
    """How much a member does, relative to the mean of 1; heavy-tailed."""
    is_prepaid: NDArray[np.bool_]
    has_app: NDArray[np.bool_]
    has_wallet: NDArray[np.bool_]
    has_content: NDArray[np.bool_]
    is_evening_streamer: NDArray[np.bool_]
    """Streams every evening at the same hour, whatever else happens."""
    is_running_low: NDArray[np.bool_]
    """Story S1: prepaid, wallet in use, streams every evening, and looks at the balance three times in a week."""
    evening_hour: NDArray[np.int8]
    """Local hour, 18 to 22, at which the evening begins."""
    pack: NDArray[np.int8]
    """The favourite streaming pack, 0 the one most people like."""
    consents: NDArray[np.int8]
    """To marketing: 1 yes, 0 no, -1 never asked."""

    @property
    def size(self) -> int:
        """How many members the town has."""
        return len(self.household)


class _Homes(TypedDict):
    home: NDArray[np.int8]
    member_count: NDArray[np.int8]
    first_member: NDArray[np.int64]
    is_broadband: NDArray[np.bool_]
    is_smart_home: NDArray[np.bool_]
    devices: NDArray[np.int16]


def _households(draw: np.random.Generator, count: int) -> _Homes:
    home = draw.choice(len(Home), count, p=HOME_WEIGHTS).astype(np.int8)
    children = draw.integers(1, 4, count)
    couple_of_seniors = draw.integers(1, 3, count)
    member_count = np.select(
        [home == Home.SINGLE, home == Home.COUPLE, home == Home.FAMILY], [1, 2, 2 + children], couple_of_seniors
    ).astype(np.int8)
    is_broadband = draw.random(count) < BROADBAND_BY_HOME[home]
    devices = np.where(is_broadband, draw.poisson(1.5 + 1.6 * member_count), 0).astype(np.int16)
    return {
        "home": home,
        "member_count": member_count,
        "first_member": np.concatenate([[0], np.cumsum(member_count[:-1], dtype=np.int64)]),
        "is_broadband": is_broadband,
        "is_smart_home": is_broadband & (draw.random(count) < 3 * SMART_HOME_BY_HOME[home]),
        "devices": devices,
    }


def _personas(draw: np.random.Generator, home: NDArray[np.int8], number: NDArray[np.int8]) -> NDArray[np.int8]:
    adults = draw.choice([int(one) for one in ADULT_PERSONAS], len(home), p=ADULT_WEIGHTS)
    is_parent = (home == Home.FAMILY) & (number < 2) & (draw.random(len(home)) < 0.7)
    is_child = (home == Home.FAMILY) & (number >= 2)
    chosen = np.select(
        [is_child, is_parent, home == Home.SENIORS], [Persona.CHILD, Persona.PARENT, Persona.SENIOR], adults
    )
    return chosen.astype(np.int8)


def settle(*, seed: int, household_count: int, pack_count: int) -> People:
    """Return the people of a town of so many households; the same for the same arguments."""
    assert household_count >= 1
    assert pack_count >= 1
    draw = np.random.default_rng([seed, 1])
    homes = _households(draw, household_count)
    home_by_household, member_count = homes["home"], homes["member_count"]
    household = np.repeat(np.arange(household_count, dtype=np.int32), member_count)
    number = (np.arange(len(household)) - homes["first_member"][household]).astype(np.int8)
    home = home_by_household[household]
    persona = _personas(draw, home, number)
    count = len(household)
    activity = draw.lognormal(-(calibration.ACTIVITY_LOG_SD**2) / 2, calibration.ACTIVITY_LOG_SD, count)
    is_prepaid = (draw.random(household_count) < PREPAID_BY_HOME[home_by_household])[household]
    has_wallet = draw.random(count) < WALLET_USER[persona] * np.where(is_prepaid, 1.2, 0.9)
    has_content = draw.random(count) < STREAMS_CONTENT[persona]
    is_evening_streamer = has_content & (persona == Persona.STREAMER)
    pack_weights = 1.0 / np.arange(1, pack_count + 1)
    return People(
        **homes,
        household=household,
        number=number,
        persona=persona,
        activity=activity,
        is_prepaid=is_prepaid,
        has_app=draw.random(count) < APP_USER[persona],
        has_wallet=has_wallet,
        has_content=has_content,
        is_evening_streamer=is_evening_streamer,
        is_running_low=is_prepaid & has_wallet & is_evening_streamer & (draw.random(count) < 0.6),
        evening_hour=draw.integers(18, 23, count).astype(np.int8),
        pack=draw.choice(pack_count, count, p=pack_weights / pack_weights.sum()).astype(np.int8),
        consents=draw.choice(np.array([-1, 0, 1], np.int8), count, p=CONSENT_WEIGHTS),
    )
