"""The parts of a decision: what may be said, on which channel, when, and whether it still holds."""
