"""Law: a public name means one thing. No two public classes or types of the product are called the same."""

import ast
from collections import defaultdict
from pathlib import Path

from tests.laws.conftest import Tree
from tests.laws.product import Module, modules

REASONS = {
    "Context": "gRPC's own, of a call: once of the exchange's messages, once of any",
    "Floats": "an array of float64, wherever kernels or the town write it",
    "Handler": "gRPC's own, of a method: once of messages, once of any bytes",
}
"""By name: why two may share it."""


def is_type_name(name: str) -> bool:
    return name[:1].isupper() and any(letter.islower() for letter in name)


def public_types(module: Module) -> list[str]:
    """Return the public classes and aliases of types that a module defines; variables of types have no meaning."""
    found = []
    for node in module.tree.body:
        match node:
            case ast.ClassDef(name=name):
                found.append(name)
            case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "ParamSpec"))):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found.append(name)
            case _:
                pass
    return [name for name in found if is_type_name(name)]


def breaches(root: Path, reasons: dict[str, str]) -> list[str]:
    """Return every name that two modules define, with both; and reasons that are no longer needed."""
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules(root):
        for name in public_types(module):
            places[name].append(module.name)
    twice = {name: found for name, found in sorted(places.items()) if len(found) > 1}
    told = [f"{name}: {', '.join(found)}" for name, found in twice.items() if name not in reasons]
    return told + [f"{name}: its reason is no longer needed" for name in reasons if name not in twice]


def test_a_name_means_one_thing(repository: Path):
    assert breaches(repository, REASONS) == []


def test_a_name_of_two_meanings_turns_red(tree: Tree):
    root = tree({
        "room/one.py": "class Draft: ...\nSome = TypeVar('Some')\nPlace = tuple[int, int]\nclass _Own: ...\n",
        "room/two.py": "class Draft: ...\nSome = TypeVar('Some')\nPlace = str\nclass _Own: ...\n",
    })  # fmt: skip

    assert breaches(root, {"Place": "both are places"}) == ["Draft: room/one.py, room/two.py"]


def test_a_reason_that_is_no_longer_needed_turns_red(tree: Tree):
    assert breaches(tree({}), {"Draft": "gone"}) == ["Draft: its reason is no longer needed"]
