"""From one plan to the next: what a household had stays with it, matched by name and definition, never by position.

A feature keeps its cells when the new plan declares it the same way (or, for a profile, with other names for its
values). A feature declared anew starts at its initial value; one that reads a window which others had finds it filled.
Keys, known ids, moments, decisions and contacts stay.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from household.columns.kinds.table import KINDS
from household.columns.layout import Layout
from household.columns.windows import copied_counts, give_back
from household.graph.folding import settle_all
from household.journeys.versions import under_new_plan
from household.plan import NONE, EventTimeUs, Feature, Plan, Scope
from household.plan.definitions import FeatureDefinition, feature_definition, window_definition
from household.relocation.packing import under_plan
from household.state import PartitionState


def migrated(state: PartitionState, plan: Plan) -> PartitionState:
    """Return the state under another plan; the same state if the plan is the one in force.

    The new state takes over tables of the old one, which must not be used any more.
    """
    if plan.version == state.plan.version:
        return state
    codes = _channel_codes(state.plan, plan)
    settle_all(state)
    if state.freeze is not None:
        state.freeze.give_up()  # what was not kept yet of the old cells never will be
    for one in list(state.departures):
        state.departures.put(
            replace(one, data=under_plan(one.data, state.plan, plan, now_us=EventTimeUs(state.now_us)))
        )
    state.tables.carry(plan, codes, EventTimeUs(state.now_us))
    new = PartitionState(
        plan=plan,
        stream_clock=state.stream_clock,
        now_us=state.now_us,
        epoch=state.epoch,
        households=state.households,
        members=state.members,
        dedupe=state.dedupe,
        carried_tables=state.tables,
        tidied_us=state.tidied_us,
        counters=state.counters,
        fold_version=state.fold_version,
        alone_until_us=state.alone_until_us,
        share=state.share,
        partition=state.partition,
        partition_count=state.partition_count,
        uncoded_until_us=state.uncoded_until_us,
    )
    new.graph = state.graph.carried(new)
    new.cells = new.cells._replace(slab=state.cells.slab)
    new.ensure_rows()
    for scope in Scope:
        _copy_cells(state, new, scope)
        _continue_counts(state, new, scope)
        _free_windows(state, new, scope)
    under_new_plan(new, state.plan)
    return new


def _channel_codes(old: Plan, new: Plan) -> dict[int, int]:
    """Return what each channel's index is by now; NONE for one that is gone, also if it went long ago."""
    codes = {index: new.channel_by_name.get(channel.name, NONE) for index, channel in enumerate(old.channels)}
    return codes | {NONE: NONE}


def _rows(old: PartitionState, new: PartitionState, scope: Scope) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each row of a scope that was there before starts, in the old and in the new cells."""
    if scope is Scope.HOUSEHOLD:
        count = old.household_rows
        return old.cells.household_bases[:count], new.cells.household_bases[:count]
    count = old.member_rows
    return old.cells.member_bases[:count], new.cells.member_bases[:count]


def _copy_cells(old: PartitionState, new: PartitionState, scope: Scope) -> None:
    old_rows, new_rows = _rows(old, new, scope)
    for source, target, length in _moves(old, new, scope):
        for cell in range(length):
            new.cells.flat[new_rows + target + cell] = old.cells.flat[old_rows + source + cell]
    for source, target, codes in _profile_moves(old, new, scope):
        # A profile of which nothing was heard reads the initial value of the plan in force.
        heard = ~np.isnan(old.cells.flat[old_rows + source + 1])
        values = old.cells.flat[old_rows[heard] + source]
        new.cells.flat[new_rows[heard] + target] = values if codes is None else _recoded(values, codes)
        new.cells.flat[new_rows + target + 1] = old.cells.flat[old_rows + source + 1]


def _continue_counts(old: PartitionState, new: PartitionState, scope: Scope) -> None:
    """Let windows that sum another field than before, or begin or cease to, go on counting; their sums start anew."""
    old_rows, new_rows = _rows(old, new, scope)
    kept = {window_definition(old.plan, window) for window in old.plan.windows}
    counting = {window_definition(old.plan, window).counted: i for i, window in enumerate(old.plan.windows)}
    for i, window in enumerate(new.plan.windows):
        found = counting.get(window_definition(new.plan, window).counted)
        if window.scope is not scope or found is None or window_definition(new.plan, window) in kept:
            continue
        handles = old.cells.flat[old_rows + old.layout.window_cells[found]]
        slab, copies = copied_counts(new.cells.slab, handles)
        new.cells = new.cells._replace(slab=slab)
        new.cells.flat[new_rows + new.layout.window_cells[i]] = copies


def _free_windows(old: PartitionState, new: PartitionState, scope: Scope) -> None:
    old_rows, _ = _rows(old, new, scope)
    kept = {window_definition(new.plan, window) for window in new.plan.windows}
    for i, window in enumerate(old.plan.windows):
        if window.scope is scope and window_definition(old.plan, window) not in kept:
            give_back(new.cells.slab, old.cells.flat[old_rows + old.layout.window_cells[i]])


def _recoded(values: NDArray[np.float64], codes: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    recoded = np.full_like(values, np.nan)
    recoded[known] = codes[values[known].astype(np.int64)]
    return recoded


def _kept_features(old: PartitionState, new: PartitionState, scope: Scope) -> Iterator[tuple[int, int]]:
    """Yield (old index, new index) of the features of a scope that have cells of their own and keep them."""
    olds = {_kept(old.plan, feature): i for i, feature in enumerate(old.plan.features)}
    for i, feature in enumerate(new.plan.features):
        found = olds.get(_kept(new.plan, feature))
        if found is not None and feature.scope is scope and new.layout.feature_cells[i] != NONE:
            yield found, i


def _profile_moves(
    old: PartitionState, new: PartitionState, scope: Scope
) -> Iterator[tuple[int, int, NDArray[np.float64] | None]]:
    """Yield (old cell, new cell, codes) of each profile: its value, and behind it its time."""
    for before, i in _kept_features(old, new, scope):
        if KINDS[new.plan.features[i].kind].is_recoded:
            codes = _codes(old.plan.features[before], new.plan.features[i])
            yield old.layout.feature_cells[before], new.layout.feature_cells[i], codes


def _moves(old: PartitionState, new: PartitionState, scope: Scope) -> list[tuple[int, int, int]]:
    """Return (old cell, new cell, how many): what to copy as it is in every row of a scope."""
    moves = [
        (
            old.layout.feature_cells[before],
            new.layout.feature_cells[i],
            _cell_count(new.layout, new.plan.features[i]),
        )
        for before, i in _kept_features(old, new, scope)
        if not KINDS[new.plan.features[i].kind].is_recoded
    ]
    windows = {window_definition(old.plan, window): i for i, window in enumerate(old.plan.windows)}
    for i, window in enumerate(new.plan.windows):
        # Each set of entries has one owner: of two equal windows only the first goes on.
        found = windows.pop(window_definition(new.plan, window), None) if window.scope is scope else None
        if found is not None:
            moves.append((old.layout.window_cells[found], new.layout.window_cells[i], 1))
    for i, journey in enumerate(new.plan.journeys):
        found = old.plan.journey_by_name.get(journey.name)
        if found is None or journey.trigger is None or journey.trigger.scope is not scope:
            continue
        before = old.plan.journeys[found].trigger
        is_alike = (old.plan.journeys[found].flow is None) == (journey.flow is None)
        if before is not None and before.scope is scope and is_alike:
            moves.append((old.layout.trigger_cells[found], new.layout.trigger_cells[i], 2))
    return moves


def _cell_count(layout: Layout, feature: Feature) -> int:
    return sum(
        column.scope is feature.scope and (column.name == feature.name or column.name.startswith(f"{feature.name}."))
        for column in layout.columns
    )


def _codes(old: Feature, new: Feature) -> NDArray[np.float64] | None:
    """Return what each old value of a profile is called by now; NaN for a name that is gone."""
    if old.values == new.values or not old.values:
        return None
    return np.array([float(new.values.index(name)) if name in new.values else np.nan for name in old.values])


def _kept(plan: Plan, feature: Feature) -> FeatureDefinition:
    return feature_definition(plan, feature).kept(is_recoded=KINDS[feature.kind].is_recoded)
