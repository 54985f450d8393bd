"""Laws: the public protocol and the command line are what was promised, and grow only so that what uses them goes on.

Changed on purpose? `.venv/bin/python -m tests.contracts.public_surface` writes the committed texts anew, and refuses
what would break others.
"""

from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet

from tests.contracts.public_surface import (
    HELP,
    PROTOCOL,
    help_text,
    lost_from_help,
    lost_from_protocol,
    protocol,
    protocol_text,
    read_protocol,
)

ON_PURPOSE = "on purpose? run `.venv/bin/python -m tests.contracts.public_surface` and commit what it writes"


def test_the_protocol_is_the_committed_one():
    assert protocol_text(protocol()) == PROTOCOL.read_text(), ON_PURPOSE


def test_the_help_of_every_command_is_the_committed_one():
    assert help_text() == HELP.read_text(), ON_PURPOSE


def test_the_committed_protocol_is_read_back_as_it_is():
    assert read_protocol(PROTOCOL.read_text()) == protocol()


def remove_field(files: FileDescriptorSet) -> None:
    del files.file[0].message_type[1].field[0]


def retype_field(files: FileDescriptorSet) -> None:
    files.file[0].message_type[1].field[0].type = FieldDescriptorProto.TYPE_DOUBLE


def renumber_field(files: FileDescriptorSet) -> None:
    files.file[0].message_type[1].field[0].number = 99


def remove_method(files: FileDescriptorSet) -> None:
    del files.file[0].service[0].method[0]


def remove_file(files: FileDescriptorSet) -> None:
    del files.file[0]


@pytest.mark.parametrize("change", [remove_field, retype_field, renumber_field, remove_method, remove_file])
def test_what_a_client_would_trip_over_is_told(change: Callable[[FileDescriptorSet], None]):
    changed = protocol()
    change(changed)

    assert lost_from_protocol(protocol(), changed) != []


def test_a_field_more_is_growth():
    grown = protocol()
    grown.file[0].message_type[1].field.add(
        name="one_more",
        number=99,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
        type=FieldDescriptorProto.TYPE_INT64,
    )

    assert grown != protocol()
    assert lost_from_protocol(protocol(), grown) == []


def test_a_command_or_an_option_that_is_gone_is_told_and_one_more_is_growth():
    whole = help_text()
    without_option = "".join(line for line in whole.splitlines(keepends=True) if "--from-start" not in line)
    without_command = whole[: whole.index("$ hearth rejects replay")]

    assert lost_from_help(whole, without_option) == ["hearth verify --from-start"]
    assert "hearth rejects replay" in lost_from_help(whole, without_command)
    assert lost_from_help(without_option, whole) == []
