"""How a model version is put into force, and how one gets back: the whole rule.

1. `refusal_of`: a version may be champion if it loads, is of the playbook's feature schema, and has proved better than
   what is in force on decisions that neither has seen. Being forced replaces the last of these, and no other.
2. `promote` and `roll_back` change the champion in the registry. `<registry>/<name>/history.json` lists every change,
   oldest first, and so a rollback finds its way. A champion that was set by hand is in no entry; the next change notes
   it as what was in force before.
3. `choose` says what scores by the registry. What was in service stays in service while the registry is broken or its
   champion cannot be served, across a restart as well. Where nothing can be served that should be, the priors score,
   degraded, and the status says why.

The cluster carries it: `cluster/champion.py` follows the registry, puts what is chosen on Serve and tells the shards.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from household.plan import Plan
from household.scoring import feature_schema
from serving.models.bundle import MODEL_FILE, BundleRefused, load_bundle, read_manifest, replace_durably
from serving.models.in_force import MODEL_NAME, PRIORS_IN_FORCE, ModelInForce
from serving.models.registry import CHAMPION, list_versions, read_aliases, set_alias

if TYPE_CHECKING:
    from serving.models.comparison import Comparison

logger = logging.getLogger(__name__)

HISTORY_FILE: Final = "history.json"

PRIORS: Final = ""
"""In place of a version: no model, the playbook's priors."""

PROMOTED: Final = "promoted"
FORCED: Final = "forced"
"""Promoted although it had not proved better."""
ROLLED_BACK: Final = "rolled back"


def refusal_of(comparison: Comparison) -> str:
    """Return why a version that is not forced may not be champion; empty if it may."""
    from serving.models.comparison import PRIOR, Verdict

    if comparison.verdict is Verdict.BETTER:
        return ""
    incumbent = f"the champion {comparison.incumbent}" if comparison.incumbent != PRIOR else "the playbook's priors"
    return (
        f"model {comparison.candidate} is not promoted, as it has not proved better than "
        f"{incumbent} ({comparison.verdict.value}): {comparison.why}"
    )


class NothingBefore(Exception):
    """There is no earlier champion to go back to; says what is known instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of the champion."""

    time: str
    """As given, ISO 8601."""
    champion: str
    """In force from then on; PRIORS for none."""
    before: str
    """In force until then."""
    how: str
    """PROMOTED, FORCED or ROLLED_BACK."""


def read_history(registry: Path, name: str) -> list[Change]:
    """Return the changes of the champion of `name`, oldest first; empty when there was none.

    Raises:
        BundleRefused: the file cannot be read, or is no history.
    """
    file = registry / name / HISTORY_FILE
    try:
        entries = json.loads(file.read_bytes())
        changes = [Change(**{key: str(value) for key, value in entry.items()}) for entry in entries]
    except FileNotFoundError:
        return []
    except OSError as wrong:
        raise BundleRefused(file, f"cannot be read: {wrong.strerror}") from wrong
    except (ValueError, TypeError, AttributeError, RecursionError) as wrong:
        raise BundleRefused(file, f"not a list of changes of the champion: {wrong}") from wrong
    return changes


def promote(registry: Path, name: str, version: str, *, time: str, is_forced: bool) -> str:
    """Make a version champion and note it; return what was in force before, which may be the same.

    Raises:
        BundleRefused: the version is not in the registry, or its aliases or history cannot be read.
    """
    with _changing(registry, name):
        before = read_aliases(registry, name).get(CHAMPION, PRIORS)
        if before != version:
            how = FORCED if is_forced else PROMOTED
            _change(registry, name, Change(time=time, champion=version, before=before, how=how))
    return before


def roll_back(registry: Path, name: str, *, time: str) -> Change:
    """Put the champion that was in force before the present one back into force, and note it.

    Once more goes back one further: what was rolled back is not returned to.

    Raises:
        NothingBefore: nothing is known of the time before.
        BundleRefused: what was before is no longer in the registry, or its aliases or history cannot be read.
    """
    with _changing(registry, name):
        present = read_aliases(registry, name).get(CHAMPION, PRIORS)
        change = Change(
            time=time, champion=before_present(read_history(registry, name), present), before=present, how=ROLLED_BACK
        )
        _change(registry, name, change)
    return change


def before_present(history: list[Change], present: str) -> str:
    """Return the champion that was in force before the present one; PRIORS if there was none.

    Raises:
        NothingBefore: the history does not reach back so far.

    >>> def change(before: str, champion: str, how: str = PROMOTED) -> Change:
    ...     return Change(time="", champion=champion, before=before, how=how)
    >>> three = [change("", "a"), change("a", "b"), change("b", "c")]
    >>> before_present(three, "c")
    'b'
    >>> before_present([*three, change("c", "b", ROLLED_BACK)], "b")
    'a'
    """
    in_force: list[str] = []
    for change in history:
        if not in_force or in_force[-1] != change.before:
            in_force.append(change.before)
        if change.how == ROLLED_BACK:
            in_force.pop()
        if not in_force or in_force[-1] != change.champion:
            in_force.append(change.champion)
    if history and present == history[-1].before and history[-1].how != ROLLED_BACK:
        # It was noted, and never made.
        in_force.pop()
    if not in_force or in_force[-1] != present:
        in_force.append(present)
    if len(in_force) < 2:
        raise NothingBefore("nothing is known of a champion before it")
    return in_force[-2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What should be in force, and what keeps the champion itself from it."""

    model: ModelInForce
    trouble: str = ""
    """For people; empty when all is well."""


def choose(
    registry: Path, plan: Callable[[], Plan], *, in_service: ModelInForce | None, remembered: str | None
) -> Choice:
    """Return what should be in force by the registry: its champion, or else what is or was in service.

    Args:
        plan: the one in force; asked for only if there is a model.
        in_service: in force now; None at a start.
        remembered: the version that was in service before the start, empty for the priors; None where nobody knows.
    """
    if not (registry / MODEL_NAME).is_dir():
        return Choice(model=PRIORS_IN_FORCE)
    try:
        champion = read_aliases(registry, MODEL_NAME).get(CHAMPION, PRIORS)
    except BundleRefused as broken:
        return _stay(registry, plan, in_service, remembered, f"the champion cannot be told: {broken}")
    if not champion:
        return Choice(model=PRIORS_IN_FORCE)
    if in_service is not None and champion == in_service.version:
        return Choice(model=in_service)
    try:
        return Choice(model=_proven(registry, plan(), champion))
    except BundleRefused as refused:
        trouble = f"the champion {champion} cannot be served: {refused}"
        return _stay(registry, plan, in_service, remembered if remembered != champion else None, trouble)


def _stay(
    registry: Path, plan: Callable[[], Plan], in_service: ModelInForce | None, remembered: str | None, trouble: str
) -> Choice:
    """Return what is or was in service, since the champion cannot be told or served."""
    if in_service is not None:
        stays = in_service.version or "what scored before"
        return Choice(model=in_service, trouble=f"{trouble}; {stays} stays in service")
    if remembered is None:
        remembered = _noted_last(registry)
    if remembered:
        try:
            model = _proven(registry, plan(), remembered)
            return Choice(model=model, trouble=f"{trouble}; {remembered} stays in service")
        except BundleRefused as passed:
            logger.debug("nor can %s, which was in service: %s", remembered, passed)
    if remembered == PRIORS or not list_versions(registry, MODEL_NAME):
        return Choice(model=PRIORS_IN_FORCE, trouble=f"{trouble}; the playbook's priors score, as before")
    return Choice(model=ModelInForce(missing=trouble), trouble=f"{trouble}; the playbook's priors score, degraded")


def _noted_last(registry: Path) -> str | None:
    """Return the champion of the newest change; None where nobody can tell."""
    try:
        history = read_history(registry, MODEL_NAME)
    except BundleRefused:
        return None
    return history[-1].champion if history else None


def _proven(registry: Path, plan: Plan, version: str) -> ModelInForce:
    schema = feature_schema(plan)
    folder = registry / MODEL_NAME / version
    bundle = load_bundle(folder, feature_schema_hash=schema.hash, columns=schema.names)
    return ModelInForce(
        version=version,
        bundle_path=str(folder.absolute()),
        sha256=bundle.manifest.sha256[MODEL_FILE],
        feature_schema_hash=schema.hash,
        columns=schema.names,
    )


def _change(registry: Path, name: str, change: Change) -> None:
    """Note a change and make it, in this order: one that was noted and not made is known by the alias."""
    history = [asdict(one) for one in [*read_history(registry, name), change]]
    if change.champion:
        # Before anything is written: set_alias refuses what is not there.
        read_manifest(registry / name / change.champion)
    replace_durably(registry / name / HISTORY_FILE, json.dumps(history, indent=1).encode() + b"\n")
    set_alias(registry, name, CHAMPION, change.champion or None)


@contextmanager
def _changing(registry: Path, name: str) -> Iterator[None]:
    """Be the only one who changes the champion."""
    folder = registry / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".history.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
