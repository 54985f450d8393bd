"""Law: `make test` runs every test that is neither of the fault suites nor of the deploy suite."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARKED = re.compile(r"pytest\.mark\.(\w+)")


def test_those_that_start_a_ray_lie_where_make_looks_for_them():
    makefile = (ROOT / "Makefile").read_text()
    (asked,) = re.findall(r'-m "ray and not chaos and not deploy" (.*)', makefile)
    assert '-m "not ray and not chaos and not deploy"' in makefile
    of_ray = [
        file.relative_to(ROOT).as_posix()
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        if {"ray"} <= set(MARKED.findall(file.read_text())) and file != Path(__file__)
    ]
    assert of_ray
    folders = (*asked.split(), "tests/chaos")
    assert [file for file in of_ray if not file.startswith(tuple(f"{folder}/" for folder in folders))] == []
