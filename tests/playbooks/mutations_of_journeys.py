"""Playbooks with one mistake each that takes more than a line: a journey that cannot do what it says, or a section.

A journey is written behind the shipped ones, sound but for its mistake; `STORY` without any is one that is none.
"""

import itertools
import re
from collections.abc import Iterator

from tests.playbooks.mutations import Lines, Mutated, line_mutated

STORY = """\
  one_more:
    title: One more
    owner: wallet
    contact_class: offer
    purpose: marketing
    budget: 2
    control: 10%
    outbound: [push, sms]
    trigger: {on: wallet.payment}
    again: 30d
    goal: {on: billing.product_activated}
    states:
      waiting: {pause: {after: 3d}, then: ask}
      ask: {act: wallet_start, within: 1h, blocked: skip, failed: over, then: over}
      over: end
"""

BEHIND = "# Who is left untreated"
"""Journeys end above this line of `journeys.yaml`."""

PAUSE, ASK = "{pause: {after: 3d}", "act: wallet_start, within: 1h"
SPEAKS, TRIGGER = "outbound: [push, sms]", "on: wallet.payment"

OF_JOURNEYS = (
    "window shorter than the way to the act",
    "slot that the quiet hours always close",
    "channel without another behind it",
    "entry by its own effect",
    "journeys that exclude each other",
    "chosen by what is sensitive",
    "map that is not total",
    "part that is withdrawn",
)


def all_mutated(files: Lines) -> Iterator[Mutated]:
    """Yield all mistakes that can be made, kind by kind."""
    yield from line_mutated(files)
    yield from more_mutated(files)


def story(files: Lines, *changes: tuple[str, str]) -> tuple[Lines, int]:
    """Return the playbook with the journey behind the others, changed, and the line that it begins in, from 1."""
    text = STORY
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    lines = files["journeys.yaml"]
    place = next(number for number, line in enumerate(lines) if line.startswith(BEHIND))
    return files | {"journeys.yaml": [*lines[:place], *text.splitlines(), "", *lines[place:]]}, place + 1


def more_mutated(files: Lines) -> Iterator[Mutated]:
    """Yield all of these, kind by kind."""
    for days, ends in itertools.product((3, 5, 9), ("1h", "1d", "2d")):
        slot = f"act: wallet_start, slot: {{from: 0s, to: {ends}}}, missed: over, within: 1h"
        yield _told(files, OF_JOURNEYS[0], "ask:", (PAUSE, f"{{pause: {{after: {days}d}}"), (ASK, slot))
    for at, lasts in itertools.product(("22:00", "23:30", "01:00", "04:00"), ("1h", "2h")):
        pause = f'{{pause: {{after: 1d, at: "{at}"}}'
        yield _told(files, OF_JOURNEYS[1], "ask:", (PAUSE, pause), ("within: 1h", f"within: {lasts}"))
    for channel, days in itertools.product(("push", "sms"), (3, 4, 5)):
        alone = (SPEAKS, f"outbound: [{channel}]"), ("failed: over, ", ""), ("after: 3d", f"after: {days}d")
        yield _told(files, OF_JOURNEYS[2], "outbound:", *alone)
    for report, again in itertools.product(("accept", "decline", "convert"), ("30d", "after_exit")):
        yield _told(files, OF_JOURNEYS[3], "trigger:", (TRIGGER, f"on: hearth.{report}"), ("30d", again))
    for offer, days in itertools.product(("anchor_content", "anchor_smart_home", "family_bundle"), (3, 6)):
        what = ("wallet_start", offer), ("after: 3d", f"after: {days}d")
        yield _told(files, OF_JOURNEYS[4], "one_more:", *what)
    yield from _sensitive(files)
    yield from _not_total(files)
    yield from _withdrawn(files)


def _told(files: Lines, kind: str, key: str, *changes: tuple[str, str]) -> Mutated:
    made, begins = story(files, *changes)
    lines = made["journeys.yaml"]
    line = next(number for number in range(begins, len(lines) + 1) if lines[number - 1].lstrip().startswith(key))
    told = range(line, line + 1)
    return Mutated(kind=kind, files=made, file="journeys.yaml", lines=told, written=lines[line - 1])


def _sensitive(files: Lines) -> Iterator[Mutated]:
    lines = files["journeys.yaml"]
    for number, line in enumerate(lines, 1):
        found = re.search(r"((?:member|household)\.[a-z_0-9]+) (?:>=|==)", line)
        if found is None or "goal" in line:
            continue
        begins = next(at for at in range(number, 0, -1) if re.match(r"\s*(when|trigger|\w+):", lines[at - 1]))
        made = files | {"playbook.yaml": [*files["playbook.yaml"], f"sensitive: {found[1]}"]}
        told = range(begins - 1, number + 1)
        yield Mutated(kind=OF_JOURNEYS[5], files=made, file="journeys.yaml", lines=told, written=found[1])


def _not_total(files: Lines) -> Iterator[Mutated]:
    before, _ = story(files)
    for left_out, word in itertools.product(("waiting", "ask"), ("later", "calm", "slow")):
        states = {"waiting": word, "ask": "ask"}
        mapped = ", ".join(f"{old}: {new}" for old, new in states.items() if old != left_out)
        changed = f"    changed: {{migrate: {{{mapped}}}}}\n    states:\n"
        made, begins = story(files, ("waiting:", f"{word}:"), ("    states:\n", changed))
        lines = made["journeys.yaml"]
        line = next(at for at in range(begins, len(lines) + 1) if "migrate" in lines[at - 1])
        yield Mutated(
            kind=OF_JOURNEYS[6],
            files=made,
            file="journeys.yaml",
            lines=range(line, line + 1),
            written=lines[line - 1],
            before=before,
        )


def _withdrawn(files: Lines) -> Iterator[Mutated]:
    lines = files["journeys.yaml"]
    journey = 0
    for number, line in enumerate(lines, 1):
        if re.match(r"  [a-z_0-9]+:$", line):
            journey = number
        found = re.search(r"act: ([a-z_]+),", line) or re.search(r"when: .*(segment)\.([a-z_]+)", line)
        if found is None or line.lstrip().startswith("#") or not journey:
            continue
        part = f"segment {found[2]}" if found[1] == "segment" else f"offer {found[1]}"
        made = files | {"playbook.yaml": [*files["playbook.yaml"], f'withdrawn: {{{part}: "another"}}']}
        told = range(journey, journey + 1)
        yield Mutated(kind=OF_JOURNEYS[7], files=made, file="journeys.yaml", lines=told, written=part)
