"""The mappings used when none is given: columns named as the parts of a signal, and CloudEvents."""

from intake.reading.mapping import SOURCE_AND_ID, ColumnText, FileMapping, TimeSource

PLAIN_COLUMNS = ("event_id", "type", "household", "member", "time")


def plain_mapping(columns: list[str]) -> FileMapping:
    """Return the mapping for columns event_id, type, household, member, time; every other column is a field.

    Without a column household, a column identifier says whom a row is about.
    """
    optional = {name: ColumnText(column=name) for name in ("event_id", "member") if name in columns}
    whom = "identifier" if "identifier" in columns and "household" not in columns else "household"
    if whom == "identifier":
        optional.pop("member", None)
    return FileMapping(
        type=ColumnText(column="type"),
        **{whom: ColumnText(column=whom)},
        time=TimeSource(column="time"),
        fields="*",
        **optional,
    )


def cloudevents_mapping(columns: list[str]) -> FileMapping:
    """Return the mapping for CloudEvents: identity is source and id, data the fields.

    The household is the extension attribute `household`, or else, event by event, the subject.
    """
    optional = {"member": ColumnText(column="member")} if "member" in columns else {}
    households = [name for name in ("household", "subject") if name in columns] or ["subject"]
    return FileMapping(
        format="cloudevents",
        event_id=SOURCE_AND_ID,
        type=ColumnText(column="type"),
        household=ColumnText(column=households[0], else_column=households[1] if len(households) > 1 else None),
        time=TimeSource(column="time"),
        fields="*",
        **optional,
    )
