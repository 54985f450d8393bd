"""What a caller is told when a shard does not do what it was asked: from what went wrong to its failure and words."""

from collections.abc import Iterable
from typing import Final, TypeAlias, assert_never, get_args

from google.protobuf.message import DecodeError

from actors.conditions import NotCurrent, Overloaded, PartitionLost, PartitionMoved, WhyNotCurrent
from actors.log.contract import LogError
from actors.partition.attempts import ChannelGone
from actors.partition.decider import NotSettled
from actors.partition.requests import RequestIdReused
from actors.records.payload import PayloadUnreadable
from actors.snapshots.facts import SnapshotFailed
from household.plan import Plan
from household.relocation.whereabouts import LiesElsewhere
from wire.failures import CallFailed, Failure, FieldViolation, failed

Refusal: TypeAlias = (
    NotCurrent
    | SnapshotFailed
    | PartitionLost
    | NotSettled
    | LogError
    | Overloaded
    | PayloadUnreadable
    | RequestIdReused
    | DecodeError
    | ChannelGone
    | LiesElsewhere
)
"""What may go wrong with a call though nothing is wrong with the shard."""

REFUSALS: Final = get_args(Refusal)
"""The same for `except`."""


def refused(wrong: Refusal, partition: int) -> CallFailed:
    """Return what the caller is told of it; the shard raises it."""
    match wrong:
        case NotCurrent():
            return failed(wrong.why, f"partition {partition}: {_why_not_current(wrong.why)}; try again")
        case SnapshotFailed():
            return failed(Failure.SNAPSHOT_FAILED, str(wrong))
        case PartitionMoved():
            return _moving(partition)
        case PartitionLost() | NotSettled() | LogError():
            text = f"partition {partition} cannot prove its state is current ({type(wrong).__name__}); try again"
            return failed(Failure.PARTITION_UNAVAILABLE, text)
        case Overloaded():
            return failed(Failure.SIGNALS_WAITING, f"partition {partition} has too many signals waiting")
        case PayloadUnreadable():
            return failed(Failure.BAD_BATCH, str(wrong))
        case RequestIdReused():
            return _invalid(
                Failure.REQUEST_ID_REUSED,
                "this request_id was used for another request of this household; every request needs one of its own",
                field="request_id",
                wanted="one that no other request has",
            )
        case ChannelGone() if wrong.channel in wrong.plan.channel_by_name:
            return not_inbound(wrong.channel, wrong.plan)
        case ChannelGone():
            return unknown_channel(wrong.channel, wrong.plan.channel_by_name)
        case LiesElsewhere():
            text = f"what is asked about lies in partition {wrong.partition}"
            return failed(Failure.MOVED, text, metadata={"partition": str(wrong.partition)})
        case DecodeError():
            return failed(Failure.BAD_CALL, "not the message of its method")
    assert_never(wrong)


def _why_not_current(why: WhyNotCurrent) -> str:
    match why:
        case Failure.LEASE_EXPIRED:
            return "its shard cannot prove at present that it is still the owner"
        case Failure.CLOCK_UNCONFIRMED:
            return "the machine's clock has jumped, and nobody has confirmed it yet"
    assert_never(why)


def _moving(partition: int) -> CallFailed:
    text = f"partition {partition} is moving to another shard; nothing was done"
    return failed(Failure.NOT_OWNED_HERE, text, metadata={"partition": str(partition)})


def not_owned(partition: int, shard: str) -> CallFailed:
    """Return what an edge is told that asked the wrong shard."""
    text = f"partition {partition} is not owned by {shard}"
    return failed(Failure.NOT_OWNED_HERE, text, metadata={"partition": str(partition)})


def unknown_channel(channel: str, known: Iterable[str], *, field: str = "channel") -> CallFailed:
    """Return what a caller is told who names a channel that the playbook does not have."""
    listed = ", ".join(sorted(known))
    return _invalid(
        Failure.UNKNOWN_CHANNEL,
        f"channel {channel!r} is not one of the playbook's: {listed}",
        field=field,
        wanted=f"{channel!r} is none of the playbook's channels; wanted one of {listed}",
    )


def not_inbound(channel: str, plan: Plan) -> CallFailed:
    """Return what a caller is told who asks on a channel that only sends."""
    inbound = ", ".join(one.name for one in plan.channels if one.inbound)
    return _invalid(
        Failure.CHANNEL_NOT_INBOUND,
        f"nobody asks on channel {channel!r}: what goes out there is decided by moments and streamed by Subscribe",
        field="channel",
        wanted=f"one that the playbook declares inbound: {inbound}",
    )


def unknown_group(group: str, channel: str, known: Iterable[str]) -> CallFailed:
    """Return what a subscriber is told that names a group which is not one of the channel's."""
    listed = ", ".join(known)
    return _invalid(
        Failure.UNKNOWN_GROUP,
        f"group {group!r} is not one of channel {channel!r}'s, which are {listed}",
        field="group",
        wanted=f"one of {listed}",
    )


def _invalid(failure: Failure, message: str, *, field: str, wanted: str) -> CallFailed:
    return failed(failure, message, violations=(FieldViolation(field=field, description=wanted),))


def check_asks_on(plan: Plan, channel: str) -> None:
    """Raise unless a channel is one on which members come to us.

    Raises:
        CallFailed
    """
    channels = plan.channel_by_name
    if channel not in channels:
        raise unknown_channel(channel, channels)
    if not plan.channels[channels[channel]].inbound:
        raise not_inbound(channel, plan)
