"""Files of settings in YAML, read as a playbook is: text as it is written, doubled keys refused with their lines."""

import math
import re
from pathlib import Path

from written.problems import Problems, WritingInvalid
from written.yaml_tree import Listing, Node, Nothing, Scalar, YamlMapping, parse

_NUMBER = re.compile(r"-?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
"""About as JSON has numbers: `0123`, `+49`, `1_000` and `12:30` are texts."""

WHAT_BELONGS = {
    "tuple_type": "a list belongs here: [a, b]",
    "dict_type": "a mapping belongs here: {name: value}",
    "model_type": "a mapping belongs here: {name: value}",
    "string_type": "a text belongs here",
}
"""For people, instead of what pydantic says."""

_EXACT_MAX = 2**53
"""Beyond, neighbours would be the same number: what is so long is an identifier."""


class Unquoted(str):
    """A text that was written without quotes, so whoever expects a number may read it as one."""

    def as_number(self) -> "float | Unquoted":
        """Return the number that is written there, or else itself.

        >>> Unquoted("-1").as_number(), Unquoted("NO").as_number(), Unquoted("0123").as_number()
        (-1.0, 'NO', '0123')
        >>> Unquoted(".5").as_number(), Unquoted("+49").as_number(), Unquoted("9007199254740993").as_number()
        (0.5, '+49', '9007199254740993')
        """
        number = float(self) if _NUMBER.fullmatch(self) else math.inf
        return number if abs(number) < _EXACT_MAX else self


Settings = None | str | list["Settings"] | dict[str, "Settings"]
"""What a file holds: texts in lists and mappings, None for what has no value."""


def read_yaml(path: Path, *, name: str, example: str) -> Settings:
    """Return what a file holds.

    Args:
        path: of the file.
        name: what messages call it.
        example: the first key of such a file, for whoever hands in an empty one.

    Raises:
        OSError: it cannot be opened.
        WritingInvalid: it cannot be read; every problem with file, line and what would be right.
    """
    problems = Problems()
    node = parse(path.read_bytes(), name, problems, example=example, follows_references=True)
    if node is None or problems:
        raise WritingInvalid(problems.in_reading_order())
    return _plain(node)


def _plain(node: Node) -> Settings:
    match node:
        case YamlMapping():
            return {entry.key: _plain(entry.value) for entry in node.entries}
        case Listing():
            # A list names things: there, `null` and `~` are what a file may hold.
            return [Unquoted(item.text) if isinstance(item, Nothing) else _plain(item) for item in node.items]
        case Scalar():
            return node.text if node.quoted else Unquoted(node.text)
        case Nothing():
            return None
