"""Law: every example in the pure core's docstrings runs and gives the number it shows."""

import doctest
import importlib
import pkgutil

import pytest

import household

MODULES = sorted(
    ["household", *(found.name for found in pkgutil.walk_packages(household.__path__, prefix="household."))]
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of(name: str):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)

    assert result.failed == 0, f"{result.failed} of {result.attempted} examples failed; the report is above"
