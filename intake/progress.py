"""How far a long job has come, for whoever waits for it."""

from typing import Protocol


class Meter(Protocol):
    """Shows how far a long job has come."""

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        """Show that `done` of `total` (None: not known) is done."""
        ...
