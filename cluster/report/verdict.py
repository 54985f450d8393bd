"""What a report comes to, in a sentence, and why."""

from collections.abc import Sequence

from cluster.report.facts import Missing
from serving.models.calibration import Calibrated, ScoreCalibration
from serving.models.comparison import PRIOR, Comparison, Verdict
from serving.models.fairness import Part
from serving.models.findings import WatchFinding
from serving.models.in_force import ModelStage
from serving.models.watch import Watched


def judged(
    stage: ModelStage,
    comparisons: Sequence[Comparison],
    watched: Watched | Missing,
    parts: Sequence[Part] | Missing,
    *,
    unseen: ScoreCalibration | None,
    too_little: str,
) -> tuple[str, list[str]]:
    """Return the verdict, and what speaks for and against it.

    Args:
        comparisons: with what is in force first, where that is another version; with the priors last.
        unseen: how its scores do on decisions that it has not seen; None where there are none.
        too_little: why there is nothing to compare on.
    """
    reasons = [_of_comparison(one) for one in comparisons]
    if not isinstance(watched, Missing):
        reasons.append(f"In service: {watched.verdict}")
    if unseen is not None and unseen.verdict in (Calibrated.TOO_HIGH, Calibrated.TOO_LOW):
        reasons.append(f"Of what it has not seen, its scores are {_of_calibration(unseen)}")
    reasons += [
        f"Scores are {one.calibration.verdict.value} where {one.by} is {one.value}: {one.calibration.predicted:.3f} "
        f"predicted, {one.calibration.observed:.3f} accepted of {one.rows:,}"
        for one in off(parts)
        if one.calibration.predicted is not None and one.calibration.observed is not None
    ]
    return _verdict(stage, comparisons, watched, parts), reasons or [too_little]


def _verdict(
    stage: ModelStage, comparisons: Sequence[Comparison], watched: Watched | Missing, parts: Sequence[Part] | Missing
) -> str:
    verdicts = {one.verdict for one in comparisons}
    if stage is ModelStage.RETIRED:
        return "It is retired, and comes into service no more."
    if not comparisons or verdicts == {Verdict.TOO_LITTLE}:
        return "There is too little to judge it by."
    if stage is ModelStage.CHAMPION:
        return _of_champion(comparisons[-1].verdict, watched)
    if Verdict.WORSE in verdicts:
        return "It is worse than what it would replace: leave it."
    match comparisons[0].verdict:
        case Verdict.BETTER:
            careful = "; look at the parts of the households first" if off(parts) else ""
            return f"It is better than what is in force, beyond doubt: it may be promoted{careful}."
        case Verdict.TOO_LITTLE:
            return "There is too little to compare it with what is in force."
        case Verdict.NOT_BETTER | Verdict.WORSE:
            return "It has not proved better than what is in force: leave that, or try it longer in shadow."


def _of_champion(against_priors: Verdict, watched: Watched | Missing) -> str:
    if not isinstance(watched, Missing) and WatchFinding.CALIBRATION in watched.findings:
        return "It is champion, and its scores are no longer what comes true: train it anew."
    match against_priors:
        case Verdict.BETTER:
            return "It is champion, and better than the playbook's priors."
        case Verdict.WORSE:
            return "It is champion, and worse than the playbook's priors: roll it back."
        case Verdict.NOT_BETTER | Verdict.TOO_LITTLE:
            return "It is champion, and it is not shown that it is better than the playbook's priors."


def _of_comparison(one: Comparison) -> str:
    against = "the playbook's priors" if one.incumbent == PRIOR else one.incumbent
    told = f"Against {against}: {one.verdict.value} on {one.rows:,} decisions that neither has seen"
    if one.logloss_difference is None or one.logloss_interval is None:
        return told
    low, high = one.logloss_interval
    return f"{told}, log loss {one.logloss_difference:+.4f} ({low:+.4f} to {high:+.4f})"


def _of_calibration(one: ScoreCalibration) -> str:
    return f"{one.verdict.value}: {one.predicted:.3f} predicted, {one.observed:.3f} accepted"


def off(parts: Sequence[Part] | Missing) -> list[Part]:
    """Return the parts of the households where scores are not what comes true."""
    return [] if isinstance(parts, Missing) else [one for one in parts if one.is_off]
