"""Law: every example in the docstrings of loadtest runs and gives what it shows."""

import doctest
import importlib
import pkgutil

import pytest

import loadtest

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(loadtest.__path__, prefix="loadtest.")
    if not found.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of(name: str):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)

    assert result.failed == 0
