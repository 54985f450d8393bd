"""Which way an instance goes on from a branch."""

import hashlib
from collections.abc import Callable

from household.plan import NONE, JourneyStep

ALL_BP = 10_000


def way_on(step: JourneyStep, name: str, number: int, holds: Callable[[int], bool]) -> int:
    """Return which way is the first whose condition is true, or the one whose share an instance is drawn into.

    Args:
        step: a branch. Its last way has no condition; or all have shares, of 10,000 together.
        name: of the branch in its own version: who is pinned to that is drawn as before.
        number: of the instance: the same one is drawn the same way.
        holds: whether a condition is true.
    """
    if step.ways[0].share_bp:
        drawn = hashlib.blake2b(f"{name}/{number}".encode(), digest_size=8).digest()
        at = int.from_bytes(drawn, "big") * ALL_BP >> 64
        for place, way in enumerate(step.ways):
            if at < way.share_bp:
                return place
            at -= way.share_bp
        raise AssertionError(f"the shares of {step.name} are not all")
    for place, way in enumerate(step.ways):
        if way.program == NONE or holds(way.program):
            return place
    raise AssertionError(f"{step.name} leads nowhere")
