"""What is measured, out of the rollups of a log: of one part of all households at a time, however long the log is."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from actors.exports.rollup_files import bucket_of
from actors.exports.rollups import Rollups
from cluster.config import HearthConfig
from cluster.data_dir import LAYOUT_NAME
from cluster.exporting import log_partitions
from cluster.measured import clock_of, definitions_of, journeys_of, mistakes
from household.graph.events import GRAPH_TYPES
from household.graph.membership import Membership
from household.plan import Plan
from insight.measures.definitions import Definitions
from insight.measures.facts import Facts, columns_of, read_facts
from insight.measures.journeys import JourneyRecords
from insight.measures.knowledge import Knowledge, ask, types_in
from insight.measures.owners import membership_of
from insight.measures.parts import entangled, joined, together

ROLLUPS_NAME = "rollups"
"""In the data directory."""

WORKERS = 2
"""Parts at once: more would take more memory and, on two cores, no less time."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RolledLog:
    """What a log holds, for whoever measures."""

    definitions: Definitions
    rollups: Rollups
    journeys: JourneyRecords
    plans: tuple[Plan, ...]
    """By when they came into force, the newest last."""
    complete_since_us: int | None
    is_stream: bool
    recorded_us: int
    newest_us: int
    """The time of the newest event of all, whatever is measured of it."""
    there: frozenset[str]
    """Event types that ever came, and count."""
    left_out: Counter[str] = field(default_factory=Counter)
    """How many events do not count, by reason, of the parts that were asked for."""

    @property
    def plan(self) -> Plan:
        """The newest playbook; one of nothing where the log has none."""
        return self.plans[-1] if self.plans else Plan(name="none")

    @property
    def zone(self) -> str:
        """The operator's time zone."""
        return self.plan.policy.time_zone

    @property
    def end_us(self) -> int:
        """Behind all that is in the log, by the clock of what happened."""
        return max(self.newest_us, 0 if self.is_stream else self.recorded_us) + 1

    def told_left_out(self) -> dict[str, int]:
        """Return how many events do not count, by reason."""
        return {reason: count for reason, count in sorted(self.left_out.items()) if count}

    def facts(self, bucket: int) -> Facts:
        """Return the facts of a bucket."""
        return facts_of(self.rollups, bucket, self.definitions, self.plans)

    def over_parts(self, do: Callable[[Knowledge], T], *, time_us: int, known_us: int | None) -> Iterator[T]:
        """Yield what is made of what is known of each part of the households, two at a time.

        Those whom graph events name are a part of their own, as large as they are: who was merged with whom, and held
        whose identifier, is in one part then.
        """
        membership = self._membership(time_us, known_us)
        roots = together(membership)
        named = self.journeys.by(lambda key: None if key in roots else bucket_of(key, self.rollups.buckets))
        kept_back: dict[int, Facts] = {}

        def asked_of(facts: Facts, journeys: JourneyRecords) -> Knowledge:
            return ask(
                facts,
                self.definitions,
                time_us=time_us,
                known_us=known_us,
                zone=self.zone,
                journeys=journeys,
                membership=membership,
                there=self.there,
            )

        def of_bucket(bucket: int) -> tuple[T, Mapping[str, int]]:
            facts = self.facts(bucket)
            left_out = facts.left_out
            is_entangled = entangled(facts, roots)
            if is_entangled.any():
                kept_back[bucket] = facts.take(is_entangled)
                facts = facts.take(~is_entangled)
            return do(asked_of(facts, named.get(bucket, self.journeys.none()))), left_out

        with ThreadPoolExecutor(WORKERS, thread_name_prefix="measuring") as pool:
            for found, left_out in pool.map(of_bucket, range(self.rollups.buckets)):
                self.left_out.update(left_out)
                yield found
        if kept_back or None in named:
            nothing = read_facts([], self.definitions, self.plans)
            facts = joined([kept_back[bucket] for bucket in sorted(kept_back)]) if kept_back else nothing
            yield do(asked_of(facts, named.get(None, self.journeys.none())))

    def _membership(self, time_us: int, known_us: int | None) -> Membership:
        """Return who belongs together by then."""
        bits = 0
        for name, there in self.rollups.kinds().items():
            bits |= there if name in GRAPH_TYPES else 0
        parts = []
        for bucket in range(self.rollups.buckets):
            if bits >> bucket & 1:
                facts = self.facts(bucket)
                parts.append(facts.take(facts.is_of(GRAPH_TYPES)))
        if not parts:
            return Membership(self.plan.graph)
        return membership_of(joined(parts).as_of(time_us=time_us, known_us=known_us), self.plan.graph)


def rollups_of(config: HearthConfig) -> Rollups:
    """Return the rollups of a log, as far as it goes by now.

    Raises:
        UsageWrong: there is no log.
        CommandFailed: the log cannot be read.
    """
    with mistakes():
        # Of a log on Kafka anybody may ask, from a machine that has no data directory.
        is_kept = (config.data_dir / LAYOUT_NAME).is_file()
        return Rollups(config.data_dir / ROLLUPS_NAME, log_partitions(config), is_kept=is_kept).extend()


def read_rolled(config: HearthConfig, definitions_file: Path | None) -> RolledLog:
    """Return what the log holds; raises as `cluster.measured.read_measured`."""
    from actors.exports.log_export import export_plans
    from actors.snapshots.store import snapshot_store

    definitions = definitions_of(definitions_file)
    rollups = rollups_of(config)
    with mistakes():
        snapshots = snapshot_store(config.snapshot_location)
        plans = tuple(export_plans(rollups.records, snapshots).values())
        is_stream, recorded_us = clock_of(rollups.records)
        journeys, _, _ = journeys_of(rollups.records, snapshots, plans, is_stream=is_stream)
    begins = [one.begins.record.stamp_us for one in rollups.partitions if one.begins is not None]
    return RolledLog(
        definitions=definitions,
        rollups=rollups,
        journeys=journeys,
        plans=plans,
        complete_since_us=max(begins, default=None),
        is_stream=is_stream,
        recorded_us=recorded_us,
        newest_us=rollups.newest_us(future_us=plans[-1].clock.future_us if plans else 2**62),
        there=_there(rollups, definitions, plans),
    )


def asked_of_rollups(rollups: Rollups) -> RolledLog:
    """Return what rollups alone hold, by the definitions that ship: nothing of journeys, and no playbook."""
    definitions = definitions_of(None)
    return RolledLog(
        definitions=definitions,
        rollups=rollups,
        journeys=JourneyRecords(),
        plans=(),
        complete_since_us=None,
        is_stream=False,
        recorded_us=0,
        newest_us=rollups.newest_us(future_us=2**62),
        there=_there(rollups, definitions, ()),
    )


def facts_of(rollups: Rollups, bucket: int, definitions: Definitions, plans: tuple[Plan, ...]) -> Facts:
    """Return the facts of a bucket."""
    return read_facts(rollups.tables(bucket, columns_of(definitions)), definitions, plans)


def _there(rollups: Rollups, definitions: Definitions, plans: tuple[Plan, ...]) -> frozenset[str]:
    """Return the event types of which any event counts: of each, buckets that have some are read until one does."""
    kinds = rollups.kinds()
    open_kinds = set(kinds)
    found: set[str] = set()
    for bucket in range(rollups.buckets):
        if any(kinds[name] >> bucket & 1 for name in open_kinds & definitions.types):
            found |= types_in(facts_of(rollups, bucket, definitions, plans))
            open_kinds -= found
    return frozenset(found)
