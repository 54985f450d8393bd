"""Which version of a model was champion when: what `promote` and `rollback` write, and how a rollback finds its way.

`<registry>/<name>/history.json` lists every change that went through here, oldest first. A champion that was set by
hand is in no entry; the next change notes it as what was in force before.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from serving.models.bundle import BundleRefused, read_manifest, replace_durably
from serving.models.registry import CHAMPION, read_aliases, set_alias

HISTORY_FILE: Final = "history.json"

PRIORS: Final = ""
"""In place of a version: no model, the playbook's priors."""

PROMOTED: Final = "promoted"
FORCED: Final = "forced"
"""Promoted although it had not proved better."""
ROLLED_BACK: Final = "rolled back"


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
