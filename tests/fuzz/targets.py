"""What is fuzzed: for each, sound inputs, what takes an input, and how it may say no."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import grpc.aio
import pyarrow as pa

REPOSITORY = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 1, 5, tzinfo=UTC)
DECIDE = "/hearth.v1.DecisionService/Decide"
CALL_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Takes one input after another."""

    seeds: list[bytes]
    """Are taken first, and all well."""
    take: Callable[[bytes], str]
    """Returns in a word what came of it; raises what nobody may ever see."""


def _refused(why: str) -> str:
    if not why:
        raise RuntimeError("refused, and nobody says why")
    return "refused"


@contextmanager
def playbook(folder: Path) -> Iterator[Target]:
    """The compiler of playbooks and what it remarks. Files of the shipped one are broken within the whole."""
    from playbooks.compiler import TELCO, examine

    whole = folder / "telco"
    shutil.copytree(TELCO, whole)
    names = sorted(one.name for one in TELCO.glob("*.yaml"))
    sound = {name: (TELCO / name).read_bytes() for name in names}
    alone = folder / "playbook.yaml"
    mark = b"# "

    def take(case: bytes) -> str:
        first, _, rest = case.partition(b"\n")
        name = first.removeprefix(mark).decode(errors="replace")
        if name in sound:
            (whole / name).write_bytes(rest)
            found = examine(whole)
            (whole / name).write_bytes(sound[name])
        else:
            alone.write_bytes(case)
            found = examine(alone)
        for one in (*found.problems, *found.warnings, *found.information):
            assert str(one), "a remark says nothing"
        if found.plan is None:
            assert found.problems, "refused, and nobody says why"
            return "refused"
        assert found.plan.version
        return "compiled"

    small = (REPOSITORY / "playbooks" / "cns" / "playbook.yaml").read_bytes()
    yield Target(
        seeds=[small] * 8 + [mark + name.encode() + b"\n" + content for name, content in sound.items()], take=take
    )


@contextmanager
def mapping(folder: Path) -> Iterator[Target]:
    """Mappings of files, and a file that is read by whatever is one."""
    from intake.errors import IntakeFailed
    from intake.reading.examine import examine, mapper_for
    from intake.reading.mapping import load_mapping
    from intake.reading.merge import signals_of

    table = folder / "calls.csv"
    table.write_text("timestamp,caller,callee,duration\n0,1,2,60\n5,2,3,-1\n7,x,,\n")
    sms = folder / "sms.csv"
    sms.write_text("timestamp,sender,recipient\n0,1,2\n")
    path = folder / "mapping.yaml"

    def take(case: bytes) -> str:
        path.write_bytes(case)
        try:
            found = load_mapping(str(path), now=NOW)
            for file in (table, sms):
                source = examine(file, mapping=found, file_format=None, show=lambda *_: None)
                mapper = mapper_for(source, file_index=0, fields=source.fields)
                for _ in signals_of(source, mapper, lambda *_: None):
                    pass
        except IntakeFailed as wrong:
            return _refused(str(wrong))
        return "read"

    shipped = (REPOSITORY / "intake" / "mappings" / "cns.yaml").read_bytes()
    other = b"""files:
  - match: "calls*.csv"
    csv: {delimiter: ",", multiline: yes}
    household: {column: caller, else_column: callee}
    member: "{callee}"
    event_id: "{file}#{row}"
    type: {when: [{column: duration, equals: -1, type: network.call_missed}], otherwise: network.call_made}
    time: {column: timestamp, unit: s, start: 2026-01-05T00:00:00Z}
    fields: {duration_s: {column: duration, type: number, absent: [-1]}, note: {text: "m:{callee}"}, "*": {}}
  - match: "sms*"
    identifier: "msisdn:{sender}"
    type: network.text_sent
    time: {column: timestamp, unit: ms}
    fields: "*"
"""
    yield Target(seeds=[shipped, other], take=take)


@contextmanager
def rows(folder: Path) -> Iterator[Target]:
    """Files of events themselves: lines of values, JSON, CloudEvents, Parquet."""
    from intake.errors import IntakeFailed
    from intake.reading.examine import examine, mapper_for
    from intake.reading.merge import signals_of

    def take(case: bytes) -> str:
        kind, _, content = case.partition(b"\n")
        file = folder / f"rows.{'json' if b'json' in kind else 'parquet' if b'parquet' in kind else 'csv'}"
        file.write_bytes(content)
        try:
            source = examine(file, mapping=None, file_format=None, show=lambda *_: None)
            mapper = mapper_for(source, file_index=0, fields=source.fields)
            count = sum(table.num_rows for table in signals_of(source, mapper, lambda *_: None))
        except IntakeFailed as wrong:
            return _refused(str(wrong))
        assert count <= source.row_count
        return "read"

    columns = {
        "event_id": ["e1", "e2"], "household": ["h1", "h2"], "member": ["m", ""],
        "type": ["app.open", "app.balance_check"],
        "time": ["2026-01-05T00:00:00Z", "2026-01-05T00:00:01Z"], "amount": [1.5, 2.0], "note": ["a", "b"],
    }  # fmt: skip
    sink = pa.BufferOutputStream()
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), sink)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    at, kind = "2026-01-05T00:00:00Z", "app.open"
    plain = json.dumps(
        {"event_id": "e", "household": "h", "type": kind, "time": at, "x": 1.5, "deep": {"a": [1]}}
    ).encode()
    event = json.dumps(
        {"specversion": "1.0", "id": "1", "source": "a", "type": kind, "subject": "h1", "time": at, "data": {"x": 1}}
    ).encode()
    yield Target(
        seeds=[
            b"csv\n" + "\n".join(lines).encode(), b"csv\n" + b'event_id,household,type,time\n"a""b",h,t,2026-01-05\n',
            b"json\n" + plain + b"\n" + plain, b"json\n[" + plain + b"," + plain + b"]",
            b"json\n" + event, b"json\n[" + event + b"]",
            b"parquet\n" + sink.getvalue().to_pybytes(),
        ],
        take=take,
    )  # fmt: skip


@contextmanager
def token(folder: Path) -> Iterator[Target]:
    """Tokens: whoever is known is who the sound token names."""
    import yaml

    from serving.access.rights import Role
    from serving.access.rules import load_rules
    from serving.access.tokens import KeysWanted, Tokens
    from tests.serving.access_world import AUDIENCE, ISSUER, Issuer
    from wire.failures import CallFailed

    issuer = Issuer()
    (folder / "keys.json").write_bytes(issuer.jwks("k"))
    (folder / "access.yaml").write_text(
        yaml.safe_dump(
            {"tokens": {"issuer": ISSUER, "audience": AUDIENCE, "keys": "keys.json", "algorithms": ["RS256"]}}
        )
    )
    tokens = Tokens(load_rules(folder / "access.yaml"), folder, wall_s=time.time)
    sound = [issuer.token(role, key_id="k", exp=int(time.time()) + 86_400) for role in (Role.GATEWAY, Role.SRE)]
    principals = [tokens.principal(one) for one in sound]

    def take(case: bytes) -> str:
        try:
            found = tokens.principal(case.decode("latin-1"))
        except (CallFailed, KeysWanted):
            return "refused"
        assert found in principals, f"somebody else is known: {found}"
        return "known"

    yield Target(seeds=[one.encode() for one in sound], take=take)


@contextmanager
def batch(folder: Path) -> Iterator[Target]:
    """Signal batches as they stand in records, decoded and folded."""
    from actors.records.payload import PayloadUnreadable
    from actors.records.signals import decode_signals, decode_together
    from household.apply import apply_epoch, apply_signals
    from household.state import PartitionState
    from loadtest.town import MONDAY_US, Town
    from playbooks.compiler import TELCO, compile_playbook
    from tests.benches.replay_bench import small_payloads

    plan = compile_playbook(TELCO)
    town = Town(seed=1, households=40, start_us=MONDAY_US, days=1, plan=plan)
    seeds = [payload for _, payload in zip(range(40), small_payloads(town, 3), strict=False)]
    state = PartitionState(plan=plan, stream_clock=False)
    apply_epoch(state, epoch=1)

    def take(case: bytes) -> str:
        try:
            events = decode_signals(case, plan)
            decode_together([case, seeds[0]], plan)
        except PayloadUnreadable:
            return "refused"
        apply_signals(state, events, stamp_us=town.end_us)
        return "folded"

    yield Target(seeds=seeds, take=take)


@contextmanager
def wire(folder: Path) -> Iterator[Target]:
    """Whatever bytes come as a request of any public method: answered or refused in the words of the protocol."""
    from hearth.v1 import decision_pb2
    from tests.deploy.watched import HOMES, Watched, watched
    from tests.serving.access_world import REQUESTS

    methods = {name: request for name, request in REQUESTS.items() if "AdminService" not in name}
    places = list(methods)
    loop = asyncio.new_event_loop()
    world = watched()
    it: Watched = loop.run_until_complete(world.__aenter__())
    channel = it.channel
    never = {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    taken = 0

    async def call(name: str, body: bytes) -> str:
        try:
            if name.endswith("/IngestStream"):
                await channel.stream_unary(name)(iter([body]), timeout=CALL_TIMEOUT_S)
            elif name.endswith(("/Subscribe", "/Watch")):
                stream = channel.unary_stream(name)(body)
                try:
                    await asyncio.wait_for(stream.read(), 0.02)
                except TimeoutError:
                    pass
                finally:
                    stream.cancel()
            else:
                await channel.unary_unary(name)(body, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as wrong:
            if wrong.code() in never:
                raise RuntimeError(f"{name}: {wrong.code()} {wrong.details()}") from wrong
            return wrong.code().name
        return "answered"

    def take(case: bytes) -> str:
        nonlocal taken
        taken += 1
        name = places[case[0] % len(places)] if case else DECIDE
        told = loop.run_until_complete(call(name, case[1:]))
        if taken % 50 == 0:
            sound = decision_pb2.DecideRequest(request_id=f"sound-{taken}", household=HOMES[0], channel="app")
            answer = loop.run_until_complete(call(DECIDE, sound.SerializeToString()))
            assert answer == "answered", f"after that a sound call ends with {answer}"
        return told

    try:
        yield Target(
            seeds=[bytes([place]) + request.SerializeToString() for place, request in enumerate(methods.values())],
            take=take,
        )
    finally:
        loop.run_until_complete(world.__aexit__(None, None, None))
        loop.close()


def _broken(how: Callable[[], None]) -> Callable[[Path], AbstractContextManager[Target]]:
    """Return a target with a planted fault, which must be found."""

    @contextmanager
    def planted(folder: Path) -> Iterator[Target]:
        def take(case: bytes) -> str:
            if b"twice twice" in case:
                how()
            return "taken"

        yield Target(seeds=[b"once twice"], take=take)

    return planted


def _raise() -> None:
    raise ZeroDivisionError("planted")


def _hang() -> None:
    time.sleep(3_600)


CONTROLS = {"raises": _broken(_raise), "crashes": _broken(os.abort), "hangs": _broken(_hang)}

TARGETS = {one.__name__: one for one in (playbook, mapping, rows, token, batch, wire)}


@contextmanager
def opened(name: str) -> Iterator[Target]:
    """Make a target ready, in a folder that goes with it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hearth-fuzz-")))
        yield stack.enter_context((TARGETS | CONTROLS)[name](folder))
