"""`python -m loadtest.families`: lets families change on a running Hearth, and holds what it knows against the truth.

Sources name people by what they know them by: the network by their numbers, apps by members, billing by households. A
CRM tells who belongs together, late, twice and sometimes wrongly. When it has told all, each member must be found in
one household with those she lives with, and each number with who has it.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hearth.v1 import household_pb2, signal_pb2
from loadtest.credentials import GatewayCredentials
from loadtest.gateway import Gateway, GaveUp
from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town import MONDAY_US, PlaybookMismatch, Town, TownSignals
from loadtest.town.crm import Crm
from loadtest.town.families import Families
from playbooks.compiler import compile_playbook

CALLERS = 32
SETTLES_WITHIN_S = 60.0
"""What spans partitions is brought together after it was acknowledged."""
BY_NUMBER = ("network.", "wallet.")
"""Beginnings of the event types whose sources know people by their numbers."""


@dataclass(slots=True)
class FoundFamilies:
    """What went in, and what was found."""

    signals: dict[str, int] = field(default_factory=dict)
    retries: dict[str, int] = field(default_factory=dict)
    """By status: what was on its way between partitions is sent again, and its batch comes twice."""
    happenings: dict[str, int] = field(default_factory=dict)
    tellings: int = 0
    members: int = 0
    numbers: int = 0
    wrong: list[str] = field(default_factory=list)


class FamilyTown:
    """A town whose sources name identifiers, and whose families change."""

    def __init__(self, town: Town, *, pace: float, wrong_share: float) -> None:
        """Let the families of a town live. `pace`, `wrong_share`: as of Families and Crm."""
        self.town = town
        days = -(-(town.end_us - town.start_us) // 86_400_000_000)
        self.families = Families(seed=town.seed, people=town.people, start_us=town.start_us, days=days, pace=pace)
        self.crm = Crm(self.families, town.wire, seed=town.seed, start_us=town.start_us, wrong_share=wrong_share)
        by_number = [one.name.startswith(BY_NUMBER) for one in town.plan.event_types]
        self._is_by_number = np.array(by_number, np.bool_)

    def batch(self, signals: TownSignals) -> pa.RecordBatch:
        """Return signals as their sources send them: each names a household, a member or a number."""
        batch = self.town.wire.batch(signals)
        people, crm = self.town.people, self.crm
        persons = people.first_member[signals.households] + signals.members
        households, identifiers = batch.column("household").to_pylist(), [""] * signals.count
        for row in np.flatnonzero(signals.members >= 0).tolist():
            person = int(persons[row])
            if self._is_by_number[signals.kinds[row]] and self.families.has_line(person):
                identifiers[row] = crm.number(self.families.number_at(person, int(signals.times_us[row])))
            else:
                identifiers[row] = crm.member(person)
            households[row] = ""
        columns = {name: batch.column(name) for name in batch.schema.names}
        columns |= {"household": pa.array(households), "identifier": pa.array(identifiers)}
        columns["member"] = pa.array([""] * signals.count)
        return pa.record_batch(columns)

    def sent(self, max_rows: int) -> "Iterator[pa.RecordBatch | list[signal_pb2.Signal]]":
        """Yield all that is sent, in order: what the CRM tells before a piece of the stream goes before it."""
        tellings, done = self.crm.tellings, 0
        for piece in self.town.pieces(max_rows):
            stop = done
            while stop < len(tellings) and tellings[stop].told_us <= int(piece.times_us[0]):
                stop += 1
            if stop > done:
                yield [one.signal for one in tellings[done:stop]]
                done = stop
            yield self.batch(piece)
        if done < len(tellings):
            yield [one.signal for one in tellings[done:]]


async def judged(families: Families, crm: Crm, find: Callable[[str], Any]) -> list[str]:
    """Return what of who belongs together is known otherwise than it is true. `find`: as of Gateway."""
    wrong: list[str] = []
    turns = asyncio.Semaphore(CALLERS)

    async def one(identifier: str, expected: set[str] | None, holder: str) -> None:
        async with turns:
            found: household_pb2.GetResponse = await find(identifier)
        names = {subject.name for subject in found.subjects}
        members = {name for name in names if name.startswith("member:")}
        if expected is not None and members != expected:
            wrong.append(f"{identifier} lives with {sorted(expected)}, and is known with {sorted(members)}")
        if holder:
            held = [
                subject.name
                for subject in found.subjects
                if any(known.identifier == identifier and not known.HasField("until") for known in subject.identifiers)
            ]
            if held != [holder]:
                wrong.append(f"{identifier} is {holder}'s, and is known as {held}'s")

    asked = []
    for persons in families.together():
        expected = {crm.member(person) for person in persons}
        asked += [one(name, expected, "") for name in expected]
    for number, person in families.holders().items():
        asked.append(one(crm.number(number), None, crm.line(person)))
    await asyncio.gather(*asked)
    return sorted(wrong)


async def live(told: FamilyTown, gateway: Gateway, *, max_rows: int) -> FoundFamilies:
    """Send all, then judge until nothing is wrong any more, or what moves between partitions has had its time.

    Raises:
        GaveUp: Hearth did not take the signals.
    """
    report = FoundFamilies(tellings=len(told.crm.tellings))
    report.happenings = dict(Counter(one.kind.value for one in told.families.happenings))
    counts: Counter[str] = Counter()
    for part in told.sent(max_rows):
        if isinstance(part, list):
            answers = [
                await gateway.ingest_signals([one for _, one in some])
                for _, some in groupby(enumerate(part), key=lambda pair: pair[0] // 1_000)
            ]
        else:
            answers = [await gateway.ingest(part)]
        for answer in answers:
            counts.update({name.name: value for name, value in answer.counts.ListFields()})
            report.wrong += [f"{one.event_id}: {one.reason} {one.detail}" for one in answer.rejections][:5]
    report.signals, report.retries = dict(counts), dict(gateway.troubles.retries)
    report.members, report.numbers = told.town.people.size, len(told.families.holders())
    loop = asyncio.get_running_loop()
    until = loop.time() + SETTLES_WITHIN_S
    while True:
        wrong = await judged(told.families, told.crm, gateway.find)
        if not wrong or loop.time() > until:
            report.wrong += wrong
            return report
        await asyncio.sleep(0.5)


def as_text(report: FoundFamilies) -> str:
    """Return a report for people."""
    fates = " + ".join(f"{report.signals.get(one, 0):,} {one}" for one in ("applied", "duplicate", "late", "rejected"))
    lines = [
        f"signals in {report.signals.get('received', 0):,} = {fates}; {report.tellings:,} of them told by the CRM",
        f"sent again: {report.retries}",
        "happened: " + ", ".join(f"{count} x {kind}" for kind, count in sorted(report.happenings.items())),
        f"{report.members:,} members and {report.numbers:,} numbers looked for: {len(report.wrong)} known otherwise",
    ]
    return "\n".join([*lines, *(f"  {one}" for one in report.wrong[:20])])


def _arguments() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description="Let families change on a running Hearth, and judge what it knows.")
    arguments.add_argument("--target", required=True, help="host:port of a running Hearth")
    arguments.add_argument("--ca", type=Path, help="PEM file of the authority of its certificate, if it has TLS")
    arguments.add_argument("--cert", type=Path, help="PEM file of our own certificate")
    arguments.add_argument("--key", type=Path, help="PEM file of its key")
    arguments.add_argument("--token", default="", help="JWT that says who we are, or @FILE with one")
    arguments.add_argument("--households", type=int, default=200)
    arguments.add_argument("--days", type=float, default=7.0, help="simulated days")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--pace", type=float, default=1.0, help="factor on how often anything happens")
    arguments.add_argument("--wrong-share", type=float, default=0.1, help="of happenings, told with something untrue")
    arguments.add_argument("--intensity", type=float, default=1.0, help="factor on what members do")
    arguments.add_argument("--playbook", type=Path, default=SHIPPED_PLAYBOOK)
    arguments.add_argument("--batch-rows", type=int, default=8_192)
    arguments.add_argument("--json", action="store_true")
    return arguments


async def _run(given: argparse.Namespace) -> FoundFamilies:
    town = Town(
        seed=given.seed,
        households=given.households,
        start_us=MONDAY_US,
        days=given.days,
        plan=compile_playbook(given.playbook),
        intensity=given.intensity,
    )
    told = FamilyTown(town, pace=given.pace, wrong_share=given.wrong_share)
    credentials = GatewayCredentials(ca=given.ca, cert=given.cert, key=given.key, token=given.token)
    gateway = Gateway(given.target, seed=given.seed, credentials=credentials)
    try:
        await gateway.ready(60.0)
        return await live(told, gateway, max_rows=given.batch_rows)
    finally:
        await gateway.close()


def main() -> int:
    """Live and judge: exit 0; 1 if Hearth could not be driven; 3 if it knows otherwise than is true."""
    given = _arguments().parse_args()
    try:
        report = asyncio.run(_run(given))
    except (GaveUp, PlaybookMismatch) as wrong:
        print(wrong, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(asdict(report)) if given.json else as_text(report))
    balance = sum(report.signals.get(one, 0) for one in ("applied", "duplicate", "late", "rejected"))
    return 3 if report.wrong or balance != report.signals.get("received", 0) else 0


if __name__ == "__main__":
    sys.exit(main())
