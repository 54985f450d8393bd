"""Features as columns: their layout, kinds, windows and conditions, and the keys of the rows."""
