"""Commands of those who evaluate: what a policy would have brought, and whom it pays to treat."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.command_line.options import Confidence, DataDir, Json, LogOption, Playbook, leave, settings_of, share_of


def models_evaluate(
    policy: Annotated[
        str,
        typer.Option("--policy", help="File of probabilities, model version or alias, or `prior`.", show_default=False),
    ],
    decisions: Annotated[
        Path | None,
        typer.Argument(metavar="DECISIONS", help="Parquet or CSV file of decisions.  [default: the log]"),
    ] = None,
    outcomes: Annotated[
        Path | None,
        typer.Option("--outcomes", help="Exported signals: an acceptance is the reward.", show_default=False),
    ] = None,
    reward: Annotated[
        str | None, typer.Option("--reward", help="Column of DECISIONS with the reward.  [default: reward]")
    ] = None,
    window_hours: Annotated[
        float, typer.Option("--window-hours", min=0.01, help="How long an acceptance counts.")
    ] = 24.0,
    max_weight: Annotated[
        float | None,
        typer.Option("--max-weight", min=0.01, help="Larger weights count as this; the report says what is lost."),
    ] = None,
    min_effective_sample: Annotated[
        float, typer.Option("--min-effective-sample", min=0.0, help="With less, nothing is said.")
    ] = 100.0,
    only_supported: Annotated[
        bool, typer.Option("--only-supported", help="Leave out decisions where the policy could not be followed.")
    ] = False,
    confidence: Confidence = 0.95,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same data: same numbers.")] = 0,
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Tell what a policy would have brought, from decisions that another one made; 1 where the data cannot tell."""
    from cluster.commands.evaluation import Sources, check_confidence, evaluate_policy
    from insight.evaluation.evaluate import EvaluationConfig

    settings = EvaluationConfig(
        confidence=check_confidence(confidence),
        effective_sample_min=min_effective_sample,
        weight_max=max_weight,
        only_supported=only_supported,
        seed=seed,
    )
    sources = Sources(decisions=decisions, outcomes=outcomes, reward=reward, window_hours=window_hours)
    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    leave(evaluate_policy(config, policy, sources=sources, settings=settings, as_json=as_json))


def models_uplift(
    trial: Annotated[
        Path, typer.Argument(metavar="TRIAL", help="Parquet or CSV file of treated and controls.", show_default=False)
    ],
    treated: Annotated[str, typer.Option("--treated", help="Column that says who was treated.")] = "treated",
    outcome: Annotated[str, typer.Option("--outcome", help="Column of what came of it.")] = "outcome",
    score: Annotated[str, typer.Option("--score", help="Column of predicted uplift.")] = "uplift",
    top: Annotated[
        list[float],
        typer.Option(
            "--top",
            parser=share_of,
            metavar="SHARE",
            help="Share of highest scores to tell the uplift of; may be repeated.",
        ),
    ] = [0.1, 0.2, 0.3, 0.5],  # noqa: B006
    contact_cost: Annotated[float, typer.Option("--contact-cost", min=0.0, help="Of treating one.")] = 0.0,
    outcome_value: Annotated[float, typer.Option("--outcome-value", help="What one outcome is worth.")] = 1.0,
    min_effective_sample: Annotated[
        float, typer.Option("--min-effective-sample", min=2.0, help="In each arm; with less, nothing is said.")
    ] = 100.0,
    confidence: Confidence = 0.95,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same data: same numbers.")] = 0,
    as_json: Json = False,
) -> None:
    """Tell whom it pays to treat, by predicted uplift and a trial; says so where there is no effect to target."""
    from cluster.commands.evaluation import check_confidence, check_shares, evaluate_trial
    from insight.uplift.evaluate import UpliftConfig
    from insight.uplift.trial import Columns

    settings = UpliftConfig(
        confidence=check_confidence(confidence),
        shares=check_shares(top),
        contact_cost=contact_cost,
        outcome_value=outcome_value,
        effective_sample_min=min_effective_sample,
        seed=seed,
    )
    columns = Columns(treated=treated, outcome=outcome, score=score)
    leave(evaluate_trial(trial, columns=columns, settings=settings, as_json=as_json))
