"""Commands about playbooks and models: options only, what they do is in cluster/commands/."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cluster.command_line.options import (
    DataDir,
    Json,
    LogOption,
    Playbook,
    Target,
    VersionArgument,
    leave,
    settings_of,
    share_of,
    target_of,
)
from cluster.config import load_config, utc_now
from cluster.errors import UsageWrong
from cluster.instants import instant_us

OfModel = Annotated[
    str,
    typer.Option(
        "--model",
        help="Name of the model in the registry.  [default: the playbook's of acceptance]",
        show_default=False,
    ),
]
Because = Annotated[str, typer.Option("--why", help="Kept in the history of the registry.", show_default=False)]


def playbook_check(
    path: Annotated[Path, typer.Argument(help="Playbook folder or file.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for warnings, too.")] = False,
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            help="What it is to follow, a folder or a version that a running Hearth keeps: who is inside has to know.",
            show_default=False,
        ),
    ] = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Tell every mistake in a playbook, and what is hardly meant, with file, line, and what would be right.

    Exit code 1 if there is a mistake.
    """
    from cluster.commands.playbook import check as run
    from cluster.commands.playbook_difference import plan_of

    before = None
    if after is not None:
        before = plan_of(after, "" if Path(after).exists() else target_of(load_config(), target))
    leave(run(path, is_strict=strict, as_json=as_json, after=before))


def models_train(
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same log: same model.")] = 0,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make it champion, if it is better than what is in force.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="With --promote: even if it has not proved better.")] = False,
    min_decisions: Annotated[int, typer.Option("--min-decisions", min=10, help="Fewer train nothing.")] = 500,
    min_accepted: Annotated[int, typer.Option("--min-accepted", min=3, help="Fewer train nothing.")] = 50,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Training set: a Parquet file or a folder of them, of any size.  [default: the log]"
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, or cuda where XGBoost has it; with --from.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="[default: 1; with --from: all processors]")
    ] = None,
    not_a_leak: Annotated[
        list[str] | None, typer.Option("--not-a-leak", help="A column to learn from though it looks like a leak.")
    ] = None,
    term: Annotated[str, typer.Option("--term", help="What it is to give: acceptance, uplift, churn or value.")] = (
        "acceptance"
    ),
    learner: Annotated[
        str | None, typer.Option("--learner", help="Of an uplift: t, x or dr.  [default: x]", show_default=False)
    ] = None,
    label: Annotated[
        str, typer.Option("--label", help="Of an uplift from the log: an event type that the household has or not.")
    ] = "",
    window_hours: Annotated[
        float, typer.Option("--window-hours", min=0.001, help="In which that label comes, from the decision on.")
    ] = 24.0,
    model: Annotated[
        str, typer.Option("--model", help="Its name in the registry.  [default: the playbook's for the term]")
    ] = "",
    as_json: Json = False,
) -> None:
    """Learn a model from the log, or from a training set, and save it in the registry."""
    from cluster.commands.models import Enough
    from cluster.commands.models import train as run
    from cluster.commands.training_from import How
    from cluster.commands.training_terms import term_asked, train_term

    if device not in ("cpu", "cuda"):
        raise typer.BadParameter(f"{device!r} is neither cpu nor cuda", param_hint="--device")
    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    enough = Enough(decisions=min_decisions, accepted=min_accepted)
    how = How(source=source, device=device, threads=threads, vouched_for=frozenset(not_a_leak or ()))
    asked = term_asked(term, learner, label=label, window_hours=window_hours, name=model)
    if asked is not None:
        ended = train_term(
            config,
            asked,
            seed=seed,
            rows_min=min_decisions,
            positives_min=min_accepted,
            how=how,
            is_promoted=promote,
            is_forced=force,
            as_json=as_json,
        )
        leave(ended)
    ended = run(
        config, seed=seed, enough=enough, how=how, is_promoted=promote, is_forced=force, as_json=as_json, name=model
    )
    leave(ended)


def models_dataset(
    out: Annotated[
        Path, typer.Option("--out", help="FILE.parquet, or a folder for files of a million rows.", show_default=False)
    ],
    label: Annotated[
        str, typer.Option("--label", help="`accepted`, or an event type that the household has or not.")
    ] = "accepted",
    window_hours: Annotated[
        float, typer.Option("--window-hours", min=0.001, help="In which the label comes, from the decision on.")
    ] = 24.0,
    check: Annotated[
        bool, typer.Option("--check", help="Fold the log once more, and compare the features of every decision.")
    ] = False,
    as_of: Annotated[
        Path | None,
        typer.Option(
            "--as-of",
            help="Parquet of `household`, `time` and perhaps `member`: their features as of then, not decisions.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Write what models saw as of each decision, and what became of it, as Parquet."""
    from cluster.commands.dataset import write_dataset as run
    from cluster.commands.features_of_many import write_features

    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    if as_of is not None:
        leave(write_features(config, as_of, out=out, as_json=as_json))
    leave(run(config, out=out, label=label, window_hours=window_hours, is_checked=check, as_json=as_json))


def models_leaks(
    file: Annotated[Path, typer.Argument(help="Training set: Parquet or CSV.", show_default=False)],
    label: Annotated[str, typer.Option("--label", help="The column to predict; of two values.")] = "label",
    time: Annotated[
        str | None, typer.Option("--time", help="The column with the time as of which each row is.", show_default=False)
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="A column that nothing is learned from, such as an id.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Name the columns of a training set that know what they are to predict. Exit code 1 if there are any."""
    from cluster.commands.leaks import LeakColumns
    from cluster.commands.leaks import look_for_leaks as run

    leave(run(file, LeakColumns(label=label, time=time, left_out=without or ()), as_json=as_json))


def features(
    household: Annotated[str, typer.Argument(help="Household key.", show_default=False)],
    at: Annotated[
        str | None,
        typer.Option("--at", help="ISO 8601, UTC if no zone is named.  [default: the newest record]"),
    ] = None,
    member: Annotated[
        str | None, typer.Option("--member", help="Member key.  [default: each, and the household alone]")
    ] = None,
    decision: Annotated[str, typer.Option("--decision", help="As this decision read them.", show_default=False)] = "",
    data_dir: DataDir = None,
    log: LogOption = None,
    as_json: Json = False,
) -> None:
    """Tell the features of a household as they stood at a time, from the log alone."""
    from cluster.commands.features import FeaturesAsked
    from cluster.commands.features import features_at as run

    if at is not None and decision:
        raise typer.BadParameter("a decision has its own time; name one of the two", param_hint="--at, --decision")
    at_us = None if at is None else instant_us(at, option="--at")
    asked = FeaturesAsked(household=household, member=member, at_us=at_us, decision_id=decision)
    leave(run(settings_of(data_dir=data_dir, log=log), asked, as_json=as_json))


def models_list(model: OfModel = "", data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the versions of a model in the registry."""
    from cluster.commands.models import list_models as run

    leave(run(load_config(data_dir=data_dir), as_json=as_json, name=model))


def models_promote(
    version: VersionArgument,
    force: Annotated[bool, typer.Option("--force", help="Even if it has not proved better.")] = False,
    model: OfModel = "",
    why: Because = "",
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Make a version champion, if it is better than what is in force on decisions that neither has seen."""
    from cluster.commands.promotion import promote_version as run

    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    leave(run(config, version, is_forced=force, why=why, as_json=as_json, name=model))


def models_register(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Booster of XGBoost 1.7 or newer: .ubj or .json. Of an uplift: of the effect; or of control and "
            "treated; or of the effects on control and treated, and the propensity.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", help="Its name in the registry.  [default: the playbook's for the term]")
    ] = "",
    term: Annotated[
        str,
        typer.Option(
            "--term",
            help="What it gives: acceptance, uplift, churn or value.  [default: as the playbook has the model]",
            show_default=False,
        ),
    ] = "",
    judge_on: Annotated[
        Path | None,
        typer.Option(
            "--judge-on", help="Set that a model of uplift, churn or value has not seen; its promotion needs it."
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option("--columns", help="Names in order, a file or with commas.  [default: those in the booster]"),
    ] = None,
    golden: Annotated[
        Path | None, typer.Option("--golden", help="Parquet of rows and the `score` each had where it was trained.")
    ] = None,
    from_priors: Annotated[
        bool, typer.Option("--from-priors", help="Its trees start from the log odds of prior_acceptance.")
    ] = False,
    seen_to: Annotated[
        datetime | None,
        typer.Option("--seen-to", help="UTC time of the newest decision it learned from; comparisons need it."),
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="[default: from its SHA-256]")] = None,
    trained_on: Annotated[
        Path | None,
        typer.Option("--trained-on", help="Its training set, Parquet: for leaks, and to watch it."),
    ] = None,
    not_a_leak: Annotated[
        list[str] | None, typer.Option("--not-a-leak", help="A column that may look like a leak; with --trained-on.")
    ] = None,
    why: Because = "",
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Check a model that was trained elsewhere, in a process of its own, and save it in the registry."""
    from cluster.commands.registering import ModelMeant, TrainedOn
    from cluster.commands.registering import register_version as run
    from serving.models.adoption import Origin

    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    seen = seen_to.replace(tzinfo=seen_to.tzinfo or UTC) if seen_to is not None else None
    if seen is not None and seen > utc_now():
        raise UsageWrong(f"--seen-to {seen} is yet to come; name the time of the newest decision that it learned from")
    seen_to_us = None if seen is None else round(seen.timestamp() * 1e6)
    origin = Origin(starts_from_priors=from_priors, seen_to_us=seen_to_us)
    told = TrainedOn(file=trained_on, vouched_for=frozenset(not_a_leak or ()))
    ended = run(
        config,
        files,
        meant=ModelMeant(name=model, term=term, judged_on=judge_on),
        columns=columns,
        golden=golden,
        version=version,
        origin=origin,
        trained_on=told,
        why=why,
        as_json=as_json,
    )
    leave(ended)


def models_shadow(
    version: VersionArgument,
    model: OfModel = "",
    why: Because = "",
    data_dir: DataDir = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Have a version scored for every decision and recorded with it; nothing is decided by it."""
    from cluster.commands.model_stages import shadow_version as run

    leave(run(settings_of(data_dir=data_dir, playbook=playbook), version, why=why, as_json=as_json, name=model))


def models_canary(
    version: VersionArgument,
    share: Annotated[
        float,
        typer.Option(
            "--share",
            parser=share_of,
            metavar="SHARE",
            help="Of the households, 5% or 0.05; it only grows.",
            show_default=False,
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Even if it was never in shadow, or has proved worse.")
    ] = False,
    model: OfModel = "",
    why: Because = "",
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Have a version decide for a share of the households, the same ones however often they come."""
    from cluster.commands.model_stages import canary_version as run

    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    leave(run(config, version, share, is_forced=force, why=why, as_json=as_json, name=model))


def models_rollback(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="[default: the canary, or else the champion]")
    ] = None,
    model: OfModel = "",
    why: Because = "",
    data_dir: DataDir = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Take a version back: end a canary's or shadow's trial, or put the champion before the present one into force."""
    from cluster.commands.model_stages import rollback as run

    leave(run(settings_of(data_dir=data_dir, playbook=playbook), version, why=why, as_json=as_json, name=model))


def models_retire(
    version: VersionArgument,
    model: OfModel = "",
    why: Because = "",
    data_dir: DataDir = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Have a version never come into service again; its files stay."""
    from cluster.commands.model_stages import retire_version as run

    leave(run(settings_of(data_dir=data_dir, playbook=playbook), version, why=why, as_json=as_json, name=model))


def models_follow(
    mlflow: Annotated[str, typer.Option("--mlflow", help="Address of the MLflow server.", show_default=False)],
    model: Annotated[str, typer.Option("--model", help="Registered model there.", show_default=False)],
    every: Annotated[float, typer.Option("--every", min=0.5, max=600, help="Seconds between two looks.")] = 2.0,
    canary_share: Annotated[
        float,
        typer.Option(
            "--canary-share",
            parser=share_of,
            metavar="SHARE",
            help="For a version whose tag hearth.canary_share does not say it.",
        ),
    ] = 0.05,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="HOST:PORT", help="Listen there for MLflow's webhooks, too.")
    ] = None,
    webhook_secret: Annotated[
        Path | None, typer.Option("--webhook-secret", help="File of the secret that signs them.", show_default=False)
    ] = None,
    webhook_certificate: Annotated[
        Path | None, typer.Option("--webhook-certificate", help="PEM; beyond loopback it is needed.")
    ] = None,
    webhook_key: Annotated[
        Path | None, typer.Option("--webhook-key", help="PEM.  [default: in the certificate]")
    ] = None,
    here: Annotated[
        str,
        typer.Option("--here", help="The model of this registry that it is.  [default: the playbook's of acceptance]"),
    ] = "",
    once: Annotated[bool, typer.Option("--once", help="Look once; exit code 1 if something was refused.")] = False,
    data_dir: DataDir = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Bring into service what the aliases champion, canary and shadow of a model in MLflow name, until interrupted."""
    from cluster.commands.following import follow as run
    from cluster.commands.following import webhook_of

    listening = None
    if webhook is not None:
        listening = webhook_of(webhook, secret=webhook_secret, certificate=webhook_certificate, key=webhook_key)
    config = settings_of(data_dir=data_dir, playbook=playbook)
    leave(
        run(
            config,
            uri=mlflow,
            model=model,
            every_s=every,
            usual_share=canary_share,
            here=here,
            webhook=listening,
            is_once=once,
            as_json=as_json,
        )
    )


def models_show(
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="A version, or an alias.")] = "champion",
    model: OfModel = "",
    data_dir: DataDir = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Tell all there is to know of a version: what it learned, how good it is, when it was champion."""
    from cluster.commands.promotion import show as run

    leave(run(settings_of(data_dir=data_dir, playbook=playbook), version, as_json=as_json, name=model))


def models_compare(
    version: VersionArgument,
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="Or `prior`.  [default: what is in force]")
    ] = None,
    on: Annotated[
        Path | None,
        typer.Option("--on", help="Labelled set, for other terms than acceptance as well.  [default: the log]"),
    ] = None,
    model: OfModel = "",
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Compare a version with another on decisions that neither has seen, with an interval."""
    from cluster.commands.promotion import compare_versions as run

    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    leave(run(config, version, other, on=on, as_json=as_json, name=model))
