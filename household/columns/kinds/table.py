"""The one table of all kinds: a kind is a word of `FeatureKind`, and the `Kind` that one of these files defines."""

from collections.abc import Mapping
from types import ModuleType
from typing import Final

from household.columns.kinds import counts, holding, newest, rhythm, windowed
from household.columns.kinds.definition import Kind
from household.plan import FeatureKind

FILES: Final = (counts, newest, windowed, rhythm, holding)


def _defined(files: tuple[ModuleType, ...]) -> dict[FeatureKind, Kind]:
    """Return what the files define, in the order of the words: a kind's place is its number in compiled code."""
    found: dict[FeatureKind, Kind] = {}
    for entry in (entry for file in files for entry in vars(file).values() if isinstance(entry, Kind)):
        assert entry.kind not in found, f"{entry.kind} is defined twice"
        found[entry.kind] = entry
    missing = [kind.value for kind in FeatureKind if kind not in found]
    assert not missing, f"no definition of {', '.join(missing)}"
    return {kind: found[kind] for kind in FeatureKind}


KINDS: Final[Mapping[FeatureKind, Kind]] = _defined(FILES)


def documentation() -> str:
    """Return the table of kinds in docs/playbook.md."""
    return "\n".join(
        ["| kind | needs | reads as | |", "|---|---|---|---|", *(one.documentation for one in KINDS.values())]
    )
