"""`hearth experiments`: what treating brought against those who were left alone, and whether to launch it."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import inf, isfinite
from pathlib import Path

from cluster.commands.models import plain
from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.instants import instant_us
from cluster.measured import FromLog, read_measured
from cluster.output import print_json
from insight.experiments.exposure import Exposures, Report, exposures
from insight.experiments.households import MEASURES
from insight.experiments.report import ExperimentConfig, ExperimentReport, families_of, report
from insight.experiments.roi import ArmRoi
from insight.experiments.spending import Spendings, spendings
from insight.experiments.verdict import Reading, Stakes
from insight.measures.coded import NONE
from insight.measures.definitions import DAY_US
from insight.measures.facts import REPORTS
from insight.measures.journeys import CONVERTING, table_rows
from insight.measures.knowledge import Knowledge, ask


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentQuestion:
    """What is asked for, as it was written."""

    name: str
    """Of an experiment; empty for all."""
    as_of: str | None
    measure: str
    window_days: float
    break_even: float
    worthwhile: float | None
    confidence: float
    definitions: Path | None


def show_experiments(config: HearthConfig, question: ExperimentQuestion, *, as_json: bool) -> int:
    """Print what is known of experiments and a verdict on each arm; 1 where the arms of one cannot be compared."""
    _check(question)
    log = read_measured(config, question.definitions)
    time_us = log.end_us
    if question.as_of is not None:
        time_us = instant_us(question.as_of, option="--as-of", zone=log.zone)
    asked = ask(
        log.facts,
        log.definitions,
        time_us=time_us,
        known_us=None if log.is_stream else time_us,
        zone=log.zone,
        rules=log.plan.graph,
        journeys=log.journeys,
    )
    settings = ExperimentConfig(
        window_us=round(question.window_days * DAY_US),
        lateness_us=log.plan.clock.lateness_us,
        measure=question.measure,
        stakes=Stakes(break_even=question.break_even, worthwhile=question.worthwhile, confidence=question.confidence),
    )
    found = report(
        asked, exposures_of(log, asked), families_of(log.plans), config=settings, spendings=spendings_of(log, asked)
    )
    if question.name:
        known = [one.experiment for one in found]
        found = [one for one in found if one.experiment == question.name]
        if not found:
            raise UsageWrong(f"no household has met {question.name!r}; they have met {', '.join(known) or 'none'}")
    if not found:
        raise CommandFailed("no household has met an experiment yet: a journey with `control` is one")
    if as_json:
        print_json({"as_of": _text(time_us), "experiments": [plain(asdict(one)) for one in found]})
    else:
        for one in found:
            _print(one, settings)
    return 1 if any(one.ratio.is_off or one.leaks for one in found) else 0


def exposures_of(log: FromLog, asked: Knowledge) -> Exposures:
    """Return who was exposed by when one asks."""
    facts = asked.facts
    actions = facts.texts["action_id"]
    is_report = facts.is_of(REPORTS) & (actions.codes != NONE) & (facts.told.codes != NONE)
    reports = [
        Report(
            household=facts.told.names[int(facts.told.codes[row])],
            action_id=actions.names[int(actions.codes[row])],
            time_us=int(facts.time_us[row]),
            event_id=facts.event_id.text(row),
        )
        for row in is_report.nonzero()[0].tolist()
    ]
    arms = {(one.experiment, one.household): (one.arm, one.time_us) for one in log.journeys.met}
    decided = [one for one in table_rows(log.decisions) if one["decided_at"] < asked.time_us]
    return exposures(decided, log.plans, arms, reports)


def spendings_of(log: FromLog, asked: Knowledge) -> Spendings:
    """Return what was spent by when one asks."""
    facts, actions = asked.facts, asked.facts.texts["action_id"]
    accepted_us: dict[str, int] = {}
    for row in (facts.is_of(CONVERTING) & (actions.codes != NONE)).nonzero()[0].tolist():
        accepted_us.setdefault(actions.names[int(actions.codes[row])], int(facts.time_us[row]))
    columns = [name for name in log.decisions.column_names if name != "candidates"]
    decided = [one for one in table_rows(log.decisions.select(columns)) if one["decided_at"] < asked.time_us]
    rewards_minor = log.definitions.costs.rewards
    return spendings(decided, log.plans, handed=log.handed, accepted_us=accepted_us, rewards_minor=rewards_minor)


def _check(question: ExperimentQuestion) -> None:
    if question.measure not in MEASURES:
        raise UsageWrong(f"--measure {question.measure} is not known; it is one of {', '.join(MEASURES)}")
    if not (isfinite(question.window_days) and isfinite(question.break_even)):
        raise UsageWrong("--window-days and --break-even are numbers that end, e.g. 30 and 0.5")
    if question.worthwhile is not None and not 0 < question.worthwhile < inf:
        raise UsageWrong(f"--worthwhile {question.worthwhile:g} is no gain; it is above 0, per household")
    if not 0.5 <= question.confidence < 1:
        raise UsageWrong(f"--confidence {question.confidence:g} is none; it is from 0.5 to below 1, e.g. 0.95")


def _text(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="seconds")


def _print(one: ExperimentReport, settings: ExperimentConfig) -> None:
    arms = ", ".join(f"{count:,} {arm} ({one.over.get(arm, 0):,} counted)" for arm, count in sorted(one.arms.items()))
    print(f"{one.experiment} ({one.layer}), since {_text(one.since_us)}: {arms}")
    off = "  OFF: nothing they differ in means anything" if one.ratio.is_off else ""
    print(f"  sample ratio: p = {one.ratio.p_value:.3g}{off}")
    for leak in one.leaks[:3]:
        print(f"  leak: {leak.household} is in control and was exposed at {_text(leak.time_us)}, {leak.where}")
    if len(one.leaks) > 3:
        print(f"  leak: and {len(one.leaks) - 3:,} more households")
    for verdict in one.verdicts:
        print(f"  {verdict.arm}: {verdict.verdict.value.upper()}: {verdict.why}")
        if verdict.households_needed is not None and verdict.worthwhile is not None:
            days = "" if one.days_needed is None else f"; {one.days_needed:,.0f} days more at the present pace"
            what = f"{settings.measure} of {verdict.worthwhile:.4g} per household"
            print(f"    {what} most likely shows after {verdict.households_needed:,} households{days}")
    for roi in one.roi:
        print(f"  {roi.arm}: {_roi(roi)}")
    for title, readings in (("all that were drawn", one.readings), ("exposed against ghosts", one.exposed)):
        for reading in readings:
            print(f"  {title:<22}  {_reading(reading)}")


def _reading(one: Reading) -> str:
    relative = "" if one.relative is None else f" ({one.relative.value:+.1%})"
    past = f"  past taken off, {one.narrowed_to:.0%} as wide" if one.is_adjusted else ""
    few = "" if one.is_enough else "  too few for an interval to hold"
    return (
        f"{one.measure:<10} {one.arm:<8} {one.treated:,.4f} and {one.control:,.4f}: {one.effect.value:+,.4f}{relative} "
        f" {one.effect.low:+,.4f} to {one.effect.high:+,.4f}, whenever looked at {one.anytime.low:+,.4f} to "
        f"{one.anytime.high:+,.4f}{past}{few}"
    )


def _roi(one: ArmRoi) -> str:
    if one.margin is None:
        return f"ROI not known: {one.missing}"
    margin = f"margin {one.margin.value:+,.2f} per household, {one.margin.low:+,.2f} to {one.margin.high:+,.2f}"
    cost = f"contacts {one.contact_minor:,.2f}, rewards {one.reward_minor:,.2f}"
    if one.roi is None:
        return f"ROI not known: {one.missing}; {margin}; {cost}"
    return f"ROI {one.roi.value:+,.2f}, {one.roi.low:+,.2f} to {one.roi.high:+,.2f}: {margin}; {cost}"
