"""Law: what was rejected and named an identifier names it still when it is sent again."""

from pathlib import Path

import pytest

from actors.log.segments import SegmentStore
from actors.rejects.entries import event_of, read_rejects, replay_id
from hearth.v1 import signal_pb2
from intake import replaying
from intake.replaying import ToReplay
from tests.actors.doors import Doors, of
from tests.actors.harness import MONDAY, in_loop, running

PHONE = "msisdn:+447700900123"


def again(directory: Path) -> list[signal_pb2.IngestRequest]:
    """Return the requests that a replay of all rejects sends."""
    requests = []
    for one in read_rejects(directory):
        event = event_of(one.reject)
        event_id = replay_id(event, one.reject.position)
        to_replay = ToReplay(position=one.reject.position, partition=one.partition, event_id=event_id, event=event)
        requests.append(replaying._request(to_replay))
    return requests


@pytest.mark.parametrize("form", ["columns", "messages"])
@in_loop
async def test_a_rejected_signal_names_its_identifier_when_it_is_sent_again(tmp_path: Path, form: str):
    async with running(tmp_path / "log", rejects=SegmentStore(tmp_path / "rejects")) as hearth:
        doors = Doors(hearth)
        # A field by the name of a column of ours can travel as a message only.
        more = {"household": "x"} if form == "messages" else {}
        refused = await doors.ingest(of(PHONE, "e", "unheard_of", MONDAY, fields=more))
        assert refused.rejections[0].reason == "UNKNOWN_TYPE"
        await hearth.until(lambda: hearth.counter("rejects_kept") == 1)

        (request,) = again(tmp_path / "rejects")

        assert bool(request.signals) == (form == "messages")
        answer = await doors.ingest(*request.signals, arrow_stream=request.arrow_stream)
        # Not BAD_KEY, as of one that names nobody.
        assert [one.reason for one in answer.rejections] == ["UNKNOWN_TYPE"]
