"""What a journey declares of who is inside when this version of its states comes into force; and whether it can be so.

`changed: pin`, `drain` or `restart`, or `changed: {migrate: {waiting: patience, asked: {to: patience, rearm: true}}}`.
"""

from collections.abc import Callable

from household.plan import END, Flow, Journey, Plan, StateMove, StepKind, WhenChanged
from household.plan.earlier import PINNING, meaning_of, with_earlier
from playbooks.diagnostics import suggestion
from playbooks.reading import Reader, describe
from playbooks.remarks import Written, some
from written.problems import Place, Problems
from written.yaml_tree import Scalar, YamlMapping

KEY = "changed"

WORDS = (WhenChanged.PIN, WhenChanged.DRAIN, WhenChanged.RESTART)

RIGHT = "write pin, drain or restart, or 'migrate:' with where each state of the version before leads"

EARLIER_MOST = 8
"""Versions of one journey by which instances may go beside the one in force."""


def read_changed(
    journey: Reader, state_named: Callable[[str, Place], int], problems: Problems
) -> tuple[WhenChanged, tuple[StateMove, ...]]:
    """Read what becomes of who is inside; `state_named` finds a state of this version, or END."""
    if not journey.has(KEY):
        return WhenChanged.BY_NAME, ()
    node = journey.node(KEY)
    if isinstance(node, Scalar):
        if node.text in WORDS:
            return WhenChanged(node.text), ()
        problems.add(node.place, f"'{KEY}' of {journey.what} is {describe(node)}", RIGHT)
        return WhenChanged.BY_NAME, ()
    what = f"'{KEY}' of {journey.what}"
    reader = journey.reader(KEY, what)
    if reader is None:
        return WhenChanged.BY_NAME, ()
    moves = []
    for entry in reader.entries("migrate", named=False):
        target, rearms = END, False
        if isinstance(entry.value, YamlMapping):
            one = Reader(entry.value, f"'{entry.key}' in {what}", problems, place=entry.place)
            to = one.scalar("to", required=True)
            rearms = one.flag("rearm", default=False)
            one.finish()
            target = END if to is None else state_named(to.text, to.place)
        elif isinstance(entry.value, Scalar):
            target = state_named(entry.value.text, entry.value.place)
        else:
            problems.add(entry.place, f"'{entry.key}' in {what} is {describe(entry.value)}", "name a state, or 'end'")
        moves.append(StateMove(state=entry.key, target=target, rearms=rearms))
    if not moves:
        problems.add(journey.key_place(KEY), f"{what} migrates nobody", RIGHT)
    reader.finish()
    return WhenChanged.MIGRATE, tuple(moves)


def check_changes(plan: Plan, before: Plan, written: Written, problems: Problems) -> None:
    """Report of each journey what this version cannot do with who is inside under the one before."""
    _, not_carried = with_earlier(plan, before)
    lacking = {(one.journey, one.version): one.lacks for one in not_carried}
    for journey in plan.journeys:
        old = _of(before, journey)
        if old is None or old.flow is None or journey.flow is None:
            continue
        was = meaning_of(before, old)
        if was == meaning_of(plan, journey):
            continue
        what, place = f"journey '{journey.name}'", written.place("journeys", journey.name, KEY)
        if journey.flow.changed is WhenChanged.MIGRATE:
            _check_map(what, journey.flow, old.flow, journey.name, written, problems)
        if journey.flow.changed in PINNING and (lacks := lacking.get((journey.name, was))):
            wrong = f"{what} lets instances go on by states that refer to what is gone: {', '.join(lacks)}"
            right = "keep that for as long as they run, or write 'migrate:' or 'restart'"
            problems.add(place, wrong, right)
        if len(old.flow.earlier) >= EARLIER_MOST and journey.flow.changed in PINNING:
            wrong = f"{what} has instances of {len(old.flow.earlier)} earlier versions by now, and would have one more"
            problems.add(place, wrong, "let some come to their end first, or write 'migrate:' or 'restart'")


def _check_map(what: str, flow: Flow, old: Flow, name: str, written: Written, problems: Problems) -> None:
    states = dict.fromkeys(
        step.name.removesuffix(".act")
        for step in old.steps[: old.own_count]
        if step.kind in (StepKind.WAIT, StepKind.SLOT, StepKind.ACT)
    )
    keys = ("journeys", name, KEY, "migrate")
    known = {step.name for step in old.steps[: old.own_count]}
    missing = [one for one in states if all(move.state != one for move in flow.moves)]
    if missing:
        wrong = f"'migrate' of {what} does not say where instances go that are in {some(missing)}"
        problems.add(written.place(*keys), wrong, f"write '{missing[0]}: …' with a state of this version, or 'end'")
    for move in flow.moves:
        if move.state not in known:
            wrong = f"'migrate' of {what} names '{move.state}', and the version before has no such state"
            problems.add(written.place(*keys, move.state), wrong, suggestion(move.state, states, what="states"))


def _of(before: Plan, journey: Journey) -> Journey | None:
    index = before.journey_by_name.get(journey.name)
    return None if index is None else before.journeys[index]
