"""Identities for requests that a person makes by hand."""

import uuid


def fresh_id(prefix: str) -> str:
    """Return an id that was never used before; a program that retries keeps its own instead."""
    return f"{prefix}-{uuid.uuid4()}"
