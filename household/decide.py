"""decide: from a household's state, the scores and the plan to one decision. Pure: same inputs, same decision.

Three steps, because scores come from elsewhere: `prepare` finds the candidates and what speaks against each; the
caller scores those that remain; `decide` weighs them and makes the slate. `still_allowed` checks the vetoes once
more when the decision is about to be written, since an opt-out may have arrived while a score was awaited. What each
step takes is in `household/deciding/`, a file for each part.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from household.counting import milli
from household.deciding.answering import against_answers
from household.deciding.arbitration import explored, ranked_candidates
from household.deciding.candidate_columns import CandidateColumns, Looked, Vetoed
from household.deciding.candidates import (
    freshness,
    journeys_of,
    moments_for,
    personal_offers,
    speaking,
    stale_candidates,
    turned_stale,
)
from household.deciding.contact_policy import local_minute_of_week
from household.deciding.draft import Ask, Draft, Scores, context_channel
from household.deciding.looking import looked_at
from household.deciding.passages import NO_PASSAGE, Passage, inbound_vetoes, passages_of
from household.deciding.reasons import Reason, by_degraded, by_item, by_rule
from household.deciding.sending import NOT_SENT, Outlet, Sending, openings, outlet_of, outlets_of, sending
from household.deciding.slate import answer, crowded_out, standing_slate
from household.deciding.spending import taken, unaffordable_answers, unaffordable_sending
from household.deciding.telling import reasons_of
from household.deciding.vetoes import vetoes_of
from household.decision import Decision, Ghost, Moment, RuleNote, ShadowScores, SlateAction, TermScores, Withdrawal
from household.experiments.assignment import birth_id
from household.experiments.control import Controls
from household.experiments.exposure import ghosts_of, met_arms, withheld_offers
from household.plan import NONE, Plan
from household.scoring import state_vector
from household.state import NO_HOUSEHOLD, NO_MEMBER, PartitionState
from household.tables.slates import Slate


def prepare(state: PartitionState, ask: Ask) -> Draft:
    """Return the candidates for an ask, with their vetoes, as of now."""
    household, member = state.find(ask.household, ask.member)
    if household == NO_HOUSEHOLD:
        nothing = state.candidate_sets.of((), ask.channel)
        return _draft(state, ask, NO_HOUSEHOLD, NO_MEMBER, columns=nothing, reasons=(Reason.UNKNOWN_HOUSEHOLD,))
    pending = moments_for(state, household, member)
    stands, withdrawals = standing_slate(state, ask, household, member)
    journeys, reasons = journeys_of(state.plan, ask, pending, state.now_us)
    if stands is not None and not pending:
        return _draft(
            state,
            ask,
            household,
            member,
            columns=state.candidate_sets.of((), ask.channel),
            standing=stands,
            withdrawals=withdrawals,
            reasons=(Reason.SLATE_STANDS,),
        )
    columns = state.candidate_sets.of(journeys, ask.channel)
    stale = stale_candidates(state.plan, pending, columns.journey_by_offer, state.now_us)
    if stale:
        columns = state.candidate_sets.with_others(columns, stale, ask.channel)
    outlets = outlets_of(state, speaking(ask, journeys), household, member)
    return _draft(
        state,
        ask,
        household,
        member,
        columns=columns,
        moments=pending,
        standing=stands,
        withdrawals=withdrawals,
        stale=frozenset(stale),
        outlets=outlets,
        reasons=reasons,
    )


def _draft(
    state: PartitionState,
    ask: Ask,
    household: int,
    member: int,
    *,
    columns: CandidateColumns,
    moments: tuple[Moment, ...] = (),
    standing: Slate | None = None,
    withdrawals: tuple[Withdrawal, ...] = (),
    stale: frozenset[int] = frozenset(),
    outlets: tuple[Outlet, ...] = (),
    reasons: tuple[str, ...] = (),
) -> Draft:
    is_known = household != NO_HOUSEHOLD
    candidates = columns.journey_by_offer
    looked = looked_at(state, columns, household, member) if is_known else _nobody(state.plan)
    found = _found_against(state, ask, columns, looked, outlets, household, member, stale=stale)
    not_to_answer, notes = against_answers(state, ask, standing, household, member, looked)
    return Draft(
        ask=ask,
        household=household,
        member=member,
        birth_id=birth_id(state, household) if is_known and state.graph else ask.household,
        now_us=state.now_us,
        moments=moments,
        standing=standing,
        withdrawals=withdrawals,
        columns=columns,
        journey_by_offer=candidates,
        stale=stale,
        freshness=freshness(state.plan, moments, state.now_us),
        has_consent=looked.has_consent,
        not_to_answer=not_to_answer,
        vetoed=found.vetoed,
        prices_minor=looked.prices_minor,
        personal=personal_offers(state, moments, candidates),
        outlets=outlets,
        passages=found.passages,
        notes=(*found.notes, *notes),
        reasons=reasons,
        readings=looked.readings,
        events_seen=state.counters.received,
        local_minute_of_week=local_minute_of_week(state.plan, state.now_us),
    )


def _nobody(plan: Plan) -> Looked:
    """Return what is found of who is not known."""
    return Looked(
        has_consent=False,
        has_objected=False,
        vetoes=[],
        prices_minor=[],
        readings=np.full(len(plan.features), np.nan),
    )


@dataclass(slots=True, kw_only=True)
class _Found:
    """What there is to say of candidates."""

    vetoed: Vetoed
    passages: dict[int, Passage]
    notes: tuple[RuleNote, ...]


def _found_against(
    state: PartitionState,
    ask: Ask,
    columns: CandidateColumns,
    looked: Looked,
    outlets: tuple[Outlet, ...],
    household: int,
    member: int,
    *,
    stale: frozenset[int],
) -> _Found:
    """Return what speaks against candidates, and how each may go out."""
    candidates = columns.journey_by_offer
    vetoed = vetoes_of(state, columns, looked, household, member, stale=stale)
    passages = passages_of(state, outlets, candidates, household, member)
    against: dict[int, tuple[str, ...]] = {}
    notes: tuple[RuleNote, ...] = ()
    if passages:
        against = {
            offer: tuple(map(by_rule, passage.blocked_by)) for offer, passage in passages.items() if passage.blocked_by
        }
        notes = tuple(note for offer in against for note in passages[offer].notes)
    if ask.channel != NONE:
        against, notes = inbound_vetoes(state, columns, household, member)
    for offer in candidates if state.plan.inventory else ():
        if gone := state.inventory.gone(state, offer):
            against[offer] = (*against.get(offer, ()), by_item(gone))
    if against:
        vetoed = columns.with_more(vetoed, against)
    return _Found(vetoed=vetoed, passages=passages, notes=notes)


def _first_passage(state: PartitionState, draft: Draft, offer: int, value_minor: float | None) -> Passage:
    """Return how the first of a slate may go out: what is worth more may have reserved the place it would take."""
    if not draft.outlets:
        return NO_PASSAGE
    if state.rules is not None and state.rules.has_reserving and draft.outlets and value_minor is not None:
        journey = {offer: draft.journey_by_offer[offer]}
        value_milli = milli(value_minor)
        return passages_of(state, draft.outlets, journey, draft.household, draft.member, value_milli=value_milli)[offer]
    return draft.passages.get(offer) or Passage(outlet=outlet_of(draft.outlets, state.plan.offers[offer]))


def _sending(plan: Plan, draft: Draft, passage: Passage, slate: tuple[SlateAction, ...]) -> Sending:
    return sending(
        plan, draft.outlets, passage.outlet, draft.moments, slate, against=passage.against, now_us=draft.now_us
    )


def decide(state: PartitionState, draft: Draft, scores: Scores, *, epoch: int, schema_hash: str) -> Decision:
    """Weigh the scored candidates and return the decision, ready to be recorded."""
    plan, ask = state.plan, draft.ask
    decision_id = _decision_id(draft, epoch)
    standings = state.scarcity.standings(state)
    candidates, ranked = ranked_candidates(state, draft, scores, decision_id, standings)
    first, propensity = explored(plan, ranked, decision_id)
    slate = would_be = _slate(plan, draft, first, decision_id)
    # What a household in control gets is what is left without what it is in control of; with nothing left, all of it
    # stands in the decision and goes nowhere.
    ghosts: tuple[Ghost, ...] = ()
    withheld, would_go = False, NOT_SENT
    controls = Controls(state, draft.household, draft.member, draft.birth_id)
    if unsaid := withheld_offers(state, draft, [index for index, _ in ranked], would_be, controls):
        would_go = _sending(plan, draft, _first_passage(state, draft, *first[0]), would_be)
        ghosts = ghosts_of(state, draft, would_be, would_go, unsaid, controls)
        left = [one for one in ranked if one[0] not in unsaid]
        withheld = not left
        if left:
            candidates = candidates.withheld(unsaid, Reason.CONTROL_GROUP)
            first, propensity = explored(plan, left, decision_id)
            slate = _slate(plan, draft, first, decision_id)
    out, notes = NOT_SENT, draft.notes
    if slate and not withheld:
        passage = _first_passage(state, draft, *first[0])
        out, notes = _sending(plan, draft, passage, slate), (*notes, *passage.notes)
        if spent := unaffordable_sending(state, slate, out, standings):
            out = replace(NOT_SENT, reasons=spent)
        would_go = out
    stands = draft.standing is not None and not slate
    channels = out.names(plan) if out.channels else ()
    unaffordable = unaffordable_answers(state, draft, standings)
    answered = answer(state, draft, slate, withheld=withheld, unaffordable=unaffordable)
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
        shadows=_shadows(draft, scores) if scores.shadows or scores.terms else (),
        withheld=withheld,
        propensity=propensity,
        reasons=(
            *reasons_of(draft, candidates, slate, answered, out, withheld=withheld, unaffordable=unaffordable),
            *[by_degraded(term) for term, one in scores.terms if one.degraded],
        ),
        candidates=candidates,
        slate=slate,
        stands=draft.standing.decision_id if stands and draft.standing else "",
        answered=answered,
        send_channel=channels[0] if channels else "",
        send_before_us=out.before_us,
        send_not_before_us=out.not_before_us,
        fallback_channels=channels[1:],
        withdrawals=(*draft.withdrawals, *(() if withheld else crowded_out(state, draft, slate))),
        rules=notes,
        local_minute_of_week=draft.local_minute_of_week,
        state_vector=state_vector(plan, draft.readings),
        arms=met_arms(state, draft, controls, would_be, slate),
        ghosts=ghosts,
        scarce=taken(state, draft, () if withheld else slate, answered, out, standings),
        events_seen=draft.events_seen,
        scored_channel=_scored_channel(plan, draft, first[0][0], would_go) if slate else "",
        term_scores=_term_scores(draft, scores) if scores.terms else (),
    )


def _scored_channel(plan: Plan, draft: Draft, offer: int, out: Sending) -> str:
    """Return the channel that an action was scored for if it goes out, or would have gone out, on another.

    What it turned out to be worth may have let it into room that is reserved there.
    """
    if draft.ask.channel != NONE or not out.channels:
        return ""
    scored_for = context_channel(plan, draft, offer)
    return "" if scored_for in (NONE, out.channels[0]) else plan.channels[scored_for].name


def _slate(plan: Plan, draft: Draft, ranked: Sequence[tuple[int, float]], decision_id: str) -> tuple[SlateAction, ...]:
    return tuple(
        [
            SlateAction(
                action_id=f"{decision_id}-{position}",
                offer=plan.offers[index].name,
                journey=draft.journey_by_offer[index],
                price_minor=draft.price_minor(index),
                valid_until_us=draft.now_us + plan.offers[index].valid_us,
                is_personal=index in draft.personal,
            )
            for position, (index, _) in enumerate(ranked[: plan.arbitration.slate_length])
        ]
    )


def _shadows(draft: Draft, scores: Scores) -> tuple[ShadowScores, ...]:
    """Return what is recorded of versions in shadow; in the order in which `ranked_candidates` has the candidates."""
    offers = draft.to_score
    return tuple(
        ShadowScores(model_version=version, scores=tuple(by_offer[offer] for offer in offers), term=term)
        for term, one in (("", scores), *scores.terms)
        for version, by_offer in one.shadows
    )


def _term_scores(draft: Draft, scores: Scores) -> tuple[TermScores, ...]:
    """Return what is recorded of other terms than acceptance, in the order of `_shadows`."""
    offers = draft.to_score
    return tuple(
        TermScores(
            term=term.value,
            model_version=one.model_version,
            scores=tuple(one.by_offer[offer] for offer in offers) if one.by_offer else (),
            scored_by=one.way,
            degraded=one.degraded,
            why=one.why,
        )
        for term, one in scores.terms
    )


def _decision_id(draft: Draft, epoch: int) -> str:
    """The same for the same cause: who, when, which request or moments, in which term."""
    ask = draft.ask
    cause = [ask.household, ask.member, ask.request_id.encode(), b"%d" % draft.now_us, b"%d" % epoch]
    cause += [moment.moment_id.encode() for moment in draft.moments]
    return hashlib.blake2b(b"\0".join(cause), digest_size=10).hexdigest()


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
    if any(turned_stale(state.plan, moment, draft.now_us, state.now_us) for moment in draft.moments):
        return False
    stands, withdrawals = standing_slate(state, ask, household, member)
    if stands != draft.standing or withdrawals != draft.withdrawals:
        return False
    looked = looked_at(state, draft.columns, household, member)
    if looked.has_consent != draft.has_consent:
        return False
    if against_answers(state, ask, stands, household, member, looked)[0] != draft.not_to_answer:
        return False
    outlets: tuple[Outlet, ...] = ()
    if draft.outlets:
        journeys, _ = journeys_of(state.plan, ask, draft.moments, state.now_us)
        outlets = outlets_of(state, speaking(ask, journeys), household, member)
        if openings(outlets) != openings(draft.outlets):
            return False
    found = _found_against(state, ask, draft.columns, looked, outlets, household, member, stale=draft.stale)
    if {offer: passage.opening for offer, passage in found.passages.items()} != {
        offer: passage.opening for offer, passage in draft.passages.items()
    }:
        return False
    return found.vetoed.vetoes == draft.vetoes and looked.prices_minor == draft.prices_minor
