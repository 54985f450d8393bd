"""Tell of every room what its files are for, and draw the rooms from the imports: `make rooms`.

Writes docs/rooms.md from the first sentences of the files, docs/rooms.svg from what imports what, and the parts of
docs/architecture.md between `<!-- name -->` and `<!-- end of name -->`. tests/laws/test_rooms.py finds what is not as
it would be written.
"""

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

REPOSITORY = Path(__file__).resolve().parents[1]
SHIPPED_STUBS = "hearth"


def packages(root: Path) -> tuple[str, ...]:
    """Return the packages that are shipped, as pyproject.toml lists them, by the names they are imported by."""
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    return tuple(name.rpartition("/")[2] for name in wheel["packages"])


# --- the page --------------------------------------------------------------------------------------------------------


def first_sentence(path: Path) -> str:
    """Return the first sentence of a module's docstring, on one line."""
    told = ast.get_docstring(ast.parse(path.read_text())) or ""
    paragraph = " ".join(told.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z`])", paragraph)[0].replace("|", "\\|")


def rooms_of(root: Path, package: str) -> Iterator[Path]:
    """Yield the folders of a package that hold modules, the package itself first."""
    for folder in [root / package, *sorted(path for path in (root / package).rglob("*") if path.is_dir())]:
        if any(folder.glob("*.py")):
            yield folder


def page(root: Path) -> str:
    """Return docs/rooms.md."""
    lines = [
        "# The rooms, file by file",
        "",
        "Written by `make rooms` from the first sentences of the files; to change what is said here, change it there.",
        "How the rooms go together is told in [architecture.md](architecture.md).",
    ]
    for package in packages(root):
        if package == SHIPPED_STUBS:
            continue
        for folder in rooms_of(root, package):
            name = folder.relative_to(root).as_posix()
            lines += ["", f"{'##' if '/' not in name else '###'} {name}/", "", first_sentence(folder / "__init__.py")]
            files = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
            if files:
                lines += ["", "| file | |", "|---|---|"]
                lines += [f"| `{path.name}` | {first_sentence(path)} |" for path in files]
    return "\n".join(lines) + "\n"


# --- what imports what -----------------------------------------------------------------------------------------------

Edges = dict[str, set[str]]


def imports(names: tuple[str, ...]) -> Edges:
    """Return which room imports from which others; a room is a folder of modules, by its dotted name."""
    graph = grimp.build_graph(*names, cache_dir=None)
    rooms = {module.rpartition(".")[0] for module in graph.modules if "." in module} | set(names)
    edges: Edges = {room: set() for room in rooms}
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            of, to = (name if name in rooms else name.rpartition(".")[0] for name in (module, other))
            if of != to:
                edges[of].add(to)
    return edges


def within(edges: Edges, names: set[str]) -> Edges:
    """Return the edges among some rooms."""
    return {of: to & names for of, to in edges.items() if of in names}


def reachable(edges: Edges, start: str) -> set[str]:
    """Return what is known from a room, directly or through others."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for to in edges[waiting.pop()] - seen:
            seen.add(to)
            waiting.append(to)
    return seen


def levels(edges: Edges) -> dict[str, int]:
    """Return how high each room lies: above everything it knows; rooms that know each other lie side by side."""
    known = {room: reachable(edges, room) for room in edges}
    together = {room: frozenset({room} | {one for one in known[room] if room in known[one]}) for room in edges}
    height: dict[frozenset[str], int] = {}

    def of(group: frozenset[str]) -> int:
        if group not in height:
            beneath = {together[to] for room in group for to in edges[room]} - {group}
            height[group] = 1 + max((of(one) for one in beneath), default=-1)
        return height[group]

    return {room: of(together[room]) for room in edges}


def reduced(edges: Edges) -> list[tuple[str, str]]:
    """Return the edges that say more than the others together: none that a way over a third room says as well."""
    known = {room: reachable(edges, room) for room in edges}
    return [
        (of, to)
        for of in sorted(edges)
        for to in sorted(edges[of])
        if not any(to in known[third] and of not in known[third] for third in edges[of] - {to})
    ]


# --- the picture -----------------------------------------------------------------------------------------------------

ROOM_HEIGHT, GAP, PADDING, TITLE_HEIGHT, ROW_GAP, LETTER = 26, 10, 12, 24, 46, 7.3
ARROW_HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" fill="#7a869a"/></marker></defs>'
)
CENTRED = 'text-anchor="middle"'


@dataclass(frozen=True)
class House:
    """One package: its rooms, row by row from the top, and how large it is drawn."""

    name: str
    rows: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> float:
        """Return how wide its widest row is drawn."""
        return max([width_of(self.name), *map(row_width, self.rows)]) + 2 * PADDING

    @property
    def height(self) -> float:
        """Return how high all its rows are drawn."""
        return TITLE_HEIGHT + len(self.rows) * (ROOM_HEIGHT + GAP) + (PADDING - GAP if self.rows else 0) + PADDING / 2


def width_of(label: str) -> float:
    return len(label) * LETTER + 16


def row_width(row: tuple[str, ...]) -> float:
    return sum(width_of(label_of(room)) for room in row) + GAP * (len(row) - 1)


def label_of(room: str) -> str:
    """Return a room's name within its package."""
    return room.partition(".")[2] or f"{room}, its own files"


def house_of(package: str, edges: Edges) -> House:
    """Return a package with its rooms laid out: what knows others lies above them."""
    rooms = {room for room in edges if room == package or room.startswith(f"{package}.")}
    if len(rooms) == 1:
        return House(package, ())
    height = levels(within(edges, rooms))
    by_height: dict[int, list[str]] = defaultdict(list)
    for room in sorted(rooms, key=lambda one: (one.count("."), one)):
        by_height[height[room]].append(room)
    return House(package, tuple(tuple(by_height[one]) for one in sorted(by_height, reverse=True)))


def picture(names: tuple[str, ...]) -> str:
    """Return docs/rooms.svg: packages in rows, each above all it imports, arrows to what it imports first."""
    edges = imports(names)
    between: Edges = {name: set() for name in names}
    for of, to in edges.items():
        for one in to:
            if (top := of.partition(".")[0]) != (other := one.partition(".")[0]):
                between[top].add(other)
    height = levels(between)
    houses = {name: house_of(name, edges) for name in names}
    rows = [
        [houses[name] for name in names if height[name] == one] for one in sorted(set(height.values()), reverse=True)
    ]

    wide = max(sum(house.width for house in row) + 3 * GAP * (len(row) - 1) for row in rows) + 2 * PADDING
    places: dict[str, tuple[float, float]] = {}
    top = float(PADDING)
    for row in rows:
        left = (wide - sum(house.width for house in row) - 3 * GAP * (len(row) - 1)) / 2
        for house in row:
            # Standing on one floor, so that no arrow out of a low one runs behind a tall one.
            places[house.name] = (left, top + max(other.height for other in row) - house.height)
            left += house.width + 3 * GAP
        top += max(house.height for house in row) + ROW_GAP
    tall = top - ROW_GAP + PADDING

    size = f'viewBox="0 0 {wide:.0f} {tall:.0f}" width="{wide:.0f}" height="{tall:.0f}"'
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="ui-monospace, monospace" font-size="12">',
        ARROW_HEAD,
        f'<rect width="{wide:.0f}" height="{tall:.0f}" fill="#ffffff"/>',
    ]
    arrows = reduced(between)
    for of, to in arrows:
        drawn.append(_arrow(houses, places, of, to, arrows))
    for name in names:
        drawn += _drawn_house(houses[name], *places[name])
    return "\n".join([*drawn, "</svg>"]) + "\n"


def _arrow(
    houses: dict[str, House], places: dict[str, tuple[float, float]], of: str, to: str, arrows: list[tuple[str, str]]
) -> str:
    """Return an arrow from the lower edge of one house to the upper edge of another, apart from its neighbours."""
    out = sorted((one for start, one in arrows if start == of), key=lambda one: places[one])
    into = sorted((one for one, end in arrows if end == to), key=lambda one: places[one])
    x1 = places[of][0] + houses[of].width * (out.index(to) + 1) / (len(out) + 1)
    y1 = places[of][1] + houses[of].height
    x2 = places[to][0] + houses[to].width * (into.index(of) + 1) / (len(into) + 1)
    y2 = places[to][1]
    bend = (y2 - y1) / 2
    path = f"M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2 - 1:.1f}"
    return f'<path d="{path}" fill="none" stroke="#7a869a" stroke-width="1.3" marker-end="url(#head)"/>'


def _drawn_house(house: House, left: float, top: float) -> Iterator[str]:
    middle = left + house.width / 2
    box = f'x="{left:.1f}" y="{top:.1f}" width="{house.width:.1f}" height="{house.height:.1f}"'
    yield f'<rect {box} rx="6" fill="#f4f6fa" stroke="#42526e"/>'
    yield f'<text x="{middle:.1f}" y="{top + 17:.1f}" {CENTRED} font-weight="bold">{escape(house.name)}</text>'
    y = top + TITLE_HEIGHT
    for row in house.rows:
        x = middle - row_width(row) / 2
        for room in row:
            label = label_of(room)
            width = width_of(label)
            box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{ROOM_HEIGHT}"'
            yield f'<rect {box} rx="4" fill="#ffffff" stroke="#a5adba"/>'
            yield f'<text x="{x + width / 2:.1f}" y="{y + 17:.1f}" {CENTRED}>{escape(label)}</text>'
            x += width + GAP
        y += ROOM_HEIGHT + GAP


# --- parts of other pages --------------------------------------------------------------------------------------------


def record_kinds() -> str:
    """Return the table of record kinds."""
    from actors.records.kinds import KINDS

    lines = ["| record | says | void behind a newer epoch | exported as |", "|---|---|---|---|"]
    lines += [
        f"| `{one.kind.name}` | {one.means} | {'yes' if one.is_owners_word else ''} | {', '.join(one.exports)} |"
        for one in KINDS
    ]
    return "\n".join(lines)


def with_part(text: str, name: str, part: str) -> str:
    """Return a page with the part between its two marks written anew."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    assert found, f"the page has no part {name}"
    return f"{before}{begin}{part}{end}{after}"


def written(root: Path) -> dict[Path, str]:
    """Return what each file should hold, by its path."""
    docs = root / "docs"
    architecture = docs / "architecture.md"
    return {
        docs / "rooms.md": page(root),
        docs / "rooms.svg": picture(packages(root)),
        architecture: with_part(architecture.read_text(), "kinds of records", record_kinds()),
    }


def main() -> int:
    """Write what is out of date."""
    for path, text in written(REPOSITORY).items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"{path.relative_to(REPOSITORY)} was written anew")
    return 0


if __name__ == "__main__":
    sys.exit(main())
