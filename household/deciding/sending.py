"""How an action goes out unasked: on which channel, from when on, until when, and where next if it is not delivered."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from household.deciding.bringing_up import may_hold, open_until_us
from household.deciding.contact_policy import channel_vetoes, opens_us
from household.deciding.reasons import Reason
from household.decision import Moment, SlateAction
from household.plan import NONE, Journey, Offer, Plan
from household.state import PartitionState

NEVER_OPENS_US = 2**62
"""A cap of nothing never opens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """A channel on which a moment's journey may speak unasked."""

    channel: int
    not_before_us: int
    """From when on no cap and no quiet hour is in the way; 0 for now."""
    against: tuple[str, ...]
    """What is in the way now."""
    place: int = 0
    """In the order in which its journeys list it."""


def outlets_of(state: PartitionState, journeys: Sequence[Journey], household: int, member: int) -> tuple[Outlet, ...]:
    """Return the outbound channels of journeys: those that are open, as they list them, then those that may open.

    One that waits for a consent comes last: nobody knows when it comes.
    """
    if not journeys:
        return ()
    found = []
    listed = dict.fromkeys(channel for journey in journeys for channel in journey.outbound)
    for place, channel in enumerate(listed):
        against = channel_vetoes(state, channel, household, member)
        open_us = opens_us(state, channel, household, member) if against else int(state.now_us)
        not_before_us = NEVER_OPENS_US if open_us is None else open_us if open_us > state.now_us else 0
        found.append(Outlet(channel=channel, not_before_us=not_before_us, against=against, place=place))
    return tuple(sorted(found, key=lambda outlet: (Reason.NO_CONSENT in outlet.against, outlet.not_before_us)))


def openings(outlets: Sequence[Outlet]) -> list[tuple[int, int, bool]]:
    """Return what of the outlets a decision hangs on; what is in the way may be another by now, to the same effect."""
    return [(outlet.channel, outlet.not_before_us, Reason.NO_CONSENT in outlet.against) for outlet in outlets]


def carries(plan: Plan, action: SlateAction, channel: int) -> bool:
    """Return whether the action's offer has a treatment for a channel."""
    index = plan.offer_by_name.get(action.offer, NONE)
    if index == NONE:
        return False
    for treatment in plan.offers[index].treatments:  # noqa: SIM110 - asked for each decision
        if treatment.channel == channel:
            return True
    return False


def outlet_of(outlets: Sequence[Outlet], offer: Offer) -> Outlet | None:
    """Return the best outlet that can carry an offer."""
    carried = {treatment.channel for treatment in offer.treatments}
    return next((outlet for outlet in outlets if outlet.channel in carried), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How the first action of a slate goes out unasked."""

    channels: tuple[int, ...] = ()
    """The one to send on, then those to try next; empty if it is not sent."""
    not_before_us: int = 0
    before_us: int = 0
    reasons: tuple[str, ...] = ()
    """Why it is held, or not sent; empty if it goes out at once, or nobody wanted to send."""

    def names(self, plan: Plan) -> tuple[str, ...]:
        """Return the channels' names."""
        return tuple(plan.channels[channel].name for channel in self.channels)


NOT_SENT = Sending()


def sending(
    plan: Plan,
    outlets: Sequence[Outlet],
    first: Outlet | None,
    moments: Sequence[Moment],
    slate: Sequence[SlateAction],
    *,
    against: tuple[str, ...],
    now_us: int,
) -> Sending:
    """Send the first action on its outlet; hold it until that opens, while it is worth saying.

    What is held has a `not_before_us`, be it now: where a consent is awaited, no time is in the way. Without an outlet
    it is not sent, for what is against it, or since none of the outlets can carry it.
    """
    if first is None:
        return replace(NOT_SENT, reasons=against or (Reason.CHANNEL_CANNOT_CARRY,)) if outlets else NOT_SENT
    own = [moment for moment in moments if moment.journey == slate[0].journey]
    before_us = min([slate[0].valid_until_us, *(open_until_us(plan, moment) for moment in own)])
    is_open = not first.against or all(may_hold(plan, moment) for moment in own)
    if first.not_before_us >= before_us or not is_open:
        return replace(NOT_SENT, reasons=first.against)
    listed = dict.fromkeys(channel for journey in moment_journeys(plan, moments) for channel in journey.outbound)
    return Sending(
        channels=(first.channel, *(one for one in listed if one != first.channel and carries(plan, slate[0], one))),
        not_before_us=first.not_before_us or (now_us if first.against else 0),
        before_us=before_us,
        reasons=(Reason.HELD, *first.against) if first.against else (),
    )


def moment_journeys(plan: Plan, moments: Sequence[Moment]) -> Iterable[Journey]:
    """Yield the journeys of moments, each once."""
    for name in dict.fromkeys(moment.journey for moment in moments):
        if name in plan.journey_by_name:
            yield plan.journeys[plan.journey_by_name[name]]
