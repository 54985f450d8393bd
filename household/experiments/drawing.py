"""How a household's arm is drawn: by salt and birth id alone, so that it is the same everywhere and ever."""

import hashlib

from household.deciding.arbitration import is_control
from household.plan import Arm, Draw, Experiment, Plan
from household.plan.experiments import ALL_BP

_BITS = 64


def position(salt: str, birth_id: bytes) -> int:
    """Return where a household lies among all, 0 … 2⁶⁴ − 1: the first 8 bytes of BLAKE2b(salt ‖ birth id), big-endian.

    >>> position("salt", b"home-1") / 2**64
    0.8696875063437395
    """
    return int.from_bytes(hashlib.blake2b(salt.encode() + birth_id).digest()[:8], "big")


def salted_arm(experiment: Experiment, birth_id: bytes) -> Arm:
    """Return the arm in whose part of all households this one lies.

    Exact in whole numbers. Control comes first, so a share of it that grows takes in others and lets nobody go.
    """
    at_bp = position(experiment.salt, birth_id) * ALL_BP >> _BITS
    end_bp = 0
    for arm in experiment.arms:
        end_bp += arm.share_bp
        if at_bp < end_bp:
            return arm
    raise AssertionError(f"the arms of {experiment.name} are no {ALL_BP} basis points")


def drawn_arm(plan: Plan, experiment: Experiment, birth_id: bytes) -> Arm:
    """Return the arm that a household is drawn into under a plan."""
    match experiment.draw:
        case Draw.SALTED:
            return salted_arm(experiment, birth_id)
        case Draw.OF_JOURNEY:
            journey = plan.journeys[experiment.journeys[0]].name
            return experiment.arms[0 if is_control(plan, birth_id, (journey,)) else 1]
