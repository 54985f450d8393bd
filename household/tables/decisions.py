"""The newest decisions of each household: where their records stand in the log."""

from dataclasses import dataclass

from household.tables.contract import Declaration, Digest, Number, Owner, Shape, Text

DECISIONS_KEPT = 20


@dataclass(slots=True)
class KnownDecision:
    """A decision that was folded. Replaced, never changed."""

    decision_id: Text
    offset: Number
    """Of its record: a position (household/relocation/positions.py)."""


DECISIONS = Declaration(
    name="decisions",
    row=KnownDecision,
    owner=Owner.HOUSEHOLD,
    is_read_soon=False,
    newest=DECISIONS_KEPT,
    digest=Digest(section="decisions", shape=Shape.LIST, told=lambda one, _: [one.decision_id, one.offset]),
)
