"""Reading a log on Kafka beside its owner, to own it next."""

from __future__ import annotations

from collections.abc import Iterator

from actors.log.contract import Offset, PartitionLog, StoredRecord


class KafkaFollower:
    """The `LogFollower` on Kafka: a log that is open already, and written to only once it is taken over."""

    def __init__(self, log: PartitionLog, start: Offset) -> None:
        self._log: PartitionLog | None = log
        self._position = start

    @property
    def position(self) -> Offset:
        return self._position

    def read_on(self) -> Iterator[StoredRecord]:
        log = self._open_log
        end = log.refresh()
        yield from log.read(self._position)
        self._position = end

    def take_over(self) -> PartitionLog:
        log = self._open_log
        log.refresh()
        self._log = None
        return log

    def close(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.close()

    @property
    def _open_log(self) -> PartitionLog:
        assert self._log is not None, "it was closed or taken over"
        return self._log
