"""The plans that a shard is given: each read once for all of its partitions, and laid out before it is waited for."""

import threading
from collections import OrderedDict

from household.plan import Plan, plan_from_bytes
from household.state import PartitionState

KEPT = 4
"""Those before the present one are asked for again by a rollback, and while a change is under way."""


class PlansGiven:
    """Reads plans. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_bytes: OrderedDict[bytes, Plan] = OrderedDict()
        self._newest = 0

    def read(self, plan_bytes: bytes) -> Plan:
        """Return the plan whose canonical bytes these are.

        Raises:
            PlanUnreadable
        """
        with self._lock:
            plan = self._by_bytes.get(plan_bytes)
            if plan is None:
                plan = self._by_bytes[plan_bytes] = plan_from_bytes(plan_bytes)
            self._by_bytes.move_to_end(plan_bytes)
            while len(self._by_bytes) > KEPT:
                self._by_bytes.popitem(last=False)
            return plan

    def ready(self, plan_bytes: bytes) -> Plan:
        """Return a plan by which a state has been laid out once, so that none of it is made while decisions wait.

        Args:
            plan_bytes: as `read` takes them.

        Raises:
            PlanUnreadable, and whatever keeps a state from being laid out by it.
        """
        is_known = plan_bytes in self._by_bytes
        plan = self.read(plan_bytes)
        if not is_known:
            PartitionState(plan=plan, stream_clock=False)
        return plan

    def is_outdated(self, number: int) -> bool:
        """Return whether a newer change is in force, as far as was told; of this number one is.

        One that is laid out may still be refused, and then its number is no reason to pass over what is in force.
        """
        with self._lock:
            self._newest = max(self._newest, number)
            return number < self._newest
