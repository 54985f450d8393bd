"""The section `inventory`: what it compiles to, and what is said of what cannot be."""

from pathlib import Path

import pytest

from household.plan import Item, plan_from_bytes
from playbooks.compiler import check, compile_playbook, examine
from playbooks.difference import difference
from tests.actors.harness import CORNER

SEATS = CORNER.replace("offers:\n", "inventory:\n  seats: {number: 100, hold: 15m}\noffers:\n", 1).replace(
    "films: {", "films: {item: seats, ", 1
)


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    text = SEATS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "seats.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_offer_names_the_item_that_it_uses(tmp_path: Path):
    plan = compile_playbook(written(tmp_path))

    assert plan.inventory == (Item(name="seats", number=100, hold_us=15 * 60_000_000),)
    assert [one.name for one in plan.offers if one.item == 0] == ["films"]
    assert plan_from_bytes(plan.canonical_bytes) == plan


@pytest.mark.parametrize(
    ("old", "new", "told", "right"),
    [
        ("number: 100", "number: -1", "'number' of item 'seats' is '-1'", "write a whole number from 0"),
        ("number: 100, ", "", "item 'seats' needs 'number'", "add 'number: …'"),
        (", hold: 15m", "", "item 'seats' needs 'hold'", "add 'hold: …'"),
        ("hold: 15m", "hold: 0m", "'hold' of item 'seats' is '0m'", "write a number and a unit"),
        ("hold: 15m", "hold: 15m, holds: 2", "item 'seats' has no key 'holds'", "hold"),
        ("item: seats", "item: seat", "item 'seat' is not defined", "seats"),
        ("inventory:\n  seats: {number: 100, hold: 15m}\n", "", "item 'seats' is not defined", "under 'inventory'"),
    ],
)
def test_what_cannot_be_is_told_with_what_would_be_right(old: str, new: str, told: str, right: str, tmp_path: Path):
    (problem,) = check(written(tmp_path, (old, new)))

    assert told in problem.wrong
    assert right in problem.right


def test_an_item_that_no_offer_uses_is_worth_knowing(tmp_path: Path):
    told = [one.wrong for one in examine(written(tmp_path, ("item: seats, ", ""))).information]

    assert "no offer uses item 'seats'" in told


def test_a_change_of_an_item_shows_by_its_name(tmp_path: Path):
    before = compile_playbook(written(tmp_path))
    after = compile_playbook(written(tmp_path, ("number: 100", "number: 120")))

    assert [(one.kind, one.name) for one in difference(before, after).parts] == [("item", "seats")]
