"""Playbooks with one mistake each, and playbooks changed in ways that are none: from the lines of a sound one.

A kind of mistake is a pattern and what takes its place. The mistake has to be told in the file and at the line in which
it was made; where something is left out, in what it is missing from.
"""

import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from playbooks.compiler import examine

Lines = dict[str, list[str]]
"""File → its lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutated:
    """A playbook with a mistake."""

    kind: str
    files: Lines
    file: str
    lines: range
    """Where it may be told: from 1."""
    written: str
    before: Lines | None = None
    """The playbook that it is to follow, if it is a mistake only then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of mistake that is made within one line."""

    name: str
    pattern: str
    becomes: str | Callable[[re.Match[str]], str]
    within: str = ""
    """The section it is made in; any if empty."""
    needs_states: bool = False
    """It is one in journeys with states only."""
    more_lines: int = 0
    """So much further down it may be told: where text ends sooner than it should."""


def _mistyped(place: int) -> Callable[[re.Match[str]], str]:
    def becomes(found: re.Match[str]) -> str:
        whole, start = found.group(0), found.start(0)
        end = found.end(place) - start
        return f"{whole[:end]}x{whole[end:]}"

    return becomes


def _never(found: re.Match[str]) -> str:
    return f"{found[1]} >= {found[2]} && {found[1]} < {found[2]}"


KINDS = (
    Kind(name="event that does not exist", pattern=r"\bon: ([a-z]+\.[a-z_]+)", becomes=_mistyped(1)),
    Kind(name="event of a feature that does not exist", pattern=r"events: ([a-z]+\.[a-z_]+)", becomes=_mistyped(1)),
    Kind(name="field that does not exist", pattern=r"event\.([a-z_]+)", becomes=_mistyped(1), within="journeys"),
    Kind(name="field of a feature that does not exist", pattern=r"field: ([a-z_]+)", becomes=_mistyped(1)),
    Kind(name="feature that does not exist", pattern=r"(?:member|household)\.([a-z_0-9]+) ", becomes=_mistyped(1)),
    Kind(name="segment that does not exist", pattern=r"segment\.([a-z_]+)", becomes=_mistyped(1)),
    Kind(name="offer that does not exist", pattern=r"act: ([a-z_]+),", becomes=_mistyped(1)),
    Kind(name="state that does not exist", pattern=r"then: (?!end)([a-z_]+)", becomes=_mistyped(1), needs_states=True),
    Kind(name="family that does not exist", pattern=r"family: ([a-z_]+)", becomes=_mistyped(1)),
    Kind(name="channel that does not exist", pattern=r"outbound: \[push, sms\]", becomes="outbound: [push, smss]"),
    Kind(name="value that a field does not have", pattern=r"== '([a-z_]+)'", becomes=_mistyped(1)),
    Kind(name="text where a number belongs", pattern=r">= \d+(\.\d+)?", becomes=">= 'many'"),
    Kind(name="whole number against one with decimals", pattern=r"([<>]=?) (\d+)\.\d+", becomes=r"\1 \2"),
    Kind(name="duration without a unit", pattern=r"within: (\d+)[mhd]", becomes=r"within: \1"),
    Kind(name="duration in a unit that is none", pattern=r"after: (\d+)[mhd]", becomes=r"after: \1 moons"),
    Kind(
        name="condition that can never be true",
        pattern=r"((?:member|household)\.[a-z_0-9]+) >= (\d+(?:\.\d+)?)",
        becomes=_never,
    ),
    Kind(
        name="no way to an end", pattern=r"^      ([a-z_]+): end$", becomes=r"      \1: {pause: {after: 1d}, then: \1}"
    ),
    Kind(
        name="loop without a wait",
        pattern=r"^(      )([a-z_]+)(: \{act: .*then: )[a-z_]+\}$",
        becomes=r"\1\2\3\2}",
    ),
    Kind(
        name="state that nothing leads to",
        pattern=r"^      ([a-z_]+): end$",
        becomes=r"      \1: end" + "\n      nobody_comes_here: {pause: {after: 1d}, then: end}",
        more_lines=1,
    ),
    Kind(name="not said what follows a block", pattern=r"blocked: [a-z]+, ", becomes=""),
    Kind(name="block in words that are none", pattern=r"blocked: [a-z]+", becomes="blocked: wait"),
    Kind(name="no time within which it acts", pattern=r"within: \d+[mhd], ", becomes=""),
    Kind(name="key that does not exist", pattern=r"(timeout|trigger|treatments|eligible|cooldown):", becomes=r"\1s:"),
    Kind(name="again in words that are none", pattern=r"again: [0-9a-z_]+", becomes="again: sometimes"),
    Kind(name="instances without a bound", pattern=r"^    budget: \d+$", becomes="    parallel: 3"),
    Kind(
        name="correlation that does not exist", pattern=r"^    (budget: \d+)$", becomes=r"    correlate: nothing_such"
    ),
    Kind(name="share beyond all", pattern=r"control: \d+%", becomes="control: 110%"),
    Kind(name="weekday that is none", pattern=r"weekday: monday", becomes="weekday: montag"),
    Kind(name="time of day that is none", pattern=r'at: "18:00"', becomes='at: "25:00"'),
    Kind(name="kind of feature that does not exist", pattern=r"kind: (window_[a-z]+)", becomes=_mistyped(1)),
    Kind(
        name="window that its buckets do not fill", pattern=r"span: 30d, bucket: \w+", becomes="span: 30d, bucket: 7d"
    ),
    Kind(name="price below nothing", pattern=r"price: (\d+\.\d+)", becomes=r"price: -\1"),
    Kind(name="chance beyond certainty", pattern=r"prior: 0\.(\d+)", becomes=r"prior: \1.5"),
    Kind(name="number in words", pattern=r"most: \d+", becomes="most: many"),
    Kind(name="bracket that is not closed", pattern=r"\}$", becomes="", more_lines=40),
    Kind(name="said twice", pattern=r"^    (title: .*)$", becomes=r"    \1" + "\n" + r"    \1", more_lines=1),
)

LEFT_OUT = {
    "wait without a timeout": r"^        timeout: ",
    "branch that leaves a gap": r"^        else: ",
    "no goal": r"^    goal: ",
    "no control group": r"^    control: ",
    "no contact class": r"^    contact_class: ",
    "no purpose": r"^    purpose: ",
    "no budget": r"^    budget: ",
    "no owner": r"^    owner: ",
}
"""Kinds of mistakes by a line that is missing: it is told in the block that it is missing from."""


def read(folder: Path) -> Lines:
    """Return the files of a playbook's folder."""
    return {path.name: path.read_text().splitlines() for path in sorted(folder.glob("*.yaml"))}


def write(files: Lines, folder: Path) -> Path:
    """Write a playbook's files; return their folder."""
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def line_mutated(files: Lines) -> Iterator[Mutated]:
    """Yield all mistakes that can be made in a line, or by leaving one out, kind by kind."""
    for kind in KINDS:
        yield from _within_lines(files, kind)
    for name, pattern in LEFT_OUT.items():
        yield from _left_out(files, name, pattern)


def some_of(mutated: Iterable[Mutated], count: int, *, seed: int = 0) -> list[Mutated]:
    """Return so many mistakes, as many of each kind as there may be."""
    by_kind: dict[str, list[Mutated]] = {}
    for one in mutated:
        by_kind.setdefault(one.kind, []).append(one)
    chance, found = random.Random(seed), list[Mutated]()
    for ones in by_kind.values():
        chance.shuffle(ones)
    while len(found) < count and any(by_kind.values()):
        found += [ones.pop() for ones in by_kind.values() if ones]
    return found[:count]


def _within_lines(files: Lines, kind: Kind) -> Iterator[Mutated]:
    for file, lines in files.items():
        section = ""
        for place, line in enumerate(lines):
            code = line.split(" #")[0].rstrip()
            if line[:1].isalpha():
                section = line.partition(":")[0]
            if line.lstrip().startswith("#") or (kind.within and kind.within != section):
                continue
            if kind.needs_states and not line.startswith("      "):
                continue
            found = re.search(kind.pattern, code)
            if found is None:
                continue
            becomes = kind.becomes(found) if callable(kind.becomes) else found.expand(kind.becomes)
            written = code[: found.start()] + becomes + code[found.end() :]
            changed = [*lines[:place], *written.split("\n"), *lines[place + 1 :]]
            told = range(_begins(lines, place) + 1, place + 2 + kind.more_lines)
            yield Mutated(kind=kind.name, files=files | {file: changed}, file=file, lines=told, written=written)


def _begins(lines: list[str], place: int) -> int:
    """Return where the key stands whose value a line is, or is a part of."""
    while place > 0 and re.match(r"\s*[\w.\"]+:", lines[place]) is None:
        place -= 1
    return place


def _left_out(files: Lines, name: str, pattern: str) -> Iterator[Mutated]:
    for file, lines in files.items():
        for place, line in enumerate(lines):
            if re.search(pattern, line) is None:
                continue
            depth = len(line) - len(line.lstrip())
            first = next(at for at in range(place, -1, -1) if _depth(lines[at]) < depth)
            if depth == 4 and name != "no control group" and not _has_states(lines, first):
                continue
            last = next((at for at in range(place + 1, len(lines)) if _depth(lines[at]) < depth), len(lines))
            changed = [*lines[:place], *lines[place + 1 :]]
            told = range(first + 1, last)
            yield Mutated(kind=name, files=files | {file: changed}, file=file, lines=told, written=f"- {line}")


def _depth(line: str) -> int:
    bare = line.strip()
    return len(line) - len(line.lstrip()) if bare and not bare.startswith("#") else 99


def _has_states(lines: list[str], first: int) -> bool:
    for line in lines[first + 1 :]:
        if _depth(line) <= _depth(lines[first]):
            return False
        if line.strip() == "states:":
            return True
    return False


# --- what is no mistake -----------------------------------------------------------------------------------------------

HARMLESS: tuple[tuple[str, str], ...] = (
    (r"again: 90d", "again: 45d"),
    (r"within: 2h", "within: 3h"),
    (r"hold: 1d", "hold: 20h"),
    (r"control: 10%", "control: 15%"),
    (r"control: 10%", "control: 0.2"),
    (r"prior: 0\.20", "prior: 18%"),
    (r"prior: 0\.12", "prior: 0.11"),
    (r'at: "18:00"', 'at: "17:30"'),
    (r"budget: 2$", "budget: 3"),
    (r"after: 14d", "after: 21d"),
    (r"after: 30d", "after: 28d"),
    (r"after: 2d", "after: 36h"),
    (r"outbound: \[push, sms\]", "outbound: [sms, push]"),
    (r"title: (.*)$", r'title: "\1, as we call it"'),
    (r"owner: (.*)$", r"owner: team \1"),
    (r"$", "    # as agreed"),
    (r"cooldown: 7d", "cooldown: 10d"),
    (r"margin: (\d+)\.(\d)0$", r"margin: \1.\g<2>5"),
    (r"most: 3", "most: 4"),
    (r"\(", "( "),
)


def harmless(files: Lines, seed: int, *, edits: int = 8) -> Lines:
    """Return the playbook with so many changes that are no mistakes, and with one state called otherwise."""
    chance, changed = random.Random(seed), {name: list(lines) for name, lines in files.items()}
    done = 0
    while done < edits:
        pattern, becomes = chance.choice(HARMLESS)
        file = chance.choice(sorted(changed))
        spots = [
            place
            for place, line in enumerate(changed[file])
            if re.search(pattern, line) and "#" not in line and not line.rstrip().endswith(("|", ">-", ">"))
            and (pattern != "$" or line.strip().endswith(("}", "d", "%")))
            and (pattern != r"\(" or "when:" in line or "eligible:" in line)
        ]  # fmt: skip
        if spots:
            place = chance.choice(spots)
            before = list(changed[file])
            changed[file][place] = re.sub(pattern, becomes, changed[file][place], count=1)
            if _is_yaml(changed[file]):
                done += 1
            else:
                changed[file] = before
    states = sorted(
        {found[1] for line in changed["journeys.yaml"] if (found := re.match(r"^      ([a-z_]+): end$", line))}
    )
    name = chance.choice(states)
    changed["journeys.yaml"] = [
        re.sub(rf"(then|failed|missed|else): {name}\b", rf"\1: {name}_then", line) for line in changed["journeys.yaml"]
    ]
    changed["journeys.yaml"] = [
        re.sub(rf"^      {name}:", f"      {name}_then:", line) for line in changed["journeys.yaml"]
    ]
    return changed


def _is_yaml(lines: list[str]) -> bool:
    try:
        yaml.safe_load("\n".join(lines))
    except yaml.YAMLError:
        return False
    return True


# --- judging ----------------------------------------------------------------------------------------------------------


def told_of(files: Lines, folder: Path, before: Lines | None = None) -> list[tuple[str, int, str]]:
    """Return what the check says of a playbook, perhaps after another, warnings with it: (file, line, text)."""
    followed = examine(write(before, folder)).plan if before is not None else None
    found = examine(write(files, folder), before=followed)
    return [(one.place.file, one.place.line, str(one)) for one in (*found.problems, *found.warnings)]


def is_found(mutated: Mutated, told: list[tuple[str, int, str]], known: set[str]) -> bool:
    """Return whether a mistake is told where it was made; `known`: what is told of the sound playbook as well."""
    return any(
        Path(file).name == mutated.file and line in mutated.lines and _said(text) not in known
        for file, line, text in told
    )


def new_alarms(told: list[tuple[str, int, str]], known: set[str]) -> list[str]:
    """Return what is told that is not told of the sound playbook."""
    return [text for _, _, text in told if _said(text) not in known]


def said_of(files: Lines, folder: Path) -> set[str]:
    """Return what is told of a sound playbook, wherever it stands."""
    return {_said(text) for _, _, text in told_of(files, folder)}


def _said(text: str) -> str:
    return text.split(": ", 1)[1]
