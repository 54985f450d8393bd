"""All graph events that a partition knows: what the graph is follows from the set of them."""

from dataclasses import dataclass

from household.graph.events import GraphKind
from household.tables.contract import Bytes, Declaration, Number, Owner, Plain, Text, TimeUs


@dataclass(slots=True)
class GraphEvent:
    """A graph event that was folded. Replaced, never changed."""

    key: Bytes
    """By which it is known: household, source and id, each behind its length."""
    kind: GraphKind
    time_us: TimeUs
    """From when on it held."""
    learned_us: TimeUs
    """`now` when it was folded. Shows in no digest: the graph does not depend on it."""
    identifier: Text
    subjects: Text
    """Separated by spaces."""
    household: Text
    other: Text
    cause: Text
    evidence: Text
    probability_ppm: Number


def _told(rows: list[GraphEvent]) -> Plain:
    unmerged = {one.cause for one in rows if one.kind is GraphKind.UNMERGE}
    told = [
        [
            one.key.hex(),
            one.kind.value,
            one.time_us,
            one.identifier,
            one.subjects,
            one.household,
            one.other,
            one.cause,
            one.evidence,
            one.probability_ppm,
        ]
        for one in rows
        if one.kind is not GraphKind.MERGE or one.cause not in unmerged  # as if it had never been said
    ]
    return {"graph_events": sorted(told)} if told else {}


GRAPH_EVENTS = Declaration(
    name="graph_events", row=GraphEvent, owner=Owner.PARTITION, key=("key",), partition_digest=_told
)
