"""decide: from a household's state, the scores and the plan to one decision. Pure: same inputs, same decision.

Three steps, because scores come from elsewhere: `prepare` finds the candidates and what speaks against each; the
caller scores those that remain; `decide` weighs them and makes the slate. `still_allowed` checks the vetoes once
more when the decision is about to be written, since an opt-out may have arrived while a score was awaited.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.deciding import standing
from household.deciding.contact_policy import has_consent, local_minute_of_week
from household.deciding.sending import NOT_SENT, Outlet, Sending, carries, openings, outlet_of, outlets_of, sending
from household.deciding.standing import is_live, sees, truths
from household.decision import Candidate, Decision, Moment, SlateAction, Withdrawal
from household.plan import NONE, Journey, Plan, Scope
from household.scoring import state_vector
from household.state import NO_HOUSEHOLD, NO_MEMBER, PartitionState, Slate

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
    request_hash: bytes = b""
    """Of the request's body; empty where none was told."""


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
    withdrawals: tuple[Withdrawal, ...]
    """What of the slate that stood no longer holds."""
    journey_by_offer: dict[int, str]
    """Candidate offer → journey whose moment brought it up, or empty."""
    contact_journeys: tuple[str, ...]
    """Journeys that the contact itself started."""
    has_consent: bool
    """Whether the asking channel may be answered on."""
    vetoes: dict[int, tuple[str, ...]]
    prices_minor: dict[int, int]
    personal: frozenset[int]
    """Candidate offers that are the member's own: of their own moment, or hanging on what is known of them."""
    outlets: tuple[Outlet, ...]
    """How it may be sent unasked, best first."""
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
    """A value of household.scoring.Outlet; empty when there was nothing to score."""


def context_channel(plan: Plan, draft: Draft, offer: int) -> int:
    """Return the channel whose cost and habits a candidate is weighed by: the one that asks, or its own outlet."""
    if draft.ask.channel != NONE:
        return draft.ask.channel
    outlet = outlet_of(draft.outlets, plan.offers[offer])
    return NONE if outlet is None else outlet.channel


def prepare(state: PartitionState, ask: Ask) -> Draft:
    """Return the candidates for an ask, with their vetoes, as of now."""
    household, member = state.find(ask.household, ask.member)
    if household == NO_HOUSEHOLD:
        return _draft(state, ask, NO_HOUSEHOLD, NO_MEMBER, reasons=("UNKNOWN_HOUSEHOLD",))
    pending = moments_for(state, household, member)
    stands, withdrawals = _standing_slate(state, ask, household, member)
    journeys, reasons = _journeys(state.plan, ask, pending, state.now_us)
    if stands is not None and not pending:
        return _draft(
            state, ask, household, member, standing=stands, withdrawals=withdrawals, reasons=("SLATE_STANDS",)
        )
    journey_by_offer = _candidates(state.plan, journeys)
    outlets = outlets_of(state, _speaking(ask, journeys), household, member)
    return _draft(
        state,
        ask,
        household,
        member,
        moments=pending,
        standing=stands,
        withdrawals=withdrawals,
        journey_by_offer=journey_by_offer,
        contact_journeys=tuple(journey.name for journey, of_moment in journeys if not of_moment),
        outlets=outlets,
        reasons=reasons,
    )


def _draft(
    state: PartitionState,
    ask: Ask,
    household: int,
    member: int,
    *,
    moments: tuple[Moment, ...] = (),
    standing: Slate | None = None,
    withdrawals: tuple[Withdrawal, ...] = (),
    journey_by_offer: dict[int, str] | None = None,
    contact_journeys: tuple[str, ...] = (),
    outlets: tuple[Outlet, ...] = (),
    reasons: tuple[str, ...] = (),
) -> Draft:
    is_known = household != NO_HOUSEHOLD
    candidates = journey_by_offer or {}
    personal = _personal(state, moments, candidates)
    vetoes, prices = _vetoes_and_prices(state, ask, candidates, household, member)
    return Draft(
        ask=ask,
        household=household,
        member=member,
        now_us=state.now_us,
        moments=moments,
        standing=standing,
        withdrawals=withdrawals,
        journey_by_offer=candidates,
        contact_journeys=contact_journeys,
        has_consent=is_known and _may_answer(state, ask, household, member),
        vetoes=vetoes,
        prices_minor=prices,
        personal=personal,
        outlets=outlets,
        reasons=reasons,
        readings=(
            state.readings(household, member, state.now_us) if is_known else np.full(len(state.plan.features), np.nan)
        ),
        local_minute_of_week=local_minute_of_week(state.plan, state.now_us),
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


def _standing_slate(
    state: PartitionState, ask: Ask, household: int, member: int
) -> tuple[Slate | None, tuple[Withdrawal, ...]]:
    """Return the slate that answers this ask, the member's own before the household's, and what no longer holds.

    None if nothing on them may be shown to who asks. What was decided for a household is the same for whoever asks.
    """
    ledger = state.ledgers.get(household)
    withdrawals: list[Withdrawal] = []
    for owner in dict.fromkeys((member, NO_MEMBER)):
        slate = ledger.slates.get(owner) if ledger is not None else None
        if slate is None:
            continue
        live = [entry for entry in slate.decision.slate if is_live(state, entry.action_id)]
        if not live:
            continue
        decided_for = state.actions[live[0].action_id].member
        gone = standing.no_longer_holding(state, live, household, decided_for, owner)
        withdrawals += [Withdrawal(action_id=action_id, reason=reason) for action_id, reason in gone.items()]
        if any(entry.action_id not in gone and sees(entry, slate, ask.member) for entry in live):
            return slate, tuple(withdrawals)
    return None, tuple(withdrawals)


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


def _speaking(ask: Ask, journeys: list[tuple[Journey, bool]]) -> list[Journey]:
    """Return the journeys that may speak unasked: those of moments, where nobody is there to be answered."""
    return [journey for journey, of_moment in journeys if of_moment and ask.channel == NONE]


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


def _personal(state: PartitionState, moments: tuple[Moment, ...], journey_by_offer: dict[int, str]) -> frozenset[int]:
    own, hanging = {one.journey for one in moments if _is_personal(state.plan, one)}, state.layout.personal_offers
    return frozenset(offer for offer, journey in journey_by_offer.items() if journey in own or offer in hanging)


def _vetoes_and_prices(
    state: PartitionState,
    ask: Ask,
    journey_by_offer: dict[int, str],
    household: int,
    member: int,
) -> tuple[dict[int, tuple[str, ...]], dict[int, int]]:
    """Return, of each candidate, what speaks against it, and its price for whom it would be made."""
    if not journey_by_offer:
        return {}, {}
    plan, ledger = state.plan, state.ledgers.get(household)
    offers = [plan.offers[index] for index in journey_by_offer]
    programs = {offer.eligible for offer in offers if offer.eligible != NONE}
    programs.update(segment.program for segment in plan.segments)
    holds = truths(state, sorted(programs), household, member)
    asked_consent = _may_answer(state, ask, household, member)
    vetoes: dict[int, tuple[str, ...]] = {}
    for index, offer in zip(journey_by_offer, offers, strict=True):
        against = []
        if not asked_consent:
            against.append("NO_CONSENT")
        if offer.eligible != NONE and not holds[offer.eligible]:
            against.append("NOT_ELIGIBLE")
        if ledger is not None:
            if ledger.accepted_offers.get(offer.name, 0) > state.now_us:
                against.append("ACCEPTED_OFFER")
            if ledger.declined_offers.get(offer.name, 0) > state.now_us:
                against.append("DECLINED_OFFER")
            elif ledger.declined_families.get(offer.family, 0) > state.now_us:
                against.append("DECLINED_FAMILY")
        # What a new slate replaces, or takes back, is in nobody's way.
        if standing.excluded(state, offer, household, beside=(member, NO_MEMBER)):
            against.append("EXCLUDED_BY")
        vetoes[index] = tuple(against)
    prices = {
        index: standing.price_minor(plan, offer, holds) for index, offer in zip(journey_by_offer, offers, strict=True)
    }
    return vetoes, prices


def _may_answer(state: PartitionState, ask: Ask, household: int, member: int) -> bool:
    return ask.channel == NONE or has_consent(state, ask.channel, household, member)


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
            is_personal=index in draft.personal,
        )
        for position, (index, _) in enumerate(ranked[: plan.arbitration.slate_length])
    )
    withheld = bool(slate) and is_control(plan, ask.household, _brought_up_by(plan, draft, slate))
    out = (
        sending(plan, draft.outlets, draft.moments, slate, now_us=draft.now_us) if slate and not withheld else NOT_SENT
    )
    stands = draft.standing is not None and not slate
    answered = _answer(state, draft, slate, withheld=withheld)
    return Decision(
        decision_id=decision_id,
        request_id=ask.request_id,
        request_hash=ask.request_hash,
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
        reasons=_reasons(draft, slate, answered, out, withheld=withheld),
        candidates=candidates,
        slate=slate,
        stands=draft.standing.decision.decision_id if stands and draft.standing else "",
        answered=answered,
        send_channel=next(iter(out.names(plan)), ""),
        send_before_us=out.before_us,
        send_not_before_us=out.not_before_us,
        fallback_channels=out.names(plan)[1:],
        withdrawals=(*draft.withdrawals, *(() if withheld else _crowded_out(state, draft, slate))),
        local_minute_of_week=draft.local_minute_of_week,
        state_vector=state_vector(plan, draft.readings),
    )


def _decision_id(draft: Draft, epoch: int) -> str:
    """The same for the same cause: who, when, which request or moments, in which term."""
    cause = [draft.ask.household, draft.ask.member, draft.ask.request_id.encode(), str(draft.now_us).encode()]
    cause += [str(epoch).encode(), *(moment.moment_id.encode() for moment in draft.moments)]
    return hashlib.blake2b(b"\0".join(cause), digest_size=10).hexdigest()


def _rank(plan: Plan, draft: Draft, scores: Scores) -> tuple[tuple[Candidate, ...], list[tuple[int, float]]]:
    candidates, worth_it, asking = [], [], draft.ask.channel
    for index in draft.journey_by_offer:
        offer, score = plan.offers[index], scores.by_offer.get(index)
        value = None
        if score is not None:
            channel = asking if asking != NONE else context_channel(plan, draft, index)
            channel_cost = 0 if channel == NONE else plan.channels[channel].cost_minor
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


def _crowded_out(state: PartitionState, draft: Draft, slate: tuple[SlateAction, ...]) -> tuple[Withdrawal, ...]:
    """Return what of the household's slate does not go with a new one that stands beside it as a member's own."""
    ledger = state.ledgers.get(draft.household)
    stands = ledger.slates.get(NO_MEMBER) if ledger is not None else None
    if stands is None or not slate or standing.slate_owner(state, slate, draft.member) == NO_MEMBER:
        return ()
    plan, gone = state.plan, {one.action_id for one in draft.withdrawals}
    excluded = {
        plan.offers[other].name for one in slate for other in plan.offers[plan.offer_by_name[one.offer]].excludes
    }
    return tuple(
        Withdrawal(action_id=one.action_id, reason=standing.EXCLUDED_BY)
        for one in stands.decision.slate
        if one.offer in excluded and one.action_id not in gone and is_live(state, one.action_id)
    )


def _brought_up_by(plan: Plan, draft: Draft, slate: tuple[SlateAction, ...]) -> set[str]:
    """Return the journeys behind a slate: those of its moments, or those that the contact started."""
    of_moments = {action.journey for action in slate if action.journey}
    offers = {plan.offer_by_name[action.offer] for action in slate}
    return of_moments or {
        name for name in draft.contact_journeys if offers.intersection(plan.journeys[plan.journey_by_name[name]].offers)
    }


def _answer(state: PartitionState, draft: Draft, slate: tuple[SlateAction, ...], *, withheld: bool) -> str:
    """Return the id of the first action that the asking channel can carry, of the new slate or of the standing one."""
    if draft.ask.channel == NONE or withheld:
        return ""
    if slate:
        return next((action.action_id for action in slate if carries(state.plan, action, draft.ask.channel)), "")
    if draft.standing is None or not draft.has_consent:
        return ""
    gone = {one.action_id for one in draft.withdrawals}
    return next(
        (
            action.action_id
            for action in draft.standing.decision.slate
            if is_live(state, action.action_id)
            and action.action_id not in gone
            and sees(action, draft.standing, draft.ask.member)
            and carries(state.plan, action, draft.ask.channel)
        ),
        "",
    )


def _reasons(
    draft: Draft, slate: tuple[SlateAction, ...], answered: str, out: Sending, *, withheld: bool
) -> tuple[str, ...]:
    if draft.household == NO_HOUSEHOLD:
        return draft.reasons
    withdrawn = tuple(f"WITHDRAWN:{one.reason}" for one in draft.withdrawals)
    if withheld:
        return tuple(dict.fromkeys(("CONTROL_GROUP", *draft.reasons, *withdrawn)))
    no_answer = _why_no_answer(draft, slate) if draft.ask.channel != NONE and not answered else ()
    if slate:
        return tuple(dict.fromkeys((*no_answer, "BEST_VALUE", *out.reasons, *draft.reasons, *withdrawn)))
    found_none: tuple[str, ...]
    if not draft.journey_by_offer:
        found_none = () if draft.standing is not None and not draft.moments else ("NO_CANDIDATES",)
    else:
        found_none = ("NOTHING_BETTER",) if draft.to_score else ("ALL_VETOED", *_vetoes_told(draft))
    stands = ("SLATE_STANDS", *no_answer) if draft.standing is not None else ()
    return tuple(dict.fromkeys((*stands, *found_none, *no_answer, *draft.reasons, *withdrawn)))


def _why_no_answer(draft: Draft, slate: tuple[SlateAction, ...]) -> tuple[str, ...]:
    if not draft.has_consent:
        return ("NO_CONSENT",)
    return ("CHANNEL_CANNOT_CARRY",) if slate or draft.standing is not None else ()


def _vetoes_told(draft: Draft) -> tuple[str, ...]:
    """Return what spoke against the candidates, what spoke against most of them first."""
    counts = Counter(veto for vetoes in draft.vetoes.values() for veto in vetoes)
    return tuple(veto for veto, _ in counts.most_common())


def still_allowed(state: PartitionState, draft: Draft, *, may_miss_moments: bool = False) -> bool:
    """Return whether nothing has come up since the draft that would change its vetoes, moments or slate.

    Called when the decision is about to be written. If False, the draft is made again. With `may_miss_moments`, one
    that arose since is no reason: it is decided next, by itself. A household with signal upon signal needs that.
    """
    ask = draft.ask
    household, member = draft.household, draft.member
    # Rows stay what they are: only who was not known may be known by now.
    is_known = household != NO_HOUSEHOLD and (member != NO_MEMBER or not ask.member)
    if not is_known and state.find(ask.household, ask.member) != (household, member):
        return False
    if household == NO_HOUSEHOLD:
        return True
    pending = moments_for(state, household, member)
    settled = [moment.moment_id for moment in draft.moments]
    named = [moment.moment_id for moment in pending]
    if named != settled and not (may_miss_moments and set(settled) <= set(named)):
        return False
    stands, withdrawals = _standing_slate(state, ask, household, member)
    if stands is not draft.standing or withdrawals != draft.withdrawals:
        return False
    if _may_answer(state, ask, household, member) != draft.has_consent:
        return False
    if draft.outlets:
        journeys, _ = _journeys(state.plan, ask, draft.moments, state.now_us)
        if openings(outlets_of(state, _speaking(ask, journeys), household, member)) != openings(draft.outlets):
            return False
    vetoes, prices = _vetoes_and_prices(state, ask, draft.journey_by_offer, household, member)
    return vetoes == draft.vetoes and prices == draft.prices_minor
