"""From a plan's features to cells: which float64 cell of a household's or member's row holds what, with what at first.

A row holds all cells of one household (or member) side by side, so an event touches one or two cache lines rather
than one per column; a column is a strided view of it. See docs/decisions/0002-columns.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.columns.dispatch import WINDOW_UPDATE, kind_code, update_code
from household.columns.kinds.definition import BUCKET_US, TERM_COUNT, terms_of
from household.columns.kinds.table import KINDS
from household.columns.program import Op
from household.events import RESERVED_TYPES
from household.plan import NONE, Feature, JourneyListener, ListensFor, Offer, Plan, Scope

FIRES = 0
"""Of a row of `Rules.triggers`: a moment arises when its condition is true and its cooldown has passed."""
ENTERS_ONCE_TRUE = 1
"""An instance may enter when its condition has become true since it was last looked at."""
ENTERS_EACH_TIME = 2
LISTENS = 3
LISTENS_WITHIN = 4
"""Only for households that have instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One cell of every row of its scope."""

    name: str
    scope: Scope
    dtype: str
    """count, time (µs), number, enum, flag, handle or value: what the float64 stands for."""
    unit: str
    initial: float


class Rules(NamedTuple):
    """The plan as arrays, for the kernels. Row layouts are named where they are filled, below."""

    update_start: NDArray[np.int64]
    updates: NDArray[np.int64]
    update_terms: NDArray[np.float64]
    reads: NDArray[np.int64]
    read_terms: NDArray[np.float64]
    program_start: NDArray[np.int64]
    ops: NDArray[np.int64]
    args: NDArray[np.float64]
    trigger_start: NDArray[np.int64]
    trigger_list: NDArray[np.int64]
    triggers: NDArray[np.int64]
    """Of each journey, and then of what journeys with states listen for: is member, cell, program, how."""
    cooldowns: NDArray[np.float64]
    field_start: NDArray[np.int64]
    fields: NDArray[np.int64]
    field_range: NDArray[np.float64]
    entries_per_event: NDArray[np.int64]
    is_report: NDArray[np.uint8]
    """Per event type: whether it is a reserved one, which may come without a time."""


class ListenerReads(NamedTuple):
    """What those read that listen for events, for the kernels: of each event type all of its listeners together."""

    feature_start: NDArray[np.int64]
    features: NDArray[np.int64]
    window_start: NDArray[np.int64]
    windows: NDArray[np.int64]
    """(n, 3) is member, cell, buckets."""
    entries: NDArray[np.int64]
    """(event types,) the most that combining these windows of one row with others' takes from the slab."""
    household_initial: NDArray[np.float64]
    member_initial: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything of a plan lives."""

    columns: tuple[Column, ...]
    household_initial: NDArray[np.float64]
    member_initial: NDArray[np.float64]
    feature_cells: tuple[int, ...]
    window_cells: tuple[int, ...]
    trigger_cells: tuple[int, ...]
    """Per journey; NONE for those without trigger. Two cells: time last fired, instances so far; of one with states,
    its condition as it was last looked at, and how often an instance might have entered."""
    rules: Rules
    listener_reads: ListenerReads
    personal_offers: frozenset[int]
    """Offers that hang on what is known of a member: by their condition, or by the segments of their prices."""


def _feature_columns(feature: Feature) -> list[Column]:
    kind = KINDS[feature.kind]
    if kind.cells is None:
        return []
    return [
        Column(
            name=f"{feature.name}.{cell.part}" if cell.part else feature.name,
            scope=feature.scope,
            dtype=cell.dtype,
            unit=cell.unit,
            initial=cell.initial,
        )
        for cell in kind.cells(feature)
    ]


class _Cells:
    """Hands out cells of both scopes."""

    def __init__(self) -> None:
        self.columns: list[Column] = []
        self.initial: dict[Scope, list[float]] = {Scope.HOUSEHOLD: [], Scope.MEMBER: []}

    def take(self, columns: list[Column]) -> int:
        """Return the first of the cells now given to these columns (all of one scope)."""
        if not columns:
            return NONE
        initial = self.initial[columns[0].scope]
        first = len(initial)
        self.columns += columns
        initial += [column.initial for column in columns]
        return first


def _is_member(scope: Scope) -> int:
    return int(scope is Scope.MEMBER)


def _updates(
    plan: Plan, feature_cells: list[int], window_cells: list[int]
) -> list[list[tuple[list[int], NDArray[np.float64]]]]:
    """Per event type: (update, is member, cell, where, field, keep), terms."""
    by_type: list[list[tuple[list[int], NDArray[np.float64]]]] = [[] for _ in plan.event_types]
    for window, cell in zip(plan.windows, window_cells, strict=True):
        row = [WINDOW_UPDATE, _is_member(window.scope), cell, window.where, window.field, window.bucket_count]
        terms = np.zeros(TERM_COUNT)
        terms[BUCKET_US] = window.bucket_us
        for event in window.events:
            by_type[event].append((row, terms))
    for feature, cell in zip(plan.features, feature_cells, strict=True):
        kind = KINDS[feature.kind]
        if kind.update is None:
            continue
        what = [_is_member(feature.scope), cell, feature.where, feature.field, kind.keep(feature)]
        terms = terms_of(kind, feature, bucket_us=0)
        for event in feature.events:
            by_type[event].append(([update_code(feature.kind), *what], terms))
        for event in feature.off_events:
            by_type[event].append(([update_code(feature.kind, is_off=True), *what], terms))
    return by_type


def _reads(
    plan: Plan, feature_cells: list[int], window_cells: list[int]
) -> tuple[list[list[int]], list[NDArray[np.float64]]]:
    """Per feature: (kind, is member, cell, keep), terms."""
    rows, terms = [], []
    for feature, own_cell in zip(plan.features, feature_cells, strict=True):
        kind, cell, bucket_us = KINDS[feature.kind], own_cell, 0
        if feature.window != NONE:
            cell, bucket_us = window_cells[feature.window], plan.windows[feature.window].bucket_us
            assert feature.span_us % bucket_us == 0, f"{feature.name}: its span is not whole buckets"
            buckets_us = plan.windows[feature.window].bucket_count * bucket_us
            assert buckets_us >= kind.spans * feature.span_us, feature.name
        rows.append([kind_code(feature.kind), _is_member(feature.scope), cell, kind.keep(feature)])
        terms.append(terms_of(kind, feature, bucket_us))
    return rows, terms


def _array(rows: list[list[int]], width: int) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(len(rows), width)


def _floats(rows: Sequence[Sequence[float] | NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    return np.array(rows, np.float64).reshape(len(rows), width)


def _starts(groups: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)


def _rules(plan: Plan, feature_cells: list[int], window_cells: list[int], trigger_cells: list[int]) -> Rules:
    updates = _updates(plan, feature_cells, window_cells)
    reads, read_terms = _reads(plan, feature_cells, window_cells)
    listening: list[list[int]] = [[] for _ in plan.event_types]
    triggers, cooldowns = [], []
    for index, journey in enumerate(plan.journeys):
        trigger = journey.trigger
        if trigger is None:
            triggers.append([0, NONE, NONE, FIRES])
            cooldowns.append(0.0)
            continue
        triggers.append([_is_member(trigger.scope), trigger_cells[index], trigger.program, FIRES])
        cooldowns.append(float(trigger.cooldown_us))
        if journey.flow is not None:
            continue  # its entry is among what it listens for
        if journey.name in plan.halt_by_journey:
            continue
        for event in trigger.events:
            listening[event].append(index)
    for listener in plan.listeners:
        for event in listener.events:
            listening[event].append(len(triggers))
        triggers.append(_listening(plan, listener, trigger_cells[listener.journey]))
        cooldowns.append(0.0)
    uses = [list(event.fields) for event in plan.event_types]
    flat_updates = [update for one in updates for update in one]
    # The worst that one event can take from the slab: every window it feeds moves to a run of twice its buckets.
    worst = [sum(4 * row[5] for row, _ in one if row[0] == WINDOW_UPDATE) for one in updates]
    return Rules(
        update_start=_starts([len(one) for one in updates]),
        updates=_array([row for row, _ in flat_updates], 6),
        update_terms=_floats([terms for _, terms in flat_updates], TERM_COUNT),
        reads=_array(reads, 4),
        read_terms=_floats(read_terms, TERM_COUNT),
        program_start=_starts([len(program.ops) for program in plan.programs]),
        ops=np.array([op for program in plan.programs for op in program.ops], np.int64),
        args=np.array([arg for program in plan.programs for arg in program.args], np.float64),
        trigger_start=_starts([len(one) for one in listening]),
        trigger_list=np.array([index for one in listening for index in one], np.int64),
        triggers=_array(triggers, 4),
        cooldowns=np.array(cooldowns, np.float64),
        field_start=_starts([len(one) for one in uses]),
        fields=_array([[use.field, int(use.required)] for one in uses for use in one], 2),
        field_range=_floats([[use.least, use.most] for one in uses for use in one], 2),
        entries_per_event=np.array(worst, np.int64),
        is_report=np.array([event.name in RESERVED_TYPES for event in plan.event_types], np.uint8),
    )


def _listening(plan: Plan, listener: JourneyListener, cell: int) -> list[int]:
    """Return the row of `Rules.triggers` of something that a journey listens for."""
    journey = plan.journeys[listener.journey]
    assert journey.trigger is not None
    assert journey.flow is not None
    if listener.role is ListensFor.ENTRY:
        how = ENTERS_EACH_TIME if journey.flow.is_each else ENTERS_ONCE_TRUE
    else:
        how = LISTENS_WITHIN if listener.is_of_any_event else LISTENS
    return [_is_member(journey.trigger.scope), cell, listener.program, how]


def _listener_reads(
    plan: Plan, rules: Rules, window_cells: Sequence[int], household: NDArray[np.float64], member: NDArray[np.float64]
) -> ListenerReads:
    features, windows = list[list[int]](), list[list[int]]()
    for kind in range(len(plan.event_types)):
        listeners = rules.trigger_list[rules.trigger_start[kind] : rules.trigger_start[kind + 1]]
        read = set[int]()
        for program in {int(rules.triggers[listener, 2]) for listener in listeners} - {NONE}:
            steps = zip(plan.programs[program].ops, plan.programs[program].args, strict=True)
            read |= {int(arg) for op, arg in steps if op == Op.FEATURE}
        features.append(sorted(read))
        windows.append(sorted({plan.features[one].window for one in read} - {NONE}))
    flat = [
        [_is_member(plan.windows[one].scope), window_cells[one], plan.windows[one].bucket_count]
        for ones in windows
        for one in ones
    ]
    return ListenerReads(
        feature_start=_starts([len(one) for one in features]),
        features=np.array([one for ones in features for one in ones], np.int64),
        window_start=_starts([len(one) for one in windows]),
        windows=_array(flat, 3),
        entries=np.array([sum(4 * plan.windows[one].bucket_count for one in ones) for ones in windows], np.int64),
        household_initial=household,
        member_initial=member,
    )


def lay_out(plan: Plan) -> Layout:
    """Return the cells and kernel rules of a plan; the same plan gives the same layout."""
    cells = _Cells()
    feature_cells = [cells.take(_feature_columns(feature)) for feature in plan.features]
    window_cells = [
        cells.take([Column(name=f"window_{index}", scope=window.scope, dtype="handle", unit="", initial=0.0)])
        for index, window in enumerate(plan.windows)
    ]
    trigger_cells = []
    for journey in plan.journeys:
        if journey.trigger is None:
            trigger_cells.append(NONE)
            continue
        scope = journey.trigger.scope
        part, dtype, unit = ("fired", "time", "us") if journey.flow is None else ("was_true", "flag", "")
        fired = Column(name=f"{journey.name}.{part}", scope=scope, dtype=dtype, unit=unit, initial=math.nan)
        instances = Column(name=f"{journey.name}.instances", scope=scope, dtype="count", unit="", initial=0.0)
        trigger_cells.append(cells.take([fired, instances]))
    household_initial = np.array(cells.initial[Scope.HOUSEHOLD], np.float64)
    member_initial = np.array(cells.initial[Scope.MEMBER], np.float64)
    rules = _rules(plan, feature_cells, window_cells, trigger_cells)
    return Layout(
        columns=tuple(cells.columns),
        household_initial=household_initial,
        member_initial=member_initial,
        feature_cells=tuple(feature_cells),
        window_cells=tuple(window_cells),
        trigger_cells=tuple(trigger_cells),
        rules=rules,
        listener_reads=_listener_reads(plan, rules, window_cells, household_initial, member_initial),
        personal_offers=frozenset(index for index, offer in enumerate(plan.offers) if _is_personal(plan, offer)),
    )


def _is_personal(plan: Plan, offer: Offer) -> bool:
    programs = [offer.eligible, *(plan.segments[special.segment].program for special in offer.segment_prices)]
    return any(
        op == Op.FEATURE and plan.features[int(arg)].scope is Scope.MEMBER
        for program in programs
        if program != NONE
        for op, arg in zip(plan.programs[program].ops, plan.programs[program].args, strict=True)
    )
