"""What becomes of those who are inside journeys when another version of the playbook comes into force, and of how many.

The same rules as household/journeys/changing.py and versions.py carry out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from household.plan import END, Flow, Journey, Plan, StepKind, WhenChanged
from household.plan.earlier import PINNING, meaning_of, with_earlier, without_earlier

_WORDS = {
    WhenChanged.PIN: "go on by the states that they have (pin)",
    WhenChanged.DRAIN: "go on by the states that they have, and nobody enters beside them (drain)",
    WhenChanged.RESTART: "begin anew (restart)",
}

ENDS = "end (VERSION)"
BY_NAME = "go on in the state of the same name"
STAYS = "go on by the states of an earlier version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Becoming:
    """What becomes of some instances of a journey."""

    journey: str
    what: str
    count: int


def becoming(before: Plan, after: Plan, running: Mapping[str, Mapping[str, int]]) -> Iterator[Becoming]:
    """Yield what becomes of running instances, journey by journey; nothing of journeys whose states mean the same.

    Args:
        before: in force, with the earlier states that it carries.
        after: as it is written.
        running: journey → state → how many.
    """
    carrying = with_earlier(after, before)[0]
    for name, counts in running.items():
        old, new = _of(before, name), _of(carrying, name)
        if old is None or old.flow is None or not counts:
            continue
        if new is not None and new.flow is not None and meaning_of(before, old) == meaning_of(carrying, new):
            continue
        found: dict[str, int] = {}
        for state, count in counts.items():
            what = ENDS if new is None or new.flow is None else _of_state(state, before, old, carrying, new)
            found[what] = found.get(what, 0) + count
        yield from (Becoming(journey=name, what=what, count=count) for what, count in found.items())


def _of_state(state: str, before: Plan, old: Journey, plan: Plan, new: Journey) -> str:
    flow, was = new.flow, meaning_of(before, old)
    assert flow is not None
    assert old.flow is not None
    name, _, version = state.partition("@")
    known = {step.name: step.kind for step in flow.steps}
    if version:
        own = version == meaning_of(without_earlier(plan), new)
        return BY_NAME if own else STAYS if state in known else ENDS
    if flow.changed in PINNING:
        return _WORDS[flow.changed] if f"{name}@{was}" in known else ENDS
    if flow.changed is WhenChanged.RESTART:
        return _WORDS[flow.changed]
    move = next((one for one in flow.moves if one.state in (name, name.removesuffix(".act"))), None)
    if move is not None:
        return ENDS if move.target == END else f"go from '{name}' to '{flow.steps[move.target].name}'"
    return BY_NAME if known.get(name) is _kinds(old.flow).get(name) and name in known else ENDS


def _kinds(flow: Flow) -> dict[str, StepKind]:
    return {step.name: step.kind for step in flow.steps}


def _of(plan: Plan, name: str) -> Journey | None:
    index = plan.journey_by_name.get(name)
    return None if index is None else plan.journeys[index]
