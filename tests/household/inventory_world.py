"""Partitions that claim units of one item, a post that loses, doubles and delays what they send, and deaths in between.

Each partition has a log; what is sent is made of its state behind the last record, as its owner does it. Behind every
record the item's home is compared with `PlainHome`, in which each unit is a thing that lies in one place.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from household.apply import apply_epoch, apply_inventory
from household.contact_rules.share import CapacityShare
from household.decision import Decision
from household.digest import state_digest
from household.freeze import Freeze, thaw
from household.inventory_notes import InventoryNote, WishTold
from household.ledger import next_due_us
from household.plan import Item, Plan
from household.state import PartitionState
from household.tables.claims import CLAIMS
from household.tables.holds import HOLDS, HoldStatus
from tests.household.shop import APP, MINUTE, PLAN, WALLET, Shop, with_offer

SEATS = 3
HOLD_US = 15 * MINUTE
ITEM = "seats"

SCARCE = replace(
    with_offer(PLAN, WALLET, item=0, prior_acceptance=0.9),
    inventory=(Item(name=ITEM, number=SEATS, hold_us=HOLD_US),),
)
"""A wallet comes with a seat; broadband is there for all."""


class PlainHome:
    """An item's home: a pile of units, and who has which. Written from docs/decisions/0045-scarce-items.md alone."""

    def __init__(self, number: int) -> None:
        self.free = [f"seat {place}" for place in range(number)]
        self.has: dict[str, str] = {}
        """By claim: its unit."""
        self.granted: set[str] = set()
        self.wish: dict[str, int] = {}
        self.over_us: dict[str, int] = {}
        """Of claims that are held."""
        self.until_us: dict[str, int] = {}

    def tick(self, now_us: int) -> None:
        for claim in [one for one, over_us in self.over_us.items() if over_us <= now_us]:
            self._give_back(claim)
        for claim in [one for one, until_us in self.until_us.items() if until_us <= now_us and one not in self.has]:
            del self.until_us[claim], self.wish[claim]

    def ask(self, one: WishTold, now_us: int) -> None:
        wish = ["hold", "grant", "release"].index(one.wish.value)
        if one.claim_id not in self.wish and one.until_us <= now_us:
            return
        if wish <= self.wish.get(one.claim_id, -1):
            return
        self.wish[one.claim_id], self.until_us[one.claim_id] = wish, one.until_us
        if wish == 2:
            self._give_back(one.claim_id)
            return
        if one.claim_id not in self.has and self.free:
            self.has[one.claim_id] = self.free.pop()
        if one.claim_id in self.has:
            self.over_us.pop(one.claim_id, None)
            if wish == 0:
                self.over_us[one.claim_id] = now_us + HOLD_US
            else:
                self.granted.add(one.claim_id)

    def _give_back(self, claim: str) -> None:
        self.over_us.pop(claim, None)
        self.granted.discard(claim)
        if claim in self.has:
            self.free.append(self.has.pop(claim))

    def equals(self, state: PartitionState) -> None:
        """The law: every unit lies in one place, and the home knows the same."""
        stock = state.inventory.stock(ITEM)
        free = state.inventory.free(ITEM)
        rows = {one.claim_id: one.status for one in state.tables.of(HOLDS)}
        assert stock.held + stock.granted + free == SEATS
        assert (stock.held, stock.granted, free) == (
            len(self.has) - len(self.granted),
            len(self.granted),
            len(self.free),
        )
        assert free >= 0
        assert {claim for claim, status in rows.items() if status is HoldStatus.HELD} == self.has.keys() - self.granted
        assert {claim for claim, status in rows.items() if status is HoldStatus.GRANTED} == self.granted
        assert rows.keys() == self.wish.keys()


class Partition(Shop):
    """A partition whose records can be folded again."""

    def __init__(self, plan: Plan, place: int, count: int, *, is_home: bool = False) -> None:
        super().__init__(plan)
        self.place, self.count = place, count
        self.log: list[Callable[[], object]] = []
        self.plain = PlainHome(SEATS) if is_home else None
        self.state.share = CapacityShare(place, count)
        self.shown = 0

    def tell(self, note: InventoryNote) -> bool:
        """What is news of a note becomes a record; return whether anything was."""
        found = self.state.inventory.news(self.state, note)
        if not found:
            return False
        now_us = self.now_us
        self._write(lambda: apply_inventory(self.state, found, epoch=1, stamp_us=now_us))
        if self.plain is not None:
            for one in found.asked:
                self.plain.ask(one, now_us)
            self.plain.equals(self.state)
        return True

    def record(self, decision: Decision) -> bool:
        return self._again(super().record, decision)

    def fold(self, *events):
        return self._again(super().fold, *events)

    def tick(self) -> None:
        """Time has passed, and something is due."""
        due_us = next_due_us(self.state)
        if due_us is not None and due_us <= self.now_us:
            self._again(super().pass_time, 0)
            if self.plain is not None:
                self.plain.tick(self.now_us)
                self.plain.equals(self.state)

    def _again(self, change, *arguments):
        now_us, offset = self.now_us, self.offset

        def once_more() -> object:
            self.now_us, self.offset = now_us, offset
            return change(*arguments)

        return self._write(once_more)

    def _write(self, change: Callable[[], object]):
        self.log.append(change)
        return change()

    def die(self, *, from_snapshot: bool) -> None:
        """Lose the memory; what is known again, from the log or a snapshot, is what was known."""
        before, now_us, offset = state_digest(self.state), self.now_us, self.offset
        if from_snapshot:
            freeze = Freeze(self.state)
            while not freeze.step():
                pass
            self.state = thaw(freeze.end())
        else:
            self.state = PartitionState(plan=self.state.plan, stream_clock=False)
            apply_epoch(self.state, epoch=1)
            for change in self.log:
                change()
        self.state.share = CapacityShare(self.place, self.count)
        self.now_us, self.offset = now_us, offset
        assert state_digest(self.state) == before


@dataclass(slots=True)
class Post:
    """What is under way, and who has it: a message may be lost, come twice, late, and in any order."""

    random: Random
    loss: float = 0.2
    doubling: float = 0.3
    letters: list[Callable[[], None]] = field(default_factory=list)

    def send(self, letter: Callable[[], None]) -> None:
        if self.random.random() < self.loss:
            return
        self.letters += [letter] * (1 + (self.random.random() < self.doubling))

    def deliver(self) -> None:
        if self.letters:
            self.letters.pop(self.random.randrange(len(self.letters)))()


class World:
    """Some partitions; the first is the item's home, and has households, too."""

    def __init__(self, seed: int = 0, *, count: int = 3, loss: float = 0.2, doubling: float = 0.3) -> None:
        self.random = Random(seed)
        self.partitions = [Partition(SCARCE, place, count, is_home=place == 0) for place in range(count)]
        self.home = self.partitions[0]
        self.post = Post(self.random, loss, doubling)
        self.given: list[tuple[Partition, str, str]] = []
        """(partition, household, action) of what was shown with a seat."""
        self.asked_count = 0

    # --- what may happen ---

    def ask(self, partition: Partition | None = None) -> str:
        """A household that was never here asks; return what it is offered."""
        partition = partition or self.random.choice(self.partitions)
        self.asked_count += 1
        household = f"home-{self.asked_count}"
        partition.signal("app.visit", household=household)
        decision = partition.decide(APP, household=household, request_id=str(self.asked_count))
        offered = partition.offered(decision)
        if offered == "wallet":
            self.given.append((partition, household, decision.answered))
        return offered

    def report(self, outcome: str, place: int | None = None) -> bool:
        """Somebody answers what she was shown."""
        if not self.given:
            return False
        partition, household, action_id = self.given[self.random.randrange(len(self.given)) if place is None else place]
        return partition.report(outcome, action_id, household=household)

    def send(self, partition: Partition) -> None:
        """A partition sends what waits, and asks what is free."""
        asked = tuple(partition.state.inventory.open_claims(1_000))
        self.post.send(lambda: self._arrive(asked, partition))

    def _arrive(self, asked: tuple[WishTold, ...], sender: Partition) -> None:
        self.home.tell(InventoryNote(asked=asked))
        inventory = self.home.state.inventory
        answer = InventoryNote(
            answered=inventory.answers(self.home.state, asked),
            stock=inventory.stock_told([ITEM, "unknown"]),
        )
        self.post.send(lambda: sender.tell(answer))

    def exchange(self) -> None:
        """Everything that waits is sent, arrives and is answered, nothing lost."""
        loss, self.post.loss = self.post.loss, 0.0
        for partition in self.partitions:
            self.send(partition)
        while self.post.letters:
            self.post.deliver()
        self.post.loss = loss

    def pass_time(self, elapsed_us: int, *, ticks: bool = True) -> None:
        """Time passes, not everywhere alike."""
        for partition in self.partitions:
            partition.now_us += elapsed_us + self.random.randrange(3) * 1_000_000
            if ticks:
                partition.tick()

    # --- how things are ---

    def claims(self) -> dict[str, str]:
        return {one.claim_id: one.state.value for each in self.partitions for one in each.state.tables.of(CLAIMS)}

    def at_home(self, status: HoldStatus) -> set[str]:
        return {one.claim_id for one in self.home.state.tables.of(HOLDS) if one.status is status}

    def statuses(self) -> dict[str, str]:
        """Of what was shown with a seat."""
        return {action: str(where.state.actions[action].status) for where, _, action in self.given}
