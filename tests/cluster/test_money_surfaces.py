"""Law: a price that a playbook states reads the same, to the last decimal of its currency, wherever anybody sees it."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors.exports.log_export import export_table
from cluster.commands.explain import tell
from cluster.commands.wording import action_lines
from hearth.v1 import decision_pb2, signal_pb2
from household.plan import Plan
from loadtest.teller import action_text
from loadtest.town.people import settle
from loadtest.town.preferences import Preferences
from playbooks.compiler import check, examine
from tests.actors.harness import CORNER, MONDAY, corner, in_loop, records, running, signal

PRICES = [("JPY", "500", 500), ("EUR", "9.99", 999), ("KWD", "1.250", 1_250)]


def in_currency(currency: str, price: str) -> tuple[tuple[str, str], ...]:
    """Return how the corner's playbook changes; what has decimals there has none where the currency has none."""
    whole = (("price: 4.99", "price: 499"), ("cost: 0.04", "cost: 4")) if currency == "JPY" else ()
    return (
        ("currency: EUR", f"currency: {currency}"),
        ("price: 9.99", f"price: {price}"),
        *whole,
    )


def written(folder: Path, currency: str, price: str, *changes: tuple[str, str]) -> Path:
    """Return a file with that playbook."""
    text = CORNER
    for old, new in (*in_currency(currency, price), *changes):
        assert old in text
        text = text.replace(old, new)
    path = folder / "corner.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def priced(currency: str, price: str) -> Plan:
    """Return the plan of that playbook, which tells the price in every text."""
    plan = corner(*in_currency(currency, price))
    offers = [
        replace(
            offer,
            treatments=tuple(replace(one, text="For {price} {currency}") for one in offer.treatments),
        )
        for offer in plan.offers
    ]
    return replace(plan, offers=tuple(offers))


def life() -> list[signal_pb2.Signal]:
    """Return what makes a member's moment: asked on the app or told by push, there is a top-up to offer."""
    return [
        signal("c", "h", "consent", MONDAY, member="m", fields={"marketing": True}),
        signal("1", "h", "check", MONDAY + 1, member="m"),
        signal("2", "h", "check", MONDAY + 2, member="m"),
    ]


def check_action(action: decision_pb2.Action, currency: str, price: str, minor: int) -> None:
    assert (action.offer, action.price_minor, action.currency) == ("topup", minor, currency)
    assert action.treatment.text == f"For {price} {currency}"
    assert action_lines(action)[0].endswith(f": {price} {currency}")
    assert f" for {price} {currency} on " in action_text(action)


@pytest.mark.parametrize(("currency", "price", "minor"), PRICES)
@in_loop
async def test_who_asks_is_told_the_price_and_so_is_who_wonders_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], currency: str, price: str, minor: int
):
    plan = priced(currency, price)
    async with running(tmp_path, plan=plan) as hearth:
        answer = await hearth.decide("h", *life(), member="m")
        check_action(answer.action, currency, price, minor)
        (live,) = [one for one in (await hearth.get("h")).live_actions if one.offer == "topup"]
        check_action(live, currency, price, minor)
        record = await hearth.explain("h")
        check_action(record.answered, currency, price, minor)
    tell(record)
    told = capsys.readouterr().out
    assert f": {price} {currency}" in told
    assert f"For {price} {currency}" in told
    assert f"value, {currency}" in told

    (row,) = [
        row
        for table in export_table(lambda: ((0, stored) for stored in records(tmp_path)), "decisions")
        for row in table.to_pylist()
    ]
    assert (row["chosen_price_minor"], row["currency"]) == (minor, currency)
    assert [one["price_minor"] for one in row["slate"] if one["offer"] == "topup"] == [minor]


@pytest.mark.parametrize(("currency", "price", "minor"), PRICES)
@in_loop
async def test_who_subscribes_is_handed_the_price(tmp_path: Path, currency: str, price: str, minor: int):
    plan = priced(currency, price)
    async with running(tmp_path, plan=plan) as hearth, hearth.subscribed("push") as deliveries:
        await hearth.ingest(*life())
        check_action((await anext(deliveries)).action, currency, price, minor)


@pytest.mark.parametrize(("currency", "price", "minor"), PRICES)
def test_a_playbook_says_it_and_hears_of_decimals_that_the_currency_does_not_have(
    tmp_path: Path, currency: str, price: str, minor: int
):
    plan = corner(*in_currency(currency, price))
    assert [offer.price_minor for offer in plan.offers if offer.name == "topup"] == [minor]

    finer = f"{price}1" if "." in price else f"{price}.1"
    (wrong,) = check(written(tmp_path, currency, finer))
    decimals = len(price.partition(".")[2])
    assert f"amount in {currency} with at most {decimals} decimals" in str(wrong)


@pytest.mark.parametrize(("currency", "price", "minor"), PRICES)
def test_a_check_tells_a_doubtful_price_as_it_is_written(tmp_path: Path, currency: str, price: str, minor: int):
    path = written(tmp_path, currency, price, ("margin: 5", f"margin: {1_000 * minor}"))
    (doubt,) = [one for one in examine(path).warnings if "price" in one.wrong and "topup" in one.wrong]
    assert f"its price, {price}" in doubt.wrong


def test_who_lives_in_the_town_minds_a_price_by_what_it_is_worth():
    people = settle(seed=1, household_count=3, pack_count=3)
    town = Preferences(seed=1, people=people, plan=corner())

    def p_accept(currency: str, minor: int) -> float:
        action = decision_pb2.Action(offer="topup", kind="offer", currency=currency, price_minor=minor)
        return town.p_accept(0, action, "app", 12)

    assert p_accept("EUR", 500) == p_accept("KWD", 5_000) == p_accept("JPY", 5)
    assert p_accept("EUR", 5_000) < p_accept("EUR", 500)
