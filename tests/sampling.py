"""Long lists of cases that go the same way, each through a process of its own: a sample of them runs at every check."""

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[str | tuple[str, ...]], *, one_in: int) -> list[Any]:
    """Return the cases as parameters: one in so many runs in `make test`, the others in `make test-chaos`."""
    parameters = [(case,) if isinstance(case, str) else case for case in cases]
    return [
        pytest.param(*one, id="-".join(one), marks=() if place % one_in == 0 else pytest.mark.chaos)
        for place, one in enumerate(parameters)
    ]
