"""What there is to say of a playbook that compiles: warnings and information, each at its place."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from household.money import major_text
from household.plan import Offer, Plan
from playbooks.satisfiable import ConditionPiece, tree_of
from written.problems import Place, Problems
from written.yaml_tree import Node, Scalar, YamlMapping

NAMED_MAX = 3
"""Names in one sentence; more are counted."""


@dataclass(frozen=True, slots=True)
class Remarks:
    """What was found."""

    warnings: Problems = field(default_factory=Problems)
    information: Problems = field(default_factory=Problems)


@dataclass(frozen=True, slots=True)
class Written:
    """A playbook's tree, asked by keys for places and texts."""

    tree: YamlMapping

    def node(self, *keys: str) -> Node | None:
        """Return what stands under keys."""
        node: Node | None = self.tree
        for key in keys:
            entries = node.entries if isinstance(node, YamlMapping) else ()
            node = next((entry.value for entry in entries if entry.key == key), None)
        return node

    def place(self, *keys: str) -> Place:
        """Return where a key stands, or the nearest one around it that is written."""
        node: Node = self.tree
        place = node.place
        for key in keys:
            entries = node.entries if isinstance(node, YamlMapping) else ()
            found = next((entry for entry in entries if entry.key == key), None)
            if found is None:
                break
            node, place = found.value, found.place
        return place

    def text(self, *keys: str) -> str:
        """Return a value as it is written; empty if it is none."""
        node = self.node(*keys)
        return node.text if isinstance(node, Scalar) else ""


class Check:
    """One kind of question."""

    def __init__(self, plan: Plan, written: Written, key_by_offer: dict[int, str], remarks: Remarks) -> None:
        self.plan = plan
        self.written = written
        self.key_by_offer = key_by_offer
        self._remarks = remarks
        self._segment_by_code = {
            (program.ops, program.args): segment.name
            for segment in plan.segments
            for program in [plan.programs[segment.program]]
            if len(program.ops) > 1
        }

    def warn(self, wrong: str, right: str, *keys: str) -> None:
        """Say what is hardly meant, at the place of these keys."""
        self._remarks.warnings.add(self.written.place(*keys), wrong, right)

    def inform(self, wrong: str, right: str, *keys: str) -> None:
        """Say what is worth knowing."""
        self._remarks.information.add(self.written.place(*keys), wrong, right)

    def tree(self, program: int, *, of_segment: str = "") -> ConditionPiece:
        """Return a condition's tree, segments named in it."""
        code = self.plan.programs[program]
        names = {key: name for key, name in self._segment_by_code.items() if name != of_segment}
        return tree_of(code, names)

    def offers(self) -> Iterator[tuple[str, Offer]]:
        """Yield each offer with its key in the playbook."""
        for index, offer in enumerate(self.plan.offers):
            yield self.key_by_offer[index], offer

    def amount(self, minor: int) -> str:
        """Return an amount in the playbook's currency."""
        return major_text(minor, self.plan.currency)


def some(names: list[str]) -> str:
    """Return names for people, the first few of many.

    >>> some(["a", "b"]), some(["a", "b", "c", "d", "e"])
    ("'a', 'b'", "'a', 'b', 'c' and 2 more")
    """
    shown = ", ".join(f"'{name}'" for name in names[:NAMED_MAX])
    return f"{shown} and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else shown


def duration(duration_us: int) -> str:
    for unit, size_us in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        if duration_us % size_us == 0:
            return f"{duration_us // size_us}{unit}"
    return f"{duration_us // 1_000}ms"
