"""Snapshots of a partition: what is in one, where it lies, when it is taken, and whether it is true."""
