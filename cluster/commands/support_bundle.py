"""`hearth support-bundle`: one file with what somebody who helps needs to see, and nothing that identifies anybody.

In it: settings, versions, open ports, weaknesses, status, numbers and log files. Not in it, whatever they hold:
signals, decisions, rejects, models, the audit log, access rules, certificates, keys, and what Ray
and its processes print.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.partition.unknown_fields import UNKNOWN_FIELD
from cluster.commands.doctor import examine_disk, ports_of, versions, weaknesses
from cluster.config import HearthConfig, utc_now
from cluster.data_dir import find_running, is_held, read_status
from cluster.errors import CommandFailed
from cluster.installation import check_is_one, installation_of
from cluster.output import print_json
from cluster.redaction import redacted, redacted_all, settings_without_secrets, without_messages
from cluster.remembered_playbook import told_facts
from cluster.scrape import scrape
from wire.installation import Installation

LOG_BYTES_MAX = 4 << 20
"""Of each log file, its end."""
LINE_KEYS = ("time", "level", "logger", "process", "event", "trace_id", "span_id")


def support_bundle(config: HearthConfig, *, out: Path, as_json: bool) -> int:
    """Write it; nobody but its owner may read it.

    Raises:
        UsageWrong: there is no data directory.
        CommandFailed: the file is there already or cannot be written.
    """
    check_is_one(config.data_dir.absolute(), or_has="logs")
    installation = installation_of(config.data_dir)
    parts = dict(_parts(config, installation))
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as wrong:
        raise CommandFailed(f"{out} cannot be written: {wrong.strerror}") from wrong
    try:
        with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as bundle:
            for name, content in parts.items():
                entry = tarfile.TarInfo(f"hearth-support/{name}")
                entry.size, entry.mtime, entry.mode = len(content), int(utc_now().timestamp()), 0o600
                bundle.addfile(entry, io.BytesIO(content))
    except OSError as wrong:
        # Half of one would be in the way of the next.
        out.unlink()
        raise CommandFailed(f"{out} cannot be written: {wrong.strerror}") from wrong
    if as_json:
        print_json({"bundle": str(out), "files": {name: len(content) for name, content in parts.items()}})
    else:
        print(f"{out}: {', '.join(parts)}")
        print("  no secret and no identifier is meant to be in it; look before you send it")
    return 0


def _parts(config: HearthConfig, installation: Installation) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file in the bundle."""
    running, state = find_running(config.data_dir), read_status(config.data_dir)
    yield "settings.json", _json(settings_without_secrets(config.model_dump(mode="json")))
    yield "versions.json", _json(versions())
    ports = ports_of(config)
    told = [
        {
            "address": one.address,
            "port": one.port,
            "process": one.process,
            "purpose": one.purpose,
            "protection": one.protection.value,
        }
        for one in ports
    ]
    weak = weaknesses(config, disk=examine_disk(config.data_dir), ports=ports)
    yield "doctor.json", _json(redacted_all({"ports": told, "weaknesses": weak}, installation))
    facts = {
        "runs": is_held(config.data_dir),
        "since": running.started if running is not None else None,
        "playbook": told_facts(config.data_dir),
        "state": _without_field_names(state),
    }
    yield "status.json", _json(redacted_all(facts, installation))
    page = scrape(state["metrics_address"]) if state is not None and state.get("metrics_address") else None
    if page is not None:
        yield "metrics.txt", page.text.encode()
    for path in sorted((config.data_dir / "logs").glob("*.log")):
        yield f"logs/{path.name}", _log(path, installation)


def _without_field_names(state: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a status without names of fields that nobody knows: a source may have put anything there."""
    if state is None:
        return None
    partitions = {
        number: {name: value for name, value in facts.items() if not name.startswith(UNKNOWN_FIELD)}
        for number, facts in state["partitions"].items()
    }
    return state | {"partitions": partitions}


def _log(path: Path, installation: Installation) -> bytes:
    """Return the end of a log file: of each line what the formatter puts there, of exceptions where and which."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - LOG_BYTES_MAX))
        lines = stream.read().decode(errors="replace").splitlines()
    kept = []
    for line in lines:
        plain = _parsed(line)
        if plain is None:
            continue
        said = {name: str(plain[name]) for name in LINE_KEYS if name in plain}
        said["event"] = redacted(said.get("event", "").partition("\n")[0], installation)
        if "exception" in plain:
            said["exception"] = without_messages(str(plain["exception"]))
        kept.append(json.dumps(said))
    return "".join(f"{line}\n" for line in kept).encode()


def _parsed(line: str) -> dict[str, Any] | None:
    """Return a line of ours; None for what is none, or cut off where the end begins."""
    try:
        plain = json.loads(line)
    except ValueError:
        return None
    return plain if isinstance(plain, dict) else None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, default=str) + "\n").encode()
