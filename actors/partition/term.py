"""One owner's term: its epoch, and whether it may still speak for its partition."""

import logging

from actors.clock import Clock
from actors.conditions import (
    CLOCK_UNCONFIRMED,
    LEASE_EXPIRED,
    NotCurrent,
    PartitionLost,
    PartitionMoved,
    WhyNotCurrent,
)
from actors.log.contract import Epoch, LogError, PartitionId, Record, RecordKind
from actors.partition.lease import Lease

logger = logging.getLogger(__name__)


class Term:
    """From the owner's opening of the partition until it gives it up or loses it."""

    def __init__(self, partition: PartitionId, *, clock: Clock, lease: Lease) -> None:
        self.partition = partition
        self.epoch = Epoch(0)
        self.is_lost = False
        self.is_closing = False
        self.is_handing_over = False
        self.lost_because = ""
        self._clock = clock
        self._lease = lease

    @property
    def is_open(self) -> bool:
        """Whether its owner may still answer and hand out."""
        return not self.is_lost and not self.is_closing

    def check_open(self) -> None:
        """Raise unless it is.

        Raises:
            PartitionLost
            PartitionMoved: it is handed over to another.
        """
        if not self.is_open:
            raise PartitionMoved if self.is_handing_over and not self.is_lost else PartitionLost

    def begin(self, epoch: Epoch) -> None:
        """Take a number.

        Raises:
            NotCurrent: the lease has run out. Whoever owns the partition by now has opened a term, which a still newer
                one would end.
        """
        if not self._lease.is_held():
            raise NotCurrent(LEASE_EXPIRED)
        self.epoch = epoch

    def close(self, *, is_handing_over: bool = False) -> None:
        """Refuse what is new from now on."""
        self.is_closing = True
        self.is_handing_over = is_handing_over

    def lose(self, wrong: BaseException) -> bool:
        """End it: the owner's memory is not to be trusted any more. Return whether it was not lost before."""
        trace = None if isinstance(wrong, LogError) else wrong
        logger.error("partition %d is lost: %s: %s", self.partition, type(wrong).__name__, wrong, exc_info=trace)
        is_news, self.is_lost = not self.is_lost, True
        self.lost_because = f"{type(wrong).__name__}: {wrong}"
        return is_news

    def why_not_current(self) -> WhyNotCurrent | None:
        """Return what keeps its owner from proving that its state is the current one; None for nothing."""
        if not self._lease.is_held():
            return LEASE_EXPIRED
        return None if self._clock.is_confirmed() else CLOCK_UNCONFIRMED

    def check_current(self) -> None:
        """Raise unless its owner can prove that its state is the current one.

        Raises:
            NotCurrent
        """
        why = self.why_not_current()
        if why is not None:
            raise NotCurrent(why)

    def record(self, kind: RecordKind, layout: int, payload: bytes, stamp_us: int | None = None) -> Record:
        """Return a record of this term; stamped with the time by now unless another is given."""
        stamp = self._clock.now_us() if stamp_us is None else stamp_us
        return Record(kind=kind, version=layout, epoch=self.epoch, stamp_us=stamp, payload=payload)
