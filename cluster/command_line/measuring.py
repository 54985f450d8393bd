"""Commands of those who measure: what it brought, and whether to go on."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.command_line.options import Confidence, DataDir, Json, LogOption, Playbook, leave, settings_of, share_of
from cluster.data_dir import data_dir_of

_AsOf = Annotated[
    str | None,
    typer.Option("--as-of", help="What had happened before then; local time, or with an offset.  [default: all]"),
]
_KnownBy = Annotated[
    str | None, typer.Option("--known-by", help="As it was known then: nothing that was learnt later.  [default: all]")
]
_By = Annotated[str, typer.Option("--by", help="Split by journey, segment, family, category, channel or arm.")]
_OfExperiment = Annotated[str, typer.Option("--experiment", help="Whose arms, with --by arm.")]
_Months = Annotated[int, typer.Option("--months", min=1, max=120, help="So many calendar months, the newest last.")]
_MeasuresFile = Annotated[
    Path | None,
    typer.Option("--measures", help="File that says what events mean.  [default: for the playbook that ships]"),
]


def kpis(
    as_of: _AsOf = None,
    known_by: _KnownBy = None,
    by: _By = "",
    experiment: _OfExperiment = "",
    months: _Months = 2,
    explain: Annotated[
        str | None, typer.Option("--explain", metavar="ROW", help="Name the events behind a row.", show_default=False)
    ] = None,
    measures: _MeasuresFile = None,
    data_dir: DataDir = None,
    log: LogOption = None,
    as_json: Json = False,
) -> None:
    """Tell what was brought: K1 to K6 and the measures of old, as of any time, and what each number is made of."""
    from cluster.commands.kpis import KpiQuestion, show_kpis

    question = KpiQuestion(
        as_of=as_of, known_by=known_by, by=by, experiment=experiment, months=months, definitions=measures
    )
    leave(show_kpis(settings_of(data_dir=data_dir, log=log), question, explain=explain, as_json=as_json))


def export_kpis(
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write.", show_default=False)],
    as_of: _AsOf = None,
    known_by: _KnownBy = None,
    by: _By = "",
    experiment: _OfExperiment = "",
    months: _Months = 2,
    measures: _MeasuresFile = None,
    data_dir: DataDir = None,
    log: LogOption = None,
    as_json: Json = False,
) -> None:
    """Write the same figures to a Parquet file."""
    from cluster.commands.kpis import KpiQuestion
    from cluster.commands.kpis import export_kpis as run

    question = KpiQuestion(
        as_of=as_of, known_by=known_by, by=by, experiment=experiment, months=months, definitions=measures
    )
    leave(run(settings_of(data_dir=data_dir, log=log), question, out=out, as_json=as_json))


def experiments(
    name: Annotated[str, typer.Argument(metavar="[EXPERIMENT]", help="Only this one.  [default: all]")] = "",
    as_of: _AsOf = None,
    measure: Annotated[
        str, typer.Option("--measure", help="What the verdict hangs on: conversion, arpu, activation, retention.")
    ] = "conversion",
    window_days: Annotated[
        float, typer.Option("--window-days", min=0.01, help="How long a household is measured from when it met it.")
    ] = 30.0,
    break_even: Annotated[
        float, typer.Option("--break-even", help="What treating a household costs, in the unit of the measure.")
    ] = 0.0,
    worthwhile: Annotated[
        float | None,
        typer.Option("--worthwhile", help="Least gain per household worth having.  [default: a tenth of control's]"),
    ] = None,
    confidence: Confidence = 0.95,
    measures: _MeasuresFile = None,
    data_dir: DataDir = None,
    log: LogOption = None,
    as_json: Json = False,
) -> None:
    """Tell what treating brought against control, with a verdict: launch, do not, not enough yet."""
    from cluster.commands.experiments import ExperimentQuestion, show_experiments

    question = ExperimentQuestion(
        name=name,
        as_of=as_of,
        measure=measure,
        window_days=window_days,
        break_even=break_even,
        worthwhile=worthwhile,
        confidence=confidence,
        definitions=measures,
    )
    leave(show_experiments(settings_of(data_dir=data_dir, log=log), question, as_json=as_json))


def readiness(
    journey: Annotated[str, typer.Argument(metavar="[JOURNEY]", help="Only this one.  [default: all]")] = "",
    as_of: _AsOf = None,
    effect: Annotated[
        float | None,
        typer.Option(
            "--effect",
            parser=share_of,
            metavar="SHARE",
            help="Share more that a trial is to find, 0.02 or 2%.  [default: the best prior]",
        ),
    ] = None,
    without_control: Annotated[
        str | None,
        typer.Option("--without-control", metavar="REASON", help="Why it may go without a control group; noted."),
    ] = None,
    measures: _MeasuresFile = None,
    playbook: Playbook = None,
    data_dir: DataDir = None,
    log: LogOption = None,
    as_json: Json = False,
) -> None:
    """Tell whether a journey is ready to be launched: signals, worth, sample size, owner, control; 1 where not."""
    from cluster.commands.readiness import ReadinessQuestion, show_readiness

    question = ReadinessQuestion(
        journey=journey, as_of=as_of, effect=effect, without_control=without_control, definitions=measures
    )
    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    leave(show_readiness(config, question, as_json=as_json))


def report(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="Folder of the page; a data directory is what it is about, too.  [default: here]"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write.  [default: hearth-report.html in DIR]")
    ] = None,
    as_of: _AsOf = None,
    window_days: Annotated[
        float, typer.Option("--window-days", min=0.01, help="How long a household is measured from when it met it.")
    ] = 30.0,
    measures: _MeasuresFile = None,
    data_dir: DataDir = None,
    log: LogOption = None,
    as_json: Json = False,
) -> None:
    """Write one page for a meeting: funnels, uplift, K1 to K6, contact pressure, limits hit, who is where."""
    from cluster.commands.report import ReportQuestion, write_report

    question = ReportQuestion(
        folder=folder,
        out=out,
        is_named=data_dir is not None,
        as_of=as_of,
        window_days=window_days,
        definitions=measures,
    )
    config = settings_of(data_dir=data_dir_of(folder, data_dir), log=log)
    leave(write_report(config, question, as_json=as_json))
