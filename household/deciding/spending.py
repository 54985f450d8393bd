"""What a decision takes of what is scarce: only what it gives out uses anything, and each action once."""

from household.deciding.draft import Draft
from household.deciding.reasons import by_budget, by_item
from household.deciding.sending import Sending
from household.decision import ScarcePrice, SlateAction
from household.plan import NONE
from household.scarcity import Standings, Uses, too_much
from household.state import PartitionState


def unaffordable_answers(
    state: PartitionState, draft: Draft, standings: Standings | None
) -> dict[str, tuple[str, ...]]:
    """Return, by id, the actions of the standing slate for which too little is left, and of what."""
    is_scarce = standings is not None or bool(state.plan.inventory)
    if not is_scarce or draft.standing is None or draft.ask.channel == NONE:
        return {}
    found = {
        action.action_id: (*_too_much(state, action, draft.ask.channel, standings), *_gone(state, action))
        for action in draft.standing.decision.slate
    }
    return {action_id: scarce for action_id, scarce in found.items() if scarce}


def _too_much(state: PartitionState, action: SlateAction, channel: int, standings: Standings | None) -> tuple[str, ...]:
    if standings is None:
        return ()
    return tuple(map(by_budget, too_much(_uses_as_answer(state, action, channel), standings)))


def _gone(state: PartitionState, action: SlateAction) -> tuple[str, ...]:
    if not state.plan.inventory:
        return ()
    offer = state.plan.offer_by_name.get(action.offer, NONE)
    gone = state.inventory.gone_for(state, action.action_id, offer)
    return (by_item(gone),) if gone else ()


def unaffordable_sending(
    state: PartitionState, slate: tuple[SlateAction, ...], out: Sending, standings: Standings | None
) -> tuple[str, ...]:
    """Return for what too little is left if the first of a slate is sent as is meant."""
    if standings is None or not out.channels:
        return ()
    return tuple(map(by_budget, too_much(_uses(state, slate[0], out.channels[0]), standings)))


def taken(
    state: PartitionState,
    draft: Draft,
    slate: tuple[SlateAction, ...],
    answered: str,
    out: Sending,
    standings: Standings | None,
) -> tuple[ScarcePrice, ...]:
    """Return the budgets that played a part in a decision, with what it takes of each."""
    if standings is None:
        return ()
    uses: Uses = ()
    entries = slate or (draft.standing.decision.slate if draft.standing is not None else ())
    given = next((one for one in entries if one.action_id == answered), None)
    if given is not None:
        uses = _uses_as_answer(state, given, draft.ask.channel)
    elif slate and out.channels:
        uses = _uses(state, slate[0], out.channels[0])
    if not (looked_at := standings.looked_at):
        return ()
    used = dict(uses)
    return tuple(
        ScarcePrice(
            budget=one.budget.name, price_minor=one.price_minor, share=one.share, left=one.left, used=used.get(index, 0)
        )
        for index, one in looked_at
    )


def _uses_as_answer(state: PartitionState, action: SlateAction, channel: int) -> Uses:
    """Return what an action uses as an answer: nothing if it was shown before, or is on its way."""
    if state.tables.texts.find(action.action_id.encode()) >= 0:  # else no row has it, as of one that is new
        known = state.actions.get(action.action_id)
        if (known is not None and known.is_shown) or action.action_id in state.outbox:
            return ()
    return _uses(state, action, channel)


def _uses(state: PartitionState, action: SlateAction, channel: int) -> Uses:
    offer = state.plan.offer_by_name.get(action.offer, NONE)
    return () if offer == NONE else state.scarcity.uses_of(offer, action.journey, channel)
