"""Reading the logs of a data directory without owning them: for exports and other tools, beside a running Hearth."""

from collections.abc import Iterator
from pathlib import Path

from actors.inspection import inspect
from actors.log import DamagedLog, LogUnavailable, PartitionId, StoredRecord


def read_only_logs(directory: Path) -> Iterator[tuple[int, StoredRecord]]:
    """Yield (partition, record) of every complete group, partition after partition, in log order.

    Raises:
        DamagedLog: there is damage with good records behind it. A group that is only partly there at the very end is
            being written, or was torn by a crash: it is left out.
        LogUnavailable: a file cannot be read.
    """
    for folder in sorted(directory.glob("p-[0-9]*")):
        if folder.is_dir():
            yield from _partition(PartitionId(int(folder.name.removeprefix("p-"))), folder)


def _partition(partition: PartitionId, folder: Path) -> Iterator[tuple[int, StoredRecord]]:
    group: list[StoredRecord] = []
    problem = None
    try:
        for entry in inspect(folder):
            if entry.problem is not None:
                problem = problem or entry
            elif entry.frame is not None:
                if problem is not None:
                    raise DamagedLog(partition, str(problem.path), problem.position, problem.problem or "")
                group.append(entry.frame.stored())
                if entry.frame.is_last_of_group:
                    yield from ((partition, stored) for stored in group)
                    group = []
    except OSError as failed:
        raise LogUnavailable(partition, str(folder), str(failed)) from failed
