"""Is a journey ready to be launched: its signals, its worth, its sample size, its owner, and a control group.

Without a control group nobody can ever tell what it brought, so it is not ready unless somebody takes that on himself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from household.columns.program import Op
from household.plan import NONE, Journey, Plan
from household.plan.experiments import ALL_BP
from insight.experiments.planning import households_needed, households_needed_anytime, share_variance
from insight.measures.definitions import DAY_US
from insight.measures.facts import Facts
from insight.measures.knowledge import Knowledge

LATELY_US = 30 * DAY_US
FRESH_US = 2 * DAY_US
"""A signal of which nothing came for so long, as of when one asks, is stale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSeen:
    """What came of one event type, lately."""

    type: str
    is_trigger: bool
    """Whether it may start the journey; else it is only looked at."""
    count: int
    """Events of the last 30 days."""
    households: int
    newest_us: int | None
    delay_us: int | None
    """From when it happened to when it was known, in the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyReadiness:
    """What there is to know of a journey before its launch."""

    journey: str
    signals: tuple[SignalSeen, ...]
    entries: int
    """Households that entered it in the last 30 days."""
    control_share: float
    """Of its own control group, or of the widest experiment that is about it."""
    value_minor: float
    """Expected of an entry: the best offer's prior acceptance times its margin, less its cost."""
    expected_minor: float
    """Of 30 days, without those in control."""
    effect: float
    """The share more that takes it up, which a trial is to find: the best offer's prior, or what is asked."""
    needed_once: int | None
    """Households of both arms for 80 % power, looked at once; None without control."""
    needed_anytime: int | None
    """The same, looked at whenever one likes, as `hearth experiments` does."""
    days_needed: float | None
    """At the pace of entries."""
    owner: str
    kpi: str
    channel_owners: Mapping[str, str]
    wanting: tuple[str, ...]
    """What keeps it from being launched."""
    remarks: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        """Whether nothing keeps it."""
        return not self.wanting


def types_of(plan: Plan, journey: Journey) -> dict[str, bool]:
    """Return the event types that a journey depends on, and whether each may start it."""
    starting = (journey.trigger.events if journey.trigger is not None else ()) or journey.contact_events
    found = {plan.event_types[index].name: True for index in starting}
    programs = [journey.trigger.program] if journey.trigger is not None else []
    programs += [plan.offers[index].eligible for index in journey.offers]
    programs += [plan.channels[index].consent for index in journey.outbound]
    for feature in sorted({one for program in programs for one in _features(plan, program)}):
        for index in _events(plan, feature):
            found.setdefault(plan.event_types[index].name, False)
    return found


def _features(plan: Plan, program: int) -> Iterator[int]:
    if program == NONE:
        return
    code = plan.programs[program]
    for op, arg in zip(code.ops, code.args, strict=True):
        if op == Op.FEATURE:
            yield int(arg)


def _events(plan: Plan, index: int) -> tuple[int, ...]:
    feature = plan.features[index]
    # The time of a window's events is known by its first; what ends a product says no more than that it was held.
    return plan.windows[feature.window].events if feature.window != NONE else feature.events


def readiness(
    plan: Plan,
    journey: Journey,
    asked: Knowledge,
    *,
    effect: float | None = None,
    override: str = "",
) -> JourneyReadiness:
    """Return whether a journey is ready to be launched.

    Args:
        plan: that has it.
        journey: of it.
        asked: facts with all event types of `types_of`.
        effect: the share more that takes it up, which a trial is to find; None for what the best offer's prior says.
        override: why it may go without a control group; empty where nobody has said so.
    """
    types = types_of(plan, journey)
    signals = tuple(_seen(asked.facts, name, is_trigger, asked.time_us) for name, is_trigger in types.items())
    since_us = asked.time_us - LATELY_US
    entered = {
        one.household
        for one in asked.journeys.entries
        if one.journey == journey.name and since_us <= one.time_us < asked.time_us
    }
    entered |= {
        one.household
        for one in asked.journeys.met
        if one.experiment == journey.name and since_us <= one.time_us < asked.time_us
    }
    control = control_share(plan, journey)
    offers = [plan.offers[index] for index in journey.offers]
    value = max((one.prior_acceptance * one.margin_minor - one.cost_minor for one in offers), default=0.0)
    sought = max((one.prior_acceptance for one in offers), default=0.0) if effect is None else effect
    once = anytime = days = None
    if 0 < control < 1 and sought > 0:
        variance = share_variance(min(sought / 2, 0.5), treated_share=1 - control)
        once = households_needed(variance=variance, effect=sought)
        anytime = households_needed_anytime(variance=variance, effect=sought)
        days = anytime * LATELY_US / DAY_US / len(entered) if entered else None
    named = asked.definitions.journeys.get(journey.name)
    channels = {plan.channels[index].name for index in journey.outbound}
    owners = dict(named.channels) if named is not None else {}
    wanting = [
        *_wanting_signals(signals, asked.time_us),
        *_wanting_control(journey, control, override),
        *([] if named is not None else ["nobody is named as its owner, and no KPI that it is to move"]),
        *(f"nobody is named who answers for the channel {name}" for name in sorted(channels - owners.keys())),
    ]
    remarks = [f"it goes without a control group: {override}"] if control == 0 and override else []
    absent = [one.type for one in signals if not one.is_trigger and one.newest_us is None]
    if absent:
        remarks.append(f"it looks at signals that never came: {', '.join(absent)}")
    if named is None or channels - owners.keys():
        remarks.append("owners and KPIs are named under `journeys` in the file of --measures")
    return JourneyReadiness(
        journey=journey.name,
        signals=signals,
        entries=len(entered),
        control_share=control,
        value_minor=value,
        expected_minor=value * len(entered) * (1 - control),
        effect=sought,
        needed_once=once,
        needed_anytime=anytime,
        days_needed=days,
        owner=named.owner if named is not None else "",
        kpi=named.kpi if named is not None else "",
        channel_owners=owners,
        wanting=tuple(wanting),
        remarks=tuple(remarks),
    )


def control_share(plan: Plan, journey: Journey) -> float:
    """Return the share of households in control of a journey: its own, or that of an experiment about it."""
    index = plan.journeys.index(journey)
    shares = [one.control_bp / ALL_BP for one in plan.experiments if index in one.journeys]
    return max([journey.control_share, *shares])


def _seen(facts: Facts, name: str, is_trigger: bool, time_us: int) -> SignalSeen:
    rows = np.flatnonzero(facts.is_of((name,)))
    lately = rows[facts.time_us[rows] >= time_us - LATELY_US]
    return SignalSeen(
        type=name,
        is_trigger=is_trigger,
        count=len(lately),
        households=len(np.unique(facts.told.codes[lately])),
        newest_us=int(facts.time_us[rows].max()) if len(rows) else None,
        delay_us=int(np.median(facts.learnt_us[lately] - facts.time_us[lately])) if len(lately) else None,
    )


def _wanting_signals(signals: Sequence[SignalSeen], time_us: int) -> Iterator[str]:
    triggers = [one for one in signals if one.is_trigger]
    there = [one for one in triggers if one.newest_us is not None]
    if not there:
        yield f"no signal that starts it ever came: {', '.join(one.type for one in triggers)}"
    elif all(time_us - (one.newest_us or 0) > FRESH_US for one in there):
        days = min(time_us - (one.newest_us or 0) for one in there) / DAY_US
        yield f"no signal that starts it has come for {days:.0f} days: {', '.join(one.type for one in there)}"


def _wanting_control(journey: Journey, control: float, override: str) -> Iterator[str]:
    if control == 0.0 and not override:
        yield (
            f"it has no control group, so nobody will know what it brought: write 'control: 10%' under journey "
            f"'{journey.name}', or let an approver say why not with --without-control REASON"
        )
    elif control == 1.0:
        yield "its control group is everyone: it never does anything"
