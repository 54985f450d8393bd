"""The section `inventory`: things of which there is a number of units, and no more; an offer names the item it uses."""

from household.plan import Item
from playbooks.reading import Reader
from written.problems import Problems
from written.yaml_tree import Entry

NUMBER_MAX = 1_000_000_000
"""Of units of one item."""


def read_inventory(top: Reader, problems: Problems) -> tuple[Item, ...]:
    """Read the section."""
    return tuple(_item(entry, problems) for entry in top.entries("inventory"))


def _item(entry: Entry, problems: Problems) -> Item:
    reader = Reader(entry.value, f"item '{entry.key}'", problems, place=entry.place)
    item = Item(
        name=entry.key,
        number=reader.whole("number", 0, least=0, most=NUMBER_MAX, required=True),
        hold_us=reader.duration_us("hold", required=True),
    )
    reader.finish()
    return item
