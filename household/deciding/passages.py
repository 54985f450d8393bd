"""How each candidate may go out unasked under the rules of the contact policy, or which of them keeps it back.

Without rules, and without classes that are exempt, all candidates go by the best outlet that carries them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from household.contact_rules.compiled import WORTH_ANYTHING
from household.deciding.candidate_columns import CandidateColumns
from household.deciding.contact_policy import quiet_until_us
from household.deciding.reasons import Reason, by_rule
from household.deciding.rules import Broken, Weighing, asks_of, said
from household.deciding.sending import NEVER_OPENS_US, Outlet
from household.decision import RuleNote
from household.plan import EXEMPT_CLASSES, ContactClass, Effect
from household.state import PartitionState
from household.subjects import zone_of
from household.traits import class_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """How one candidate may go out."""

    outlet: Outlet | None = None
    """With what is in the way, and until when; None where nothing carries it, or rules keep it back."""
    against: tuple[str, ...] = ()
    """Why there is no outlet; empty where nothing carries it."""
    blocked_by: tuple[str, ...] = ()
    """Rules that keep it from going out at all."""
    notes: tuple[RuleNote, ...] = ()

    @property
    def opening(self) -> tuple[int, int, bool, tuple[str, ...]] | None:
        """What of it a decision hangs on."""
        if self.outlet is None:
            return None if not self.against else (-1, 0, False, self.blocked_by)
        return (
            self.outlet.channel,
            self.outlet.not_before_us,
            Reason.NO_CONSENT in self.outlet.against,
            self.blocked_by,
        )


NO_PASSAGE = Passage()


def passages_of(
    state: PartitionState,
    outlets: Sequence[Outlet],
    journey_by_offer: Mapping[int, str],
    household: int,
    member: int,
    *,
    value_milli: int = WORTH_ANYTHING,
) -> dict[int, Passage]:
    """Return how each candidate (offer → journey) may go out; nothing where rules and classes play no part."""
    if not state.plan.is_ruled or not outlets:
        return {}
    carried = {
        offer: _carrying(state, outlets, offer, journey, household, member)
        for offer, journey in journey_by_offer.items()
    }
    if state.rules is None:
        return {offer: Passage(outlet=some[0]) if some else Passage() for offer, some in carried.items()}
    actions = [
        said(state.rules, state.plan, offer, journey_by_offer[offer], outlet.channel, value_milli=value_milli)
        for offer, some in carried.items()
        for outlet in some
    ]
    weighing = Weighing(state, household, member, asks_of(state.rules, actions))
    zone = zone_of(state, household, member)
    found: dict[int, Passage] = {}
    first = 0
    for offer, some in carried.items():
        passage = NO_PASSAGE
        for place, outlet in enumerate(some, start=first):
            goes_on = False
            if weighing.is_broken[place]:
                passage, goes_on = _passage(state, passage, weighing, place, offer, outlet, zone)
            else:
                passage = _by(outlet, passage)
            if not goes_on:
                break
        found[offer] = passage
        first += len(some)
    return found


def _carrying(
    state: PartitionState, outlets: Sequence[Outlet], offer: int, journey: str, household: int, member: int
) -> list[Outlet]:
    """Return the outlets that carry an offer, the first to be tried first; what is exempt meets fewer obstacles."""
    channels = {treatment.channel for treatment in state.plan.offers[offer].treatments}
    some = [outlet for outlet in outlets if outlet.channel in channels]
    contact_class = class_of(state.plan, offer, journey)
    if contact_class not in EXEMPT_CLASSES:
        return some
    kept = {Reason.NO_CONSENT} if contact_class != ContactClass.LEGAL else set()
    freed = [
        replace(outlet, not_before_us=0, against=tuple(one for one in outlet.against if one in kept)) for outlet in some
    ]
    return sorted(freed, key=lambda outlet: (bool(outlet.against), outlet.place))


def _by(outlet: Outlet, before: Passage) -> Passage:
    return Passage(outlet=outlet, against=before.against, blocked_by=before.blocked_by, notes=before.notes)


def _passage(
    state: PartitionState, before: Passage, weighing: Weighing, place: int, offer: int, outlet: Outlet, zone: str
) -> tuple[Passage, bool]:
    """Return how an offer goes by an outlet, after those that rules have passed over, and whether to try the next."""
    from_us = max(int(state.now_us), outlet.not_before_us)
    assert state.rules is not None
    broken = [one for one in weighing.broken(place) if one.opens_us > from_us]
    if not broken:
        return _by(outlet, before), False
    name = state.plan.offers[offer].name
    notes = (*before.notes, *(weighing.note(place, one, offer=name) for one in broken))
    reasons = tuple(by_rule(state.rules.rules[one.rule].name) for one in broken)
    against = tuple(dict.fromkeys((*before.against, *reasons)))
    effects = {one.effect for one in broken}
    if Effect.BLOCK in effects:
        blocking = (one for one in broken if one.effect is Effect.BLOCK)
        names = tuple(state.rules.rules[one.rule].name for one in blocking)
        return Passage(against=against, blocked_by=names, notes=notes), False
    if Effect.NEXT_CHANNEL in effects:
        return Passage(against=against, notes=notes), True
    held = replace(
        outlet,
        not_before_us=_opens_us(state, broken, outlet, from_us, zone),
        against=tuple(dict.fromkeys((*outlet.against, *reasons))),
    )
    return Passage(outlet=held, notes=notes), False


def _opens_us(state: PartitionState, broken: Sequence[Broken], outlet: Outlet, from_us: int, zone: str) -> int:
    """Return from when on all holds are over; what has passed once passes on, but for the quiet hours."""
    opens_us = max(from_us, *(one.opens_us for one in broken))
    if opens_us >= NEVER_OPENS_US:
        return NEVER_OPENS_US
    return quiet_until_us(state.plan, opens_us, zone) if state.plan.channels[outlet.channel].quiet_hours else opens_us


def inbound_vetoes(
    state: PartitionState, columns: CandidateColumns, household: int, member: int
) -> tuple[dict[int, tuple[str, ...]], tuple[RuleNote, ...]]:
    """Return which rules speak against which candidates as an answer to who asks, and what there is to tell."""
    rules, plan, channel = state.rules, state.plan, columns.channel
    if rules is None or not rules.counts_inbound or not columns.offers:
        return {}, ()
    if columns.asks is None:
        actions = [said(rules, plan, offer, journey, channel) for offer, journey in columns.journey_by_offer.items()]
        columns.asks = asks_of(rules, actions)
    weighing = Weighing(state, household, member, columns.asks, is_inbound=True)
    if not weighing.is_any_broken:
        return {}, ()
    against, notes = {}, []
    for place, offer in enumerate(columns.journey_by_offer):
        broken = weighing.broken(place)
        if broken:
            against[offer] = tuple(by_rule(rules.rules[one.rule].name) for one in broken)
            notes += [weighing.note(place, one, offer=plan.offers[offer].name) for one in broken]
    return against, tuple(notes)
