"""Warnings for sense about answers: what a journey waits for and would not hear."""

from collections.abc import Iterator

from household.plan import END, Journey, JourneyStep, StepKind
from playbooks.remarks import Check, duration

ANSWERS = ("hearth.accept", "hearth.decline")


class AnswerSense(Check):
    """Waits for nothing but an answer that go on when what was said has expired: a word on that is none."""

    def look(self) -> None:
        answers = {self.plan.event_type_by_name[name] for name in ANSWERS}
        for journey in self.plan.journeys:
            for act, wait in _said_and_waited(journey):
                assert act.act is not None
                assert wait.timer is not None
                valid_us = min((self.plan.offers[index].valid_us for index in act.act.offers), default=None)
                listens = bool(wait.waits) and all(answers.issuperset(one.events) for one in wait.waits)
                if valid_us is not None and listens and wait.timer.after_us > valid_us:
                    wrong = (
                        f"state '{wait.name}' of journey '{journey.name}' waits {duration(wait.timer.after_us)} for an "
                        f"answer to what '{act.name}' says, which is valid for {duration(valid_us)}"
                    )
                    right = "let the offers be valid for longer, or the wait end before: what is over is not heard"
                    self.warn(wrong, right, "journeys", journey.name, "states", wait.name)


def _said_and_waited(journey: Journey) -> Iterator[tuple[JourneyStep, JourneyStep]]:
    """Yield each state that acts, with the wait that follows it at once."""
    steps = journey.flow.steps if journey.flow is not None else ()
    for step in steps:
        if step.kind is StepKind.ACT and step.target != END and steps[step.target].kind is StepKind.WAIT:
            yield step, steps[step.target]
