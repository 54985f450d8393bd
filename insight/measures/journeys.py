"""Journeys as they were entered and answered, out of the exports of moments, decisions, hand-overs and assignments."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pyarrow as pa

from household.plan import Plan
from household.plan.experiments import ALL_BP, CONTROL

T = TypeVar("T")

CONVERTING = ("hearth.accept", "hearth.convert")


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyEntry:
    """One time a household entered a journey: a moment that a decision settled."""

    journey: str
    household: str
    """Key, as the decision has it."""
    time_us: int
    """Of the signal that made it."""
    learnt_us: int
    """When it was decided."""
    event_id: str
    channel: str
    """The one that asked, or else the one it was to be sent on; empty for none."""
    is_withheld: bool
    answered_us: int | None
    """When an action of it was given to who asked, or handed to a gateway; None if never."""
    actions: tuple[str, ...]
    """Ids of its actions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """A household's arm of an experiment."""

    experiment: str
    household: str
    arm: str
    time_us: int
    version: str = ""
    share_bp: int = 0
    layer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyNames:
    """Journeys that households entered."""

    with_moments: frozenset[str]
    """By moments; the others by a contact."""
    entered: tuple[str, ...]
    """All of them, in order."""

    @property
    def is_any(self) -> bool:
        """Whether there was a moment."""
        return bool(self.with_moments)


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyRecords:
    """What is known of journeys."""

    entries: tuple[JourneyEntry, ...] = ()
    met: tuple[Met, ...] = ()
    families: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The families of the offers of each journey, by the newest playbook that has it."""
    is_handed_known: bool = False
    names: JourneyNames = field(default=None)  # type: ignore[assignment] # by entries and met where not told

    def __post_init__(self) -> None:
        """Tell the names, unless these are some households of those that tell them."""
        if self.names is None:
            with_moments = frozenset(one.journey for one in self.entries)
            by_contact = {one.experiment for one in self.met if one.experiment in self.families}
            found = JourneyNames(with_moments=with_moments, entered=tuple(sorted(with_moments | by_contact)))
            object.__setattr__(self, "names", found)

    def by(self, part_of: Callable[[str], T]) -> "dict[T, JourneyRecords]":
        """Return what is known of the households of each part, of parts that have any."""
        entries: dict[T, list[JourneyEntry]] = defaultdict(list)
        met: dict[T, list[Met]] = defaultdict(list)
        for entry in self.entries:
            entries[part_of(entry.household)].append(entry)
        for one in self.met:
            met[part_of(one.household)].append(one)
        parts = entries.keys() | met.keys()
        return {part: replace(self, entries=tuple(entries[part]), met=tuple(met[part])) for part in parts}

    def none(self) -> "JourneyRecords":
        """Return what is known of a part that has no household of it."""
        return replace(self, entries=(), met=())

    def households(self) -> frozenset[str]:
        """Return every key."""
        return frozenset(one.household for one in self.entries) | {one.household for one in self.met}

    def arms(self, experiment: str, *, time_us: int, known_us: int | None) -> dict[str, Met]:
        """Return who had met an experiment before a time, as far as it was known at another, by household."""
        return {
            one.household: one
            for one in self.met
            if one.experiment == experiment and one.time_us < time_us and (known_us is None or one.time_us <= known_us)
        }


def families_of(plans: Iterable[Plan]) -> dict[str, frozenset[str]]:
    """Return the families that each journey offers; of several playbooks the newest, which comes last, says so."""
    return {
        journey.name: frozenset(plan.offers[offer].family for offer in journey.offers)
        for plan in plans
        for journey in plan.journeys
    }


def read_journeys(
    *,
    moments: pa.Table,
    decisions: pa.Table,
    deliveries: pa.Table | None,
    plans: Iterable[Plan],
) -> JourneyRecords:
    """Return what exports say of journeys.

    Args:
        moments, decisions: as exported (docs/exports.md); of decisions the columns decision_id, household, asked,
            channel, withheld, decided_at, playbook_version, action_id, slate, arms.
        deliveries: hand-overs (actors/exports/deliveries.py); None where nobody knows them.
        plans: the playbooks in the log, the newest last.
    """
    handed: dict[str, int] = {}
    if deliveries is not None:
        for one in table_rows(deliveries.select(["action_id", "step", "recorded_at"])):
            if one["step"] == "handed":
                handed.setdefault(one["action_id"], one["recorded_at"])
    decided = table_rows(decisions)
    by_id = {one["decision_id"]: one for one in decided}
    entries = []
    for moment in table_rows(moments):
        decision = by_id.get(moment["decision_id"])
        if decision is None:
            continue
        actions = [one["action_id"] for one in decision["slate"] if one["journey"] == moment["journey"]]
        answered = [decision["decided_at"]] if decision["asked"] and decision["action_id"] in actions else []
        answered += [handed[one] for one in actions if one in handed]
        entries.append(
            JourneyEntry(
                journey=moment["journey"],
                household=moment["household"],
                time_us=moment["time"],
                learnt_us=decision["decided_at"],
                event_id=moment["event_id"],
                channel=decision["channel"] or "",
                is_withheld=decision["withheld"],
                answered_us=min(answered, default=None),
                actions=tuple(actions),
            )
        )
    return JourneyRecords(
        entries=tuple(entries),
        met=tuple(_first_met(decided)),
        families=families_of(plans),
        is_handed_known=deliveries is not None,
    )


def _first_met(decided: Iterable[dict[str, Any]]) -> Iterator[Met]:
    """Yield when each household met each experiment: by the first decision that hung on it."""
    seen: set[tuple[str, str]] = set()
    for one in sorted(decided, key=lambda one: one["decided_at"]):
        for arm in one["arms"]:
            identity = (arm["experiment"], one["household"])
            if identity not in seen:
                seen.add(identity)
                yield Met(
                    experiment=arm["experiment"],
                    household=one["household"],
                    arm=arm["arm"],
                    time_us=one["decided_at"],
                    version=one["playbook_version"],
                    share_bp=round(arm["share"] * ALL_BP),
                    layer=arm["layer"],
                )


def is_control(arm: str) -> bool:
    """Return whether an arm is left alone."""
    return arm == CONTROL


def table_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of an export, times as microseconds since 1970."""
    found: list[dict[str, Any]] = table.cast(
        pa.schema([pa.field(one.name, _without_times(one.type)) for one in table.schema])
    ).to_pylist()
    return found


def _without_times(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_list(kind):
        return pa.list_(_without_times(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(one.name, _without_times(one.type)) for one in kind])
    return kind
