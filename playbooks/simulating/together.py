"""Which conditions of a plan may be true, and others not, at one instant; and why not, where they may not.

What is not understood is taken to be possible, as in playbooks/satisfiable.py: nothing is called unreachable wrongly.
"""

from dataclasses import dataclass, field

from household.columns.program import Op
from household.plan import NONE, Plan
from playbooks.satisfiable import ConditionPiece, Scene, contradiction, terms_of, tree_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposed:
    """What is to hold at an instant."""

    events: tuple[int, ...] = ()
    """Types of the event at hand."""
    true: tuple[int, ...] = ()
    """Programs of conditions that are to be true."""
    untrue: tuple[int, ...] = ()
    """And of those that are not: false, or not known."""


@dataclass(slots=True, kw_only=True)
class Together:
    """Tells what may hold together under one plan; what was asked before is known."""

    plan: Plan
    _segments: dict[tuple[tuple[int, ...], tuple[float, ...]], str] = field(init=False)
    _trees: dict[int, ConditionPiece] = field(init=False, default_factory=dict)
    _known: dict[Supposed, str | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Take note of what segments say, to call them by their names."""
        plan = self.plan
        self._segments = {
            (plan.programs[one.program].ops, plan.programs[one.program].args): one.name for one in plan.segments
        }

    def may_be(self, asked: Supposed) -> bool:
        """Return whether it is possible."""
        return self.why_not(asked) is None

    def why_not(self, asked: Supposed) -> str | None:
        """Return what speaks against it, for people; None where nothing does."""
        if asked not in self._known:
            self._known[asked] = self._looked_at(asked)
        return self._known[asked]

    def text(self, program: int, events: tuple[int, ...] = ()) -> str:
        """Return a condition as people would write it; "always" for none."""
        return "always" if program == NONE else Scene(self.plan, events).text(self._tree(program))

    def _looked_at(self, asked: Supposed) -> str | None:
        scene = Scene(self.plan, asked.events)
        if NONE in asked.untrue:
            return "something else holds then, always"
        true = [self._tree(one) for one in dict.fromkeys(asked.true) if one != NONE]
        known = {term for tree in true for term in terms_of(tree) if term.is_name}
        # What is not true may be unknown, unless all that it reads is known by what is true.
        false = [
            ConditionPiece(Op.NOT, 0.0, (tree,))
            for tree in (self._tree(one) for one in dict.fromkeys(asked.untrue))
            if known.issuperset(term for term in terms_of(tree) if term.is_name)
        ]
        whole = [*true, *false]
        if not whole:
            return None
        tree = whole[0]
        for one in whole[1:]:
            tree = ConditionPiece(Op.AND, 0.0, (tree, one))
        core = contradiction(scene, tree)
        if core is None:
            return None
        told = [scene.atom_text(atom) for atom in core]
        if not told:
            return f"{scene.text(tree)} is never true"
        if len(told) > 1:
            return f"{' and '.join(told)} do not go together"
        names = [term for term in terms_of(core[0][0]) if term.is_name]
        because = f": {scene.name_of(names[0])} {scene.range_of(names[0])}" if len(names) == 1 else ""
        return f"{told[0]} is never true{because}"

    def _tree(self, program: int) -> ConditionPiece:
        if program not in self._trees:
            self._trees[program] = tree_of(self.plan.programs[program], self._segments)
        return self._trees[program]
