"""Reading a mapping key by key, each with the type it must have; what is missing, wrong or unknown becomes a problem.

Every method returns its default after noting a problem, so that reading goes on and finds the next one.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TypeVar

from household.money import minor_digits, money_minor
from playbooks import values
from playbooks.diagnostics import suggestion
from written.problems import Place, Problems
from written.yaml_tree import Entry, Listing, Node, Nothing, Scalar, YamlMapping

Value = TypeVar("Value")
Default = TypeVar("Default")
Choice = TypeVar("Choice", bound=StrEnum)

DURATION_HELP = "write a number and a unit, such as 7d, 6h, 15m or 30s"
NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]*")

# A name that is a word of CEL could not be used in a condition.
RESERVED_WORDS = frozenset(
    re.findall(
        r"\w+",
        "as break const continue else false for function if import in let loop namespace null package return true var "
        "void while",
    )
)


def is_name(text: str) -> bool:
    """Return whether something may be called this."""
    return bool(NAME_PATTERN.fullmatch(text)) and text not in RESERVED_WORDS


def describe(node: Node) -> str:
    """Return what a node is, for people."""
    match node:
        case YamlMapping():
            return "a mapping"
        case Listing():
            return "a list"
        case Nothing():
            return "nothing"
        case Scalar():
            return f"'{node.text}'" if len(node.text) <= 40 else f"'{node.text[:40]}…'"


class Reader:
    """One mapping under examination. Ask for every key it may have, then call `finish`."""

    def __init__(self, node: Node, what: str, problems: Problems, *, place: Place | None = None) -> None:
        self.what = what
        """What is being read, for messages: "offer 'roaming_day'"."""
        self.place = place or node.place
        """Where to report what is missing: the key, usually."""
        self.problems = problems
        self._asked: set[str] = set()
        self._entries: dict[str, Entry] = {}
        if isinstance(node, YamlMapping):
            self._entries = {entry.key: entry for entry in node.entries}
        self._is_mapping = isinstance(node, YamlMapping | Nothing)
        if not self._is_mapping:
            problems.add(node.place, f"{what} is {describe(node)}", "write a mapping of 'key: value' lines")

    def finish(self) -> None:
        """Report the keys nobody asked for."""
        for entry in self._entries.values():
            if entry.key not in self._asked:
                right = suggestion(entry.key, self._asked, what="possible keys")
                self.problems.add(entry.place, f"{self.what} has no key '{entry.key}'", right)

    def has(self, key: str) -> bool:
        """Return whether a key is written."""
        self._asked.add(key)
        return key in self._entries

    def node(self, key: str, *, required: bool = False) -> Node | None:
        """Return what a key holds; None when it is absent or holds nothing."""
        self._asked.add(key)
        entry = self._entries.get(key)
        if entry is None:
            if required and self._is_mapping:
                self.problems.add(self.place, f"{self.what} needs '{key}'", f"add '{key}: …'")
            return None
        if isinstance(entry.value, Nothing):
            self.problems.add(entry.place, f"'{key}' of {self.what} holds nothing", "give it a value or remove the key")
            return None
        return entry.value

    def key_place(self, key: str) -> Place:
        """Return where a key stands, or the whole if it is absent."""
        entry = self._entries.get(key)
        return entry.place if entry else self.place

    def value_place(self, key: str) -> Place:
        """Return where what a key holds stands, or the whole if the key is absent."""
        entry = self._entries.get(key)
        return entry.value.place if entry else self.place

    def scalar(self, key: str, *, required: bool = False) -> Scalar | None:
        """Return a single value."""
        node = self.node(key, required=required)
        if node is None or isinstance(node, Scalar):
            return node
        self.problems.add(node.place, f"'{key}' of {self.what} is {describe(node)}", "write a single value")
        return None

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """Return a text."""
        scalar = self.scalar(key, required=required)
        return scalar.text if scalar else default

    def _parsed(
        self, key: str, parse: Callable[[str], Value | None], default: Default, right: str, *, required: bool = False
    ) -> Value | Default:
        scalar = self.scalar(key, required=required)
        if scalar is None:
            return default
        value = parse(scalar.text)
        if value is None:
            self.problems.add(scalar.place, f"'{key}' of {self.what} is {describe(scalar)}", right)
            return default
        return value

    def duration_us(self, key: str, default: int = 0, *, required: bool = False, zero: bool = False) -> int:
        """Return a duration; 0 only if `zero`."""
        scalar = self.scalar(key, required=required)
        if scalar is None:
            return default
        value = values.duration_us(scalar.text)
        if value is None or (value == 0 and not zero):
            self.problems.add(scalar.place, f"'{key}' of {self.what} is {describe(scalar)}", DURATION_HELP)
            return default
        return value

    def money_minor(self, key: str, currency: str, default: int = 0, *, required: bool = False) -> int:
        """Return an amount in minor units, never negative."""
        return self._parsed(key, lambda text: price(text, currency), default, money_help(currency), required=required)

    def share(self, key: str, default: float = 0.0, *, required: bool = False) -> float:
        """Return a share between 0 and 1."""
        right = "write a share between 0 and 1, such as 0.05 or 5%"
        return self._parsed(key, values.share, default, right, required=required)

    def number(self, key: str, default: float, *, required: bool = False) -> float:
        """Return a number."""
        return self._parsed(key, values.number, default, "write a number, such as 1.5", required=required)

    def whole(self, key: str, default: int = 0, *, least: int, most: int, required: bool = False) -> int:
        """Return a whole number within bounds."""
        scalar = self.scalar(key, required=required)
        if scalar is None:
            return default
        value = values.whole(scalar.text)
        if value is None or not least <= value <= most:
            right = f"write a whole number from {least} to {most}"
            self.problems.add(scalar.place, f"'{key}' of {self.what} is {describe(scalar)}", right)
            return default
        return value

    def minute_of_day(self, key: str) -> int | None:
        """Return a required time of the day in minutes; None after reporting that it is missing or wrong."""
        return self._parsed(key, values.minute_of_day, None, "write a time such as 21:00", required=True)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        right = "write true or false"
        return self._parsed(key, lambda text: {"true": True, "false": False}.get(text), default, right)

    def choice(self, key: str, kinds: type[Choice], *, required: bool = False) -> Choice | None:
        """Return one of a fixed set of words."""
        scalar = self.scalar(key, required=required)
        if scalar is None:
            return None
        known = [kind.value for kind in kinds]
        if scalar.text in known:
            return kinds(scalar.text)
        right = suggestion(scalar.text, known, what="choices")
        self.problems.add(scalar.place, f"'{key}' of {self.what} is {describe(scalar)}", right)
        return None

    def names(self, key: str, *, required: bool = False) -> list[Scalar]:
        """Return a list of names; one name alone may be written without brackets."""
        node = self.node(key, required=required)
        if node is None:
            return []
        if isinstance(node, Scalar):
            return [node]
        if not isinstance(node, Listing):
            self.problems.add(node.place, f"'{key}' of {self.what} is {describe(node)}", "write a list: [one, two]")
            return []
        if not node.items:
            self.problems.add(node.place, f"'{key}' of {self.what} is an empty list", "name at least one or remove it")
        return self._distinct(key, node)

    def _distinct(self, key: str, listing: Listing) -> list[Scalar]:
        found: dict[str, Scalar] = {}
        for item in listing.items:
            if not isinstance(item, Scalar):
                self.problems.add(item.place, f"'{key}' of {self.what} lists {describe(item)}", "write a name")
            elif item.text in found:
                wrong = f"'{key}' of {self.what} lists '{item.text}' twice"
                self.problems.add(item.place, wrong, "remove one of the two")
            else:
                found[item.text] = item
        return list(found.values())

    def entries(self, key: str, *, named: bool = True) -> list[Entry]:
        """Return the entries of a mapping within; with `named`, their keys must be names."""
        node = self.node(key)
        if node is None:
            return []
        if not isinstance(node, YamlMapping):
            right = "write a mapping: one 'name: …' per line"
            self.problems.add(node.place, f"'{key}' of {self.what} is {describe(node)}", right)
            return []
        if named:
            for entry in node.entries:
                check_name(entry.key, entry.place, self.problems)
        return list(node.entries)

    def reader(self, key: str, what: str, *, required: bool = False) -> "Reader | None":
        """Return a reader of a mapping within."""
        node = self.node(key, required=required)
        return None if node is None else Reader(node, what, self.problems, place=self.key_place(key))


def check_name(name: str, place: Place, problems: Problems) -> None:
    """Report a name that nothing may have."""
    if not is_name(name):
        right = f"'{name}' is a word of the condition language: choose another"
        if name not in RESERVED_WORDS:
            right = "names are lower-case letters, digits and _, starting with a letter"
        problems.add(place, f"'{name}' is not a possible name", right)


def report_repeated(written: Sequence[Entry], beside: Sequence[Entry], what: str, problems: Problems) -> None:
    """Report names that are written and belong to what follows from another section."""
    taken = {entry.key for entry in beside}
    for entry in written:
        if entry.key in taken:
            wrong = f"{what} '{entry.key}' is already defined: it follows from the section 'products'"
            problems.add(entry.place, wrong, "remove it, or give it another name")


def price(text: str, currency: str) -> int | None:
    """Return an amount that is not negative, in minor units."""
    minor = money_minor(text, currency)
    return minor if minor is not None and minor >= 0 else None


def money_help(currency: str) -> str:
    """Return how an amount is written."""
    digits = minor_digits(currency)
    return f"write an amount in {currency} with at most {digits} decimals, such as {'9.99' if digits else '500'}"


def resolve(
    names: Iterable[Scalar], index_by_name: dict[str, int], *, what: str, plural: str, problems: Problems
) -> tuple[int, ...]:
    """Return the indices of names, reporting those that are not defined."""
    found = []
    for name in names:
        if name.text in index_by_name:
            found.append(index_by_name[name.text])
        else:
            right = suggestion(name.text, index_by_name, what=plural)
            problems.add(name.place, f"{what} '{name.text}' is not defined", right)
    return tuple(found)
