"""What rules of the contact policy know an action by: its class, family, journey, purpose and tags.

A contact keeps them as one text, as they were at its sending, whatever the playbook says later.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from household.plan import NONE, ContactClass, Journey, Offer, Plan

_BETWEEN, _WITHIN = "|", ","

_CLASS_OF_KIND = {
    "offer": ContactClass.OFFER,
    "message": ContactClass.SERVICE,
    "badge": ContactClass.REWARD,
    "reward": ContactClass.REWARD,
    "escalation": ContactClass.SERVICE,
}

_PURPOSE_OF_CLASS = {ContactClass.OFFER: "marketing", ContactClass.REWARD: "marketing"}
"""Of the other classes, the class."""


class Traits(NamedTuple):
    """What is known of an action."""

    contact_class: str = ContactClass.OFFER
    family: str = ""
    journey: str = ""
    """Whose moment, or whose contact, brought it up; empty for none."""
    purpose: str = "marketing"
    tags: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The traits as one text."""
        return _BETWEEN.join((*self[:4], _WITHIN.join(self.tags)))


UNKNOWN = Traits()
"""Of a contact from before anything was kept of it: an offer, of no family and no journey."""


@lru_cache(maxsize=16_384)
def traits_of_text(text: str) -> Traits:
    """Return the traits of a text; of an empty one those that are not known."""
    if not text:
        return UNKNOWN
    contact_class, family, journey, purpose, tags = text.split(_BETWEEN)
    return Traits(contact_class, family, journey, purpose, tuple(tags.split(_WITHIN)) if tags else ())


def class_of(plan: Plan, offer: int, journey: str = "") -> str:
    """Return the contact class of an offer, by index, in a journey, by name."""
    found = plan.offers[offer]
    index = plan.journey_by_name.get(journey, NONE)
    of_journey = "" if index == NONE else plan.journeys[index].contact_class
    return found.contact_class or of_journey or _CLASS_OF_KIND.get(found.kind, ContactClass.OFFER)


def is_legal(plan: Plan, offer: int, journey: str) -> bool:
    """Return whether an offer, by index, in a journey is legally required."""
    return plan.is_ruled and class_of(plan, offer, journey) == ContactClass.LEGAL


def is_suppressed(plan: Plan, offer: int, journey: str) -> bool:
    """Return whether an offer, by index, in a journey is kept back while fraud is suspected: what gives or sells."""
    return class_of(plan, offer, journey) in (ContactClass.OFFER, ContactClass.REWARD)


def traits_of(plan: Plan, offer: str, journey: str) -> Traits:
    """Return the traits of an offer in a journey, both by name, under a plan; of an offer it does not have, UNKNOWN."""
    index = plan.offer_by_name.get(offer, NONE)
    if index == NONE:
        return UNKNOWN
    found = plan.offers[index]
    place = plan.journey_by_name.get(journey, NONE)
    of_journey = None if place == NONE else plan.journeys[place]
    contact_class = class_of(plan, index, journey)
    purpose = found.purpose or ("" if of_journey is None else of_journey.purpose)
    tags = dict.fromkeys((*found.tags, *(() if of_journey is None else of_journey.tags)))
    return Traits(
        contact_class=contact_class,
        family=found.family,
        journey=journey,
        purpose=purpose or _PURPOSE_OF_CLASS.get(ContactClass(contact_class), contact_class),
        tags=tuple(sorted(tags)),
    )


def purposes_of(offers: Iterable[Offer], journeys: Iterable[Journey]) -> set[str]:
    """Return the purposes that actions may have: those that are written, and those that follow from classes."""
    written = {one.purpose for part in (offers, journeys) for one in part if one.purpose}
    return written | {_PURPOSE_OF_CLASS.get(one, str(one)) for one in ContactClass}
