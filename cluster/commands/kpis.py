"""`hearth kpis` and `hearth export kpis`: K1 to K6 and the measures of old, as of any time, and their events."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import check_out, write_parquet, write_whole
from cluster.instants import instant_us
from cluster.measured import segments_of
from cluster.output import meter, print_json, say
from cluster.rolled import RolledLog, read_rolled
from insight.measures.adding_up import Sums
from insight.measures.figures import FigureRow, Grouping
from insight.measures.knowledge import Knowledge, months_of
from insight.measures.kpis import SPLITS, WINDOW_US, NoSuchRow, by_arms, by_segment, events_behind, in_order
from insight.measures.use import uses_asked_since_us

T = TypeVar("T")

ROW_SCHEMA = pa.schema(
    [
        ("row", pa.string()),
        ("kpi", pa.string()),
        ("measure", pa.string()),
        ("period", pa.string()),
        ("is_over", pa.bool_()),
        ("by", pa.string()),
        ("group", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("unit", pa.string()),
        ("numerator", pa.int64()),
        ("denominator", pa.int64()),
        ("missing", pa.string()),
        ("note", pa.string()),
        ("as_of", pa.timestamp("us", tz="UTC")),
        ("known_by", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiQuestion:
    """What is asked for, as it was written."""

    as_of: str | None
    known_by: str | None
    by: str
    experiment: str
    months: int
    definitions: Path | None


def show_kpis(config: HearthConfig, question: KpiQuestion, *, explain: str | None, as_json: bool) -> int:
    """Print the figures, or with `explain` the ids of the events behind one."""
    _check(question, explain or "")
    log = read_rolled(config, question.definitions)
    asked = _asked(config, log, question)
    if explain is not None:
        return _explain(asked, explain, question, as_json=as_json)
    rows = _rows(asked, question)
    if as_json:
        told = {"as_of": _text(asked.time_us), "known_by": _text(asked.known_us), "zone": log.zone}
        print_json({**told, "left_out": log.told_left_out(), "rows": [_json(row) for row in rows]})
        return 0
    _warn(log, asked.time_us)
    until = f", as known by {_text(asked.known_us)}" if asked.known_us is not None else ""
    print(f"as of {_text(asked.time_us)}{until}; months of {log.zone}")
    for row in rows:
        print(_line(row))
    for reason, count in sorted(log.told_left_out().items()):
        print(f"  left out: {count:,} {reason}")
    return 0


def export_kpis(config: HearthConfig, question: KpiQuestion, *, out: Path, as_json: bool) -> int:
    """Write the figures as Parquet, whole or not at all."""
    _check(question)
    check_out(out)
    asked = _asked(config, read_rolled(config, question.definitions), question)
    rows = _rows(asked, question)
    times = {"as_of": asked.time_us, "known_by": asked.known_us}
    table = pa.Table.from_pylist([{**_json(row), **times} for row in rows], schema=ROW_SCHEMA)
    with meter("exporting kpis", unit="rows") as show:
        count = write_whole(out, lambda file: write_parquet(iter([table]), file, show))
    if as_json:
        print_json({"rows": count, "file": str(out), "bytes": out.stat().st_size})
    else:
        print(f"{count:,} figures in {out}")
    return 0


def _check(question: KpiQuestion, explain: str = "") -> None:
    if question.by and question.by not in SPLITS:
        raise UsageWrong(f"--by {question.by} is not known; it is one of {', '.join(SPLITS)}")
    if question.experiment and question.by != "arm":
        raise UsageWrong("--experiment goes with --by arm: it says whose arms")
    # Other splits are of the figure itself; these two are of households, and take a while to find out.
    by = explain.split("/", 2)[-1].partition("=")[0] if explain.count("/") >= 2 else ""
    if by in ("arm", "segment") and by != question.by:
        raise UsageWrong(f"{explain} is a row of --by {by}: ask for it with --by {by}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """What is asked of a log."""

    log: RolledLog
    time_us: int
    known_us: int | None
    uses_since_us: int
    grouping: Callable[[Knowledge], Grouping | None]
    """Of the households of a part."""

    def parts(self, do: Callable[[Knowledge], T]) -> Iterator[T]:
        return self.log.over_parts(do, time_us=self.time_us, known_us=self.known_us, uses_since_us=self.uses_since_us)


def _asked(config: HearthConfig, log: RolledLog, question: KpiQuestion) -> _Asked:
    zone = log.zone
    time_us = log.end_us
    if question.as_of is not None:
        time_us = instant_us(question.as_of, option="--as-of", zone=zone)
    known_us = None
    if question.known_by is not None:
        if log.is_stream:
            raise UsageWrong("--known-by cannot be told where the newest event is now: all was learnt when it happened")
        known_us = instant_us(question.known_by, option="--known-by", zone=zone)
    grouping = _grouping(config, log, question, time_us=time_us, known_us=known_us)
    since_us = uses_asked_since_us(months_of(time_us=time_us, count=question.months, zone=zone))
    return _Asked(log=log, time_us=time_us, known_us=known_us, uses_since_us=since_us, grouping=grouping)


def _rows(asked: _Asked, question: KpiQuestion) -> list[FigureRow]:
    def sums(part: Knowledge | None = None) -> Sums:
        made = Sums(
            time_us=asked.time_us, zone=asked.log.zone, window_us=WINDOW_US, months=question.months, by=question.by
        )
        if part is not None:
            made.add(part, asked.grouping(part))
        return made

    whole = sums()
    for one in asked.parts(sums):
        whole.merge(one)
    return whole.rows()


def _grouping(
    config: HearthConfig, log: RolledLog, question: KpiQuestion, *, time_us: int, known_us: int | None
) -> Callable[[Knowledge], Grouping | None]:
    if question.by == "segment":
        segments = segments_of(config, until_us=None if question.as_of is None else time_us)
        return lambda part: by_segment(part, segments)
    if question.by != "arm":
        return lambda part: None
    known = sorted({one.experiment for one in log.journeys.met})
    if question.experiment in known:
        arms = log.journeys.arms(question.experiment, time_us=time_us, known_us=known_us)
        return lambda part: by_arms(part, arms)
    if not known:
        raise CommandFailed("no household has met an experiment yet, so there are no arms to split by")
    what = (
        f"--experiment {question.experiment} has met nobody" if question.experiment else "--by arm needs --experiment"
    )
    raise UsageWrong(f"{what}; households have met {', '.join(known)}")


def _explain(asked: _Asked, name: str, question: KpiQuestion, *, as_json: bool) -> int:
    def events(part: Knowledge) -> list[tuple[int, str]] | None:
        return events_behind(part, name, months=question.months, grouping=asked.grouping(part))

    try:
        ids = in_order(asked.parts(events), name)
    except NoSuchRow as wrong:
        raise UsageWrong(str(wrong)) from wrong
    if as_json:
        print_json({"row": name, "events": ids})
    else:
        print(f"{name}: {len(ids):,} events")
        for one in ids:
            print(f"  {one}")
    return 0


def _warn(log: RolledLog, time_us: int) -> None:
    if log.complete_since_us is not None:
        since = _text(log.complete_since_us)
        say(
            f"older log was dropped behind snapshots: figures count what came since {since} "
            "(setting log_retention_hours)"
        )
    if time_us > log.end_us:
        say(f"the log ends at {_text(log.end_us)}: nothing is known of what came later")


def _text(time_us: int | None) -> str | None:
    if time_us is None:
        return None
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="seconds")


def _json(row: FigureRow) -> dict[str, object]:
    return {"row": row.name, **asdict(row)}


def _line(row: FigureRow) -> str:
    if row.missing:
        return f"  {row.name:<44}  not known: {row.missing}"
    value = "-" if row.value is None else f"{row.value:,.4f}"
    of = "" if row.denominator is None else f" / {row.denominator:,}"
    span = "" if row.low is None or row.high is None else f"  {row.low:,.4f} to {row.high:,.4f}"
    note = f"  ({row.note})" if row.note else ""
    month = "" if row.is_over else ", month under way"
    return f"  {row.name:<44}  {value:>14}{span}  {row.unit}; {row.numerator:,}{of}{month}{note}"
