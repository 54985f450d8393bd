"""Scarce items: who has which unit, and what is known of how many are free.

Each item has one home partition, which alone grants: there `granted + held + free = number`, behind every record. A
household's partition keeps a claim for each action that uses a unit. What it wants is sent to the home, again and again
until answered; the answer comes back as a record. So either side may die anywhere, and messages may be lost, doubled
and late: what a claim wants only grows (hold, grant, release), and the home does each wish once.

Nothing here waits. What is free is known from what the home last told; actors/shard/claims.py carries the messages,
household/claiming.py folds what the answers do to actions. docs/decisions/0045-scarce-items.md
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, assert_never

import numpy as np
from numpy.typing import NDArray

from household.inventory_notes import InventoryNote, StockTold, WishAnswer, WishTold
from household.plan import NONE, Item, Plan
from household.tables.actions import ActionStatus, LiveAction
from household.tables.claims import CLAIMS, KNOWN_STOCK, ClaimState, ItemClaim, KnownStock
from household.tables.holds import HOLDS, STOCK, Hold, HoldStatus, Stock, Wish
from household.tables.of_partition import Tables

if TYPE_CHECKING:
    from household.decision import Decision
    from household.state import PartitionState

WISHES = {
    ClaimState.HOLDING: Wish.HOLD,
    ClaimState.GRANTING: Wish.GRANT,
    ClaimState.RELEASING: Wish.RELEASE,
}
"""By state of a claim that is not answered: what it wants."""

_TAKING = {HoldStatus.HELD: (1, 0), HoldStatus.GRANTED: (0, 1)}
"""By status: units held, units granted."""

_NOTHING = (0, 0)


class Inventory:
    """The items of one plan in one partition; belongs to the state thread, like the tables it keeps."""

    __slots__ = ("_claims", "_holds", "_known", "_open", "_plan", "_promised", "_stock", "_unheld")

    def __init__(self, plan: Plan, tables: Tables) -> None:
        """Take the tables as they will be by the first question."""
        self._plan = plan
        self._claims, self._known = tables.of(CLAIMS), tables.of(KNOWN_STOCK)
        self._holds, self._stock = tables.of(HOLDS), tables.of(STOCK)
        self._open: dict[str, None] | None = None
        """Claims that wait for an answer, the first first; None where the table was not looked at yet."""
        self._unheld: Counter[str] = Counter()
        """By item: claims that wait for a hold."""
        self._promised: Counter[str] = Counter()
        """By item: what decisions give out that are written and not folded yet."""

    # --- for decisions -----------------------------------------------------------------------------------------------

    def item_of(self, offer: int) -> Item | None:
        """Return the item of which an offer, by index, uses a unit; None for most."""
        item = NONE if offer == NONE else self._plan.offers[offer].item
        return None if item == NONE else self._plan.inventory[item]

    def gone(self, state: "PartitionState", offer: int) -> str:
        """Return the name of an offer's item if no unit of it is known to be free; empty for all else.

        All partitions show units at once, and only the home knows who was first: each shows its part of what is free.
        """
        item = self.item_of(offer)
        if item is None:
            return ""
        known = self._known.get(item.name)
        free = max(item.number if known is None else known.free, 0)
        part = -(-free // state.share.partition_count)
        return "" if part > self.unheld[item.name] + self._promised[item.name] else item.name

    def gone_for(self, state: "PartitionState", action_id: str, offer: int) -> str:
        """Return the same of an action of a slate that stands; of one that has claimed already nothing is gone."""
        return "" if action_id in self._claims else self.gone(state, offer)

    def begin_group(self) -> None:
        """Forget what decisions were to give out that are folded by now, or never will be."""
        self._promised.clear()

    def promise(self, state: "PartitionState", decision: "Decision") -> None:
        """Take off what a decision claims that is written, and not folded yet."""
        if not self._plan.inventory or not decision.answered or decision.answered in self._claims:
            return
        names = [one.offer for one in decision.slate if one.action_id == decision.answered]
        if not names and (action := state.actions.get(decision.answered)) is not None:
            names = [action.offer]
        for name in names:
            if (item := self.item_of(self._plan.offer_by_name.get(name, NONE))) is not None:
                self._promised[item.name] += 1

    def claim_of(self, action_id: str) -> ItemClaim | None:
        """Return an action's claim; None if it has none."""
        return self._claims.get(action_id)

    # --- for the fold: where households are ---------------------------------------------------------------------------

    def claim(self, action: LiveAction, state: ClaimState = ClaimState.HOLDING) -> None:
        """Fold that an action was given to a channel, or its turn has come: it claims a unit, unless it has."""
        item = self.item_of(self._plan.offer_by_name.get(action.offer, NONE))
        if item is not None and action.action_id not in self._claims:
            # One that is accepted at the last moment is still known to the home for a while.
            until_us = action.valid_until_us + item.hold_us
            self.put(ItemClaim(action.action_id, item.name, action.household, state, until_us))

    def settled(self, action: LiveAction, status: ActionStatus) -> None:
        """Fold what has become of an action: what was accepted is to be granted, all else is to be free again."""
        if not self._plan.inventory and not len(self._claims):
            return
        claim = self._claims.get(action.action_id)
        if status is ActionStatus.ACCEPTED:
            if claim is None:
                self.claim(action, ClaimState.GRANTING)
            elif claim.state in (ClaimState.HOLDING, ClaimState.HELD):
                self.put(replace(claim, state=ClaimState.GRANTING))
        elif claim is not None and claim.state is not ClaimState.RELEASING:
            self.put(replace(claim, state=ClaimState.RELEASING))

    def expired(self, state: "PartitionState", slots: NDArray[np.int64]) -> None:
        """Fold the same of actions that expire, in these slots of their table."""
        if len(self._claims):
            for slot in slots.tolist():
                self.settled(state.actions.row(slot), ActionStatus.EXPIRED)

    def put(self, claim: ItemClaim) -> None:
        """Keep a claim as it is by now."""
        self._forget_open(claim.claim_id)
        self._claims.put(claim)
        self._note_open(claim)

    def look_anew(self) -> None:
        """Look by the next question which claims wait: households came, or went, with theirs."""
        self._open = None
        self._unheld.clear()

    def forget(self, claim_id: str) -> None:
        """Forget a claim: the home knows that it wants nothing."""
        self._forget_open(claim_id)
        self._claims.remove(claim_id)

    def answered(self, told: WishAnswer) -> ItemClaim | None:
        """Return the claim that an answer is news to; None where it wants something else by now, or is gone."""
        claim = self._claims.get(told.claim_id)
        return claim if claim is not None and WISHES.get(claim.state) is told.wish else None

    def know(self, told: StockTold) -> None:
        """Fold how many units of an item are free."""
        if self.is_news(told):
            self._known.put(KnownStock(told.item, told.free, told.version))

    def is_news(self, told: StockTold) -> bool:
        """Return whether it was not known; what is older than what is known is no news."""
        known = self._known.get(told.item)
        if known is None:
            index = self._plan.item_by_name.get(told.item, NONE)
            return index != NONE and (told.version, told.free) != (0, self._plan.inventory[index].number)
        return told.version >= known.version and (told.free, told.version) != (known.free, known.version)

    # --- for who carries the messages ---------------------------------------------------------------------------------

    @property
    def unheld(self) -> Counter[str]:
        """By item: claims that wait for a hold."""
        self._look()
        return self._unheld

    @property
    def may_have_open(self) -> bool:
        """Whether a claim may wait for an answer. From any thread."""
        return bool(len(self._claims) if self._open is None else self._open)

    def open_claims(self, most: int) -> list[WishTold]:
        """Return what is to be asked of homes, that which waits longest first, at most so much."""
        found = (self._claims[claim_id] for claim_id in islice(self._look(), most))
        return [
            WishTold(claim_id=one.claim_id, item=one.item, wish=WISHES[one.state], until_us=one.until_us)
            for one in found
        ]

    def news(self, state: "PartitionState", note: InventoryNote) -> InventoryNote:
        """Return what of a note would change anything."""
        return InventoryNote(
            asked=tuple(one for one in note.asked if self._is_heard(state, one)),
            answered=tuple(one for one in note.answered if self.answered(one) is not None),
            stock=tuple(one for one in note.stock if self.is_news(one)),
        )

    def alone(self, state: "PartitionState") -> InventoryNote:
        """Return what is to be folded next where one partition is the home of all items; nothing for nothing."""
        asked = tuple(self.open_claims(len(self._claims)))
        if wishes := self.news(state, InventoryNote(asked=asked)):
            return wishes
        stock = self.stock_told(item.name for item in self._plan.inventory)
        return self.news(state, InventoryNote(answered=self.answers(state, asked), stock=stock))

    def answers(self, state: "PartitionState", asked: Iterable[WishTold]) -> tuple[WishAnswer, ...]:
        """Return, as the home, what was made of claims; nothing of those of which nothing can be said yet."""
        return tuple(answer for one in asked if (answer := self._answer(state, one)) is not None)

    def stock_told(self, names: Iterable[str]) -> tuple[StockTold, ...]:
        """Return, as the home of these items, how many units of each are free."""
        return tuple(
            StockTold(item=name, free=self.free(name), version=self.stock(name).version)
            for name in names
            if name in self._plan.item_by_name
        )

    # --- for the fold: the home ---------------------------------------------------------------------------------------

    def stock(self, name: str) -> Stock:
        """Return, as the home, what is not free of an item."""
        return self._stock.get(name) or Stock(name, 0, 0, 0)

    def free(self, name: str) -> int:
        """Return, as the home, how many units of an item of the plan are free."""
        stock = self.stock(name)
        return self._plan.inventory[self._plan.item_by_name[name]].number - stock.held - stock.granted

    def ask(self, state: "PartitionState", asked: WishTold) -> None:
        """Fold, as the home, what a claim wants."""
        if not self._is_heard(state, asked):
            return
        known = self._holds.get(asked.claim_id)
        has_unit = known is not None and known.status is HoldStatus.HELD
        is_free = asked.wish is not Wish.RELEASE and (has_unit or self.free(asked.item) > 0)
        held_until_us = 0
        match asked.wish:
            case Wish.RELEASE:
                status = HoldStatus.RELEASED
            case Wish.HOLD | Wish.GRANT if not is_free:
                status = HoldStatus.REFUSED
            case Wish.HOLD:
                status = HoldStatus.HELD
                item = self._plan.inventory[self._plan.item_by_name[asked.item]]
                held_until_us = int(state.now_us) + item.hold_us
            case Wish.GRANT:
                status = HoldStatus.GRANTED
            case _:
                assert_never(asked.wish)
        self._put_hold(known, Hold(asked.claim_id, asked.item, asked.wish, status, asked.until_us, held_until_us))

    def expire_holds(self, now_us: int, slots: NDArray[np.int64]) -> None:
        """Fold, as the home, that what lies in these slots of its table is over: free again, or forgotten."""
        for one in [self._holds.row(slot) for slot in slots.tolist()]:
            if one.status is HoldStatus.HELD:
                self._put_hold(one, replace(one, status=HoldStatus.EXPIRED, held_until_us=0))
            if one.until_us <= now_us:
                self._holds.remove(one.claim_id)

    def _is_heard(self, state: "PartitionState", asked: WishTold) -> bool:
        if asked.wish is not Wish.RELEASE and asked.item not in self._plan.item_by_name:
            return False  # perhaps the home's playbook is a moment behind: it is asked again
        known = self._holds.get(asked.claim_id)
        return asked.until_us > state.now_us if known is None else asked.wish.rank > known.wish.rank

    def _answer(self, state: "PartitionState", asked: WishTold) -> WishAnswer | None:
        known, status = self._holds.get(asked.claim_id), HoldStatus.EXPIRED
        held_until_us = 0
        if known is not None:
            if known.wish is not asked.wish:
                return None  # it wants more by now, or the home cannot say yet
            status, held_until_us = known.status, known.held_until_us
        elif asked.wish is Wish.RELEASE:
            status = HoldStatus.RELEASED
        elif asked.until_us > state.now_us:
            return None
        return WishAnswer(claim_id=asked.claim_id, wish=asked.wish, status=status, held_until_us=held_until_us)

    def _put_hold(self, before: Hold | None, hold: Hold) -> None:
        held, granted = _TAKING.get(hold.status, _NOTHING)
        was_held, was_granted = _NOTHING if before is None else _TAKING.get(before.status, _NOTHING)
        self._holds.put(hold)
        if (held, granted) != (was_held, was_granted):
            stock = self.stock(hold.item)
            self._stock.put(
                Stock(hold.item, stock.held + held - was_held, stock.granted + granted - was_granted, stock.version + 1)
            )

    # --- what waits for an answer -------------------------------------------------------------------------------------

    def _look(self) -> dict[str, None]:
        if self._open is None:
            self._open = {}
            for claim in self._claims if len(self._claims) else ():
                self._note_open(claim)
        return self._open

    def _note_open(self, claim: ItemClaim) -> None:
        if self._open is not None and claim.state in WISHES:
            self._open[claim.claim_id] = None
            self._unheld[claim.item] += claim.state is ClaimState.HOLDING

    def _forget_open(self, claim_id: str) -> None:
        if claim_id in self._look():
            claim = self._claims[claim_id]
            del self._look()[claim_id]
            self._unheld[claim.item] -= claim.state is ClaimState.HOLDING
