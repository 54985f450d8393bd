"""The manifest of a snapshot: what it names, its checksum, and reading it back."""

import json
from collections.abc import Mapping
from typing import Any

import xxhash

from actors.log.contract import Offset, PartitionId
from actors.snapshots.facts import ReplayFacts, SnapshotUnusable, Unfit
from actors.snapshots.files import MANIFEST, StoredFile
from actors.snapshots.tables import head_of, is_complete
from household.freeze import Frozen
from household.state import FOLD_VERSION

SNAPSHOT_FORMAT = 2
"""Grows with any change of files or manifest, but for a table or a column more.

1: what tables hold stood in pieces of msgpack.
"""

FORMATS_READ = (1, SNAPSHOT_FORMAT)
"""Of another one the log is read."""


def manifest_bytes(
    frozen: Frozen,
    partition: PartitionId,
    position: Offset,
    replay: ReplayFacts,
    state_hash: str,
    stored: Mapping[str, StoredFile],
) -> bytes:
    """Return the manifest of a snapshot whose files are stored, with a checksum over itself."""
    plain: dict[str, Any] = {
        "format": SNAPSHOT_FORMAT,
        "fold_version": FOLD_VERSION,
        "partition": int(partition),
        "position": int(position),
        "plan_version": frozen.plan.version,
        "state_hash": state_hash,
        "head": head_of(frozen),
        "replay": {name: getattr(replay, name) for name in ReplayFacts.__slots__},
        "counts": {
            "households": frozen.households.count,
            "members": frozen.members.count,
            "window_entries": int(frozen.slab.bucket.shape[0]),
            "known_ids": int(frozen.id_times.shape[0]),
            **{name: len(table.frozen) for name, table in frozen.tables.items()},
        },
        "files": {name: {"size": one.size, "xxh3_128": one.xxh3_128} for name, one in stored.items()},
    }
    return json.dumps(plain | {"xxh3_128": _checksum(plain)}, indent=1, sort_keys=True).encode()


def _checksum(plain: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_manifest(content: bytes) -> dict[str, Any]:
    """Return a manifest that is as it was written, by a version this software reads."""
    try:
        plain = json.loads(content)
        checksum = plain.pop("xxh3_128")
        is_whole = checksum == _checksum(plain)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as wrong:
        raise SnapshotUnusable(MANIFEST, f"is no manifest: {type(wrong).__name__}") from wrong
    if not is_whole:
        raise SnapshotUnusable(MANIFEST, "other bytes than were written (checksum)")
    if plain.get("format") not in FORMATS_READ:
        what = f"of format {plain.get('format')}, this software reads {SNAPSHOT_FORMAT}"
        raise SnapshotUnusable(MANIFEST, what, Unfit.FOR_THIS_VERSION)
    if not is_complete(plain["format"], frozenset(plain.get("files", ()))):
        raise SnapshotUnusable(MANIFEST, f"names the files {', '.join(plain.get('files', ()))}")
    return dict(plain)


def stored_files(manifest: Mapping[str, Any]) -> dict[str, StoredFile]:
    """Return what a manifest says of each file."""
    return {name: StoredFile(**one) for name, one in manifest["files"].items()}
