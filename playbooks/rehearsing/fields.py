"""The fields of a signal in a rehearsal, checked as the door checks those of any signal."""

from household.plan import EventField, Field, FieldKind, Plan
from playbooks import values
from playbooks.diagnostics import suggestion
from playbooks.reading import Reader
from wire.field_values import text_value
from written.problems import Place, Problems
from written.yaml_tree import Scalar


def read_values(
    plan: Plan, kind: int, written: Reader | None, place: Place, problems: Problems
) -> tuple[tuple[int, float], ...]:
    """Return the fields of a signal as the fold has them; one that the door would reject is reported.

    Args:
        plan: of the playbook.
        kind: index of the event type.
        written: its fields; None for none.
        place: of the signal.
        problems: where mistakes are noted.
    """
    event = plan.event_types[kind]
    found = []
    for use in event.fields:
        declared = plan.fields[use.field]
        scalar = written.scalar(declared.name) if written is not None else None
        if scalar is None:
            if use.required:
                wrong = f"'{event.name}' needs the field '{declared.name}'"
                problems.add(place, wrong, f"write 'with: {{{declared.name}: {_example(declared)}}}'")
            continue
        value = _value(scalar, plan, use, declared, problems)
        if value is not None:
            found.append((use.field, value))
    if written is not None:
        written.finish()
    return tuple(found)


def _example(declared: Field) -> str:
    match declared.kind:
        case FieldKind.ENUM:
            return declared.values[0]
        case FieldKind.FLAG:
            return "true"
        case FieldKind.NUMBER:
            return "1"
        case FieldKind.TEXT:
            return "…"


def _value(scalar: Scalar, plan: Plan, use: EventField, declared: Field, problems: Problems) -> float | None:
    value: float | None = None
    right = ""
    match declared.kind:
        case FieldKind.NUMBER:
            value, right = values.number(scalar.text), "write a number"
        case FieldKind.FLAG:
            value, right = {"true": 1.0, "false": 0.0}.get(scalar.text), "write true or false"
        case FieldKind.ENUM:
            if scalar.text in declared.values:
                value = text_value(scalar.text, plan, use.field)
            right = suggestion(scalar.text, declared.values, what="values")
        case FieldKind.TEXT:
            value = text_value(scalar.text, plan, use.field)
    if value is None:
        problems.add(scalar.place, f"'{declared.name}' is '{scalar.text}'", right)
    elif not use.least <= value <= use.most:
        wrong = f"'{declared.name}' is {scalar.text}, which the door rejects"
        problems.add(scalar.place, wrong, f"it is from {use.least:g} to {use.most:g}")
        return None
    return value
