"""`hearth capture`: an operator's topics into a running Hearth, in the foreground."""

import time
from pathlib import Path

from cluster.capture_actor import connector
from cluster.errors import CommandFailed, UsageWrong, ending_as_commands_do
from cluster.interruptions import interruptions
from cluster.output import print_json, say
from intake.capture.connector import Connector
from intake.capture.settings import CaptureSettings, checked_settings
from intake.errors import IntakeFailed
from intake.reading.yaml_file import read_yaml
from written.problems import WritingInvalid

SHOWN_EVERY_S = 5.0


@ending_as_commands_do()
def settings_of(
    *,
    topics: str,
    bootstrap: str,
    message_format: str,
    mapping: str,
    group: str,
    member: str,
    kafka_settings: Path | None,
) -> CaptureSettings:
    """Return the connector that a command line asks for.

    Raises:
        UsageWrong: it cannot be.
    """
    given = {
        "topics": tuple(topic.strip() for topic in topics.split(",") if topic.strip()),
        "bootstrap": bootstrap,
        "format": message_format,
        "mapping": mapping,
        "group": group,
        "member": member,
        "kafka": {} if kafka_settings is None else _read_settings(kafka_settings),
    }
    return checked_settings("capture", given)


def _read_settings(path: Path) -> object:
    try:
        return read_yaml(path, name=str(path), example="security.protocol: SSL")
    except (OSError, WritingInvalid) as failed:
        raise UsageWrong(
            f"Kafka settings cannot be read from {path}: {'; '.join(str(failed).splitlines())}"
        ) from failed


@ending_as_commands_do()
def capture(settings: CaptureSettings, *, target: str, as_json: bool) -> int:
    """Run until Ctrl-C and return the exit code; the summary goes to stdout.

    Raises:
        CommandFailed: going on could not help; what was acknowledged is committed.
    """
    started_s = time.monotonic()
    with connector(settings, target) as found, interruptions() as is_stopping:
        say(f"capturing {', '.join(settings.topics)} from {settings.bootstrap} into {target}; Ctrl-C ends it")
        try:
            found.run(is_stopping, _Progress())
        except IntakeFailed as failed:
            raise CommandFailed(f"{failed}; {found.tally.read:,} messages are in, run it again to go on") from failed
    tally = found.tally
    summary = {
        **tally.as_dict(),
        "gone": found.gone_count,
        "waiting": found.waiting,
        "target": target,
        "seconds": round(time.monotonic() - started_s, 3),
    }
    if as_json:
        print_json(summary)
    else:
        _print(found)
    if not tally.balances:
        say("the counts above do not balance; this is a defect of Hearth")
        return 1
    return 0


class _Progress:
    """A line on stderr now and then, while something moves or something is wrong."""

    def __init__(self) -> None:
        self._next_s = time.monotonic() + SHOWN_EVERY_S
        self._shown: tuple[int, int, str] = (0, 0, "")

    def __call__(self, found: Connector) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + SHOWN_EVERY_S
        state = found.tally.read, found.gone_count, found.trouble
        if state != self._shown:
            self._shown = state
            say(_line(found))


def _line(found: Connector) -> str:
    lag, tally = found.lag, found.tally
    parts = [f"{tally.read:,} in", f"lag {'not known' if lag is None else f'{lag:,}'}", f"waiting {found.waiting:,}"]
    if found.is_paused:
        parts.append("reading is paused")
    if found.gone_count:
        parts.append(f"{found.gone_count:,} were deleted from their topic before they were read")
    if found.trouble:
        parts.append(found.trouble)
    return "; ".join(parts)


def _print(found: Connector) -> None:
    tally = found.tally
    print(
        f"read {tally.read:,} = sent {tally.sent:,} + unreadable {tally.unreadable:,} + tombstones {tally.tombstones:,}"
    )
    print(
        f"sent {tally.sent:,} = applied {tally.applied:,} + duplicate {tally.duplicate:,} + late {tally.late:,} "
        f"+ rejected {tally.rejected:,}"
    )
    if tally.unreadable:
        print("unreadable messages are kept: hearth rejects list")
    if found.gone_count:
        print(f"{found.gone_count:,} messages were deleted from their topic before they were read")
