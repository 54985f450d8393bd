"""The data directory: who may use it, what shape it has, and where the Hearth that runs on it can be reached.

    lock          held (flock) by the Hearth that runs on it; holds its process id
    run.lock      held (flock) by its present run; holds the run's process id until that has ended in order
    layout.json   version of the layout, the partition count, and where the log is if it is not in here
    playbook.json the playbook in force, compiled, with its version and where it came from
    playbooks/    its versions, each whole, and its history (cluster/playbook_versions.py, playbook_history.py)
    running.json  address, process id and start of the Hearth that is ready on it; gone when it stops
    status.json   what its coordinator last reported of every partition; some seconds old at most while it runs
    access.json   which access rules it was last started with (cluster/access.py)
    installation.key  the secret of the installation (cluster/installation.py)
    everything else belongs to the parts that write it

A lock of the operating system dies with its process: no stale lock can keep a directory shut.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.log.location import is_same_log, log_location
from actors.passing_over import passing_over
from cluster.environment import utc_now
from cluster.errors import CommandFailed

if TYPE_CHECKING:
    from cluster.config import HearthConfig

DATA_DIR = "hearth-data"
"""Where none is named; see cluster/config.py."""

LAYOUT_VERSION = 1
LOCK_NAME = "lock"
RUN_LOCK_NAME = "run.lock"
LAYOUT_NAME = "layout.json"
LOG_KEY = "log"
RUNNING_NAME = "running.json"
STATUS_NAME = "status.json"
STATUS_BYTES_MIN = 16 << 10
STATUS_TRIES = 5

FORMER_RUN_PATIENCE_S = 60.0
"""A run whose supervisor was killed drains and ends by itself; longer than that takes."""
POLL_S = 0.1


class DataDirUnusable(CommandFailed):
    """The data directory cannot be used; says why and what to do."""


class DataDirInUse(DataDirUnusable):
    """Another Hearth runs on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Where the Hearth that runs on a data directory can be reached."""

    address: str
    """host:port of its public services."""
    pid: int
    started: str
    """Wall time, ISO 8601."""


@contextmanager
def hold(config: HearthConfig) -> Iterator[Path]:
    """Make the directory if missing, lock it for this process and check its layout; yield its absolute path.

    Raises:
        DataDirInUse: another process holds it; the message names it.
        DataDirUnusable: it is a file, cannot be written, or was made with another layout, partition count or log.
    """
    path = config.data_dir.absolute()
    _make(path)
    descriptor = _lock(path)
    try:
        _check_layout(path, partition_count=config.partition_count, log=config.log)
        (path / RUNNING_NAME).unlink(missing_ok=True)
        yield path
    finally:
        (path / RUNNING_NAME).unlink(missing_ok=True)
        (path / STATUS_NAME).unlink(missing_ok=True)
        os.close(descriptor)


def data_dir_of(folder: Path | None, data_dir: Path | None) -> Path | None:
    """Return which data directory is meant: a folder that is one, where none is named for itself."""
    if folder is not None and data_dir is None and (folder / LAYOUT_NAME).is_file():
        return folder
    return data_dir


def with_its_log(config: HearthConfig) -> HearthConfig:
    """Return the settings, with the log that the data directory was last started with where none is given."""
    if config.log is not None:
        return config
    try:
        log = json.loads((config.data_dir / LAYOUT_NAME).read_text()).get(LOG_KEY)
    except (OSError, ValueError, AttributeError):
        # Whoever needs the directory says what is wrong with it.
        return config
    return config.model_copy(update={"log": log}) if isinstance(log, str) else config


def await_former_run(path: Path, *, patience_s: float = FORMER_RUN_PATIENCE_S) -> bool:
    """Wait until no run of an earlier Hearth goes on here, by whoever holds the directory; return whether one fell.

    A run outlives a supervisor that was killed by some seconds. One that fell itself may have left processes behind
    that take a moment to notice.

    Raises:
        DataDirInUse: the earlier run does not end; the message names it.
    """
    try:
        descriptor = os.open(path / RUN_LOCK_NAME, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        _lock_within(descriptor, path, patience_s=patience_s)
        return bool(os.pread(descriptor, 32, 0))
    finally:
        os.close(descriptor)


@contextmanager
def hold_run(path: Path) -> Iterator[None]:
    """Be the run that goes on in this directory.

    Raises:
        DataDirInUse: another run goes on.
        DataDirUnusable: it cannot be written.
    """
    try:
        descriptor = os.open(path / RUN_LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as failed:
        raise DataDirUnusable(f"the data directory {path} cannot be written: {_reason(failed)}") from failed
    try:
        _lock_within(descriptor, path, patience_s=0.0)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _lock_within(descriptor: int, path: Path, *, patience_s: float) -> None:
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline_s:
                time.sleep(POLL_S)
                continue
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise DataDirInUse(
                f"an earlier run of Hearth still goes on in {path} (process {holder}); stop it"
            ) from None
        return


def announce(path: Path, *, address: str) -> Running:
    """Write where Hearth can be reached. Called once, by the process that holds the directory, when it is ready."""
    running = Running(address=address, pid=os.getpid(), started=utc_now().isoformat(timespec="seconds"))
    content = {"address": running.address, "pid": running.pid, "started": running.started}
    write_durably(path / RUNNING_NAME, json.dumps(content) + "\n")
    return running


def find_running(path: Path) -> Running | None:
    """Return the Hearth that is ready on this directory, or None. Leaves everything as it is."""
    if not is_held(path):
        return None
    try:
        content = json.loads((path / RUNNING_NAME).read_text())
        return Running(address=str(content["address"]), pid=int(content["pid"]), started=str(content["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_status(path: Path, report: Mapping[str, object]) -> None:
    """Keep what the coordinator reports for `hearth status`. Not synced: it is worth nothing after a crash.

    On a full disk the file that is there is written over, in the room that it has: that is when people look.

    Raises:
        OSError: it could not be written at all; the old one stands.
    """
    content = json.dumps(report).encode()
    content += b" " * (max(2 * len(content), STATUS_BYTES_MIN) - len(content)) + b"\n"
    fresh = path / f"{STATUS_NAME}.new"
    try:
        fresh.write_bytes(content)
        fresh.replace(path / STATUS_NAME)
    except OSError as failed:
        if failed.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        with passing_over(OSError, because="on a full disk not even that may work"):
            fresh.unlink(missing_ok=True)
        _write_over(path / STATUS_NAME, json.dumps(report).encode())


def _write_over(file: Path, content: bytes) -> None:
    with file.open("r+b") as stream:
        room = os.fstat(stream.fileno()).st_size
        if len(content) >= room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        stream.write(content.ljust(room - 1) + b"\n")


def read_status(path: Path) -> dict[str, Any] | None:
    """Return what was last reported by the Hearth that runs on this directory, or None. With `age_s`: how old it is."""
    if not is_held(path):
        return None
    for _ in range(STATUS_TRIES):
        try:
            with (path / STATUS_NAME).open("rb") as stream:
                written_s = os.fstat(stream.fileno()).st_mtime
                report = json.loads(stream.read())
        except OSError:
            return None
        except ValueError:
            # It is being written over.
            time.sleep(0.01)
            continue
        age_s = max(0.0, utc_now().timestamp() - written_s)
        return {**report, "age_s": round(age_s, 1)} if isinstance(report, dict) else None
    return None


def is_held(path: Path) -> bool:
    """Tell whether a process holds the directory."""
    try:
        descriptor = os.open(path / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def low_space_warning(path: Path, *, least_bytes: int) -> str | None:
    """Return a sentence when less than `least_bytes` are free where `path` lies, else None."""
    free = free_bytes(path)
    if free >= least_bytes:
        return None
    return (
        f"only {free / 1e9:.2f} GB are free where {path} lies (the warning starts at {least_bytes / 1e9:.2f} GB); "
        "signals are refused once it is full"
    )


def free_bytes(path: Path) -> int:
    """Return the free space where `path` lies, or would lie."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise DataDirUnusable(
            f"{path} is a file, so it cannot be the data directory; choose another with --data-dir"
        ) from None
    except NotADirectoryError:
        raise DataDirUnusable(
            f"a part of {path} is a file, so it cannot be the data directory; choose another with --data-dir"
        ) from None
    except OSError as failed:
        raise DataDirUnusable(f"the data directory {path} cannot be made: {_reason(failed)}") from failed


def _lock(path: Path) -> int:
    try:
        descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as failed:
        raise DataDirUnusable(f"the data directory {path} cannot be written: {_reason(failed)}") from failed
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise DataDirInUse(
            f"a Hearth already runs on {path} (process {holder}); stop it, or choose another directory with --data-dir"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _check_layout(path: Path, *, partition_count: int, log: str | None) -> None:
    file = path / LAYOUT_NAME
    try:
        layout = json.loads(file.read_text())
        version, born_with = int(layout["layout"]), int(layout["partition_count"])
    except FileNotFoundError:
        _birth(path, partition_count=partition_count, log=log)
        return
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise DataDirUnusable(
            f"{file} cannot be read ({wrong}), so {path} may be no data directory of Hearth"
        ) from wrong
    if version != LAYOUT_VERSION:
        raise DataDirUnusable(
            f"{path} has layout {version}, this Hearth reads {LAYOUT_VERSION}; run the version of Hearth that wrote it"
        )
    if born_with != partition_count:
        raise DataDirUnusable(
            f"{path} was born with {born_with} partitions, asked for {partition_count}; the number is fixed for life: "
            f"start with --partitions {born_with}, or choose another directory with --data-dir"
        )

    # Those that were made before this was noted have a log of their own, or the one they are started with.
    kept = layout.get(LOG_KEY, None if (path / "log").is_dir() else log)
    if (kept is None) != (log is None) or (kept and log and not is_same_log(log_location(kept), log_location(log))):
        raise DataDirUnusable(
            f"the log of {path} is {kept or 'in its own files'}, asked for {log or 'its own files'}; its snapshots go "
            f"with that log: start {f'with --log {kept}' if kept else 'without --log'}, or choose another directory "
            "with --data-dir"
        )
    if layout.get(LOG_KEY) != log:
        # The same topic by way of other brokers.
        _write_layout(path, layout | {LOG_KEY: log})


def _write_layout(path: Path, layout: Mapping[str, object]) -> None:
    try:
        write_durably(path / LAYOUT_NAME, json.dumps(layout) + "\n")
    except OSError as failed:
        raise DataDirUnusable(f"the data directory {path} cannot be written: {_reason(failed)}") from failed


def _birth(path: Path, *, partition_count: int, log: str | None) -> None:
    strangers = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.name not in (LOCK_NAME, RUN_LOCK_NAME, RUNNING_NAME, STATUS_NAME)
    )
    if strangers:
        (path / LOCK_NAME).unlink(missing_ok=True)
        raise DataDirUnusable(
            f"{path} holds files that are not Hearth's ({', '.join(strangers[:3])}); "
            "choose an empty or new directory with --data-dir"
        )
    layout = {
        "layout": LAYOUT_VERSION,
        "partition_count": partition_count,
        "born": utc_now().isoformat(timespec="seconds"),
        LOG_KEY: log,
    }
    _write_layout(path, layout)


def write_durably(file: Path, content: str) -> None:
    """Replace a file as a whole; once this returns, it is on disk. Raises OSError."""
    fresh = file.with_name(file.name + ".new")
    with fresh.open("w") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)
    descriptor = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(failed: OSError) -> str:
    match failed.errno:
        case errno.EACCES | errno.EPERM:
            return "permission denied; give this user the right to write there, or choose another with --data-dir"
        case errno.EROFS:
            return "the file system is read-only; choose another with --data-dir"
        case errno.ENOSPC:
            return "no space is left; free some, or choose another with --data-dir"
        case _:
            return failed.strerror or str(failed)
