"""decide: from a household's state, the scores and the plan to one decision. Pure: same inputs, same decision.

Three steps, because scores come from elsewhere: `prepare` finds the candidates and what speaks against each; the
caller scores those that remain; `decide` weighs them and makes the slate. `still_allowed` checks the vetoes once
more when the decision is about to be written, since an opt-out may have arrived while a score was awaited.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from household.decision import Candidate, Decision, Moment, SlateAction
from household.ledger import contacts_within
from household.plan import NONE, Journey, Offer, Plan, Scope
from household.scoring import state_vector
from household.state import NO_HOUSEHOLD, PartitionState, Slate

ALWAYS_NOTHING_MINOR = 0.0
"""Value of doing nothing: an action must be worth more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Who asks for a decision, and why."""

    household: bytes
    member: bytes
    channel: int
    """The channel that asks; NONE when moments alone call for a decision."""
    request_id: str
    is_contact: bool
    """Whether the asking itself is a contact: no signals came with it, or one of a contact type."""
    contact_types: frozenset[int]
    """Event types of the signals that came with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Candidates of a decision, before scores."""

    ask: Ask
    household: int
    member: int
    now_us: int
    moments: tuple[Moment, ...]
    standing: Slate | None
    """A slate that stands and answers this ask; then nothing is weighed."""
    journey_by_offer: dict[int, str]
    """Candidate offer → journey whose moment brought it up, or empty."""
    contact_journeys: tuple[str, ...]
    """Journeys that the contact itself started."""
    has_consent: bool
    """Whether the asking channel may be answered on."""
    vetoes: dict[int, tuple[str, ...]]
    prices_minor: dict[int, int]
    send_channel: int
    """Where it may be sent unasked; NONE for nowhere."""
    reasons: tuple[str, ...]
    readings: NDArray[np.float64]
    local_minute_of_week: int

    @property
    def to_score(self) -> tuple[int, ...]:
        """Candidate offers that nothing speaks against."""
        return tuple(offer for offer in self.journey_by_offer if not self.vetoes[offer])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """P(accept) of the offers to score, and where it came from."""

    by_offer: dict[int, float]
    model_version: str
    degraded: bool
    way: str = ""
    """A value of household.scoring.Way; empty when there was nothing to score."""


def prepare(state: PartitionState, ask: Ask) -> Draft:
    """Return the candidates for an ask, with their vetoes, as of now."""
    household, member = state.find(ask.household, ask.member)
    minute = local_minute_of_week(state.plan, state.now_us)
    if household == NO_HOUSEHOLD:
        return _empty_draft(state, ask, minute)
    pending = moments_for(state, household, member)
    standing = _standing_slate(state, household, member)
    readings = state.readings(household, member, state.now_us)
    journeys, reasons = _journeys(state.plan, ask, pending, state.now_us)
    consent = _may_answer(state, ask, household, member)
    if standing is not None and not pending:
        return Draft(
            ask=ask,
            household=household,
            member=member,
            now_us=state.now_us,
            moments=(),
            standing=standing,
            journey_by_offer={},
            contact_journeys=(),
            has_consent=consent,
            vetoes={},
            prices_minor={},
            send_channel=NONE,
            reasons=("SLATE_STANDS",),
            readings=readings,
            local_minute_of_week=minute,
        )
    journey_by_offer = _candidates(state.plan, journeys)
    send_channel, unsent = _send_channel(state, ask, journeys, household, member)
    prices = _prices(state, journey_by_offer, household, member)
    return Draft(
        ask=ask,
        household=household,
        member=member,
        now_us=state.now_us,
        moments=pending,
        standing=standing,
        journey_by_offer=journey_by_offer,
        contact_journeys=tuple(journey.name for journey, of_moment in journeys if not of_moment),
        has_consent=consent,
        vetoes=_vetoes(state, ask, journey_by_offer, household, member),
        prices_minor=prices,
        send_channel=send_channel,
        reasons=(*reasons, *unsent),
        readings=readings,
        local_minute_of_week=minute,
    )


def moments_for(state: PartitionState, household: int, member: int) -> tuple[Moment, ...]:
    """Return the pending moments that a decision for this member settles: the household's, and the member's own.

    A moment of a trigger that is kept per member is that member's: nobody else's asking uses it up.
    """
    ledger = state.ledgers.get(household)
    if ledger is None:
        return ()
    return tuple(moment for moment in ledger.pending if moment.member == member or not _is_personal(state.plan, moment))


def _is_personal(plan: Plan, moment: Moment) -> bool:
    index = plan.journey_by_name.get(moment.journey, NONE)
    trigger = None if index == NONE else plan.journeys[index].trigger
    return trigger is not None and trigger.scope is Scope.MEMBER


def _empty_draft(state: PartitionState, ask: Ask, minute: int) -> Draft:
    return Draft(
        ask=ask,
        household=NO_HOUSEHOLD,
        member=NO_HOUSEHOLD,
        now_us=state.now_us,
        moments=(),
        standing=None,
        journey_by_offer={},
        contact_journeys=(),
        has_consent=False,
        vetoes={},
        prices_minor={},
        send_channel=NONE,
        reasons=("UNKNOWN_HOUSEHOLD",),
        readings=np.full(len(state.plan.features), np.nan),
        local_minute_of_week=minute,
    )


def _standing_slate(state: PartitionState, household: int, member: int) -> Slate | None:
    """Return the slate of this member, or of the household as a whole, if any action of it is still live."""
    ledger = state.ledgers.get(household)
    if ledger is None:
        return None
    for owner in (member, NO_HOUSEHOLD):
        slate = ledger.slates.get(owner)
        if slate is not None and any(is_live(state, action.action_id) for action in slate.decision.slate):
            return slate
    return None


def is_live(state: PartitionState, action_id: str) -> bool:
    """Return whether an action may be shown now."""
    action = state.actions.get(action_id)
    return action is not None and action.status == "live" and state.now_us < action.valid_until_us


def _journeys(
    plan: Plan, ask: Ask, pending: tuple[Moment, ...], now_us: int
) -> tuple[list[tuple[Journey, bool]], tuple[str, ...]]:
    """Return the journeys that may bring up offers (and whether a moment did), moments before contacts."""
    found: list[tuple[Journey, bool]] = []
    reasons: list[str] = []
    for moment in pending:
        index = plan.journey_by_name.get(moment.journey, NONE)
        event = plan.event_type_by_name.get(moment.event_type, NONE)
        if index == NONE or event == NONE:
            continue
        if now_us - moment.time_us > plan.event_types[event].action_window_us:
            reasons.append("STALE_SIGNAL")
            continue
        reasons.append(f"MOMENT:{moment.journey}")
        found.append((plan.journeys[index], True))
    if ask.channel != NONE and ask.is_contact:
        for journey in plan.journeys:
            if journey.trigger is None and (
                not ask.contact_types or ask.contact_types.intersection(journey.contact_events)
            ):
                found.append((journey, False))
                reasons.append(f"CONTACT:{journey.name}")
    return found, tuple(dict.fromkeys(reasons))


def _candidates(plan: Plan, journeys: list[tuple[Journey, bool]]) -> dict[int, str]:
    """Return the offers to weigh. A moment's offers come alone; a contact's only where no moment has any."""
    by_moment = {offer: journey.name for journey, of_moment in journeys if of_moment for offer in journey.offers}
    if by_moment:
        return by_moment
    return {
        offer: ""
        for journey, of_moment in journeys
        if not of_moment
        for offer in journey.offers
        if plan.offers[offer].standing
    }


def _prices(state: PartitionState, journey_by_offer: dict[int, str], household: int, member: int) -> dict[int, int]:
    segments = state.plan.segments
    programs = np.array([segment.program for segment in segments], np.int64)
    holds = state.conditions(programs, household, member, state.now_us) == 1.0

    def price(offer: Offer) -> int:
        for special in offer.segment_prices:
            if holds[special.segment]:
                return special.price_minor
        return offer.price_minor

    return {index: price(state.plan.offers[index]) for index in journey_by_offer}


def _vetoes(
    state: PartitionState, ask: Ask, journey_by_offer: dict[int, str], household: int, member: int
) -> dict[int, tuple[str, ...]]:
    plan, ledger = state.plan, state.ledgers.get(household)
    offers = list(journey_by_offer)
    programs = np.array([plan.offers[offer].eligible for offer in offers], np.int64)
    eligible = state.conditions(programs, household, member, state.now_us)
    live = _live_elsewhere(state, household, member)
    asked_consent = _may_answer(state, ask, household, member)
    found: dict[int, tuple[str, ...]] = {}
    for position, index in enumerate(offers):
        offer, against = plan.offers[index], []
        if not asked_consent:
            against.append("NO_CONSENT")
        if offer.eligible != NONE and eligible[position] != 1.0:
            against.append("NOT_ELIGIBLE")
        if ledger is not None:
            if ledger.declined_offers.get(offer.name, 0) > state.now_us:
                against.append("DECLINED_OFFER")
            elif ledger.declined_families.get(offer.family, 0) > state.now_us:
                against.append("DECLINED_FAMILY")
        if any(plan.offers[other].name in live for other in offer.excludes):
            against.append("EXCLUDED_BY")
        found[index] = tuple(against)
    return found


def _live_elsewhere(state: PartitionState, household: int, member: int) -> set[str]:
    """Names of offers live for other members of the household."""
    ledger = state.ledgers.get(household)
    if ledger is None:
        return set()
    return {
        action.offer
        for owner, slate in ledger.slates.items()
        if owner != member
        for action in slate.decision.slate
        if is_live(state, action.action_id)
    }


def has_consent(state: PartitionState, channel: int, household: int, member: int) -> bool:
    """Return whether a channel's consent condition is true; an error or unknown is no."""
    program = state.plan.channels[channel].consent
    if program == NONE:
        return True
    return bool(state.conditions(np.array([program]), household, member, state.now_us)[0] == 1.0)


def _may_answer(state: PartitionState, ask: Ask, household: int, member: int) -> bool:
    return ask.channel == NONE or has_consent(state, ask.channel, household, member)


def _send_channel(
    state: PartitionState, ask: Ask, journeys: list[tuple[Journey, bool]], household: int, member: int
) -> tuple[int, tuple[str, ...]]:
    """Return the first outbound channel of the moments' journeys that consent, caps and quiet hours leave open.

    With NONE comes what closed each of them.
    """
    if ask.channel != NONE:
        return NONE, ()
    closed: dict[str, None] = {}
    for journey, of_moment in journeys:
        for channel in journey.outbound if of_moment else ():
            against = channel_vetoes(state, channel, household, member)
            if not against:
                return channel, ()
            closed.update(dict.fromkeys(against))
    return NONE, tuple(closed)


def channel_vetoes(state: PartitionState, channel: int, household: int, member: int) -> tuple[str, ...]:
    """Return what speaks against sending to this member on this channel now."""
    against = []
    if not has_consent(state, channel, household, member):
        against.append("NO_CONSENT")
    for index, cap in enumerate(state.plan.policy.caps):
        if channel in cap.channels and contacts_within(state, household, member, index) >= cap.most:
            against.append("CONTACT_CAP")
            break
    if state.plan.channels[channel].quiet_hours and is_quiet(state.plan, state.now_us):
        against.append("QUIET_HOURS")
    return tuple(against)


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def local_minute_of_week(plan: Plan, now_us: int) -> int:
    """Return the minute since Monday 00:00 in the operator's time zone, 0 … 10,079."""
    if now_us < 0:
        return 0
    local = datetime.fromtimestamp(now_us // 1_000_000, tz=UTC).astimezone(_zone(plan.policy.time_zone))
    return local.weekday() * 1_440 + local.hour * 60 + local.minute


def is_quiet(plan: Plan, now_us: int) -> bool:
    """Return whether now lies in the quiet hours, half-open, which may span midnight."""
    start, end = plan.policy.quiet_from_minute, plan.policy.quiet_to_minute
    minute = local_minute_of_week(plan, now_us) % 1_440
    return start <= minute < end if start <= end else minute >= start or minute < end


def chance(salt: str, *parts: bytes) -> float:
    """Return a number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(b"\0".join(parts), key=salt.encode()[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def is_control(plan: Plan, household: bytes, journeys: set[str]) -> bool:
    """Return whether the household is in the control group of any of these journeys."""
    return any(
        chance(plan.arbitration.salt, b"control", name.encode(), household)
        < plan.journeys[plan.journey_by_name[name]].control_share
        for name in journeys
        if name in plan.journey_by_name
    )


def decide(state: PartitionState, draft: Draft, scores: Scores, *, epoch: int, schema_hash: str) -> Decision:
    """Weigh the scored candidates and return the decision, ready to be recorded."""
    plan, ask = state.plan, draft.ask
    decision_id = _decision_id(draft, epoch)
    candidates, ranked = _rank(plan, draft, scores)
    ranked, propensity = _explore(plan, ranked, decision_id)
    slate = tuple(
        SlateAction(
            action_id=f"{decision_id}-{position}",
            offer=plan.offers[index].name,
            journey=draft.journey_by_offer[index],
            price_minor=draft.prices_minor[index],
            valid_until_us=draft.now_us + plan.offers[index].valid_us,
        )
        for position, (index, _) in enumerate(ranked[: plan.arbitration.slate_length])
    )
    withheld = bool(slate) and is_control(plan, ask.household, _brought_up_by(plan, draft, slate))
    send = _sendable(plan, draft, slate) and not withheld
    stands = draft.standing is not None and not slate
    answered = _answer(state, draft, slate, withheld=withheld)
    return Decision(
        decision_id=decision_id,
        request_id=ask.request_id,
        household=ask.household,
        member=ask.member,
        channel="" if ask.channel == NONE else plan.channels[ask.channel].name,
        decided_us=draft.now_us,
        moments=draft.moments,
        plan_version=plan.version,
        model_version=scores.model_version,
        schema_hash=schema_hash,
        degraded=scores.degraded,
        scored_by=scores.way,
        withheld=withheld,
        propensity=propensity,
        reasons=_reasons(draft, slate, answered, withheld=withheld),
        candidates=candidates,
        slate=slate,
        stands=draft.standing.decision.decision_id if stands and draft.standing else "",
        answered=answered,
        send_channel=plan.channels[draft.send_channel].name if send else "",
        send_before_us=_send_before(plan, draft, slate) if send else 0,
        local_minute_of_week=draft.local_minute_of_week,
        state_vector=state_vector(plan, draft.readings),
    )


def _decision_id(draft: Draft, epoch: int) -> str:
    """The same for the same cause: who, when, which request or moments, in which term."""
    cause = [draft.ask.household, draft.ask.member, draft.ask.request_id.encode(), str(draft.now_us).encode()]
    cause += [str(epoch).encode(), *(moment.moment_id.encode() for moment in draft.moments)]
    return hashlib.blake2b(b"\0".join(cause), digest_size=10).hexdigest()


def _rank(plan: Plan, draft: Draft, scores: Scores) -> tuple[tuple[Candidate, ...], list[tuple[int, float]]]:
    channel_cost = 0 if draft.send_channel == NONE else plan.channels[draft.send_channel].cost_minor
    if draft.ask.channel != NONE:
        channel_cost = plan.channels[draft.ask.channel].cost_minor
    candidates, worth_it = [], []
    for index in draft.journey_by_offer:
        offer, score = plan.offers[index], scores.by_offer.get(index)
        value = None
        if score is not None:
            value = score * offer.margin_minor * offer.lever - offer.cost_minor - channel_cost
            if value > ALWAYS_NOTHING_MINOR:
                worth_it.append((index, value))
        candidates.append(Candidate(offer=offer.name, score=score, value_minor=value, vetoes=draft.vetoes[index]))
    # Ties go to the offer written first in the playbook.
    worth_it.sort(key=lambda pair: (-pair[1], pair[0]))
    return tuple(candidates), worth_it


def _explore(plan: Plan, ranked: list[tuple[int, float]], decision_id: str) -> tuple[list[tuple[int, float]], float]:
    """Return the order of the slate and the probability with which its first action came first."""
    share = plan.arbitration.exploration
    if len(ranked) < 2 or share == 0.0:
        return ranked, 1.0
    draw = chance(plan.arbitration.salt, b"explore", decision_id.encode())
    each = share / len(ranked)
    if draw >= share:
        return ranked, 1.0 - share + each
    pick = min(int(draw / each), len(ranked) - 1)
    moved = [ranked[pick], *ranked[:pick], *ranked[pick + 1 :]]
    return moved, 1.0 - share + each if pick == 0 else each


def _brought_up_by(plan: Plan, draft: Draft, slate: tuple[SlateAction, ...]) -> set[str]:
    """Return the journeys behind a slate: those of its moments, or those that the contact started."""
    of_moments = {action.journey for action in slate if action.journey}
    offers = {plan.offer_by_name[action.offer] for action in slate}
    return of_moments or {
        name for name in draft.contact_journeys if offers.intersection(plan.journeys[plan.journey_by_name[name]].offers)
    }


def _sendable(plan: Plan, draft: Draft, slate: tuple[SlateAction, ...]) -> bool:
    if not slate or draft.send_channel == NONE:
        return False
    offer = plan.offers[plan.offer_by_name[slate[0].offer]]
    return any(treatment.channel == draft.send_channel for treatment in offer.treatments)


def _send_before(plan: Plan, draft: Draft, slate: tuple[SlateAction, ...]) -> int:
    """The action's validity, or the end of its moment's action window, whichever is first."""
    windows = [
        moment.time_us + plan.event_types[plan.event_type_by_name[moment.event_type]].action_window_us
        for moment in draft.moments
        if moment.journey == slate[0].journey
    ]
    return min([slate[0].valid_until_us, *windows])


def _answer(state: PartitionState, draft: Draft, slate: tuple[SlateAction, ...], *, withheld: bool) -> str:
    """Return the id of the first action that the asking channel can carry, of the new slate or of the standing one."""
    if draft.ask.channel == NONE or withheld:
        return ""
    if slate:
        return next((action.action_id for action in slate if carries(state.plan, action, draft.ask.channel)), "")
    if draft.standing is None or not has_consent(state, draft.ask.channel, draft.household, draft.member):
        return ""
    return next(
        (
            action.action_id
            for action in draft.standing.decision.slate
            if is_live(state, action.action_id) and carries(state.plan, action, draft.ask.channel)
        ),
        "",
    )


def carries(plan: Plan, action: SlateAction, channel: int) -> bool:
    """Return whether the action's offer has a treatment for a channel."""
    index = plan.offer_by_name.get(action.offer, NONE)
    return index != NONE and any(item.channel == channel for item in plan.offers[index].treatments)


def _reasons(draft: Draft, slate: tuple[SlateAction, ...], answered: str, *, withheld: bool) -> tuple[str, ...]:
    if withheld:
        return ("CONTROL_GROUP", *draft.reasons)
    if draft.household == NO_HOUSEHOLD:
        return draft.reasons
    # Consent comes before everything: without it the channel is given nothing, whatever it can carry.
    unanswered = "CHANNEL_CANNOT_CARRY" if draft.has_consent else "NO_CONSENT"
    cannot_carry = (unanswered,) if draft.ask.channel != NONE and not answered else ()
    if slate:
        return (*cannot_carry, "BEST_VALUE", *draft.reasons)
    if not draft.journey_by_offer:
        is_silent = draft.ask.channel != NONE and not draft.has_consent
        none = () if draft.standing is not None and not draft.moments else ("NO_CANDIDATES",)
        found_none: tuple[str, ...] = (*none, "NO_CONSENT") if is_silent else none
    else:
        found_none = ("NOTHING_BETTER",) if draft.to_score else ("ALL_VETOED", *_vetoes_told(draft))
    stands = ("SLATE_STANDS", *cannot_carry) if draft.standing is not None else ()
    return tuple(dict.fromkeys((*stands, *found_none, *draft.reasons)))


def _vetoes_told(draft: Draft) -> tuple[str, ...]:
    """Return what spoke against the candidates, what spoke against most of them first."""
    counts = Counter(veto for vetoes in draft.vetoes.values() for veto in vetoes)
    return tuple(veto for veto, _ in counts.most_common())


def still_allowed(state: PartitionState, draft: Draft, *, may_miss_moments: bool = False) -> bool:
    """Return whether nothing has come up since the draft that would change its vetoes, moments or slate.

    Called when the decision is about to be written. If False, the draft is made again. With `may_miss_moments`, one
    that arose since is no reason: it is decided next, by itself. A household with signal upon signal needs that.
    """
    household, member = state.find(draft.ask.household, draft.ask.member)
    if (household, member) != (draft.household, draft.member):
        return False
    if household == NO_HOUSEHOLD:
        return True
    pending = [moment.moment_id for moment in moments_for(state, household, member)]
    settled = [moment.moment_id for moment in draft.moments]
    if pending != settled and not (may_miss_moments and set(settled) <= set(pending)):
        return False
    if _standing_slate(state, household, member) is not draft.standing:
        return False
    if _may_answer(state, draft.ask, household, member) != draft.has_consent:
        return False
    if draft.send_channel != NONE and channel_vetoes(state, draft.send_channel, household, member):
        return False
    return _vetoes(state, draft.ask, draft.journey_by_offer, household, member) == draft.vetoes
