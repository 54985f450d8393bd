"""Stack code: the kernel that runs it, its plain-Python twin, and what each operation means.

Laws: kernel and `evaluate` agree on every program; `and` and `or` follow CEL whatever the order and whether or not they
skip; an error or an unknown is NaN and spreads, but through `false && …`, `true || …` and `known`; ints truncate.
"""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from household.apply import apply_signals
from household.columns.program import Op, binary, evaluate, unary
from household.plan import EventField, EventType, Feature, FeatureKind, Field, FieldKind, Plan, Scope
from household.state import PartitionState
from tests.household.oracle import Event, batch_of
from tests.household.worlds import START_US, Code, conditions, numbers, program_of

NAN, INF = math.nan, math.inf
TRUTHS = (0.0, 1.0, NAN)
NUMBERS = (0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 7.0, 1e308, -1e308, INF, -INF, NAN)
BINARY = [op for op in Op if op not in (Op.NOT, Op.NEGATE, Op.TRUNCATE, Op.IS_KNOWN) and op >= Op.ADD]
BINARY = [op for op in BINARY if op not in (Op.SKIP_IF_FALSE, Op.SKIP_IF_TRUE, Op.SELECT)]


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


def run(*code: tuple[int, float]) -> float:
    with np.errstate(all="ignore"):
        return float(evaluate([op for op, _ in code], [arg for _, arg in code], [], []))


def value(number: float) -> tuple[int, float]:
    return Op.CONST, number


FIELDS = 3
"""As many as `worlds` uses in its code, read back through profiles of the same number: no event is at hand."""

PLAN = Plan(
    name="echo",
    fields=tuple(Field(name=f"v{index}", kind=FieldKind.NUMBER) for index in range(FIELDS)),
    event_types=(EventType(name="set", source="app", fields=tuple(EventField(field=i) for i in range(FIELDS))),),
    features=tuple(
        Feature(
            name=f"household.v{index}",
            kind=FeatureKind.PROFILE,
            scope=Scope.HOUSEHOLD,
            result="double",
            events=(0,),
            field=index,
        )
        for index in range(FIELDS)
    ),
)


def over_features(code: Code) -> Code:
    return tuple((Op.FEATURE if op == Op.FIELD else op, arg) for op, arg in code)


def in_kernel(codes: list[Code], readings: list[float]) -> list[float]:
    """Run programs over features that read so, in the kernel."""
    plan = Plan(
        name="echo",
        fields=PLAN.fields,
        event_types=PLAN.event_types,
        features=PLAN.features,
        programs=tuple(program_of(code) for code in codes),
    )
    state = PartitionState(plan=plan, stream_clock=True)
    values = tuple((index, reading) for index, reading in enumerate(readings) if not math.isnan(reading))
    event = Event(id=b"1", time_us=START_US, values=values)
    apply_signals(state, batch_of(plan, [event]), stamp_us=START_US)
    return [float(result) for result in state.conditions(np.arange(len(codes)), 0, -1, START_US)]


@settings(max_examples=60)
@given(
    codes=st.lists((conditions(FIELDS, 3) | numbers(FIELDS, 3)).map(over_features), min_size=1, max_size=8),
    readings=st.lists(
        st.sampled_from([0.0, 1.0, -3.0, 2.5, 1e300, -1e300, 1e-300, NAN]), min_size=FIELDS, max_size=FIELDS
    ),
)
def test_the_kernel_and_plain_python_agree(codes, readings):
    got = in_kernel(codes, readings)

    for code, result in zip(codes, got, strict=True):
        with np.errstate(all="ignore"):
            expected = evaluate([op for op, _ in code], [arg for _, arg in code], readings, [])
        assert same(result, expected), code


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.name)
def test_each_operation_of_two_operands_is_the_same_in_both(op):
    with np.errstate(all="ignore"):
        for left, right in product(NUMBERS, NUMBERS):
            assert same(binary(int(op), left, right), float(binary.py_func(int(op), left, right))), (left, right)


@pytest.mark.parametrize("op", [Op.NOT, Op.NEGATE, Op.TRUNCATE, Op.IS_KNOWN], ids=lambda op: op.name)
def test_each_operation_of_one_operand_is_the_same_in_both(op):
    for operand in NUMBERS:
        assert same(unary(int(op), operand), float(unary.py_func(int(op), operand))), operand


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize(("left", "right"), list(product(TRUTHS, TRUTHS)))
def test_and_and_or_follow_cel_whatever_the_order(left, right, skips):
    def joined(skip: Op, op: Op) -> float:
        jump = ((skip, 2.0),) if skips else ()
        return run(value(left), *jump, value(right), (op, 0.0))

    either_false, either_true = 0.0 in (left, right), 1.0 in (left, right)
    unknown = math.isnan(left) or math.isnan(right)
    assert same(joined(Op.SKIP_IF_FALSE, Op.AND), 0.0 if either_false else NAN if unknown else 1.0)
    assert same(joined(Op.SKIP_IF_TRUE, Op.OR), 1.0 if either_true else NAN if unknown else 0.0)


@pytest.mark.parametrize(
    ("op", "left", "right", "result"),
    [
        (Op.DIVIDE, 1.0, 4.0, 0.25),
        (Op.DIVIDE, 1.0, 0.0, INF),
        (Op.DIVIDE, -1.0, 0.0, -INF),
        (Op.DIVIDE, 1.0, -0.0, -INF),
        (Op.DIVIDE, 0.0, 0.0, NAN),
        (Op.DIVIDE_INT, 7.0, 2.0, 3.0),
        (Op.DIVIDE_INT, -7.0, 2.0, -3.0),
        (Op.DIVIDE_INT, 7.0, 0.0, NAN),
        (Op.MODULO_INT, 7.0, 3.0, 1.0),
        (Op.MODULO_INT, -7.0, 3.0, -1.0),
        (Op.MODULO_INT, 7.0, 0.0, NAN),
        (Op.SUBTRACT, 5.0, 3.0, 2.0),
        (Op.LESS, 2.0, 3.0, 1.0),
        (Op.LESS, 3.0, 3.0, 0.0),
        (Op.LESS_EQUAL, 3.0, 3.0, 1.0),
        (Op.GREATER, 3.0, 3.0, 0.0),
        (Op.GREATER, 4.0, 3.0, 1.0),
        (Op.GREATER_EQUAL, 3.0, 3.0, 1.0),
        (Op.EQUAL, 3.0, 3.0, 1.0),
        (Op.EQUAL, NAN, NAN, NAN),
        (Op.NOT_EQUAL, NAN, 1.0, NAN),
        (Op.NOT_EQUAL, 2.0, 1.0, 1.0),
    ],
)
def test_what_an_operation_gives(op, left, right, result):
    assert same(run(value(left), value(right), (op, 0.0)), result)


@pytest.mark.parametrize(
    ("op", "operand", "result"),
    [
        (Op.TRUNCATE, 2.9, 2.0),
        (Op.TRUNCATE, -2.9, -2.0),
        (Op.TRUNCATE, INF, NAN),
        (Op.TRUNCATE, NAN, NAN),
        (Op.NOT, 1.0, 0.0),
        (Op.NOT, NAN, NAN),
        (Op.NEGATE, 2.0, -2.0),
        (Op.IS_KNOWN, 0.0, 1.0),
        (Op.IS_KNOWN, INF, 1.0),
        (Op.IS_KNOWN, NAN, 0.0),
    ],
)
def test_what_an_operation_of_one_operand_gives(op, operand, result):
    assert same(run(value(operand), (op, 0.0)), result)


@pytest.mark.parametrize(("condition", "result"), [(1.0, 5.0), (0.0, 6.0), (NAN, NAN)])
def test_select_takes_one_of_two_and_an_unknown_condition_takes_none(condition, result):
    assert same(run(value(condition), value(5.0), value(6.0), (Op.SELECT, 0.0)), result)


def test_the_numbers_of_operations_are_part_of_plans_and_never_change():
    assert {op.name: int(op) for op in Op} == {
        "CONST": 1,
        "FEATURE": 2,
        "FIELD": 3,
        "NOT": 10,
        "NEGATE": 11,
        "ADD": 12,
        "SUBTRACT": 13,
        "MULTIPLY": 14,
        "DIVIDE": 15,
        "DIVIDE_INT": 16,
        "MODULO_INT": 17,
        "TRUNCATE": 18,
        "EQUAL": 20,
        "NOT_EQUAL": 21,
        "LESS": 22,
        "LESS_EQUAL": 23,
        "GREATER": 24,
        "GREATER_EQUAL": 25,
        "AND": 30,
        "OR": 31,
        "SKIP_IF_FALSE": 32,
        "SKIP_IF_TRUE": 33,
        "SELECT": 36,
        "IS_KNOWN": 40,
    }
