"""Owns state: the log, shards, snapshots, recovery, fencing, hand-off, delivery and capture."""
