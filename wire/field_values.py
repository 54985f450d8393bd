"""The texts of signals as the numbers that the fold has in their place."""

import numpy as np

from household.columns.fingerprint import fingerprint
from household.plan import FieldKind, Plan

_TEXT_BITS = np.uint64(11)
"""A text becomes the upper 53 bits of its fingerprint: exact in a float64."""


def text_value(text: str | None, plan: Plan, index: int) -> float:
    """Return the number for a text of a field; NaN for none, and for a name that the field does not declare."""
    field = plan.fields[index]
    if text is None:
        return np.nan
    if field.kind is FieldKind.ENUM:
        return float(field.values.index(text)) if text in field.values else np.nan
    letters = np.frombuffer(text.encode() + b"\0", np.uint8).copy()
    low, _ = fingerprint(letters, 0, letters.shape[0] - 1, np.uint64(0))
    return float(np.uint64(low) >> _TEXT_BITS)
