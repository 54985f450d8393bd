"""How a shard's report names what is granted, held and free of scarce items."""

ITEM = "item "
"""Before the item's name; behind it one of `granted`, `held` and `free`."""
