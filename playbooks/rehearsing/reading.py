"""Reading files of rehearsals: each mistake with its place, as in a playbook."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from household.events import ACTION_OUTCOMES
from household.local_time import instant_of
from household.plan import Experiment, Plan
from household.plan.experiments import CONTROL, TREATED
from playbooks.diagnostics import suggestion
from playbooks.reading import Reader, check_name, describe
from playbooks.rehearsing.expectations import read_expectation
from playbooks.rehearsing.fields import read_values
from playbooks.rehearsing.naming import MEMBERS, ScriptNames, channel_of, journey_of, member_of, offer_of, when_of
from playbooks.rehearsing.script import (
    Base,
    Expectation,
    GatewayManner,
    Question,
    Rehearsal,
    Repeat,
    Reply,
    Signal,
    Variant,
    When,
)
from playbooks.rehearsing.times import duration_us, read_when
from written.problems import Problems
from written.yaml_tree import Entry, Listing, Node, Nothing, Scalar, YamlMapping, parse

GROUPS_FILE = "groups.yaml"
"""Beside a file of rehearsals: groups of steps that all files of the folder may use."""

KINDS = ("signal", "again", "ask", "reply", "expect", "group")
"""Of a step: it has one of them, or `at` alone."""

DEPTH_MAX = 8
STEPS_MAX = 5_000
TIMES_MAX = 1_000
DEFAULT_START = When(base=Base.DAY, ordinal=739_418, minute=600)
"""Monday, 2025-06-16, ten in the morning."""


def read_rehearsals(path: Path, plan: Plan, problems: Problems, *, name: str = "") -> tuple[Rehearsal, ...]:
    """Return the rehearsals of a file; what is wrong with it is added to `problems`.

    Args:
        path: of the file.
        plan: of the playbook that they are about.
        problems: where mistakes are noted.
        name: what messages call the file; its path unless given.
    """
    top = _top(path, name or str(path), problems)
    if top is None:
        return ()
    groups = {entry.key: entry.value for entry in top.entries("groups")}
    beside = path.parent / GROUPS_FILE
    if path.name != GROUPS_FILE and beside.is_file():
        shared = _top(beside, str(Path(name or str(path)).parent / GROUPS_FILE), problems)
        if shared is not None:
            groups = {entry.key: entry.value for entry in shared.entries("groups")} | groups
    journey = journey_of(top, plan)
    start_us = _start(top, plan)
    found = []
    for entry in top.entries("tests"):
        for one, suffix in _made_each(entry, problems):
            found.append(_rehearsal(one, suffix, plan, groups, journey, start_us, problems))
    top.finish()
    return tuple(found)


def _top(path: Path, name: str, problems: Problems) -> Reader | None:
    tree = parse(path.read_bytes(), name, problems, example="tests:")
    if tree is None:
        return None
    reader = Reader(tree, f"the file {path.name}", problems)
    return reader if isinstance(tree, YamlMapping) else None


def _start(reader: Reader, plan: Plan) -> int:
    scalar = reader.scalar("start")
    when = DEFAULT_START
    if scalar is not None:
        read = read_when(scalar.text)
        if read is None or read.base is not Base.DAY:
            wrong = f"'start' of {reader.what} is {describe(scalar)}"
            reader.problems.add(scalar.place, wrong, "write a day and a time: '2026-03-02 10:00'")
        else:
            when = read
    return instant_of(plan.policy.time_zone, when.ordinal, when.minute)


# --- one written, several meant ---------------------------------------------------------------------------------------


def _made_each(entry: Entry, problems: Problems) -> Iterator[tuple[Entry, str]]:
    """Yield a rehearsal once for each mapping of its `for_each`, whose words stand in its braces."""
    node = entry.value
    each = next((one for one in node.entries if one.key == "for_each"), None) if isinstance(node, YamlMapping) else None
    if each is None or not isinstance(node, YamlMapping):
        yield entry, ""
        return
    rest = replace(node, entries=tuple(one for one in node.entries if one is not each))
    if not isinstance(each.value, Listing):
        problems.add(
            each.place, f"'for_each' of test '{entry.key}' is {describe(each.value)}", "write a list: [{…}, {…}]"
        )
        return
    for item in each.value.items:
        if not isinstance(item, YamlMapping) or not all(isinstance(one.value, Scalar) for one in item.entries):
            problems.add(item.place, f"'for_each' of test '{entry.key}' lists {describe(item)}", "write {name: value}")
            continue
        words = {one.key: one.value.text for one in item.entries if isinstance(one.value, Scalar)}
        suffix = "[" + ", ".join(f"{key}={word}" for key, word in words.items()) + "]"
        yield replace(entry, value=_filled(rest, words)), suffix


def _filled(node: Node, words: dict[str, str]) -> Node:
    match node:
        case Scalar():
            text = node.text
            for key, word in words.items():
                text = text.replace(f"{{{key}}}", word)
            return replace(node, text=text)
        case Listing():
            return replace(node, items=tuple(_filled(one, words) for one in node.items))
        case YamlMapping():
            return replace(node, entries=tuple(replace(one, value=_filled(one.value, words)) for one in node.entries))
        case Nothing():
            return node


# --- one rehearsal ----------------------------------------------------------------------------------------------------


def _rehearsal(
    entry: Entry,
    suffix: str,
    plan: Plan,
    groups: dict[str, Node],
    journey: str,
    start_us: int,
    problems: Problems,
) -> Rehearsal:
    check_name(entry.key, entry.place, problems)
    reader = Reader(entry.value, f"test '{entry.key}'", problems, place=entry.place)
    own = journey_of(reader, plan) if reader.has("journey") else journey
    members = tuple(name.text for name in reader.names("members")) or MEMBERS
    setting = ScriptNames(plan=plan, problems=problems, groups=groups, journey=own, members=members)
    arm = _arm(reader, plan, own)
    gateways = _gateways(reader, plan)
    also = tuple(variant for name in reader.names("also") if (variant := _variant(name, reader, problems)) is not None)
    node = reader.node("steps", required=True)
    if node is not None:
        _read_steps(node, reader.what, setting, depth=0)
    made = Rehearsal(
        name=entry.key + suffix,
        place=entry.place,
        title=reader.text("title"),
        journey=own,
        members=members,
        arm=arm,
        start_us=_start(reader, plan) if reader.has("start") else start_us,
        gateways=gateways,
        also=also,
        steps=tuple(setting.steps),
    )
    if node is not None and not any(isinstance(one, Expectation) and (one.looks or one.known) for one in made.steps):
        problems.add(entry.place, f"{reader.what} expects nothing", "write what is to come of it: '- expect: …'")
    reader.finish()
    return made


def _variant(name: Scalar, reader: Reader, problems: Problems) -> Variant | None:
    known = [one.value for one in Variant]
    if name.text in known:
        return Variant(name.text)
    right = suggestion(name.text, known, what="variants")
    problems.add(name.place, f"'also' of {reader.what} lists '{name.text}'", right)
    return None


def experiments_about(plan: Plan, journey: str) -> tuple[Experiment, ...]:
    """Return the experiments whose arms a rehearsal of a journey names: those of that journey alone."""
    index = plan.journey_by_name.get(journey, -1)
    return tuple(one for one in plan.all_experiments if one.journeys == (index,))


def _arm(reader: Reader, plan: Plan, journey: str) -> str:
    scalar = reader.scalar("arm")
    if scalar is None or scalar.text == TREATED:
        return TREATED
    known = {arm.name for one in experiments_about(plan, journey) for arm in one.arms} | {TREATED}
    if scalar.text not in known:
        whose = f"journey '{journey}'" if journey else "no journey"
        right = suggestion(scalar.text, known, what="arms")
        if not journey and scalar.text == CONTROL:
            right = "name the journey whose control group is meant: 'journey: …'"
        reader.problems.add(scalar.place, f"{whose} has no arm '{scalar.text}'", right)
        return TREATED
    return scalar.text


def _gateways(reader: Reader, plan: Plan) -> dict[str, GatewayManner]:
    found = {}
    outbound = [one.name for one in plan.channels if one.outbound]
    inner = reader.reader("gateways", f"'gateways' of {reader.what}")
    for entry in reader.entries("gateways") if inner is not None else ():
        assert inner is not None
        does = inner.choice(entry.key, GatewayManner)
        if entry.key not in outbound:
            right = suggestion(entry.key, outbound, what="outbound channels")
            reader.problems.add(entry.place, f"'{entry.key}' is no outbound channel", right)
        elif does is not None:
            found[entry.key] = does
    return found


# --- steps ------------------------------------------------------------------------------------------------------------


def _read_steps(node: Node, what: str, setting: ScriptNames, *, depth: int) -> None:
    problems = setting.problems
    if not isinstance(node, Listing):
        problems.add(node.place, f"the steps of {what} are {describe(node)}", "write a list: '- signal: …'")
        return
    for item in node.items:
        if len(setting.steps) >= STEPS_MAX:
            problems.add(item.place, f"{what} has more than {STEPS_MAX} steps", "divide it")
            return
        if isinstance(item, Scalar) and item.text in setting.groups:
            _group(item, setting, depth)
            continue
        reader = Reader(item, f"a step of {what}", problems)
        kinds = [kind for kind in KINDS if reader.has(kind)]
        if len(kinds) > 1 or (not kinds and not reader.has("at")):
            has = " and ".join(f"'{one}'" for one in kinds) if kinds else "none of " + ", ".join(KINDS)
            if isinstance(item, YamlMapping):
                problems.add(item.place, f"a step of {what} has {has}", "write one of them for each step")
            continue
        at = when_of(reader)
        match kinds[0] if kinds else "":
            case "signal":
                setting.steps.append(_signal(reader, at, setting))
            case "again":
                _again(reader, at, setting)
            case "ask":
                _question(reader, at, setting)
            case "reply":
                _reply(reader, at, setting)
            case "expect":
                setting.steps.append(read_expectation(reader, at, setting))
            case "group":
                name = reader.scalar("group")
                setting.steps.append(Expectation(place=item.place, at=at))
                if name is not None:
                    _group(name, setting, depth)
            case _:
                setting.steps.append(Expectation(place=item.place, at=at))
        reader.finish()


def _group(name: Scalar, setting: ScriptNames, depth: int) -> None:
    group = setting.groups.get(name.text)
    if group is None:
        right = suggestion(name.text, setting.groups, what="groups")
        setting.problems.add(name.place, f"group '{name.text}' is not defined", right)
    elif depth >= DEPTH_MAX:
        setting.problems.add(name.place, f"groups within groups, more than {DEPTH_MAX} deep", "one holds itself?")
    else:
        _read_steps(group, f"group '{name.text}'", setting, depth=depth + 1)


def _duration(reader: Reader, key: str) -> int:
    scalar = reader.scalar(key)
    length_us = duration_us(scalar.text) if scalar is not None else 0
    if length_us is None and scalar is not None:
        wrong = f"'{key}' of {reader.what} is {describe(scalar)}"
        reader.problems.add(scalar.place, wrong, "write a number and a unit, such as 10m, 7d or 1us")
    return length_us or 0


def _signal(reader: Reader, at: When, setting: ScriptNames, key: str = "signal") -> Signal:
    plan, problems = setting.plan, setting.problems
    name = reader.scalar(key, required=True)
    kind = plan.event_type_by_name.get(name.text, -1) if name is not None else -1
    if name is not None and (kind < 0 or plan.event_types[kind].source == "hearth"):
        known = [one.name for one in plan.event_types if one.source != "hearth"]
        right = suggestion(name.text, known, what="event types")
        if kind >= 0:
            right = f"gateways tell of that: write 'reply: {name.text.partition('.')[2]}'"
        problems.add(name.place, f"event type '{name.text}' is no signal's", right)
        kind = -1
    written = reader.reader("with", f"'with' of {reader.what}")
    values = read_values(plan, kind, written, reader.place, problems) if kind >= 0 else ()
    if kind < 0 and written is not None:
        reader.has("with")
    return Signal(
        place=reader.place,
        at=at,
        kind=max(kind, 0),
        member=member_of(reader, setting),
        values=values,
        ago_us=_duration(reader, "ago"),
        times=reader.whole("times", 1, least=1, most=TIMES_MAX),
        every_us=_duration(reader, "every"),
        name=reader.text("id"),
    )


def _again(reader: Reader, at: When, setting: ScriptNames) -> None:
    name = reader.scalar("again")
    if name is None:
        return
    known = {one.name for one in setting.steps if isinstance(one, Signal) and one.name}
    if name.text not in known:
        right = suggestion(name.text, known, what="signals with an 'id'") if known else "give that signal an 'id'"
        setting.problems.add(name.place, f"no signal before has the id '{name.text}'", right)
        return
    setting.steps.append(Repeat(place=reader.place, at=at, name=name.text))


def _question(reader: Reader, at: When, setting: ScriptNames) -> None:
    channel = channel_of(reader, "ask", setting)
    carries = None
    if reader.has("carrying"):
        inner = reader.reader("carrying", f"'carrying' of {reader.what}")
        if inner is not None:
            carries = _signal(inner, When(), setting)
            inner.finish()
    member = member_of(reader, setting)
    if channel is None:
        return
    index = setting.plan.channel_by_name[channel.text]
    if not setting.plan.channels[index].inbound:
        known = ", ".join(one.name for one in setting.plan.channels if one.inbound)
        setting.problems.add(channel.place, f"nobody asks on '{channel.text}'", f"the inbound channels are {known}")
        return
    setting.steps.append(Question(place=reader.place, at=at, channel=index, member=member, carries=carries))


def _reply(reader: Reader, at: When, setting: ScriptNames) -> None:
    outcome = reader.scalar("reply")
    offer = reader.scalar("to")
    channel = channel_of(reader, "on", setting)
    member = member_of(reader, setting)
    if outcome is None:
        return
    if outcome.text not in ACTION_OUTCOMES:
        right = suggestion(outcome.text, ACTION_OUTCOMES, what="replies")
        setting.problems.add(outcome.place, f"'{outcome.text}' is no reply", right)
        return
    name = offer_of(offer, setting) if offer is not None else ""
    where = channel.text if channel is not None else ""
    setting.steps.append(
        Reply(place=reader.place, at=at, outcome=outcome.text, offer=name, channel=where, member=member)
    )
