"""What the log says of versions that came into service and went: judged afterwards, decision by decision.

A change is in force once the last decision is made that it would have had made by another version. From then to the
next change every decision has to be by its household's own version; before, by that or by the one it had.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of stages, as it was asked for."""

    what: str
    began_s: float
    """Unix time at which it was asked for."""
    version_of: Callable[[str], str]
    """By household: the version that decides from then on."""
    share: float | None = None
    """Of the households that the canary is to decide for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision of the log."""

    decision_id: str
    household: str
    time_s: float
    """Unix time as of which it was decided."""
    version: str
    propensity: float | None
    is_degraded: bool = False
    stands: bool = False
    """Whether a slate answered that an earlier decision had made."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """What the decisions from a change to the next were like."""

    what: str
    in_force_s: float = 0.0
    """Seconds from when it was asked for to the last decision by what was in force before."""
    decisions: int = 0
    by_version: dict[str, int] = field(default_factory=dict)
    """Households decided for once it was in force, by version."""
    share: float | None = None
    found: float = 0.0
    """Share of the households that the version on trial decided for."""

    @property
    def standard_errors(self) -> float:
        """How many standard errors the share is off; 0 without a canary."""
        households = sum(self.by_version.values())
        if self.share is None or not households:
            return 0.0
        return abs(self.found - self.share) / math.sqrt(self.share * (1 - self.share) / households)


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What was found, and what is wrong with it."""

    stages: list[Stage]
    unnamed: list[str]
    """Decisions without a version or a probability."""
    by_another: list[str]
    """Decisions by a version that was neither their household's nor the one it had before the change."""
    degraded: list[str]
    moved: list[str]
    """Households that had two versions within one stage, or left the canary as it grew."""


def judge(
    changes: Sequence[Change], decisions: Iterable[Decided], *, trial: str, ended_s: float, settles_s: float
) -> Verdict:
    """Judge the decisions from the first change to `ended_s`.

    Args:
        trial: the version that is canary in stages with a share.
        settles_s: what is by the version before, later than this after a change, is by another.
    """
    made = sorted((one for one in decisions if one.time_s <= ended_s), key=lambda one: one.time_s)
    verdict = Verdict(stages=[], unnamed=[], by_another=[], degraded=[], moved=[])
    verdict.unnamed = [
        one.decision_id for one in made if not one.version or one.propensity is None or not 0 < one.propensity <= 1
    ]
    before, in_canary = changes[0].version_of, set[str]()
    for change, until_s in zip(changes, [*(one.began_s for one in changes[1:]), ended_s], strict=True):
        during = [one for one in made if change.began_s <= one.time_s < until_s and not one.stands]
        stage = Stage(what=change.what, decisions=len(during), share=change.share)
        others = [one for one in during if one.version != change.version_of(one.household)]
        passing = [
            one for one in others if one.version == before(one.household) and one.time_s - change.began_s <= settles_s
        ]
        stage.in_force_s = max((one.time_s - change.began_s for one in passing), default=0.0)
        verdict.by_another += [one.decision_id for one in others if one not in passing]
        verdict.degraded += [one.decision_id for one in during if one.is_degraded]
        settled = [one for one in during if one.time_s > change.began_s + stage.in_force_s]
        versions = _versions(settled)
        verdict.moved += [household for household, has in versions.items() if len(has) > 1]
        stage.by_version = _counts(versions)
        if change.share is not None:
            now = {household for household, has in versions.items() if trial in has}
            stage.found = len(now) / max(len(versions), 1)
            verdict.moved += [household for household in versions.keys() & in_canary if household not in now]
            in_canary |= now
        verdict.stages.append(stage)
        before = change.version_of
    return verdict


def _versions(decisions: Iterable[Decided]) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for one in decisions:
        found[one.household].add(one.version)
    return found


def _counts(versions: Mapping[str, set[str]]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for has in versions.values():
        for version in has:
            counts[version] += 1
    return dict(counts)
