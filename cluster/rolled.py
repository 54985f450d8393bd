"""What is measured, out of the rollups of a log: of one part of all households at a time, however long the log is."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TypeVar

from actors.exports.rollup_files import bucket_of
from actors.exports.rollups import ROLLUPS_NAME, Rollups
from cluster.config import HearthConfig
from cluster.data_dir import LAYOUT_NAME
from cluster.entangled import Entangled
from cluster.exporting import log_partitions
from cluster.measured import clock_of, definitions_of, journeys_of, mistakes
from household.graph.events import GRAPH_TYPES
from household.graph.membership import Membership
from household.plan import Plan
from insight.measures.definitions import Definitions
from insight.measures.facts import Facts
from insight.measures.journeys import JourneyRecords
from insight.measures.knowledge import Knowledge, ask, types_in
from insight.measures.owners import membership_of
from insight.measures.parts import entangled, joined, together
from insight.measures.reading import columns_of, let_through, read_facts

WORKERS = 2
"""Parts at once: more would take more memory and, on two cores, no less time."""

PART_ROWS = 2_000_000
"""Signals of a part, about: of buckets of more, one share after another is taken."""

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

    def over_parts(
        self,
        do: Callable[[Knowledge], T],
        *,
        time_us: int,
        known_us: int | None,
        uses_since_us: int | None = None,
        rows_most: int = PART_ROWS,
    ) -> Iterator[T]:
        """Yield what is made of what is known of each part of the households, two at a time.

        Those whom graph events name are parts of their own: who was merged with whom, and held whose identifier, is in
        one part then.

        Args:
            do: is given each part, in one of two threads.
            time_us, known_us: as of when, and as known by when; see `ask`.
            uses_since_us: what is nothing but use and happened before is not asked for; None: all is.
            rows_most: signals of a part, about.
        """
        membership = self._membership(time_us, known_us)
        roots = together(membership)
        count = self.rollups.buckets
        shares = [max(-(-self.rollups.rows(bucket) // rows_most), 1) for bucket in range(count)]
        places = [(bucket, share) for bucket in range(count) for share in range(shares[bucket])]

        def place_of(key: str) -> tuple[int, int] | None:
            if key in roots:
                return None
            bucket = bucket_of(key, count)
            return bucket, bucket_of(key, count * shares[bucket]) // count

        named = self.journeys.by(place_of)

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

        def of_place(place: tuple[int, int]) -> tuple[T, Mapping[str, int]]:
            bucket, share = place
            tables = self.rollups.tables(bucket, self._columns, share=share, of=shares[bucket])
            facts = read_facts(tables, self.definitions, self.plans, uses_since_us=uses_since_us)
            left_out = facts.left_out
            is_entangled = entangled(facts, roots)
            if is_entangled.any():
                waiting.keep(place, facts.take(is_entangled))
                facts = facts.take(~is_entangled)
            return do(asked_of(facts, named.get(place, self.journeys.none()))), left_out

        with Entangled(roots, rows_most=rows_most) as waiting:
            with ThreadPoolExecutor(WORKERS, thread_name_prefix="measuring") as pool:
                for found, left_out in pool.map(of_place, places):
                    self.left_out.update(left_out)
                    yield found
            theirs = named.get(None, self.journeys.none()).by(waiting.share_of)
            nothing = read_facts([], self.definitions, self.plans)
            for share, facts in waiting.parts():
                if facts is not None or share in theirs:
                    yield do(asked_of(facts or nothing, theirs.get(share, self.journeys.none())))

    @property
    def _columns(self) -> tuple[str, ...]:
        return columns_of(self.definitions)

    def _membership(self, time_us: int, known_us: int | None) -> Membership:
        """Return who belongs together by then."""
        kinds = self.rollups.kinds()
        bits = reduce(or_, (kinds[name] for name in GRAPH_TYPES if name in kinds), 0)
        buckets = [bucket for bucket in range(self.rollups.buckets) if bits >> bucket & 1]
        if not buckets:
            return Membership(self.plan.graph)
        parts = [facts_of(self.rollups, bucket, self.definitions, self.plans, only=GRAPH_TYPES) for bucket in buckets]
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


def facts_of(
    rollups: Rollups, bucket: int, definitions: Definitions, plans: tuple[Plan, ...], *, only: Collection[str]
) -> Facts:
    """Return the facts of a bucket that are of some event types."""
    tables = rollups.tables(bucket, columns_of(definitions), kinds=only)
    return read_facts(tables, definitions, plans, only=only)


def _there(rollups: Rollups, definitions: Definitions, plans: tuple[Plan, ...]) -> frozenset[str]:
    """Return the event types of which any event counts: of each, buckets that have some are read until one does."""
    kinds = rollups.kinds()
    left = set(let_through(kinds.keys() & definitions.types, plans))
    found: set[str] = set()
    for bucket in range(rollups.buckets):
        if asked := [name for name in left if kinds[name] >> bucket & 1]:
            found |= types_in(facts_of(rollups, bucket, definitions, plans, only=asked))
            left -= found
    return frozenset(found)
