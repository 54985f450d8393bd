"""What steps of a rehearsal refer to by name: journeys, members, channels, offers, times."""

from dataclasses import dataclass, field

from household.plan import Plan
from playbooks.diagnostics import suggestion
from playbooks.reading import Reader, describe
from playbooks.rehearsing.script import ScriptStep, When
from playbooks.rehearsing.times import WHEN_HELP, read_when
from written.problems import Problems
from written.yaml_tree import Node, Scalar

MEMBERS = ("anna",)
"""Of a household of which nobody is named."""


@dataclass(slots=True, kw_only=True)
class ScriptNames:
    """What the steps of one rehearsal refer to."""

    plan: Plan
    problems: Problems
    groups: dict[str, Node]
    journey: str = ""
    members: tuple[str, ...] = MEMBERS
    steps: list[ScriptStep] = field(default_factory=list)


def journey_of(reader: Reader, plan: Plan) -> str:
    """Return the journey that is named; empty for none, or one that is not defined."""
    scalar = reader.scalar("journey")
    if scalar is None or scalar.text in plan.journey_by_name:
        return scalar.text if scalar is not None else ""
    right = suggestion(scalar.text, plan.journey_by_name, what="journeys")
    reader.problems.add(scalar.place, f"journey '{scalar.text}' is not defined", right)
    return ""


def when_of(reader: Reader, key: str = "at") -> When:
    """Return a time as it is written, the step before for none."""
    scalar = reader.scalar(key)
    if scalar is None:
        return When()
    when = read_when(scalar.text)
    if when is None:
        reader.problems.add(scalar.place, f"'{key}' of {reader.what} is {describe(scalar)}", WHEN_HELP)
        return When()
    return when


def member_of(reader: Reader, setting: ScriptNames, key: str = "by") -> str:
    """Return the member who is named, or the first."""
    scalar = reader.scalar(key)
    if scalar is None:
        return setting.members[0]
    if scalar.text not in setting.members:
        right = f"the members are {', '.join(setting.members)}"
        reader.problems.add(scalar.place, f"'{scalar.text}' is no member of the household", right)
        return setting.members[0]
    return scalar.text


def channel_of(reader: Reader, key: str, setting: ScriptNames) -> Scalar | None:
    """Return a channel as it is written; None for none, or one that is not defined."""
    scalar = reader.scalar(key)
    if scalar is not None and scalar.text not in setting.plan.channel_by_name:
        right = suggestion(scalar.text, setting.plan.channel_by_name, what="channels")
        setting.problems.add(scalar.place, f"channel '{scalar.text}' is not defined", right)
        return None
    return scalar


def offer_of(scalar: Scalar, setting: ScriptNames) -> str:
    """Return an offer that is named; one that is not defined is reported."""
    if scalar.text not in setting.plan.offer_by_name:
        right = suggestion(scalar.text, setting.plan.offer_by_name, what="offers")
        setting.problems.add(scalar.place, f"offer '{scalar.text}' is not defined", right)
    return scalar.text
