"""Laws of segments as a split: each household is in the first that holds, for it or for any of its members, as of
when one asks; it comes in with the very event that makes it so, and goes out with time.
"""

from functools import partial
from pathlib import Path

from actors.exports.households_by_segment import segments
from actors.log.reading import read_only_logs
from actors.snapshots.store import snapshot_store
from tests.actors.harness import DAY, MONDAY, SettableClock, corner, in_loop, running, signal

WRITTEN = """\
segments:
  rich: household.paid_7d >= 500.0
  payers: household.payments >= 1
  checkers: member.checks_7d >= 1
journeys:"""
SEGMENTS = ("journeys:", WRITTEN)


@in_loop
async def test_each_household_is_in_the_first_segment_that_holds(tmp_path: Path):
    clock = SettableClock()

    def pay(household: str, amount: float):
        fields = {"amount": amount}
        return signal(f"{household}-{amount}", household, "pay", clock.now_us(), member="m", fields=fields)

    named = {"plan": corner(SEGMENTS), "snapshots": tmp_path / "snapshots", "partitions": (0, 1)}
    async with running(tmp_path / "log", clock, **named) as hearth:
        await hearth.ingest(pay("rich", 900.0), pay("poor", 9.0))
        await hearth.ingest(signal("c", "curious", "check", MONDAY, member="second"))
        await hearth.ingest(signal("v", "curious", "visit", MONDAY, member="first"))
        await hearth.ingest(signal("w", "other", "visit", MONDAY, member="m"))
        clock.pass_us(DAY)
        await hearth.ingest(pay("poor", 800.0))
        await hearth.snapshot()

    read = partial(read_only_logs, tmp_path / "log")
    now = {"rich": "rich", "poor": "rich", "curious": "checkers"}
    assert dict(segments(read)) == now
    assert dict(segments(read, snapshot_store(str(tmp_path / "snapshots")))) == now
    assert dict(segments(read, until_us=MONDAY + DAY - 1)) == now | {"poor": "payers"}


@in_loop
async def test_membership_changes_with_the_event_that_causes_it(tmp_path: Path):
    clock = SettableClock()
    read = partial(read_only_logs, tmp_path / "log")

    async with running(tmp_path / "log", clock, plan=corner(SEGMENTS)) as hearth:
        found = []
        for number, amount in enumerate((499.0, 0.5, 0.5)):
            at_us = clock.now_us()
            fields = {"amount": amount}
            await hearth.ingest(signal(f"p{number}", "h", "pay", at_us, member="m", fields=fields))
            found.append(dict(segments(read))["h"])
            clock.pass_us(DAY)
        # Seven days after the first, what is left of the payments is 1.0.
        clock.pass_us(4 * DAY)
        await hearth.ingest(signal("v", "other", "visit", clock.now_us(), member="m"))
        found.append(dict(segments(read))["h"])

    assert found == ["payers", "payers", "rich", "payers"]
