"""`hearth playbook simulate --mode replay|paths`: a log decided once more, and the paths of a playbook's journeys."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.backup import read_layout
from cluster.commands.dataset import log_failures
from cluster.config import HearthConfig, shipped_playbook
from cluster.data_dir import LAYOUT_NAME
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import log_partitions
from cluster.installation import installation_of
from cluster.output import meter, print_json
from cluster.playbook_versions import kept, kept_versions
from cluster.remembered_playbook import recall
from household.plan import Plan, plan_from_bytes
from household.plan.earlier import without_earlier
from playbooks.compiler import examine
from playbooks.simulating.paths import JourneyPaths, StatePath, walk_paths

MISTAKES_TOLD = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PathsAsked:
    """Which paths are to be walked."""

    journeys: Sequence[str]
    """Names; all of the playbook if none are named."""
    seed: int
    instances: int
    """Of a journey at most."""


def plan_named(config: HearthConfig, name: str | None) -> Plan:
    """Return the plan that is meant: of a file or folder, a version that is kept, or a playbook that ships.

    Without a name the one in force on the data directory; where there is none, the telco that ships.

    Raises:
        UsageWrong: there is none by that name, or it has mistakes.
        CommandFailed: what is remembered of it cannot be read.
    """
    if name is None:
        found = recall(config.data_dir)
        return plan_from_bytes(found[1]) if found is not None else _compiled(shipped_playbook("telco"))
    if Path(name).exists():
        return _compiled(Path(name))
    if any(one.startswith(name) for one in kept_versions(config.data_dir)):
        return kept(config.data_dir, name).plan
    if "/" not in name and shipped_playbook(name).is_dir():
        return _compiled(shipped_playbook(name))
    raise UsageWrong(
        f"there is no playbook {name}; name its folder, its YAML file, or a version of `hearth playbook history`"
    )


def _compiled(path: Path) -> Plan:
    examined = examine(path)
    if examined.plan is not None:
        return examined.plan
    told = [f"{one.place}: {one.wrong}" + (f" - {one.right}" if one.right else "") for one in examined.problems]
    more = [f"and {len(told) - MISTAKES_TOLD} more"] if len(told) > MISTAKES_TOLD else []
    raise UsageWrong("\n".join([f"{path} has mistakes, and nothing is simulated:", *told[:MISTAKES_TOLD], *more]))


# --- paths ------------------------------------------------------------------------------------------------------------


def simulate_paths(config: HearthConfig, playbook: str | None, asked: PathsAsked, *, as_json: bool) -> int:
    """Walk generated instances through a playbook's journeys; exit code 1 if something of it cannot be reached."""
    plan = without_earlier(plan_named(config, playbook))
    known = [one.name for one in plan.journeys]
    for name in asked.journeys:
        if name not in known:
            raise UsageWrong(f"the playbook {plan.name} has no journey '{name}'; it has {', '.join(known)}")
    with meter("walking", unit="journeys") as show:
        found = walk_paths(plan, seed=asked.seed, instances_most=asked.instances, journeys=asked.journeys, show=show)
    unreachable = sum(one.unreachable for one in found)
    if as_json:
        told = [_plain(one) for one in found]
        print_json(
            {"mode": "paths", "playbook": plan.name, "version": plan.version, "seed": asked.seed}
            | {"ok": not unreachable, "unreachable": unreachable, "journeys": told}
        )
    else:
        print(f"playbook {plan.name}, version {plan.version}, seed {asked.seed}")
        for one in found:
            _tell(one)
        print("every state and every way is reached" if not unreachable else f"{unreachable} cannot be reached")
    return 1 if unreachable else 0


def _tell(found: JourneyPaths) -> None:
    ways = sum(len(one.ways) for one in found.states)
    by = f"{found.instances:,} instances" if found.instances else "no states: what its moments bring up"
    print(f"{found.journey}: {len(found.states)} states, {ways} ways; {by}")
    for state in found.states:
        if state.why_not:
            print(f"  {state.name} cannot be reached: {state.why_not}")
            continue
        for way in state.ways:
            if way.why_not:
                print(f"  {state.name}, {way.name} -> {way.leads_to} cannot be gone: {way.why_not}")


def _plain(found: JourneyPaths) -> dict[str, object]:
    return {
        "journey": found.journey,
        "instances": found.instances,
        "states": [_plain_state(one) for one in found.states],
    }


def _plain_state(one: StatePath) -> dict[str, object]:
    ways = [
        {"way": way.name, "leads_to": way.leads_to, "gone": way.gone, "why_not": way.why_not or None}
        for way in one.ways
    ]
    return {"state": one.name, "reached": one.reached, "why_not": one.why_not or None, "ways": ways}


# --- replay -----------------------------------------------------------------------------------------------------------


def simulate_replay(config: HearthConfig, *, as_json: bool) -> int:
    """Decide once more what a log says was decided; exit code 1 if anything comes out otherwise."""
    from actors.exports.point_in_time import LogTooShort, whole_from
    from actors.exports.redeciding import Redecided, redecided
    from actors.log.contract import PartitionId
    from actors.snapshots.store import snapshot_store
    from household.contact_rules.share import CapacityShare

    count, reader = partition_count(config), log_partitions(config)
    snapshots = snapshot_store(config.snapshot_location)
    decisions, differing, first = 0, 0, None
    first_differing: Redecided | None = None
    with meter("deciding once more", unit="partitions") as show, log_failures():
        for done, number in enumerate(partitions := sorted(reader.partitions())):
            partition = PartitionId(number)
            share = CapacityShare(partition, max(count, partition + 1))
            try:
                start = whole_from(reader, snapshots, partition)
                for one in redecided(start, reader.read(partition, start.position), share=share):
                    decisions += 1
                    if one.difference is not None:
                        differing += 1
                        if first_differing is None:
                            first, first_differing = partition, one
            except LogTooShort as short:
                raise CommandFailed(f"the log cannot be folded again: {short}") from short
            show(done + 1, len(partitions))
    told = None if first_differing is None else _difference(config, int(first or 0), first_differing)
    if as_json:
        print_json(
            {"mode": "replay", "ok": not differing, "decisions": decisions, "equal": decisions - differing}
            | {"partitions": len(partitions), "first_difference": told}
        )
    elif told is None:
        print(f"{decisions:,} decisions of {len(partitions)} partitions made once more: all equal to the last bit")
    else:
        print(f"{differing:,} of {decisions:,} decisions come out OTHERWISE; the first is")
        print(f"  decision {told['decision']} of household {told['household']}, partition {first}, at {told['offset']}")
        print(f"  in {told['field']}: the log has {told['logged']}")
        print(f"  and made once more it is {told['made']}")
    return 1 if differing else 0


def _difference(config: HearthConfig, partition: int, one: "object") -> dict[str, object]:
    from actors.exports.redeciding import Redecided

    assert isinstance(one, Redecided)
    assert one.difference is not None
    return {
        "partition": partition,
        "offset": one.offset,
        "decision": one.decision.decision_id,
        "household": pseudonym_of(config, one.decision.household),
        "playbook_version": one.decision.plan_version,
        "field": one.difference.field,
        "logged": one.difference.logged,
        "made": one.difference.made,
    }


def partition_count(config: HearthConfig) -> int:
    """Return in how many partitions the households of a data directory lie.

    Raises:
        UsageWrong: there is no such data directory.
    """
    if not (config.data_dir / LAYOUT_NAME).is_file():
        raise UsageWrong(f"{config.data_dir} is no data directory of Hearth, so there is no log to simulate")
    return int(read_layout(config.data_dir)["partition_count"])


def pseudonym_of(config: HearthConfig, household: bytes) -> str:
    """Return by what a household stands where people look."""
    return installation_of(config.data_dir).pseudonym(household.decode(errors="backslashreplace"))
