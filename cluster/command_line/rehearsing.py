"""Commands about what a playbook's journeys do: options only, what they do is in cluster/commands/."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, assert_never

import typer

from cluster.command_line.options import DataDir, Json, LogOption, leave, settings_of, share_of
from cluster.config import shipped_playbook
from cluster.errors import UsageWrong


class SimulationMode(StrEnum):
    """What is simulated."""

    REPLAY = "replay"
    """The log, by the playbooks it was decided by: is each decision the same?"""
    PATHS = "paths"
    """Generated instances: is each state and way of a playbook's journeys reached?"""
    COUNTERFACTUAL = "counterfactual"
    """Another playbook over the same log: who would be contacted, how often, at what cost, and what is it worth?"""


def playbook_test(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILES]", help="Files or folders of tests, or playbooks with a folder `tests`."),
    ] = None,
    playbook: Annotated[
        Path | None, typer.Option("--playbook", help="That they are about.  [default: the one whose `tests` they are]")
    ] = None,
    only: Annotated[str, typer.Option("--only", help="A part of the names of those to be played.")] = "",
    as_json: Json = False,
) -> None:
    """Play a playbook's tests: given these signals at these times, its journeys do what they are expected to.

    Exit code 1 if something comes otherwise, 2 if a file cannot be read.
    """
    from cluster.commands.rehearsals import rehearse

    shipped = shipped_playbook("telco")
    leave(rehearse(paths or [], playbook=playbook, shipped=shipped, only=only, as_json=as_json))


def playbook_simulate(
    mode: Annotated[SimulationMode, typer.Option("--mode", help="What to simulate.", show_default=False)],
    playbook: Annotated[
        str | None,
        typer.Option("--playbook", help="Folder, file or kept version.  [default: the one in force; else telco]"),
    ] = None,
    journey: Annotated[
        list[str] | None, typer.Option("--journey", help="Paths of this one; may be repeated.  [default: all]")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed: same paths, same numbers.")] = 0,
    instances: Annotated[
        int, typer.Option("--instances", min=1, help="Paths: of a journey at most; it stops when all is reached.")
    ] = 2_000,
    samples: Annotated[
        int, typer.Option("--samples", min=0, help="Counterfactual: households to tell of, newly and no longer.")
    ] = 20,
    window_hours: Annotated[
        float, typer.Option("--window-hours", min=0.01, help="Counterfactual: how long an acceptance counts.")
    ] = 24.0,
    min_effective_sample: Annotated[
        float, typer.Option("--min-effective-sample", min=0.0, help="Counterfactual: with less, no value is told.")
    ] = 100.0,
    only_supported: Annotated[
        bool, typer.Option("--only-supported", help="Counterfactual: value decisions alone that could be so.")
    ] = False,
    confidence: Annotated[
        float,
        typer.Option("--confidence", parser=share_of, metavar="SHARE", help="Counterfactual: of the intervals."),
    ] = 0.95,
    data_dir: DataDir = None,
    log: LogOption = None,
    as_json: Json = False,
) -> None:
    """Simulate: a log decided once more, all paths of a playbook, or what another one would have done over the log.

    Exit code 1 if a decision comes out otherwise, something cannot be reached, or the data cannot tell a value. Nothing
    is written to the log; it may run beside a Hearth that is up.
    """
    from cluster.commands.simulation import PathsAsked, simulate_paths, simulate_replay

    config = settings_of(data_dir=data_dir, log=log)
    match mode:
        case SimulationMode.REPLAY:
            if playbook is not None:
                raise UsageWrong("--mode replay is by the playbooks that the log itself holds; leave --playbook out")
            leave(simulate_replay(config, as_json=as_json))
        case SimulationMode.PATHS:
            asked = PathsAsked(journeys=journey or (), seed=seed, instances=instances)
            leave(simulate_paths(config, playbook, asked, as_json=as_json))
        case SimulationMode.COUNTERFACTUAL:
            from cluster.commands.counterfactual import US_PER_HOUR, CounterfactualAsked
            from cluster.commands.counterfactual_told import simulate_counterfactual
            from cluster.commands.evaluation import check_confidence
            from insight.evaluation.evaluate import EvaluationConfig

            evaluation = EvaluationConfig(
                confidence=check_confidence(confidence),
                effective_sample_min=min_effective_sample,
                only_supported=only_supported,
                seed=seed,
            )
            wanted = CounterfactualAsked(
                playbook=playbook,
                samples=samples,
                window_us=round(window_hours * US_PER_HOUR),
                evaluation=evaluation,
            )
            leave(simulate_counterfactual(config, wanted, as_json=as_json))
        case _:
            assert_never(mode)
