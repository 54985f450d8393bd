"""`hearth rejects`: look at what could not be accepted, and send it again once the reason is gone."""

import re
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from actors.log.contract import LogError
from actors.log.location import logs_beside_owner
from actors.records.payload import PayloadUnreadable
from actors.rejects.entries import (
    KeptReject,
    Reject,
    event_of,
    rejects_among,
    replay_id,
)
from cluster.client import connect
from cluster.config import HearthConfig, utc_now
from cluster.data_dir import LAYOUT_NAME
from cluster.errors import CommandFailed, UsageWrong, ending_as_commands_do
from cluster.instants import instant_us
from cluster.interruptions import INTERRUPTED, interruptions
from cluster.output import meter, print_json, say
from intake.replaying import Replayed, Replayer, ToReplay

SHOWN_BYTES_MAX = 512
"""Of an original, on the screen; --output writes all of it."""

SHOWN_TEXT_MAX = 200

_AGO = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def list_rejects(
    config: HearthConfig, *, reason: str | None, partition: int | None, since: str | None, limit: int, as_json: bool
) -> int:
    """Print the newest rejects, and how many there are for each reason."""
    since_us = _since_us(since)
    counts: Counter[str] = Counter()
    replayed = 0
    newest: deque[tuple[int, int, dict[str, object]]] = deque()
    for number, one in enumerate(_all(config)):
        reject = one.reject
        if (reason and reject.reason != reason) or (partition is not None and one.partition != partition):
            continue
        if reject.at_us < since_us:
            continue
        counts[reject.reason] += 1
        replayed += bool(one.outcomes)
        newest.append((reject.at_us, number, _summary(one)))
        if limit and len(newest) >= 2 * limit:
            newest = deque(sorted(newest)[-limit:])
    shown = [summary for _, _, summary in sorted(newest)[-limit if limit else 0 :]]
    if as_json:
        by_reason = dict(sorted(counts.items()))
        print_json({"count": counts.total(), "by_reason": by_reason, "replayed": replayed, "rejects": shown})
    else:
        _print_list(shown, counts, replayed)
    return 0


def show_reject(config: HearthConfig, position: str, *, output: Path | None, as_json: bool) -> int:
    """Print all there is to know of one reject; write its bytes to a file if one is named."""
    one = next((one for one in _all(config) if one.reject.position == position), None)
    if one is None:
        raise CommandFailed(f"there is no reject {position}; `hearth rejects list` shows those there are")
    if output is not None:
        _write(output, one.reject.original)
    described = _summary(one) | {
        "detail": one.reject.detail,
        "outcomes": list(one.outcomes),
        "bytes": len(one.reject.original),
        "event": _event(one.reject),
    }
    if as_json:
        print_json(described | {"original_hex": one.reject.original.hex()})
        return 0
    _print_one(described)
    if output is not None:
        print(f"its {len(one.reject.original):,} bytes are in {output}")
    elif described["event"] is None:
        _print_bytes(one.reject.original)
    return 0


def replay(
    config: HearthConfig,
    positions: list[str],
    *,
    reason: str | None,
    is_all: bool,
    is_again: bool,
    output: Path | None,
    target: str,
    as_json: bool,
) -> int:
    """Send rejects again and print what came of them; return the exit code."""
    if bool(positions) + bool(reason) + is_all != 1:
        raise UsageWrong("say which: ids as `hearth rejects list` shows them, or --reason R, or --all")
    chosen = [one for one in _all(config) if is_all or one.reject.reason == reason or one.reject.position in positions]
    missing = set(positions) - {one.reject.position for one in chosen}
    if missing:
        raise CommandFailed(f"there is no reject {', '.join(sorted(missing))}; `hearth rejects list` shows them")
    unreadable = [one.reject for one in chosen if not one.reject.is_event]
    before = [one for one in chosen if one.reject.is_event and one.outcomes and not is_again]
    to_send = [one for one in chosen if one.reject.is_event and (is_again or not one.outcomes)]
    if positions and not to_send and not unreadable:
        told = ", ".join(f"{one.reject.position} ({one.outcomes[-1]})" for one in before)
        raise CommandFailed(f"replayed before: {told}; --again sends it again, which counts it once all the same")
    if output is not None:
        _write(output, b"".join(one.original.rstrip(b"\n") + b"\n" for one in unreadable))
    results, is_complete = _replay(to_send, target) if to_send else ([], True)
    outcomes = Counter(one.outcome for one in results)
    if as_json:
        print_json(
            {
                "sent": len(results),
                "outcomes": dict(sorted(outcomes.items())),
                "replayed_before": len(before),
                "unreadable": len(unreadable),
                "complete": is_complete,
                "results": [{"id": one.position, "outcome": one.outcome} for one in results],
            }
        )
    else:
        _print_replayed(outcomes, before=len(before), unreadable=len(unreadable), output=output)
    if not is_complete:
        say(f"interrupted after {len(results):,} of {len(to_send):,}; run it again to go on")
        return INTERRUPTED
    return 0


@ending_as_commands_do()
def _replay(to_send: list[KeptReject], target: str) -> tuple[list[Replayed], bool]:
    results: list[Replayed] = []
    with connect(target) as channel, interruptions() as is_stopping, meter("replaying", unit="rejects") as show:
        replayer = Replayer(channel, target=target, tell=say, is_stopping=is_stopping)
        for one in replayer.run([_to_replay(kept) for kept in to_send], show):
            results.append(one)
    return results, len(results) == len(to_send)


def _to_replay(kept: KeptReject) -> ToReplay:
    position = kept.reject.position
    try:
        event = event_of(kept.reject)
    except PayloadUnreadable:
        return ToReplay(position=position, partition=kept.partition, event_id=b"", event=None)
    event_id = replay_id(event, position)
    return ToReplay(position=position, partition=kept.partition, event_id=event_id, event=event)


# --- reading ---------------------------------------------------------------------------------------------------------


def _all(config: HearthConfig) -> Iterator[KeptReject]:
    if not (config.data_dir / LAYOUT_NAME).is_file():
        raise UsageWrong(f"{config.data_dir} is no data directory of Hearth; name one with --data-dir")
    with _explained():
        try:
            entries = logs_beside_owner(config.log_location.rejects)
        except (ImportError, ValueError) as wrong:
            raise UsageWrong(str(wrong)) from wrong
        yield from rejects_among(entries)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (LogError, PayloadUnreadable) as failed:
        raise CommandFailed(f"the rejects cannot be read: {failed}") from failed


def _since_us(since: str | None) -> int:
    """Return a point in time from how long ago it was, or as ISO 8601."""
    if since is None:
        return 0
    ago = _AGO.fullmatch(since)
    if ago:
        try:
            time = utc_now() - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
        except OverflowError:
            return 0
        return max(0, int(time.timestamp() * 1e6))
    try:
        return instant_us(since, option="--since")
    except UsageWrong as wrong:
        raise UsageWrong(f"{wrong}; or how long ago: 30m, 2h, 7d") from None


def _summary(one: KeptReject) -> dict[str, object]:
    reject = one.reject
    return {
        "id": reject.position,
        "partition": one.partition,
        "reason": reject.reason,
        "type": reject.type,
        "source": reject.source,
        "at": _when(reject.at_us),
        "detail": reject.detail[:SHOWN_TEXT_MAX],
        "replayed": one.outcomes[-1] if one.outcomes else None,
    }


def _event(reject: Reject) -> dict[str, object] | None:
    """Return what an event says; None where there is none, or its bytes are in the log only."""
    if not reject.is_event:
        return None
    try:
        event = event_of(reject)
    except PayloadUnreadable:
        return None
    return {
        "event_id": _text(event.event_id),
        "household": _text(event.household),
        "member": _text(event.member),
        **({"identifier": _text(event.identifier)} if event.identifier else {}),
        "type": event.type,
        "time": None if event.time_us is None else _when(event.time_us),
        # As text where JSON has no such number.
        "fields": {name: value if isinstance(value, str) else _number(value) for name, value in event.fields},
    }


def _number(value: float) -> float | str:
    return value if abs(value) < float("inf") else str(value)


def _text(key: bytes) -> str:
    return key.decode(errors="backslashreplace")


def _when(time_us: int) -> str:
    try:
        return (datetime.fromtimestamp(0, tz=UTC) + timedelta(microseconds=time_us)).isoformat()
    except OverflowError:
        return f"{time_us} us"


# --- printing --------------------------------------------------------------------------------------------------------


def _print_list(shown: list[dict[str, object]], counts: Counter[str], replayed: int) -> None:
    if not counts:
        print("no rejects")
        return
    widths = {name: max(len(str(one[name])) for one in shown) for name in ("id", "reason", "type")}
    for one in shown:
        cells = [str(one[name]).ljust(width) for name, width in widths.items()]
        outcome = f"  replayed: {one['replayed']}" if one["replayed"] else ""
        detail = f"  {one['detail']}" if one["detail"] else ""
        print(f"{str(one['at'])[:19]}  {'  '.join(cells)}{detail}{outcome}".rstrip())
    by_reason = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
    more = f", the newest {len(shown):,} above" if counts.total() > len(shown) else ""
    print(f"{counts.total():,} rejects{more}: {by_reason}; {replayed:,} replayed")


def _print_one(described: dict[str, object]) -> None:
    for name in ("id", "reason", "detail", "source", "at"):
        if described[name]:
            print(f"{name:<9} {described[name]}")
    outcomes = described["outcomes"]
    assert isinstance(outcomes, list)
    print(f"{'replayed':<9} {', '.join(outcomes) or 'never'}")
    print(f"{'original':<9} {described['bytes']:,} bytes")
    event = described["event"]
    if isinstance(event, dict):
        for name, value in event.items():
            print(f"  {name:<10} {_clipped(value)}")


def _clipped(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_clipped(one)}" for name, one in value.items()) or "-"
    text = "-" if value in (None, "") else str(value)
    return text if len(text) <= SHOWN_TEXT_MAX else f"{text[:SHOWN_TEXT_MAX]}… ({len(text):,} characters)"


def _print_bytes(original: bytes) -> None:
    for start in range(0, min(len(original), SHOWN_BYTES_MAX), 16):
        line = original[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        print(f"  {start:04x}  {line.hex(' '):<47}  {letters}")
    if len(original) > SHOWN_BYTES_MAX:
        print(f"  … {len(original) - SHOWN_BYTES_MAX:,} more; --output FILE writes them all")


def _print_replayed(outcomes: Counter[str], *, before: int, unreadable: int, output: Path | None) -> None:
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(outcomes.items())) or "nothing"
    print(f"replayed {outcomes.total():,}: {told}")
    if outcomes["LATE"]:
        print(
            f"  LATE: {outcomes['LATE']:,} are older by now than the playbook's allowed lateness; they were counted, "
            "not folded, and will not be"
        )
    still = sum(count for name, count in outcomes.items() if name not in ("APPLIED", "DUPLICATE", "LATE"))
    if still:
        print(f"  {still:,} were rejected again, and stand in the list anew: the reason is not gone yet")
    if before:
        print(f"  {before:,} were replayed before and are left alone; --again sends them again")
    if unreadable and output is not None:
        print(
            f"  {unreadable:,} never were signals; they are in {output}, one per line: correct it and `hearth ingest`"
        )
    elif unreadable:
        print(f"  {unreadable:,} never were signals; --output FILE writes them for `hearth ingest`, one per line")


def _write(output: Path, content: bytes) -> None:
    try:
        output.write_bytes(content)
    except OSError as failed:
        raise CommandFailed(f"{output} cannot be written: {failed.strerror or failed}") from failed
