"""The section `products`: what lines hold, and of which families it is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Something that a line of a household can hold."""

    name: str
    families: tuple[str, ...]
    """One; of a bundle several."""
    feature: int
    """How many lines of the household hold it."""
