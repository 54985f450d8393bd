"""The conditions of a playbook: which names each may use, their check and lowering, and the pool of programs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from household.columns.program import Op
from household.plan import EventType, FieldKind, Program
from playbooks.cel import CelError, CelType, Checker
from playbooks.checked_expression import Name
from playbooks.diagnostics import suggestion
from playbooks.lowering import CannotLower, Lowered, ValueKind, lower, reference
from playbooks.vocabulary import Vocabulary
from written.problems import Problems
from written.yaml_tree import Scalar

NO_PROGRAM = 0
"""Stands in for a program that was refused; never seen outside, because then the playbook does not compile."""


@dataclass(frozen=True, slots=True)
class Known:
    """A name that conditions may use, and the code behind it; None if its own definition is wrong."""

    kind: CelType
    code: Lowered | None


_CEL_TYPE = {
    ValueKind.INT: CelType.INT,
    ValueKind.DOUBLE: CelType.DOUBLE,
    ValueKind.BOOL: CelType.BOOL,
    ValueKind.ENUM: CelType.STRING,
    ValueKind.TEXT: CelType.STRING,
}

_FIELD_VALUE = {
    FieldKind.NUMBER: ValueKind.DOUBLE,
    FieldKind.FLAG: ValueKind.BOOL,
    FieldKind.ENUM: ValueKind.ENUM,
    FieldKind.TEXT: ValueKind.TEXT,
}


def known_code(code: Lowered) -> Known:
    """Return a name with code."""
    return Known(_CEL_TYPE[code.kind], code)


WRONG = Known(CelType.UNCHECKED, None)
"""A name whose definition is wrong; conditions that use it are not blamed."""


class _Blameless(Exception):
    """A condition uses a name whose own definition was reported already."""


class Conditions:
    """Compiles conditions. Fields are known first, then features, then segments."""

    def __init__(self, vocabulary: Vocabulary, problems: Problems) -> None:
        self.programs: list[Program] = []
        self._vocabulary = vocabulary
        self._problems = problems
        self._field_names: dict[str, Known] = {f"event.{name}": WRONG for name in vocabulary.wrong_fields}
        for index, field in enumerate(vocabulary.fields):
            code = reference(Op.FIELD, index, _FIELD_VALUE[field.kind], field.values)
            self._field_names[f"event.{field.name}"] = known_code(code)
        self._names: dict[str, Known] = {}
        self._index_by_program: dict[Program, int] = {}
        self._checkers: dict[tuple[bool, bool], Checker] = {}

    def declare(self, name: str, known: Known) -> None:
        """Make a feature or a segment known to the conditions that follow."""
        self._names[name] = known
        self._checkers.clear()

    def about_event(self, text: Scalar, what: str, events: Iterable[EventType]) -> int:
        """Compile a condition over one event's fields alone, for events of these types."""
        return self._program(text, what, _Scene(self._field_names, self._vocabulary, tuple(events), features=False))

    def about_moment(self, text: Scalar, what: str, events: Iterable[EventType]) -> int:
        """Compile a condition over household, member, segments and the event at hand."""
        names = self._field_names | self._names
        return self._program(text, what, _Scene(names, self._vocabulary, tuple(events), features=True))

    def about_household(self, text: Scalar, what: str) -> int:
        """Compile a condition over household, member and segments."""
        return self._program(text, what, _Scene(self._names, self._vocabulary, None, features=True))

    def code_about_household(self, text: Scalar, what: str) -> Lowered | None:
        """Return the code of such a condition without keeping a program; None after reporting what is wrong."""
        return self._lowered(text, what, _Scene(self._names, self._vocabulary, None, features=True))

    def keep(self, text: str, code: Lowered) -> int:
        """Return the number of the program with this text and code."""
        program = Program(text=text, ops=code.ops, args=code.args)
        if program not in self._index_by_program:
            self._index_by_program[program] = len(self.programs)
            self.programs.append(program)
        return self._index_by_program[program]

    def _program(self, text: Scalar, what: str, scene: "_Scene") -> int:
        code = self._lowered(text, what, scene)
        return NO_PROGRAM if code is None else self.keep(" ".join(text.text.split()), code)

    def _lowered(self, text: Scalar, what: str, scene: "_Scene") -> Lowered | None:
        if (macro := _macro(text.text)) is not None:
            offset, wrong, right = macro
            self._problems.add(text.place_at(offset), f"{what}: {wrong}", right)
            return None
        checked = self._checker(scene).check(text.text)
        if isinstance(checked, tuple):
            for error in checked:
                offset, wrong, right = _explained(error, text.text, scene)
                self._problems.add(text.place_at(offset), f"{what}: {wrong}", right)
            return None
        if checked.result not in ("bool", "dyn"):
            wrong = f"{what}: this is a {checked.result}, not true or false"
            self._problems.add(text.place_at(checked.expression.offset), wrong, "compare it with something: … >= 3")
            return None
        try:
            return lower(checked.expression, scene.meaning)
        except CannotLower as wrong_expression:
            place = text.place_at(wrong_expression.offset)
            self._problems.add(place, f"{what}: {wrong_expression.wrong}", wrong_expression.right)
        except _Blameless:
            return None
        return None

    def _checker(self, scene: "_Scene") -> Checker:
        key = (scene.events is not None, scene.features)
        if key not in self._checkers:
            self._checkers[key] = Checker({name: known.kind for name, known in scene.names.items()})
        return self._checkers[key]


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a condition can see."""

    names: Mapping[str, Known]
    vocabulary: Vocabulary
    events: tuple[EventType, ...] | None
    """Types of the event at hand; None if none is."""
    features: bool

    def meaning(self, name: Name) -> Lowered:
        """Return the code of a name."""
        known = self.names.get(name.name)
        if known is None:
            raise CannotLower(name.offset, f"'{name.name}' is not a value", "name a feature, field or segment")
        if known.code is None:
            raise _Blameless
        if name.name.startswith("event."):
            (field,) = (int(arg) for arg in known.code.args)
            for event in self.vocabulary.not_carrying(self.events or (), field):
                wrong = f"event '{event.name}' does not carry '{name.name.removeprefix('event.')}'"
                raise CannotLower(name.offset, wrong, "add the field to that event type, or leave the type out")
        return known.code


_SYMBOL = {"and": "&&", "or": "||", "not": "!"}
"""What people write, and what CEL calls it."""

_TEXT_LITERAL = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")


def _without_texts(text: str) -> str:
    """Return the text with the contents of string literals blanked, offsets unchanged."""
    return _TEXT_LITERAL.sub(lambda found: "'" + "_" * (len(found[0]) - 2) + "'", text)


def _macro(text: str) -> tuple[int, str, str] | None:
    """Find `has(…)`: CEL compiles it to the bare name, which means something else."""
    found = re.search(r"\bhas\s*\(", _without_texts(text))
    return (found.start(), "has() is not part of a condition", "write known(…)") if found else None


def _explained(error: CelError, text: str, scene: _Scene) -> tuple[int, str, str]:
    """Return (offset, what is wrong, what would be right) for one of CEL's errors."""
    if undeclared := re.match(r"undeclared reference to '([^']*)'", error.message):
        return _undeclared(undeclared[1], error.offset, text, scene)
    if mismatch := re.match(r"found no matching overload for '([^']*)' applied to '\((.*)\)'", error.message):
        return _mismatch(mismatch[1], mismatch[2], error.offset, text)
    if error.message.startswith("Syntax error"):
        return error.offset, *_syntax(error, text)
    if "recursion" in error.message:
        return error.offset, "the condition is nested too deeply", "divide it into segments"
    return error.offset, error.message, ""


def _undeclared(name: str, offset: int, text: str, scene: _Scene) -> tuple[int, str, str]:
    start = max(offset - max(name.rfind("."), 0), 0)
    if text[start : start + len(name)] != name:
        start = offset
    wrong = f"'{name}' is not known here"
    if f"'{name}'" in {f"'{value}'" for known in scene.names.values() if known.code for value in known.code.values}:
        return start, wrong, f"if the value is meant, write it in quotes: '{name}'"
    if name.startswith("event.") and scene.events is None:
        return start, wrong, "no event is at hand here: only 'where' of features and 'when' of triggers see one"
    if not scene.features and name.split(".")[0] in ("household", "member", "segment"):
        return start, wrong, "'where' sees the event alone, not features or segments: move it to the trigger or offer"
    if name.lower() in _SYMBOL:
        return start, wrong, f"write {_SYMBOL[name.lower()]}"
    kind, _, own = name.partition(".")
    same_kind = [known.partition(".")[2] for known in scene.names if known.startswith(f"{kind}.")]
    if not same_kind:
        return start, wrong, suggestion(name, scene.names, what="names")
    right = suggestion(own, same_kind, what=f"names in '{kind}'")
    return start, wrong, right.replace("mean '", f"mean '{kind}.") if right.startswith("did") else right


def _mismatch(operator: str, types: str, offset: int, text: str) -> tuple[int, str, str]:
    symbol = operator.replace("_", "").replace("@", "") or operator
    sides = [side.strip() for side in re.split(r", (?![^(]*\))", types)]
    wrong = f"'{symbol}' does not take {' and '.join(sides)}"
    if len(sides) == 1 or symbol in ("&&", "||", "!", "?:"):
        return offset, wrong, "both sides must be true or false" if symbol in ("&&", "||") else "give it another type"
    if set(sides) == {"int", "double"}:
        return offset, wrong, _number_advice(sides, symbol, offset, text)
    if set(sides) == {"list(int)", "double"}:
        return offset, wrong, "write the listed numbers with a decimal point: 60.0"
    if "string" in sides:
        return offset, wrong, "compare a name with a text in quotes, and a number with a number"
    return offset, wrong, f"both sides must have one type; here they are {' and '.join(sides)}"


def _number_advice(sides: list[str], symbol: str, offset: int, text: str) -> str:
    after = re.match(r"\s*(-?\d+(?:\.\d+)?)(?![\w.])", text[offset + len(symbol) :])
    before = re.search(r"(?<![\w.])(-?\d+(?:\.\d+)?)\s*$", text[:offset])
    literal = (after or before)[1] if after or before else None  # type: ignore[index]
    if literal is None:
        return "wrap the whole number: double(…)"
    if "." not in literal:
        return f"write {literal}.0"
    if float(literal).is_integer():
        return f"write {int(float(literal))}"
    return f"the other side counts whole numbers: write {int(float(literal))} or wrap it in double(…)"


def _syntax(error: CelError, text: str) -> tuple[str, str]:
    plain = _without_texts(text)
    wrong = error.message.split(" expecting ")[0].removeprefix("Syntax error: ").replace("'<EOF>'", "the end")
    wrong = f"this cannot be read: {wrong}"
    if word := re.search(r"\b(and|or|not)\b", plain, re.IGNORECASE):
        return wrong, f"write {_SYMBOL[word[0].lower()]} for '{word[0]}'"
    if re.search(r"(?<![=!<>])=(?!=)", plain):
        return wrong, "write == to compare"
    if re.search(r"=>|=<|<>", plain):
        return wrong, "write >=, <= or !="
    if plain.count("(") != plain.count(")"):
        return wrong, "check the parentheses"
    if not text.strip():
        return "the condition is empty", "write one, or remove the key"
    return wrong, "check operators and quotes around here"
