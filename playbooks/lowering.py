"""From a checked CEL expression to the stack code that kernels run (household/columns/program.py).

Kept are three-valued logic, short circuits and exact comparisons. Enum values become their index in the list of the
very field or feature they are compared with. Whatever stack code cannot say is refused here, never approximated.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from household.columns.program import STACK_DEPTH, Op
from playbooks.checked_expression import Call, Expression, Items, Literal, Name, Unsupported
from playbooks.diagnostics import suggestion

INSTRUCTIONS_MAX = 2_000
"""Longest program; a trigger runs for every event."""

INT_MAX = 2**53
"""Larger ints are not exact in a float64."""

SUPPORTED = (
    "conditions know comparisons, + - * / %, && || !, ?:, 'in' with a list of literals, known(), int(), double() and "
    "the names of features, fields and segments"
)


class ValueKind(Enum):
    """What a float64 on the stack stands for."""

    INT = auto()
    DOUBLE = auto()
    BOOL = auto()
    ENUM = auto()
    TEXT = auto()

    @property
    def is_number(self) -> bool:
        """Whether arithmetic makes sense."""
        return self in (ValueKind.INT, ValueKind.DOUBLE)


@dataclass(frozen=True, slots=True)
class Lowered:
    """Instructions that leave one value, and what it stands for."""

    ops: tuple[int, ...]
    args: tuple[float, ...]
    kind: ValueKind
    values: tuple[str, ...] = ()
    """Of an ENUM: its values in order."""

    def then(self, op: Op, kind: ValueKind) -> "Lowered":
        """Return this with an operation of one operand behind it."""
        return Lowered((*self.ops, int(op)), (*self.args, 0.0), kind)


def constant(value: float, kind: ValueKind) -> Lowered:
    """Return code that pushes a constant."""
    return Lowered((int(Op.CONST),), (float(value),), kind)


def reference(op: Op, index: int, kind: ValueKind, values: tuple[str, ...] = ()) -> Lowered:
    """Return code that pushes a feature's reading or an event's field."""
    return Lowered((int(op),), (float(index),), kind, values)


class CannotLower(Exception):
    """The expression is valid CEL and still no condition of a playbook."""

    def __init__(self, offset: int, wrong: str, right: str) -> None:
        super().__init__(wrong)
        self.offset = offset
        self.wrong = wrong
        self.right = right


Meaning = Callable[[Name], Lowered]
"""Gives the code of a name; raises CannotLower."""

_ARITHMETIC = {
    "_+_": (Op.ADD, Op.ADD),
    "_-_": (Op.SUBTRACT, Op.SUBTRACT),
    "_*_": (Op.MULTIPLY, Op.MULTIPLY),
    "_/_": (Op.DIVIDE, Op.DIVIDE_INT),
    "_%_": (Op.MODULO_INT, Op.MODULO_INT),
}
"""Of doubles, of ints."""

_ORDER = {"_<_": Op.LESS, "_<=_": Op.LESS_EQUAL, "_>_": Op.GREATER, "_>=_": Op.GREATER_EQUAL}
_NO_ORDER = ("texts have no order and no sum", "compare them with ==, != or 'in'")

_EQUALITY = {"_==_": Op.EQUAL, "_!=_": Op.NOT_EQUAL}


def lower(expression: Expression, meaning: Meaning) -> Lowered:
    """Return the stack code of an expression.

    Raises:
        CannotLower: it holds something stack code has no word for, or would be too long or too deep.
    """
    lowered = _Lowering(meaning).value(expression)
    if stack_depth(lowered.ops) > STACK_DEPTH:
        raise CannotLower(expression.offset, "the condition is nested too deeply", "divide it into segments")
    return lowered


def stack_depth(ops: tuple[int, ...]) -> int:
    """Return the deepest stack a program reaches. A skip leaves one value where the skipped code would have.

    >>> stack_depth((Op.CONST, Op.CONST, Op.ADD))
    2
    """
    depth, deepest = 0, 0
    for op in ops:
        if op in (Op.CONST, Op.FEATURE, Op.FIELD):
            depth += 1
        elif op == Op.SELECT:
            depth -= 2
        elif Op.ADD <= op <= Op.OR and op != Op.TRUNCATE:
            depth -= 1
        deepest = max(deepest, depth)
    return deepest


class _Lowering:
    def __init__(self, meaning: Meaning) -> None:
        self._meaning = meaning

    def value(self, expression: Expression) -> Lowered:
        lowered = self._value(expression)
        if len(lowered.ops) > INSTRUCTIONS_MAX:
            wrong = f"the condition needs more than {INSTRUCTIONS_MAX} steps"
            raise CannotLower(expression.offset, wrong, "simplify it; segments count in full wherever they are named")
        return lowered

    def _value(self, expression: Expression) -> Lowered:
        match expression:
            case Literal():
                return _literal(expression)
            case Name():
                return self._meaning(expression)
            case Call():
                return self._call(expression)
            case Items():
                raise CannotLower(expression.offset, "a list stands alone here", "lists follow 'in': x in ['a', 'b']")
            case Unsupported():
                raise CannotLower(expression.offset, f"{expression.what} is not part of a condition", SUPPORTED)

    def _call(self, call: Call) -> Lowered:
        match call.function:
            case "_&&_" | "_||_":
                return self._logical(call)
            case "_==_" | "_!=_":
                return self._equality(call)
            case "_?_:_":
                return self._select(call)
            case "@in":
                return self._in(call)
            case "!_":
                return self.value(call.arguments[0]).then(Op.NOT, ValueKind.BOOL)
            case "-_":
                operand = self.value(call.arguments[0])
                return operand.then(Op.NEGATE, operand.kind)
            case "known" | "int" | "double":
                return self._conversion(call)
            case function if function in _ORDER or function in _ARITHMETIC:
                return self._numeric(call)
            case function:
                raise CannotLower(call.offset, f"the function '{function}' is not part of a condition", SUPPORTED)

    def _logical(self, call: Call) -> Lowered:
        is_and = call.function == "_&&_"
        result = self.value(call.arguments[0])
        for argument in call.arguments[1:]:
            right = self.value(argument)
            skip = Op.SKIP_IF_FALSE if is_and else Op.SKIP_IF_TRUE
            ops = (*result.ops, int(skip), *right.ops, int(Op.AND if is_and else Op.OR))
            result = Lowered(ops, (*result.args, float(len(right.ops) + 1), *right.args, 0.0), ValueKind.BOOL)
        return result

    def _equality(self, call: Call) -> Lowered:
        left, right = call.arguments
        match left, right:
            case Literal(value=str()), Literal(value=str()):
                raise CannotLower(call.offset, "two fixed texts are compared", "compare a feature or a field")
            case Literal(value=str()), _:
                other = self.value(right)
                return _joined(_member(left, other), other, _EQUALITY[call.function], ValueKind.BOOL)
            case _, Literal(value=str()):
                other = self.value(left)
                return _joined(other, _member(right, other), _EQUALITY[call.function], ValueKind.BOOL)
            case _:
                pass
        first, second = self.value(left), self.value(right)
        if first.kind != second.kind or first.values != second.values:
            wrong = "these two can never be equal: they have different lists of values"
            raise CannotLower(call.offset, wrong, f"compare with one of {_listed(first.values or second.values)}")
        return _joined(first, second, _EQUALITY[call.function], ValueKind.BOOL)

    def _numeric(self, call: Call) -> Lowered:
        if any(isinstance(side, Literal) and isinstance(side.value, str) for side in call.arguments):
            raise CannotLower(call.offset, *_NO_ORDER)
        left, right = (self.value(argument) for argument in call.arguments)
        if not {left.kind, right.kind}.isdisjoint((ValueKind.ENUM, ValueKind.TEXT)):
            raise CannotLower(call.offset, *_NO_ORDER)
        if call.function in _ORDER:
            return _joined(left, right, _ORDER[call.function], ValueKind.BOOL)
        return _joined(left, right, _ARITHMETIC[call.function][left.kind == ValueKind.INT], left.kind)

    def _select(self, call: Call) -> Lowered:
        for argument in call.arguments[1:]:
            if isinstance(argument, Literal) and isinstance(argument.value, str):
                right = "compare inside: c ? x == 'a' : x == 'b'"
                raise CannotLower(argument.offset, "a fixed text is chosen here", right)
        condition, then, otherwise = (self.value(argument) for argument in call.arguments)
        if then.values != otherwise.values:
            raise CannotLower(call.offset, "the two choices have different lists of values", "compare each by itself")
        return Lowered(
            (*condition.ops, *then.ops, *otherwise.ops, int(Op.SELECT)),
            (*condition.args, *then.args, *otherwise.args, 0.0),
            then.kind,
            then.values,
        )

    def _in(self, call: Call) -> Lowered:
        searched, items = call.arguments
        if not isinstance(items, Items) or not all(isinstance(item, Literal) for item in items.items):
            raise CannotLower(items.offset, "'in' needs a list of fixed values", "write x in ['a', 'b'] or x in [1, 2]")
        if not items.items:
            raise CannotLower(items.offset, "nothing is in an empty list", "list at least one value")
        left = self.value(searched)
        result: Lowered | None = None
        for item in items.items:
            assert isinstance(item, Literal)
            right = _member(item, left) if isinstance(item.value, str) else _literal(item)
            equal = _joined(left, right, Op.EQUAL, ValueKind.BOOL)
            result = equal if result is None else _joined(result, equal, Op.OR, ValueKind.BOOL)
            if len(result.ops) > INSTRUCTIONS_MAX:
                raise CannotLower(items.offset, "the list is too long", "divide it, or make it an enum of its own")
        assert result is not None
        return result

    def _conversion(self, call: Call) -> Lowered:
        operand = self.value(call.arguments[0])
        if call.function == "known":
            return operand.then(Op.IS_KNOWN, ValueKind.BOOL)
        if not operand.kind.is_number:
            raise CannotLower(call.offset, f"{call.function}() of something that is no number", "give it a number")
        if call.function == "double":
            return Lowered(operand.ops, operand.args, ValueKind.DOUBLE)
        return operand if operand.kind == ValueKind.INT else operand.then(Op.TRUNCATE, ValueKind.INT)


def _literal(literal: Literal) -> Lowered:
    match literal.value:
        case bool():
            return constant(literal.value, ValueKind.BOOL)
        case int():
            if abs(literal.value) > INT_MAX:
                raise CannotLower(literal.offset, f"{literal.value} is too large", f"stay within ±{INT_MAX}")
            return constant(literal.value, ValueKind.INT)
        case float():
            if not math.isfinite(literal.value):
                raise CannotLower(literal.offset, "the number is infinite", "write a finite number")
            return constant(literal.value, ValueKind.DOUBLE)
        case str():
            wrong = f"the text '{literal.value}' stands alone here"
            raise CannotLower(literal.offset, wrong, "compare a feature or a field with it: member.x == 'a'")


def _member(literal: Literal, other: Lowered) -> Lowered:
    """Return the index of an enum value in the list of what it is compared with."""
    assert isinstance(literal.value, str)
    if other.kind == ValueKind.TEXT:
        wrong = "a text field cannot be compared with a fixed text"
        raise CannotLower(literal.offset, wrong, "declare the field with a list of its values")
    if literal.value not in other.values:
        wrong = f"'{literal.value}' is none of the declared values"
        close = suggestion(literal.value, other.values)
        right = f"{close if close.startswith('did') else 'use one of'} ({_listed(other.values)})"
        raise CannotLower(literal.offset, wrong, right)
    return constant(other.values.index(literal.value), ValueKind.ENUM)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _joined(left: Lowered, right: Lowered, op: Op, kind: ValueKind) -> Lowered:
    return Lowered((*left.ops, *right.ops, int(op)), (*left.args, *right.args, 0.0), kind)
