"""Why a partition's owner does not do what it was asked."""


class NotCurrent(Exception):
    """This owner cannot prove at present that it is the owner, or what time it is. Nothing was written.

    Attributes:
        reason: LEASE_EXPIRED or CLOCK_UNCONFIRMED.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PartitionLost(Exception):
    """This owner's term is over: an append's outcome is unknown, or another has taken over. Nothing was answered."""


class Overloaded(Exception):
    """More signals wait than the partition may hold."""
