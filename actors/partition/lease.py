"""Whether this process may still speak for its partitions: a port, since leases live in the metadata store."""

from typing import Protocol


class Lease(Protocol):
    """Proof, within this process, that no other owner can have taken over yet."""

    def is_held(self) -> bool:
        """Return whether the proof holds now. Cheap and safe to ask from any thread, before every answer."""
        ...


class HeldForGood:
    """The lease of a shard that has the log to itself, such as in a tool or a test of one process."""

    def is_held(self) -> bool:
        """Return True."""
        return True
