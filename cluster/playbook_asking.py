"""Who asks for a change of the playbook, what he may be refused, and what of a request is read alike everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from written.problems import Problem


class Refused(Exception):
    """What was asked for is not done; says why, and what could be."""


class NotNow(Refused):
    """It is not done at present, and may be when it is asked for again: a shard does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks."""

    name: str
    roles: frozenset[str]
    is_proven: bool
    """Callers are asked who they are; otherwise the name is what he says."""


def remark(one: Problem) -> dict[str, Any]:
    """Return what is to be said of a place in the files, as JSON has it."""
    place = one.place
    return {"file": place.file, "line": place.line, "column": place.column, "message": one.wrong, "fix": one.right}


def time_of(request: Mapping[str, Any], name: str) -> str:
    """Return a time of a request as the history has them; empty if there is none.

    Raises:
        Refused: it is none.
    """
    text = str(request.get(name) or "")
    if not text:
        return ""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError) as wrong:
        raise Refused(f"{name}: {text!r} is no time") from wrong
