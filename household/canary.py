"""Which households are in a canary: a share of them by a salted hash, so the same ones wherever it is asked.

The salt is the version on trial: another trial falls on other households. A household's number stays, and the share is
what it is compared with, so a share that grows takes households in and lets none go.
"""

from household.deciding.arbitration import chance


def is_in_canary(household: bytes, *, version: str, share: float) -> bool:
    """Return whether a household is decided for by `version` while that is canary for `share` (0 to 1) of all.

    >>> [is_in_canary(b"h-4711", version="v2", share=share) for share in (0.0, 0.5, 0.99, 1.0)]
    [False, True, True, True]
    """
    return chance("canary", version.encode(), household) < share
