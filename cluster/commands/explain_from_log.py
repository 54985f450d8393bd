"""`hearth explain --at`, `--journey`, `--timeline`: why this, and why not that, from the log alone."""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from google.protobuf import json_format
from rich.markup import escape

from cluster.backup import read_layout
from cluster.commands.dataset import log_failures
from cluster.commands.explain import tell
from cluster.commands.wording import zone_of
from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import log_reader
from cluster.output import print_json, stdout_console

if TYPE_CHECKING:
    from actors.exports.household_story import HouseholdStory, Opened
    from actors.exports.journey_standing import JourneyTold
    from hearth.v1 import household_pb2
    from household.state import PartitionState


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuestion:
    """What is asked of the log."""

    household: str
    """As it was asked for: its id, or what it is known by."""
    at_us: int | None
    """As of when; None for the newest record."""
    decision_id: str
    journey: str
    is_timeline: bool
    key: bytes = b""
    """Of a row by which it is known."""


def explain_from_log(config: HearthConfig, asked: LogQuestion, *, as_json: bool) -> int:
    """Print what the log tells of a household as of a time."""
    story = _story(config, asked, asked.household.encode())
    key = _known_by(story, asked)
    if key != asked.household.encode():
        # An identifier means who has it by then, nothing of who had it before; an id may be one of the graph alone.
        story = _story(config, asked, key)
    state = story.state
    if state is None or state.find(key)[0] < 0:
        when = f" by {_iso(asked.at_us)}" if asked.at_us is not None else ""
        raise CommandFailed(f"no signal had named household {asked.household}{when}, so there is nothing to explain")
    at_us = state.now_us if asked.at_us is None else asked.at_us
    asked = replace(asked, key=key)
    if asked.is_timeline:
        _timeline(asked, story, at_us, as_json=as_json)
    elif asked.journey:
        _journey(asked, story, state, at_us, as_json=as_json)
    else:
        _decision(asked, story, state, at_us, as_json=as_json)
    return 0


def _known_by(story: "HouseholdStory", asked: LogQuestion) -> bytes:
    """Return the key of a row by which whoever is asked for is known by then."""
    state, household = story.state, asked.household.encode()
    if state is None:
        return household
    return state.graph.named(household, b"", state.now_us if asked.at_us is None else asked.at_us)[0]


def _story(config: HearthConfig, asked: LogQuestion, household: bytes) -> "HouseholdStory":
    from actors.exports.household_story import told
    from actors.exports.point_in_time import LogTooShort, whole_from
    from actors.log.contract import PartitionId
    from actors.log.location import partition_reader
    from actors.snapshots.store import snapshot_store
    from wire.partitions import partition_of

    log_reader(config)  # tells whether there is a log
    count = int(read_layout(config.data_dir)["partition_count"])
    partition = PartitionId(partition_of(household, count))
    try:
        reader = partition_reader(config.log_location)
    except (ImportError, ValueError) as wrong:
        raise UsageWrong(str(wrong)) from wrong
    if partition not in reader.partitions():
        raise CommandFailed(f"the log has no partition {partition}, in which household {asked.household!r} would be")
    snapshots = snapshot_store(config.snapshot_location)

    def opened(partition: PartitionId) -> "Opened | None":
        if partition not in reader.partitions():
            return None
        start = whole_from(reader, snapshots, partition)
        return start, reader.read(partition, start.position)

    with log_failures():
        try:
            return told(partition, opened, household, until_us=asked.at_us, decision_id=asked.decision_id)
        except LogTooShort as short:
            raise CommandFailed(
                f"what was then cannot be told any more: {short}; setting log_retention_hours says how long the log "
                "is kept"
            ) from short
        except OSError as failed:
            raise CommandFailed(f"the snapshots cannot be listed: {failed}") from failed


# --- a timeline -------------------------------------------------------------------------------------------------------


def _timeline(asked: LogQuestion, story: "HouseholdStory", at_us: int, *, as_json: bool) -> None:
    lines = [one for one in story.lines if asked.journey in ("", one.journey) and one.time_us <= at_us]
    lines.sort(key=lambda one: one.time_us)
    if as_json:
        told = [{**asdict(one), "time": _iso(one.time_us)} for one in lines]
        print_json({"household": asked.household, "at": _iso(at_us), "timeline": told})
        return
    assert story.state is not None
    console, zone = stdout_console(), zone_of(story.state.plan.policy.time_zone)
    console.print(f"[bold]{escape(asked.household)}[/bold] up to {_local(at_us, zone)}, {len(lines)} lines")
    for one in lines:
        member = f"{one.member}: " if one.member else ""
        journey = f"  ({one.journey})" if one.journey and one.journey not in one.text else ""
        console.print(escape(f"  {_local(one.time_us, zone)}  {one.kind:<8}  {member}{one.text}{journey}"))


# --- a journey --------------------------------------------------------------------------------------------------------


def _journey(
    asked: LogQuestion, story: "HouseholdStory", state: "PartitionState", at_us: int, *, as_json: bool
) -> None:
    found = _told_of(story, state, asked, asked.journey, at_us)
    if as_json:
        print_json({"household": asked.household, "at": _iso(at_us), "journeys": [_plain(found)]})
        return
    zone = zone_of(state.plan.policy.time_zone)
    stdout_console().print(f"[bold]{escape(asked.household)}[/bold] at {_local(at_us, zone)}")
    _tell_journey(found, zone)


def _told_of(
    story: "HouseholdStory", state: "PartitionState", asked: LogQuestion, journey: str, at_us: int
) -> "JourneyTold":
    from actors.exports.journey_standing import journey_told

    if journey not in state.plan.journey_by_name:
        known = ", ".join(state.plan.journey_by_name)
        raise UsageWrong(f"the playbook in force then has no journey '{journey}'; it has {known}")
    row, _ = state.find(asked.key)
    return journey_told(state, row, journey, story.seen, story.fired.get(journey, {}), at_us)


def _tell_journey(found: "JourneyTold", zone: tzinfo) -> None:
    console = stdout_console()
    title = f": {found.title}" if found.title else ""
    control = "; the household is in its control group: it walks, and is never treated" if found.is_in_control else ""
    console.print(f"[bold]journey[/bold] {escape(found.journey + title + control)}")
    for one in found.instances:
        whose = f"{one.member}: " if one.member else ""
        entered = f"entered {_local(one.entered_us, zone)}"
        if one.ending:
            ended = f"out in '{one.state}' at {_local(one.ended_us, zone)}: {one.ending}"
            console.print(escape(f"  {whose}{entered}, {ended}"))
            continue
        until = f", until {_local(one.due_us, zone)} at most" if one.due_us is not None else ""
        console.print(escape(f"  {whose}{entered}, in '{one.state}' since {_local(one.since_us, zone)}{until}"))
        for waited in one.waits_for:
            console.print(escape(f"    waits for {waited}"))
    for absent in found.not_entered:
        whose = f"{absent.member} " if absent.member else ""
        console.print(escape(f"  {whose}is not in it, since"))
        for reason in absent.reasons:
            console.print(escape(f"    {reason}"))


def _plain(found: "JourneyTold") -> dict[str, object]:
    told = asdict(found)
    for one in told["instances"]:
        for key in ("entered", "since", "due", "ended"):
            time_us = one.pop(f"{key}_us")
            one[key] = _iso(time_us) if time_us else None
    return told


# --- a decision -------------------------------------------------------------------------------------------------------


def _decision(
    asked: LogQuestion, story: "HouseholdStory", state: "PartitionState", at_us: int, *, as_json: bool
) -> None:
    record = _record(story, state)
    if record is None and asked.decision_id:
        raise CommandFailed(f"household {asked.household} has no decision {asked.decision_id} in the log by then")
    with_states = [one.name for one in state.plan.journeys if one.flow is not None]
    journeys = [] if asked.decision_id else [_told_of(story, state, asked, name, at_us) for name in with_states]
    journeys = [one for one in journeys if one.instances]
    if as_json:
        decision = json_format.MessageToDict(record, preserving_proto_field_name=True) if record is not None else None
        told = [_plain(one) for one in journeys]
        print_json({"household": asked.household, "at": _iso(at_us), "decision": decision, "journeys": told})
        return
    zone = zone_of(state.plan.policy.time_zone)
    if record is None:
        stdout_console().print(f"{escape(asked.household)}: nothing was decided by {_local(at_us, zone)}")
    else:
        tell(record)
    for one in journeys:
        _tell_journey(one, zone)


def _record(story: "HouseholdStory", state: "PartitionState") -> "household_pb2.DecisionRecord | None":
    from actors.partition.answers import decision_record

    if story.newest is None:
        return None
    _, read, plan = story.newest
    return decision_record(state, read, plan, story.decisions.get(read.decision.stands))


def _iso(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, tz=UTC).isoformat(timespec="microseconds")


def _local(time_us: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(time_us / 1e6, tz=zone).strftime("%Y-%m-%d %H:%M:%S %Z")
