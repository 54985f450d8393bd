"""The sections `sensitive` and `withdrawn`: what nobody is chosen by, and what nothing is to refer to any more.

They are the check's alone: no plan knows of them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from household.columns.program import Op
from household.plan import NONE, Plan
from playbooks.diagnostics import suggestion
from playbooks.offers import Offers
from playbooks.reading import Reader
from playbooks.remarks import Written
from playbooks.spelled import PartName, spelled
from written.problems import Place, Problems
from written.yaml_tree import Scalar

SPECIAL = re.compile(
    r"(^|_)(religion|religious|ethnicity|ethnic|race|racial|disability|disabled|diagnosis|illness|pregnant|pregnancy|"
    r"sexual|sexuality|political|politics|union_member|trade_union|biometric|genetic|criminal|conviction)(_|$)"
)
"""Names of what the law protects most, whoever has declared it."""

_SECTIONS = {
    "event": "events",
    "field": "fields",
    "feature": "features",
    "product": "products",
    "segment": "segments",
    "channel": "channels",
    "offer": "offers",
    "journey": "journeys",
    "item": "inventory",
    "experiment": "experiments",
    "budget": "budgets",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """What is marked."""

    sensitive: dict[str, Place]
    """Field or feature → where it is declared."""
    withdrawn: dict[PartName, tuple[str, Place]]
    """Part → what to use instead, as it is written, and where."""


def read_marked(top: Reader, problems: Problems) -> Marked:
    """Read both sections; names are looked up once all is known."""
    withdrawn = {}
    for entry in top.entries("withdrawn", named=False):
        kind, _, name = entry.key.partition(" ")
        if kind not in _SECTIONS or not name:
            right = f"write its kind and its name: 'segment old_one: …'; the kinds are {', '.join(_SECTIONS)}"
            problems.add(entry.place, f"'{entry.key}' under 'withdrawn' is no part of a playbook", right)
        elif not isinstance(entry.value, Scalar) or not entry.value.text:
            problems.add(entry.place, f"'{entry.key}' is withdrawn, and nothing says what to use instead", "write that")
        else:
            withdrawn[(kind, name)] = (entry.value.text, entry.place)
    return Marked(sensitive={one.text: one.place for one in top.names("sensitive")}, withdrawn=withdrawn)


def check_marked(plan: Plan, marked: Marked, offers: Offers, written: Written, problems: Problems) -> None:
    """Report who is chosen by what is sensitive, and what refers to what is withdrawn."""
    key_by_name = {offers.offers[index].name: key for key, group in offers.group_by_name.items() for index in group}
    _check_withdrawn(plan, marked, key_by_name, written, problems)
    _check_sensitive(plan, marked, key_by_name, written, problems)


# --- withdrawn --------------------------------------------------------------------------------------------------------


def _check_withdrawn(
    plan: Plan, marked: Marked, key_by_name: Mapping[str, str], written: Written, problems: Problems
) -> None:
    if not marked.withdrawn:
        return
    parts = spelled(plan)
    known = {(kind, key_by_name.get(name, name) if kind == "offer" else name) for kind, name in parts}
    for (kind, name), (instead, place) in marked.withdrawn.items():
        if (kind, name) not in known:
            names = [one for of_kind, one in known if of_kind == kind]
            problems.add(place, f"{kind} '{name}' is not defined", suggestion(name, names, what=f"{kind}s"))
            continue
        for (by_kind, by), part in parts.items():
            refers = {(one, key_by_name.get(of, of) if one == "offer" else of) for one, of in part.refers}
            section = _SECTIONS.get(by_kind)
            if (kind, name) in refers and section is not None and (by_kind, by) not in marked.withdrawn:
                at = written.place(section, key_by_name.get(by, by) if by_kind == "offer" else by)
                wrong = f"{by_kind} '{by}' refers to {kind} '{name}', which is withdrawn"
                problems.add(at, wrong, f"instead: {instead}")


# --- sensitive --------------------------------------------------------------------------------------------------------


def _check_sensitive(
    plan: Plan, marked: Marked, key_by_name: Mapping[str, str], written: Written, problems: Problems
) -> None:
    features = {one.name: index for index, one in enumerate(plan.features)}
    for name, place in marked.sensitive.items():
        if name not in features and name not in plan.field_by_name:
            right = suggestion(name, [*plan.field_by_name, *features], what="fields and features")
            problems.add(place, f"'{name}' is neither a field nor a feature", right)
    fields = {index for name, index in plan.field_by_name.items() if name in marked.sensitive or SPECIAL.search(name)}
    kept = {
        index
        for index, one in enumerate(plan.features)
        if one.name in marked.sensitive
        or SPECIAL.search(one.name.partition(".")[2])
        or one.field in fields
        or not fields.isdisjoint(_read(plan, one.where, Op.FIELD))
    }
    if not fields and not kept:
        return
    for index in sorted(kept):
        if plan.features[index].scored:
            name = plan.features[index].name
            wrong = f"models see feature '{name}', which is sensitive: they would choose people by it"
            problems.add(written.place("features", name), wrong, "write 'scored: false'")
    for program, what, keys in _choosing(plan, key_by_name):
        found = [plan.fields[one].name for one in _read(plan, program, Op.FIELD) if one in fields]
        found += [plan.features[one].name for one in _read(plan, program, Op.FEATURE) if one in kept]
        if found:
            wrong = f"{what} chooses people by '{found[0]}', which is sensitive"
            problems.add(written.place(*keys), wrong, "leave it out: nobody is to be chosen by it")


def _choosing(plan: Plan, key_by_name: Mapping[str, str]) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Yield the conditions by which people are chosen: (program, what, keys of its place)."""
    for offer in plan.offers:
        key = key_by_name[offer.name]
        yield offer.eligible, f"'eligible' of offer '{key}'", ("offers", key, "eligible")
        for special in offer.segment_prices:
            segment = plan.segments[special.segment]
            what = f"the price of offer '{key}' for '{segment.name}'"
            yield segment.program, what, ("offers", key, "segment_prices", segment.name)
    for journey in plan.journeys:
        keys = ("journeys", journey.name)
        if journey.trigger is not None:
            yield journey.trigger.program, f"'when' of journey '{journey.name}'", (*keys, "trigger", "when")
        for step in journey.flow.steps if journey.flow is not None else ():
            what = f"state '{step.name}' of journey '{journey.name}'"
            for program in (*(one.program for one in step.waits), *(one.program for one in step.ways)):
                yield program, what, (*keys, "states", step.name)


def _read(plan: Plan, program: int, op: Op) -> list[int]:
    """Return which fields, or features, a condition reads."""
    if program == NONE:
        return []
    code = plan.programs[program]
    return [int(arg) for one, arg in zip(code.ops, code.args, strict=True) if one == op]
