"""Who belongs to a household, as the public messages tell it: ids, subjects, identifiers, quarantine."""

from hearth.internal.v1 import shard_pb2
from hearth.v1 import household_pb2
from household.graph.events import CERTAIN, GraphKind
from household.graph.identifiers import is_subject, masked, own_name
from household.graph.membership import Household, Quarantined
from household.graph.naming import ITSELF
from household.graph.timeline import Timeline
from household.state import NO_MEMBER, PartitionState
from household.tables.graph_events import GraphEvent

QUARANTINED_DEFAULT = 100


def tell(
    answer: household_pb2.GetResponse, state: PartitionState, row: int, *, identifier: str, is_whole: bool
) -> None:
    """Say in an answer to Get who belongs to the household of a row.

    Args:
        answer: added to.
        state: as of now.
        row: any of the household's.
        identifier: by which it was asked for; empty for none.
        is_whole: identifiers are shown whole.
    """
    text = state.households.key(row).decode(errors="backslashreplace")
    answer.household, answer.orphan = text, text == identifier and not is_subject(identifier)
    graph = state.graph
    if not graph:
        return
    household = graph.household_of(text)
    answer.household = shown(state, household, is_whole=is_whole)
    answer.orphan = bool(graph.names_identifier(household)) or (answer.orphan and household == identifier)
    found = graph.membership.households.get(household)
    if found is None:
        return
    answer.aliases.extend(shown(state, one, is_whole=is_whole) for one in sorted(found.ids - {household}))
    for subject in sorted(found.subjects):
        answer.subjects.append(_subject(state, subject, is_whole=is_whole))
    if found.closed_us is not None:
        answer.closed_at.FromMicroseconds(found.closed_us)
    answer.quarantine.extend(
        _quarantined(state, key, one, answer.partition)
        for key, one in graph.membership.quarantined.items()
        if _is_about(state, one, found)
    )


def reached(state: PartitionState, row: int, member: int) -> tuple[str, str]:
    """Return by which names, of household and member, those are reached whose rows these are: a subject by its own."""
    household = state.households.key(row).decode(errors="backslashreplace")
    name = "" if member == NO_MEMBER else state.members.key(member).decode(errors="backslashreplace")
    subject = state.graph.subject_of(household) if state.graph else ""
    if name == ITSELF.decode():
        return (subject, own_name(subject)) if subject else (household, "")
    return household, name


def _subject(state: PartitionState, subject: str, *, is_whole: bool) -> household_pb2.Subject:
    membership = state.graph.membership
    told = household_pb2.Subject(name=subject)
    found = []
    for identifier in membership.held.get(subject, ()):
        timeline = membership.timelines.get(identifier)
        if timeline is not None:
            found += _holdings(identifier, timeline, subject, is_whole=is_whole)
    told.identifiers.extend(sorted(found, key=lambda one: (getattr(one, "from").ToMicroseconds(), one.identifier)))
    return told


def _holdings(identifier: str, timeline: Timeline, subject: str, *, is_whole: bool) -> list[household_pb2.Identifier]:
    shown = identifier if is_whole else masked(identifier)
    found = []
    for holding in timeline.holdings:
        if holding.subject == subject:
            told = household_pb2.Identifier(identifier=shown, probability=1.0)
            getattr(told, "from").FromMicroseconds(holding.from_us)
            if holding.to_us is not None:
                told.until.FromMicroseconds(holding.to_us)
            found.append(told)
    for time_us, inferred, probability_ppm in timeline.inferred:
        if inferred == subject:
            told = household_pb2.Identifier(identifier=shown, probability=probability_ppm / CERTAIN)
            getattr(told, "from").FromMicroseconds(time_us)
            found.append(told)
    return found


def shown(state: PartitionState, name: str, *, is_whole: bool = False) -> str:
    """Return a name as people see it: what is, or comes of, an identifier is masked."""
    if not state.graph:
        return name
    identifier = state.graph.names_identifier(name)
    return name if is_whole or not identifier else masked(identifier) + name.removeprefix(identifier)


def _is_about(state: PartitionState, one: Quarantined, household: Household) -> bool:
    return any(name in household.ids or name in household.subjects for name in one.about)


def _quarantined(state: PartitionState, key: bytes, one: Quarantined, partition: int) -> household_pb2.Quarantined:
    told = household_pb2.Quarantined(
        cause=one.cause,
        kind=one.kind.value,
        about=[shown(state, name) for name in one.about],
        why=one.why,
        evidence=state.graph.membership.events[key].evidence,
        partition=partition,
    )
    told.time.FromMicroseconds(one.time_us)
    return told


def answer(state: PartitionState, question: shard_pb2.GraphQuestion, partition: int) -> shard_pb2.GraphAnswer:
    """Return what the graph of a partition says."""
    told = shard_pb2.GraphAnswer()
    told.as_of.FromMicroseconds(max(state.now_us, 0))
    graph = state.graph
    for household in question.households:
        key, _ = graph.whom(household.encode(), b"", "", state.now_us)
        if state.find(key)[0] >= 0:
            is_of_graph = bool(graph) and graph.is_of_graph(key)
            named = key.decode(errors="surrogateescape") if is_of_graph else household
            told.standing[household] = graph.household_of(named) if graph else household
    if not graph:
        return told
    membership = graph.membership
    aside = sorted(
        (
            (key, one)
            for key, one in membership.quarantined.items()
            if not question.cause or one.cause == question.cause
        ),
        key=lambda found: (-found[1].time_us, found[0]),
    )
    told.quarantined_total = len(aside)
    newest = aside[: question.limit or QUARANTINED_DEFAULT]
    told.quarantine.extend(_quarantined(state, key, one, partition) for key, one in newest)
    if question.cause:
        told.quarantined_about = next((_lies_by(membership.events[key]) for key, _ in aside), "")
        merges = (one for one in membership.of_cause(question.cause) if one.kind is GraphKind.MERGE)
        told.merge_about = next(map(_lies_by, merges), "")
    return told


def _lies_by(event: GraphEvent) -> str:
    """Return a name that an event speaks of: where that lies, it lies."""
    return event.identifier or event.household or event.subjects
