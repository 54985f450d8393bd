"""The type check of conditions by cel-expr-python, Google's C++ implementation. Nothing else imports it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cel_expr_python import cel

from playbooks.checked_expression import Expression, decode

TEXT_LENGTH_MAX = 4_000
"""A condition longer than this cannot be read by anyone; segments are the way to divide it."""


class CelType(StrEnum):
    """Types that names in conditions have."""

    INT = "int"
    DOUBLE = "double"
    BOOL = "bool"
    STRING = "string"
    UNCHECKED = "dyn"
    """Of a name whose definition is itself wrong: anything goes, so that one mistake is told once."""


_TYPES = {
    CelType.INT: cel.Type.INT,
    CelType.DOUBLE: cel.Type.DOUBLE,
    CelType.BOOL: cel.Type.BOOL,
    CelType.STRING: cel.Type.STRING,
    CelType.UNCHECKED: cel.Type.DYN,
}


@dataclass(frozen=True, slots=True)
class CelError:
    """What CEL has to say about a text."""

    offset: int
    """Characters from the start of the text."""
    message: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A text that passed."""

    expression: Expression
    result: str
    """CEL type of its value: bool, int, double, string, list<…>, …"""


class Checker:
    """Checks texts against one set of names."""

    def __init__(self, names: Mapping[str, CelType]) -> None:
        known = cel.FunctionDecl("known", [cel.Overload("known_any", cel.Type.BOOL, [cel.Type.DYN])])
        self._environment = cel.NewEnv(
            variables={name: _TYPES[kind] for name, kind in names.items()}, functions=[known]
        )

    def check(self, text: str) -> Checked | tuple[CelError, ...]:
        """Return the checked expression, or every error in it."""
        if len(text) > TEXT_LENGTH_MAX:
            return (CelError(0, f"the condition has {len(text)} characters, at most {TEXT_LENGTH_MAX} are read"),)
        try:
            compiled = self._environment.compile(text)
        except RuntimeError as wrong:
            return _errors(text, str(wrong))
        return Checked(decode(compiled.serialize()), compiled.return_type().name().lower())


def _errors(text: str, report: str) -> tuple[CelError, ...]:
    """Take CEL's report apart: blocks of "ERROR: <input>:line:column: message" with a drawing underneath."""
    found = re.findall(r"^(?:.*?)ERROR: <input>:(-?\d+):(-?\d+): (.*)$", report, re.MULTILINE)
    if not found:
        return (CelError(0, re.sub(r"^[A-Z_]+: | \[[A-Z_]+\]$", "", report.splitlines()[0])),)
    lines = text.split("\n")
    errors: dict[CelError, None] = {}
    for line, column, message in found:
        before = sum(len(one) + 1 for one in lines[: int(line) - 1]) if int(line) > 0 else 0
        offset = min(max(before + int(column) - 1, 0), len(text))
        errors[CelError(offset, re.sub(r" \[[A-Z_]+\]$", "", message))] = None
    return tuple(errors)
