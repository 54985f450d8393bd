"""What a moment brings up, until when, and whether it may wait: of a trigger, or of an instance that acts."""

from household.decision import Moment
from household.plan import NONE, Journey, Plan, StepKind


def journey_of(plan: Plan, moment: Moment) -> Journey | None:
    """Return the journey of a moment with the offers that it brings up; None for one that is gone."""
    if moment.step:
        return plan.acting.get((moment.journey, moment.step))
    index = plan.journey_by_name.get(moment.journey, NONE)
    return None if index == NONE else plan.journeys[index]


def is_known(plan: Plan, moment: Moment) -> bool:
    """Return whether a plan has what a moment is about, and its journey."""
    return journey_of(plan, moment) is not None and (bool(moment.step) or moment.event_type in plan.event_type_by_name)


def is_stale(plan: Plan, moment: Moment, now_us: int) -> bool:
    """Return whether it is too late to make an offer."""
    if moment.step:
        return now_us >= moment.until_us
    return now_us > open_until_us(plan, moment)


def open_until_us(plan: Plan, moment: Moment) -> int:
    """Return before when what it brings up is to be sent."""
    if moment.step:
        return moment.until_us
    return moment.time_us + plan.event_types[plan.event_type_by_name[moment.event_type]].action_window_us


def half_life_of(plan: Plan, moment: Moment) -> int:
    """Return in what time what it brings up is worth half; 0 where it keeps its value."""
    return 0 if moment.step else plan.event_types[plan.event_type_by_name[moment.event_type]].half_life_us


def may_hold(plan: Plan, moment: Moment) -> bool:
    """Return whether what may not go out yet is held, rather than not sent."""
    journey = journey_of(plan, moment) if moment.step else None
    if journey is None or journey.flow is None:
        return True
    acts = (step.act for step in journey.flow.steps if step.kind is StepKind.ACT and step.name == moment.step)
    return any(act is not None and (act.hold_us > 0 or act.slot is not None) for act in acts)
