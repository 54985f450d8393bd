"""What members come to want, when, and what of it can be seen: drawn once, the same whatever arm they are in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.plan import Offer
from loadtest.arms.assumptions import DAYS_TO_HALF, PER_30_DAYS, Assumptions, Need
from loadtest.town import calibration
from loadtest.town.amounts import spent_minor
from loadtest.town.page import Floats, Ints, Page
from loadtest.town.people import People, Persona
from loadtest.town.rhythm import US_PER_DAY, US_PER_HOUR, US_PER_SECOND
from loadtest.town.signals import TownSignals
from loadtest.town.vocabulary import BALANCE_CHECK, TownVocabulary

NEVER_US = 2**62
NEEDS_BLOCK = 1 << 31
"""Number of the block that signals of needs are numbered in; hours have the numbers below."""

LOW_OFTEN = 3.0
"""How often members who run low do, over what others do."""

MINUTE_US = 60 * US_PER_SECOND
ANGRY = 0.6
"""Share of those who call for help that complain."""
EVENINGS_OF_GAMES = 5
GAME_MINUTES = 90.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Needs:
    """All needs of some members: (needs,) arrays, by member and then by time."""

    member: Ints
    kind: NDArray[np.int8]
    born_us: Ints
    half_us: Ints
    shows: NDArray[np.bool_]
    alone_us: Ints
    """When the member would buy for it unasked; NEVER_US for never."""
    elsewhere_us: Ints
    """When a competitor would meet it."""
    first: Ints
    """(members + 1,) where the needs of each begin."""

    @property
    def count(self) -> int:
        """How many."""
        return len(self.member)


def draw_needs(people: People, assumed: Assumptions, *, seed: int, start_us: int, days: float) -> Needs:
    """Return the needs that arise within a span."""
    draw = np.random.default_rng([seed, 11])
    parts = []
    for kind in Need:
        per_day = _who(people, kind) * (PER_30_DAYS[kind] * assumed.need_rate / 30.0)
        counts = draw.poisson(per_day * days)
        member = np.repeat(np.arange(people.size), counts)
        hours = draw.choice(calibration.HOURS, len(member), p=calibration.as_hour_curve(calibration.DATA_HOURS))
        day = draw.integers(0, int(days), len(member))
        born_us = start_us + day * US_PER_DAY + hours * US_PER_HOUR + draw.integers(0, US_PER_HOUR, len(member))
        parts.append((member, np.full(len(member), kind, np.int8), born_us.astype(np.int64)))
    member, kinds, born_us = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((born_us, member))
    member, kinds, born_us = member[order], kinds[order], born_us[order]
    half_us = (np.array(DAYS_TO_HALF)[kinds] * assumed.half_life * US_PER_DAY).astype(np.int64)
    shows = draw.random(len(member)) < assumed.shows
    # Hazards that fall as the need does: by then, 1 − 2^(−age / half-life) of all of it has been run through.
    total = assumed.alone + assumed.elsewhere
    run = draw.exponential(1.0, len(member)) / max(total, 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        age_us = np.where(run < 1.0, -np.log2(1.0 - run) * half_us, np.inf)
    ends_us = np.where(np.isfinite(age_us) & (age_us < NEVER_US / 4), born_us + age_us, NEVER_US).astype(np.int64)
    is_alone = draw.random(len(member)) < assumed.alone / max(total, 1e-12)
    return Needs(
        member=member,
        kind=kinds,
        born_us=born_us,
        half_us=np.maximum(half_us, 1),
        shows=shows,
        alone_us=np.where(is_alone, ends_us, NEVER_US),
        elsewhere_us=np.where(is_alone, NEVER_US, ends_us),
        first=np.searchsorted(member, np.arange(people.size + 1)),
    )


def _who(people: People, kind: Need) -> Floats:
    """Return how prone each member is to a need, 1 for most of those that can have it."""
    is_adult, is_first = people.persona != Persona.CHILD, people.number == 0
    prone = np.zeros(people.size)
    match kind:
        case Need.TOP_UP:
            prone[people.is_prepaid] = 1.0
            prone[people.is_running_low] = LOW_OFTEN
        case Need.TRAVEL:
            prone[is_adult] = 1.0
        case Need.LINE | Need.HOME | Need.HELP:
            prone[is_first] = 1.0
        case Need.WATCH:
            prone[:] = 0.3
            prone[people.has_content] = 1.0
        case Need.PLAY:
            prone[:] = 0.05
            prone[people.persona == Persona.GAMER] = 1.0
            prone[people.persona == Persona.CHILD] = 0.7
        case Need.PAY:
            prone[is_adult & ~people.has_wallet] = 1.0
    return prone


def meets(kind: Need, offer: Offer) -> bool:
    """Return whether what is offered is what a need is for."""
    is_top_up, is_roaming = "topup" in offer.name or offer.name.startswith("data_"), "roaming" in offer.name
    match kind:
        case Need.TOP_UP:
            return is_top_up
        case Need.TRAVEL:
            return is_roaming
        case Need.LINE:
            return offer.family == "mobile" and offer.kind == "offer" and not (is_top_up or is_roaming)
        case Need.WATCH:
            return offer.family == "content"
        case Need.PLAY:
            return offer.family == "gaming"
        case Need.HOME:
            return offer.family in ("smart_home", "broadband")
        case Need.PAY:
            return offer.family == "wallet"
        case Need.HELP:
            return offer.family == "care"


def meeting(offers: Sequence[Offer]) -> NDArray[np.bool_]:
    """Return (needs, offers) which meets which."""
    return np.array([[meets(kind, offer) for offer in offers] for kind in Need])


def signals_of(needs: Needs, people: People, vocabulary: TownVocabulary, *, seed: int) -> TownSignals:
    """Return what the needs that show lead members to do, in order of time."""
    page, draw = Page(people, vocabulary), np.random.default_rng([seed, 12])
    for kind in Need:
        rows = np.flatnonzero(needs.shows & (needs.kind == kind))
        _Trace(page, draw, needs.member[rows], needs.born_us[rows]).leave(kind)
    return page.finished(seed=seed, block=NEEDS_BLOCK).sorted_by_time()


class _Trace:
    """What some members do because they want something."""

    def __init__(self, page: Page, draw: np.random.Generator, members: Ints, born_us: Ints) -> None:
        self._page, self._draw, self._members, self._born_us = page, draw, members, born_us
        self._has_app = page.people.has_app[members]
        self._has_wallet = page.people.has_wallet[members]

    def leave(self, kind: Need) -> None:
        """Write the signals of one kind of need."""
        born_us = self._born_us
        if kind is not Need.HELP:
            for at_us in (born_us + 10 * MINUTE_US, self._later(4, 30)):
                self._write("app.session_started", at_us, self._has_app)
                self._write("web.visit", at_us, ~self._has_app)
        match kind:
            case Need.TOP_UP:
                at_us = born_us
                for _ in range(3):
                    self._write(BALANCE_CHECK, at_us)
                    at_us = at_us + self._hours(2, 20)
            case Need.TRAVEL:
                self._pays("airport", born_us)
                self._write("network.roaming_started", self._later(3, 8), roaming_zone=("roaming_zone", "continent"))
            case Need.LINE:
                self._write("app.add_line_started", born_us + 12 * MINUTE_US, self._has_app)
                self._write("store.visit", self._later(5, 50), ~self._has_app)
                self._looks_at_prices()
            case Need.WATCH:
                self._looks_at_prices()
                self._pays("streaming", self._later(1, 20))
            case Need.PLAY:
                self._plays()
            case Need.HOME:
                self._looks_at_prices()
                self._write("web.visit", self._later(20, 60))
            case Need.PAY:
                for at_us in (born_us + 12 * MINUTE_US, self._later(10, 60)):
                    self._write("app.self_care", at_us, self._has_app)
            case Need.HELP:
                network = ("contact_reason", "network")
                angry = self._draw.random(len(self._members)) < ANGRY
                self._write("ivr.call_started", born_us)
                self._write("call_centre.contact", born_us + 3 * MINUTE_US, contact_reason=network)
                self._write("call_centre.complaint", born_us + 6 * MINUTE_US, angry, contact_reason=network)

    def _hours(self, low: float, high: float) -> Ints:
        return (self._draw.uniform(low, high, len(self._members)) * US_PER_HOUR).astype(np.int64)

    def _later(self, low: float, high: float) -> Ints:
        return self._born_us + self._hours(low, high)

    def _write(
        self,
        event: str,
        at_us: Ints,
        who: NDArray[np.bool_] | None = None,
        **values: tuple[str, str] | Floats,
    ) -> None:
        """Write an event of each member, or of some; a value is a column, or (field, name of its value) for all."""
        rows = np.arange(len(self._members)) if who is None else np.flatnonzero(who)
        columns = {
            name: np.full(len(rows), float(self._page.vocabulary.value[one])) if isinstance(one, tuple) else one[rows]
            for name, one in values.items()
        }
        self._page.write(event, at_us[rows], self._members[rows], **columns)

    def _looks_at_prices(self) -> None:
        for at_us in (self._born_us + 15 * MINUTE_US, self._later(2, 20), self._later(20, 50)):
            self._write("app.pricing_viewed", at_us, self._has_app)

    def _pays(self, category: str, at_us: Ints) -> None:
        self._write(
            "wallet.payment",
            at_us,
            self._has_wallet,
            amount_minor=spent_minor(self._draw, len(self._members)),
            merchant_category=("merchant_category", category),
        )

    def _plays(self) -> None:
        """Three hours each evening, for some days."""
        begins_us = self._born_us // US_PER_DAY * US_PER_DAY
        begins_us = begins_us + self._page.people.evening_hour[self._members].astype(np.int64) * US_PER_HOUR
        minutes, evening = np.full(len(self._members), GAME_MINUTES), np.ones(len(self._members))
        for number in range(EVENINGS_OF_GAMES):
            for part_us in (0, 95 * MINUTE_US):
                at_us = begins_us + number * US_PER_DAY + part_us
                is_after = at_us > self._born_us
                self._write("network.gaming_session", at_us, is_after, minutes=minutes, evening=evening)
