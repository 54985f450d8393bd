"""Laws: imports run in one direction; household imports numpy, numba and stdlib only; a breach turns red."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

PACKAGES = ("household", "wire", "written", "playbooks", "intake", "actors", "serving", "cluster", "loadtest", "hearth")

PURE_IMPORTS = {"household", "numpy", "numba", "llvmlite", *sys.stdlib_module_names}
"""llvmlite is numba's own code generator, needed for its intrinsics."""

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


def test_household_imports_numpy_numba_and_the_standard_library_only():
    graph = grimp.build_graph("household", include_external_packages=True, cache_dir=None)
    imported = {
        target.split(".")[0]
        for module in graph.modules
        if module.split(".")[0] == "household"
        for target in graph.find_modules_directly_imported_by(module)
    }

    assert imported <= PURE_IMPORTS - IMPURE_STANDARD_MODULES
