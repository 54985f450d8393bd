"""What another playbook would have brought: its choices in the decisions of a log, valued as any policy's are.

Where it would do nothing, nothing is accepted: that is known, and needs no propensity. What is estimated is the rest;
both together are the value per decision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from insight.evaluation.decisions import NOTHING, Choices, LoggedDecisions
from insight.evaluation.estimators import mean_of
from insight.evaluation.evaluate import Evaluation, EvaluationConfig, Overlap, PolicyRefusal, PolicyValued, valued
from insight.evaluation.policies import Policy
from insight.intervals import Estimate, estimate

NAMED_MOST: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenAnew:
    """One decision: what came first, and what would come first by another playbook."""

    decision_id: str
    household: bytes
    action: str
    """Empty for nothing."""
    propensity: float
    logged: Sequence[tuple[str, float]]
    """(action, probability) of all that could have come first; none for nothing."""
    wanted: Sequence[tuple[str, float]]
    """The same by the other playbook."""
    context: NDArray[np.float32]
    """(columns,)"""
    rewards: Mapping[str, float]
    """What it brought, by what is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverChosen:
    """An action that the other playbook wants, and for whom it could not have been chosen: its propensity was 0."""

    action: str
    decisions: int
    households: int
    some: tuple[bytes, ...]
    """A few of the households."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuedAnew:
    """The value per decision of another playbook, as far as the data can tell."""

    decisions: int
    households: int
    says_nothing: int
    """Decisions in which the other playbook would do nothing: worth 0 for certain."""
    left_out: Mapping[str, int]
    never_chosen: tuple[NeverChosen, ...]
    refusal: PolicyRefusal | None
    overlap: Overlap | None = None
    """Of the decisions in which it would say something."""
    logged: Mapping[str, Estimate] | None = None
    """What was in force brought, by what is asked. None, as what follows, where the data cannot answer."""
    dr: Mapping[str, Estimate] | None = None
    difference: Mapping[str, Estimate] | None = None


def value_anew(
    rows: Sequence[ChosenAnew], *, asked: Sequence[str], left_out: Mapping[str, int], config: EvaluationConfig
) -> ValuedAnew:
    """Return what a playbook would have brought per decision.

    Args:
        rows: decisions that had something to choose, all with contexts of one length.
        asked: names of rewards, each valued by itself.
        left_out: decisions that are not among them, by reason.
        config: of the evaluation.
    """
    decisions, policy = _tables(rows, left_out)
    speaks = np.array([bool(one.wanted) for one in rows], np.bool_)
    found = ValuedAnew(
        decisions=len(rows),
        households=len(np.unique(decisions.units)),
        says_nothing=int((~speaks).sum()),
        left_out=left_out,
        never_chosen=_never_chosen(rows),
        refusal=None,
    )
    if not speaks.any():
        return _told(found, rows, np.zeros(len(rows), np.bool_), {}, decisions.units, asked, config) if rows else found
    speaking, wanted = decisions.only(speaks, "says nothing"), _only(policy, speaks)
    values = dict[str, PolicyValued]()
    for name in asked:
        reward = np.array([one.rewards[name] for one in rows], np.float64)[speaks]
        one = valued(replace(speaking, reward=reward), wanted, config=config)
        if isinstance(one, Evaluation):
            return replace(found, refusal=one.refusal, overlap=one.overlap)
        values[name] = one
    known = set(values[asked[0]].decisions.ids.to_pylist())
    supported = np.array([one.decision_id in known for one in rows], np.bool_)
    kept = supported | ~speaks
    found = replace(found, overlap=values[asked[0]].overlap)
    kept_rows = [one for one, is_kept in zip(rows, kept, strict=True) if is_kept]
    units = np.unique(decisions.units[kept], return_inverse=True)[1]
    return _told(found, kept_rows, supported[kept], values, units, asked, config)


def _told(
    found: ValuedAnew,
    rows: Sequence[ChosenAnew],
    speaks: NDArray[np.bool_],
    values: Mapping[str, PolicyValued],
    units: NDArray[np.intp],
    asked: Sequence[str],
    config: EvaluationConfig,
) -> ValuedAnew:
    logged, dr, difference = dict[str, Estimate](), dict[str, Estimate](), dict[str, Estimate]()
    for name in asked:
        rewards = np.array([one.rewards[name] for one in rows], np.float64)
        brought = np.zeros(len(rows))
        if name in values:
            brought[speaks] = values[name].dr.value + values[name].dr.influence
        for into, each in ((logged, rewards), (dr, brought), (difference, brought - rewards)):
            one = mean_of(each)
            into[name] = estimate(one.value, one.influence, units, confidence=config.confidence)
    return replace(found, logged=logged, dr=dr, difference=difference)


def _tables(rows: Sequence[ChosenAnew], left_out: Mapping[str, int]) -> tuple[LoggedDecisions, Policy]:
    numbers = {NOTHING: 0}

    def number(name: str) -> int:
        return numbers.setdefault(name or NOTHING, len(numbers))

    def choices(each: list[Sequence[tuple[str, float]]]) -> Choices:
        flat = [(row, number(name), p) for row, some in enumerate(each) for name, p in some or ((NOTHING, 1.0),)]
        return Choices(
            decision=np.array([one[0] for one in flat], np.intp),
            action=np.array([one[1] for one in flat], np.intp),
            probability=np.array([one[2] for one in flat], np.float64),
        )

    action = np.array([number(one.action) for one in rows], np.intp)
    logged = choices([one.logged for one in rows])
    known = tuple(numbers)
    wanted = choices([one.wanted for one in rows])
    units = {key: place for place, key in enumerate(dict.fromkeys(one.household for one in rows))}
    width = len(rows[0].context) if rows else 0
    decisions = LoggedDecisions(
        ids=pa.chunked_array([pa.array([one.decision_id for one in rows], pa.string())]),
        units=np.array([units[one.household] for one in rows], np.intp),
        actions=known,
        action=action,
        propensity=np.array([one.propensity for one in rows], np.float64),
        reward=np.zeros(len(rows)),
        context=np.stack([one.context for one in rows]) if rows else np.zeros((0, 0), np.float32),
        context_names=tuple(f"context.{place}" for place in range(width)),
        logged=logged,
        left_out=dict(left_out),
    )
    return decisions, Policy(name="playbook", choices=wanted, actions=tuple(numbers))


def _only(policy: Policy, kept: NDArray[np.bool_]) -> Policy:
    entries, place = kept[policy.choices.decision], np.cumsum(kept) - 1
    choices = Choices(
        decision=place[policy.choices.decision[entries]],
        action=policy.choices.action[entries],
        probability=policy.choices.probability[entries],
    )
    return replace(policy, choices=choices)


def _never_chosen(rows: Sequence[ChosenAnew]) -> tuple[NeverChosen, ...]:
    """Return what the other playbook wants and could not have been chosen, the most frequent first."""
    found: dict[str, list[bytes]] = {}
    for one in rows:
        possible = {name for name, p in one.logged if p > 0}
        for name, p in one.wanted:
            if p > 0 and name not in possible:
                found.setdefault(name, []).append(one.household)
    told = [
        NeverChosen(
            action=name,
            decisions=len(households),
            households=len(set(households)),
            some=tuple(dict.fromkeys(households))[:NAMED_MOST],
        )
        for name, households in found.items()
    ]
    return tuple(sorted(told, key=lambda one: (-one.decisions, one.action)))
