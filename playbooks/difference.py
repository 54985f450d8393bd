"""What another version of a playbook changes: part by part, in the words of the playbook, and what hangs on it.

affected(plan, names) -> what refers to these parts, directly or by way of others
difference(before, after) -> what was added, removed and changed
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from household.plan import Plan
from playbooks.spelled import PartName, PlaybookPart, spelled


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPart:
    """One part that is not as it was."""

    kind: str
    name: str
    what: str
    """added, removed or changed."""
    fields: tuple[tuple[str, Any, Any], ...] = ()
    """Of one that changed: (path, before, after); None where there was, or is, nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """A part that hangs on others."""

    kind: str
    name: str
    by: tuple[PartName, ...]
    """What of these, or of what hangs on them, it refers to."""
    is_direct: bool
    """It names one of those that were asked about itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookDifference:
    """What another version changes."""

    parts: tuple[ChangedPart, ...]
    touched: tuple[Touched, ...]
    """What is as it was and hangs on something that is not."""

    @property
    def states_gone(self) -> dict[str, tuple[str, ...]]:
        """By journey: its states that are gone; instances that are in one end."""
        found: dict[str, tuple[str, ...]] = {}
        for one in self.parts:
            if one.kind == "journey" and one.what == "changed":
                gone = {path.split(".")[2] for path, _, after in one.fields if _is_of_state(path) and after is None}
                kept = {path.split(".")[2] for path, _, after in one.fields if _is_of_state(path) and after is not None}
                if gone - kept:
                    found[one.name] = tuple(sorted(gone - kept))
        return found


def _is_of_state(path: str) -> bool:
    return path.startswith("flow.steps.")


def difference(before: Plan, after: Plan) -> PlaybookDifference:
    """Return what changes between two plans."""
    olds, news = spelled(before), spelled(after)
    parts = []
    for name in dict.fromkeys((*olds, *news)):
        old, new = olds.get(name), news.get(name)
        if old is None or new is None:
            parts.append(ChangedPart(kind=name[0], name=name[1], what="added" if old is None else "removed"))
        elif old.says != new.says:
            parts.append(ChangedPart(kind=name[0], name=name[1], what="changed", fields=tuple(_fields(old, new))))
    changed = [(one.kind, one.name) for one in parts]
    touched = _hanging_on(news, changed)
    return PlaybookDifference(
        parts=tuple(parts), touched=tuple(one for one in touched if (one.kind, one.name) not in changed)
    )


def _fields(old: PlaybookPart, new: PlaybookPart) -> Iterable[tuple[str, Any, Any]]:
    for path in dict.fromkeys((*old.says, *new.says)):
        before, after = old.says.get(path), new.says.get(path)
        if before != after:
            yield path, before, after


def affected(plan: Plan, names: Collection[str]) -> tuple[tuple[Touched, ...], tuple[str, ...]]:
    """Return what hangs on the parts of these names, and those of the names that no part has.

    A name may say its kind: `segment premium` or `segment.premium` is that segment.
    """
    parts = spelled(plan)
    asked, unknown = [], []
    for name in names:
        found = [key for key in parts if name in (key[1], f"{key[0]} {key[1]}", f"{key[0]}.{key[1]}") and key[1]]
        asked += found
        if not found:
            unknown.append(name)
    return tuple(_hanging_on(parts, asked)), tuple(unknown)


def _hanging_on(parts: dict[PartName, PlaybookPart], asked: Collection[PartName]) -> list[Touched]:
    """Return what refers to these, and what to that, nearest first."""
    reached, wave, found = set(asked), set(asked), list[Touched]()
    while wave:
        following = set()
        for name, part in parts.items():
            by = tuple(sorted(part.refers & wave))
            if by and name not in reached:
                following.add(name)
                found.append(Touched(kind=name[0], name=name[1], by=by, is_direct=not wave.isdisjoint(asked)))
        reached |= following
        wave = following
    return found
