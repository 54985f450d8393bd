"""Laws: stack code means what CEL means, unknown values included; what it cannot say is refused, never approximated."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from household.columns.program import STACK_DEPTH, Op, evaluate
from playbooks.cel import CelType, Checked, Checker
from playbooks.checked_expression import Name
from playbooks.lowering import CannotLower, Lowered, ValueKind, lower, reference, stack_depth

PACKS = ("film_box", "kids_world", "sports_live")

FEATURES = {
    "member.i": ValueKind.INT,
    "member.j": ValueKind.INT,
    "member.d": ValueKind.DOUBLE,
    "member.e": ValueKind.DOUBLE,
    "member.b": ValueKind.BOOL,
    "member.c": ValueKind.BOOL,
    "member.pack": ValueKind.ENUM,
    "household.pack": ValueKind.ENUM,
}
TYPES = {
    ValueKind.INT: CelType.INT,
    ValueKind.DOUBLE: CelType.DOUBLE,
    ValueKind.BOOL: CelType.BOOL,
    ValueKind.ENUM: CelType.STRING,
}
CODE = {
    name: reference(Op.FEATURE, index, kind, PACKS if kind is ValueKind.ENUM else ())
    for index, (name, kind) in enumerate(FEATURES.items())
}
# `known` has no implementation in CEL, so there it is played by a name whose value says whether the other is known.
CHECKER = Checker({name: TYPES[kind] for name, kind in FEATURES.items()} | {f"is_{n}": CelType.BOOL for n in FEATURES})


def meaning(name: Name) -> Lowered:
    return CODE[name.name]


def lowered(text: str) -> Lowered:
    checked = CHECKER.check(text)
    assert isinstance(checked, Checked), checked
    return lower(checked.expression, meaning)


def cel_value(text: str, values: dict[str, object]) -> float:
    """Return CEL's own answer, NaN for an error."""
    played = text
    for name in FEATURES:
        played = played.replace(f"known({name})", f"is_{name}")
    known = {f"is_{name}": name in values for name in FEATURES}
    value = CHECKER._environment.compile(played).eval(data=values | known)
    return math.nan if value.type().name().lower() in ("error", "unknown") else float(value.value())


def names_of(kind: ValueKind) -> st.SearchStrategy[str]:
    return st.sampled_from([name for name, own in FEATURES.items() if own is kind])


def joined(operators: list[str], left: st.SearchStrategy[str], right: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("({} {} {})".format, left, st.sampled_from(operators), right)


quarters = st.integers(-12, 12).map(lambda n: n / 4)
int_leaves = st.one_of(names_of(ValueKind.INT), st.integers(-4, 4).map(str))
double_leaves = st.one_of(names_of(ValueKind.DOUBLE), quarters.map(repr))
bool_leaves = st.one_of(
    names_of(ValueKind.BOOL),
    st.sampled_from(["true", "false"]),
    st.sampled_from(list(FEATURES)).map("known({})".format),
)
ints = st.one_of(
    int_leaves,
    joined(["+", "-", "*", "/", "%"], int_leaves, int_leaves),
    double_leaves.map("int({})".format),
    int_leaves.map("-({})".format),
    st.builds("({} ? {} : {})".format, bool_leaves, int_leaves, int_leaves),
)
doubles = st.one_of(
    double_leaves,
    joined(["+", "-", "*"], double_leaves, double_leaves),
    joined(["/"], double_leaves, quarters.filter(bool).map(repr)),
    ints.map("double({})".format),
    st.builds("({} ? {} : {})".format, bool_leaves, double_leaves, double_leaves),
)
packs = names_of(ValueKind.ENUM)
pack_literals = st.sampled_from(PACKS).map(repr)
comparisons = ["==", "!=", "<", "<=", ">", ">="]
atoms = st.one_of(
    bool_leaves,
    joined(comparisons, ints, ints),
    joined(comparisons, doubles, doubles),
    joined(["==", "!="], packs, st.one_of(packs, pack_literals)),
    joined(["==", "!="], pack_literals, packs),
    st.builds("({} in [{}])".format, packs, st.lists(pack_literals, min_size=1, max_size=3).map(", ".join)),
    st.builds("({} in [{}])".format, ints, st.lists(st.integers(-4, 4).map(str), min_size=1).map(", ".join)),
)
booleans = st.recursive(
    atoms,
    lambda inner: st.one_of(
        joined(["&&", "||", "==", "!="], inner, inner),
        inner.map("!({})".format),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
    ),
    max_leaves=8,
)
VALUES = {
    ValueKind.INT: st.integers(-4, 4),
    ValueKind.DOUBLE: quarters,
    ValueKind.BOOL: st.booleans(),
    ValueKind.ENUM: st.sampled_from(PACKS),
}
# Mostly known: where everything is unknown, little can go wrong.
readings = st.builds(
    lambda known, unknown: {name: value for name, value in known.items() if name not in unknown},
    st.fixed_dictionaries({name: VALUES[kind] for name, kind in FEATURES.items()}),
    st.sets(st.sampled_from(list(FEATURES)), max_size=3),
)


def as_reading(name: str, values: dict[str, object]) -> float:
    value = values.get(name, math.nan)
    return float(PACKS.index(value)) if isinstance(value, str) else float(value)  # type: ignore[arg-type]


def assert_as_cel(text: str, values: dict[str, object]) -> None:
    code = lowered(text)
    ours = evaluate(code.ops, code.args, [as_reading(name, values) for name in FEATURES], [])
    theirs = cel_value(text, values)
    assert ours == theirs or (math.isnan(ours) and math.isnan(theirs))
    assert stack_depth(code.ops) <= STACK_DEPTH


@settings(max_examples=500, deadline=None)
@given(booleans, readings)
def test_conditions_mean_what_cel_means(text, values):
    assert_as_cel(text, values)


@settings(max_examples=300, deadline=None)
@given(st.one_of(atoms, ints, doubles), readings)
def test_arithmetic_and_comparisons_mean_what_cel_means(text, values):
    assert_as_cel(text, values)


def value_of(text: str, **known: float) -> float:
    code = lowered(text)
    return evaluate(code.ops, code.args, [known.get(name.split(".")[1], math.nan) for name in FEATURES], [])


def test_never_seen_is_longer_ago_than_any_time():
    assert value_of("member.d > 3.0", d=math.inf) == 1.0
    assert value_of("member.d <= 3.0", d=math.inf) == 0.0


def test_an_infinite_time_has_no_whole_number_of_days():
    assert math.isnan(value_of("int(member.d) > 3", d=math.inf))


def test_unknown_is_neither_true_nor_false_unless_the_other_side_decides():
    assert math.isnan(value_of("member.b"))
    assert math.isnan(value_of("!member.b"))
    assert value_of("member.b && false") == value_of("false && member.b") == 0.0
    assert value_of("member.b || true") == value_of("true || member.b") == 1.0
    assert math.isnan(value_of("member.b && true"))
    assert value_of("known(member.b)") == 0.0
    assert value_of("known(member.b)", b=0.0) == 1.0


def test_an_enum_value_is_its_index_in_its_own_list():
    code = lowered("member.pack == 'kids_world'")
    assert (code.ops, code.args) == ((Op.FEATURE, Op.CONST, Op.EQUAL), (6.0, 1.0, 0.0))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("member.pack == 'zoo'", "none of the declared values"),
        ("'a' == 'a'", "two fixed texts"),
        ("member.pack > 'a'", "no order"),
        ("member.pack < household.pack", "no order"),
        ("(member.b ? 'a' : 'b') == member.pack", "fixed text is chosen"),
        ("member.pack + 'x' == 'filmx'", "no order and no sum"),
        ("member.pack.startsWith('film')", "the function 'startsWith'"),
        ("member.pack.matches('(a+)+$')", "the function 'matches'"),
        ("size(member.pack) > 3", "the function 'size'"),
        ("[1, 2].all(x, x > 0)", "macro"),
        ("[1, 2].exists(x, x > 0)", "macro"),
        ("[1].map(x, [1].map(y, x)) == [[1]]", "macro"),
        ("{'a': 1}['a'] == 1", "the function '_[_]'"),
        ("{'a': true}.a", "part of a value"),
        ("[1] == [1]", "list stands alone"),
        ("member.i in [member.j]", "list of fixed values"),
        ("member.i in []", "empty list"),
        ("member.i == 9007199254740993", "too large"),
        ("dyn(member.i) == 1u", "the function 'dyn'"),
        ("duration('1h') > duration('1m')", "the function 'duration'"),
        ("timestamp('2020-01-01T00:00:00Z').getFullYear() > 2000", "the function 'getFullYear'"),
        ("double('1.5') > 1.0", "stands alone"),
        ("int(member.pack) > 1", "no number"),
        ("1e300 * 1e300 > member.d && 1e999 > 1.0", "infinite"),
        ("null == null", "no int, double, bool or string"),
        ("b'a' == b'a'", "no int, double, bool or string"),
        ("type(member.i) == int", "the function 'type'"),
    ],
)
def test_what_stack_code_cannot_say_is_refused(text, wrong):
    checked = CHECKER.check(text)
    if not isinstance(checked, Checked):
        pytest.fail(f"refused earlier: {checked}")
    with pytest.raises(CannotLower, match=wrong.replace("[", r"\[")):
        lower(checked.expression, meaning)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5_000 + "true" + ")" * 5_000,
        "!" * 3_000 + "true",
        "-" * 3_000 + "1 > 0",
        "[" * 1_000 + "]" * 1_000,
        "1" + "+1" * 1_500 + " > 0",
        "true" + " && true" * 450,
        "member.b ? " * 300 + "true" + " : false" * 300,
        "member.i in [" + ", ".join(map(str, range(700))) + "]",
        "'" + "a" * 10_000 + "' == 'a'",
        "member.pack in ['film_box'" + ", 'film_box'" * 300 + "]",
        "((" * 10 + "member.b in [true, false]" + ") in [true, false])" * 10,
        "\x00",
        "member.i > 0 // comment",
        "member.i >",
        "🙂",
        "" + "a." * 1_900 + "a",
    ],
    ids=lambda text: text[:20],
)
def test_an_attack_is_answered_never_crashes(text):
    checked = CHECKER.check(text)
    if isinstance(checked, Checked):
        try:
            code = lower(checked.expression, meaning)
        except CannotLower:
            return
        assert stack_depth(code.ops) <= STACK_DEPTH


def test_a_stack_deeper_than_the_kernels_is_refused():
    # Right-leaning sums need one place on the stack per operand; CEL itself stops at 32 levels of parentheses.
    text = "member.i"
    code = reference(Op.FEATURE, 0, ValueKind.INT)
    deep = Lowered(code.ops * 65 + (int(Op.ADD),) * 64, code.args * 65 + (0.0,) * 64, ValueKind.INT)
    checked = CHECKER.check(f"{text} > 0")
    assert isinstance(checked, Checked)
    with pytest.raises(CannotLower, match="nested too deeply"):
        lower(checked.expression, lambda name: deep)
