"""Law: what is told of the rooms, and their picture, is what `make rooms` makes of the files and their imports."""

from pathlib import Path

import pytest

from docs import make_rooms
from docs.make_rooms import first_sentence, levels, page, reduced, with_part
from tests.laws.conftest import Tree


def test_rooms_and_picture_are_up_to_date(repository: Path):
    stale = [path.name for path, text in make_rooms.written(repository).items() if path.read_text() != text]

    assert stale == [], "run `make rooms`"


def test_a_file_more_and_another_first_sentence_change_the_page(tree: Tree):
    root = tree({"room/one.py": '"""What one does. And how."""\n'})
    told = page(root)

    assert "| `one.py` | What one does. |" in told
    assert page(tree({"room/one.py": '"""Something else."""\n'})) != told
    assert "| `two.py` | Two. |" in page(
        tree({"room/inner/two.py": '"""Two."""\n', "room/inner/__init__.py": '"""I."""'})
    )


def test_every_file_has_a_first_sentence(repository: Path):
    silent = [
        path.relative_to(repository).as_posix()
        for package in make_rooms.packages(repository)
        if package != make_rooms.SHIPPED_STUBS
        for path in (repository / package).rglob("*.py")
        if not first_sentence(path)
    ]

    assert silent == []


def test_what_imports_lies_above_and_what_imports_each_other_side_by_side():
    edges = {"top": {"left", "right", "low"}, "left": {"low", "right"}, "right": {"left"}, "low": set()}

    assert levels(edges) == {"top": 2, "left": 1, "right": 1, "low": 0}


def test_an_arrow_that_a_longer_way_says_is_left_out():
    assert reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == [("a", "b"), ("b", "c")]


def test_a_part_is_written_between_its_marks():
    text = "before\n<!-- part -->\nold\n<!-- end of part -->\nafter\n"

    assert with_part(text, "part", "new") == text.replace("old", "new")
    with pytest.raises(AssertionError, match="no part other"):
        with_part(text, "other", "new")
