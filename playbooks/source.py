"""Finding a playbook's files, and merging their sections into one tree."""

from collections.abc import Iterator
from pathlib import Path

from written.problems import Place, Problems
from written.yaml_tree import Entry, YamlMapping, parse

SUFFIXES = (".yaml", ".yml")

TESTS_FOLDER = "tests"
"""In the folder of a playbook: its rehearsals, which are no part of it."""


def load(path: Path, problems: Problems) -> YamlMapping:
    """Return the playbook at `path`, a file or a folder of YAML files, merged into one mapping of sections.

    Files are read in order of their names. A section may be spread over files; a name in it may not be given twice.
    """
    top = Place(str(path), 1, 1)
    files = list(_files(path))
    if not path.exists():
        problems.add(top, "there is no such file or folder", "name a playbook's YAML file, or the folder of such files")
    elif not files:
        problems.add(top, "no YAML file in this folder", "a playbook is one or more files ending in .yaml")
    merged: dict[str, Entry] = {}
    for file in files:
        root = _load_file(file, path, problems)
        for entry in root.entries if root else ():
            merged[entry.key] = _merge(merged[entry.key], entry, problems) if entry.key in merged else entry
    return YamlMapping(top, tuple(merged.values()))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (file for file in _below(path) if file.relative_to(path).parts[0] != TESTS_FOLDER)


def test_files(path: Path) -> list[Path]:
    """Return the files of rehearsals at `path`: that file, those of a folder, or those beside a playbook's own."""
    if path.is_file():
        return [path]
    inside = path / TESTS_FOLDER
    return _below(inside if inside.is_dir() else path)


def playbook_of(path: Path) -> Path:
    """Return the playbook that a file of rehearsals is about: the folder that holds the folder of tests."""
    folder = path if path.is_dir() else path.parent
    while folder.name != TESTS_FOLDER and folder != folder.parent:
        folder = folder.parent
    return folder.parent if folder.name == TESTS_FOLDER else path.parent


def _below(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())


def _merge(first: Entry, second: Entry, problems: Problems) -> Entry:
    if not isinstance(first.value, YamlMapping) or not isinstance(second.value, YamlMapping):
        problems.add(second.place, f"'{second.key}' is already given at {first.place}", "keep one of the two")
        return first
    entries = {entry.key: entry for entry in first.value.entries}
    for entry in second.value.entries:
        if entry.key in entries:
            problems.add(
                entry.place,
                f"'{entry.key}' is already defined at {entries[entry.key].place}",
                "remove or rename one of the two",
            )
        else:
            entries[entry.key] = entry
    return Entry(first.key, first.place, YamlMapping(first.value.place, tuple(entries.values())))


def _load_file(file: Path, playbook: Path, problems: Problems) -> YamlMapping | None:
    name = str(file.relative_to(playbook)) if playbook.is_dir() else file.name
    tree = parse(file.read_bytes(), name, problems, example="offers:")
    if tree is None:
        return None
    if not isinstance(tree, YamlMapping):
        problems.add(tree.place, "a playbook file holds sections", "start with a section such as 'offers:'")
        return None
    return tree
