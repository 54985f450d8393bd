"""What a process is told by its surroundings: variables, the wall clock for people to read, secrets by chance.

With cluster/config.py the only place in `cluster` that reads them; apart from it, since settings take longer to import
than a quick command takes in all, and shards and edges need none.
"""

import os
import secrets
from datetime import UTC, datetime

ENVIRONMENT_PREFIX = "HEARTH_"


def environment_variable(name: str) -> str | None:
    """Return a variable as it is, be it ours or somebody else's (RAY_AUTH_MODE …)."""
    return os.environ.get(name)


def child_environment(**extra: str) -> dict[str, str]:
    """Return the environment for a child process: ours and `extra`."""
    return {**os.environ, **extra}


def export_environment(**settings: str) -> None:
    """Set variables for libraries that read them when they are imported, here and in every child process."""
    os.environ.update(settings)


def fresh_token() -> str:
    """Return a secret for one run: nobody else on the machine may call into our Ray processes."""
    return secrets.token_hex(32)


def utc_now() -> datetime:
    """Return the wall clock's time, for people to read; nothing is decided by it."""
    return datetime.now(UTC)
