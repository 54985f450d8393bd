"""`hearth audit`: who looked at whom, who changed what, who was refused; and whether the log of it is whole."""

from pathlib import Path
from typing import Any

from cluster.config import HearthConfig
from cluster.errors import CommandFailed
from cluster.installation import check_is_one, installation_of
from cluster.output import print_json
from serving.access.audit import FOLDER_NAME, entries_of, examine


def list_entries(
    config: HearthConfig, *, household: str | None, who: str | None, is_refused: bool, limit: int, as_json: bool
) -> int:
    """Print entries of the audit log, the newest last; return the exit code.

    Raises:
        UsageWrong: there is no data directory.
        CommandFailed: the log cannot be read.
    """
    folder = _folder(config)
    about = installation_of(config.data_dir).pseudonym(household) if household is not None else None
    try:
        found = [
            entry
            for entry in entries_of(folder)
            if (about is None or entry.get("about") == about)
            and (who is None or entry.get("who") == who)
            and (not is_refused or "refused" in entry)
        ]
    except OSError as wrong:
        raise CommandFailed(f"the audit log in {folder} cannot be read: {wrong.strerror}") from wrong
    shown = found[-limit:] if limit else found
    if as_json:
        print_json({"entries": shown, "found": len(found)})
        return 0
    for entry in shown:
        print(_line(entry))
    print(f"{len(shown)} of {len(found)} entries; `hearth audit verify` tells whether they are as they were written")
    return 0


def _line(entry: dict[str, Any]) -> str:
    parts = [str(entry.get(name, "")) for name in ("number", "time", "who")]
    parts.append(f"refused {entry['refused']}:" if "refused" in entry else "")
    parts.append(str(entry.get("did", "")))
    parts.append(f"about {entry['about']}" if entry.get("about") else "")
    parts.append(f"as {', '.join(entry['roles'])}" if entry.get("roles") else "")
    parts.append(f"({entry['unwritten']} more like it)" if entry.get("unwritten") else "")
    parts.append(str(entry.get("note", "")))
    return "  ".join(part for part in parts if part)


def verify(config: HearthConfig, *, as_json: bool) -> int:
    """Tell whether the audit log is as it was written; exit code 1 if not.

    Raises:
        UsageWrong: there is no data directory.
        CommandFailed: the log cannot be read.
    """
    folder = _folder(config)
    try:
        found = examine(folder, installation_of(config.data_dir).derived("audit"))
    except OSError as wrong:
        raise CommandFailed(f"the audit log in {folder} cannot be read: {wrong.strerror}") from wrong
    if as_json:
        told = {"ok": not found.broken, "entries": found.count, "seal": found.seal}
        print_json(told | {"broken": found.broken, "torn_bytes": found.torn_bytes})
    elif found.broken:
        print(f"BROKEN  {found.broken}; the {found.count} entries before it are as they were written")
    else:
        print(f"{found.count} entries are as they were written; the seal of the last is {found.seal}")
        if found.torn_bytes:
            print(f"{found.torn_bytes} bytes at the end are of an entry that a crash left unfinished")
    return 1 if found.broken else 0


def _folder(config: HearthConfig) -> Path:
    check_is_one(config.data_dir, or_has=FOLDER_NAME)
    return config.data_dir / FOLDER_NAME
