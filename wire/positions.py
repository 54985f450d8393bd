"""Where something stands: the position of an event in a partition's log, or of what never became one outside.

Positions are texts, and identities: of a reject, and of events whose source chose no id.
"""

from __future__ import annotations

import re
from typing import Final

POSITION_BYTES_MAX: Final = 1_024

INGEST: Final = "ingest"
"""Source of what stands in a log: it came as a signal, whoever sent it."""

_LOG_POSITION: Final = re.compile(r"log:([0-9]{1,9})/([0-9]{1,19})/([0-9]{1,9})")
"""As wide as the numbers are: a partition and a row are below 2**31, an offset below 2**63."""


def log_position(partition: int, offset: int, row: int) -> str:
    """Return the position of an event in the log."""
    return f"log:{partition}/{offset}/{row}"


def kafka_position(topic: str, partition: int, offset: int) -> str:
    """Return the position of a message in a foreign topic."""
    return f"kafka:{topic}/{partition}/{offset}"


def file_position(name: str, row: int) -> str:
    """Return the position of a row in a file."""
    return f"file:{name}/{row}"


def place_of(position: str) -> tuple[int, int, int] | None:
    """Return partition, offset and row of a position in the log, None of one outside.

    >>> place_of("log:3/17/42"), place_of("file:calls.csv/9")
    ((3, 17, 42), None)
    """
    match = _LOG_POSITION.fullmatch(position)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def source_of(position: str) -> str:
    """Return where a position lies.

    >>> source_of("kafka:calls/0/17"), source_of("log:3/17/42")
    ('kafka:calls/0', 'ingest')
    """
    return INGEST if place_of(position) else position.rpartition("/")[0]
