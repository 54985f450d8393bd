"""What is measured, out of the log of a Hearth beside it: facts, journeys, and the playbooks they came under."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from actors.exports.journey_places import JourneyPlace
from actors.log.reading import ReadLogs
from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import Reach, log_reader
from household.delivery import DeliveryStep
from household.plan import Plan
from insight.measures.definitions import Definitions, DefinitionsInvalid, read_definitions
from insight.measures.facts import Facts
from insight.measures.journeys import JourneyRecords, read_journeys
from insight.measures.reading import read_facts

if TYPE_CHECKING:
    from actors.snapshots.store import SnapshotStore

DECISION_COLUMNS = (
    "decision_id",
    "household",
    "asked",
    "channel",
    "reasons",
    "withheld",
    "decided_at",
    "playbook_version",
    "action_id",
    "slate",
    "arms",
    "ghosts",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FromLog:
    """What the log holds, for whoever measures."""

    definitions: Definitions
    facts: Facts
    journeys: JourneyRecords
    decisions: pa.Table
    handed: frozenset[str]
    """The actions that were handed to gateways."""
    plans: tuple[Plan, ...]
    """By when they came into force, the newest last."""
    complete_since_us: int | None
    """None: from its start."""
    is_stream: bool
    """Whether the newest event is now: then what is recorded when says nothing of when it was learnt."""
    recorded_us: int
    """When the newest record was written."""

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
        return max(self.facts.newest_us, 0 if self.is_stream else self.recorded_us) + 1


def read_measured(
    config: HearthConfig, definitions_file: Path | None, *, also: Collection[str] = (), decided: Collection[str] = ()
) -> FromLog:
    """Return what the log holds.

    Args:
        definitions_file: what events mean; None for the playbook that ships.
        also: event types that are asked for besides.
        decided: columns of decisions that are asked for besides.

    Raises:
        UsageWrong: there is no log, or the definitions cannot be used.
        CommandFailed: the log cannot be read.
    """
    from actors.exports.log_export import export_plans, export_table
    from actors.snapshots.store import snapshot_store

    definitions = definitions_of(definitions_file)
    reach = Reach(log_reader(config))
    with mistakes():
        snapshots = snapshot_store(config.snapshot_location)
        plans = tuple(export_plans(reach, snapshots).values())
        facts = read_facts(export_table(reach, "signals", snapshots), definitions, plans, also=also)
        is_stream, recorded_us = clock_of(reach)
        journeys, decisions, handed = journeys_of(reach, snapshots, plans, is_stream=is_stream, decided=decided)
    return FromLog(
        definitions=definitions,
        facts=facts,
        journeys=journeys,
        decisions=decisions,
        handed=handed,
        plans=plans,
        complete_since_us=reach.complete_since_us,
        is_stream=is_stream,
        recorded_us=recorded_us,
    )


def journeys_of(
    read: ReadLogs,
    snapshots: "SnapshotStore",
    plans: Iterable[Plan],
    *,
    is_stream: bool,
    decided: Collection[str] = (),
) -> tuple[JourneyRecords, pa.Table, frozenset[str]]:
    """Return what a log says of journeys, its decisions, and the actions that were handed over."""
    from actors.exports.deliveries import delivery_tables
    from actors.exports.log_export import export_table

    columns = [*DECISION_COLUMNS, *decided]
    decisions = pa.concat_tables(table.select(columns) for table in export_table(read, "decisions", snapshots))
    moments = pa.concat_tables(export_table(read, "moments", snapshots))
    deliveries = pa.concat_tables(delivery_tables(read))
    handed = deliveries.filter(pc.equal(deliveries["step"], DeliveryStep.HANDED.value))
    journeys = read_journeys(
        moments=moments, decisions=decisions, deliveries=None if is_stream else deliveries, plans=plans
    )
    return journeys, decisions, frozenset(handed["action_id"].to_pylist())


def clock_of(read: ReadLogs) -> tuple[bool, int]:
    """Return whether the newest event is now for the owners of a log, and when the newest record was written."""
    from actors.log.contract import RecordKind
    from actors.records.codec import decode_epoch

    is_stream, epoch, recorded_us = False, -1, 0
    for _, stored in read():
        record = stored.record
        recorded_us = max(recorded_us, record.stamp_us)
        if record.kind is RecordKind.EPOCH and record.epoch >= epoch:
            is_stream, epoch = decode_epoch(record.payload).stream_clock, record.epoch
    return is_stream, recorded_us


def segments_of(config: HearthConfig, *, until_us: int | None) -> dict[str, str]:
    """Return the segment of each household that is in one, as the playbook in force then had them."""
    from actors.exports.households_by_segment import segments
    from actors.snapshots.store import snapshot_store

    with mistakes():
        return dict(segments(log_reader(config), snapshot_store(config.snapshot_location), until_us=until_us))


def places_of(config: HearthConfig, *, until_us: int | None) -> "Iterator[JourneyPlace]":
    """Yield where each instance of a journey with states is."""
    from actors.exports.journey_places import journey_places
    from actors.snapshots.store import snapshot_store

    with mistakes():
        yield from journey_places(log_reader(config), snapshot_store(config.snapshot_location), until_us=until_us)


def definitions_of(file: Path | None) -> Definitions:
    """Return the definitions of a file, or those for the playbook that ships.

    Raises:
        UsageWrong: they cannot be used.
    """
    try:
        return read_definitions(file)
    except DefinitionsInvalid as wrong:
        raise UsageWrong(str(wrong)) from wrong


@contextmanager
def mistakes() -> Iterator[None]:
    """Tell what is wrong with a log as one sentence."""
    from actors.log.contract import LogError
    from actors.records.payload import PayloadUnreadable
    from household.plan import PlanUnreadable

    try:
        yield
    except (LogError, PayloadUnreadable, PlanUnreadable) as failed:
        raise CommandFailed(f"the log cannot be read: {failed}") from failed
    except OSError as failed:
        raise CommandFailed(f"the snapshots cannot be listed: {failed}") from failed
