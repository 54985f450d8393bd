"""Errors that nobody has to hear of: passed over for a reason, and still told to whoever looks for them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def passing_over(*errors: type[BaseException], because: str) -> Iterator[None]:
    """End the block at one of these errors, and go on behind it; what it was stands in the log at level DEBUG.

    >>> with passing_over(OSError, because="nobody reads it"):
    ...     raise OSError("no space left")
    """
    try:
        yield
    except errors as passed:
        logger.debug("passed over, as %s: %s: %s", because, type(passed).__name__, passed)
