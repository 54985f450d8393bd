"""The mappings used when none is given: columns named as the parts of a signal, and CloudEvents."""

from cluster.reading.mapping import ColumnText, FileMapping, TimeSource

PLAIN_COLUMNS = ("event_id", "type", "household", "member", "time")


def plain_mapping(columns: list[str]) -> FileMapping:
    """Return the mapping for columns event_id, type, household, member, time; every other column is a field."""
    optional = {name: ColumnText(column=name) for name in ("event_id", "member") if name in columns}
    return FileMapping(
        type=ColumnText(column="type"),
        household=ColumnText(column="household"),
        time=TimeSource(column="time"),
        fields="*",
        **optional,
    )


def cloudevents_mapping(columns: list[str]) -> FileMapping:
    """Return the mapping for CloudEvents: identity is source and id, the subject is the household, data the fields."""
    optional = {"member": ColumnText(column="member")} if "member" in columns else {}
    return FileMapping(
        format="cloudevents",
        event_id="{source}#{id}",
        type=ColumnText(column="type"),
        household=ColumnText(column="household" if "household" in columns else "subject"),
        time=TimeSource(column="time"),
        fields="*",
        **optional,
    )
