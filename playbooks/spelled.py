"""A plan in names: each of its parts, what it says and what it refers to; to compare plans, and ask what hangs on what.

Plans refer by index, and an index means another thing in another plan. Conditions are told by their text.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from household.later import is_silent
from household.plan import END, NONE, Flow, Plan
from household.plan.definitions import feature_definition

PartName = tuple[str, str]
"""(kind, name) of a part, as in ("offer", "topup")."""

PROGRAM = "condition"
_STEP = "state"

_REFERS: Mapping[str, Mapping[str, str]] = {
    "Treatment": {"channel": "channel"},
    "SegmentPrice": {"segment": "segment"},
    "Offer": {"eligible": PROGRAM, "excludes": "offer", "item": "item"},
    "Channel": {"consent": PROGRAM, "address": "feature"},
    "ContactCap": {"channels": "channel"},
    "ContactPolicy": {"member_time_zone": "feature", "line": "feature", "objection": PROGRAM, "fraud": PROGRAM},
    "Selector": {"channels": "channel"},
    "ContactRule": {"condition": PROGRAM},
    "Experiment": {"journeys": "journey", "offers": "offer"},
    "Segment": {"program": PROGRAM},
    "EventField": {"field": "field"},
    "Product": {"feature": "feature"},
    "Trigger": {"events": "event", "program": PROGRAM},
    "Journey": {"contact_events": "event", "offers": "offer", "outbound": "channel"},
    "JourneyWait": {"events": "event", "program": PROGRAM, "target": _STEP},
    "Mark": {"events": "event", "program": PROGRAM},
    "Act": {"offers": "offer", "failed": _STEP},
    "BranchWay": {"target": _STEP, "program": PROGRAM},
    "JourneyStep": {"target": _STEP, "missed": _STEP},
    "Flow": {"correlation": "field"},
    "StateMove": {"target": _STEP},
}
"""By class: which of its fields are indices, and of what."""

_BY_NAME: Mapping[str, Mapping[str, str]] = {
    "Offer": {"family": "family"},
    "Product": {"families": "family"},
    "Selector": {"families": "family", "journeys": "journey"},
    "FeatureDefinition": {"events": "event", "off_events": "event"},
    "FieldDefinition": {"name": "field"},
}
"""By class: which of its fields are names, and of what."""

_SPOKEN_OF = re.compile(r"\b(household|member|segment|event)\.([a-z0-9_]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookPart:
    """One part of a plan."""

    kind: str
    name: str
    says: Mapping[str, Any]
    """What it says, in names: path within it → value; `trigger.cooldown_us`, `states.wait.target`."""
    refers: frozenset[PartName]
    """What it names itself, not what that names."""


class _Speller:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._names = {
            "channel": [one.name for one in plan.channels],
            "segment": [one.name for one in plan.segments],
            "offer": [one.name for one in plan.offers],
            "journey": [one.name for one in plan.journeys],
            "feature": [one.name for one in plan.features],
            "event": [one.name for one in plan.event_types],
            "field": [one.name for one in plan.fields],
            "item": [one.name for one in plan.inventory],
            PROGRAM: [one.text for one in plan.programs],
        }
        self._steps: list[str] = []
        self.refers: set[PartName] = set()

    def part(self, kind: str, name: str, what: Any) -> PlaybookPart:
        self.refers = set()
        says = dict(self._flat("", what))
        says.pop("name", None)
        return PlaybookPart(kind=kind, name=name, says=says, refers=frozenset(self.refers - {(kind, name)}))

    def _flat(self, path: str, what: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(what, Flow):
            self._steps = [step.name for step in what.steps]
        if dataclasses.is_dataclass(what) and not isinstance(what, type):
            kind = type(what).__name__
            for one in dataclasses.fields(what):
                if not is_silent(what, one.name):
                    below = f"{path}.{one.name}" if path else one.name
                    yield from self._field(below, kind, one.name, getattr(what, one.name))
        elif isinstance(what, tuple) and what and dataclasses.is_dataclass(what[0]):
            for place, one in enumerate(what):
                yield from self._flat(f"{path}.{getattr(one, 'name', '') or place}", one)
        else:
            yield path, what.value if isinstance(what, StrEnum) else what

    def _field(self, path: str, kind: str, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        what = _REFERS.get(kind, {}).get(name)
        if what is not None:
            named = tuple(self._named(what, one) for one in (value if isinstance(value, tuple) else (value,)))
            yield path, (", ".join(named) if isinstance(value, tuple) else named[0])
            return
        of_names = _BY_NAME.get(kind, {}).get(name)
        if of_names is not None and value:
            self.refers |= {(of_names, one) for one in (value if isinstance(value, tuple) else (value,))}
        if kind == "FeatureDefinition" and name == "where" and value:
            self._speak(value)
        yield from self._flat(path, value)

    def _named(self, what: str, index: int) -> str:
        if what == _STEP:
            return "end" if index == END else self._steps[index]
        if index == NONE:
            return ""
        name = self._names[what][index]
        if what == PROGRAM:
            self._speak(name)
        else:
            self.refers.add((what, name))
        return name

    def _speak(self, text: str) -> None:
        for scope, name in _SPOKEN_OF.findall(text):
            match scope:
                case "segment":
                    self.refers.add(("segment", name))
                case "event":
                    self.refers.add(("field", name))
                case _:
                    self.refers.add(("feature", f"{scope}.{name}"))


def spelled(plan: Plan) -> dict[PartName, PlaybookPart]:
    """Return all parts of a plan, by kind and name, in the order of the playbook's sections."""
    speller = _Speller(plan)
    named: list[tuple[str, Any]] = [
        *(("event", one) for one in plan.event_types),
        *(("field", one) for one in plan.fields),
        *(("feature", feature_definition(plan, one)) for one in plan.features),
        *(("product", one) for one in plan.products),
        *(("segment", one) for one in plan.segments),
        *(("channel", one) for one in plan.channels),
        *(("offer", one) for one in plan.offers),
        *(("journey", one) for one in plan.journeys),
        *(("cap", one) for one in plan.policy.caps),
        *(("rule", one) for one in plan.policy.rules),
        *(("budget", one) for one in plan.budgets),
        *(("item", one) for one in plan.inventory),
        *(("experiment", one) for one in plan.experiments),
    ]
    parts = [speller.part(kind, one.name, one) for kind, one in named]
    parts += [PlaybookPart(kind="family", name=one, says={}, refers=frozenset()) for one in plan.families]
    policy = dataclasses.replace(plan.policy, caps=(), rules=())
    whole = {"contact policy": policy, "arbitration": plan.arbitration, "clock": plan.clock, "graph": plan.graph}
    parts += [speller.part(kind, "", one) for kind, one in whole.items()]
    return {(one.kind, one.name): one for one in parts}
