"""Conditions that compile and can never be true, or always are."""

from collections.abc import Iterator

from household.columns.program import Op
from household.plan import NONE, Flow, Mark
from playbooks.remarks import Check
from playbooks.satisfiable import ConditionPiece, Scene, contradiction, terms_of


class ConditionSense(Check):
    """Conditions that can never be true, or always are."""

    def look(self) -> None:
        plan = self.plan
        for segment in plan.segments:
            self._examine(
                segment.program, f"segment '{segment.name}'", "segments", segment.name, of_segment=segment.name
            )
        for feature in plan.features:
            if feature.where != NONE:
                what = f"'where' of feature '{feature.name}'"
                events = (*feature.events, *feature.off_events)
                self._examine(feature.where, what, "features", feature.name, "where", events=events)
        for channel in plan.channels:
            if channel.consent != NONE:
                what = f"'consent' of channel '{channel.name}'"
                self._examine(channel.consent, what, "channels", channel.name, "consent")
        for key, offer in self.offers():
            if offer.eligible != NONE:
                self._examine(offer.eligible, f"'eligible' of offer '{key}'", "offers", key, "eligible")
        for journey in plan.journeys:
            if journey.trigger is not None and journey.trigger.program != NONE:
                what, events = f"'when' of journey '{journey.name}'", journey.trigger.events
                self._examine(journey.trigger.program, what, "journeys", journey.name, "trigger", "when", events=events)
            if journey.flow is not None:
                self._flow(journey.name, journey.flow)

    def _flow(self, name: str, flow: Flow) -> None:
        """Look at what the states of a journey ask."""
        keys = ("journeys", name)
        marks: list[tuple[tuple[str, ...], str, Mark]] = []
        if flow.goal is not None:
            marks.append((("goal",), "the goal", flow.goal))
        marks += [(("exits", one.name), f"exit rule '{one.name}'", one) for one in flow.exits]
        for within, what, mark in marks:
            if mark.program != NONE:
                told = f"'when' of {what} of journey '{name}'"
                self._examine(mark.program, told, *keys, *within, "when", events=mark.events)
        for step in flow.steps:
            told = f"'when' of state '{step.name}' of journey '{name}'"
            for wait in step.waits:
                if wait.program != NONE:
                    self._examine(wait.program, told, *keys, "states", step.name, "wait", "when", events=wait.events)
            for way in step.ways:
                if way.program != NONE:
                    self._examine(way.program, told, *keys, "states", step.name, "branch")

    def _examine(self, program: int, what: str, *keys: str, events: tuple[int, ...] = (), of_segment: str = "") -> None:
        scene, tree = Scene(self.plan, events), self.tree(program, of_segment=of_segment)
        if tree.segment:
            return
        never = contradiction(scene, tree)
        if never is not None:
            self.warn(f"{what} can never be true{_because(scene, never)}", self._mend(scene, never), *keys)
            return
        for part, wanted, core in _dead_parts(scene, tree, wanted=True):
            text = scene.atom_text((part, wanted))
            self.warn(
                f"a part of {what}, {text}, can never be true{_because(scene, core)}", self._mend(scene, core), *keys
            )
        for part, wanted in _idle_parts(tree, wanted=True):
            if part.op is not Op.CONST and contradiction(scene, part, wanted=not wanted) is not None:
                text = scene.atom_text((part, wanted))
                is_whole = part == tree
                subject = what if is_whole else f"a part of {what}, {text},"
                self.inform(f"{subject} is always true where it is known", "leave it out if that is meant", *keys)

    def _mend(self, scene: Scene, core: tuple[tuple[ConditionPiece, bool], ...]) -> str:
        names = {scene.name_of(term) for atom, _ in core for term in terms_of(atom) if term.op is Op.FEATURE}
        keeping = [one for one in self.plan.features if one.name in names and one.keep]
        if len(core) == 1 and keeping:
            return f"let '{keeping[0].name}' keep more than {keeping[0].keep}, or ask for less"
        return "change the bounds, or write || where either is enough" if len(core) > 1 else "change the bound"


def _because(scene: Scene, core: tuple[tuple[ConditionPiece, bool], ...]) -> str:
    if not core:
        return ""
    told = " and ".join(scene.atom_text(atom) for atom in core)
    if len(core) > 1:
        return f": {told} do not go together"
    names = [term for term in terms_of(core[0][0]) if term.is_name]
    known = f", but {scene.name_of(names[0])} {scene.range_of(names[0])}" if len(names) == 1 else ""
    if len(names) == 1 and names[0].op is Op.FEATURE and scene.plan.features[int(names[0].arg)].keep:
        known += f" (keep: {scene.plan.features[int(names[0].arg)].keep})"
    return f": {told}{known}"


def _dead_parts(
    scene: Scene, term: ConditionPiece, *, wanted: bool
) -> Iterator[tuple[ConditionPiece, bool, tuple[tuple[ConditionPiece, bool], ...]]]:
    """Yield the alternatives that are none, with why. What is in a segment is said of the segment."""
    if term.segment:
        return
    if term.op is Op.NOT:
        yield from _dead_parts(scene, term.parts[0], wanted=not wanted)
    elif term.op in (Op.AND, Op.OR):
        for part in term.parts:
            core = contradiction(scene, part, wanted=wanted) if (term.op is Op.OR) == wanted else None
            if core is not None and part.op is not Op.CONST:
                yield part, wanted, core
            else:
                yield from _dead_parts(scene, part, wanted=wanted)


def _idle_parts(term: ConditionPiece, *, wanted: bool) -> Iterator[tuple[ConditionPiece, bool]]:
    """Yield the parts that all have to hold."""
    if term.segment:
        return
    if term.op is Op.NOT:
        yield from _idle_parts(term.parts[0], wanted=not wanted)
    elif term.op in (Op.AND, Op.OR) and (term.op is Op.AND) == wanted:
        for part in term.parts:
            yield from _idle_parts(part, wanted=wanted)
    else:
        yield term, wanted
