"""`hearth playbook push`, `rollback`, `pause`, `submit` and their like: the playbook of a Hearth that runs, changed.

A folder remembers the version it was made from in `.hearth-base` beside its files: what was pushed from it, or pulled
into it last. So an edit of somebody else's in between shows, and is not lost. Behind it stand drafts that were
submitted from it: once one of them is in force, it is what the folder was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from cluster.access import user_name
from cluster.client import connect, explain_failure
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import print_json, say
from cluster.playbook_versions import files_of
from hearth.v1 import playbook_pb2, playbook_pb2_grpc

PUSH_DEADLINE_S = 60.0
BASE_NAME = ".hearth-base"
CONFLICT = 3
"""Exit code where another version is in force than the one it was made from."""

Answer = TypeVar("Answer", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """How a version is to be put into force."""

    from_version: str = ""
    why: str = ""
    at_us: int | None = None
    """Microseconds since 1970: when it is to come into force; None for at once."""
    until_us: int | None = None
    """When the version before is to come into force again; None for never."""
    without_approval: bool = False


def push(what: str, how: Pushed, *, target: str, as_json: bool) -> int:
    """Put a folder's playbook, or an approved draft, into force; return the exit code: 1 for mistakes, 3 in conflict.

    Raises:
        CommandFailed: it is refused.
    """
    path = Path(what)
    request = playbook_pb2.PushRequest(why=how.why, without_approval=how.without_approval, by=user_name())
    _set_times(request, how)
    is_draft = not path.exists() and what[:1] == "d" and what[1:].isdigit()
    if is_draft:
        request.draft, request.from_version = what, how.from_version
    else:
        request.files.update(_files(path))
        request.source = str(path.absolute())
    with connect(target) as channel:
        stub = playbook_pb2_grpc.PlaybookServiceStub(channel)
        if not is_draft:
            request.from_version = how.from_version or _base_of(path, stub, target)
        answer: playbook_pb2.PushResponse = _called(stub.Push, request, doing="pushing the playbook", target=target)
        if not is_draft and not answer.problems and not answer.conflict and not answer.scheduled:
            remember_base(path, answer.version)
        if answer.conflict and not as_json:
            _tell_conflict(stub, request, answer, target)
    return _pushed(answer, as_json=as_json)


def rollback(version: str, how: Pushed, *, target: str, as_json: bool) -> int:
    """Put a version into force again that was before, the one before the present unless it is named.

    Raises:
        CommandFailed: it is refused, or there is none before.
    """
    request = playbook_pb2.PushRequest(why=how.why, by=user_name(), from_version=how.from_version)
    _set_times(request, how)
    with connect(target) as channel:
        stub = playbook_pb2_grpc.PlaybookServiceStub(channel)
        request.version = version or _version_before(stub, target)
        answer: playbook_pb2.PushResponse = _called(
            stub.Push, request, doing="rolling the playbook back", target=target
        )
    return _pushed(answer, as_json=as_json)


def halt(journey: str, how: str, *, why: str, target: str, as_json: bool) -> int:
    """Pause or stop a journey, or let it go on; `how` is a name of JourneyHalt.

    Raises:
        CommandFailed: it is refused.
    """
    request = playbook_pb2.HaltRequest(journey=journey, how=how, why=why, by=user_name())
    with connect(target) as channel:
        stub = playbook_pb2_grpc.PlaybookServiceStub(channel)
        answer = _called(stub.Halt, request, doing=f"halting {journey}", target=target).change
    if as_json:
        print_json(_plain(answer))
    elif not answer.changed:
        already = {"JOURNEY_HALT_PAUSE": "is paused already", "JOURNEY_HALT_STOP": "is stopped already"}
        print(f"{journey} {already.get(how, 'is neither paused nor stopped')}")
    else:
        done = {
            "JOURNEY_HALT_PAUSE": "is paused: it enters nobody and says nothing, and its timers stand still",
            "JOURNEY_HALT_STOP": "is stopped: its instances have ended, and what was not said is taken back",
        }
        print(f"{journey} {done.get(how, 'goes on')}")
        print(_how_far(answer))
    return 0


def submit(path: Path, *, from_version: str, why: str, target: str, as_json: bool) -> int:
    """Keep a folder's playbook as a draft that waits for a second person.

    Raises:
        CommandFailed: it is refused.
    """
    request = playbook_pb2.SubmitRequest(why=why, by=user_name(), source=str(path.absolute()))
    request.files.update(_files(path))
    with connect(target) as channel:
        stub = playbook_pb2_grpc.PlaybookServiceStub(channel)
        request.from_version = from_version or _base_of(path, stub, target)
        answer = _called(stub.Submit, request, doing="submitting the playbook", target=target)
        if not answer.problems:
            before = _remembered(path)[1:] if _base_file(path).exists() else []
            remember_base(path, request.from_version, *before, answer.draft.version)
    if as_json:
        print_json(_plain(answer))
    elif answer.problems:
        _print_remarks(answer.problems)
    else:
        _print_remarks(answer.warnings, kind="warning: ")
        made = answer.draft
        print(f"draft {made.draft}: version {made.version}, made from {made.from_version}, waits for a second person")
        print(f"`hearth playbook approve {made.draft}`, then `hearth playbook push {made.draft}`")
    return 1 if answer.problems else 0


def decide_draft(draft: str, *, is_no: bool, why: str, target: str, as_json: bool) -> int:
    """Approve or reject a draft, or take back what is scheduled.

    Raises:
        CommandFailed: it is refused.
    """
    request = playbook_pb2.ApproveRequest(draft=draft, reject=is_no, why=why, by=user_name())
    with connect(target) as channel:
        stub = playbook_pb2_grpc.PlaybookServiceStub(channel)
        answer = _called(stub.Approve, request, doing=f"deciding on {draft}", target=target)
    if as_json:
        print_json(_plain(answer))
    elif not answer.HasField("draft"):
        print(f"{draft} is taken back")
    elif is_no:
        print(f"draft {draft} is rejected")
    else:
        print(f"draft {draft} is approved; `hearth playbook push {draft}` puts it into force")
    return 0


def pull(path: Path, *, version: str, target: str, as_json: bool) -> int:
    """Write the files of a version, the one in force unless it is named, into a folder, which remembers it as its base.

    Raises:
        CommandFailed: only its plan is known, or the folder holds what would be lost.
    """
    if path.exists() and not path.is_dir():
        raise UsageWrong(f"{path} is a file; name a folder, which is made if there is none")
    shown = shown_playbook(target, version=version, is_in_force=not version)
    name = _whole(shown, version)
    if not shown.files:
        raise CommandFailed(f"of version {name} the plan is known and not its files")
    present = dict(_files(path)) if path.exists() else {}
    if present and present != dict(shown.files) and present != _files_of_base(path, target):
        raise CommandFailed(
            f"{path} holds what was never pushed, which would be lost; push it, or pull into a new folder"
        )
    try:
        for gone in present.keys() - shown.files.keys():
            (path / gone).unlink()
        for file, text in shown.files.items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_text(text, encoding="utf-8")
    except OSError as failed:
        raise CommandFailed(f"{failed.filename or path} cannot be written: {failed.strerror}") from failed
    remember_base(path, name)
    if as_json:
        print_json({"version": name, "files": sorted(shown.files)})
    else:
        print(f"{path}: version {name}, {len(shown.files)} files")
    return 0


# --- what is asked ----------------------------------------------------------------------------------------------------


def shown_playbook(
    target: str, *, version: str = "", limit: int = 0, instances: bool = False, is_in_force: bool = False
) -> playbook_pb2.ShowPlaybookResponse:
    """Return how things stand in a Hearth; with a version its files and plan, too.

    Raises:
        CommandFailed: it cannot be told.
    """
    with connect(target) as channel:
        stub = playbook_pb2_grpc.PlaybookServiceStub(channel)
        request = playbook_pb2.ShowPlaybookRequest(version=version, limit=limit, instances=instances)
        if is_in_force:
            request.version = _called(
                stub.ShowPlaybook, playbook_pb2.ShowPlaybookRequest(), doing="looking at the playbook", target=target
            ).version
        shown: playbook_pb2.ShowPlaybookResponse = _called(
            stub.ShowPlaybook, request, doing="looking at the playbook", target=target
        )
        return shown


def _called(call: Callable[..., Answer], request: Message, *, doing: str, target: str) -> Answer:
    try:
        return call(request, timeout=PUSH_DEADLINE_S)
    except grpc.RpcError as failed:
        raise explain_failure(failed, doing=doing, target=target) from failed


def _version_before(stub: playbook_pb2_grpc.PlaybookServiceStub, target: str) -> str:
    request = playbook_pb2.ShowPlaybookRequest(limit=1_000)
    shown = _called(stub.ShowPlaybook, request, doing="looking at the history", target=target)
    # What a rollback left is not returned to: going back once more goes one further back.
    path: list[str] = []
    for change in reversed(shown.history):
        if change.did == "rollback" and change.version in path:
            del path[path.index(change.version) + 1 :]
        elif not path or path[-1] != change.version:
            path.append(change.version)
    if len(path) < 2:
        raise CommandFailed("no version was in force before this one, so there is nothing to go back to")
    return path[-2]


def _files_of_base(path: Path, target: str) -> Mapping[str, str]:
    """Return the files of the version that a folder remembers as its base; none where it remembers none."""
    if not _base_file(path).exists():
        return {}
    return dict(shown_playbook(target, version=_remembered(path)[0]).files)


def _whole(shown: playbook_pb2.ShowPlaybookResponse, version: str) -> str:
    from household.plan import plan_from_bytes

    return plan_from_bytes(shown.plan.encode()).version if version else shown.version


def _set_times(request: playbook_pb2.PushRequest, how: Pushed) -> None:
    for name, time_us in (("at", how.at_us), ("until", how.until_us)):
        if time_us is not None:
            getattr(request, name).FromMicroseconds(time_us)


def _files(path: Path) -> Mapping[str, str]:
    if not path.exists():
        raise UsageWrong(f"there is no playbook {path}; name its folder or its YAML file")
    try:
        return dict(files_of(path))
    except (OSError, UnicodeDecodeError) as wrong:
        raise UsageWrong(f"{path} cannot be read: {wrong}") from wrong


def _base_file(path: Path) -> Path:
    return path / BASE_NAME if path.is_dir() else path.with_name(f".{path.name}{BASE_NAME}")


def _remembered(path: Path) -> list[str]:
    """Return the version that a folder was made from, and those that were submitted from it since.

    Raises:
        OSError: it remembers none.
    """
    return _base_file(path).read_text().split() or [""]


def remember_base(path: Path, version: str, *submitted: str) -> None:
    """Keep beside a playbook which version its files are, or were made from, and which were submitted from there."""
    try:
        _base_file(path).write_text("".join(f"{one}\n" for one in dict.fromkeys((version, *submitted))))
    except OSError as wrong:
        say(f"warning: {_base_file(path)} cannot be written ({wrong.strerror}); next time name --from {version}")


def _base_of(path: Path, stub: playbook_pb2_grpc.PlaybookServiceStub, target: str) -> str:
    """Return the version that a folder was made from, as it remembers, or as Hearth knows that was started with it."""
    try:
        base, *submitted = _remembered(path)
    except OSError:
        base, submitted = "", []
    if base and not submitted:
        return base
    shown: playbook_pb2.ShowPlaybookResponse = _called(
        stub.ShowPlaybook, playbook_pb2.ShowPlaybookRequest(), doing="looking at the playbook", target=target
    )
    if base:
        return shown.version if shown.version in submitted else base
    if shown.source == str(path.absolute()):
        return shown.version
    raise UsageWrong(
        f"{path} does not say which version it was made from; name it with --from (version {shown.version} is in "
        "force), or begin with `hearth playbook pull`"
    )


# --- what is told -----------------------------------------------------------------------------------------------------


def _plain(answer: Message) -> dict[str, Any]:
    plain: dict[str, Any] = json_format.MessageToDict(
        answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return plain


def _print_remarks(remarks: Iterable[playbook_pb2.PlaybookRemark], *, kind: str = "") -> None:
    for one in remarks:
        place = f"{one.file}:{one.line}:{one.column}: " if one.file else ""
        print(f"{place}{kind}{one.message}{f' - {one.fix}' if one.fix else ''}")


def _pushed(answer: playbook_pb2.PushResponse, *, as_json: bool) -> int:
    if as_json:
        print_json(_plain(answer))
    elif answer.problems:
        _print_remarks(answer.problems)
        print(f"nothing was changed: version {answer.version} is in force as before")
    elif not answer.conflict:
        _print_remarks(answer.warnings, kind="warning: ")
        if answer.scheduled and answer.version == answer.before:
            print(f"{answer.scheduled} comes into force by itself; version {answer.version} is in force until then")
        elif not answer.changed:
            print(f"version {answer.version} is in force already")
        else:
            print(f"version {answer.version} is in force; until now it was {answer.before}")
            print(_how_far(answer))
    if answer.problems:
        return 1
    return CONFLICT if answer.conflict else 0


def _how_far(answer: playbook_pb2.PushResponse) -> str:
    told = f"{answer.partitions_live} of {answer.partitions} partitions decide by it, after {answer.took_ms:.0f} ms"
    late = answer.partitions - answer.partitions_live
    return told if not late else f"{told}; the others follow as soon as they are served"


def _tell_conflict(
    stub: playbook_pb2_grpc.PlaybookServiceStub,
    request: playbook_pb2.PushRequest,
    answer: playbook_pb2.PushResponse,
    target: str,
) -> None:
    from cluster.commands.playbook_difference import lines_of
    from household.plan import plan_from_bytes
    from playbooks.difference import difference

    print(f"nothing was changed: it was made from {request.from_version}, and version {answer.conflict} is in force")
    plans = []
    for version in (request.from_version, answer.conflict):
        show = playbook_pb2.ShowPlaybookRequest(version=version)
        shown = _called(stub.ShowPlaybook, show, doing="looking at the playbook", target=target)
        plans.append(plan_from_bytes(shown.plan.encode()))
    print("what has changed meanwhile:")
    for line in lines_of(difference(*plans)):
        print(f"  {line}")
    print(f"take that over (`hearth playbook pull` has its files), then push with --from {answer.conflict}")
