"""Laws of the dashboards: every metric in them is one that Hearth shows, with its labels; panels do not overlap."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cluster.exposition import series_names
from cluster.metrics import INSTRUMENTS

BOARDS = sorted((Path(__file__).resolve().parents[2] / "deploy" / "chart" / "files" / "dashboards").glob("*.json"))
SERIES = {name for instrument in INSTRUMENTS for name in series_names(instrument)}
LABELS = {"le", "process", "rpc_method", "rpc_response_status_code", "rpc_system_name"} | {
    f"hearth_{name}" for name in ("status", "channel", "origin", "outcome", "way", "veto", "stage", "method")
}


def questions(board: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in board["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_metric_and_every_label_is_one_that_hearth_shows(path: Path):
    board = json.loads(path.read_text())
    for title, expression, legend in questions(board):
        words = set(re.findall(r"\b(?:hearth|rpc)_\w+", expression))
        series = words - LABELS
        assert series, title
        assert series <= SERIES, title
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= LABELS, title


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panels_have_ids_a_source_and_room_of_their_own(path: Path):
    board = json.loads(path.read_text())
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        room = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not room & taken
        assert at["x"] + at["w"] <= 24
        taken |= room
        assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}


def test_every_board_has_a_name_of_its_own():
    uids = [json.loads(path.read_text())["uid"] for path in BOARDS]
    assert len(BOARDS) == len(set(uids)) == 3
