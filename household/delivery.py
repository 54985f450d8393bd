"""What the owner of a partition records of outbound actions on their way to gateways."""

from dataclasses import dataclass
from enum import StrEnum


class DeliveryStep(StrEnum):
    """What happened to an outbound action."""

    HANDED = "handed"
    """About to be handed to a gateway: recorded before, so that a crash cannot forget a contact that was made."""
    KEPT_BACK = "kept_back"
    """Was noted as handed and was not, since its turn came too late: its contact is none yet."""
    WITHDRAWN = "withdrawn"
    """Something it depended on no longer held when its turn came."""
    CLAIMED = "claimed"
    """Its turn has come, and a unit of the item that it uses is asked for: it goes once that is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryNote:
    """One step of one outbound action."""

    action_id: str
    step: DeliveryStep
    channel: str
    """Name of the channel on which it was to go."""
    reason: str = ""
    """Why it was withdrawn."""
