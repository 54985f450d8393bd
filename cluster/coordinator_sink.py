"""Sends the numbers of an edge or a shard to the coordinator, which shows them all to Prometheus."""

from typing import Any

from cluster.metrics import Points
from wire.routes import COORDINATOR_NAME, COORDINATOR_NAMESPACE


class CoordinatorSink:
    """Tells the coordinator actor; finds it by name, and again once it was made anew. For one thread."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._actor: Any = None
        self._under_way: Any = None

    def __call__(self, points: dict[str, Points]) -> None:
        """Send, and do not wait. While the last are still under way, as to one that hangs, nothing is sent.

        Raises:
            ValueError: there is no coordinator.
        """
        import ray

        if self._under_way is not None:
            done, _ = ray.wait([self._under_way], timeout=0)
            if not done:
                return
        if self._actor is None:
            self._actor = ray.get_actor(COORDINATOR_NAME, COORDINATOR_NAMESPACE)
        self._under_way = self._actor.take_numbers.remote(self._process, points)
