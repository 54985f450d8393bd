"""The reject logs of a shard's partitions, and the thread that writes them."""

import logging
import threading
import time
from collections.abc import Callable

from actors.log.contract import (
    LogStore,
    Offset,
    PartitionId,
)
from actors.rejects.settings import RejectCounters, RejectSettings
from actors.rejects.store import RejectStore

logger = logging.getLogger(__name__)


class RejectStores:
    """The reject logs of a shard's partitions, and the thread that writes them."""

    def __init__(self, logs: LogStore, settings: RejectSettings | None = None, *, name: str = "rejects") -> None:
        self._logs = logs
        self._settings = settings or RejectSettings()
        self._changed = threading.Condition()
        self._stores: list[RejectStore] = []
        self._closed = RejectCounters()
        """Of the stores that are closed."""
        self._is_stopping = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def open(self, partition: PartitionId, read_signals: Callable[[Offset], bytes]) -> RejectStore:
        """Return the store of a partition for its owner; it is opened and read beside, and may be noted to at once.

        Args:
            partition: whose.
            read_signals: the payload of the signals record at an offset of the partition's log; LogError if it is gone.
        """
        store = RejectStore(partition, self._logs, self._settings, self._changed, read_signals)
        with self._changed:
            if self._is_stopping:
                store.give_up()  # nobody would ever close it
            else:
                self._stores.append(store)
                self._changed.notify()
        return store

    def totals(self) -> RejectCounters:
        """Return what was counted since the start, over all partitions that were ever here. From any thread."""
        totals = RejectCounters()
        with self._changed:
            totals.add(self._closed)
            for store in self._stores:
                totals.add(store.counters)
        return totals

    def stop(self) -> None:
        """Close every store, then end the thread. Blocks. One that is opened from now on is closed at once."""
        with self._changed:
            self._is_stopping = True
            stores = tuple(self._stores)
            self._changed.notify_all()
        for store in stores:
            store.close()
        self._thread.join()

    def _work(self) -> None:
        while True:
            store = self._next()
            if store is None:
                return
            try:
                store.work()
            except Exception:
                # A loop of the shard: a defect here costs the rejects of one partition, never the partition.
                logger.exception("partition %d: a defect in keeping rejects", store.partition)
                store.give_up()

    def _next(self) -> RejectStore | None:
        """Wait for the store that is due first; None at the end."""
        with self._changed:
            while True:
                for store in [one for one in self._stores if one.is_closed]:
                    self._closed.add(store.counters)
                    self._stores.remove(store)
                if self._is_stopping and not self._stores:
                    return None
                due = [(at_s, store) for store in self._stores if (at_s := store.due_s()) is not None]
                now_s = time.monotonic()
                if due and (first := min(due, key=lambda pair: pair[0]))[0] <= now_s:
                    return first[1]
                self._changed.wait(min(at_s for at_s, _ in due) - now_s if due else None)
