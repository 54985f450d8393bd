"""The shape of a journey's states: each can be reached, each leads to an end, none goes round without taking time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from household.plan import END, JourneyStep, StepKind
from written.problems import Place, Problems


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePlaces:
    """Where a state stands."""

    place: Place
    keys: dict[str, Place]
    is_sound: bool = True
    """Otherwise it is not what it was meant to be, and nothing is said of it."""


class FlowShape:
    """Looks at the states of one journey as a graph."""

    def __init__(
        self, what: str, steps: Sequence[JourneyStep], places: Sequence[StatePlaces], problems: Problems
    ) -> None:
        """Take states as they were read, and where each stands."""
        self._what, self._steps, self._places, self._problems = what, steps, places, problems
        self._leads = [tuple(dict.fromkeys(leads_to(step))) for step in steps]

    def check(self) -> None:
        """Report what is wrong."""
        if not all(place.is_sound for place in self._places):
            return  # where it would lead is not known
        reached = self._reached()
        for index, step in enumerate(self._steps):
            if index not in reached and not step.name.endswith(".act"):
                right = f"let a state lead there, or remove it; '{self._steps[0].name}', the first, is where it begins"
                self._problems.add(self._places[index].place, f"no way leads to {self._name(index)}", right)
        endless = self._endless()
        for index in sorted(filter(self._is_trap, endless & reached))[:1]:
            wrong = f"from {self._name(index)} no way leads to an end"
            self._problems.add(self._places[index].place, wrong, "let it, or one behind it, lead to 'end'")
        for circle in self._timeless_circles(reached):
            names = " → ".join(f"'{self._steps[index].name}'" for index in (*circle, circle[0]))
            wrong = f"{self._name(circle[0])} goes round without a wait: {names}"
            self._problems.add(self._places[circle[0]].place, wrong, "put a 'wait' or a 'pause' in between")

    def _name(self, index: int) -> str:
        return f"state '{self._steps[index].name}' of {self._what}"

    def _is_trap(self, index: int) -> bool:
        """Return whether every state behind one leads back to it: what is wrong is there, and not further up."""
        return all(index in self._reached(other) for other in self._reached(index))

    def _reached(self, first: int = 0) -> set[int]:
        """Return the states that can be reached from one, itself among them."""
        reached, open_ones = {first}, [first]
        while open_ones:
            for target in self._leads[open_ones.pop()]:
                if target != END and target not in reached:
                    reached.add(target)
                    open_ones.append(target)
        return reached

    def _endless(self) -> set[int]:
        """Return the states from which none that is the last can be reached."""
        ending = {
            index for index, step in enumerate(self._steps) if step.kind is StepKind.END or END in self._leads[index]
        }
        while True:
            more = {index for index, leads in enumerate(self._leads) if not ending.isdisjoint(leads)} - ending
            if not more:
                return set(range(len(self._steps))) - ending
            ending |= more

    def _timeless_circles(self, reached: set[int]) -> list[tuple[int, ...]]:
        """Return circles of states in which no time passes: branches, slots that are over, acts that are blocked."""
        timeless = [index for index in sorted(reached) if self._steps[index].kind is not StepKind.WAIT]
        found: list[tuple[int, ...]] = []
        known: set[int] = set()
        for start in timeless:
            if start not in known and (circle := self._circle(start, set(timeless))):
                found.append(circle)
                known.update(circle)
        return found

    def _circle(self, start: int, within: set[int]) -> tuple[int, ...]:
        """Return the shortest way from a state back to it; nothing if there is none."""
        before: dict[int, int] = {}
        open_ones = [start]
        while open_ones:
            here = open_ones.pop(0)
            for target in self._leads[here]:
                if target == start:
                    way = [here]
                    while way[-1] != start:
                        way.append(before[way[-1]])
                    return tuple(reversed(way))
                if target in within and target not in before:
                    before[target] = here
                    open_ones.append(target)
        return ()


def leads_to(step: JourneyStep) -> Iterable[int]:
    """Yield where a state may lead, END among them."""
    match step.kind:
        case StepKind.END:
            return
        case StepKind.BRANCH:
            yield from (way.target for way in step.ways)
        case StepKind.SLOT:
            yield from (step.target, step.missed)
        case StepKind.WAIT:
            yield from (wait.target for wait in step.waits)
            yield step.target
        case StepKind.ACT:
            yield step.target
            assert step.act is not None
            yield step.act.failed
