"""The section `segments`: named conditions."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A named condition."""

    name: str
    program: int
