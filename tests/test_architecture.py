"""Laws: imports run in one direction; household imports numpy, numba and stdlib only; a breach turns red."""

import ast
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from actors.partition.owner import PartitionOwner
from tests.sampling import sampled

PACKAGES = (
    "household",
    "wire",
    "written",
    "playbooks",
    "intake",
    "insight",
    "actors",
    "serving",
    "cluster",
    "loadtest",
    "hearth",
)

PURE_IMPORTS = {"household", "numpy", "numba", "llvmlite", "msgpack", "xxhash", *sys.stdlib_module_names}
"""llvmlite is numba's own code generator, needed for its intrinsics; msgpack is how a decision's bytes are written, and
by xxhash a name lies where it lies."""

IMPURE_STANDARD_MODULES = {
    "asyncio",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "subprocess",
    "time",
}
"""Part of the standard library, but a door to disk, network, chance or other processes."""


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--config", "pyproject.toml", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def small_tree(repository: Path, tmp_path: Path) -> Path:
    """Empty packages of our names under the repository's own contracts."""
    shutil.copy(repository / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    for room in ("commands", "command_line"):
        (tmp_path / "cluster" / room).mkdir()
        (tmp_path / "cluster" / room / "__init__.py").touch()
    (tmp_path / "cluster" / "entry.py").write_text("import cluster.commands\n")
    for room in ROOMS:
        (tmp_path / "actors" / room).mkdir()
        (tmp_path / "actors" / room / "__init__.py").touch()
    for module in GROUND:
        (tmp_path / "actors" / f"{module}.py").touch()
    return tmp_path


def test_the_contracts_hold(repository: Path):
    environment = {**os.environ, "NO_COLOR": "1"}
    command = [str(Path(sys.executable).with_name("lint-imports"))]
    result = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


def test_a_tree_without_breach_is_green(small_tree: Path):
    (small_tree / "cluster" / "launch.py").write_text(
        "import ray\nimport actors\nimport wire\nimport hearth\nimport household"
    )
    (small_tree / "loadtest" / "town.py").write_text("import hearth\nimport household\nimport playbooks\n")

    result = lint_imports(small_tree)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("household", "ray"),
        ("household", "grpc"),
        ("household", "pyarrow"),
        ("household", "hearth"),
        ("household", "playbooks"),
        ("hearth", "household"),
        ("household", "wire"),
        ("hearth", "wire"),
        ("wire", "actors"),
        ("wire", "serving"),
        ("wire", "intake"),
        ("wire", "written"),
        ("wire", "ray"),
        ("written", "wire"),
        ("playbooks", "actors"),
        ("actors", "serving"),
        ("serving", "actors"),
        ("serving", "cluster"),
        ("insight", "actors"),
        ("insight", "serving"),
        ("insight", "playbooks"),
        ("insight", "intake"),
        ("insight", "cluster"),
        ("insight", "ray"),
        ("insight", "loadtest"),
        ("serving", "insight"),
        ("intake", "actors"),
        ("intake", "serving"),
        ("intake", "playbooks"),
        ("intake", "cluster"),
        ("intake", "ray"),
        ("intake", "loadtest"),
        ("actors", "intake"),
        ("serving", "intake"),
        ("playbooks", "intake"),
        ("written", "playbooks"),
        ("written", "intake"),
        ("household", "written"),
        ("household", "intake"),
        ("actors", "ray"),
        ("actors", "loadtest"),
        ("loadtest", "cluster"),
        ("loadtest", "actors"),
        ("loadtest", "wire"),
        ("loadtest", "intake"),
    ],
)
def test_a_breach_turns_red(small_tree: Path, importer: str, imported: str):
    (small_tree / importer / "breach.py").write_text(f"import {imported}\n")

    result = lint_imports(small_tree)

    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{importer}.breach -> {imported}" in result.stdout


def test_a_run_that_calls_a_command_turns_red(small_tree: Path):
    (small_tree / "cluster" / "launch.py").write_text("import cluster.commands\n")

    result = lint_imports(small_tree)

    assert result.returncode == 1, result.stdout + result.stderr
    assert "cluster.launch -> cluster.commands" in result.stdout


ROOMS = ("shard", "partition", "exports", "snapshots", "rejects", "records", "log")
GROUND = ("clock", "conditions", "failpoints", "passing_over", "state_thread")


@pytest.mark.parametrize(
    ("importer", "imported"),
    sampled(
        [
            *((lower, upper) for place, upper in enumerate(ROOMS) for lower in ROOMS[place + 1 :]),
            ("snapshots", "rejects"),
            *((ground, "log") for ground in GROUND),
        ],
        one_in=4,
    ),
)
def test_a_room_of_actors_knows_none_above_it(small_tree: Path, importer: str, imported: str):
    breach = Path(f"{importer}.py") if importer in GROUND else Path(importer, "breach.py")
    (small_tree / "actors" / breach).write_text(f"import actors.{imported}\n")

    result = lint_imports(small_tree)

    assert result.returncode == 1, result.stdout + result.stderr
    assert f"actors.{importer} is not allowed to import actors.{imported}" in " ".join(result.stdout.split())


def test_household_imports_numpy_numba_msgpack_xxhash_and_the_standard_library_only():
    graph = grimp.build_graph("household", include_external_packages=True, cache_dir=None)
    imported = {
        target.split(".")[0]
        for module in graph.modules
        if module.split(".")[0] == "household"
        for target in graph.find_modules_directly_imported_by(module)
    }

    assert imported <= PURE_IMPORTS - IMPURE_STANDARD_MODULES


# --- a partition's owner ----------------------------------------------------------------------------------------------

OWNER_NAMES = {"owner", "_owner"}
MUTATORS = {"add", "append", "appendleft", "clear", "discard", "extend", "pop", "popleft", "remove", "set", "update"}


def reaches_into_an_owner(node: ast.expr) -> bool:
    """Whether an expression is something that an owner has: `owner.a`, `self._owner.a.b`, `owner.a[0]`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node, inner = node.value, node
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in OWNER_NAMES and isinstance(inner, ast.Attribute):
            return True
    return False


def interferences(source: str) -> list[str]:
    """Return where a module sets an attribute of an owner, changes a container of its or uses what is private to it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        targets: list[ast.expr] = []
        match node:
            case ast.Assign():
                targets = node.targets
            case ast.AugAssign() | ast.AnnAssign():
                targets = [node.target]
            case ast.Delete():
                targets = node.targets
            case ast.Call(func=ast.Attribute(value=changed, attr=name)) if name in MUTATORS:
                targets = [changed]
            case ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name), attr=attribute) if (
                name in OWNER_NAMES and attribute.startswith("_")
            ):
                targets = [node]
        found += [ast.unparse(target) for target in targets if reaches_into_an_owner(target)]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "owner.rejects = store",
        "owned.owner.on_outbox_change = look",
        "self._owner.households_with_moments[row] = None",
        "del owner.households_with_moments[row]",
        "owner.count += 1",
        "self._owner.moments_arose.set()",
        "owner.queue.update(rows)",
        "print(owner._log)",
    ],
)
def test_an_interference_is_found(source: str):
    assert interferences(source)


def test_nobody_sets_an_attribute_of_an_owner_or_changes_what_it_holds(repository: Path):
    modules = [path for folder in ("actors", "cluster") for path in (repository / folder).rglob("*.py")]
    found = {str(path.relative_to(repository)): interferences(path.read_text(encoding="utf-8")) for path in modules}

    assert {module: where for module, where in found.items() if where} == {}


def test_an_owner_lets_nothing_be_set_that_it_shows():
    shown = {name: value for name, value in inspect.getmembers(PartitionOwner) if not name.startswith("_")}

    assert all(inspect.isfunction(value) or isinstance(value, property) for value in shown.values())
    assert not [name for name, value in shown.items() if isinstance(value, property) and value.fset is not None]
    assert len(inspect.getsource(PartitionOwner).splitlines()) < 270
