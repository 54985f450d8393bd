"""Laws: every kind of record has one entry in one table, and what is made of kinds elsewhere covers the same ones."""

import ast
import re
from pathlib import Path

import pytest

from actors.log.contract import STATE_KINDS, Epoch, Offset, Record, RecordKind, StoredRecord
from actors.records.codec import encode_plan
from actors.records.kinds import BY_KIND, EXPORTS
from actors.records.payload import PayloadUnreadable
from actors.records.replay import Replay
from cluster.commands.log import KINDS
from household.plan import PlanUnreadable
from tests.actors.harness import corner


def stored(kind: RecordKind, payload: bytes) -> StoredRecord:
    return StoredRecord(
        offset=Offset(0), record=Record(kind=kind, version=1, epoch=Epoch(1), stamp_us=1, payload=payload)
    )


def test_every_kind_that_state_is_made_of_has_its_entry():
    assert BY_KIND.keys() == STATE_KINDS
    assert all(one.layout >= 1 and one.means for one in BY_KIND.values())


@pytest.mark.parametrize("kind", sorted(STATE_KINDS - {RecordKind.TICK}))
def test_bytes_that_are_no_payload_of_their_kind_are_refused(kind: RecordKind):
    replay = Replay()
    replay.fold(stored(RecordKind.PLAN, encode_plan(corner())))

    with pytest.raises((PayloadUnreadable, PlanUnreadable)):
        replay.fold(stored(kind, b"\xc1 no payload of any kind"))
    assert replay.fold_count == 1


@pytest.mark.parametrize("kind", sorted(set(RecordKind) - STATE_KINDS))
def test_what_belongs_into_a_reject_log_is_no_state(kind: RecordKind):
    with pytest.raises(PayloadUnreadable, match="belongs into a reject log"):
        Replay().fold(stored(kind, b""))


def test_the_second_fold_knows_every_kind(repository: Path):
    tree = ast.parse((repository / "tests" / "chaos" / "plain_replay.py").read_text())
    named = {
        RecordKind[part.attr]
        for case in ast.walk(tree)
        if isinstance(case, ast.match_case)
        for part in ast.walk(case.pattern)
        if isinstance(part, ast.Attribute) and part.attr in RecordKind.__members__
    }

    assert named >= STATE_KINDS


def test_every_export_of_the_table_can_be_asked_for_and_is_on_the_page(repository: Path):
    page = (repository / "docs" / "exports.md").read_text()

    assert set(EXPORTS) == set(KINDS)
    (listed,) = re.findall(r"--kind (\S+) --out", page)
    assert set(listed.split("|")) == set(EXPORTS)
