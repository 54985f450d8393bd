"""Laws of the household fold: our events are the yardstick's to the last bit; our marks are its marks."""

import importlib.util
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from actors.records.signals import decode_signals
from household.apply import apply_epoch, apply_signals
from household.state import PartitionState
from loadtest.bench import fold_batches, trigger_names
from loadtest.household_fold.generate import ANSWERS, TYPES, as_signals, as_table, fold_events
from loadtest.household_fold.marks import UnknownJourney, checksum
from loadtest.shipped import FOLD_PLAYBOOK
from playbooks.compiler import compile_playbook
from serving.arrow_streams import batch_from_arrow_stream
from wire.batches import ipc_bytes

JOURNEYS = [f"t{number}" for number in range(6)]


def judge(shared: Path, name: str) -> ModuleType:
    """Load a file of the yardstick."""
    path = shared / "tools" / "household_fold" / f"{name}.py"
    if not path.exists():
        pytest.skip(f"the yardstick is absent: no {name}.py below HEARTH_SHARED")
    spec = importlib.util.spec_from_file_location(f"yardstick_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_events_are_those_of_the_yardstick(shared: Path):
    assert as_table(fold_events()).equals(judge(shared, "generate").events())


def test_the_marks_are_those_of_the_yardstick(shared: Path):
    reference, count = judge(shared, "reference"), 20_000
    state: dict[int, dict[int, Any]] = defaultdict(dict)
    fired_at: dict[tuple[int, int], int] = {}
    moments, expected = [], 0
    for household, member, kind, t, amount, event_id in zip(
        *as_table(fold_events(count)).to_pydict().values(), strict=True
    ):
        seen = state[household].setdefault(kind, reference.Seen())
        seen.add(t, amount)
        for trigger, holds in enumerate(reference.triggers(state[household], t)):
            last = fired_at.get((household, trigger))
            if holds and (last is None or t - last >= 7 * reference.DAY):
                fired_at[household, trigger] = t
                low = int.from_bytes(event_id[:8], "little")
                expected = (expected + reference.mark(household, member, trigger, t, low)) & reference.MASK
                moments.append((str(household), str(member), JOURNEYS[trigger], event_id, t * 1_000))
    names = ("household", "member", "journey", "event_id", "time")
    table = pa.table(dict(zip(names, map(list, zip(*moments, strict=True)), strict=True)))

    assert len(moments) > 50
    assert checksum(table, JOURNEYS) == (len(moments), f"{expected:016x}")
    texts = pa.array([one.decode(errors="backslashreplace") for one in table["event_id"].to_pylist()])
    as_exported = table.set_column(table.column_names.index("event_id"), "event_id", texts)
    assert checksum(as_exported, JOURNEYS) == (len(moments), f"{expected:016x}")


def test_the_fold_gives_the_known_answer():
    plan = compile_playbook(FOLD_PLAYBOOK)
    state, found = PartitionState(plan=plan, stream_clock=True), []
    apply_epoch(state, epoch=1)
    ended_us = int(fold_events(100_000).times_ms[-1]) * 1_000
    for stream in fold_batches(100_000, 5_000):
        events = decode_signals(ipc_bytes(batch_from_arrow_stream(stream)), plan)
        applied = apply_signals(state, events, stamp_us=ended_us)
        found += [
            {
                "household": state.households.key(household).decode(),
                "member": state.members.key(moment.member).decode(),
                "journey": moment.journey,
                "event_id": moment.event_id,
                "time": moment.time_us,
            }
            for household, moment in applied.moments
        ]

    assert checksum(pa.Table.from_pylist(found), trigger_names(plan)) == ANSWERS[100_000]


def test_the_order_of_moments_does_not_matter():
    moments = pa.table(
        {
            "household": ["1", "2"],
            "member": ["3", "4"],
            "journey": ["t0", "t5"],
            "event_id": [b"0123456789abcdef", b"fedcba9876543210"],
            "time": [1_000_000, 2_000_000],
        }
    )

    assert checksum(moments, JOURNEYS) == checksum(moments.take([1, 0]), JOURNEYS)
    assert checksum(moments.slice(0, 1), JOURNEYS) != checksum(moments.slice(1, 1), JOURNEYS)


def test_no_moments_have_the_checksum_zero():
    assert checksum(pa.table({}), JOURNEYS) == (0, "0" * 16)


def test_a_moment_of_another_job_is_refused():
    moments = pa.table({"household": ["1"], "member": ["1"], "journey": ["x"], "event_id": [b"1"], "time": [0]})

    with pytest.raises(UnknownJourney, match="'x'"):
        checksum(moments, JOURNEYS)


def test_the_signals_say_what_the_events_say():
    events = fold_events(1_000)
    signals = as_signals(events)

    assert signals["household"].to_pylist() == [str(one) for one in events.households]
    assert signals["member"].to_pylist() == [str(one) for one in events.members]
    assert signals["type"].to_pylist() == [TYPES[kind] for kind in events.kinds]
    assert signals["event_id"][0].as_py() == events.ids[0].tobytes()
    assert np.array_equal(signals["time"].to_numpy(), events.times_ms * 1_000)


def test_the_batches_hold_all_events_in_order():
    batches = [pa.ipc.open_stream(stream).read_all() for stream in fold_batches(2_500, 1_000)]

    assert [batch.num_rows for batch in batches] == [1_000, 1_000, 500]
    assert (
        pa.concat_tables(batches)
        .combine_chunks()
        .equals(pa.Table.from_batches([as_signals(fold_events(2_500))]).combine_chunks())
    )


def test_the_playbook_has_the_six_triggers():
    assert len(trigger_names(compile_playbook(FOLD_PLAYBOOK))) == 6
