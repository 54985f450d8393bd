"""Fields that came with signals and that the playbook does not know, counted by name: most often a typo."""

from collections.abc import Mapping

UNKNOWN_FIELD = "unknown_field:"
"""Before the name of such a field in a partition's report."""

NAMES_MAX = 100
"""Names that are counted one by one; a source that makes up names must not fill the memory."""


class UnknownFields:
    """How many signals carried each. Plain numbers: may be read beside whoever counts."""

    def __init__(self) -> None:
        self._count_by_name: dict[str, int] = {}
        self.others = 0
        """Values under further names."""

    def note(self, found: tuple[tuple[str, int], ...]) -> None:
        """Count the names of a batch, each with how many of its signals have it."""
        for name, count in found:
            if name in self._count_by_name or len(self._count_by_name) < NAMES_MAX:
                self._count_by_name[name] = self._count_by_name.get(name, 0) + count
            else:
                self.others += count

    def counts(self) -> Mapping[str, int]:
        """Return how many signals carried each name so far."""
        return dict(self._count_by_name)
