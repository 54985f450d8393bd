"""A slow, obvious `apply`: one event at a time, dicts and lists, no numpy and no kernels.

Written from the docstrings of household/plan/ and household/events.py. It shares three things with what it checks:
the plan, `decay` (the one named exponential, as plain Python) and `evaluate` (programs in plain Python).

Order of arithmetic. Amounts that are summed should be whole numbers: then the order of a sum does not matter and
equality is exact. Decayed counts depend on the order of arithmetic, so they are kept as the definition says it: a value
as of the newest event, decayed to the next one.
"""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from household.columns.decay import decay
from household.columns.program import evaluate
from household.events import (
    ACTION_OUTCOMES,
    LONGEST_KEY,
    LONGEST_SOURCE,
    NO_KEYS,
    NO_TIME_US,
    RESERVED_TYPES,
    UNKNOWN_TYPE,
    EventBatch,
    OutcomeRow,
    Status,
    keys_of,
)
from household.plan import NONE, Feature, FeatureKind, Plan, Scope, Window
from household.state import FOLD_VERSION, NEVER_US

YEAR_2200_US = 7_258_118_400_000_000
FIRST_SLOTS = 1_024
UNKNOWN = math.nan

Owner = tuple[bytes, bytes | None]
"""A household, or with a member key one of its members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One signal, as a person would write it down."""

    id: bytes
    source: bytes = b""
    household: bytes = b"home"
    member: bytes = b""
    kind: int = 0
    time_us: int = 0
    values: tuple[tuple[int, float], ...] = ()
    """(field, value) of those it carries."""
    is_bad: bool = False
    action_id: str = ""
    """Of a report."""
    channel: str = ""
    """Of a report; a name."""
    group: str = ""
    """Of an acknowledgement; empty for none."""
    request_hash: bytes = b""
    """Of a report that a request made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """A moment."""

    household: bytes
    member: bytes | None
    journey: str
    instance: int
    event_id: bytes
    time_us: int


def batch_of(plan: Plan, events: list[Event]) -> EventBatch:
    """Return events as the columns that the fold takes."""
    values = np.full((max(len(plan.fields), 1), len(events)), np.nan)
    outcomes = []
    for row, event in enumerate(events):
        for index, value in event.values:
            values[index, row] = value
        name = plan.event_types[event.kind].name if event.kind != UNKNOWN_TYPE else ""
        if name in RESERVED_TYPES:
            outcome = ACTION_OUTCOMES[RESERVED_TYPES.index(name)]
            outcomes.append(
                OutcomeRow(
                    row=row,
                    outcome=outcome,
                    action_id=event.action_id,
                    channel=event.channel,
                    group=event.group,
                    request_hash=event.request_hash,
                )
            )
    return EventBatch(
        ids=keys_of([event.id for event in events]),
        households=keys_of([event.household for event in events]),
        members=keys_of([event.member for event in events]),
        types=np.array([event.kind for event in events], np.int32),
        times_us=np.array([event.time_us for event in events], np.int64),
        values=values,
        is_bad=np.array([event.is_bad for event in events], np.uint8),
        plan_version=plan.version,
        outcomes=tuple(outcomes),
        sources=keys_of([event.source for event in events]) if any(event.source for event in events) else NO_KEYS,
    )


@dataclass(slots=True)
class Kept:
    """What one owner's feature or window remembers; each kind uses what it needs."""

    number: float = 0.0
    newest_us: float = UNKNOWN
    value: float = UNKNOWN
    times_us: list[float] = field(default_factory=list)
    distinct: list[float] = field(default_factory=list)
    lines: list[tuple[float, float, bool]] = field(default_factory=list)
    """(line, since when, whether it holds) in the order in which they came."""
    session: tuple[float, float] | None = None
    shares: dict[int, float] = field(default_factory=dict)
    buckets: dict[int, tuple[int, float]] = field(default_factory=dict)


class Oracle:
    """State of one partition under one plan."""

    def __init__(self, plan: Plan, *, stream_clock: bool, fold_version: int = FOLD_VERSION) -> None:
        self.plan = plan
        self.stream_clock = stream_clock
        self.fold_version = fold_version
        self.now_us = int(NEVER_US)
        self.known: dict[bytes | tuple[bytes, bytes, bytes], int] = {}
        """(household, source, event id) → event time; in terms of fold version 1 the id by itself."""
        self.alone_until_us = int(NEVER_US)
        """Event time of the youngest id that is known by itself, once another version is in force."""
        self.slots = FIRST_SLOTS
        self.households: list[bytes] = []
        self.members: list[tuple[bytes, bytes]] = []
        self.features: dict[tuple[int, Owner], Kept] = {}
        self.windows: dict[tuple[int, Owner], Kept] = {}
        self.fired: dict[tuple[int, Owner], tuple[int, int]] = {}
        self.counts: Counter[str] = Counter()
        self.moments: list[Fired] = []

    # --- admission -------------------------------------------------------------------------------------------------

    def apply(self, events: list[Event], *, stamp_us: int) -> list[Status]:
        """Fold events one by one; return what became of each."""
        if not self.stream_clock:
            self.now_us = max(self.now_us, stamp_us)
        statuses = [self._one(event, stamp_us) for event in events]
        self.counts.update(status.name for status in statuses)
        return statuses

    def _one(self, event: Event, stamp_us: int) -> Status:
        time_us = event.time_us
        is_report = event.kind != UNKNOWN_TYPE and self.plan.event_types[event.kind].name in RESERVED_TYPES
        if time_us == NO_TIME_US and is_report:
            time_us = self.now_us
        rejected = self._rejection(event, time_us, stamp_us)
        if rejected is not None:
            return rejected
        if not self.stream_clock:
            time_us = min(time_us, self.now_us)
        self._make_room()
        identity = (event.household, event.source, event.id) if self.fold_version >= 2 else event.id
        asks_alone = self.alone_until_us >= self.now_us - self.plan.clock.lateness_us
        if identity in self.known or (asks_alone and event.id in self.known):
            return Status.DUPLICATE
        if time_us < self.now_us - self.plan.clock.lateness_us:
            return Status.LATE
        self.known[identity] = time_us
        if self.stream_clock:
            self.now_us = max(self.now_us, time_us)
        self._fold(event, time_us)
        return Status.APPLIED

    def open_term(self, fold_version: int) -> None:
        """From here on fold by this version."""
        if self.fold_version < 2 <= fold_version and self.known:
            self.alone_until_us = max(self.known.values())
        self.fold_version = max(fold_version, self.fold_version)

    def _make_room(self) -> None:
        """When the window of ids is half full it forgets what would be late, and stays at most a quarter full."""
        if 2 * (len(self.known) + 1) > self.slots:
            oldest_us = self.now_us - self.plan.clock.lateness_us
            self.known = {key: time_us for key, time_us in self.known.items() if time_us >= oldest_us}
            self.slots = FIRST_SLOTS
            while self.slots < 4 * (len(self.known) + 1):
                self.slots *= 2

    def _rejection(self, event: Event, time_us: int, stamp_us: int) -> Status | None:
        """Return the first reason why an event is not acceptable, in this order."""
        if not 1 <= len(event.id) <= LONGEST_KEY or len(event.source) > LONGEST_SOURCE:
            return Status.BAD_ID
        if not 1 <= len(event.household) <= LONGEST_KEY or len(event.member) > LONGEST_KEY:
            return Status.BAD_KEY
        if event.kind == UNKNOWN_TYPE:
            return Status.UNKNOWN_TYPE
        if time_us == NO_TIME_US:
            return Status.MISSING_TIME
        if not 0 <= time_us < YEAR_2200_US:
            return Status.PAST_CALENDAR
        if time_us > stamp_us + self.plan.clock.future_us:
            return Status.FUTURE
        if event.is_bad:
            return Status.BAD_VALUE
        fields = dict(event.values)
        for use in self.plan.event_types[event.kind].fields:
            value = fields.get(use.field, UNKNOWN)
            if math.isnan(value):
                if use.required:
                    return Status.MISSING_FIELD
            elif not use.least <= value <= use.most:
                return Status.OUT_OF_RANGE
        return None

    # --- features --------------------------------------------------------------------------------------------------

    def _fold(self, event: Event, time_us: int) -> None:
        if event.household not in self.households:
            self.households.append(event.household)
        if event.member and (event.household, event.member) not in self.members:
            self.members.append((event.household, event.member))
        fields = [dict(event.values).get(index, UNKNOWN) for index in range(len(self.plan.fields))]
        for index, window in enumerate(self.plan.windows):
            owner = _owner(window.scope, event)
            if owner is not None and event.kind in window.events and self._holds(window.where, fields):
                kept = self.windows.setdefault((index, owner), Kept())
                _into_bucket(window, kept, time_us, fields)
        for index, feature in enumerate(self.plan.features):
            owner = _owner(feature.scope, event)
            is_on, is_off = event.kind in feature.events, event.kind in feature.off_events
            if owner is not None and (is_on or is_off) and self._holds(feature.where, fields):
                kept = self.features.setdefault((index, owner), Kept())
                _update(feature, kept, float(time_us), fields, is_on=is_on)
        for index in range(len(self.plan.journeys)):
            self._trigger(index, event, time_us, fields)

    def _holds(self, program: int, fields: list[float]) -> bool:
        return program == NONE or self._run(program, [], fields) == 1.0

    def _run(self, program: int, readings: list[float], fields: list[float]) -> float:
        code = self.plan.programs[program]
        with np.errstate(all="ignore"):
            return float(evaluate(code.ops, code.args, readings, fields))

    def _trigger(self, index: int, event: Event, time_us: int, fields: list[float]) -> None:
        journey = self.plan.journeys[index]
        trigger = journey.trigger
        if trigger is None or event.kind not in trigger.events:
            return
        owner = _owner(trigger.scope, event)
        if owner is None:
            return
        last_us, instances = self.fired.get((index, owner), (None, 0))
        if last_us is not None and time_us - last_us < trigger.cooldown_us:
            return
        readings = self.readings(event.household, event.member, time_us)
        if self._run(trigger.program, readings, fields) == 1.0:
            self.fired[index, owner] = (time_us, instances + 1)
            self.moments.append(
                Fired(
                    household=event.household,
                    member=event.member or None,
                    journey=journey.name,
                    instance=instances + 1,
                    event_id=event.id,
                    time_us=time_us,
                )
            )

    def readings(self, household: bytes, member: bytes, as_of_us: int) -> list[float]:
        """Return all features of a household and one of its members (or none) as of a time."""
        return [self._read(index, (household, member), as_of_us) for index in range(len(self.plan.features))]

    def _read(self, index: int, asked: tuple[bytes, bytes], as_of_us: int) -> float:
        feature = self.plan.features[index]
        owner = (asked[0], None) if feature.scope is Scope.HOUSEHOLD else asked
        if feature.window == NONE:
            return _reading(feature, self.features.get((index, owner), Kept()), float(as_of_us))
        window = self.plan.windows[feature.window]
        kept = self.windows.get((feature.window, owner), Kept())
        return _window_reading(feature, window, kept, as_of_us)


def _owner(scope: Scope, event: Event) -> Owner | None:
    """Return whose cells an event touches; nobody's where a member is needed and none is named."""
    if scope is Scope.HOUSEHOLD:
        return event.household, None
    return (event.household, event.member) if event.member else None


def _update(feature: Feature, kept: Kept, t: float, fields: list[float], *, is_on: bool) -> None:
    value = fields[feature.field] if feature.field != NONE else UNKNOWN
    is_newest = math.isnan(kept.newest_us) or t >= kept.newest_us
    match feature.kind:
        case FeatureKind.COUNT:
            kept.number += 1.0
        case FeatureKind.DECAYED_COUNT if math.isnan(kept.newest_us):
            kept.number, kept.newest_us = 1.0, t
        case FeatureKind.DECAYED_COUNT if is_newest:
            kept.number = kept.number * decay.py_func(t - kept.newest_us, float(feature.half_life_us)) + 1.0
            kept.newest_us = t
        case FeatureKind.DECAYED_COUNT:
            kept.number += decay.py_func(kept.newest_us - t, float(feature.half_life_us))
        case FeatureKind.LAST_SEEN:
            kept.newest_us = t if is_newest else kept.newest_us
        case FeatureKind.PEAK_HOUR:
            _use(kept, int(t) // 3_600_000_000 % 24, t, float(feature.half_life_us))
        case FeatureKind.NEWEST_TIMES | FeatureKind.MEDIAN_GAP:
            kept.times_us = sorted([*kept.times_us, t])[-feature.keep :]
        case FeatureKind.SESSION_LENGTH:
            kept.session = _session(kept.session, t, float(feature.gap_us))
        case FeatureKind.PRODUCT_HELD if is_newest:
            kept.value, kept.newest_us = (1.0 if is_on else 0.0), t
        case FeatureKind.PROFILE if is_newest and not math.isnan(value):
            kept.value, kept.newest_us = value, t
        case FeatureKind.DISTINCT if not math.isnan(value):
            if value not in kept.distinct and len(kept.distinct) < feature.keep:
                kept.distinct.append(value)
        case FeatureKind.LINES_HOLDING:
            _tell_line(kept.lines, feature.keep, -1.0 if math.isnan(value) else value, t, is_on)
        case FeatureKind.MOST_USED if not math.isnan(value):
            _use(kept, int(value), t, float(feature.half_life_us))


def _tell_line(lines: list[tuple[float, float, bool]], most: int, line: float, t: float, is_on: bool) -> None:
    """Note the newest that is known of a line. Without room, in the place of one that gave up before one that holds,
    of the longest ago before a newer, if that is less to be kept than this one."""
    for place, (known, since, _) in enumerate(lines):
        if known == line:
            if t >= since:
                lines[place] = (line, t, is_on)
            return
    if len(lines) < most:
        lines.append((line, t, is_on))
        return
    least, since, known, place = min((holds, since, known, place) for place, (known, since, holds) in enumerate(lines))
    if (is_on, t, line) > (least, since, known):
        lines[place] = (line, t, is_on)


def _use(kept: Kept, used: int, t: float, half_life_us: float) -> None:
    """Count one use, all shares being as of the newest."""
    if math.isnan(kept.newest_us) or t >= kept.newest_us:
        if not math.isnan(kept.newest_us):
            factor = decay.py_func(t - kept.newest_us, half_life_us)
            kept.shares = {key: share * factor for key, share in kept.shares.items()}
        kept.shares[used] = kept.shares.get(used, 0.0) + 1.0
        kept.newest_us = t
    else:
        kept.shares[used] = kept.shares.get(used, 0.0) + decay.py_func(kept.newest_us - t, half_life_us)


def _session(session: tuple[float, float] | None, t: float, gap: float) -> tuple[float, float]:
    """Return the newest session with an event at t; one that comes late may lengthen it at its start, nothing else."""
    if session is None or t - session[1] >= gap:
        return t, t
    start, end = session
    if t > end:
        return start, t
    if t < start and start - t < gap:
        return t, end
    return session


def _into_bucket(window: Window, kept: Kept, time_us: int, fields: list[float]) -> None:
    """Count an event in its bucket, unless that is older than the buckets kept; then drop what has become so."""
    amount = fields[window.field] if window.field != NONE else UNKNOWN
    bucket = time_us // window.bucket_us
    newest = max([bucket, *kept.buckets])
    if bucket > newest - window.bucket_count:
        number, total = kept.buckets.get(bucket, (0, 0.0))
        kept.buckets[bucket] = number + 1, total + (0.0 if math.isnan(amount) else amount)
    kept.buckets = {one: sums for one, sums in kept.buckets.items() if one > newest - window.bucket_count}


def _window_reading(feature: Feature, window: Window, kept: Kept, as_of_us: int) -> float:
    newest, span = as_of_us // window.bucket_us, feature.span_us // window.bucket_us

    def within(after: int, until: int) -> tuple[float, float]:
        chosen = [sums for bucket, sums in kept.buckets.items() if after < bucket <= until]
        return float(sum(number for number, _ in chosen)), sum((total for _, total in chosen), 0.0)

    number, total = within(newest - span, newest)
    if feature.kind is FeatureKind.WINDOW_COUNT:
        return number
    if feature.kind is FeatureKind.WINDOW_SUM:
        return total
    if feature.kind is FeatureKind.WINDOW_REACHED:
        chosen = [sums for bucket, (_, sums) in kept.buckets.items() if newest - span < bucket <= newest]
        return float(sum(one >= feature.least for one in chosen))
    before, _ = within(newest - 2 * span, newest - span)
    return (number - before) / max(before, 1.0)


def _reading(feature: Feature, kept: Kept, t: float) -> float:
    match feature.kind:
        case FeatureKind.COUNT:
            return kept.number
        case FeatureKind.DECAYED_COUNT:
            if math.isnan(kept.newest_us):
                return 0.0
            return kept.number * float(decay.py_func(max(t - kept.newest_us, 0.0), float(feature.half_life_us)))
        case FeatureKind.NEWEST_TIMES:
            return float(sum(t - feature.span_us < time_us <= t for time_us in kept.times_us))
        case FeatureKind.MEDIAN_GAP:
            gaps = [after - before for before, after in itertools.pairwise(kept.times_us)]
            return statistics.median(gaps) / feature.unit_us if len(gaps) > 1 else UNKNOWN
        case FeatureKind.PEAK_HOUR if math.isnan(kept.newest_us):
            return UNKNOWN
        case FeatureKind.PEAK_HOUR:
            most = max(range(24), key=lambda hour: (kept.shares.get(hour, 0.0), -hour))
            return float(most == int(t) // 3_600_000_000 % 24)
        case FeatureKind.LAST_SEEN:
            return math.inf if math.isnan(kept.newest_us) else max(t - kept.newest_us, 0.0) / feature.unit_us
        case FeatureKind.DISTINCT:
            return float(len(kept.distinct))
        case FeatureKind.SESSION_LENGTH:
            return 0.0 if kept.session is None else (kept.session[1] - kept.session[0]) / feature.unit_us
        case FeatureKind.PROFILE if math.isnan(kept.newest_us):
            return UNKNOWN if feature.initial is None else feature.initial
        case FeatureKind.PROFILE:
            return kept.value
        case FeatureKind.PRODUCT_HELD:
            return 0.0 if math.isnan(kept.newest_us) else kept.value
        case FeatureKind.LINES_HOLDING:
            return float(sum(holds for _, _, holds in kept.lines))
        case FeatureKind.MOST_USED:
            best = max(kept.shares.values(), default=0.0)
            return float(min(key for key, share in kept.shares.items() if share == best)) if best > 0.0 else UNKNOWN
    raise AssertionError(f"no oracle of {feature.kind}")


def plain_cells(feature: Feature, kept: Kept) -> Iterator[tuple[str, float]]:
    """Yield the cells of docs/decisions/0002-columns.md that a feature without window would fill, by name."""
    name = feature.name
    match feature.kind:
        case FeatureKind.COUNT:
            yield name, kept.number
        case FeatureKind.LAST_SEEN:
            yield name, kept.newest_us
        case FeatureKind.PEAK_HOUR:
            yield from ((f"{name}.hour_{hour}", kept.shares.get(hour, 0.0)) for hour in range(24))
            yield f"{name}.as_of", kept.newest_us
        case FeatureKind.NEWEST_TIMES | FeatureKind.MEDIAN_GAP:
            newest_first = [*reversed(kept.times_us), *[math.nan] * feature.keep]
            yield from ((f"{name}.time_{k}", newest_first[k]) for k in range(feature.keep))
        case FeatureKind.DISTINCT:
            values = [*kept.distinct, *[math.nan] * feature.keep]
            yield from ((f"{name}.value_{k}", values[k]) for k in range(feature.keep))
        case FeatureKind.LINES_HOLDING:
            lines = [(line, since if holds else -since) for line, since, holds in kept.lines]
            lines += [(math.nan, math.nan)] * (feature.keep - len(lines))
            for k, (line, as_of) in enumerate(lines):
                yield from ((f"{name}.line_{k}", line), (f"{name}.line_{k}_as_of", as_of))
        case FeatureKind.SESSION_LENGTH:
            start, end = kept.session or (math.nan, math.nan)
            yield from ((f"{name}.start", start), (f"{name}.end", end))
        case FeatureKind.MOST_USED:
            yield from ((f"{name}.{text}", kept.shares.get(k, 0.0)) for k, text in enumerate(feature.values))
            yield f"{name}.as_of", kept.newest_us
        case FeatureKind.DECAYED_COUNT:
            yield from ((name, kept.number), (f"{name}.as_of", kept.newest_us))
        case FeatureKind.PROFILE:
            initial = math.nan if feature.initial is None else feature.initial
            yield from (
                (name, initial if math.isnan(kept.newest_us) else kept.value),
                (f"{name}.as_of", kept.newest_us),
            )
        case FeatureKind.PRODUCT_HELD:
            yield from (
                (name, 0.0 if math.isnan(kept.newest_us) else kept.value),
                (f"{name}.as_of", kept.newest_us),
            )
        case _:
            raise AssertionError(f"no oracle of {feature.kind}")
