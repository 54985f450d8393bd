"""Reading playbook files: YAML as a tree that remembers the place of every key and value.

Scalars stay text: what `9.99`, `21:00` or `on` means is decided by the key that holds it, not by YAML's guessing.
Anchors, tags and repeated keys are refused: a playbook reads the same for everyone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from playbooks.diagnostics import Place, Problems

FILE_BYTES_MAX = 4_000_000
"""A larger file is no playbook; parsing one would take minutes."""

DEPTH_MAX = 20
"""Deepest nesting that is read: far above what a playbook needs, far below where a parser slows down or overflows."""

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Scalar:
    """A piece of text, and where each of its characters stands in the file."""

    place: Place
    text: str
    quoted: bool
    """Written in quotes or as a block, so certainly text."""
    raw: str
    """The source as written, from the first character on: quotes, indentation and line breaks included."""

    def place_at(self, offset: int) -> Place:
        """Return where character number `offset` of the text stands; YAML's quotes and folding are seen through."""
        raw_offset = 0
        for index, char in enumerate(self.text[: offset + 1]):
            while raw_offset < len(self.raw) and not _same(self.raw[raw_offset], char):
                raw_offset += 1
            if index < offset and raw_offset < len(self.raw):
                raw_offset += 1
        before = self.raw[:raw_offset]
        lines = before.count("\n")
        column = len(before) - before.rfind("\n") if lines else self.place.column + len(before)
        return Place(self.place.file, self.place.line + lines, column)


def _same(raw: str, char: str) -> bool:
    return raw == char or (char in " \n" and raw in " \n")


@dataclass(frozen=True, slots=True)
class Listing:
    """A YAML sequence."""

    place: Place
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping and what it holds."""

    key: str
    place: Place
    """Of the key."""
    value: "Node"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A YAML mapping; its entries keep the order in which they were written."""

    place: Place
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """A key with no value."""

    place: Place


Node = Scalar | Listing | Mapping | Nothing


def load(path: Path, problems: Problems) -> Mapping:
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
    return Mapping(top, tuple(merged.values()))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())


def _merge(first: Entry, second: Entry, problems: Problems) -> Entry:
    if not isinstance(first.value, Mapping) or not isinstance(second.value, Mapping):
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
    return Entry(first.key, first.place, Mapping(first.value.place, tuple(entries.values())))


def _load_file(file: Path, playbook: Path, problems: Problems) -> Mapping | None:
    name = str(file.relative_to(playbook)) if playbook.is_dir() else file.name
    top = Place(name, 1, 1)
    raw = file.read_bytes()
    if len(raw) > FILE_BYTES_MAX:
        problems.add(top, f"the file has {len(raw)} bytes", f"a playbook file has at most {FILE_BYTES_MAX}: split it")
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = raw.count(b"\n", 0, wrong.start) + 1
        column = wrong.start - raw.rfind(b"\n", 0, wrong.start)
        problems.add(Place(name, line, column), "this is not UTF-8 text", "save the file as UTF-8")
        return None
    node = _compose(text, name, problems)
    if node is None:
        return None
    tree = _Converter(name, text, problems).convert(node)
    if not isinstance(tree, Mapping):
        problems.add(tree.place, "a playbook file holds sections", "start with a section such as 'offers:'")
        return None
    return tree


def _compose(text: str, name: str, problems: Problems) -> yaml.Node | None:
    try:
        if not _is_plain(text, name, problems):
            return None
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name, 1, 1)
        problems.add(place, f"this is not YAML: {_yaml_message(wrong)}", _yaml_hint(wrong))
        return None
    except yaml.reader.ReaderError as wrong:
        line = text.count("\n", 0, wrong.position) + 1
        column = wrong.position - text.rfind("\n", 0, wrong.position)
        problems.add(Place(name, line, column), f"the character {wrong.character!r} is not allowed", "remove it")
        return None
    if node is None:
        problems.add(Place(name, 1, 1), "the file is empty", "write at least one section, such as 'offers:'")
    return node


def _is_plain(text: str, name: str, problems: Problems) -> bool:
    """Return whether a file is free of references and no deeper than a playbook; stops at the first that is not."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        mark = event.start_mark
        assert mark is not None, "a loader marks every event"
        place = Place(name, mark.line + 1, mark.column + 1)
        if isinstance(event, yaml.AliasEvent):
            problems.add(place, f"'*{event.anchor}' refers to an anchor", "write the value out instead")
            return False
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_MAX:
            problems.add(place, "lists or mappings are nested too deeply", "a playbook needs about six levels")
            return False
    return True


def _yaml_message(wrong: yaml.MarkedYAMLError) -> str:
    return " ".join(part for part in (wrong.context, wrong.problem) if part)


def _yaml_hint(wrong: yaml.MarkedYAMLError) -> str:
    message = _yaml_message(wrong)
    if "\\t" in message or "'\\t'" in message:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in message:
        return "put the text in quotes if it holds a colon, or check the indentation"
    if "expected <block end>" in message or "could not find expected ':'" in message:
        return "check the indentation and that every key ends with a colon"
    if "single document" in message:
        return "a file holds one document: remove the line '---'"
    return "check quotes, brackets and indentation around here"


class _Converter:
    """Turns PyYAML's nodes of one file into ours."""

    def __init__(self, file: str, text: str, problems: Problems) -> None:
        self._file = file
        self._text = text
        self._problems = problems

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def convert(self, node: yaml.Node) -> Node:
        place = self._place(node)
        match node:
            case yaml.MappingNode():
                return self._mapping(node, place)
            case yaml.SequenceNode():
                return Listing(place, tuple(self.convert(item) for item in node.value))
            case yaml.ScalarNode():
                return self._scalar(node, place)
            case _:
                raise AssertionError(f"PyYAML has no node {node!r}")

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Node:
        raw = self._text[node.start_mark.index : node.end_mark.index]
        if raw.startswith("!"):
            self._problems.add(place, f"the tag {raw.split()[0]} is not allowed", "write the plain value")
        quoted = node.style is not None
        if not quoted and node.value in ("", "~", "null"):
            return Nothing(place)
        return Scalar(place, node.value, quoted, raw)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> Mapping:
        entries: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            key_place = self._place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._problems.add(key_place, "a key is a name, not a list or a mapping", "write one name per key")
                continue
            key = key_node.value
            if key == "<<":
                self._problems.add(key_place, "'<<' merges an anchor", "write the values out instead")
            elif key in entries:
                wrong = f"'{key}' is already given in line {entries[key].place.line}"
                self._problems.add(key_place, wrong, "remove or rename one of the two")
            else:
                entries[key] = Entry(key, key_place, self.convert(value_node))
        return Mapping(place, tuple(entries.values()))
