"""What others hold us to: the descriptors of `hearth.v1` and the help of every command, as text.

Both are committed beside this file. They change on purpose only:

    .venv/bin/python -m tests.contracts.public_surface

writes them anew and refuses where a client or a script that works today would no longer: a field that is gone or means
something else, a command or an option that is gone.
"""

import importlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import typer
from google.protobuf import text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import Default

from cluster.cli import app

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]
PROTOCOL = FOLDER / "hearth_v1.txtpb"
HELP = FOLDER / "help.txt"

HELP_WIDTH = 120
"""Columns; wide, so that a word more in one line moves no other."""


def protocol() -> FileDescriptorSet:
    """Return what `hearth.v1` is, without comments, file by file in order of their names."""
    stubs = sorted(path.stem for path in (REPOSITORY / "protos" / "hearth" / "v1").glob("*_pb2.py"))
    modules = [importlib.import_module(f"hearth.v1.{stub}") for stub in stubs]
    return FileDescriptorSet(file=[FileDescriptorProto.FromString(one.DESCRIPTOR.serialized_pb) for one in modules])


def protocol_text(files: FileDescriptorSet) -> str:
    """Return descriptors as they are committed."""
    return str(text_format.MessageToString(files))


def read_protocol(text: str) -> FileDescriptorSet:
    """Return the descriptors of a committed text."""
    return text_format.Parse(text, FileDescriptorSet())


def help_text() -> str:
    """Return `--help` of `hearth` and of every command, in their order: no colours, one width."""
    return "".join(f"$ {path} --help\n{told}\n\n" for path, told in _help(typer.main.get_command(app), "hearth", None))


def _help(command: typer.core.TyperGroup, name: str, parent: object) -> Iterator[tuple[str, str]]:
    context = command.context_class(
        command, info_name=name, parent=parent, terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH, color=False
    )
    yield context.command_path, command.get_help(context)
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from _help(inner, inner_name, context)


def lost_from_protocol(before: FileDescriptorSet, now: FileDescriptorSet) -> list[str]:
    """Return what a client compiled from the protocol of before would trip over, as buf tells it; empty if nothing."""
    with tempfile.TemporaryDirectory() as folder:
        against, input_file = Path(folder, "before.binpb"), Path(folder, "now.binpb")
        against.write_bytes(_with_imports(before).SerializeToString())
        input_file.write_bytes(_with_imports(now).SerializeToString())
        command = [
            Path(sys.executable).with_name("buf"),
            "breaking",
            input_file,
            "--against",
            against,
            "--exclude-imports",
        ]
        command += ["--config", REPOSITORY / "protos" / "buf.yaml"]
        told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if told.returncode not in (0, 100):
        raise AssertionError(f"buf could not compare: {told.stderr}")
    return told.stdout.splitlines()


def _with_imports(files: FileDescriptorSet) -> FileDescriptorSet:
    """Return the files after those they import from Google, without which they mean nothing."""
    own = {file.name for file in files.file}
    needed: dict[str, FileDescriptorProto] = {}

    def need(file: FileDescriptor) -> None:
        for inner in file.dependencies:
            need(inner)
        needed[file.name] = FileDescriptorProto.FromString(file.serialized_pb)

    for file in files.file:
        for name in file.dependency:
            if name not in own:
                need(Default().FindFileByName(name))
    return FileDescriptorSet(file=[*needed.values(), *files.file])


def lost_from_help(before: str, now: str) -> list[str]:
    """Return the commands and options of a help text that another one lacks."""
    return sorted(_offered(before) - _offered(now))


def _offered(text: str) -> set[str]:
    offered = set()
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        name, _, body = part.partition(" --help\n")
        offered |= {name} | {f"{name} {option}" for option in re.findall(r"^ +(--[\w-]+)", body, re.MULTILINE)}
    return offered


def main() -> int:
    """Write both texts anew; 1, and nothing written, where something would be lost."""
    lost = lost_from_help(HELP.read_text(), help_text()) if HELP.exists() else []
    lost += lost_from_protocol(read_protocol(PROTOCOL.read_text()), protocol()) if PROTOCOL.exists() else []
    if lost:
        print("others rely on what would be gone:", *lost, sep="\n  ", file=sys.stderr)
        return 1
    HELP.write_text(help_text())
    PROTOCOL.write_text(protocol_text(protocol()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
