"""`hearth report`: what it brought, as one page for a CVM team's meeting."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from actors.exports.journey_places import JourneyPlace
from actors.log.location import InFiles
from cluster.commands.experiments import exposures_of, spendings_of
from cluster.config import HearthConfig, utc_now
from cluster.data_dir import LAYOUT_NAME
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import check_out, write_whole
from cluster.instants import instant_us
from cluster.measured import FromLog, places_of, read_measured
from cluster.meeting.facts import ExperimentFacts, MeetingFacts, StateFacts
from cluster.output import print_json, say
from household.tables.instances import Ending
from insight.experiments.exposure import Exposures, Leak
from insight.experiments.report import ExperimentConfig, ExperimentReport, families_of, report
from insight.experiments.verdict import ArmVerdict
from insight.measures.definitions import DAY_US
from insight.measures.journeys import is_control, table_rows
from insight.measures.knowledge import Knowledge, ask
from insight.meeting.contacts import kept_back, pressure
from insight.meeting.funnels import funnels
from insight.meeting.over_time import lately, products_per_household, steps

PAGE_NAME: Final = "hearth-report.html"
BEFORE_US: Final = 30 * DAY_US
SHORTER_DAYS: Final = (14.0, 7.0, 3.0, 1.0)
"""How long households are measured where nobody's time would be over otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportQuestion:
    """What is asked for, as it was written."""

    folder: Path | None
    """Where the page goes; a data directory is what it is about, too."""
    out: Path | None
    is_named: bool
    """Whether a data directory was named for itself."""
    as_of: str | None
    window_days: float
    definitions: Path | None


def page_file(question: ReportQuestion) -> Path:
    """Return the file that is written.

    Raises:
        UsageWrong: the folder is none.
    """
    folder = question.folder
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UsageWrong(f"{folder} is no folder; with --out {folder} the page is written to a file of that name")
    return question.out or (folder or Path()) / PAGE_NAME


def write_report(config: HearthConfig, question: ReportQuestion, *, as_json: bool) -> int:
    """Write the page, whole or not at all, and say where it is."""
    if not isfinite(question.window_days):
        raise UsageWrong(f"--window-days {question.window_days:g} is no number of days; write it like 30")
    out = page_file(question)
    check_about(config, question)
    page_of = _page()
    if question.out is not None or question.folder is None:
        check_out(out)  # else the folder is made
    log = read_measured(config, question.definitions, decided=("candidates",))
    facts = _facts(config, log, question)
    page = page_of(facts).encode()
    if question.folder is not None:
        _make(question.folder)
    write_whole(out, lambda file: file.write_bytes(page))
    verdicts = {one.name: {arm.arm: arm.verdict.value for arm in one.verdicts} for one in facts.experiments}
    if as_json:
        print_json({"file": str(out), "bytes": len(page), "journeys": len(facts.funnels), "verdicts": verdicts})
        return 0
    print(f"{out}: {len(facts.funnels):,} journeys, {len(facts.experiments):,} experiments, {len(page) / 1024:,.0f} kB")
    for name, arms in verdicts.items():
        for arm, verdict in arms.items():
            print(f"  {name}, {arm}: {verdict.upper()}")
    return 0


def check_about(config: HearthConfig, question: ReportQuestion) -> None:
    """Look whether there is anything to report on.

    Raises:
        UsageWrong: there is no data directory; whoever typed a folder may have meant it as one.
    """
    if question.is_named or question.folder is None or not isinstance(config.log_location, InFiles):
        return
    if not (config.data_dir / LAYOUT_NAME).is_file():
        what = "is no data directory of Hearth" if question.folder.exists() else "does not exist"
        raise UsageWrong(
            f"{question.folder} {what}, and {config.data_dir} is none either: name what is reported on with --data-dir"
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failed:
        raise CommandFailed(f"{folder} cannot be made: {failed.strerror or failed}") from failed


def _page() -> Any:
    try:
        from cluster.meeting.page import page_of
    except ImportError as missing:
        raise CommandFailed(
            f"a report needs {missing.name}, which is not installed: pip install 'hearth[report]'"
        ) from missing
    return page_of


def _facts(config: HearthConfig, log: FromLog, question: ReportQuestion) -> MeetingFacts:
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
    if not asked.facts.count:
        raise CommandFailed("there is no event yet that is measured, so there is nothing to report on")
    decided = log.decisions.filter(_before(log, time_us))
    rows = table_rows(decided.drop_columns(["candidates"]))
    since_us = int(asked.facts.time_us[0])
    say("counting ...")
    reports, window_days = _experiments(log, asked, exposures_of(log, asked), question.window_days)
    has_states = any(journey.flow is not None for plan in log.plans for journey in plan.journeys)
    return MeetingFacts(
        playbook=log.plan.name,
        playbook_version=log.plan.version,
        currency=log.plan.currency,
        zone=log.zone,
        since_us=since_us,
        as_of_us=time_us - 1,
        written=utc_now().isoformat(timespec="minutes"),
        is_cut=log.complete_since_us is not None,
        events=asked.facts.count,
        households=len(set(asked.household.tolist())),
        left_out=log.facts.left_out,
        funnels=funnels(asked, rows, log.plans, log.handed),
        experiments=[_told(one) for one in reports],
        window_days=window_days,
        is_short=window_days < question.window_days,
        steps=steps(asked, since_us=since_us),
        lately=lately(asked, since_us=since_us, span_us=BEFORE_US),
        products=products_per_household(asked, time_us),
        products_before=products_per_household(asked, max(time_us - BEFORE_US, since_us + 1)),
        pressure=pressure(rows, log.handed, time_us=time_us, zone=log.zone),
        kept_back=kept_back(decided),
        decisions=decided.num_rows,
        places=_places(log, places_of(config, until_us=None if question.as_of is None else time_us))
        if has_states
        else [],
        has_states=has_states,
    )


def _before(log: FromLog, time_us: int) -> Any:
    return pc.less(log.decisions["decided_at"].cast(pa.int64()), time_us)


def _experiments(
    log: FromLog, asked: Knowledge, exposed: Exposures, window_days: float
) -> tuple[list[ExperimentReport], float]:
    """Return what is known of each experiment, and for how many days households were measured.

    Where nobody's time is over, for fewer than were asked for: a meeting in the first week sees something, and is
    told so.
    """
    found: list[ExperimentReport] = []
    families, spendings = families_of(log.plans), spendings_of(log, asked)
    for days in (window_days, *(one for one in SHORTER_DAYS if one < window_days)):
        config = ExperimentConfig(window_us=round(days * DAY_US), lateness_us=log.plan.clock.lateness_us)
        found = report(asked, exposed, families, config=config, spendings=spendings)
        if any(one.readings for one in found):
            return found, days
    return found, window_days


def _told(one: ExperimentReport) -> ExperimentFacts:
    return ExperimentFacts(
        name=one.experiment,
        layer=one.layer,
        arms=one.arms,
        over=one.over,
        ratio=one.ratio,
        leaks=len(one.leaks),
        readings=one.readings,
        verdicts=[_unnamed(verdict, one.leaks) for verdict in one.verdicts],
        roi=one.roi,
        days_needed=one.days_needed,
    )


def _unnamed(verdict: ArmVerdict, leaks: Sequence[Leak]) -> ArmVerdict:
    """Return a verdict without the household that its words name."""
    if not any(leak.household in verdict.why for leak in leaks):
        return verdict
    count = f"{len(leaks):,} household{'s' if len(leaks) > 1 else ''}"
    return replace(verdict, why=f"the arms cannot be compared: {count} in control had been exposed")


def _places(log: FromLog, found: Iterable[JourneyPlace]) -> list[StateFacts]:
    """Return how many instances are in each state of each journey, those that run first."""
    control = {(one.experiment, one.household) for one in log.journeys.met if is_control(one.arm)}
    counts: Counter[tuple[str, bool, str, bool]] = Counter()
    for one in found:
        is_live = one.ending is Ending.LIVE
        where = one.state if is_live else one.ending.value
        counts[one.journey, is_live, where, (one.journey, one.household) in control] += 1
    orders = {
        journey.name: [step.name for step in journey.flow.steps]
        for plan in log.plans
        for journey in plan.journeys
        if journey.flow is not None
    }

    def place(key: tuple[str, bool, str]) -> tuple[object, ...]:
        journey, is_live, where = key
        order = orders.get(journey, [])
        return journey, not is_live, order.index(where) if where in order else len(order), where

    return [
        StateFacts(
            journey=journey,
            where=where,
            is_live=is_live,
            treated=counts[journey, is_live, where, False],
            control=counts[journey, is_live, where, True],
        )
        for journey, is_live, where in sorted({key[:3] for key in counts}, key=place)
    ]
