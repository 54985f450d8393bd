"""How often an instance was in each state that acts, as its row has it: `invite=1,remind=2`."""

from household.journeys.course import Course
from household.journeys.walk import Walk


def visits_of(course: Course, text: bytes, where: str) -> tuple[dict[int, int], dict[str, int]]:
    """Return the visits to the states that there are, and to those that are no more, of one that is in a state."""
    visits, former = dict[int, int](), dict[str, int]()
    beside = course.step_by_name.get(where, 0)
    for part in filter(None, text.decode().split(",")):
        name, _, count = part.partition("=")
        step = course.step_of(name, beside)
        if step is not None:
            visits[step] = int(count)
        else:
            former[name] = int(count)
    return visits, former


def visits_text(course: Course, walk: Walk) -> bytes:
    """Return how often an instance was in each state that acts, by the names that states have in their own version."""
    visits = walk.former_visits | {course.plain_names[step]: count for step, count in walk.visits.items()}
    return ",".join(f"{name}={count}" for name, count in visits.items()).encode()
