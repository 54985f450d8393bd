"""`hearth kpis` and `hearth export kpis`: K1 to K6 and the measures of old, as of any time, and their events."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import write_parquet, write_whole
from cluster.measured import FromLog, instant_us, read_measured, segments_of
from cluster.output import meter, print_json, say
from insight.measures.figures import FigureRow, Grouping
from insight.measures.knowledge import Knowledge, ask
from insight.measures.kpis import SPLITS, NoSuchRow, by_arm, by_segment, explained, kpis

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
    _check(question)
    log = read_measured(config, question.definitions)
    asked = _asked(log, question)
    grouping = _grouping(config, log, asked, question)
    if explain is not None:
        return _explain(asked, explain, question, grouping, as_json=as_json)
    rows = kpis(asked, months=question.months, by=question.by, grouping=grouping)
    if as_json:
        told = {"as_of": _text(asked.time_us), "known_by": _text(asked.known_us), "zone": asked.zone}
        print_json({**told, "left_out": dict(log.facts.left_out), "rows": [_json(row) for row in rows]})
        return 0
    _warn(log)
    until = f", as known by {_text(asked.known_us)}" if asked.known_us is not None else ""
    print(f"as of {_text(asked.time_us)}{until}; months of {asked.zone}")
    for row in rows:
        print(_line(row))
    for reason, count in sorted(log.facts.left_out.items()):
        print(f"  left out: {count:,} {reason}")
    return 0


def export_kpis(config: HearthConfig, question: KpiQuestion, *, out: Path, as_json: bool) -> int:
    """Write the figures as Parquet, whole or not at all."""
    _check(question)
    log = read_measured(config, question.definitions)
    asked = _asked(log, question)
    rows = kpis(asked, months=question.months, by=question.by, grouping=_grouping(config, log, asked, question))
    times = {"as_of": asked.time_us, "known_by": asked.known_us}
    table = pa.Table.from_pylist([{**_json(row), **times} for row in rows], schema=ROW_SCHEMA)
    with meter("exporting kpis", unit="rows") as show:
        count = write_whole(out, lambda file: write_parquet(iter([table]), file, show))
    if as_json:
        print_json({"rows": count, "file": str(out), "bytes": out.stat().st_size})
    else:
        print(f"{count:,} figures in {out}")
    return 0


def _check(question: KpiQuestion) -> None:
    if question.by and question.by not in SPLITS:
        raise UsageWrong(f"--by {question.by} is not known; it is one of {', '.join(SPLITS)}")
    if question.experiment and question.by != "arm":
        raise UsageWrong("--experiment goes with --by arm: it says whose arms")


def _asked(log: FromLog, question: KpiQuestion) -> Knowledge:
    zone = log.zone
    time_us = log.end_us
    if question.as_of is not None:
        time_us = instant_us(question.as_of, option="--as-of", zone=zone)
    known_us = None
    if question.known_by is not None:
        if log.is_stream:
            raise UsageWrong("--known-by cannot be told where the newest event is now: all was learnt when it happened")
        known_us = instant_us(question.known_by, option="--known-by", zone=zone)
    return ask(
        log.facts,
        log.definitions,
        time_us=time_us,
        known_us=known_us,
        zone=zone,
        rules=log.plan.graph,
        journeys=log.journeys,
    )


def _grouping(config: HearthConfig, log: FromLog, asked: Knowledge, question: KpiQuestion) -> Grouping | None:
    if question.by == "segment":
        until_us = None if question.as_of is None else asked.time_us
        return by_segment(asked, segments_of(config, until_us=until_us))
    if question.by != "arm":
        return None
    known = sorted({one.experiment for one in log.journeys.met})
    if question.experiment in known:
        return by_arm(asked, question.experiment)
    if not known:
        raise CommandFailed("no household has met an experiment yet, so there are no arms to split by")
    what = (
        f"--experiment {question.experiment} has met nobody" if question.experiment else "--by arm needs --experiment"
    )
    raise UsageWrong(f"{what}; households have met {', '.join(known)}")


def _explain(asked: Knowledge, name: str, question: KpiQuestion, grouping: Grouping | None, *, as_json: bool) -> int:
    try:
        ids = explained(asked, name, months=question.months, grouping=grouping)
    except NoSuchRow as wrong:
        raise UsageWrong(str(wrong)) from wrong
    if as_json:
        print_json({"row": name, "events": ids})
    else:
        print(f"{name}: {len(ids):,} events")
        for one in ids:
            print(f"  {one}")
    return 0


def _warn(log: FromLog) -> None:
    if log.complete_since_us is not None:
        since = _text(log.complete_since_us)
        say(
            f"older log was dropped behind snapshots: figures count what came since {since} "
            "(setting log_retention_hours)"
        )


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
