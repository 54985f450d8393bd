"""Law: a command, a kind of record and a table are added as docs/recipes/ says, and by nothing else."""

import json
import subprocess
import sys
from pathlib import Path

from tests.laws.product import packages
from tests.laws.recipes import copied, follow

NOTE_LIVES = """
from pathlib import Path
from actors.log.contract import Epoch, PartitionId, Record, RecordKind
from actors.log.segments import SegmentStore
from actors.records import codec
from actors.records.kinds import BY_KIND
from actors.records.replay import Replay

log = SegmentStore(Path("log")).open(PartitionId(0))
layout = BY_KIND[RecordKind.NOTE].layout
payload = codec.encode_note("seen")
log.append([Record(kind=RecordKind.NOTE, version=layout, epoch=Epoch(1), stamp_us=1, payload=payload)])
(stored,) = log.read(log.first_offset)
replay = Replay()
replay.fold(stored)
print(codec.decode_note(stored.record.payload), replay.fold_count)
"""


def run(folder: Path, *arguments: str) -> str:
    """Return what Python says in a folder, which has to end well."""
    told = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def pytest_in(folder: Path, *arguments: str) -> str:
    return run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)


def test_a_command_is_added_as_its_recipe_says(repository: Path, tmp_path: Path):
    folder = copied(
        repository, tmp_path, *packages(repository), "protos", "docs", "pyproject.toml", "tests/conftest.py",
        "tests/contracts/public_surface.py", "tests/contracts/test_public_surface.py", "tests/contracts/help.txt",
        "tests/contracts/hearth_v1.txtpb", "tests/cluster/test_commands_page.py", "tests/laws/test_rights.py",
    )  # fmt: skip

    changed = follow(repository / "docs" / "recipes" / "add-a-command.md", folder)

    table, page = "cluster/command_line/commands.py", "docs/commands.md"
    rights = ["serving/access/rights.py", "docs/security.md"]
    assert changed == [
        "cluster/commands/whereis.py",
        "cluster/command_line/asking.py",
        table,
        rights[0],
        page,
        rights[1],
    ]
    told = json.loads(run(folder, "-m", "cluster.cli", "whereis", "H1", "--json"))
    assert told["household"] == "H1"
    run(folder, "-m", "tests.contracts.public_surface")
    assert "\n  whereis " in (folder / "tests" / "contracts" / "help.txt").read_text()
    laws = [
        "tests/cluster/test_commands_page.py",
        "tests/contracts/test_public_surface.py",
        "tests/laws/test_rights.py",
    ]
    pytest_in(folder, *laws, "-k", "committed or page or table")


def test_a_kind_of_record_is_added_as_its_recipe_says(repository: Path, tmp_path: Path):
    folder = copied(
        repository, tmp_path, *packages(repository), "docs", "pyproject.toml", "tests/conftest.py",
        "tests/actors", "tests/household", "tests/chaos",
    )  # fmt: skip

    changed = follow(repository / "docs" / "recipes" / "add-a-record-kind.md", folder)

    product = {"actors/log/contract.py", "actors/records/codec.py", "actors/records/kinds.py"}
    assert set(changed) == {*product, "tests/chaos/plain_replay.py"}
    assert run(folder, "-c", NOTE_LIVES) == "seen 1\n"
    pytest_in(folder, "tests/actors/test_record_kinds.py", "-k", "entry or second or kind11 or 11")


def test_a_kind_of_record_without_its_entry_stops_the_first_import(repository: Path, tmp_path: Path):
    folder = copied(repository, tmp_path, *packages(repository), "pyproject.toml")
    contract = folder / "actors" / "log" / "contract.py"
    contract.write_text(contract.read_text().replace("    RELOCATION = 10\n", "    RELOCATION = 10\n    NOTE = 11\n"))

    told = subprocess.run(
        [sys.executable, "-c", "import actors.records.kinds"], cwd=folder, capture_output=True, text=True, check=False
    )

    assert told.returncode == 1
    assert "BY_KIND.keys() == STATE_KINDS" in told.stderr


VOUCHERS_ARE_LISTED = """
from household.tables.all_tables import TABLES
from household.tables.contract import columns_of
from household.tables.vouchers import VOUCHERS

print(TABLES[-1] is VOUCHERS, *(f"{one.name}:{one.kind.name}" for one in columns_of(VOUCHERS.row)))
"""


def test_a_table_is_added_as_its_recipe_says(repository: Path, tmp_path: Path):
    """What is done to such a table without a line elsewhere, tests/household/test_tables.py does to one."""
    folder = copied(repository, tmp_path, "household", "pyproject.toml")

    changed = follow(repository / "docs" / "recipes" / "add-a-table.md", folder)

    assert set(changed) == {"household/tables/vouchers.py", "household/tables/all_tables.py"}
    told = run(folder, "-c", VOUCHERS_ARE_LISTED)
    assert told == "True offer:NAME member:MEMBER until_us:NUMBER code:TEXT\n"
