"""A condition for people, part by part: what each part says, whether it is true, and what its features read.

A condition stands in a plan as code that calculates one value behind another. What is joined by `&&` at the top can be
told apart, and each part's code run by itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from household.columns.program import Op, evaluate
from household.plan import Plan

_SIGNS = {
    Op.ADD: "+",
    Op.SUBTRACT: "-",
    Op.MULTIPLY: "*",
    Op.DIVIDE: "/",
    Op.DIVIDE_INT: "/",
    Op.MODULO_INT: "%",
    Op.EQUAL: "==",
    Op.NOT_EQUAL: "!=",
    Op.LESS: "<",
    Op.LESS_EQUAL: "<=",
    Op.GREATER: ">",
    Op.GREATER_EQUAL: ">=",
    Op.AND: "&&",
    Op.OR: "||",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionPart:
    """One of what a condition demands."""

    text: str
    holds: bool | None
    """None where it is not known."""
    readings: tuple[tuple[str, str], ...]
    """(feature or field, what it reads) of each that it looks at."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A value that is calculated by the code from `start` to `end`."""

    text: str
    start: int
    end: int
    names: tuple[str, ...] = ()
    """Of the words that it may be."""
    number: float | None = None
    """Of a constant."""
    parts: tuple["_Piece", ...] = ()
    """What it joins by `&&`."""
    is_atom: bool = True


def parts_of(plan: Plan, program: int, readings: Sequence[float], fields: Sequence[float]) -> tuple[ConditionPart, ...]:
    """Return the parts of a condition as they stand.

    Args:
        plan: whose it is.
        program: index of it.
        readings: (features,) of whom it is asked of.
        fields: (fields,) of the event; NaN where it has none.
    """
    code = plan.programs[program]
    whole = _piece(plan, code.ops, code.args)
    return tuple(
        ConditionPart(
            text=one.text,
            holds=_truth(evaluate(code.ops[one.start : one.end], code.args[one.start : one.end], readings, fields)),
            readings=_read(plan, code.ops[one.start : one.end], code.args[one.start : one.end], readings, fields),
        )
        for one in (whole.parts or (whole,))
    )


def _truth(value: float) -> bool | None:
    return None if math.isnan(value) else value == 1.0


def _piece(plan: Plan, ops: Sequence[int], args: Sequence[float]) -> _Piece:
    stack: list[_Piece] = []
    for at, (number, arg) in enumerate(zip(ops, args, strict=True)):
        op = Op(number)
        match op:
            case Op.CONST:
                stack.append(_Piece(f"{arg:g}", at, at + 1, number=arg))
            case Op.FEATURE:
                feature = plan.features[int(arg)]
                stack.append(_Piece(feature.name, at, at + 1, names=feature.values))
            case Op.FIELD:
                field = plan.fields[int(arg)]
                stack.append(_Piece(f"event.{field.name}", at, at + 1, names=field.values))
            case Op.SKIP_IF_FALSE | Op.SKIP_IF_TRUE:
                pass
            case Op.NOT | Op.NEGATE | Op.TRUNCATE | Op.IS_KNOWN:
                stack.append(_unary(op, stack.pop(), at))
            case Op.SELECT:
                otherwise, then, condition = stack.pop(), stack.pop(), stack.pop()
                text = f"{_closed(condition)} ? {_closed(then)} : {_closed(otherwise)}"
                stack.append(_Piece(text, condition.start, at + 1, is_atom=False))
            case _:
                right, left = stack.pop(), stack.pop()
                stack.append(_binary(op, left, right, at))
    return stack[-1]


def _closed(one: _Piece) -> str:
    return one.text if one.is_atom else f"({one.text})"


def _unary(op: Op, one: _Piece, at: int) -> _Piece:
    match op:
        case Op.NOT:
            text = f"!{_closed(one)}"
        case Op.NEGATE:
            text = f"-{_closed(one)}"
        case Op.TRUNCATE:
            text = f"int({one.text})"
        case _:
            text = f"known({one.text})"
    return _Piece(text, one.start, at + 1)


def _binary(op: Op, left: _Piece, right: _Piece, at: int) -> _Piece:
    left, right = _named(left, right), _named(right, left)
    made = _Piece(f"{_closed(left)} {_SIGNS[op]} {_closed(right)}", left.start, at + 1, is_atom=False)
    if op is Op.AND:
        return replace(made, parts=(*(left.parts or (left,)), *(right.parts or (right,))))
    return made


def _named(one: _Piece, other: _Piece) -> _Piece:
    """Return a constant by its name, where what it is compared with has names."""
    if one.number is None or not other.names or not 0 <= one.number < len(other.names):
        return one
    return replace(one, text=f"'{other.names[int(one.number)]}'")


def _read(
    plan: Plan, ops: Sequence[int], args: Sequence[float], readings: Sequence[float], fields: Sequence[float]
) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for op, arg in zip(ops, args, strict=True):
        if op == Op.FEATURE:
            feature = plan.features[int(arg)]
            found[feature.name] = reading_text(readings[int(arg)], feature.values, is_flag=feature.result == "bool")
        elif op == Op.FIELD:
            field = plan.fields[int(arg)]
            found[f"event.{field.name}"] = reading_text(fields[int(arg)], field.values)
    return tuple(found.items())


def reading_text(value: float, names: Sequence[str] = (), *, is_flag: bool = False) -> str:
    """Return a reading for people."""
    if math.isnan(value):
        return "not known"
    if math.isinf(value):
        return "never"
    if names and 0 <= value < len(names):
        return names[int(value)]
    if is_flag:
        return "true" if value else "false"
    return f"{value:.9g}"
