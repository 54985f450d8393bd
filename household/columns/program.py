"""Stack code: the language that conditions are lowered to, and the kernel that runs it.

A value is a float64. Booleans are 1 and 0; an enum value is its index; unknown, and any error, is NaN.
`and` and `or` follow CEL: false and-ed with an error is false, true or-ed with an error is true, whatever the order.
"""

import math
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from household.kernel import kernel


class Op(IntEnum):
    """One instruction; `arg` is its operand where it has one. Numbers are part of plans: never reuse one."""

    CONST = 1
    """Push arg."""
    FEATURE = 2
    """Push the reading of feature number arg as of the evaluation's time."""
    FIELD = 3
    """Push field number arg of the event under evaluation (NaN where it has none)."""
    NOT = 10
    NEGATE = 11
    ADD = 12
    SUBTRACT = 13
    MULTIPLY = 14
    DIVIDE = 15
    """Of doubles: IEEE 754, so x / 0.0 is an infinity."""
    DIVIDE_INT = 16
    """Of ints: truncated; by zero an error."""
    MODULO_INT = 17
    TRUNCATE = 18
    """double to int; an infinity is an error."""
    EQUAL = 20
    NOT_EQUAL = 21
    LESS = 22
    LESS_EQUAL = 23
    GREATER = 24
    GREATER_EQUAL = 25
    AND = 30
    OR = 31
    SKIP_IF_FALSE = 32
    """If the top is 0, keep it and skip the next arg instructions (the rest of an `and`)."""
    SKIP_IF_TRUE = 33
    """If the top is 1, keep it and skip the next arg instructions (the rest of an `or`)."""
    SELECT = 36
    """Pop c, a, b (b on top); push a if c is 1, b if c is 0, an error if c is one."""
    IS_KNOWN = 40
    """Pop; push 1 if it was not NaN, else 0. Never an error."""


STACK_DEPTH = 64
"""Deepest stack a program may need; the compiler refuses deeper ones."""


@kernel
def binary(op: int, a: float, b: float) -> float:
    """Return a op b for the arithmetic, comparing and logical operations of two operands."""
    if op == Op.AND:
        if a == 0.0 or b == 0.0:
            return 0.0
        return a if np.isnan(a) else b
    if op == Op.OR:
        if a == 1.0 or b == 1.0:
            return 1.0
        return a if np.isnan(a) else b
    if np.isnan(a) or np.isnan(b):
        return np.nan
    if op == Op.EQUAL:
        return 1.0 if a == b else 0.0
    if op == Op.NOT_EQUAL:
        return 1.0 if a != b else 0.0
    if op == Op.LESS:
        return 1.0 if a < b else 0.0
    if op == Op.LESS_EQUAL:
        return 1.0 if a <= b else 0.0
    if op == Op.GREATER:
        return 1.0 if a > b else 0.0
    if op == Op.GREATER_EQUAL:
        return 1.0 if a >= b else 0.0
    if op == Op.ADD:
        return a + b
    if op == Op.SUBTRACT:
        return a - b
    if op == Op.MULTIPLY:
        return a * b
    if b == 0.0:
        if op == Op.DIVIDE and a != 0.0:
            return np.copysign(np.inf, a) * np.copysign(1.0, b)
        return np.nan
    if op == Op.DIVIDE:
        return a / b
    if op == Op.DIVIDE_INT:
        return float(np.trunc(a / b))
    if op == Op.MODULO_INT:
        return float(np.fmod(a, b))
    return np.nan


@kernel
def unary(op: int, a: float) -> float:
    """Return op a for the operations of one operand."""
    if op == Op.IS_KNOWN:
        return 0.0 if np.isnan(a) else 1.0
    if np.isnan(a):
        return a
    if op == Op.NOT:
        return 1.0 - a
    if op == Op.NEGATE:
        return -a
    if op == Op.TRUNCATE:
        return np.nan if np.isinf(a) else float(np.trunc(a))
    return np.nan


def evaluate(ops: Sequence[int], args: Sequence[float], readings: Sequence[float], fields: Sequence[float]) -> float:
    """Run a program in plain Python, over all features' readings and one event's fields; the kernels' oracle.

    >>> evaluate([Op.FEATURE, Op.CONST, Op.GREATER_EQUAL], [0, 3.0, 0], readings=[3.0], fields=[])
    1.0
    """
    stack: list[float] = []
    at = 0
    while at < len(ops):
        op, arg = ops[at], args[at]
        at += 1
        if op == Op.CONST:
            stack.append(arg)
        elif op == Op.FEATURE:
            stack.append(readings[int(arg)])
        elif op == Op.FIELD:
            stack.append(fields[int(arg)])
        elif op == Op.SKIP_IF_FALSE or op == Op.SKIP_IF_TRUE:
            if stack[-1] == (1.0 if op == Op.SKIP_IF_TRUE else 0.0):
                at += int(arg)
        elif op == Op.SELECT:
            otherwise, then, condition = stack.pop(), stack.pop(), stack.pop()
            stack.append(condition if math.isnan(condition) else then if condition == 1.0 else otherwise)
        elif op < Op.ADD or op == Op.TRUNCATE or op == Op.IS_KNOWN:
            stack.append(unary.py_func(op, stack.pop()))
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(binary.py_func(op, left, right))
    assert len(stack) == 1, "a program leaves one value"
    return stack[0]
