"""`hearth playbook simulate --mode counterfactual`: what another playbook would have done over an operator's own log.

Partition by partition, in three passes at once: the log's own playbooks and the other one let the same happen to a
partition each, and what differs is told; and in each decision of the log it is asked what the other would have chosen.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from actors.exports.log_facts import DecisionFact, EpochFact, EventsFact, HandedFact, PlanFact, RelocationFact, facts_of
from actors.exports.point_in_time import LogTooShort, Start, whole_from
from actors.exports.weighed_anew import WeighedDecision, WeighingAnew
from actors.log.contract import PartitionId, StoredRecord
from actors.partition.draft_scoring import priors
from actors.records.signals import decode_signals
from actors.snapshots.store import snapshot_store
from cluster.commands.dataset import log_failures
from cluster.commands.simulation import partition_count, plan_named
from cluster.config import HearthConfig
from cluster.errors import CommandFailed
from cluster.exporting import log_partitions
from cluster.output import meter
from household.contact_rules.share import CapacityShare
from household.migration import migrated
from household.plan import Plan
from household.state import PartitionState
from insight.evaluation.anew import ChosenAnew, ValuedAnew, value_anew
from insight.evaluation.evaluate import EvaluationConfig
from playbooks.simulating.happened import AnsweredAction, AskedAgain, about_here, without
from playbooks.simulating.partition import SimulatedPartition
from playbooks.simulating.tally import ContactsCompared, PartitionTally, SimulationCounts

US_PER_HOUR = 3_600_000_000

ACCEPTED, EARNED = "accepted", "earned_minor"
"""What each decision brought."""

ROWS_MOST = 200_000
"""Decisions that are valued; of more, those of a share of the households."""

WINDOW_OPEN = "window open"

OWN_REPORTS = ("delivered", "undelivered")
"""What is handed over here is delivered here."""

ANSWERS_KEPT = 400_000
"""Actions of the log that reports may be about, of a partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterfactualAsked:
    """What is asked of a playbook."""

    playbook: str | None
    samples: int
    window_us: int
    """How long an acceptance counts."""
    evaluation: EvaluationConfig


@dataclass(slots=True, kw_only=True)
class Counterfactual:
    """What came of it."""

    plan: Plan
    logged_versions: list[str] = field(default_factory=list)
    before: SimulationCounts = field(default_factory=SimulationCounts)
    """By the playbooks of the log."""
    after: SimulationCounts = field(default_factory=SimulationCounts)
    """By the other one."""
    contacts: ContactsCompared = field(default_factory=ContactsCompared)
    moved: "MovedHouseholds" = field(init=False)
    """Who changed their partition: counted over all of them."""
    logged_households: int = 0
    """Who were really sent something."""
    logged_and_before: int = 0
    """Of these, those that are sent something as well where the log's own playbooks are simulated."""
    from_us: int = 0
    to_us: int = 0
    partitions: int = 0
    without_counterpart: Counter[str] = field(default_factory=Counter)
    households_share: float = 1.0
    """Of which decisions are valued."""
    value: ValuedAnew | None = None

    def __post_init__(self) -> None:
        self.moved = MovedHouseholds(self.plan)


class MovedHouseholds:
    """What came of households that changed their partition, of all partitions in which they lay."""

    def __init__(self, plan: Plan) -> None:
        """Begin with none."""
        self._before, self._after = PartitionTally(plan), PartitionTally(plan)
        self._contacted: set[bytes] = set()

    def take_out(self, before: SimulatedPartition, after: SimulatedPartition, contacted: set[bytes]) -> None:
        """Take them out of what came of one partition, and of who were really sent something there."""
        for world, tally in ((before, self._before), (after, self._after)):
            world.tally.take_out([one.name for one in world.state.places], tally)
        moved = contacted & {one.name for one in before.state.places}
        self._contacted |= moved
        contacted -= moved

    def count(self, found: Counterfactual, *, samples: int) -> None:
        """Count them, once all partitions are done."""
        found.contacts.take(self._before, self._after, samples=samples)
        found.before.add(self._before.counts)
        found.after.add(self._after.counts)
        found.logged_households += len(self._contacted)
        found.logged_and_before += len(self._contacted & self._before.contacted.keys())


def counterfactual_of(config: HearthConfig, asked: CounterfactualAsked) -> Counterfactual:
    """Simulate another playbook over the log of a data directory.

    Raises:
        UsageWrong, CommandFailed: there is no such log or playbook, or the log cannot be read.
    """
    count, reader = partition_count(config), log_partitions(config)
    plan = plan_named(config, asked.playbook)
    snapshots = snapshot_store(config.snapshot_location)
    found, rows = Counterfactual(plan=plan), ValuedRows()
    weighing = WeighingAnew(plan=plan, score=priors, window_us=asked.window_us)
    with meter("simulating", unit="parts") as show, log_failures():
        partitions = sorted(reader.partitions())
        for done, number in enumerate(partitions):
            partition = PartitionId(number)
            share = CapacityShare(partition, max(count, partition + 1))

            try:
                begin, other = (whole_from(reader, snapshots, partition) for _ in range(2))
                worlds = TwoWorlds(found, share, begin, other)
                worlds.run(reader.read(partition, begin.position), samples=asked.samples)
                show(2 * done + 1, 2 * len(partitions))
                begin = whole_from(reader, snapshots, partition)
                for one in weighing.run(begin, reader.read(partition, begin.position), share=share):
                    rows.add(one)
            except LogTooShort as short:
                raise CommandFailed(f"the log cannot be simulated: {short}") from short
            found.partitions += 1
            show(2 * done + 2, 2 * len(partitions))
    weighing.take_elsewhere(rows.rows)
    found.moved.count(found, samples=asked.samples)
    if not (found.before.decisions or found.after.decisions):
        raise CommandFailed(f"the log of {config.data_dir} holds no decision, so there is nothing to simulate")
    found.without_counterpart = weighing.without_counterpart
    found.households_share = rows.share
    rows.leave_open_out(found.to_us - asked.window_us, weighing.left_out)
    found.value = value_anew(
        rows.chosen(), asked=(ACCEPTED, EARNED), left_out=weighing.left_out, config=asked.evaluation
    )
    return found


class TwoWorlds:
    """One partition, simulated by the log's own playbooks and by the other one, side by side."""

    def __init__(self, found: Counterfactual, share: CapacityShare, begin: Start, other: Start) -> None:
        self._found, self._share = found, share
        self._is_stream = begin.replay.stream_clock
        self._epoch = EpochFact(
            epoch=begin.replay.epoch,
            is_stream=begin.replay.stream_clock,
            partition=begin.replay.partition,
            partition_count=begin.replay.partition_count,
        )
        self._made = OrderedDict[str, AnsweredAction]()
        """Of the log, by action id."""
        self._contacted: set[bytes] = set()
        """Who were really sent something."""
        self._before: SimulatedPartition | None = None
        self._after: SimulatedPartition | None = None
        self._logged: Plan | None = None
        if begin.replay.state is not None and other.replay.state is not None:
            # The log has lost its beginning: both go on from the same snapshot.
            self._logged = begin.replay.state.plan
            self._note_version(self._logged)
            self._before = self._world(begin.replay.state.plan, begin.replay.state)
            self._after = self._world(found.plan, migrated(other.replay.state, found.plan))

    def run(self, records: Iterable[StoredRecord], *, samples: int) -> None:
        """Let it happen, and tell what differs."""
        for fact in facts_of(records, plan=self._logged, epoch=self._epoch.epoch):
            match fact:
                case EpochFact():
                    self._is_stream = fact.is_stream
                    self._epoch = fact
                    for world in self._worlds():
                        world.epoch(fact.epoch, partition=fact.partition, partition_count=fact.partition_count)
                case PlanFact():
                    self._note_version(fact.plan)
                    self._begin_under(fact)
                case EventsFact():
                    for world in self._worlds():
                        self._happens(world, fact)
                    self._note_time(fact.stamp_us)
                case DecisionFact():
                    self._decided(fact)
                    self._note_time(fact.stamp_us)
                case HandedFact():
                    household = self._household_of(fact.action_id)
                    if household is not None:
                        self._contacted.add(household)
                case RelocationFact():
                    for world in self._worlds():
                        world.relocated(fact.note, fact.plan, fact.stamp_us)
                    self._note_time(fact.stamp_us)
                case _:
                    assert_never(fact)
        before, after, found = self._before, self._after, self._found
        if before is None or after is None:
            return
        found.moved.take_out(before, after, self._contacted)
        found.contacts.take(before.tally, after.tally, samples=samples)
        found.before.add(before.tally.counts)
        found.after.add(after.tally.counts)
        found.logged_households += len(self._contacted)
        found.logged_and_before += len(self._contacted & before.tally.contacted.keys())

    def _household_of(self, action_id: str) -> bytes | None:
        """Return whose action it is that was handed over; None for nobody's that is known."""
        known = self._made.get(action_id)
        if known is not None:
            return known.household
        # It was decided where its household lay before.
        state = None if self._before is None else self._before.state
        action = None if state is None else state.actions.get(action_id)
        return None if state is None or action is None else state.households.key(action.household)

    def _worlds(self) -> Iterator[SimulatedPartition]:
        if self._before is not None and self._after is not None:
            yield from (self._before, self._after)

    def _world(self, plan: Plan, state: PartitionState | None = None) -> SimulatedPartition:
        world = SimulatedPartition(plan, share=self._share, is_stream=self._is_stream, score=priors, state=state)
        term = self._epoch
        world.epoch(term.epoch, partition=term.partition, partition_count=term.partition_count)
        return world

    def _begin_under(self, fact: PlanFact) -> None:
        if self._before is None:
            self._before, self._after = self._world(fact.plan), self._world(self._found.plan)
        else:
            self._before.put_into_force(fact.plan, fact.stamp_us)

    def _note_version(self, plan: Plan) -> None:
        if plan.version not in self._found.logged_versions:
            self._found.logged_versions.append(plan.version)

    def _note_time(self, stamp_us: int) -> None:
        assert self._before is not None or not self._is_stream
        at_us = int(self._before.state.now_us) if self._is_stream and self._before is not None else stamp_us
        self._found.from_us = min(self._found.from_us or at_us, at_us)
        self._found.to_us = max(self._found.to_us, at_us)

    def _decided(self, fact: DecisionFact) -> None:
        decision = fact.decision
        for entry in decision.slate:
            self._made[entry.action_id] = AnsweredAction(
                household=decision.household, offer=entry.offer, price_minor=entry.price_minor
            )
        while len(self._made) > ANSWERS_KEPT:
            self._made.popitem(last=False)
        if decision.channel:
            question = AskedAgain(
                household=decision.household,
                member=decision.member,
                channel=decision.channel,
                request_id=decision.request_id,
                contact_types=fact.contact_types,
                at_us=decision.decided_us,
            )
            for world in self._worlds():
                world.asked(question)

    def _happens(self, world: SimulatedPartition, fact: EventsFact) -> None:
        """Let events happen; reports only of what was said here, too."""
        batch = decode_signals(fact.payload, world.state.plan)
        left_out, here, counts = list[int](), dict[int, str](), world.tally.counts
        for told in batch.outcomes:
            known = self._made.get(told.action_id)
            if known is None:
                # Of what came with its household everything is as the log has it.
                found = told.action_id if told.action_id in world.state.actions else None
            else:
                found = None if told.outcome in OWN_REPORTS else world.about(known, told.channel)
            if told.outcome not in OWN_REPORTS:
                counts.answers_used += found is not None
                counts.answers_left += found is None
            if found is None:
                left_out.append(told.row)
            else:
                here[told.row] = found
        if not batch.outcomes:
            world.happened(batch, fact.stamp_us, asking=fact.asking)
            return
        world.pass_time(fact.stamp_us)
        for part in without(about_here(batch, here), left_out):
            world.happened(part, fact.stamp_us, asking=fact.asking)


class ValuedRows:
    """Decisions to be valued; of too many, those of a share of the households."""

    def __init__(self) -> None:
        self.rows: list[WeighedDecision] = []
        self.share = 1.0

    def add(self, one: WeighedDecision) -> None:
        """Take one, unless its household is not among those that are drawn."""
        if _lies_at(one.household) >= self.share:
            return
        self.rows.append(one)
        if len(self.rows) > ROWS_MOST:
            self.share /= 2
            self.rows = [row for row in self.rows if _lies_at(row.household) < self.share]

    def leave_open_out(self, last_us: int, left_out: Counter[str]) -> None:
        """Leave out those decided later than that: what became of them is not known yet."""
        known = [one for one in self.rows if one.decided_us <= last_us]
        if len(known) < len(self.rows):
            left_out[WINDOW_OPEN] += len(self.rows) - len(known)
        self.rows = known

    def chosen(self) -> list[ChosenAnew]:
        """Return them as they are valued; what is known is told of those of the commonest features alone."""
        hashes = Counter(one.schema_hash for one in self.rows)
        common = hashes.most_common(1)[0][0] if hashes else ""
        width = next((len(one.context) for one in self.rows if one.schema_hash == common), 0)
        unknown = np.full(width, np.nan, np.float32)
        return [
            ChosenAnew(
                decision_id=one.decision_id,
                household=one.household,
                action=one.action,
                propensity=one.propensity,
                logged=one.logged,
                wanted=one.wanted,
                context=one.context if one.schema_hash == common else unknown,
                rewards={ACCEPTED: float(one.accepted > 0), EARNED: float(one.earned_minor)},
            )
            for one in self.rows
        ]


def _lies_at(household: bytes) -> float:
    return int.from_bytes(hashlib.blake2b(household, key=b"valued", digest_size=8).digest(), "big") / 2**64
