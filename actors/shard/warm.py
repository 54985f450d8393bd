"""Compile the kernels before they are needed: some seconds the first time on a machine, from a cache after that.

The cache is numba's, beside the kernels or where NUMBA_CACHE_DIR says. Processes that wrote it at the same time could
mix up its entries, so the first compiles alone, the others wait for it, and a mark of this very version of everything
then lets all load at once. An entry that cannot be loaded, as a power cut may leave it, is thrown away and compiled
again.
"""

import fcntl
import hashlib
import logging
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import llvmlite.binding
import numba
import numpy as np
from numba.core import config as numba_config

import household
from actors.passing_over import passing_over
from household.apply import apply_signals
from household.deciding.rules import Said, Weighing
from household.events import EventBatch, keys_of
from household.freeze import Freeze, thaw
from household.plan import (
    NONE,
    Channel,
    ContactPolicy,
    ContactRule,
    EventType,
    Feature,
    FeatureKind,
    Field,
    FieldKind,
    Limit,
    Plan,
    RuleScope,
    Scope,
    Window,
)
from household.state import NO_MEMBER, PartitionState
from household.tables.contacts import Contact
from household.tables.requests import KnownRequest

logger = logging.getLogger(__name__)

_DAY_US = 86_400_000_000

KERNELS: Final = Path(household.__file__).parent
UNLOADABLE: Final = (EOFError, pickle.UnpicklingError, ValueError, KeyError, AttributeError, ImportError)
"""What numba raises at an entry of its cache that is not as it was written."""

LOCK_NAME, MARK_PREFIX = "hearth-kernels.lock", "hearth-kernels-"


def warm_kernels() -> None:
    """Have every kernel compiled: beside other processes, where that was done before on this machine."""
    cache = Path(numba_config.CACHE_DIR) if numba_config.CACHE_DIR else KERNELS  # there, beside every file of kernels
    with first_alone(cache if numba_config.CACHE_DIR else KERNELS / "__pycache__"):
        try:
            fold_once()
        except UNLOADABLE as wrong:
            logger.warning("the cache of compiled kernels in %s cannot be loaded (%r) and is made anew", cache, wrong)
            throw_away(cache)
            fold_once()


@contextmanager
def first_alone(folder: Path) -> Iterator[None]:
    """Let one process after another through, until one has come out again; then all of them.

    Args:
        folder: of the cache; in one that cannot be written nothing is kept, and nobody has to wait.
    """
    mark = folder / f"{MARK_PREFIX}{_stamp()}"
    if mark.exists():
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if mark.exists():
            # Whoever was here before has compiled all.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            yield
            return
        yield
        with passing_over(OSError, because="marks that stay are looked at again"):
            for old in folder.glob(f"{MARK_PREFIX}*"):
                old.unlink()
            mark.touch()
    finally:
        os.close(descriptor)


def throw_away(folder: Path) -> None:
    """Remove the compiled kernels."""
    for kind in ("nbi", "nbc"):
        for file in folder.rglob(f"*.{kind}"):
            with passing_over(OSError, because="another process may have removed it"):
                file.unlink()


def _stamp() -> str:
    """Return what tells apart all that a compiled kernel depends on."""
    parts = [sys.version, numba.__version__, llvmlite.binding.get_host_cpu_name()]
    for file in sorted(KERNELS.rglob("*.py")):
        facts = file.stat()
        parts.append(f"{file} {facts.st_mtime_ns} {facts.st_size}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def fold_once() -> None:
    """Fold one event through every kernel."""
    plan = Plan(
        name="warm",
        fields=(Field(name="amount", kind=FieldKind.NUMBER),),
        event_types=(EventType(name="warm", source="app"),),
        channels=(Channel(name="warm", inbound=True, outbound=False),),
        policy=ContactPolicy(
            rules=(ContactRule(name="warm", scope=RuleScope.MEMBER, limit=Limit.GAP, window_us=1),), remembered_us=1
        ),
        windows=(Window(scope=Scope.MEMBER, events=(0,), bucket_us=_DAY_US, bucket_count=2, field=0),),
        features=(
            Feature(name="household.warm", kind=FeatureKind.COUNT, scope=Scope.HOUSEHOLD, result="int", events=(0,)),
        ),
    )
    state = PartitionState(plan=plan, stream_clock=True)
    one = keys_of([b"warm"])
    batch = EventBatch(
        ids=one,
        households=one,
        members=one,
        types=np.zeros(1, np.int32),
        times_us=np.full(1, _DAY_US),
        values=np.ones((1, 1)),
        is_bad=np.zeros(1, np.uint8),
        plan_version=plan.version,
    )
    apply_signals(state, batch, stamp_us=2 * _DAY_US)
    state.readings(0, NO_MEMBER, _DAY_US)
    state.conditions(np.array([-1]), 0, NO_MEMBER, _DAY_US)
    state.find(b"warm", b"warm")
    weighing = Weighing(state, 0, NO_MEMBER, [Said(traits="", channel=0, cost_minor=0)])
    weighing.counted_by(0, 0)
    _keep_once(state)


def _keep_once(state: PartitionState) -> None:
    """Let rows of tables come, change and go, while a freeze is under way."""
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
