"""Reading the logs of a data directory without owning them: for exports and other tools, beside a running Hearth."""

from collections.abc import Callable, Iterator
from pathlib import Path

from actors.log.contract import (
    LOG_START,
    DamagedLog,
    LogError,
    LogUnavailable,
    Offset,
    PartitionId,
    StoredRecord,
    UnknownFormat,
)
from actors.log.files import Files
from actors.log.inspection import Inspected, inspect, proves_damage
from actors.log.segment_files import partition_directory, partition_of_directory, segment_paths
from actors.passing_over import passing_over

ReadLogs = Callable[[], Iterator[tuple[int, StoredRecord]]]
"""(partition, record) of whole logs, partition after partition, in log order; from the beginning at every call."""


def read_only_logs(directory: Path) -> Iterator[tuple[int, StoredRecord]]:
    """Yield (partition, record) of every complete group, partition after partition, in log order.

    Raises:
        DamagedLog: there is damage that no crash explains, by the rules by which opening judges. A group that is only
            partly there at the very end is being written, or was torn by a crash: it is left out.
        UnknownFormat: a newer version wrote it.
        LogUnavailable: a file cannot be read.
    """
    for folder in sorted(directory.glob("p-*")):
        partition = partition_of_directory(folder.name)
        if partition is not None and folder.is_dir():
            yield from _partition(partition, folder)


def partitions_in(directory: Path) -> tuple[PartitionId, ...]:
    """Return the partitions that were ever written to under a directory."""
    numbers = (partition_of_directory(folder.name) for folder in sorted(directory.glob("p-*")))
    return tuple(number for number in numbers if number is not None)


def read_partition(directory: Path, partition: PartitionId, start: Offset) -> Iterator[StoredRecord]:
    """Yield a partition's records from `start` on, or from where its log begins; raises as read_only_logs does."""
    records = _partition(partition, directory / partition_directory(partition), start)
    return (stored for _, stored in records if stored.offset >= start)


LogMark = tuple[str, int]
"""How far a log went at some time: its last segment, and the size of that."""


def grown_since(directory: Path, partition: PartitionId, mark: LogMark | None) -> tuple[int, LogMark]:
    """Return how many bytes a partition's log has grown by since a mark (None: 0), and a mark of how far it goes now.

    Nothing of it is read. Raises:
        OSError: the folder cannot be listed.
    """
    sizes: dict[str, int] = {}
    for path in segment_paths(directory / partition_directory(partition), Files()):
        with passing_over(FileNotFoundError, because="it was dropped meanwhile"):
            sizes[path.name] = path.stat().st_size
    newest = max(sizes, default="")
    if mark is None:
        return 0, (newest, sizes.get(newest, 0))
    name, size = mark
    grown = sum(own for other, own in sizes.items() if other > name) + max(sizes.get(name, size) - size, 0)
    return grown, (newest, sizes.get(newest, 0))


def _partition(partition: PartitionId, folder: Path, start: Offset = LOG_START) -> Iterator[tuple[int, StoredRecord]]:
    group: list[StoredRecord] = []
    problem: Inspected | None = None
    end = Offset(0)
    try:
        for entry in inspect(folder, start=start):
            if problem is not None and proves_damage(problem, entry, end):
                raise _error(partition, problem)
            if entry.problem is not None:
                problem = problem or entry
            elif problem is not None:
                continue
            elif entry.header is not None:
                end = entry.header.first_offset
            elif entry.frame is not None:
                group.append(entry.frame.stored())
                if entry.frame.is_last_of_group:
                    yield from ((partition, stored) for stored in group)
                    group, end = [], Offset(entry.frame.offset + 1)
    except OSError as failed:
        raise LogUnavailable(partition, str(folder), str(failed)) from failed
    if problem is not None and (problem.is_misplaced or problem.is_newer):
        raise _error(partition, problem)


def _error(partition: PartitionId, problem: Inspected) -> LogError:
    what = problem.problem or ""
    if problem.is_newer:
        return UnknownFormat(partition, str(problem.path), what)
    return DamagedLog(partition, str(problem.path), problem.position, what)
