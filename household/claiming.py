"""What comes of claims on scarce items: answers from their homes, and holds that are over, as the fold meets them."""

from collections.abc import Iterable
from dataclasses import replace

from household.deciding.reasons import by_hold_over, by_item
from household.inventory_notes import InventoryNote, WishAnswer
from household.journeys import effects
from household.open_actions import set_status, withdraw_action
from household.state import PartitionState
from household.tables.actions import ActionStatus
from household.tables.claims import ClaimState, ItemClaim
from household.tables.holds import HoldStatus


def fold_note(state: PartitionState, note: InventoryNote) -> None:
    """Fold what came into a partition: as the home of items, and as that of households."""
    for asked in note.asked:
        state.inventory.ask(state, asked)
    for answered in note.answered:
        _fold_answer(state, answered)
    for stock in note.stock:
        state.inventory.know(stock)


def _fold_answer(state: PartitionState, told: WishAnswer) -> None:
    inventory = state.inventory
    claim = inventory.answered(told)
    if claim is None:
        return
    match told.status:
        case HoldStatus.HELD:
            inventory.put(replace(claim, state=ClaimState.HELD, held_until_us=told.held_until_us))
        case HoldStatus.GRANTED:
            inventory.put(replace(claim, state=ClaimState.GRANTED, held_until_us=0))
        case HoldStatus.RELEASED:
            inventory.forget(claim.claim_id)
        case HoldStatus.REFUSED:
            inventory.forget(claim.claim_id)
            _take_back(state, claim, by_item(claim.item))
        case HoldStatus.EXPIRED:
            inventory.forget(claim.claim_id)
            _take_back(state, claim, by_hold_over(claim.item))


def hold_over(state: PartitionState, claims: Iterable[ItemClaim]) -> None:
    """Fold that the time is over for which units were to be held."""
    for claim in claims:
        _take_back(state, claim, by_hold_over(claim.item))
        left = state.inventory.claim_of(claim.claim_id)
        if left is not None and left.state is not ClaimState.RELEASING:
            # Its action is forgotten.
            state.inventory.put(replace(left, state=ClaimState.RELEASING))


def _take_back(state: PartitionState, claim: ItemClaim, reason: str) -> None:
    """Withdraw the action of a claim that has no unit, be it accepted already."""
    action = state.actions.get(claim.claim_id)
    if action is None:
        return
    if action.status is ActionStatus.ACCEPTED:
        # It may be offered again, once something is free.
        set_status(state, action, ActionStatus.WITHDRAWN, state.now_us, why=reason)
        state.accepted_offers.remove(action.household, action.offer)
        return
    withdraw_action(state, action.household, action.action_id, reason)
    if state.courses is not None:
        effects.taken_back(state, action.household, action.action_id, reason)
