"""Make a golden history: logs as a shard of today writes them, and what they fold to.

    python -m tests.histories.make_golden golden-2

Seeded, on a clock of its own. Refuses to touch a golden that exists: they are never made again
(docs/decisions/0004-replay-and-digest.md).
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from actors.log.contract import StoredRecord
from actors.log.reading import read_only_logs
from actors.log.segments import SegmentSettings
from actors.records.replay import Replay
from hearth.v1 import signal_pb2
from household.digest import DIGEST_LAYOUT, household_digests, state_digest
from household.plan import Plan
from household.state import FOLD_VERSION, PartitionState
from playbooks.compiler import compile_playbook
from tests.actors.harness import HOUR, MONDAY, SECOND, Hearth, SettableClock, signal

HERE = Path(__file__).parent
PARTITIONS_BY_CLOCK = {"wall": (0, 1), "stream": (0,)}
HOUSEHOLDS, MEMBERS = 14, 2
KNOWN = 7
"""Households in which graph events say who lives there."""
ROUNDS_PER_TERM = {"wall": 3, "stream": 3}
SEGMENT_BYTES = 24_000


def plans() -> tuple[Plan, Plan]:
    """Return the playbook and its second version: a feature more, one less, another trigger, other prices."""
    text = (HERE / "history.yaml").read_text(encoding="utf-8")
    changes = (
        ("  household.payments: {", "  household.visits: {kind: count, events: visit}\n  household.payments: {"),
        ("  member.session_minutes: {kind: session_length, events: [visit, check], gap: 30m, unit: minutes}\n", ""),
        ("when: member.checks_2d >= 2", "when: member.checks_2d >= 2 && household.visits >= 0"),
        ("price: 4.99", "price: 5.99"),
        ("pack: [film, kids, sport]", "pack: [sport, film, kids, music]"),
    )
    then = text
    for old, new in changes:
        assert old in then, old
        then = then.replace(old, new)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for each in (text, then):
            path = Path(folder) / "history.yaml"
            path.write_text(each, encoding="utf-8")
            made.append(compile_playbook(path))
    return made[0], made[1]


def graph_event(kind: str, now_us: int, **fields: str) -> signal_pb2.Signal:
    return signal(f"{kind}-{'-'.join(fields.values())}", "", f"hearth.graph.{kind}", now_us, fields=fields)


def who_lives_where(now_us: int) -> Iterator[signal_pb2.Signal]:
    """Yield who lives in some of the households, one of them by a name that signals use, and by what they are known."""
    for number, name in enumerate((*(f"x{n}" for n in range(KNOWN - 1)), "m0")):
        subject, household = f"member:{name}", f"house-{number}"
        yield graph_event("join", now_us, subject=subject, household=household)
        for identifier in identifiers_of(number):
            yield graph_event("link", now_us, identifier=identifier, subject=subject)
    yield graph_event("merge", now_us, household="house-8", other="house-9")


def who_moved(now_us: int) -> Iterator[signal_pb2.Signal]:
    """Yield what changes in the second term."""
    yield graph_event("leave", now_us, subject="member:x1")
    yield graph_event("join", now_us, subject="member:x2", household="house-3")
    yield graph_event("recycle", now_us, identifier=identifiers_of(0)[0])
    yield graph_event("unmerge", now_us, cause="merge-house-8-house-9", household="house-8")


def identifiers_of(number: int) -> tuple[str, str]:
    return f"msisdn:+4477009000{number:02d}", f"email:x{number}@example.org"


def some_signals(
    chance: np.random.Generator, number: int, now_us: int, *, has_graph: bool
) -> Iterator[signal_pb2.Signal]:
    """Yield a few signals of all sorts, late and wrong ones among them."""
    for index in range(int(chance.integers(14, 24))):
        name, member = f"house-{chance.integers(HOUSEHOLDS)}", f"m{chance.integers(MEMBERS)}"
        at = now_us - int(chance.integers(3 * HOUR)) if chance.integers(3) == 0 else now_us
        made = signal(f"e{number}-{index}", name, "pay", at, member=member)
        match int(chance.integers(12)):
            case 0 | 1:
                made.type = "visit"
            case 2 | 3 | 4:
                made.type = "check"
            case 5:
                made.type, made.fields["marketing"].flag = "consent", bool(chance.integers(5))
            case 6 if chance.integers(4) == 0:
                made.type = ("opt_out", "opt_in")[chance.integers(2)]
            case 7:
                made.event_id = f"e{number - 1}-0"
            case 10:
                made.event_id, made.source = f"shared-{number}", ("crm", "billing")[chance.integers(2)]
            case 11 if chance.integers(2):
                made.ClearField("time")
            case 8 if chance.integers(2):
                made.type = ("no.such.type", "consent")[chance.integers(2)]
            case 9 if chance.integers(2):
                made.time.seconds += 3_600 * (1 if chance.integers(2) else -30)
            case _:
                pass
        if made.type == "pay":
            made.fields["amount"].number = float(chance.integers(1, 10_000)) / 8
            made.fields["pack"].text = ("film", "kids", "sport")[chance.integers(3)]
            made.fields["shop"].text = f"shop-{chance.integers(6)}"
        if has_graph and chance.integers(2):
            made.household, made.member = "", ""
            made.identifier = identifiers_of(int(chance.integers(KNOWN)))[chance.integers(2)]
        yield made


async def live(hearth: Hearth, chance: np.random.Generator, rounds: range) -> None:
    """Let a small town live for some rounds: signals, questions, retries, outcomes, hand-overs, time.

    In one partition graph events say who lives where: between several what they tie together would move.
    """
    now_us, has_graph = hearth.clock.now_us(), len(hearth.partitions) == 1
    if has_graph:
        await hearth.ingest(*(who_moved(now_us) if rounds.start else who_lives_where(now_us)))
    people = [(f"house-{n // MEMBERS}", f"m{n % MEMBERS}") for n in range(HOUSEHOLDS * MEMBERS)]
    await hearth.ingest(
        *(
            signal(f"yes-{home}-{member}", home, "consent", now_us, member=member, fields={"marketing": True})
            for home, member in people
        )
    )
    async with hearth.subscribed("push", "sms", group="main") as deliveries:
        handed = asyncio.ensure_future(anext(deliveries))
        for number in rounds:
            await hearth.ingest(*some_signals(chance, number, hearth.clock.now_us(), has_graph=has_graph))
            await settled(hearth)
            for turn in range(4):
                await ask(hearth, chance, 4 * number + turn)
            for _ in range(10):
                await hearth.turn()
            if handed.done():
                delivery = handed.result()
                if chance.integers(4):
                    delivered = bool(chance.integers(4))
                    where = {"channel": delivery.channel, "group": "main"}
                    await hearth.ack(delivery.household, delivery.action.action_id, delivered=delivered, **where)
                handed = asyncio.ensure_future(anext(deliveries))
            await time_passes(hearth, int(chance.integers(3 * HOUR)) + SECOND)
        # An evening on which nobody takes over what is to be sent: it expires.
        now_us = hearth.clock.now_us()
        await hearth.ingest(
            *(
                signal(f"late-{now_us}-{home}-{n}", f"house-{home}", "check", now_us, member="m0")
                for home in range(HOUSEHOLDS)
                for n in range(2)
            )
        )
        await settled(hearth)
        await time_passes(hearth, 14 * HOUR)
        handed.cancel()
        await asyncio.wait([handed])


async def time_passes(hearth: Hearth, elapsed_us: int) -> None:
    """Move the clock, let a signal tell it to every partition, and let the owners look."""
    hearth.clock.pass_us(elapsed_us)
    now_us = hearth.clock.now_us()
    await hearth.ingest(*(signal(f"t{now_us}-{home}", f"house-{home}", "visit", now_us) for home in range(3)))
    for partition in hearth.partitions:
        await hearth.tick(partition)
    await settled(hearth)


async def ask(hearth: Hearth, chance: np.random.Generator, number: int) -> None:
    name, member = f"house-{chance.integers(HOUSEHOLDS)}", f"m{chance.integers(MEMBERS)}"
    if len(hearth.partitions) == 1 and chance.integers(3) == 0:
        member = f"x{chance.integers(KNOWN - 1)}"
        name = f"member:{member}"
    now_us, channel = hearth.clock.now_us(), ("app", "web")[chance.integers(2)]
    carried = [signal(f"v{number}", name, "visit", now_us, member=member)] if chance.integers(6) == 0 else []
    shown = await hearth.decide(name, *carried, member=member, channel=channel, request_id=f"ask-{number}")
    if chance.integers(4) == 0:
        await hearth.decide(name, *carried, member=member, channel=channel, request_id=f"ask-{number}")
    if shown.HasField("action"):
        outcome = int(chance.integers(1, 13))
        if outcome <= 5:
            await hearth.report(name, shown.action.action_id, outcome, member=member, request_id=f"told-{number}")  # type: ignore[arg-type]


async def settled(hearth: Hearth) -> None:
    """Wait until the owners have decided what arose, so that the order of records does not hang on threads."""
    await hearth.until(lambda: all(one["pending"] == 0 for one in hearth.shard.report().values()))


async def write_logs(directory: Path, clock_kind: str) -> None:
    """Write the logs of two terms, a new playbook between them."""
    chance, clock = np.random.default_rng(20250111), SettableClock(MONDAY)
    rounds = ROUNDS_PER_TERM[clock_kind]
    for term, plan in enumerate(plans()):
        hearth = Hearth(
            directory,
            clock=clock,
            plan=plan,
            partitions=PARTITIONS_BY_CLOCK[clock_kind],
            stream_clock=clock_kind == "stream",
            name=f"shard-{term}",
            segments=SegmentSettings(segment_bytes=SEGMENT_BYTES),
        )
        for partition in hearth.partitions:
            await hearth.assign(partition)
        await live(hearth, chance, range(rounds * term, rounds * (term + 1)))
        await hearth.shard.drain()
        clock.pass_us(2 * HOUR)


def history(directory: Path) -> dict[int, list[StoredRecord]]:
    """Return the records under a directory by partition; writes nothing there."""
    found: dict[int, list[StoredRecord]] = {}
    for partition, stored in read_only_logs(directory):
        found.setdefault(partition, []).append(stored)
    return found


def folded(records: list[StoredRecord]) -> PartitionState:
    """Return what records fold to."""
    replay = Replay()
    for stored in records:
        replay.fold(stored)
    return replay.now


def expectation(directory: Path) -> dict[str, object]:
    """Return what the logs under a directory fold to, for `expected.json`."""
    partitions: dict[str, object] = {}
    for partition, records in history(directory).items():
        state = folded(records)
        partitions[str(partition)] = {
            "records": dict(sorted(Counter(stored.record.kind.name for stored in records).items())),
            "state": state_digest(state),
            "households": {key.decode(): digest for key, digest in sorted(household_digests(state).items())},
        }
    return {"fold_version": FOLD_VERSION, "digest_layout": DIGEST_LAYOUT, "partitions": partitions}


def main() -> int:
    """Write one golden, with both clocks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="folder to make beside this file, e.g. golden-2")
    folder = HERE / parser.parse_args().name
    if folder.exists():
        print(f"{folder} exists, and a golden is never made again", file=sys.stderr)
        return 1
    for clock_kind in PARTITIONS_BY_CLOCK:
        directory = folder / clock_kind
        asyncio.run(write_logs(directory, clock_kind))
        for lock in directory.glob("*.lock"):
            lock.unlink()
        text = json.dumps(expectation(directory), indent=1, sort_keys=True)
        (directory / "expected.json").write_text(text + "\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
