"""Law: at most twelve places swallow an error, and each has its reason here.

A handler swallows if nobody can tell afterwards that something went wrong: it raises nothing, logs nothing, makes no
use of the exception, and all it does is go on: `pass`, `continue`, `break`, `return` without a value. With `suppress`
it is the same. One that returns a value has answered: whoever called has to look at it, as mypy sees to.
"""

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.laws.conftest import Tree
from tests.laws.product import Module, modules

PLACES_MAX = 12

REASONS = {
    "actors/shard/delivery.py:stream": "the time to look at the outbox again, changed or not",
    "cluster/coordinator.py:_watch_partitions": "the time to look at the partitions again, changed or not",
    "cluster/launch.py:_stand_watch": "the coordinator is being made anew; the next look asks it again",
    "intake/capture/batch.py:wait": "told by the next turn, which asks what became of the call",
    "intake/sender.py:wait": "told by the next turn, which asks what became of the request",
    "loadtest/conversation.py:contact": "the gateway counted the call that failed; it ends the contact",
    "loadtest/conversation.py:delivered": "the gateway counted the call that failed; it ends the contact",
    "loadtest/driving.py:_open_question": "the gateway counted the call that failed; it ends the question",
    "loadtest/driving.py:_pause": "the pause is over",
    "serving/accepting.py:_take_calls": "the server stops, and the loop ends with it",
    "serving/accepting.py:_refuse": "the caller who is told that there is no room has left",
    "serving/ingress.py:start_serve": "started early to save time; who needs Serve starts it again and hears why not",
}
"""By file and function: what is passed over, and why nobody misses it."""


def goes_on(handler: ast.ExceptHandler) -> bool:
    """Tell whether all that a handler does is go on."""
    return all(
        isinstance(step, ast.Pass | ast.Continue | ast.Break)
        or (isinstance(step, ast.Return) and step.value is None)
        or (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
        for step in handler.body
    )


def is_suppressing(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("contextlib.suppress", "suppress")


def swallowing(module: Module) -> list[str]:
    """Return the functions of a module that swallow, as `file:function`, once per place."""
    found = []

    def look(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if (isinstance(node, ast.ExceptHandler) and goes_on(node)) or is_suppressing(node):
            found.append(f"{module.name}:{function}")
        for inner in ast.iter_child_nodes(node):
            look(inner, function)

    look(module.tree, "")
    return found


def breaches(root: Path, reasons: dict[str, str]) -> list[str]:
    """Return places without a reason, and reasons without a place."""
    found = Counter(place for module in modules(root) for place in swallowing(module))
    told = [f"{place} swallows" for place in sorted(found) if place not in reasons]
    return told + [f"{place}: its reason is no longer needed" for place in reasons if place not in found]


def test_whatever_swallows_has_its_reason(repository: Path):
    assert breaches(repository, REASONS) == []


def test_few_places_swallow(repository: Path):
    assert sum(len(swallowing(module)) for module in modules(repository)) <= PLACES_MAX


@pytest.mark.parametrize(
    "body",
    [
        "try:\n        f()\n    except OSError:\n        pass",
        "try:\n        f()\n    except OSError:\n        return",
        "for _ in ():\n        try:\n            f()\n        except OSError:\n            continue",
        "with contextlib.suppress(OSError):\n        f()",
    ],
)
def test_an_error_that_is_swallowed_turns_red(tree: Tree, body: str):
    root = tree({"room/one.py": f"def g():\n    {body}\n"})

    assert breaches(root, {}) == ["room/one.py:g swallows"]
    assert breaches(root, {"room/one.py:g": "nobody waits for it"}) == []


@pytest.mark.parametrize("step", ["raise", "return None", "logger.debug('x')", "count += 1", "return False"])
def test_an_error_that_is_told_is_green(tree: Tree, step: str):
    root = tree({"room/one.py": f"def g():\n    try:\n        f()\n    except OSError:\n        {step}\n"})

    assert breaches(root, {}) == []
