"""Compile the kernels before they are needed: half a minute the first time on a machine, from a cache after that.

The cache is numba's, beside the kernels or where NUMBA_CACHE_DIR says. Processes that wrote it at the same time could
mix up its entries, so the first compiles alone (actors/shard/kernel_cache.py). It does half of it itself and has the
other half, which has no function in common with it, done by a process of its own: `python -m actors.shard.warm` is for
whoever sets up a machine and has all compiled before anything waits for it. What is not gone through here is compiled
in the midst of work, when it first comes up.

An entry that cannot be loaded, as a power cut may leave it, is thrown away and compiled again.
"""

import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numba.core import config as numba_config

from actors.shard import kernel_cache
from actors.shard.kernel_cache import first_alone, folder_of_cache, is_compiled, throw_away
from household.apply import apply_epoch, apply_signals, apply_tick
from household.columns.fingerprint import fingerprint
from household.contact_rules.compiled import Said
from household.deciding.candidate_columns import CandidateColumns
from household.deciding.looking import looked_at
from household.deciding.rules import Weighing, asks_of
from household.deciding.weighed import Weighed
from household.events import UNKNOWN_TYPE, EventBatch, keys_of
from household.freeze import Freeze, thaw
from household.graph.events import GraphKind, GraphRow, saying_of
from household.journeys.settling import settle_as_they_are
from household.plan import (
    NONE,
    Again,
    Channel,
    ContactPolicy,
    ContactRule,
    EventTimeUs,
    EventType,
    Feature,
    FeatureKind,
    Field,
    FieldKind,
    Flow,
    Journey,
    JourneyStep,
    Limit,
    Offer,
    Plan,
    RuleScope,
    Scope,
    StepKind,
    Timer,
    Trigger,
    Window,
)
from household.state import NO_MEMBER, PartitionState
from household.tables.contacts import Contact
from household.tables.requests import KnownRequest
from household.weighing import weigh_all

logger = logging.getLogger(__name__)

_DAY_US = 86_400_000_000

UNLOADABLE: Final = (EOFError, pickle.UnpicklingError, ValueError, KeyError, AttributeError, ImportError)
"""What numba raises at an entry of its cache that is not as it was written."""

HERE: Final = "actors.shard.warm"


def warm_kernels() -> None:
    """Have every kernel compiled: beside other processes, where that was done before on this machine."""
    elsewhere = numba_config.CACHE_DIR
    folder = folder_of_cache(elsewhere)
    with first_alone(folder):
        try:
            _compile(folder)
        except UNLOADABLE as wrong:
            cache = Path(elsewhere) if elsewhere else kernel_cache.KERNELS  # there, beside every file of kernels
            logger.warning("the cache of compiled kernels in %s cannot be loaded (%r) and is made anew", cache, wrong)
            throw_away(cache)
            _compile(folder)


def _compile(folder: Path) -> None:
    """Go once through every kernel, in two processes where nothing is compiled yet."""
    # The one thing that both halves need is there before they part.
    fingerprint(np.zeros(1, np.uint8), 0, 1, np.uint64(0))
    fingerprint(b"0", 0, 1, np.uint64(0))
    if is_compiled(folder):
        fold_once()
        return
    for own, others in HALVES:
        with subprocess.Popen(
            [sys.executable, "-m", HERE, others], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as other:
            PARTS[own]()
            if other.wait() != 0:
                logger.info("the process that compiles %s ended with %d: done here", others, other.returncode)
    fold_once()


def fold_once() -> None:
    """Go once through every kernel."""
    for go_through in PARTS.values():
        go_through()


def _state() -> PartitionState:
    """Return a partition with a little of everything."""
    return PartitionState(plan=_plan(), stream_clock=True)


def _plan() -> Plan:
    return Plan(
        name="warm",
        fields=(Field(name="amount", kind=FieldKind.NUMBER),),
        event_types=(EventType(name="warm", source="app"),),
        channels=(Channel(name="warm", inbound=True, outbound=False),),
        policy=ContactPolicy(
            rules=(ContactRule(name="warm", scope=RuleScope.MEMBER, limit=Limit.GAP, window_us=1),), remembered_us=1
        ),
        windows=tuple(Window(scope=scope, events=(0,), bucket_us=_DAY_US, bucket_count=2, field=0) for scope in Scope),
        features=(
            Feature(name="household.warm", kind=FeatureKind.COUNT, scope=Scope.HOUSEHOLD, result="int", events=(0,)),
        ),
    )


def _journey() -> Journey:
    """Return a journey that anything begins, and that ends a day later."""
    steps = (
        JourneyStep(name="warm", kind=StepKind.WAIT, timer=Timer(after_us=_DAY_US)),
        JourneyStep(name="over", kind=StepKind.END),
    )
    flow = Flow(steps=steps, again=Again.ONCE, is_each=True, owner="nobody", budget_acts=1)
    return Journey(name="warm", trigger=Trigger(events=(0,), program=NONE), flow=flow)


def _fold() -> None:
    """Fold one event, and read what it left; weigh a candidate."""
    state = _state()
    _fold_into(state)
    _weigh(state)


def _fold_into(state: PartitionState) -> None:
    one = keys_of([b"warm"])
    batch = EventBatch(
        ids=one,
        households=one,
        members=one,
        types=np.zeros(1, np.int32),
        times_us=np.full(1, _DAY_US),
        values=np.ones((1, 1)),
        is_bad=np.zeros(1, np.uint8),
        plan_version=state.plan.version,
    )
    apply_signals(state, batch, stamp_us=2 * _DAY_US)
    state.readings(0, NO_MEMBER, _DAY_US)
    state.conditions(np.array([-1]), 0, NO_MEMBER, _DAY_US)
    looked_at(state, state.candidate_sets.of((), NONE), 0, NO_MEMBER)
    state.find(b"warm", b"warm")
    state.households.find_all(one.offsets, one.letters)
    state.dedupe.make_room(0)


def _weigh(state: PartitionState) -> None:
    """Weigh a candidate, and write it."""
    offer = Offer(name="warm", kind="offer", family="warm")
    columns = CandidateColumns(replace(state.plan, offers=(offer,)), state.coverage, {0: ""}, NONE)
    vetoed, weights = columns.vetoed([0]), columns.weights
    scores = np.zeros(1)
    terms = weigh_all(weights.worths, vetoed.score_places, scores, costs_minor=weights.costs_minor)
    Weighed(columns=columns, vetoed=vetoed, places=vetoed.score_places, scores=scores, terms=terms).packed()


def _tell() -> None:
    """Fold signals that name an identifier, and graph events that bring together whom they name; read those as one."""
    state = _state()
    _fold_into(state)
    sayings = (
        saying_of(GraphKind.LINK, {"identifier": "msisdn:1", "subjects": "member:warm"}, "", 1.0),
        saying_of(GraphKind.JOIN, {"subjects": "member:warm", "household": "warm"}, "", None),
        saying_of(GraphKind.UNLINK, {"identifier": "msisdn:1"}, "", None),
    )
    rows = 2 + len(sayings)
    batch = EventBatch(
        ids=keys_of([b"%d" % row for row in range(rows)]),
        households=keys_of([b""] * rows),
        members=keys_of([b""] * rows),
        types=np.array([0, 0, *[UNKNOWN_TYPE] * len(sayings)], np.int32),
        times_us=np.array([_DAY_US, _DAY_US + 2, *[_DAY_US] * (len(sayings) - 1), _DAY_US + 1]),
        values=np.ones((1, rows)),
        is_bad=np.zeros(rows, np.uint8),
        plan_version=state.plan.version,
        graph=tuple(GraphRow(row=2 + at, saying=saying) for at, saying in enumerate(sayings)),
        identifiers=keys_of([b"msisdn:1"] * 2 + [b""] * len(sayings)),
    )
    apply_epoch(state, epoch=1)
    freeze = Freeze(state)
    apply_signals(state, batch, stamp_us=2 * _DAY_US)
    while not freeze.step():
        pass
    freeze.end()
    for row in range(state.households.count):
        state.readings(row, NO_MEMBER, _DAY_US)


def _walk() -> None:
    """Let an instance begin, be moved by time, and be settled."""
    state = PartitionState(plan=replace(_plan(), journeys=(_journey(),)), stream_clock=True)
    _fold_into(state)
    for days in (1, 2, 400):
        state.now_us = EventTimeUs(days * _DAY_US)
        apply_tick(state, epoch=0, stamp_us=int(state.now_us))
    settle_as_they_are(state, state.instances.slots_in_order())


def _keep() -> None:
    """Ask the rules of contacts; let rows of tables come, change and go, while a freeze is under way."""
    state = _state()
    assert state.rules is not None
    asks = asks_of(state.rules, [Said(traits="", channel=0, cost_minor=0)])
    weighing = Weighing(state, 0, NO_MEMBER, asks)
    weighing.counted_by(0, 0)
    for number in range(100):  # so many that everything has to grow
        state.requests.put(KnownRequest(b"warm", f"warm {number}", "", -1, _DAY_US))
    state.contacts.put(Contact(_DAY_US, NO_MEMBER, NONE, "warm"), owner=0)
    freeze = Freeze(state)
    state.contacts.rewrite(0, lambda contact: replace(contact, is_handed=True))
    state.requests.get(b"warm", "other")
    for slots in (state.requests.slots_in_order(), state.requests.due(10**18)):
        state.requests.set(slots, seen_us=2 * _DAY_US)
    list(state.requests.up_to("seen_us", _DAY_US, "offset"))
    state.requests.remove(b"warm", "warm 1")
    state.contacts.forget(state.contacts.slots_in_order())
    state.contacts.slots_with(np.zeros(1, np.int64), "action_id", np.zeros(1, np.int64))
    while not freeze.step():
        pass
    state.requests.put(KnownRequest(b"warm", "late", "", -1, -_DAY_US))
    state.requests.forget_due(0)
    frozen = freeze.end()
    assert frozen is not None
    thaw(frozen)
    state.requests.forget_due(_DAY_US)
    state.tables.texts.find(b"warm")


PARTS: Final[dict[str, Callable[[], None]]] = {"fold": _fold, "keep": _keep, "walk": _walk, "tell": _tell}
"""What there is to go through, by name."""

HALVES: Final = (("fold", "keep"), ("walk", "tell"))
"""Compiled at once, each two in two processes, in this order: they have no function in common that is new to both."""


if __name__ == "__main__":
    if sys.argv[1:]:
        PARTS[sys.argv[1]]()
    else:
        warm_kernels()
