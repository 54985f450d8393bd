"""Law: a module fits on ten screens. None is over 500 lines; one over 400 has its reason here, and only while it is."""

from pathlib import Path

from tests.laws.conftest import Tree
from tests.laws.product import modules

LINES_MAX = 500
LINES_WITHOUT_REASON_MAX = 400

REASONS: dict[str, str] = {
    "playbooks/flows.py": "the kinds of states, one beneath another, read against one vocabulary",
    "actors/partition/answers.py": "what is told of a household, read from state in one place",
    "cluster/command_line/learning.py": "options of the commands about models, a few lines for each",
    "serving/models/bundle.py": "the whole contract of a version: what stands in it, how it is written and checked",
    "serving/models/probe.py": "a process that opens unknown models runs this file alone, without anything of ours",
    "cluster/coordinator.py": "who watches the shards, and the table of what is asked of it, a line or two for each",
    "actors/shard/shard.py": "the life of a shard and its table of calls, a line or two for each",
    "household/apply.py": "the one place where state changes, a few lines for each kind of record",
}
"""By path: why what is in it would be harder to read in two files."""


def breaches(root: Path, reasons: dict[str, str]) -> list[str]:
    """Return what is too long, and reasons that are no longer needed."""
    lengths = {module.name: len(module.text.splitlines()) for module in modules(root)}
    long = {name: length for name, length in lengths.items() if length > LINES_WITHOUT_REASON_MAX}
    told = [f"{name}: {length} lines, {LINES_MAX} at most" for name, length in long.items() if length > LINES_MAX]
    told += [f"{name}: {length} lines and no reason" for name, length in long.items() if name not in reasons]
    return told + [f"{name}: its reason is no longer needed" for name in reasons if name not in long]


def test_no_module_is_too_long(repository: Path):
    assert breaches(repository, REASONS) == []


def test_a_long_module_turns_red(tree: Tree):
    root = tree({"room/long.py": "x = 1\n" * 401, "room/longer.py": "x = 1\n" * 501, "room/fits.py": "x = 1\n" * 400})

    assert breaches(root, {"room/longer.py": "a table"}) == [
        "room/longer.py: 501 lines, 500 at most",
        "room/long.py: 401 lines and no reason",
    ]


def test_a_reason_that_is_no_longer_needed_turns_red(tree: Tree):
    root = tree({"room/fits.py": "x = 1\n" * 400})

    assert breaches(root, {"room/fits.py": "a table"}) == ["room/fits.py: its reason is no longer needed"]
