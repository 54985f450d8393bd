"""The plans under which a partition's older decisions were made: their names, labels, kinds and families.

Taken from memory, from the snapshots, or from the log, whose every record is looked at once for this at most.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

from actors.log.contract import LOG_START, Offset, OffsetOutOfRange, PartitionLog, RecordKind
from actors.passing_over import passing_over
from actors.records import codec
from household.plan import Plan, PlanUnreadable

PLANS_KEPT = 16
"""Plans held in memory per partition; some hundred kilobytes each."""


class PlansAtHand:
    """Finds a plan by its version. For any thread."""

    def __init__(self, log: PartitionLog, in_snapshots: Callable[[], Iterable[Plan]]) -> None:
        self._log = log
        self._in_snapshots = in_snapshots
        self._lock = threading.Lock()
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._offsets: dict[str, Offset] = {}
        """Where the log holds a version's record, as far as it was looked at."""
        self._looked_to = LOG_START

    def remember(self, plan: Plan) -> None:
        """Keep a plan that was in force."""
        with self._lock:
            self._keep(plan)

    def at_hand(self, version: str) -> Plan | None:
        """Return a plan if it is in memory. Waits for nothing."""
        return self._plans.get(version)

    def find(self, version: str, *, before: Offset) -> Plan | None:
        """Return the plan of a decision that stands at `before`; None where nothing reaches back to it. Blocks.

        Raises:
            LogError: the log cannot be read.
        """
        with self._lock:
            found = self._plans.get(version)
            if found is None and version not in self._offsets:
                for plan in self._of_snapshots():
                    self._keep(plan)
                if version not in self._plans:
                    self._look_through(before)
                found = self._plans.get(version)
            if found is None and version in self._offsets:
                found = self._at(self._offsets[version])
            if found is not None:
                self._keep(found)
            return found

    def _keep(self, plan: Plan) -> None:
        self._plans[plan.version] = plan
        self._plans.move_to_end(plan.version)
        while len(self._plans) > PLANS_KEPT:
            self._plans.popitem(last=False)

    def _of_snapshots(self) -> Iterable[Plan]:
        with passing_over(OSError, because="a store that cannot be listed now is no reason to tell nothing"):
            return tuple(self._in_snapshots())
        return ()

    def _look_through(self, before: Offset) -> None:
        """Note where plans stand in the log up to an offset; what was looked at before is not read again."""
        start = max(self._looked_to, self._log.first_offset)
        if start >= before:
            return
        for stored in self._log.read(start):
            if stored.offset >= before:
                break
            if stored.record.kind is RecordKind.PLAN:
                self._offsets[_version(stored.record.payload)] = stored.offset
        self._looked_to = max(self._looked_to, before)

    def _at(self, offset: Offset) -> Plan | None:
        with passing_over(OffsetOutOfRange, PlanUnreadable, because="it is gone, or of another layout"):
            return codec.decode_plan(next(iter(self._log.read(offset))).record.payload)
        return None


def _version(canonical: bytes) -> str:
    """Return the version of a plan without reading it."""
    return hashlib.sha256(canonical).hexdigest()[:16]
