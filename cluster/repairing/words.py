"""What was found in a partition's log and what can be done about it, in plain words."""

from collections.abc import Sequence

from actors.log.examination import Examination, LogVerdict
from actors.log.remedy import KeptSnapshot, Remedy, RemedyKind


def explained(examination: Examination, remedy: Remedy, snapshots: Sequence[KeptSnapshot]) -> list[str]:
    """Return what was found, line by line, and what can be done about it."""
    begins, end = examination.prefix.first, examination.prefix.end
    lines = [f"{one.path}, byte {one.position}: {one.what}" for one in examination.problems[:5]]
    if len(examination.problems) > 5:
        lines.append(f"... and {len(examination.problems) - 5} more places")
    match examination.verdict:
        case LogVerdict.HEALTHY:
            lines.append(f"offsets {begins} to {end}, every record read and verified")
        case LogVerdict.TORN:
            lines.append(
                f"the last {examination.torn_bytes} bytes are a group that a crash interrupted while it was written: "
                f"never acknowledged, cut off at offset {end} when the log is opened. (Damage done later to the very "
                "last group looks the same; no snapshot says that there was one.)"
            )
        case LogVerdict.DAMAGED:
            lines.append(f"good up to offset {end}; this cannot come from a crash, so opening refuses it")
            lines += [
                f"behind the damage {run.count} good records were found, offsets {run.first} to {run.end}"
                for run in examination.runs[1:]
                if run.count
            ]
        case LogVerdict.NEWER | LogVerdict.UNREADABLE | LogVerdict.INTERRUPTED:
            pass
    good = [one for one in snapshots if not one.problem]
    if examination.verdict in (LogVerdict.DAMAGED, LogVerdict.TORN) and good:
        newest = max(one.position for one in good)
        if newest > end:
            lines.append(
                f"a good snapshot of offset {newest} proves that the log went further than {end}, "
                "and holds what those records did"
            )
    lines += [f"snapshot {one.path.name} is no good: {one.problem}" for one in snapshots if one.problem]
    return lines + _remedy_lines(remedy)


def _remedy_lines(remedy: Remedy) -> list[str]:
    lines: list[str] = []
    match remedy.kind:
        case RemedyKind.NOTHING:
            pass
        case RemedyKind.REBUILD:
            lines.append(f"--apply puts a log of the good records {remedy.begins} to {remedy.end} in its place")
            if remedy.snapshot is not None and remedy.begins > 0:
                lines.append(
                    f"what came before is in snapshot {remedy.snapshot.path.name}; the old records stay in the folder "
                    "set aside, `hearth explain` no longer finds decisions among them"
                )
            if not remedy.lost:
                lines.append("nothing that was acknowledged is lost from the partition's state")
        case RemedyKind.FINISH:
            lines.append("an earlier repair was interrupted; --apply finishes it")
        case RemedyKind.NEWER_VERSION:
            lines.append("nothing to repair: run the version of Hearth that wrote it")
        case RemedyKind.OTHER_STORAGE:
            lines.append(
                "the disk refuses to show it: see to the disk (dmesg, smartctl), or restore a backup elsewhere"
            )
        case RemedyKind.BACKUP:
            lines.append(
                "the log begins after offset 0, and no good snapshot covers what came before: restore the data "
                "directory from a backup; what is here cannot become a partition again"
            )
    for first, end in remedy.lost:
        lines.append(
            f"acknowledged records from offset {first} to before {end} would be set aside; a backup of the data "
            "directory that has them keeps more: restore it instead if there is one"
        )
    if remedy.snapshots_aside:
        lines.append(f"--apply sets {len(remedy.snapshots_aside)} damaged snapshot(s) aside; none is needed")
    return lines
