"""Reading YAML as a tree that remembers the place of every key and value.

Scalars stay text: what `9.99`, `21:00` or `NO` means is decided by the key that holds it, not by YAML's guessing.
Tags and repeated keys are refused, and in playbooks anchors too: a file reads the same for everyone.
"""

import re
from dataclasses import dataclass

import yaml

from written.problems import Place, Problems

FILE_BYTES_MAX = 4_000_000
"""A larger file was not written by people; parsing one would take minutes."""

DEPTH_MAX = 20
"""Deepest nesting that is read: far above what people need, far below where a parser slows down or overflows."""

NODES_MAX = 200_000
"""Most values of a file once its references are followed: a few lines of them can stand for billions."""


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
class YamlMapping:
    """A YAML mapping; its entries keep the order in which they were written."""

    place: Place
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """A key with no value."""

    place: Place
    text: str = ""
    """As written: `~`, `null` or nothing at all."""


Node = Scalar | Listing | YamlMapping | Nothing


def parse(raw: bytes, name: str, problems: Problems, *, example: str, follows_references: bool = False) -> Node | None:
    """Return what a file of this name holds; None after noting why it cannot be read, or that it holds nothing.

    Args:
        raw: the file's bytes, UTF-8.
        name: what messages call it.
        problems: where mistakes are noted.
        example: the first key of such a file, for whoever hands in an empty one.
        follows_references: whether `*name` and `<<` stand for what `&name` marks; else they are refused.
    """
    top = Place(name, 1, 1)
    if len(raw) > FILE_BYTES_MAX:
        problems.add(top, f"the file has {len(raw)} bytes", f"one has at most {FILE_BYTES_MAX}: split it")
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = raw.count(b"\n", 0, wrong.start) + 1
        column = wrong.start - raw.rfind(b"\n", 0, wrong.start)
        problems.add(Place(name, line, column), "this is not UTF-8 text", "save the file as UTF-8")
        return None
    try:
        if not _is_plain(text, name, problems, follows_references=follows_references):
            return None
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else top
        problems.add(place, f"this is not YAML: {_yaml_message(wrong)}", _yaml_hint(wrong))
        return None
    except yaml.reader.ReaderError as wrong:
        line = text.count("\n", 0, wrong.position) + 1
        column = wrong.position - text.rfind("\n", 0, wrong.position)
        told = f"the character U+{wrong.character:04X} is not allowed"
        problems.add(Place(name, line, column), told, "remove it")
        return None
    if node is None:
        problems.add(top, "the file is empty", f"write at least one section, such as '{example}'")
        return None
    try:
        return _Converter(name, text, problems, follows_references=follows_references).convert(node)
    except _TooMuch:
        problems.add(top, "its references stand for too much, or for themselves", "write the values out instead")
        return None


class _TooMuch(Exception):
    """References that stand for more than anybody wrote."""


def _is_plain(text: str, name: str, problems: Problems, *, follows_references: bool) -> bool:
    """Return whether a file has no references that are not followed and is not too deep; stops at the first mistake."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        mark = event.start_mark
        assert mark is not None, "a loader marks every event"
        place = Place(name, mark.line + 1, mark.column + 1)
        if getattr(event, "tag", None) is not None:
            tag = re.search(r"!\S*", text[mark.index :])
            problems.add(place, f"the tag {tag[0] if tag else event} is not allowed", "write the plain value")
        if isinstance(event, yaml.AliasEvent) and not follows_references:
            problems.add(place, f"'*{event.anchor}' refers to an anchor", "write the value out instead")
            return False
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_MAX:
            problems.add(place, "lists or mappings are nested too deeply", "six levels are enough")
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

    def __init__(self, file: str, text: str, problems: Problems, *, follows_references: bool) -> None:
        self._file = file
        self._text = text
        self._problems = problems
        self._follows_references = follows_references
        self._count = 0

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def convert(self, node: yaml.Node, depth: int = 0) -> Node:
        place = self._place(node)
        self._count += 1
        if self._count > NODES_MAX or depth > DEPTH_MAX:
            raise _TooMuch
        match node:
            case yaml.MappingNode():
                return self._mapping(node, place, depth)
            case yaml.SequenceNode():
                return Listing(place, tuple(self.convert(item, depth + 1) for item in node.value))
            case yaml.ScalarNode():
                return self._scalar(node, place)
            case _:
                raise AssertionError(f"PyYAML has no node {node!r}")

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Node:
        raw = self._text[node.start_mark.index : node.end_mark.index]
        quoted = node.style is not None
        if not quoted and node.value in ("", "~", "null"):
            return Nothing(place, node.value)
        return Scalar(place, self._text_of(node, place), quoted, raw)

    def _text_of(self, node: yaml.ScalarNode, place: Place) -> str:
        r"""Return a scalar's text; a pair of surrogates, written \ud83d\ude00 as in JSON, is one character."""
        try:
            text: str = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._problems.add(place, "this holds half a surrogate pair, which is no text", "write the whole character")
            return ""
        return text

    def _mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> YamlMapping:
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        is_merged = False
        for key_node, value_node in node.value:
            key_place = self._place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._problems.add(key_place, "a key is a name, not a list or a mapping", "write one name per key")
                continue
            key = self._text_of(key_node, key_place)
            if key == "<<":
                if is_merged:
                    self._problems.add(key_place, "'<<' is already given here", "list what is merged: <<: [*a, *b]")
                is_merged = True
                merged = self._merged(key_place, self.convert(value_node, depth + 1)) | merged
            elif key in entries:
                wrong = f"'{key}' is already given in line {entries[key].place.line}"
                self._problems.add(key_place, wrong, "remove or rename one of the two")
            else:
                entries[key] = Entry(key, key_place, self.convert(value_node, depth + 1))
        return YamlMapping(place, tuple((merged | entries).values()))

    def _merged(self, place: Place, value: Node) -> dict[str, Entry]:
        """Return what `<<` brings in; of several mappings the first that has a key gives it."""
        parts = value.items if isinstance(value, Listing) else (value,)
        if not self._follows_references:
            self._problems.add(place, "'<<' merges an anchor", "write the values out instead")
            return {}
        found: dict[str, Entry] = {}
        for part in parts:
            if isinstance(part, YamlMapping):
                found = {entry.key: entry for entry in part.entries} | found
            else:
                self._problems.add(part.place, "'<<' merges something that is no mapping", "write the values out")
        return found
