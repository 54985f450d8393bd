"""From one plan to the next: what a household had stays with it, matched by name and definition, never by position.

A feature keeps its cells when the new plan declares it the same way (or, for a profile, with other names for its
values). A feature declared anew starts at its initial value. Keys, known ids, moments, decisions and contacts stay.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from household.columns import Layout
from household.plan import NONE, Feature, FeatureKind, Plan, Scope, Window
from household.state import Outbound, PartitionState

Definition = tuple[object, ...]


def migrated(state: PartitionState, plan: Plan) -> PartitionState:
    """Return the state under another plan; the same state if the plan is the one in force."""
    if plan.version == state.plan.version:
        return state
    new = PartitionState(
        plan=plan,
        stream_clock=state.stream_clock,
        now_us=state.now_us,
        epoch=state.epoch,
        households=state.households,
        members=state.members,
        dedupe=state.dedupe,
        ledgers=state.ledgers,
        actions=state.actions,
        requests=state.requests,
        outbox=_outbox(state, plan),
        counters=state.counters,
        next_offset=state.next_offset,
    )
    new.cells = new.cells._replace(slab=state.cells.slab)
    new.ensure_rows()
    for scope in Scope:
        _copy_cells(state, new, scope)
    return new


def _outbox(state: PartitionState, plan: Plan) -> dict[str, Outbound]:
    """Channels are indices of a plan; one that is gone expires its unsent actions at the next tick."""
    names = [channel.name for channel in state.plan.channels]
    return {
        action_id: replace(item, channel=plan.channel_by_name.get(names[item.channel], NONE))
        for action_id, item in state.outbox.items()
    }


def _copy_cells(old: PartitionState, new: PartitionState, scope: Scope) -> None:
    if scope is Scope.HOUSEHOLD:
        count, old_bases, new_bases = old.household_rows, old.cells.household_bases, new.cells.household_bases
    else:
        count, old_bases, new_bases = old.member_rows, old.cells.member_bases, new.cells.member_bases
    old_rows, new_rows = old_bases[:count], new_bases[:count]
    for source, target, length, codes in _moves(old, new, scope):
        for cell in range(length):
            values = old.cells.flat[old_rows + source + cell]
            new.cells.flat[new_rows + target + cell] = values if codes is None or cell else _recoded(values, codes)


def _recoded(values: NDArray[np.float64], codes: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    recoded = np.full_like(values, np.nan)
    recoded[known] = codes[values[known].astype(np.int64)]
    return recoded


def _moves(
    old: PartitionState, new: PartitionState, scope: Scope
) -> list[tuple[int, int, int, NDArray[np.float64] | None]]:
    """Return (old cell, new cell, how many, codes of the first): what to copy in every row of a scope."""
    moves: list[tuple[int, int, int, NDArray[np.float64] | None]] = []
    olds = {_feature_definition(old.plan, feature): i for i, feature in enumerate(old.plan.features)}
    for i, feature in enumerate(new.plan.features):
        found = olds.get(_feature_definition(new.plan, feature))
        if found is None or feature.scope is not scope or new.layout.feature_cells[i] == NONE:
            continue
        length = _cell_count(new.layout, feature)
        codes = _codes(old.plan.features[found], feature)
        moves.append((old.layout.feature_cells[found], new.layout.feature_cells[i], length, codes))
    windows = {_window_definition(old.plan, window): i for i, window in enumerate(old.plan.windows)}
    for i, window in enumerate(new.plan.windows):
        found = windows.get(_window_definition(new.plan, window))
        if found is not None and window.scope is scope:
            moves.append((old.layout.window_cells[found], new.layout.window_cells[i], 1, None))
    for i, journey in enumerate(new.plan.journeys):
        found = old.plan.journey_by_name.get(journey.name)
        if found is None or journey.trigger is None or journey.trigger.scope is not scope:
            continue
        before = old.plan.journeys[found].trigger
        if before is not None and before.scope is scope:
            moves.append((old.layout.trigger_cells[found], new.layout.trigger_cells[i], 2, None))
    return moves


def _cell_count(layout: Layout, feature: Feature) -> int:
    return sum(
        column.scope is feature.scope and (column.name == feature.name or column.name.startswith(f"{feature.name}."))
        for column in layout.columns
    )


def _codes(old: Feature, new: Feature) -> NDArray[np.float64] | None:
    """Return what each old value of a profile is called by now; NaN for a name that is gone."""
    if new.kind is not FeatureKind.PROFILE or old.values == new.values:
        return None
    return np.array(
        [float(new.values.index(name)) if name in new.values else np.nan for name in old.values] or [np.nan]
    )


def _names(plan: Plan, events: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(sorted(plan.event_types[event].name for event in events))


def _text(plan: Plan, program: int) -> str:
    return "" if program == NONE else plan.programs[program].text


def _field(plan: Plan, field: int) -> str:
    return "" if field == NONE else plan.fields[field].name


def _feature_definition(plan: Plan, feature: Feature) -> Definition:
    values = () if feature.kind is FeatureKind.PROFILE else feature.values
    return (
        feature.name,
        feature.kind,
        feature.scope,
        _names(plan, feature.events),
        _names(plan, feature.off_events),
        _text(plan, feature.where),
        _field(plan, feature.field),
        feature.keep,
        feature.half_life_us,
        feature.gap_us,
        values,
    )


def _window_definition(plan: Plan, window: Window) -> Definition:
    return (
        window.scope,
        _names(plan, window.events),
        _text(plan, window.where),
        _field(plan, window.field),
        window.bucket_us,
        window.bucket_count,
    )
