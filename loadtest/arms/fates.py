"""How the households of one arm fare: what they buy, what they are told, when they have had enough, and who leaves.

Nothing here knows which arm it is. What would happen unasked was drawn beforehand and is the same in all of them, so
what differs comes of what was said, when, on which channel, and of what the member wanted then.
"""

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.plan import Plan
from loadtest.arms.assumptions import DAYS_TO_HALF, Assumptions, Need
from loadtest.arms.core import Spoken
from loadtest.arms.events import Aftermath
from loadtest.arms.needs import NEVER_US, Needs, meeting
from loadtest.town.page import Floats, Ints
from loadtest.town.people import People, Persona
from loadtest.town.preferences import (
    EVENING,
    FREE,
    HELD,
    NIGHT,
    RIGHT_PACK,
    SEEN_ON,
    WRONG_PACK,
    Preferences,
    uniforms,
)
from loadtest.town.rhythm import US_PER_DAY, US_PER_HOUR, US_PER_SECOND

OWN_TOP_UP_MINOR = 1_000
"""What members buy unasked who run low."""
SEEN_INBOUND = 0.97
ASKED_FOR = 0.2
"""How much of a contact it is to be shown something where one came oneself."""
WELCOME = 0.25
"""The same where it meets a need."""
FAMILY_BY_PRODUCT = {"extra_line": "mobile", "wallet_card": "wallet"}
DRIFT_DAYS = 30.0
"""In which the hazard of quiet churners grows by a factor e, up to e²."""
USES_IT = 0.9
"""Share of what is accepted that is then put to use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all arms share: who lives there, what they want, and what is assumed of them."""

    seed: int
    plan: Plan
    people: People
    preferences: Preferences
    needs: Needs
    assumed: Assumptions
    holds: NDArray[np.bool_]
    """(households, families) what each holds before anything begins."""
    patience: Floats
    """(households,) each leaves once its hazard has added up to it."""
    start_us: int
    utc_offset_us: int


@dataclass(slots=True, kw_only=True)
class Fading:
    """Levels that fall by half in a given time."""

    level: Floats
    as_of_us: Ints
    half_us: float

    def now(self, at: int, time_us: int) -> float:
        """Return one level."""
        age_us = max(time_us - int(self.as_of_us[at]), 0)
        return float(self.level[at] * np.exp2(-age_us / self.half_us))

    def all_now(self, time_us: int) -> Floats:
        """Return all levels."""
        found: Floats = self.level * 2.0 ** (-np.maximum(time_us - self.as_of_us, 0) / self.half_us)
        return found

    def add(self, at: int, more: float, time_us: int) -> None:
        """Add to one level; never below 0."""
        self.level[at] = max(self.now(at, time_us) + more, 0.0)
        self.as_of_us[at] = time_us


def fading(count: int, half_days: float, start_us: int) -> Fading:
    """Return levels of 0."""
    return Fading(level=np.zeros(count), as_of_us=np.full(count, start_us), half_us=half_days * US_PER_DAY)


class Fates:
    """The households of one arm."""

    def __init__(self, world: World) -> None:
        self.world = world
        households, people = len(world.people.home), world.people
        self.left_us = np.full(households, NEVER_US)
        self.met = np.zeros(world.needs.count, np.bool_)
        """(needs,) those that are over."""
        self.holds = world.holds.copy()
        self.bought = np.zeros((households, len(world.plan.offers)), np.bool_)
        self.monthly_minor = np.zeros(households)
        self.revenue_minor = np.zeros(households)
        self.cost_minor = np.zeros(households)
        self.taken_up = np.zeros(households)
        """Products that were bought, of their own accord or not."""
        self.sent = np.zeros(households)
        self.shown = np.zeros(households)
        self.accepted = np.zeros(households)
        self.hazard = np.zeros(households)
        self.weariness = fading(people.size, world.assumed.weary_days, world.start_us)
        self.grief = fading(households, DAYS_TO_HALF[Need.HELP], world.start_us)
        self.footholds = np.zeros(households)
        self.opted_out = np.zeros(people.size, np.bool_)
        self.is_drifting = np.bincount(people.household, people.persona == Persona.QUIET_CHURNER) > 0
        self.said: list[Aftermath] = []
        """What follows for the core of the arm; taken by whoever folds it."""
        self._meets = meeting(world.plan.offers)
        self._packs = self._streaming_packs()
        self._alone = _queue(world.needs.alone_us)
        self._elsewhere = _queue(world.needs.elsewhere_us)
        self._griefs = _queue(np.where(world.needs.kind == Need.HELP, world.needs.born_us, NEVER_US))
        self._family = np.array([world.plan.families.index(one.family) for one in world.plan.offers])

    def copied(self) -> "Fates":
        """Return the same households in the same state, to fare apart from these."""
        return copy.deepcopy(self, {id(self.world): self.world})

    @property
    def has_left(self) -> NDArray[np.bool_]:
        """(households,) whether each has left by now."""
        return self.left_us < NEVER_US

    # --- what is said ---------------------------------------------------------------------------------------------

    def reached(self, spoken: Spoken, time_us: int) -> bool | None:
        """Let a member be shown or sent an action; return whether it was accepted, None if it went unseen."""
        plan, world = self.world.plan, self.world
        household = int(spoken.household[1:])
        number = int(spoken.member[1:]) - 1 if spoken.member else 0
        member = int(world.people.first_member[household]) + number
        channel, offer = plan.channels[spoken.channel], plan.offers[spoken.offer]
        if not self.is_here(household, time_us):
            return None
        self.cost_minor[household] += offer.cost_minor + channel.cost_minor
        (self.sent if spoken.is_outbound else self.shown)[household] += 1
        answers_as = (str(world.seed), str(member))
        day = int((time_us - world.start_us) // US_PER_DAY)
        fortnight = str(int(day // world.assumed.remembers_days))
        (accepts, declines, uses) = uniforms(*answers_as, offer.name, fortnight, count=3)
        (is_seen, objects) = uniforms(*answers_as, channel.name, str(time_us // US_PER_HOUR), count=2)
        if spoken.is_outbound:
            self._say(household, number, "hearth.delivered", time_us, spoken, channel.name)
        if is_seen >= SEEN_ON.get(channel.name, SEEN_INBOUND):
            return None
        self._say(household, number, "hearth.impression", time_us, spoken, channel.name)
        probability, met_by = self.p_accept(member, spoken.offer, spoken.price_minor, channel.name, time_us)
        self._grow_weary(household, member, number, time_us, spoken, objects, is_welcome=met_by >= 0)
        if offer.family == "care" and met_by >= 0:
            self.grief.add(household, -0.5 * self.grief.now(household, time_us), time_us)
        if accepts < probability:
            self.accepted[household] += 1
            self._say(household, number, "hearth.accept", time_us + 5 * US_PER_SECOND, spoken, channel.name)
            if met_by >= 0:
                self.met[met_by] = True
            if offer.kind == "reward":
                self.cost_minor[household] += world.assumed.reward_minor
            if uses < USES_IT and offer.kind == "offer":
                self._say(household, number, "hearth.convert", time_us + 9 * US_PER_SECOND, spoken, channel.name)
                self._buy(household, number, spoken.offer, spoken.price_minor, time_us + 20 * US_PER_SECOND)
        elif declines < world.preferences.taste(member).declines:
            self._say(household, number, "hearth.decline", time_us + 5 * US_PER_SECOND, spoken, channel.name)
        return accepts < probability

    def p_accept(self, member: int, offer: int, price_minor: int, channel: str, time_us: int) -> tuple[float, int]:
        """Return P(accept) of a member who sees something, and the need that it meets, -1 for none."""
        world, assumed, people = self.world, self.world.assumed, self.world.people
        told = world.plan.offers[offer]
        household = int(people.household[member])
        if told.kind == "offer" and told.price_minor and self.bought[household, offer] and not is_once(told.name):
            return 0.0, -1
        taste = world.preferences.taste(member)
        log_odds = assumed.base + taste.by_family.get(told.family, 0.0) + taste.by_channel.get(channel, 0.0)
        log_odds += -taste.price_sensitivity * price_minor / 1_000 if price_minor else FREE
        pack = self._packs.get(offer)
        if pack is not None:
            log_odds += RIGHT_PACK if pack == int(people.pack[member]) else WRONG_PACK
        if told.family in ("broadband", "smart_home") and self.holds[household, self._family[offer]]:
            log_odds += HELD
        hour = int((time_us + world.utc_offset_us) // US_PER_HOUR % 24)
        since_evening = (hour - int(people.evening_hour[member])) % 24
        log_odds += EVENING if since_evening < 3 else NIGHT if hour < 7 else 0.0
        strength, need = self._wanted(member, offer, time_us)
        log_odds += assumed.strength * strength
        beyond = max(self.weariness.now(member, time_us) - assumed.tolerance, 0.0)
        log_odds -= assumed.weary * beyond
        if told.kind == "offer":
            log_odds -= assumed.grief * self.grief.now(household, time_us)
        return 1.0 / (1.0 + np.exp(-log_odds)), need

    def _wanted(self, member: int, offer: int, time_us: int) -> tuple[float, int]:
        """Return how much a member wants what is offered, 0 to 1, and by which need."""
        needs, best, found = self.world.needs, 0.0, -1
        for at in range(int(needs.first[member]), int(needs.first[member + 1])):
            age_us = time_us - int(needs.born_us[at])
            if age_us < 0:
                break
            if self.met[at] or not self._meets[needs.kind[at], offer]:
                continue
            left = 2.0 ** (-age_us / float(needs.half_us[at]))
            if left > best:
                best, found = left, at
        return (best, found) if best > 0.05 else (best, -1)

    def _grow_weary(
        self,
        household: int,
        member: int,
        number: int,
        time_us: int,
        spoken: Spoken,
        objects: float,
        *,
        is_welcome: bool,
    ) -> None:
        weight = (1.0 if spoken.is_outbound else ASKED_FOR) * (WELCOME if is_welcome else 1.0)
        self.weariness.add(member, weight, time_us)
        beyond = max(self.weariness.now(member, time_us) - self.world.assumed.tolerance, 0.0)
        if beyond and not self.opted_out[member] and objects < self.world.assumed.opts_out * beyond:
            self.opted_out[member] = True
            self.said.append(
                Aftermath(household=household, member=number, event="app.opted_out", time_us=time_us + US_PER_SECOND)
            )

    # --- what they do unasked -------------------------------------------------------------------------------------

    def until(self, time_us: int) -> None:
        """Let what would happen unasked before a time happen, where what was said has not changed it."""
        needs, people = self.world.needs, self.world.people
        for at in self._griefs.before(time_us):
            household = int(people.household[needs.member[at]])
            if self.is_here(household, time_us):
                self.grief.add(household, 1.0, int(needs.born_us[at]))
        for at in self._alone.before(time_us):
            member = int(needs.member[at])
            household = int(people.household[member])
            if not self.met[at] and self.is_here(household, time_us):
                self.met[at] = True
                self._buy_unasked(household, int(people.number[member]), int(needs.kind[at]), int(needs.alone_us[at]))
        for at in self._elsewhere.before(time_us):
            household = int(people.household[needs.member[at]])
            if not self.met[at] and self.is_here(household, time_us):
                self.met[at] = True
                self.footholds[household] += 1

    def is_here(self, household: int, time_us: int) -> bool:
        """Return whether a household is a customer still."""
        return bool(self.left_us[household] > time_us)

    def day_over(self, time_us: int) -> None:
        """Count a day's subscriptions, and let those leave whose patience is over."""
        assumed = self.world.assumed
        here = self.left_us > time_us
        self.revenue_minor += np.where(here, self.monthly_minor / 30.0, 0.0)
        beyond = np.maximum(self.weariness.all_now(time_us) - assumed.tolerance, 0.0)
        weary = np.bincount(self.world.people.household, beyond)
        day = (time_us - self.world.start_us) / US_PER_DAY
        drift = np.where(self.is_drifting, min(day / DRIFT_DAYS, 2.0), 0.0)
        log_factor = (
            assumed.grief * self.grief.all_now(time_us)
            + weary / 5.0
            + assumed.foothold * self.footholds
            + drift
            - assumed.holds * np.maximum(self.holds.sum(axis=1) - 1, 0)
        )
        self.hazard += assumed.leaves_30d / 30.0 * np.exp(log_factor)
        self.left_us[here & (self.hazard >= self.world.patience)] = time_us

    def _buy_unasked(self, household: int, number: int, kind: int, time_us: int) -> None:
        if kind == Need.HELP:
            return
        if kind == Need.TOP_UP:
            self.revenue_minor[household] += OWN_TOP_UP_MINOR
            amount = (("amount_minor", float(OWN_TOP_UP_MINOR)),)
            self.said.append(
                Aftermath(household=household, member=number, event="billing.topup", time_us=time_us, values=amount)
            )
            return
        offers = self.world.plan.offers
        for offer in np.flatnonzero(self._meets[kind]).tolist():
            told = offers[offer]
            if told.kind != "offer" or (self.bought[household, offer] and not is_once(told.name)):
                continue
            if is_once(told.name) or not self.holds[household, self._family[offer]] or kind == Need.LINE:
                self._buy(household, number, offer, told.price_minor, time_us)
                return

    def _buy(self, household: int, number: int, offer: int, price_minor: int, time_us: int) -> None:
        told = self.world.plan.offers[offer]
        if is_once(told.name):
            self.revenue_minor[household] += price_minor
        else:
            self.monthly_minor[household] += price_minor
            self.taken_up[household] += 1
        self.bought[household, offer] = True
        event, values = "", tuple[tuple[str, float], ...]()
        if "topup" in told.name:
            event, values = "billing.topup", (("amount_minor", float(price_minor)),)
        elif told.family == "wallet" and "card" not in told.name:
            event = "wallet.activated"
        elif not is_once(told.name) and (product := self._product(told.name, told.family)) is not None:
            event, values, number = "billing.product_activated", (("product", product),), -1
        if not is_once(told.name):
            self.holds[household, self._family[offer]] = True
        if event:
            self.said.append(Aftermath(household=household, member=number, event=event, time_us=time_us, values=values))

    def _product(self, offer: str, family: str) -> float | None:
        plan = self.world.plan
        names = plan.fields[plan.field_by_name["product"]].values
        name = "extra_line" if offer in ("second_line",) else "wallet_card" if "card" in offer else family
        name = offer if offer in names else name
        return float(names.index(name)) if name in names else None

    def _say(self, household: int, number: int, event: str, time_us: int, spoken: Spoken, channel: str) -> None:
        self.said.append(
            Aftermath(
                household=household,
                member=number,
                event=event,
                time_us=time_us,
                action_id=spoken.action_id,
                channel=channel,
            )
        )

    def _streaming_packs(self) -> dict[int, int]:
        plan = self.world.plan
        packs = plan.fields[plan.field_by_name["streaming_pack"]].values
        return {
            index: number
            for index, offer in enumerate(plan.offers)
            for number, pack in enumerate(packs)
            if pack in offer.name
        }


def is_once(offer: str) -> bool:
    """Return whether an offer is bought once, not by the month."""
    return offer.startswith(("topup_", "data_", "roaming_", "cinema_"))


class _Queue:
    """Needs in the order of a time."""

    def __init__(self, order: Ints, times_us: Ints) -> None:
        self._order, self._times_us, self._next = order, times_us, 0

    def before(self, time_us: int) -> list[int]:
        """Return those before a time that were not returned before."""
        end = int(np.searchsorted(self._times_us, time_us))
        found: list[int] = self._order[self._next : end].tolist()
        self._next = max(end, self._next)
        return found


def _queue(times_us: Ints) -> _Queue:
    due = np.flatnonzero(times_us < NEVER_US)
    order = due[np.argsort(times_us[due], kind="stable")]
    return _Queue(order, times_us[order])
