"""The owner of one partition: what waits, what is written, what is folded, what is decided."""
