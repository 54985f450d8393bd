"""Can a condition ever be true? Looked for in its lowered code, segments included, over what its names can be at all.

A condition is taken apart into ways to be true, each a list of comparisons that must all hold; a way that asks a name
to be in two places at once is none. Whatever is not understood is taken to be possible: nothing is blamed wrongly.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from household.columns.program import Op
from household.plan import Plan, Program
from playbooks import ranges
from playbooks.ranges import ANY, TRUTH, Range

WAYS_MAX = 512
"""A condition with more ways to be true is not looked through to the end."""

_SYMBOL = {
    Op.ADD: "+", Op.SUBTRACT: "-", Op.MULTIPLY: "*", Op.DIVIDE: "/", Op.DIVIDE_INT: "/", Op.MODULO_INT: "%",
    Op.EQUAL: "==", Op.NOT_EQUAL: "!=", Op.LESS: "<", Op.LESS_EQUAL: "<=", Op.GREATER: ">", Op.GREATER_EQUAL: ">=",
    Op.AND: "&&", Op.OR: "||",
}  # fmt: skip

_OPPOSITE = {
    Op.EQUAL: Op.NOT_EQUAL, Op.NOT_EQUAL: Op.EQUAL, Op.LESS: Op.GREATER_EQUAL, Op.GREATER_EQUAL: Op.LESS,
    Op.GREATER: Op.LESS_EQUAL, Op.LESS_EQUAL: Op.GREATER,
}  # fmt: skip
"""What holds where a comparison of known values does not."""

_MIRRORED = {
    Op.EQUAL: Op.EQUAL, Op.NOT_EQUAL: Op.NOT_EQUAL, Op.LESS: Op.GREATER, Op.GREATER: Op.LESS,
    Op.LESS_EQUAL: Op.GREATER_EQUAL, Op.GREATER_EQUAL: Op.LESS_EQUAL,
}  # fmt: skip
"""The same comparison, its sides exchanged."""


@dataclass(frozen=True, slots=True)
class ConditionPiece:
    """A piece of a condition as a tree. Two of the same meaning are equal."""

    op: Op
    arg: float
    parts: tuple["ConditionPiece", ...] = ()
    segment: str = field(default="", compare=False)
    """Name of the segment whose text this is."""

    @property
    def is_name(self) -> bool:
        """Whether it is a feature or a field."""
        return self.op in (Op.FEATURE, Op.FIELD)


Atom = tuple[ConditionPiece, bool]
"""A term without `&&`, `||` and `!`, and whether it is to be true or false."""

Conjunction = tuple[Atom, ...]


def tree_of(
    program: Program, segment_by_code: Mapping[tuple[tuple[int, ...], tuple[float, ...]], str]
) -> ConditionPiece:
    """Return the tree of a lowered condition."""
    stack: list[tuple[ConditionPiece, int]] = []
    for at, (number, arg) in enumerate(zip(program.ops, program.args, strict=True)):
        op = Op(number)
        if op in (Op.SKIP_IF_FALSE, Op.SKIP_IF_TRUE):
            continue
        count = 0 if op in (Op.CONST, Op.FEATURE, Op.FIELD) else 3 if op is Op.SELECT else 2
        count = 1 if op in (Op.NOT, Op.NEGATE, Op.TRUNCATE, Op.IS_KNOWN) else count
        operands = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        start = operands[0][1] if operands else at
        name = segment_by_code.get((program.ops[start : at + 1], program.args[start : at + 1]), "")
        stack.append((ConditionPiece(op, arg, tuple(term for term, _ in operands), name), start))
    ((whole, _),) = stack
    return whole


def terms_of(term: ConditionPiece) -> Iterator[ConditionPiece]:
    """Yield a term and all within it."""
    yield term
    for part in term.parts:
        yield from terms_of(part)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a condition is about."""

    plan: Plan
    events: tuple[int, ...] = ()
    """Types of the event at hand."""

    def range_of(self, term: ConditionPiece) -> Range:
        """Return what a name can be."""
        if term.op is Op.FEATURE:
            return ranges.of_feature(self.plan, self.plan.features[int(term.arg)])
        return ranges.of_field(self.plan, int(term.arg), self.events)

    def name_of(self, term: ConditionPiece) -> str:
        """Return a name as it is written."""
        if term.op is Op.FEATURE:
            return self.plan.features[int(term.arg)].name
        return f"event.{self.plan.fields[int(term.arg)].name}"

    def text(self, term: ConditionPiece) -> str:
        """Return a term as people would write it."""
        if term.segment:
            return f"segment.{term.segment}"
        if term.is_name:
            return self.name_of(term)
        match term.op:
            case Op.CONST:
                return f"{term.arg:g}"
            case Op.NOT:
                return f"!{self._inner(term.parts[0])}"
            case Op.NEGATE:
                return f"-{self._inner(term.parts[0])}"
            case Op.TRUNCATE | Op.IS_KNOWN:
                return f"{'known' if term.op is Op.IS_KNOWN else 'int'}({self.text(term.parts[0])})"
            case Op.SELECT:
                condition, then, otherwise = (self._inner(part) for part in term.parts)
                return f"{condition} ? {then} : {otherwise}"
            case _:
                left, right = term.parts
                return f"{self._side(left, right)} {_SYMBOL[term.op]} {self._side(right, left)}"

    def _inner(self, term: ConditionPiece) -> str:
        text = self.text(term)
        return f"({text})" if len(term.parts) > 1 and not term.segment else text

    def _side(self, term: ConditionPiece, other: ConditionPiece) -> str:
        values = self._values(other)
        if term.op is Op.CONST and values is not None and 0 <= term.arg < len(values):
            return f"'{values[int(term.arg)]}'"
        return self._inner(term) if term.op in (Op.AND, Op.OR, Op.SELECT) else self.text(term)

    def _values(self, term: ConditionPiece) -> tuple[str, ...] | None:
        if not term.is_name:
            return None
        index = int(term.arg)
        return (self.plan.features[index].values if term.op is Op.FEATURE else self.plan.fields[index].values) or None

    def atom_text(self, atom: Atom) -> str:
        """Return what is asked."""
        term, wanted = atom
        if wanted:
            return self.text(term)
        if term.op in _OPPOSITE and not term.segment:
            return self.text(ConditionPiece(_OPPOSITE[term.op], 0.0, term.parts))
        return self.text(ConditionPiece(Op.NOT, 0.0, (term,)))


def ways_of(term: ConditionPiece, wanted: bool) -> list[Conjunction] | None:
    """Return all ways in which a term is true, or false; None if there are too many."""
    match term.op:
        case Op.NOT:
            return ways_of(term.parts[0], not wanted)
        case Op.CONST:
            return [()] if (term.arg == 1.0) == wanted else []
        case Op.AND | Op.OR:
            ways = [ways_of(part, wanted) for part in term.parts]
            return _all_of(ways) if (term.op is Op.AND) == wanted else _one_of(ways)
        case Op.EQUAL | Op.NOT_EQUAL if _is_truth(term.parts[0]) and term.parts[1].op is Op.CONST:
            is_same = (term.op is Op.EQUAL) == wanted
            return ways_of(term.parts[0], (term.parts[1].arg == 1.0) == is_same)
        case Op.SELECT:
            condition, then, otherwise = term.parts
            chosen = _all_of([ways_of(condition, True), ways_of(then, wanted)])
            return _one_of([chosen, _all_of([ways_of(condition, False), ways_of(otherwise, wanted)])])
        case _:
            return [((term, wanted),)]


def _is_truth(term: ConditionPiece) -> bool:
    """Return whether a term is certainly true or false, and no number."""
    return term.op in _OPPOSITE or term.op in (Op.AND, Op.OR, Op.NOT, Op.IS_KNOWN)


def _all_of(each: list[list[Conjunction] | None]) -> list[Conjunction] | None:
    found = [ways for ways in each if ways is not None]
    if len(found) < len(each) or math.prod(len(ways) for ways in found) > WAYS_MAX:
        # What is not possible at all stays so, however many ways the rest has.
        return [] if any(not ways for ways in found) else None
    return [tuple(itertools.chain(*chosen)) for chosen in itertools.product(*found)]


def _one_of(each: list[list[Conjunction] | None]) -> list[Conjunction] | None:
    if any(ways is None for ways in each):
        return None
    return list(itertools.chain(*(ways for ways in each if ways is not None)))


def contradiction(scene: Scene, term: ConditionPiece, *, wanted: bool = True) -> tuple[Atom, ...] | None:
    """Return what cannot hold together when a term is to be true (or false); None if it may be, () if it never is."""
    ways = ways_of(term, wanted)
    if ways is None:
        return None
    shortest: tuple[Atom, ...] | None = ()
    for number, way in enumerate(ways):
        if not _is_impossible(scene, way):
            return None
        core = _core(scene, way)
        shortest = core if number == 0 or len(core) < len(shortest or ()) else shortest
    return shortest


def _core(scene: Scene, way: Conjunction) -> Conjunction:
    """Return the least of a way that is impossible already."""
    kept = list(dict.fromkeys(way))
    for atom in list(kept):
        fewer = [one for one in kept if one != atom]
        if fewer and _is_impossible(scene, tuple(fewer)):
            kept = fewer
    return tuple(kept)


def _is_impossible(scene: Scene, way: Conjunction) -> bool:
    world = _World(scene)
    asked = [compared for compared in map(_compared, way) if compared is not None]
    # Twice: the second time what the names are left with counts in sums and differences of them.
    return any(not world.narrow(*compared) for compared in asked + asked) or world.is_torn(way)


def _compared(atom: Atom) -> tuple[ConditionPiece, Op, ConditionPiece] | None:
    """Return an atom as left op right; None for what is no comparison."""
    term, wanted = atom
    if term.op in _OPPOSITE:
        left, right = term.parts
        return left, term.op if wanted else _OPPOSITE[term.op], right
    if term.op is Op.IS_KNOWN:
        return None
    return term, Op.EQUAL, ConditionPiece(Op.CONST, float(wanted))


class _World:
    """What each term may still be, as one comparison after another is to hold."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._left: dict[ConditionPiece, Range] = {}

    def range_of(self, term: ConditionPiece) -> Range:
        """Return what a term may be."""
        found = self._evaluated(term)
        return found.meet(self._left[term]) if term in self._left else found

    def narrow(self, left: ConditionPiece, op: Op, right: ConditionPiece) -> bool:
        """Let a comparison hold; False if it cannot."""
        if self.range_of(right).point is None and self.range_of(left).point is not None:
            left, op, right = right, _MIRRORED[op], left
        bound = self.range_of(right)
        if bound.point is None:
            # Two that vary: what their difference may be.
            if repr(left) > repr(right):
                left, op, right = right, _MIRRORED[op], left
            if left == right:
                return op in (Op.EQUAL, Op.LESS_EQUAL, Op.GREATER_EQUAL)
            left, bound = ConditionPiece(Op.SUBTRACT, 0.0, (left, right)), Range(least=0.0, most=0.0)
        number = bound.least
        before = self.range_of(left)
        match op:
            case Op.EQUAL:
                after = before.above(number, is_out=False).below(number, is_out=False)
            case Op.NOT_EQUAL:
                after = before.without(number)
            case Op.LESS | Op.LESS_EQUAL:
                after = before.below(number, is_out=op is Op.LESS)
            case _:
                after = before.above(number, is_out=op is Op.GREATER)
        self._left[left] = after
        return not after.is_empty

    def is_torn(self, way: Conjunction) -> bool:
        """Return whether a name is to be unknown, and yet to be something."""
        known = {term: wanted for term, wanted in way if term.op is Op.IS_KNOWN and term.parts[0].is_name}
        if any(known.get(term, wanted) != wanted for term, wanted in way):
            return True
        unknown = {term.parts[0] for term, wanted in known.items() if not wanted}
        sides = [side for atom in way for compared in [_compared(atom)] if compared for side in compared[::2]]
        return any(side in unknown for side in sides)

    def _evaluated(self, term: ConditionPiece) -> Range:
        if term.op is Op.CONST:
            return Range(least=term.arg, most=term.arg, is_whole=term.arg.is_integer())
        if term.is_name:
            return self._scene.range_of(term)
        parts = [self.range_of(part) for part in term.parts]
        is_same = len(term.parts) == 2 and term.parts[0] == term.parts[1]
        match term.op:
            case Op.SUBTRACT if is_same:
                return Range(least=0.0, most=0.0, is_whole=True)
            case Op.MULTIPLY if is_same:
                return _over(parts, lambda a, b: a * b, is_whole=_whole(parts)).meet(ranges.AT_LEAST_ZERO)
            case Op.NEGATE:
                return Range(least=-parts[0].most, most=-parts[0].least, is_whole=parts[0].is_whole)
            case Op.ADD:
                return _over(parts, lambda a, b: a + b, is_whole=_whole(parts))
            case Op.SUBTRACT:
                return _over(parts, lambda a, b: a - b, is_whole=_whole(parts))
            case Op.MULTIPLY:
                return _over(parts, lambda a, b: a * b, is_whole=_whole(parts))
            case Op.DIVIDE if parts[1].point:
                return _over(parts, lambda a, b: a / b, is_whole=False)
            case Op.DIVIDE_INT if parts[1].point:
                return _truncated(_over(parts, lambda a, b: a / b, is_whole=False))
            case Op.MODULO_INT if parts[1].point:
                return _remainder(parts[0], abs(parts[1].least))
            case Op.TRUNCATE:
                return _truncated(parts[0])
            case Op.SELECT:
                return ranges.joined(parts[1:])
            case Op.DIVIDE | Op.DIVIDE_INT | Op.MODULO_INT:
                return ANY
            case _:
                return TRUTH


def _whole(parts: list[Range]) -> bool:
    return all(one.is_whole for one in parts)


def _truncated(whole: Range) -> Range:
    return Range(
        least=math.trunc(whole.least) if math.isfinite(whole.least) else whole.least,
        most=math.trunc(whole.most) if math.isfinite(whole.most) else whole.most,
        is_whole=True,
    )


def _remainder(divided: Range, divisor: float) -> Range:
    """Return what may be left of a division: less than the divisor, and of the sign of the dividend."""
    return Range(
        least=max(divided.least, 1.0 - divisor) if divided.least < 0.0 else 0.0,
        most=min(divided.most, divisor - 1.0) if divided.most > 0.0 else 0.0,
        is_whole=True,
    )


def _over(parts: list[Range], apply: Callable[[float, float], float], *, is_whole: bool) -> Range:
    """Return what an operation that is monotone in each operand gives, its ends included."""
    first, second = parts[0], parts[1]
    corners = [apply(a, b) for a in (first.least, first.most) for b in (second.least, second.most)]
    if any(math.isnan(corner) for corner in corners):
        return ANY
    return Range(least=min(corners), most=max(corners), is_whole=is_whole)
