"""Scarce items.

Laws: granted + held + free are all units there are, behind every record, whatever is lost, doubled, late or out of
order, and whoever dies; once nothing is under way, whoever accepted has a unit or knows that there was none left; what
is known to be gone is not shown; a hold ends by itself; what is given back is granted again.
"""

from dataclasses import replace

import pytest

from household.apply import apply_inventory
from household.contact_rules.share import CapacityShare
from household.deciding.hand_over import next_step
from household.delivery import DeliveryStep
from household.inventory_notes import InventoryNote, StockTold, WishTold
from household.migration import migrated
from household.plan import Item
from household.tables.claims import CLAIMS, ClaimState
from household.tables.holds import HOLDS, HoldStatus, Wish
from tests.household.inventory_world import HOLD_US, ITEM, SCARCE, SEATS, Partition, World
from tests.household.shop import APP, DAY, FILM, HOUR, MINUTE, WALLET, with_offer

CALM = {"loss": 0.0, "doubling": 0.0}


def test_whoever_is_shown_a_seat_has_it_held_and_gets_it_by_accepting():
    world = World(**CALM)
    assert [world.ask(partition) for partition in world.partitions[1:]] == ["wallet", "wallet"]
    assert set(world.claims().values()) == {"holding"}
    world.exchange()
    assert set(world.claims().values()) == {"held"}
    assert world.report("accept", 0)
    world.exchange()

    assert sorted(world.claims().values()) == ["granted", "held"]
    assert (world.home.state.inventory.free(ITEM), len(world.at_home(HoldStatus.GRANTED))) == (SEATS - 2, 1)


def test_what_is_known_to_be_gone_is_vetoed_and_the_next_best_is_said():
    world = World(**CALM)
    for partition in world.partitions:
        world.ask(partition)
    for _ in range(2):
        world.exchange()  # those who were answered first hear of the others
    away = world.partitions[1]
    assert away.state.inventory.gone(away.state, WALLET) == ITEM
    assert world.ask(away) == "broadband"
    away.signal("app.visit", household="another")
    assert away.vetoes(household="another") == {"wallet": (f"INVENTORY:{ITEM}",), "broadband": ()}

    assert world.report("decline", 0)
    for _ in range(2):
        world.exchange()
    assert world.ask(away) == "wallet"


def test_the_last_seat_may_go_between_showing_and_holding_and_she_is_told_why():
    world = World(count=1, **CALM)
    away = Partition(SCARCE, 1, 1)  # believes that it is alone, and so shows all that is free
    world.partitions.append(away)
    for partition in (world.home, away):
        assert [world.ask(partition) for _ in range(SEATS + 1)] == ["wallet"] * SEATS + ["broadband"]
    world.exchange()

    assert list(world.claims().values()) == ["held"] * SEATS, "each is held once"
    refused = [one for one in world.given if one[2] not in world.claims()]
    assert len(refused) == SEATS
    for partition, household, action_id in refused:
        action = partition.state.actions[action_id]
        assert (str(action.status), action.why) == ("withdrawn", f"INVENTORY:{ITEM}")
        again = partition.decide(APP, household=household, request_id="again")
        assert partition.offered(again) == "broadband"


def test_who_accepts_a_seat_that_is_gone_by_then_is_told_and_may_be_offered_one_again():
    world = World(count=1, **CALM)
    away = Partition(SCARCE, 1, 1)
    world.partitions.append(away)
    assert world.ask(away) == "wallet"
    for _ in range(SEATS):
        world.ask(world.home)
    world.send(world.home)
    while world.post.letters:
        world.post.deliver()
    assert world.report("accept", 0), "before anybody has told her"
    world.exchange()

    action = away.state.actions[world.given[0][2]]
    assert (str(action.status), action.why) == ("withdrawn", f"INVENTORY:{ITEM}")
    assert away.vetoes(household="home-1")["wallet"] == (f"INVENTORY:{ITEM}",)
    world.report("decline", 1)
    world.exchange()
    assert away.vetoes(household="home-1")["wallet"] == ()


def test_a_hold_ends_by_itself_and_the_seat_is_granted_again():
    world = World(count=1, **CALM)
    for _ in range(SEATS):
        world.ask()
    world.exchange()
    world.pass_time(HOLD_US - 3_000_000)
    assert len(world.at_home(HoldStatus.HELD)) == SEATS
    world.pass_time(3_000_000)

    assert world.home.state.inventory.free(ITEM) == SEATS
    assert {one.why for _, _, action in world.given for one in (world.home.state.actions[action],)} == {
        f"HOLD_OVER:{ITEM}"
    }
    world.exchange()
    assert world.claims() == {}
    assert world.ask() == "wallet"


def test_an_acceptance_behind_the_end_of_its_hold_gets_a_seat_if_one_is_free():
    world = World(**CALM)
    away = world.partitions[1]
    world.ask(away)
    world.exchange()
    world.home.now_us += HOLD_US
    world.home.tick()
    assert world.home.state.inventory.free(ITEM) == SEATS, "its clock goes before"
    world.report("accept", 0)
    world.exchange()

    assert list(world.claims().values()) == ["granted"]


@pytest.mark.parametrize("is_granted", [False, True])
def test_what_was_accepted_may_be_given_back_and_is_granted_again(is_granted: bool):
    world = World(count=1, **CALM)
    for place in range(SEATS):
        world.ask()
        world.report("accept", place)
    if is_granted:
        world.exchange()
    assert world.report("decline", 0)
    assert not world.report("decline", 0), "once"
    world.exchange()
    assert (world.home.state.inventory.free(ITEM), world.statuses()[world.given[0][2]]) == (1, "declined")
    assert world.ask() == "wallet"
    world.report("accept", SEATS)
    world.exchange()
    assert world.home.state.inventory.free(ITEM) == 0


@pytest.mark.parametrize("late", [Wish.HOLD, Wish.GRANT])
def test_what_comes_behind_its_time_or_behind_a_greater_wish_does_nothing(late: Wish):
    world = World(count=1, **CALM)
    home, until_us = world.home, world.home.now_us + HOUR

    def tell(wish: Wish) -> bool:
        return home.tell(InventoryNote(asked=(WishTold(claim_id="c", item=ITEM, wish=wish, until_us=until_us),)))

    assert tell(Wish.RELEASE), "it is known that nothing is wanted, before anything was"
    assert not tell(late)
    home.now_us = until_us
    home.tick()
    assert len(home.state.tables.of(HOLDS)) == 0, "it is forgotten"
    assert not tell(late)
    assert home.state.inventory.free(ITEM) == SEATS


def test_a_grant_may_come_before_its_hold_and_is_made_once():
    world = World(count=1, **CALM)
    home = world.home
    asked = [
        WishTold(claim_id="c", item=ITEM, wish=wish, until_us=home.now_us + HOUR)
        for wish in (Wish.GRANT, Wish.HOLD, Wish.GRANT)
    ]
    assert [home.tell(InventoryNote(asked=(one,))) for one in asked] == [True, False, False]
    assert home.state.inventory.free(ITEM) == SEATS - 1
    home.now_us += 2 * DAY
    home.tick()
    assert world.at_home(HoldStatus.GRANTED) == {"c"}, "however long ago"


def test_stock_that_is_older_than_what_is_known_is_no_news():
    away = Partition(SCARCE, 1, 2)
    for free, version, is_news in ((1, 5, True), (3, 4, False), (1, 5, False), (2, 6, True)):
        assert away.tell(InventoryNote(stock=(StockTold(item=ITEM, free=free, version=version),))) is is_news


def test_each_partition_shows_its_part_of_what_is_free_at_once():
    shop = Partition(SCARCE, 1, 2)
    shown = []
    for number in range(3):
        shop.signal("app.visit", household=f"home-{number}")
        shown.append(shop.offered(shop.decide(APP, household=f"home-{number}", request_id=str(number))))
    assert shown == ["wallet", "wallet", "broadband"], "two of three are its part, until they are answered"


def test_those_who_are_decided_in_one_group_see_what_the_others_claim():
    shop = Partition(SCARCE, 0, 1)
    inventory, made = shop.state.inventory, []
    inventory.begin_group()
    for number in range(SEATS + 1):
        shop.signal("app.visit", household=f"home-{number}")
        made.append(shop.weigh(shop.draft(APP, household=f"home-{number}", request_id=str(number))))
        inventory.promise(shop.state, made[-1])
    assert [one.slate[0].offer for one in made] == ["wallet"] * SEATS + ["broadband"]


def test_one_that_is_shown_again_claims_nothing_more():
    world = World(count=1, **CALM)
    shop = world.home
    world.ask()
    for number in range(3):
        again = shop.decide(APP, household="home-1", request_id=f"again-{number}")
        assert shop.offered(again) == "wallet"
    assert len(world.claims()) == 1


def test_who_is_in_control_claims_nothing():
    journeys = tuple(replace(one, control_share=1.0) for one in SCARCE.journeys)
    shop = Partition(replace(SCARCE, journeys=journeys), 0, 1)
    shop.signal("app.visit")
    assert shop.decide(APP).withheld
    assert len(shop.state.tables.of(CLAIMS)) == 0


def test_what_is_sent_unasked_goes_once_its_unit_is_held():
    world = World(count=1, **CALM)
    plan = with_offer(with_offer(SCARCE, WALLET, item=-1), FILM, item=0)
    shop = world.home
    shop.state = migrated(shop.state, plan)
    shop.signal("app.consent", is_on=1.0, age=40.0)
    shop.third_check()
    action_id = shop.decide().slate[0].action_id
    (channel,) = {one.name for one in plan.channels if one.name == "push"}

    def next_of() -> DeliveryStep | None:
        note = next_step(shop.state, action_id, (channel, "sms"))
        return None if note is None else note.step

    assert next_of() is DeliveryStep.CLAIMED
    shop.note(action_id, DeliveryStep.CLAIMED, channel)
    assert next_of() is None, "nobody is told of a seat that may be gone"
    world.exchange()
    assert next_of() is DeliveryStep.HANDED
    shop.pass_time(HOLD_US)
    assert (next_of(), shop.action_status(action_id)) == (None, "withdrawn")


def test_a_playbook_with_fewer_or_without_takes_nothing_back_that_was_granted():
    world = World(count=1, **CALM)
    for place in range(SEATS):
        world.ask()
        world.report("accept", place)
    world.exchange()
    home = world.home

    def put_into_force(*items: Item) -> None:
        offer_item = 0 if items else -1
        plan = replace(with_offer(SCARCE, WALLET, item=offer_item), inventory=items)
        home.state = migrated(home.state, plan)

    put_into_force(Item(name=ITEM, number=1, hold_us=HOLD_US))
    assert home.state.inventory.free(ITEM) == 1 - SEATS
    assert not home.tell(InventoryNote(asked=())), "nothing to tell"
    put_into_force()
    asked = WishTold(claim_id="late", item=ITEM, wish=Wish.HOLD, until_us=home.now_us + HOUR)
    assert not home.tell(InventoryNote(asked=(asked,)))
    assert home.state.inventory.answers(home.state, (asked,)) == (), "it may be a moment behind: asked again"
    put_into_force(Item(name=ITEM, number=SEATS + 1, hold_us=HOLD_US))
    assert home.state.inventory.free(ITEM) == 1
    assert home.state.inventory.answers(home.state, (asked,)) == ()


@pytest.mark.parametrize("seed", range(12))
def test_units_are_all_there_is_whatever_is_lost_and_whoever_dies(seed: int):
    world = World(seed)
    random = world.random
    for _ in range(160):
        match random.randrange(9):
            case 0 | 1:
                world.ask()
            case 2:
                world.report(random.choice(["accept", "accept", "decline"]))
            case 3 | 4:
                world.send(random.choice(world.partitions))
            case 5 | 6 | 7:
                world.post.deliver()
            case _:
                random.choice(world.partitions).die(from_snapshot=random.random() < 0.5)
        if random.random() < 0.08:
            world.pass_time(random.choice([MINUTE, 4 * MINUTE, HOLD_US]))
    old = world.post.letters
    for _ in range(4):
        world.exchange()
    for letter in old:
        letter()  # long ago
    world.exchange()

    claims, statuses = world.claims(), world.statuses()
    assert {claim for claim, state in claims.items() if state == "granted"} == world.at_home(HoldStatus.GRANTED)
    assert {action for action, status in statuses.items() if status == "accepted"} == world.at_home(HoldStatus.GRANTED)
    assert set(claims.values()) <= {"granted", "held"}, "nothing waits any more"
    world.pass_time(2 * DAY)
    for _ in range(3):
        world.exchange()
    assert world.at_home(HoldStatus.HELD) == set()
    left = world.home.state.inventory.free(ITEM)
    assert left == SEATS - len(world.at_home(HoldStatus.GRANTED))
    assert {one.state.share for one in world.partitions} == {CapacityShare(place, 3) for place in range(3)}


def test_a_partition_that_is_alone_answers_itself():
    shop = Partition(SCARCE, 0, 1)
    shop.signal("app.visit")
    decision = shop.decide(APP, request_id="1")
    rounds = 0
    while note := shop.state.inventory.alone(shop.state):
        assert apply_inventory(shop.state, note, epoch=1, stamp_us=shop.now_us)
        rounds += 1
    claim = shop.state.inventory.claim_of(decision.answered)
    assert (rounds, claim.state, shop.state.inventory.free(ITEM)) == (2, ClaimState.HELD, SEATS - 1)
