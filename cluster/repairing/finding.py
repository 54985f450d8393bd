"""What a repair has to say of one partition or file, and where what it looks at lies in a data directory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.log.contract import PartitionId
from actors.log.repair import set_aside
from actors.log.segment_files import partition_directory

LOG_NAME = "log"
SNAPSHOTS_NAME = "snapshots"
METADATA_NAME = "metadata.sqlite"
REPAIRED_NAME = "repaired"


@dataclass(slots=True, kw_only=True)
class Finding:
    """What is known of one partition or file, for people and as JSON."""

    what: str
    """Which partition or file."""
    state: str
    ok: bool
    lines: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return {"what": self.what, "state": self.state, "ok": self.ok, "explanation": self.lines, **self.facts}


def partition_directory_name(partition: int) -> str:
    """Return how the folder of a partition is called, in the log and beside it."""
    return partition_directory(PartitionId(partition))


def set_files_aside(finding: Finding, paths: Sequence[Path], aside: Path) -> None:
    """Move files out of the way, and say so in the finding."""
    try:
        for path in paths:
            set_aside(path, aside / path.name)
            finding.lines.append(f"done: {path.name} is now {aside / path.name}")
        finding.ok = True
    except OSError as refused:
        finding.lines.append(f"not done: {refused}; free space or see to the disk, then again")
