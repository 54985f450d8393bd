"""What an action is known by: its contact class."""

from household.plan import NONE, ContactClass, Plan

_CLASS_OF_KIND = {
    "offer": ContactClass.OFFER,
    "message": ContactClass.SERVICE,
    "badge": ContactClass.REWARD,
    "reward": ContactClass.REWARD,
    "escalation": ContactClass.SERVICE,
}


def class_of(plan: Plan, offer: int, journey: str = "") -> str:
    """Return the contact class of an offer, by index, in a journey, by name."""
    found = plan.offers[offer]
    index = plan.journey_by_name.get(journey, NONE)
    of_journey = "" if index == NONE else plan.journeys[index].contact_class
    return found.contact_class or of_journey or _CLASS_OF_KIND.get(found.kind, ContactClass.OFFER)
