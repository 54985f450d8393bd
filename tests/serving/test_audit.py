"""Laws: the audit log tells every change of what was written, by the first entry that is not as it was; a crash costs
at most what was never acknowledged; several processes write one chain; refusals stay within bounds, and are counted.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hearth.v1 import household_pb2
from serving.access import trail as trail_module
from serving.access.audit import FILE_NAME, HEAD_NAME, AuditLog, AuditUnusable, entries_of, examine
from serving.access.principal import Principal
from serving.access.trail import Trail
from wire.installation import Installation

INSTALLATION = Installation(b"k" * 32)
KEY = INSTALLATION.derived("audit")


def written(folder: Path, count: int = 5) -> AuditLog:
    log = AuditLog(folder, KEY)
    for index in range(count):
        log.append([{"time": f"t{index}", "who": "token:anna", "did": "x"}])
    return log


def lines(folder: Path) -> list[bytes]:
    return (folder / FILE_NAME).read_bytes().splitlines(keepends=True)


def put(folder: Path, content: list[bytes]) -> None:
    (folder / FILE_NAME).write_bytes(b"".join(content))


def resealed(line: bytes) -> bytes:
    """As somebody would who has no key: another text, with a seal made with a key of his own."""
    from serving.access.audit import sealed

    entry = json.loads(line)
    said = {name: entry[name] for name in ("time", "who", "did")} | {"who": "token:eve"}
    return sealed(said, number=entry["number"], before=entry["before"], key=b"x" * 32)[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda all_: [*all_[:2], all_[2].replace(b"anna", b"eve "), *all_[3:]], "entry 2 of t2: what it says"),
        (lambda all_: [*all_[:2], resealed(all_[2]), *all_[3:]], "entry 2 of t2: what it says"),
        (lambda all_: [*all_[:2], *all_[3:]], "entry 2 of t3: an entry before it is gone"),
        (lambda all_: all_[1:], "entry 0 of t1: an entry before it is gone"),
        (lambda all_: [*all_[:2], all_[3], all_[2], all_[4]], "entry 2 of t3: an entry before it"),
        (lambda all_: [*all_[:3], all_[1], *all_[3:]], "entry 3 of t1: an entry before it is gone, or was put in"),
        (lambda all_: [*all_[:3], b"\n", *all_[3:]], "entry 3: it is no entry"),
        (lambda all_: [*all_[:3], b"[1]\n", *all_[3:]], "entry 3: it is no entry"),
        (lambda all_: all_[:3], "entry 3: it is gone, with all behind it: there were 5"),
        (lambda all_: [], "entry 0: it is gone, with all behind it"),
    ],
)
def test_the_first_entry_that_is_not_as_it_was_is_named(tmp_path: Path, change: Callable, told: str):
    written(tmp_path)
    assert examine(tmp_path, KEY).broken == ""
    put(tmp_path, change(lines(tmp_path)))
    assert examine(tmp_path, KEY).broken.startswith(told)


def test_every_byte_counts(tmp_path: Path):
    written(tmp_path, 2)
    whole = (tmp_path / FILE_NAME).read_bytes()
    for index in range(len(whole)):
        changed = bytearray(whole)
        changed[index] ^= 1
        (tmp_path / FILE_NAME).write_bytes(changed)
        assert examine(tmp_path, KEY).broken, index


def test_without_the_key_nothing_holds(tmp_path: Path):
    written(tmp_path)
    assert examine(tmp_path, b"another").broken.startswith("entry 0 of t0")


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_crash_costs_what_was_never_acknowledged_and_says_so(tmp_path: Path, kept: int):
    written(tmp_path)
    all_ = lines(tmp_path)
    put(tmp_path, [*all_[:4], all_[4][:kept]])
    (tmp_path / HEAD_NAME).write_text(f"4 {json.loads(all_[3])['seal']}\n")
    torn = examine(tmp_path, KEY)
    assert (torn.broken, torn.count, torn.torn_bytes) == ("", 4, len(all_[4][:kept]))

    AuditLog(tmp_path, KEY).append([{"time": "t9", "who": "b", "did": "y"}])

    assert examine(tmp_path, KEY).broken == ""
    assert [entry["did"] for entry in entries_of(tmp_path)][4:] == ["torn entry taken away", "y"]


def test_processes_write_one_chain(tmp_path: Path, repository: Path):
    code = (
        "import sys; from pathlib import Path; from serving.access.audit import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), bytes.fromhex(sys.argv[2]))\n"
        "for index in range(20): log.append([{'who': sys.argv[3], 'did': str(index)}])\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), KEY.hex(), name], cwd=repository)
        for name in ("a", "b", "c")
    ]
    assert [one.wait() for one in started] == [0, 0, 0]
    assert (examine(tmp_path, KEY).broken, examine(tmp_path, KEY).count) == ("", 60)


def test_a_log_that_somebody_has_been_at_goes_on_and_stays_broken(tmp_path: Path):
    log = written(tmp_path, 3)
    put(tmp_path, [*lines(tmp_path)[:2], b"gone\n"])
    log.append([{"who": "b", "did": "y"}])
    assert examine(tmp_path, KEY).broken.startswith("entry 2: it is no entry")


def test_only_its_owner_reads_it(tmp_path: Path):
    written(tmp_path / "audit")
    assert (tmp_path / "audit" / FILE_NAME).stat().st_mode & 0o077 == 0
    assert (tmp_path / "audit").stat().st_mode & 0o077 == 0


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path):
    (tmp_path / "audit").write_text("a file")
    with pytest.raises(AuditUnusable, match="cannot be written"):
        AuditLog(tmp_path / "audit", KEY).append([{"did": "x"}])


def test_whatever_somebody_calls_himself_it_is_written_and_holds(tmp_path: Path):
    names = ["token:\ud800", "token:\u2028\x00\n", "token:" + "\ud800" * 600]
    AuditLog(tmp_path, KEY).append([{"who": name, "did": "x"} for name in names])
    assert (examine(tmp_path, KEY).count, examine(tmp_path, KEY).broken) == (3, "")


def test_refusals_stay_within_bounds_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = {"s": 1_000.0}
    monkeypatch.setattr(trail_module.time, "monotonic", lambda: now["s"])

    async def test() -> None:
        trail = Trail(AuditLog(tmp_path, KEY), INSTALLATION, now=lambda: "t", where="edge")
        for _ in range(1_000):
            trail.refused("/s/M", "eve", "TOKEN_INVALID")
        await trail.settled()
        assert len(list(entries_of(tmp_path))) == 1
        for index in range(100_000):
            trail.refused("/s/M", f"eve {index}", "TOKEN_INVALID")
        await trail.settled()
        assert len(list(entries_of(tmp_path))) == trail_module.REFUSALS_BURST
        assert len(trail._alike) <= trail_module.KINDS_MAX
        now["s"] += 11
        trail.refused("/s/M", "eve", "TOKEN_INVALID")
        await trail.settled()
        told = list(entries_of(tmp_path))[-1]
        assert told["unwritten"] == 999 + 100_000 - (trail_module.REFUSALS_BURST - 1)

    asyncio.run(test())


def test_an_entry_is_found_by_the_household_the_identifier_or_the_cause_it_is_about(tmp_path: Path):
    get, change = "/hearth.v1.HouseholdService/Get", "/hearth.v1.HouseholdService/Change"
    asked = [
        (get, household_pb2.GetRequest(household="H1"), "H1"),
        (get, household_pb2.GetRequest(identifier="msisdn: 0044 7700 900123"), "msisdn:+447700900123"),
        (change, household_pb2.ChangeRequest(merge={"household": "H1", "other": "H2"}), "H1"),
        (change, household_pb2.ChangeRequest(unmerge="call-7"), "call-7"),
        (change, household_pb2.ChangeRequest(confirm="call-8"), "call-8"),
    ]

    async def test() -> None:
        trail = Trail(AuditLog(tmp_path, KEY), INSTALLATION, now=lambda: "t", where="edge")
        for method, request, _ in asked:
            await trail.done(method, Principal(name="token:olga"), request)

    asyncio.run(test())
    entries = list(entries_of(tmp_path))
    assert [one["about"] for one in entries] == [INSTALLATION.pseudonym(about) for *_, about in asked]
    assert [one["trace"] for one in entries] == ["look", "look", "change", "change", "change"]
    assert "900123" not in json.dumps(entries)
