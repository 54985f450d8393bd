"""`hearth ingest`: files into a running Hearth."""

import time
from collections.abc import Sequence
from pathlib import Path

from cluster.client import connect, declared_fields
from cluster.config import utc_now
from cluster.errors import CommandFailed, UsageWrong, ending_as_commands_do
from cluster.interruptions import INTERRUPTED, interruptions
from cluster.output import meter, print_json, say
from intake.errors import IntakeFailed
from intake.files import FileSender, FileTally
from intake.reading.examine import SourceFile, as_declared, examine, fields_to_send
from intake.reading.mapping import Mapping, load_mapping
from intake.reading.rejects_file import RejectsFile
from intake.sender import Stopped
from wire.batches import FIELD_COUNT_MAX

PASSED_OVER_SHOWN_MAX = 10
"""Columns of a file that are told by name."""


@ending_as_commands_do()
def ingest(
    files: list[Path], *, mapping_name: str | None, file_format: str | None, target: str, is_strict: bool, as_json: bool
) -> int:
    """Send the files and return the exit code; the summary goes to stdout."""
    _check_names(files)
    mapping = load_mapping(mapping_name, now=utc_now()) if mapping_name is not None else None
    started_s = time.monotonic()
    with connect(target) as channel, RejectsFile(files, tell=say) as rejects:
        try:
            sources = _examined(files, mapping=mapping, file_format=file_format)
            declared = declared_fields(channel)
            sources = [as_declared(source, declared or {}) for source in sources]
            fields, passed_over = fields_to_send(sources, declared)
            _tell_passed_over(sources, passed_over)
        except KeyboardInterrupt:
            say("interrupted before anything was sent")
            return INTERRUPTED
        with interruptions() as is_stopping:
            sender = FileSender(
                channel, target=target, sources=sources, fields=fields, rejects=rejects, is_stopping=is_stopping
            )
            code = _send(sender)
    # A run that ended early leaves the rest unread; the balance is then that of what was acknowledged.
    summary = {
        **sender.tally.as_dict(),
        "complete": code != INTERRUPTED,
        "passed_over_fields": len(passed_over),
        "files": [_describe(source, rejects) for source in sources],
        "rejects_files": rejects.files,
        "target": target,
        "seconds": round(time.monotonic() - started_s, 3),
    }
    if as_json:
        print_json(summary)
    else:
        _print(sender.tally, sources, rejects)
    return code or _verdict(sender.tally, is_strict=is_strict)


def _check_names(files: list[Path]) -> None:
    names = [path.name for path in files]
    for name in names:
        if names.count(name) > 1:
            raise UsageWrong(
                f"{name} is named twice: rows get their ids from file name and row number, so each file of a run "
                "needs a name of its own"
            )


def _examined(files: list[Path], *, mapping: Mapping | None, file_format: str | None) -> list[SourceFile]:
    try:
        with meter("looking through", unit="bytes") as show:
            return [examine(path, mapping=mapping, file_format=file_format, show=show) for path in files]
    except IntakeFailed as failed:
        # Whatever a file is not, nothing of any was sent.
        raise UsageWrong(str(failed)) from failed


def _tell_passed_over(sources: list[SourceFile], fields: list[str]) -> None:
    for source in sources:
        if source.passed_over:
            say(f"{source.reader.name}: passed over: {_listed(source.passed_over)}")
    if fields:
        say(
            f"passed over: a request has at most {FIELD_COUNT_MAX} fields, and no playbook field needs "
            f"{_listed(fields)}"
        )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - PASSED_OVER_SHOWN_MAX
    return ", ".join(names[:PASSED_OVER_SHOWN_MAX]) + (f" and {more:,} more" if more > 0 else "")


def _send(sender: FileSender) -> int:
    total_note = "run it again to go on: what is already in comes back as duplicate"
    try:
        with meter("sending", unit="rows") as show:
            sender.run(show)
    except Stopped:
        tally = sender.tally
        tally.read = tally.sent + tally.unreadable
        say(
            f"interrupted after {tally.sent:,} acknowledged rows; the batch on its way may or may not be in; "
            f"{total_note}"
        )
        return INTERRUPTED
    except IntakeFailed as failed:
        raise CommandFailed(f"{failed}; {sender.tally.sent:,} rows are in, {total_note}") from failed
    return 0


def _verdict(tally: FileTally, *, is_strict: bool) -> int:
    if not tally.balances:
        say("the counts above do not balance; this is a defect of Hearth")
        return 1
    return int(is_strict and tally.unreadable + tally.rejected + tally.late > 0)


def _describe(source: SourceFile, rejects: RejectsFile) -> dict[str, object]:
    return {
        "file": source.reader.name,
        "rows": source.row_count,
        "unreadable": rejects.unreadable_by_name[source.reader.name],
        "in_order": source.is_sorted,
        "passed_over": list(source.passed_over),
    }


def _print(tally: FileTally, sources: list[SourceFile], rejects: RejectsFile) -> None:
    for source in sources:
        note = "" if source.is_sorted else ", not in order of time: sorted in memory"
        print(f"{source.reader.name}: {source.row_count:,} rows{note}")
    print(f"read {tally.read:,} = sent {tally.sent:,} + unreadable {tally.unreadable:,}")
    print(
        f"sent {tally.sent:,} = applied {tally.applied:,} + duplicate {tally.duplicate:,} + late {tally.late:,} "
        f"+ rejected {tally.rejected:,}"
    )
    if tally.rejected_by_reason:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(tally.rejected_by_reason.items()))
        print(f"why (of those Hearth described): {reasons}")
    if tally.rejected_by_field:
        fields = ", ".join(f"{name} {count:,}" for name, count in sorted(tally.rejected_by_field.items()))
        print(f"what was wrong with them: {fields}")
    if tally.unknown_fields:
        names = ", ".join(f"{name} {count:,}" for name, count in sorted(tally.unknown_fields.items()))
        print(f"fields that the playbook does not know, so nothing reads them: {names}")
    for path in rejects.files:
        print(f"rows that did not get in: {path}")
