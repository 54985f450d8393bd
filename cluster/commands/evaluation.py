"""`hearth models evaluate|uplift`: what a policy would have brought, and whom it pays to treat."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from cluster.commands.models import plain
from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import print_json, say
from insight.evaluation.decisions import LoggedDecisions, read_decisions
from insight.evaluation.evaluate import Evaluation, EvaluationConfig, evaluate
from insight.evaluation.exported import is_exported, read_exported
from insight.evaluation.policies import Policy, read_policy
from insight.intervals import Estimate
from insight.tables import BadTable, read_table
from insight.uplift.evaluate import UpliftConfig, UpliftEvaluation, evaluate_uplift
from insight.uplift.trial import Columns, read_trial

US_PER_HOUR = 3_600_000_000
FILES = (".parquet", ".csv")
"""How a policy is named that is a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where decisions and what came of them are read."""

    decisions: Path | None
    """None: the log of the data directory."""
    outcomes: Path | None
    reward: str | None
    window_hours: float


def evaluate_policy(
    config: HearthConfig, policy: str, *, sources: Sources, settings: EvaluationConfig, as_json: bool
) -> int:
    """Print what a policy would have brought; 1 where the data cannot tell, with the reason."""
    is_file = Path(policy).is_file()
    if not is_file and policy.lower().endswith(FILES):
        raise UsageWrong(f"--policy {policy} is not there")
    with _mistakes():
        table, decisions = _decisions(config, sources)
        if is_file:
            wanted = read_policy(read_table(Path(policy)), decisions, file=policy)
        else:
            wanted, decisions = _of_version(config, policy, table, decisions)
        found = evaluate(decisions, wanted, config=settings)
    if as_json:
        print_json(_json(found))
    else:
        _print_evaluation(found, settings)
    if found.refusal is not None:
        say(f"hearth: the data cannot tell: {found.refusal.why}")
    return 0 if found.refusal is None else 1


@contextmanager
def _mistakes() -> Iterator[None]:
    try:
        yield
    except BadTable as wrong:
        raise UsageWrong(str(wrong)) from wrong


def _decisions(config: HearthConfig, sources: Sources) -> tuple[pa.Table, LoggedDecisions]:
    """Return the decisions as a table and as they are evaluated."""
    window_us = round(sources.window_hours * US_PER_HOUR)
    if sources.decisions is None:
        if sources.reward is not None or sources.outcomes is not None:
            raise UsageWrong("--reward and --outcomes go with a file of decisions; the log has its own outcomes")
        table, outcomes = _from_log(config)
        return table, read_exported(table, outcomes, file="the log", window_us=window_us)
    file = str(sources.decisions)
    table = read_table(sources.decisions)
    if is_exported(table):
        outcomes = None if sources.outcomes is None else _outcomes(sources.outcomes)
        reward = sources.reward or ("reward" if outcomes is None and "reward" in table.column_names else None)
        return table, read_exported(table, outcomes, file=file, reward=reward, window_us=window_us)
    if sources.outcomes is not None:
        raise UsageWrong(f"--outcomes goes with decisions that Hearth exported; {file} has its rewards in a column")
    return table, read_decisions(table, file=file, reward=sources.reward or "reward")


def _outcomes(file: Path) -> pa.Table:
    """Read of an export of signals what tells of outcomes; it may hold far more."""
    if not file.is_file():
        raise BadTable(f"{file} is not there")
    try:
        names = pyarrow.parquet.read_schema(file).names
        missing = {"type", "time"} - set(names)
        if missing:
            raise BadTable(
                f"{file}: no column {min(missing)!r}; it should be what `hearth log export` wrote of signals"
            )
        return pyarrow.parquet.read_table(file, columns=[one for one in ("type", "time", "action_id") if one in names])
    except (pa.ArrowException, OSError) as wrong:
        raise BadTable(f"{file} cannot be read as a Parquet file: {' '.join(str(wrong).split())}") from wrong


def _from_log(config: HearthConfig) -> tuple[pa.Table, pa.Table]:
    from cluster.commands.models import read_log
    from cluster.exporting import log_reader

    decisions, outcomes, _ = read_log(config, log_reader(config), is_whole=True)
    return decisions, outcomes


def _of_version(
    config: HearthConfig, version: str, table: pa.Table, decisions: LoggedDecisions
) -> tuple[Policy, LoggedDecisions]:
    # XGBoost takes a second to import: only who names a version pays.
    from cluster.commands.arbitrated_policy import policy_of_version

    if not is_exported(table):
        raise UsageWrong(
            f"--policy {version} is no file, and a model version can only be evaluated on decisions that Hearth "
            "exported: other systems' decisions do not say what else was weighed"
        )
    return policy_of_version(config, version, table, decisions)


def _json(found: Evaluation | UpliftEvaluation) -> dict[str, object]:
    told = plain(asdict(found))
    assert isinstance(told, dict)
    return told


def _span(one: Estimate, digits: int = 4) -> str:
    return f"{one.value:.{digits}f}  {one.low:.{digits}f} to {one.high:.{digits}f}"


def _print_evaluation(found: Evaluation, settings: EvaluationConfig) -> None:
    households = f" of {found.households:,} households"
    print(f"policy {found.policy}, on {found.decisions:,} decisions{households}")
    if found.left_out:
        print("  left out: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(found.left_out.items())))
    if not found.is_support_known:
        print("  what else could have been chosen is not known; only what never was is noticed")
    overlap = found.overlap
    if overlap is not None:
        print(
            f"  effective sample {overlap.effective_sample:,.1f}; what was done is what the policy might do in "
            f"{overlap.followed_share:.1%}"
        )
        print(
            f"  weights: mean {overlap.mean_weight.value:.3f}, largest {overlap.largest_weight:.1f}, the heaviest "
            f"hundredth bears {overlap.heaviest_hundredth:.1%}; least propensity {overlap.least_propensity:.4f}"
        )
        if settings.weight_max is not None:
            print(
                f"  {overlap.clipped:,} weights held down to {settings.weight_max:g}: {overlap.clipped_weight:.1%} of "
                "all weight is cut off, and the intervals know nothing of that"
            )
    if found.refusal is not None:
        return
    print(f"  per decision, {settings.confidence:.0%} interval")
    named = (("what was in force", found.logged), ("policy, DR", found.dr), ("difference", found.difference))
    for name, one in (*named, ("policy, IPS", found.ips), ("policy, SNIPS", found.snips)):
        assert one is not None, "only a refusal leaves it out"
        print(f"    {name:<18}  {_span(one)}")


def evaluate_trial(file: Path, *, columns: Columns, settings: UpliftConfig, as_json: bool) -> int:
    """Print what a trial says about predicted uplift; 1 where the data cannot tell, with the reason."""
    with _mistakes():
        found = evaluate_uplift(read_trial(read_table(file), file=str(file), columns=columns), config=settings)
    if as_json:
        print_json(_json(found))
    else:
        _print_uplift(found, settings)
    if found.refusal is not None:
        say(f"hearth: the data cannot tell: {found.refusal.why}")
    return 0 if found.refusal is None else 1


def _print_uplift(found: UpliftEvaluation, settings: UpliftConfig) -> None:
    print(f"{found.treated:,} treated, {found.control:,} controls, {found.households:,} households")
    if found.refusal is not None:
        return
    assert found.verdict is not None
    assert found.effect is not None
    assert found.gain is not None
    print(f"{found.verdict.value}: {found.why}")
    print(f"  {settings.confidence:.0%} intervals")
    print(f"    {'effect on all':<24}  {_span(found.effect)}")
    print(f"    {'gain over random':<24}  {_span(found.gain)}")
    for name, one in (("Qini coefficient", found.qini), ("AUUC", found.auuc)):
        told = f"{one.value:.4f}  {one.low:.4f} to {one.high:.4f}" if one else "-  the outcome is not 0 or 1"
        print(f"    {name:<24}  {told}")
    for at in found.at:
        print(f"    {f'uplift of the top {at.share:.0%}':<24}  {_span(at.uplift)}")
    if found.calibration is not None:
        print(f"    {'calibration, slope':<24}  {_span(found.calibration.slope)}  (1 if calibrated)")
        print(f"    {'calibration, bias':<24}  {_span(found.calibration.bias)}  (0 if calibrated)")
    print("  by tenth of the score, highest first: predicted, then found")
    for tenth in found.tenths:
        rows = f"{tenth.treated:,.0f} + {tenth.control:,.0f}"
        print(f"    {tenth.number:>2}  {rows:<15}  {tenth.predicted:>9.4f}   {_span(tenth.uplift)}")
    print(f"  worth per row at {settings.contact_cost:g} per contact and {settings.outcome_value:g} per outcome")
    for value in found.values:
        print(f"    {value.policy:<47}  {value.share:>4.0%}  {_span(value.value)}")


def check_shares(shares: list[float]) -> tuple[float, ...]:
    """Return shares of rows.

    Raises:
        UsageWrong: one is none.
    """
    for share in shares:
        if not 0 < share <= 1:
            raise UsageWrong(f"--top {share:g} is no share of rows; it is above 0 and at most 1, e.g. 0.3")
    return tuple(shares)


def check_confidence(confidence: float) -> float:
    """Return a confidence.

    Raises:
        UsageWrong: it is none.
    """
    if not 0.5 <= confidence < 1:
        raise CommandFailed(f"--confidence {confidence:g} is none; it is from 0.5 to below 1, e.g. 0.95", 2)
    return confidence
