"""Every change of what is in service, oldest first: `<registry>/<name>/history.json`, which is only added to.

`note` is the one way in: whoever wants to hear of every change of a registry hears of it there.
"""

import json
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from serving.models.bundle import BundleRefused, read_plain, replace_durably
from serving.models.in_force import ModelStage

HISTORY_FILE: Final = "history.json"
HISTORY_BYTES_MAX: Final = 64 << 20
"""Some hundred thousand changes."""

PRIORS: Final = ""
"""In place of a version: no model, the playbook's priors."""

PROMOTED: Final = "promoted"
FORCED: Final = "forced"
"""Promoted although it had not proved better."""
ROLLED_BACK: Final = "rolled back"
REGISTERED: Final = "registered"
SHADOWED: Final = "shadow"
ON_TRIAL: Final = "canary"
RETIRED: Final = "retired"


class NothingBefore(Exception):
    """There is no earlier champion to go back to; says what is known instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who changes something, when, and why."""

    time: str
    """ISO 8601."""
    who: str = ""
    """Empty where nobody knows."""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of what is in service. One of a shadow or a canary leaves the champion what it is."""

    time: str
    """As given, ISO 8601."""
    champion: str
    """In force from then on; PRIORS for none."""
    before: str
    """In force until then."""
    how: str
    """One of the words above."""
    version: str = ""
    """Whose stage changed; empty in what was noted before there were stages."""
    share: str = ""
    """Of a canary."""
    who: str = ""
    why: str = ""

    @property
    def subject(self) -> str:
        """The version whose stage changed."""
        return self.version or (self.before if self.how == ROLLED_BACK else self.champion)


def read_history(registry: Path, name: str) -> list[Change]:
    """Return the changes of `name`, oldest first; empty when there was none.

    Raises:
        BundleRefused: the file cannot be read, or is no history.
    """
    file = registry / name / HISTORY_FILE
    try:
        entries = json.loads(read_plain(file, HISTORY_BYTES_MAX, may_be_link=True))
        changes = [Change(**{key: str(value) for key, value in entry.items()}) for entry in entries]
        if wrong := [one.share for one in changes if one.share and not math.isfinite(float(one.share))]:
            raise ValueError(f"the share {wrong[0][:80]}")
    except BundleRefused as refused:
        if isinstance(refused.__cause__, FileNotFoundError):
            return []
        raise
    except (ValueError, TypeError, AttributeError, RecursionError) as wrong:
        raise BundleRefused(file, f"not a list of changes: {wrong}") from wrong
    return changes


def note(registry: Path, name: str, change: Change) -> None:
    """Add a change to the history; whoever calls it holds `registry.changing`.

    Raises:
        BundleRefused: the history cannot be read; nothing is changed then.
    """
    changes = [*read_history(registry, name), change]
    told = [{key: value for key, value in asdict(one).items() if value or key in _ALWAYS} for one in changes]
    replace_durably(registry / name / HISTORY_FILE, json.dumps(told, indent=1).encode() + b"\n")


_ALWAYS: Final = ("time", "champion", "before", "how")


def before_present(history: list[Change], present: str, *, retired: Collection[str] = ()) -> str:
    """Return the champion that was in force before the present one; PRIORS if there was none.

    What is retired since is passed over: it comes into service no more.

    Raises:
        NothingBefore: the history does not reach back so far.

    >>> def change(before: str, champion: str, how: str = PROMOTED) -> Change:
    ...     return Change(time="", champion=champion, before=before, how=how)
    >>> three = [change("", "a"), change("a", "b"), change("b", "c")]
    >>> before_present(three, "c")
    'b'
    >>> before_present([*three, change("c", "b", ROLLED_BACK)], "b")
    'a'
    >>> before_present(three, "c", retired=["b"])
    'a'
    """
    in_force: list[str] = []
    history = [change for change in history if change.champion != change.before]
    for change in history:
        if not in_force or in_force[-1] != change.before:
            in_force.append(change.before)
        if change.how == ROLLED_BACK:
            in_force.pop()
            while change.champion in in_force and in_force[-1] != change.champion:
                # It was retired by then, and passed over.
                in_force.pop()
        if not in_force or in_force[-1] != change.champion:
            in_force.append(change.champion)
    if history and present == history[-1].before and history[-1].how != ROLLED_BACK:
        # It was noted, and never made.
        in_force.pop()
    if not in_force or in_force[-1] != present:
        in_force.append(present)
    before = [one for one in in_force[:-1] if one not in retired and one != present]
    if not before:
        raise NothingBefore("nothing is known of a champion before it")
    return before[-1]


def last_stage(history: list[Change], version: str) -> ModelStage:
    """Return the stage of a version that is not in service, by what became of it last.

    >>> def change(before: str, champion: str, how: str = PROMOTED) -> Change:
    ...     return Change(time="", champion=champion, before=before, how=how)
    >>> two = [change("", "a"), change("a", "b")]
    >>> [str(last_stage(two, one)) for one in "abc"], str(last_stage([*two, change("b", "a", ROLLED_BACK)], "b"))
    (['replaced', 'registered', 'registered'], 'rolled back')
    """
    for change in reversed(history):
        if change.how == ROLLED_BACK and change.subject == version:
            return ModelStage.ROLLED_BACK
        if change.before == version != change.champion:
            return ModelStage.REPLACED
        if change.subject == version:
            break
    return ModelStage.REGISTERED
