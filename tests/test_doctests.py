"""Law: every example in the docstrings of the pure core and of insight runs and gives the number it shows."""

import doctest
import importlib
import pkgutil

import pytest

import household
import insight

MODULES = sorted(
    name
    for package in (household, insight)
    for name in (
        package.__name__,
        *(found.name for found in pkgutil.walk_packages(package.__path__, prefix=f"{package.__name__}.")),
    )
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of(name: str):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)

    assert result.failed == 0, f"{result.failed} of {result.attempted} examples failed; the report is above"
