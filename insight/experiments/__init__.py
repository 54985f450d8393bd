"""Whether an experiment was drawn as it was meant to be, and what its arms differ in."""
