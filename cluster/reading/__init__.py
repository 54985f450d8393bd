"""File readers for `hearth ingest`: from bytes to signals, every row accounted for. Knows no network."""
