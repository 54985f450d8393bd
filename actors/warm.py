"""Compile the kernels before they are needed: some seconds the first time on a machine, from a cache after that."""

import numpy as np

from household.apply import apply_signals
from household.events import EventBatch, keys_of
from household.plan import EventType, Feature, FeatureKind, Field, FieldKind, Plan, Scope, Window
from household.state import NO_MEMBER, PartitionState

_DAY_US = 86_400_000_000


def warm_kernels() -> None:
    """Fold one event through every kernel. Concurrent first calls on one machine would compile twice: warm serially."""
    plan = Plan(
        name="warm",
        fields=(Field(name="amount", kind=FieldKind.NUMBER),),
        event_types=(EventType(name="warm", source="app"),),
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
