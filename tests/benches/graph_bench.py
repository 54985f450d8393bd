"""What the graph costs, and how many random lists of graph events and signals come out right.

    python -m tests.benches.graph_bench                  # graph events a second; Ingest and the fold by identifier
    python -m tests.benches.graph_bench --lists 100000   # each in 4 orders (--orders), against the reference; minutes
    python -m tests.benches.graph_bench --merges 10000   # taken back, against the log without; sums after every event

One core, in process, by the clock of the CPU. Ingest is what edge and owner do for a request of 1,000 signals of the
telco playbook, without gRPC, log and answer, which cost both alike: read it, split it, decode it, fold it. Half of
the requests are there already, and all who are named.
"""

import argparse
import gc
import statistics
import time

from actors.records.signals import decode_signals
from hearth.v1 import signal_pb2
from household.apply import apply_epoch, apply_signals
from household.digest import state_digest
from household.events import EventBatch
from household.plan import Plan
from household.state import PartitionState
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from serving.signal_batches import batch_from_signals
from tests.household.graph_reference import Said
from tests.household.graph_worlds import (
    EXACT,
    HOUR_US,
    NOW_US,
    Told,
    assert_conserved,
    assert_taken_back,
    batch_of_told,
    expected_of_households,
    folded,
    some_told,
    told_of_households,
)
from wire.partitions import split_by_partition

BATCH_ROWS = 1_000
ORDERS = 4
REQUESTS = 100
FOLDS = 20
LISTENED_FOR = ("app.balance_check", "app.session_started")
"""Types of signals by which journeys of the telco playbook arise."""


def _family(number: int) -> list[Told]:
    """Return what a CRM tells of one family: two people, a line, their numbers, and that two accounts are one."""
    at_us = NOW_US - 20 * HOUR_US + number
    anna, ben, sim = f"member:anna{number}", f"member:ben{number}", f"line:sim{number}"
    house = f"house{number}"
    told = [
        Said(b"", "join", at_us, subjects=(anna,), household=house),
        Said(b"", "join", at_us + 1, subjects=(ben,), household=house),
        Said(b"", "join", at_us + 2, subjects=(sim,), household=house),
        Said(b"", "link", at_us + 3, identifier=f"msisdn:+44{number}", subjects=(sim,)),
        Said(b"", "link", at_us + 4, identifier=f"email:anna{number}@x.org", subjects=(anna,)),
        Said(b"", "link", at_us + 5, identifier=f"email:ben{number}@x.org", subjects=(ben,)),
        Said(b"", "merge", at_us + 6, household=house, other=f"account{number}"),
        Said(b"", "leave", at_us + 7, subjects=(ben,)),
    ]
    return [Said(**{**vars(one), "id": b"g%d-%d" % (number, i)}) for i, one in enumerate(told)]


def _fold_time_s(state: PartitionState, batches: list[EventBatch]) -> float:
    start = time.process_time()
    for batch in batches:
        assert not apply_signals(state, batch, stamp_us=NOW_US).statuses.any()
    return time.process_time() - start


def _batches(told: list[Told]) -> list[EventBatch]:
    return [batch_of_told(EXACT, told[start : start + BATCH_ROWS]) for start in range(0, len(told), BATCH_ROWS)]


def _state(plan: Plan = EXACT) -> PartitionState:
    state = PartitionState(plan=plan, stream_clock=False)
    apply_epoch(state, epoch=1)
    return state


def measure(families: int, rounds: int) -> None:
    """Print what graph events cost, and signals by household and by identifier."""
    told = [one for number in range(families) for one in _family(number)]
    assert folded(told[:80]).counters.received
    batches = _batches(told)
    _as_a_shard()
    spent_s = min(_fold_time_s(_state(), batches) for _ in range(rounds))
    print(f"graph events: {len(told):,}, {len(told) / spent_s:,.0f}/s")
    ratios = []
    for number in range(rounds):
        spent = {name: _ingest_us(name, families) for name in ("household", "identifier")}
        ratios.append(spent["household"] / spent["identifier"])
        if number == rounds - 1:
            print(", ".join(f"Ingest by {name}: {1e6 / us:,.0f} signals/s" for name, us in spent.items()))
    print(f"Ingest by identifier: {statistics.median(ratios):.2f} of by household")
    for kind in LISTENED_FOR:
        alone_us, together_us = (
            min(_fold_us(kind, families, is_linked=is_linked) for _ in range(rounds)) for is_linked in (False, True)
        )
        print(f"fold of {kind}: by an identifier of nobody's {alone_us:.1f} us, of a family's {together_us:.1f} us")


def _as_a_shard() -> None:
    """Let the collector leave alone what is there, as a shard does when it has started."""
    gc.collect()
    gc.freeze()


def _ingest_us(name: str, families: int) -> float:
    """Return what a signal costs that names a household, or an identifier."""
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    state = _state(plan)
    requests = [_request(name, number * BATCH_ROWS, families) for number in range(REQUESTS)]
    took_s = 0.0
    for number, request in enumerate(requests):
        if number == REQUESTS // 2:
            _as_a_shard()
        begun_s = time.process_time()
        signals = signal_pb2.IngestRequest.FromString(request).signals
        ((_, payload),) = split_by_partition(batch_from_signals(signals), 1).values()
        applied = apply_signals(state, decode_signals(payload, plan), stamp_us=NOW_US)
        took_s += time.process_time() - begun_s if number >= REQUESTS // 2 else 0.0
        assert not applied.statuses.any()
    return took_s / (REQUESTS - REQUESTS // 2) / BATCH_ROWS * 1e6


def _fold_us(kind: str, families: int, *, is_linked: bool) -> float:
    """Return what the fold takes of a signal by an identifier: of nobody's, or of a family that graph events tie."""
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    state, known = _state(plan), [one for number in range(families) for one in _family(number)]
    if is_linked:
        said = [one for one in known if one.kind not in ("leave", "split")]
        assert not apply_signals(state, batch_of_told(plan, said), stamp_us=NOW_US).statuses.any()
    spent_s = []
    for number in range(FOLDS):
        signals = []
        for row in range(BATCH_ROWS):
            name = ("anna", "ben")[row // families % 2]
            identifier = f"email:{name}{row % families}@x.org"
            one = signal_pb2.Signal(event_id=f"s{number}-{row}", source="app", type=kind, identifier=identifier)
            one.time.FromMicroseconds(NOW_US - HOUR_US + number * BATCH_ROWS + row)
            signals.append(one)
        ((_, payload),) = split_by_partition(batch_from_signals(signals), 1).values()
        batch = decode_signals(payload, plan)
        begun_s = time.process_time()
        assert not apply_signals(state, batch, stamp_us=NOW_US).statuses.any()
        spent_s.append(time.process_time() - begun_s)
    return statistics.median(spent_s[FOLDS // 2 :]) / BATCH_ROWS * 1e6


def _request(name: str, first: int, families: int) -> bytes:
    signals = []
    for number in range(first, first + BATCH_ROWS):
        family = number % families
        whom = {"household": f"house{family}"} if name == "household" else {"identifier": f"msisdn:+44770{family:07d}"}
        one = signal_pb2.Signal(event_id=f"{name}{number}", source="network", type="network.data_session", **whom)
        one.time.FromMicroseconds(NOW_US - HOUR_US + number)
        one.fields["megabytes"].number = number % 97
        signals.append(one)
    return signal_pb2.IngestRequest(signals=signals).SerializeToString()


def judge(lists: int, first: int, orders: int) -> None:
    """Fold random lists in several orders, against the reference; stop at the first that differs."""
    for seed in range(first, first + lists):
        dice, told = some_told(seed)
        expected = expected_of_households(told)
        digests = set()
        for _ in range(orders):
            dice.shuffle(told)
            state = folded(told, batch_rows=dice.choice((1, 3, BATCH_ROWS)))
            digests.add(state_digest(state))
        read = told_of_households(state)
        assert len(digests) == 1, f"seed {seed}: {len(digests)} states"
        assert {name: read.get(name) for name in expected} == expected, f"seed {seed}"
    print(f"{lists:,} lists in {orders} orders each: one state each, and the reference's")


def take_back(merges: int, first: int) -> None:
    """Take merges of random lists back, and look at the sums after every event; stop at the first that is wrong."""
    done, seed, looks = 0, first, 0
    while done < merges:
        dice, told = some_told(seed)
        for cause in {one.why for one in told if isinstance(one, Said) and one.kind == "merge"}:
            assert_taken_back(dice, told, cause, seed)
            done += 1
        dice.shuffle(told)
        assert_conserved(told)
        looks, seed = looks + len(told), seed + 1
    print(f"{done:,} merges taken back: each the log without it, byte for byte; sums conserved after {looks:,} events")


def main() -> None:
    """Measure, or judge lists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lists", type=int, default=0)
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--merges", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    if given.lists:
        judge(given.lists, given.first, given.orders)
    elif given.merges:
        take_back(given.merges, given.first)
    else:
        measure(given.families, given.rounds)


if __name__ == "__main__":
    main()
