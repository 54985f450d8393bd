"""`hearth features`: what was known of a household at a time, from the log alone, as a decision then would read it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite, isinf, isnan
from typing import TYPE_CHECKING

import numpy as np

from cluster.backup import read_layout
from cluster.commands.dataset import log_failures
from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import log_reader
from cluster.output import print_json, say

if TYPE_CHECKING:
    from actors.exports.point_in_time import Point
    from actors.log.contract import Offset, PartitionId
    from actors.log.location import PartitionReader
    from actors.snapshots.store import SnapshotStore
    from household.decision import Decision
    from household.plan import Feature
    from household.state import PartitionState


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesAsked:
    """Whose features, and as of when."""

    household: str
    member: str | None
    """None: of each member, and of the household alone."""
    at_us: int | None
    """None: as of the newest record, or of a decision."""
    decision_id: str


@dataclass(slots=True, kw_only=True, eq=False)
class _Told:
    """What was known."""

    at_us: int
    playbook_version: str
    schema_hash: str
    scored: tuple[str, ...]
    features: dict[str, dict[str, object]] = field(default_factory=dict)
    """By member, "" for the household alone: every feature by its name."""
    vectors: dict[str, list[float | None]] = field(default_factory=dict)
    """By member: the scored features as models see them, float32, null for not known."""
    decision: dict[str, object] | None = None


def features_at(config: HearthConfig, asked: FeaturesAsked, *, as_json: bool) -> int:
    """Print the features of a household as of a time; exit code 1 where a decision recorded others for that time."""
    from actors.log.contract import PartitionId
    from actors.log.location import partition_reader
    from wire.partitions import partition_of

    log_reader(config)  # tells whether there is a log
    count = int(read_layout(config.data_dir)["partition_count"])
    partition = PartitionId(partition_of(asked.household.encode(), count))
    try:
        reader = partition_reader(config.log_location)
    except (ImportError, ValueError) as wrong:
        raise UsageWrong(str(wrong)) from wrong
    with log_failures():
        told = _looked_up(config, reader, partition, asked)
    if as_json:
        print_json(_json(asked, told))
    else:
        _print(asked, told)
    if told.decision is not None and not told.decision["equal"]:
        say(f"decision {told.decision['decision_id']} recorded other features than the log folds to")
        return 1
    return 0


def _looked_up(
    config: HearthConfig, reader: "PartitionReader", partition: "PartitionId", asked: FeaturesAsked
) -> _Told:
    """Return what was known at the point that is asked for, wherever the household lay then.

    Raises:
        CommandFailed: nothing was, or the log does not reach back so far.
    """
    from actors.exports.point_in_time import LogTooShort
    from actors.snapshots.store import snapshot_store

    if partition not in reader.partitions():
        raise CommandFailed(f"the log has no partition {partition}, in which household {asked.household!r} would be")
    looking = _Looking(asked, reader, snapshot_store(config.snapshot_location))
    try:
        found = looking.named(partition) if asked.decision_id else looking.then(partition)
    except LogTooShort as short:
        raise CommandFailed(
            f"what was known at {_time(looking.as_of_us)} cannot be told any more: {short}, and no snapshot is older; "
            "setting log_retention_hours says how long the log is kept"
        ) from short
    except OSError as failed:
        raise CommandFailed(f"the snapshots cannot be listed: {failed}") from failed
    if found is None:
        raise CommandFailed(f"nothing was known of household {asked.household!r} at {_time(looking.as_of_us)}")
    return found


class _Looking:
    """Looks through the logs of partitions for a household."""

    def __init__(self, asked: FeaturesAsked, reader: "PartitionReader", snapshots: "SnapshotStore") -> None:
        self._asked, self._reader, self._snapshots = asked, reader, snapshots
        self.as_of_us = 0
        """Of the point at which it looked last."""

    def named(self, first: "PartitionId") -> _Told | None:
        """Return what the decision that is named saw: it stands where it was made, and that was then known there."""
        others = (one for one in self._reader.partitions() if one != first)
        for partition in (first, *others):
            if (made := self._decision(partition)) is not None:
                return self._seen_by(partition, *made)
        asked = self._asked
        raise CommandFailed(f"household {asked.household!r} has no decision {asked.decision_id} in the log")

    def then(self, first: "PartitionId") -> _Told | None:
        """Return what was known as of a time; what a decision saw, if one was made at that very time."""
        from actors.exports.across_partitions import lying

        found = lying(self._asked.household.encode(), first, lambda one: self._state_at(one, self._point(one)))
        if found is None:
            return None
        if self._asked.at_us is not None and (made := self._decision(found.partition)) is not None:
            return self._seen_by(found.partition, *made)
        return _told(found.state, self._asked, self._point(found.partition), None)

    def _seen_by(self, partition: "PartitionId", offset: "Offset", decision: "Decision") -> _Told | None:
        from actors.exports.point_in_time import Point

        point = Point.of(0, decision, offset)
        state = self._state_at(partition, point)
        return None if state is None else _told(state, self._asked, point, decision)

    def _point(self, partition: "PartitionId") -> "Point":
        """Return the time that is asked for, or that of the newest record of a partition."""
        from actors.exports.point_in_time import Point
        from actors.log.contract import LOG_START

        at_us = self._asked.at_us
        if at_us is None:
            at_us = max((stored.record.stamp_us for stored in self._reader.read(partition, LOG_START)), default=0)
        return Point(number=0, as_of_us=at_us)

    def _state_at(self, partition: "PartitionId", point: "Point") -> "PartitionState | None":
        from actors.exports.point_in_time import start_before, states_at

        self.as_of_us = point.as_of_us
        start = start_before(self._snapshots, partition, [point])
        found = states_at(start, self._reader.read(partition, start.position), [point])
        return next((state for _, state in found), None)

    def _decision(self, partition: "PartitionId") -> "tuple[Offset, Decision] | None":
        """Return the decision that is named, or the newest that was made at that very time; None where none was."""
        from actors.exports.point_in_time import decisions_in_force
        from actors.log.contract import LOG_START

        asked, found = self._asked, None
        for offset, decision in decisions_in_force(
            self._reader.read(partition, LOG_START), of=asked.household.encode()
        ):
            if asked.member is not None and decision.member != asked.member.encode():
                continue
            is_named = decision.decision_id == asked.decision_id
            if is_named or (not asked.decision_id and decision.decided_us == asked.at_us):
                found = (offset, decision)
        return found


def _told(state: "PartitionState", asked: FeaturesAsked, point: "Point", decision: "Decision | None") -> _Told:
    from household.scoring import schema_hash, state_vector
    from household.state import NO_HOUSEHOLD

    household = asked.household.encode()
    plan = state.plan
    told = _Told(
        at_us=point.as_of_us,
        playbook_version=plan.version,
        schema_hash=schema_hash(plan),
        scored=tuple(plan.features[index].name for index in plan.scored_features),
    )
    if decision is None:
        # An identifier means who has it by then, and nothing of who had it before.
        household = state.graph.named(household, b"", point.as_of_us)[0]
    row, _ = state.find(household)
    if row == NO_HOUSEHOLD and decision is None:
        raise CommandFailed(f"nothing was known of household {asked.household!r} at {_time(point.as_of_us)}")
    for member, (of, member_row) in _members(state, row, asked, decision).items():
        readings = np.full(len(plan.features), np.nan)
        if of != NO_HOUSEHOLD:
            readings = state.readings(of, member_row, point.as_of_us)
        vector, name = state_vector(plan, readings), member.decode(errors="backslashreplace")
        told.vectors[name] = [None if isnan(one) else one for one in vector.tolist()]
        told.features[name] = {
            feature.name: _reading(feature, float(reading))
            for feature, reading in zip(plan.features, readings, strict=True)
        }
        if decision is not None and member == decision.member:
            recorded = np.asarray(decision.state_vector, np.float32)
            told.decision = {"decision_id": decision.decision_id, "member": name}
            told.decision["equal"] = vector.tobytes() == recorded.tobytes()
    return told


def _members(
    state: "PartitionState", row: int, asked: FeaturesAsked, decision: "Decision | None"
) -> dict[bytes, tuple[int, int]]:
    """Return whose features are told, by key, with the rows they are read by: one who is named, or each and nobody."""
    from household.state import NO_HOUSEHOLD, NO_MEMBER

    found = {b"": (row, NO_MEMBER)}
    if row != NO_HOUSEHOLD:
        # Of a household that is known under several keys, those of the key that was asked for go first.
        for of in dict.fromkeys((row, *state.rows_together(row))):
            for child in state.members.children(of):
                found.setdefault(state.members.key(child), (of, child))
    household = asked.household.encode()
    if asked.member is not None:
        key = asked.member.encode()
        if key not in found and decision is None:
            known = ", ".join(repr(one.decode(errors="backslashreplace")) for one in found if one) or "nobody"
            nobody = f"nothing was known of member {asked.member!r} of household {asked.household!r} by then"
            raise CommandFailed(f"{nobody}, only of {known}")
        return {key: found[key] if decision is None else state.find(household, key)}
    if decision is not None:
        found[decision.member] = state.find(household, decision.member)
    return found


def _reading(feature: "Feature", reading: float) -> object:
    """Return a reading for people and JSON: a label, a flag, "never", None for not known."""
    if isnan(reading):
        return None
    if isinf(reading):
        return "never" if reading > 0 else "-never"
    if feature.values and 0 <= reading < len(feature.values):
        return feature.values[int(reading)]
    return bool(reading) if feature.result == "bool" else reading


def _json(asked: FeaturesAsked, told: _Told) -> dict[str, object]:
    return {
        "household": asked.household,
        "at": _time(told.at_us),
        "playbook_version": told.playbook_version,
        "feature_schema_hash": told.schema_hash,
        "features": told.features,
        "columns": list(told.scored),
        "vectors": told.vectors,
        "decision": told.decision,
    }


def _print(asked: FeaturesAsked, told: _Told) -> None:
    print(f"{asked.household} as of {_time(told.at_us)}, under playbook {told.playbook_version}")
    if told.decision is not None:
        told_by = (
            "as decision {decision_id} read it" if told.decision["equal"] else "NOT as decision {decision_id} read it"
        )
        print(f"  {told_by.format(**told.decision)}")
    for member, features in told.features.items():
        print(f"member {member}" if member else "household alone")
        for name, value in features.items():
            number = f"{value:.9g}" if isinstance(value, float) and isfinite(value) else value
            print(f"  {name}: {'not known' if value is None else number}")


def _time(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, tz=UTC).isoformat(timespec="microseconds")
