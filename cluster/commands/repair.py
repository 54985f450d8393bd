"""`hearth repair`: what is wrong in a data directory, in plain words, and what can be done; with --apply, does it.

Nothing is deleted: what has to go is set aside under `repaired/<time>/` of the data directory.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from actors.log.contract import LogError, PartitionId
from actors.log.files import Files
from actors.log.segment_files import lock_partition
from cluster.config import HearthConfig, utc_now
from cluster.data_dir import LOCK_NAME
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import print_json
from cluster.repairing.files import look_at_layout, look_at_metadata, look_at_playbook
from cluster.repairing.finding import LOG_NAME, REPAIRED_NAME, Finding
from cluster.repairing.partitions import look_at_partition, partitions_there


def repair(config: HearthConfig, *, partition: int | None, is_applied: bool, as_json: bool) -> int:
    """Print what is wrong; with `is_applied` put right what can be; exit code 0 when all is well at the end."""
    data_dir = config.data_dir.absolute()
    if not (data_dir / LOG_NAME).is_dir() and config.log is not None:
        raise UsageWrong(f"the log of {data_dir} is {config.log}: there is nothing here to repair; see docs/runbook.md")
    if not (data_dir / LOG_NAME).is_dir():
        raise UsageWrong(f"{data_dir} holds no log of a Hearth; name its data directory with --data-dir")
    with held(data_dir):
        findings = _work(data_dir, partition, is_applied)
    is_ok = all(finding.ok for finding in findings)
    if as_json:
        print_json({"ok": is_ok, "applied": is_applied, "findings": [finding.as_json() for finding in findings]})
    else:
        _print(findings, is_ok=is_ok, is_applied=is_applied)
    return 0 if is_ok else 1


@contextmanager
def held(data_dir: Path) -> Iterator[None]:
    """Keep every Hearth off a data directory, whatever else is wrong with it.

    Raises:
        CommandFailed: one runs on it.
    """
    descriptor = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise CommandFailed(f"a Hearth runs on {data_dir} (process {holder}); stop it first, then repair") from None
    finally:
        os.close(descriptor)


def _work(data_dir: Path, only: int | None, is_applied: bool) -> list[Finding]:
    log_dir = data_dir / LOG_NAME
    partitions = partitions_there(log_dir)
    if only is not None and only not in partitions:
        raise UsageWrong(f"{log_dir} holds no partition {only}; it holds {', '.join(map(str, partitions)) or 'none'}")
    aside = data_dir / REPAIRED_NAME / utc_now().strftime("%Y%m%dT%H%M%S.%fZ")
    findings, last_epochs = [], {}
    with ExitStack() as locks:
        for partition in partitions if only is None else [only]:
            try:
                descriptor = lock_partition(PartitionId(partition), log_dir, Files())
            except LogError as refused:
                raise CommandFailed(str(refused)) from refused
            locks.callback(os.close, descriptor)
            finding, last_epochs[partition] = look_at_partition(data_dir, partition, aside, is_applied)
            findings.append(finding)
        if only is None:
            findings.append(look_at_metadata(data_dir, partitions, last_epochs, aside, is_applied))
            findings.append(look_at_layout(data_dir, partitions, aside, is_applied))
            findings += look_at_playbook(data_dir, aside, is_applied)
    return findings


def _print(findings: Sequence[Finding], *, is_ok: bool, is_applied: bool) -> None:
    for finding in findings:
        print(f"{finding.what}: {finding.state}")
        for line in finding.lines:
            print(f"    {line}")
    if is_ok:
        print("all is well; hearth up" if is_applied else "all is well")
    elif is_applied:
        print("not everything could be put right; see above")
    else:
        print("nothing was changed; --apply does what is said above")
