"""What members would like, hidden from Hearth: it can only be learned from how they answer.

No published claim of what offers achieve enters here; the numbers are chosen so that taste, channel, price, hour and
moment all matter and none decides alone. All follows from the seed and names: an action is always answered alike.
"""

import hashlib
import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from hearth.v1 import decision_pb2
from household.money import minor_digits
from household.plan import Plan
from loadtest.town.people import People, Persona

BASE = -2.2
"""Log-odds of accepting something indifferent for nothing, at a bad hour, out of the blue."""

TASTE_SD = 1.0
CHANNEL_SD = 0.5
FREE = 0.8
"""Added for what costs nothing."""
IN_THE_MOMENT = 0.5
"""Added when a moment led to the action, whatever it is."""
RIGHT_PACK = 1.0
WRONG_PACK = -1.2
NEEDED_NOW = 0.9
"""Added to a top-up for those whose balance is running low."""
EVENING = 0.5
NIGHT = -0.6
HELD = -1.5
"""Added for a family that the household has already."""

DECLINES = 0.22
"""Mean share, of those who do not accept, that say no instead of nothing."""

FAMILY_BY_PERSONA: dict[Persona, dict[str, float]] = {
    Persona.STREAMER: {"content": 0.9, "mobile": 0.3},
    Persona.GAMER: {"gaming": 1.2, "broadband": 0.4},
    Persona.QUIET_CHURNER: {"mobile": -0.6, "wallet": 0.3, "smart_home": 0.3},
    Persona.PARENT: {"smart_home": 0.4, "content": 0.3},
    Persona.CHILD: {"gaming": 0.5, "wallet": -1.0},
    Persona.SENIOR: {"gaming": -1.5, "wallet": -0.6, "care": 0.5},
}

CHANNEL_LIKING = {
    "app": 0.3,
    "web": 0.1,
    "ussd": 0.1,
    "agent": 0.5,
    "store": 0.6,
    "ivr": -0.5,
    "push": -0.3,
    "sms": -0.2,
}
SEEN_ON = {"push": 0.6, "sms": 0.85}
"""Share that is looked at; on other channels nearly all."""


class Reaction(StrEnum):
    """What a member does about an action."""

    ACCEPT = "accept"
    DECLINE = "decline"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a member answers an action; times count from when it was shown or sent."""

    reaction: Reaction
    is_seen: bool
    seen_after_us: int
    reacts_after_us: int
    converts: bool
    """Whether an accepted offer is then put to use."""
    probability: float
    """P(accept) by which it was drawn; known to the simulator only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taste:
    """One member's hidden likings, as additions to log-odds."""

    by_family: dict[str, float]
    by_channel: dict[str, float]
    price_sensitivity: float
    """Lost per 10 units of currency."""
    declines: float


def uniforms(*parts: str, count: int) -> list[float]:
    """Return numbers in [0, 1) that depend on the parts alone.

    >>> [round(one, 3) for one in uniforms("7", "action", count=2)]
    [0.488, 0.32]
    """
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8 * count).digest()
    return [int.from_bytes(digest[8 * i : 8 * i + 8], "little") / 2.0**64 for i in range(count)]


class Preferences:
    """The hidden likings of everybody in the town."""

    def __init__(self, *, seed: int, people: People, plan: Plan) -> None:
        self._seed = seed
        self._people = people
        self._families = plan.families
        self._channels = tuple(channel.name for channel in plan.channels)
        index = plan.field_by_name.get("streaming_pack")
        self._packs = plan.fields[index].values if index is not None else ()
        self.taste = lru_cache(maxsize=65_536)(self._taste)

    def _taste(self, member: int) -> Taste:
        draw = np.random.default_rng([self._seed, 4, member])
        leaning = FAMILY_BY_PERSONA.get(Persona(int(self._people.persona[member])), {})
        families = draw.normal(0.0, TASTE_SD, len(self._families))
        channels = draw.normal(0.0, CHANNEL_SD, len(self._channels))
        return Taste(
            by_family={
                name: float(own) + leaning.get(name, 0.0) for name, own in zip(self._families, families, strict=True)
            },
            by_channel={
                name: float(own) + CHANNEL_LIKING.get(name, 0.0)
                for name, own in zip(self._channels, channels, strict=True)
            },
            price_sensitivity=float(draw.lognormal(-0.6, 0.5)),
            declines=float(draw.beta(2.0, 2.0 / DECLINES - 2.0)),
        )

    def p_accept(self, member: int, action: decision_pb2.Action, channel: str, local_hour: int) -> float:
        """Return P(accept | offer, channel, hour, moment) of a member, given by index."""
        taste, people = self.taste(member), self._people
        log_odds = BASE + taste.by_family.get(action.family, 0.0) + taste.by_channel.get(channel, 0.0)
        tens = action.price_minor / (10 * 10 ** minor_digits(action.currency))
        log_odds += -taste.price_sensitivity * tens if action.price_minor else FREE
        log_odds += IN_THE_MOMENT if action.journey else 0.0
        log_odds += self._fit(member, action)
        since_evening = (local_hour - int(people.evening_hour[member])) % 24
        log_odds += EVENING if since_evening < 3 else NIGHT if local_hour < 7 else 0.0
        return 1.0 / (1.0 + math.exp(-log_odds))

    def _fit(self, member: int, action: decision_pb2.Action) -> float:
        people, household = self._people, int(self._people.household[member])
        fit = 0.0
        named = [pack for pack in self._packs if pack in action.offer]
        if named:
            fit += RIGHT_PACK if named[0] == self._packs[int(people.pack[member])] else WRONG_PACK
        if "topup" in action.offer and bool(people.is_running_low[member]):
            fit += NEEDED_NOW
        has = {"broadband": people.is_broadband[household], "smart_home": people.is_smart_home[household]}
        return fit + (HELD if has.get(action.family, False) else 0.0)

    def answer(self, member: int, action: decision_pb2.Action, channel: str, local_hour: int) -> Answer:
        """Return how a member answers: always the same for the same seed, action id, channel and hour."""
        seen, accepts, declines, converts, pace = uniforms(str(self._seed), action.action_id, count=5)
        probability = self.p_accept(member, action, channel, local_hour)
        is_seen = seen < SEEN_ON.get(channel, 0.97)
        reaction = Reaction.IGNORE
        if is_seen and accepts < probability:
            reaction = Reaction.ACCEPT
        elif is_seen and declines < self.taste(member).declines:
            reaction = Reaction.DECLINE
        return Answer(
            reaction=reaction,
            is_seen=is_seen,
            seen_after_us=1_000_000 + int(pace * 4_000_000),
            reacts_after_us=6_000_000 + int(pace * 50_000_000),
            converts=converts < 0.9,
            probability=probability,
        )
