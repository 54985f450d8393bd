"""Why a partition's owner does not do what it was asked."""

from typing import Final, Literal, TypeAlias

from wire.failures import Failure

WhyNotCurrent: TypeAlias = Literal[Failure.LEASE_EXPIRED, Failure.CLOCK_UNCONFIRMED]
LEASE_EXPIRED: Final = Failure.LEASE_EXPIRED
CLOCK_UNCONFIRMED: Final = Failure.CLOCK_UNCONFIRMED


class NotCurrent(Exception):
    """This owner cannot prove at present that it is the owner, or what time it is. Nothing was written.

    Attributes:
        why: which of the two.
    """

    def __init__(self, why: WhyNotCurrent) -> None:
        super().__init__(why.name)
        self.why: WhyNotCurrent = why


class PartitionLost(Exception):
    """This owner's term is over: an append's outcome is unknown, or another has taken over. Nothing was answered."""


class PartitionMoved(PartitionLost):
    """This owner hands the partition over to another. Nothing was written."""


class Overloaded(Exception):
    """More signals wait than the partition may hold."""
