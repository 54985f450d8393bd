"""How fast a counterfactual simulation is beside the time its log spans, and how often its interval holds the truth.

    python -m tests.benches.simulate_bench speed [--households N] [--days D]
    python -m tests.benches.simulate_bench coverage [--runs N] [--first SEED] [--processes P] [--households N]

A town lives under the shipped playbook, in which more is explored; who asks and is answered accepts by a chance of his
own that nobody else knows. The other playbook thinks more of what keeps people at home. The truth of a run is what its
choices would have brought in these very decisions, by those chances. Prints JSON; also how many decisions replay equal.
"""

import argparse
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pyarrow as pa

from actors.exports.point_in_time import Start
from actors.exports.redeciding import redecided
from actors.exports.weighed_anew import WeighingAnew
from actors.log.contract import Epoch, Offset, Record, RecordKind, StoredRecord
from actors.partition.draft_scoring import priors
from actors.records import codec
from actors.records.signals import decode_signals
from actors.shard.warm import warm_kernels
from cluster.commands.counterfactual import ACCEPTED, EARNED, Counterfactual, TwoWorlds, ValuedRows
from household.contact_rules.share import CapacityShare
from household.decision import Decision
from household.delivery import DeliveryNote
from household.plan import Plan
from household.state import FOLD_VERSION
from insight.evaluation.anew import value_anew
from insight.evaluation.evaluate import EvaluationConfig
from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town import MONDAY_US, Town
from loadtest.town.vocabulary import CHANNEL_BY_CONTACT
from playbooks.compiler import compile_playbook
from playbooks.simulating.happened import AskedAgain
from playbooks.simulating.partition import SimulatedPartition
from playbooks.simulating.tally import SaidAction
from serving.signal_batches import report_batch
from tests.benches.recovery_bench import signal_batches

EVENTS = 200
"""Signals of a record."""
WINDOW_US = 86_400_000_000
REPLIES_AFTER_US = 60_000_000
EXPLORATION = 0.3
LIFTED = 4.0
LIFTED_FAMILIES = ("broadband", "smart_home")


def chance_of(household: bytes, offer: str) -> float:
    """Return how likely a household accepts an offer: its own, and no feature tells it all."""
    digest = hashlib.blake2b(household + b"/" + offer.encode(), digest_size=8).digest()
    return 0.4 * (int.from_bytes(digest, "big") / 2**64) ** 2


class LoggingOwner(SimulatedPartition):
    """Owns a partition, and writes its log into memory."""

    def __init__(self, plan: Plan, seed: int) -> None:
        super().__init__(plan, share=CapacityShare(), is_stream=False, score=priors)
        self.records: list[StoredRecord] = []
        self.replies: list[bytes] = []
        self._draw = np.random.default_rng(seed)
        opening = codec.EpochOpening(owner="bench", stream_clock=False, fold_version=FOLD_VERSION)
        self.write(RecordKind.EPOCH, codec.EPOCH_LAYOUT, codec.encode_epoch(opening), MONDAY_US)
        self.write(RecordKind.PLAN, codec.PLAN_LAYOUT, codec.encode_plan(plan), MONDAY_US)
        self.epoch(1)

    def write(self, kind: RecordKind, version: int, payload: bytes, stamp_us: int) -> None:
        record = Record(kind=kind, version=version, epoch=Epoch(1), stamp_us=stamp_us, payload=payload)
        self.records.append(StoredRecord(offset=Offset(len(self.records)), record=record))

    def take(self, payload: bytes, stamp_us: int, asking: frozenset[bytes] = frozenset()) -> None:
        self.pass_time(stamp_us)
        self.write(RecordKind.SIGNALS, codec.SIGNALS_LAYOUT, payload, stamp_us)
        self.happened(decode_signals(payload, self.state.plan), stamp_us, asking=asking)

    def _fold_decision(self, decision: Decision, payload: bytes, stamp_us: int) -> None:
        self.write(RecordKind.DECISION, codec.DECISION_LAYOUT, payload, stamp_us)
        super()._fold_decision(decision, payload, stamp_us)
        if not decision.slate or decision.withheld:
            return
        first = decision.slate[0]
        if self._draw.random() < chance_of(decision.household, first.offer):
            made = report_batch(
                request_id=f"a-{first.action_id}",
                household=decision.household.decode(),
                member=decision.member.decode(),
                event_type="hearth.accept",
                action_id=first.action_id,
                channel=decision.channel or decision.send_channel,
                time_us=decision.decided_us + REPLIES_AFTER_US,
            )
            self.replies.append(made)

    def _fold_note(self, note: DeliveryNote, stamp_us: int) -> None:
        self.write(RecordKind.DELIVERY, codec.DELIVERY_LAYOUT, codec.encode_delivery([note]), stamp_us)
        super()._fold_note(note, stamp_us)

    def _fold_tick(self, stamp_us: int) -> None:
        self.write(RecordKind.TICK, codec.TICK_LAYOUT, b"", stamp_us)
        super()._fold_tick(stamp_us)

    def _delivered(self, said: SaidAction, now_us: int) -> None:
        payload = report_batch(
            request_id=f"d-{said.action_id}-{said.channel}",
            household=said.household.decode(),
            member=said.member.decode(),
            event_type="hearth.delivered",
            action_id=said.action_id,
            channel=said.channel,
            time_us=now_us,
        )
        self.write(RecordKind.SIGNALS, codec.SIGNALS_LAYOUT, payload, now_us)
        self.happened(decode_signals(payload, self.state.plan), now_us)


def payloads(town: Town) -> Iterator[pa.RecordBatch]:
    for batch in signal_batches(town, 65_536):
        for start in range(0, batch.num_rows, EVENTS):
            yield batch.slice(start, EVENTS)


def encoded(rows: pa.RecordBatch) -> bytes:
    columns = {
        name: column.dictionary_decode().dictionary_encode() if pa.types.is_dictionary(column.type) else column
        for name, column in zip(rows.schema.names, rows.columns, strict=True)
        if ":" not in name or column.null_count < len(column)
    }
    sent, sink = pa.record_batch(columns), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, sent.schema) as writer:
        writer.write_batch(sent)
    return bytes(sink.getvalue().to_pybytes())


def lived(plan: Plan, *, seed: int, households: int, days: float) -> LoggingOwner:
    """Return the owner of a partition in which a town has lived some days, with its log."""
    town = Town(seed=seed, households=households, start_us=MONDAY_US, days=days, plan=plan)
    owner = LoggingOwner(plan, seed)
    channels = {plan.event_type_by_name[event]: channel for event, channel in CHANNEL_BY_CONTACT.items()}
    for rows in payloads(town):
        payload = encoded(rows)
        batch = decode_signals(payload, plan)
        stamp_us = max(int(batch.times_us.max()), int(owner.state.now_us))
        asks = {
            (batch.households[row], batch.members[row]): (channels[kind], kind, batch.ids[row])
            for row, kind in enumerate(batch.types.tolist())
            if kind in channels
        }
        owner.take(payload, stamp_us, frozenset(household for household, _ in asks))
        for place, ((household, member), (channel, kind, event)) in enumerate(asks.items()):
            owner.asked(
                AskedAgain(
                    household=household,
                    member=member,
                    channel=channel,
                    request_id=event.hex(),
                    contact_types=(plan.event_types[kind].name,),
                    at_us=stamp_us + place + 1,
                )
            )
        replies, owner.replies = owner.replies, []
        for reply in replies:
            owner.take(reply, max(stamp_us + REPLIES_AFTER_US, int(owner.state.now_us)))
    owner.pass_time(int(owner.state.now_us) + 2 * WINDOW_US)
    return owner


def plans() -> tuple[Plan, Plan]:
    """Return the playbook of the log, and the other one."""
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    plan = replace(plan, arbitration=replace(plan.arbitration, exploration=EXPLORATION))
    lifted = [replace(one, lever=one.lever * LIFTED) if one.family in LIFTED_FAMILIES else one for one in plan.offers]
    return plan, replace(plan, offers=tuple(lifted))


def simulated(log: list[StoredRecord], other: Plan) -> tuple[Counterfactual, ValuedRows]:
    """Return what a simulation makes of a log, but for its value."""
    found, rows, share = Counterfactual(plan=other), ValuedRows(), CapacityShare()
    TwoWorlds(found, share, Start(), Start()).run(iter(log), samples=20)
    weighing = WeighingAnew(plan=other, score=priors, window_us=WINDOW_US)
    for one in weighing.run(Start(), iter(log), share=share):
        rows.add(one)
    rows.leave_open_out(found.to_us - WINDOW_US, Counter())
    return found, rows


def speed(households: int, days: float) -> dict[str, object]:
    plan, other = plans()
    log = lived(plan, seed=1, households=households, days=days).records
    began_s = time.process_time()
    found, rows = simulated(log, other)
    value = value_anew(rows.chosen(), asked=(ACCEPTED, EARNED), left_out={}, config=EvaluationConfig())
    took_s = time.process_time() - began_s
    again_s = time.process_time()
    made = equal = 0
    for one in redecided(Start(), iter(log), share=CapacityShare()):  # a week of a town does not lie in memory twice
        made += 1
        equal += one.difference is None
    span_s = (found.to_us - found.from_us) / 1e6
    return {
        "households": households,
        "days": round(span_s / 86_400, 2),
        "records": len(log),
        "decisions": made,
        "replay_equal": equal,
        "replay_processor_s": round(time.process_time() - again_s, 1),
        "counterfactual_processor_s": round(took_s, 1),
        "times_faster_than_real_time": round(span_s / took_s),
        "contacts": [found.contacts.both, found.contacts.newly, found.contacts.no_longer],
        "valued": value.decisions,
        "refusal": value.refusal.why if value.refusal else None,
    }


def covered(seed: int, households: int, days: float) -> tuple[bool, float] | None:
    """Return whether the interval of a run holds its truth, and the effective sample; None where it is refused."""
    plan, other = plans()
    _, rows = simulated(lived(plan, seed=seed, households=households, days=days).records, other)
    chosen = rows.chosen()
    value = value_anew(chosen, asked=(ACCEPTED,), left_out={}, config=EvaluationConfig(seed=seed))
    if value.dr is None:
        return None
    truth = float(np.mean([sum(p * chance_of(one.household, name) for name, p in one.wanted) for one in chosen]))
    one = value.dr[ACCEPTED]
    return one.low <= truth <= one.high, value.overlap.effective_sample if value.overlap else 0.0


def coverage(runs: int, households: int, days: float, *, processes: int, first: int) -> dict[str, object]:
    seeds = range(first, first + runs)
    told = [seeds, [households] * runs, [days] * runs]
    if processes == 1:
        found = list(map(covered, *told))
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=warm_kernels) as pool:
            found = list(pool.map(covered, *told))
    known = [one for one in found if one is not None]
    held, sizes, refused = sum(is_held for is_held, _ in known), [size for _, size in known], runs - len(known)
    return {"runs": runs, "held": held, "refused": refused, "effective_sample": round(float(np.mean(sizes or [0])), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "coverage"))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1, help="of coverage")
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--households", type=int, default=1_000)
    parser.add_argument("--days", type=float, default=2.0)
    options = parser.parse_args()
    warm_kernels()
    if options.what == "speed":
        told = speed(options.households, options.days)
    else:
        sizes = options.runs, options.households, options.days
        told = coverage(*sizes, processes=options.processes, first=options.first)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
