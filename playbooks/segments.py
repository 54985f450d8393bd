"""The section `segments`: named conditions, inlined where other conditions use them; so their order is free."""

import re
from collections.abc import Sequence

from household.plan import Segment
from playbooks.conditions import NO_PROGRAM, WRONG, Conditions, known_code
from playbooks.reading import Reader, describe, report_repeated
from written.problems import Problems
from written.yaml_tree import Entry, Scalar


def read_segments(
    top: Reader, conditions: Conditions, problems: Problems, *, of_products: Sequence[Entry] = ()
) -> tuple[Segment, ...]:
    """Read the section and make every segment known to the conditions that follow."""
    texts: dict[str, Scalar] = {}
    written = top.entries("segments")
    report_repeated(written, of_products, "segment", problems)
    for entry in (*written, *of_products):
        if isinstance(entry.value, Scalar):
            texts[entry.key] = entry.value
        else:
            wrong = f"segment '{entry.key}' is {describe(entry.value)}"
            problems.add(entry.place, wrong, f"write a condition: {entry.key}: household.arpu >= 60.0")
            conditions.declare(f"segment.{entry.key}", WRONG)
    order = _Order(texts, conditions, problems)
    for name in texts:
        order.compile(name)
    return tuple(Segment(name=name, program=order.programs.get(name, NO_PROGRAM)) for name in texts)


class _Order:
    """Compiles each segment after those it names."""

    def __init__(self, texts: dict[str, Scalar], conditions: Conditions, problems: Problems) -> None:
        self.programs: dict[str, int] = {}
        self._texts = texts
        self._conditions = conditions
        self._problems = problems
        self._path: list[str] = []
        self._done: set[str] = set()

    def compile(self, name: str) -> None:
        if name in self._done:
            return
        if name in self._path:
            circle = " → ".join([*self._path[self._path.index(name) :], name])
            self._problems.add(self._texts[name].place, f"segments name each other in a circle: {circle}", "break it")
            self._declare_wrong(name)
            return
        self._path.append(name)
        for used in re.findall(r"\bsegment\s*\.\s*([a-z][a-z0-9_]*)", self._texts[name].text):
            if used in self._texts:
                self.compile(used)
        self._path.pop()
        if name in self._done:
            return
        text = self._texts[name]
        code = self._conditions.code_about_household(text, f"segment '{name}'")
        if code is None:
            self._declare_wrong(name)
            return
        self._done.add(name)
        self._conditions.declare(f"segment.{name}", known_code(code))
        self.programs[name] = self._conditions.keep(" ".join(text.text.split()), code)

    def _declare_wrong(self, name: str) -> None:
        self._done.add(name)
        self._conditions.declare(f"segment.{name}", WRONG)
