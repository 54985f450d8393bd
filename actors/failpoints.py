"""Named places in the life of a shard at which a test may stop the process; in production each is one empty call.

What a crash may leave behind is decided between two of them; tests/chaos kills a shard at every one.
"""

from collections.abc import Callable
from enum import StrEnum


class Failpoint(StrEnum):
    """Where a process may die. Named for what has just been done."""

    GROUP_FORMED = "group-formed"
    GROUP_WRITTEN = "group-written"
    """In the file, not yet synced."""
    GROUP_SYNCED = "group-synced"
    GROUP_FOLDED = "group-folded"
    """Nobody has been answered yet."""
    SEGMENT_ROLLED = "segment-rolled"
    EPOCH_OPENED = "epoch-opened"
    """The term's epoch record is durable, nothing else is."""
    TICK_SYNCED = "tick-synced"
    HAND_OVER_NOTED = "hand-over-noted"
    """It is durable that an outbound action is handed over; nobody has it yet."""
    HANDED_OVER = "handed-over"
    """An outbound action was given to its gateway."""
    CLAIMS_FORMED = "claims-formed"
    """What was claimed of scarce items, or answered, is to be written."""
    CLAIMS_SYNCED = "claims-synced"
    """It is durable, nothing else is."""
    RELOCATION_FORMED = "relocation-formed"
    """What leaves for another partition, or came from one, is to be written."""
    RELOCATION_SYNCED = "relocation-synced"
    """It is durable, nothing else is."""
    SNAPSHOT_FROZEN = "snapshot-frozen"
    SNAPSHOT_WRITTEN = "snapshot-written"
    """Its files are there, its manifest is not."""
    SNAPSHOT_COMPLETE = "snapshot-complete"
    SNAPSHOT_VERIFIED = "snapshot-verified"
    LOG_DROPPED = "log-dropped"
    """Old pieces of the log that kept snapshots cover are gone."""
    MOVE_PREPARED = "move-prepared"
    """The next owner of a partition is close behind the present one."""
    MOVE_LET_GO = "move-let-go"
    """The owner has closed the log, and is the owner still."""
    MOVE_PASSED_ON = "move-passed-on"
    """The next owner owns it, and does not know yet."""


MOVES = frozenset((Failpoint.MOVE_PREPARED, Failpoint.MOVE_LET_GO, Failpoint.MOVE_PASSED_ON))
"""Those on a partition's way from one shard to another."""

CLAIMS = frozenset((Failpoint.CLAIMS_FORMED, Failpoint.CLAIMS_SYNCED))
"""Those that only a playbook with scarce items comes by."""

RELOCATIONS = frozenset((Failpoint.RELOCATION_FORMED, Failpoint.RELOCATION_SYNCED))
"""Those that only graph events about several partitions come by."""


def _pass_by(_failpoint: Failpoint) -> None: ...


_on_reached: Callable[[Failpoint], None] = _pass_by


def reached(failpoint: Failpoint) -> None:
    """Say that this place was reached."""
    _on_reached(failpoint)


def arm(on_reached: Callable[[Failpoint], None]) -> None:
    """Call this from now on wherever a failpoint is reached, in the thread that reached it. For tests."""
    global _on_reached
    _on_reached = on_reached
