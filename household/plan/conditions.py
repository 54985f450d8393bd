"""What conditions and values of all sections are lowered to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A condition or value, lowered to stack code (household/columns/program.py)."""

    text: str
    """The CEL source, for explanations."""
    ops: tuple[int, ...]
    args: tuple[float, ...]
