"""What a Decide costs in a shard, against a bare grpc.aio call in the same run; with `--core`, in the core alone.

python -m tests.benches.decide_bench [--everything] [--without PART …] [--rounds 7] [--calls 400] [--json]
python -m tests.benches.decide_bench --core [--households 2000] [--rounds 7] [--models 1|3] [--json]

In a shard: one, in this process, with the telco playbook, 16 clients, priors scoring and no real syncs
(tests/benches/decide_shard.py). A fresh decision weighs all that a contact may bring up; the bare call is an answer of
the same bytes by a server and a client of grpc.aio in this process, in turns with the shard. CPU of the process, median
of the rounds; the ratio is the median of the rounds' own. In the core: CPU of a fresh one, of a slate that stands, of
one that expires; no log, no loop. Encoding is part of it: a decision is encoded once, as the bytes of its record. The
least of some rounds: what else runs makes them longer, never shorter. With `--models 3` uplift and churn are told as
well, weighed, recorded and encoded; `scoring` is what three boosters of 100 trees take for the rows of one decision.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xgboost

from actors.records.signals import events_from_batch
from actors.shard.warm import warm_kernels
from household.apply import apply_decision, apply_epoch, apply_signals, apply_tick
from household.decide import Ask, Scores, decide, prepare, still_allowed
from household.decision_bytes import encode_decision
from household.plan import Plan, ValueTerm
from household.scoring import feature_schema
from household.state import PartitionState
from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town import MONDAY_US, Town
from playbooks.compiler import compile_playbook
from serving.models.probe import OpenModel
from tests.benches import decide_shard
from tests.benches.recovery_bench import signal_batches

MINUTE_US = 60_000_000
DAYS = 2.0


class Core:
    """A partition that lived for some days."""

    def __init__(self, plan: Plan, households: int) -> None:
        self.plan = plan
        town = Town(seed=1, households=households, start_us=MONDAY_US, days=DAYS, plan=plan)
        self.state = PartitionState(plan=plan, stream_clock=False)
        apply_epoch(self.state, epoch=1)
        self.now_us = town.end_us
        for batch in signal_batches(town, 65_536):
            apply_signals(self.state, events_from_batch(batch, plan), stamp_us=self.now_us)
        self.offset = 0
        self.app = plan.channel_by_name["app"]
        self.contacts = frozenset(event for journey in plan.journeys for event in journey.contact_events)

        self.models = 1

    def ask(self, row: int, request_id: str) -> bytes:
        """Decide as an owner does, from the question to the fold of its record; return the record's payload."""
        state = self.state
        members = state.members.children(row)
        ask = Ask(
            household=state.households.key(row),
            member=state.members.key(members[0]) if members else b"",
            channel=self.app,
            request_id=request_id,
            is_contact=True,
            contact_types=self.contacts,
        )
        draft = prepare(state, ask)
        priors = {index: self.plan.offers[index].prior_acceptance for index in draft.to_score}
        scores = Scores(by_offer=priors, model_version="prior", degraded=False)
        if self.models > 1 and priors:
            scores = replace(scores, terms=((ValueTerm.UPLIFT, scores), (ValueTerm.CHURN, scores)))
        decision = decide(state, draft, scores, epoch=1, schema_hash="")
        assert still_allowed(state, draft)
        payload = encode_decision(decision, member_keys={})
        self.offset += 1
        apply_decision(state, decision, payload, epoch=1, offset=self.offset, stamp_us=self.now_us)
        return payload

    def tick(self) -> None:
        """Let pass what time makes due."""
        apply_tick(self.state, epoch=1, stamp_us=self.now_us)


def cpu_us(work: Callable[[], None]) -> float:
    """Return the CPU time that something took."""
    began_ns = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - began_ns) / 1e3


def measure(households: int, rounds: int, models: int) -> dict[str, float]:
    """Return the least CPU µs per call by what was done."""
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    warm_kernels()
    took: dict[str, list[float]] = {"fresh": [], "standing": [], "expiring": []}
    for _ in range(rounds):
        core = Core(plan, households)
        core.models = models
        rows = range(core.state.households.count)

        def everybody(core: Core = core, rows: range = rows, word: str = "r") -> None:
            for row in rows:
                core.ask(row, f"{word}{row}")

        took["fresh"].append(cpu_us(everybody) / len(rows))
        core.now_us += MINUTE_US
        took["standing"].append(cpu_us(lambda core=core, rows=rows: everybody(core, rows, "s")) / len(rows))
        live = len(core.state.slates)
        core.now_us += 366 * 86_400_000_000
        took["expiring"].append(cpu_us(core.tick) / live)
    least = {name: round(float(np.min(values)), 1) for name, values in took.items()}
    return least | {"scoring": scoring_us(plan, models, rounds)}


def scoring_us(plan: Plan, models: int, rounds: int) -> float:
    """Return the least CPU µs of predicting 8 candidates: one of three models is of the household, in one row."""
    schema, draw = feature_schema(plan), np.random.default_rng(0)
    asked = []
    for number in range(models):
        names = schema.names_for(ValueTerm.CHURN if number == 2 else ValueTerm.ACCEPTANCE)
        rows = draw.normal(size=(2_000, len(names))).astype(np.float32)
        label = (rows[:, 0] > 0).astype(np.float32)
        grown = xgboost.train(
            {"objective": "binary:logistic", "max_depth": 6, "nthread": 1},
            xgboost.DMatrix(rows, label, feature_names=list(names)),
            100,
        )
        asked.append((OpenModel(bytes(grown.save_raw("ubj"))), rows[: 1 if number == 2 else 8]))

    def score() -> None:
        for _ in range(200):
            for model, rows in asked:
                model.predict(rows)

    return round(min(cpu_us(score) for _ in range(rounds)) / 200, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", action="store_true", help="of the core alone")
    parser.add_argument("--calls", type=int, default=400, help="of each kind per round")
    everything = "every candidate is scored, and every rule asked of it"
    parser.add_argument("--everything", action="store_true", help=everything)
    parts = decide_shard.PARTS
    parser.add_argument("--without", nargs="+", choices=parts, default=[], help="leave out of the playbook, to compare")
    parser.add_argument("--households", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", type=int, choices=(1, 3), default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.core:
        found = asyncio.run(
            decide_shard.measure(options.rounds, options.calls, everything=options.everything, less=options.without)
        )
        print(json.dumps(found) if options.json else decide_shard.told(found))
        return
    took = measure(options.households, options.rounds, options.models)
    if options.json:
        print(json.dumps(took))
        return
    for name, value in took.items():
        print(f"{name:<10} {value:>8.1f} µs")


if __name__ == "__main__":
    main()
