"""What a connector is told: which topics, by what mapping, as which member of which group."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from intake.errors import InputWrong
from intake.reading.yaml_file import WHAT_BELONGS, read_yaml
from written.problems import WritingInvalid

MessageFormat = Literal["json", "msgpack", "protobuf"]

MESSAGE_FORMATS = ("json", "msgpack", "protobuf")

OURS = {
    "bootstrap.servers": "bootstrap",
    "group.id": "group",
    "group.instance.id": "member",
    "enable.auto.commit": "",
    "enable.auto.offset.store": "",
    "auto.offset.reset": "",
    "enable.partition.eof": "",
    "partition.assignment.strategy": "",  # rebalances are answered as the eager ones are
    "group.protocol": "",
}
"""Settings of the Kafka client that are not to be given as such, and the setting that says it instead, if any."""


class CaptureSettings(BaseModel):
    """One connector: which topics, by what mapping, as which member of which group."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    topics: Annotated[tuple[str, ...], Field(min_length=1)]
    """A name that begins with ^ is a pattern."""
    bootstrap: Annotated[str, Field(min_length=1)]
    """HOST:PORT of brokers, with commas."""
    format: MessageFormat = "json"
    mapping: str = ""
    """Mapping file; its patterns are matched with topics. Needed unless messages are protobuf."""
    group: Annotated[str, Field(min_length=1)] = "hearth"
    """Consumer group; its committed offsets say from where to go on."""
    member: str = ""
    """Name of this connector within the group, if it is to keep its partitions across a restart."""
    kafka: dict[str, str | int | bool] = Field(default_factory=dict)
    """More settings of the Kafka client, such as those for TLS and SASL."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.format == "protobuf") == bool(self.mapping):
            raise ValueError(
                "`mapping` says what json and msgpack messages mean; protobuf messages are signals already"
            )
        for name in self.kafka:
            if name in OURS:
                instead = f"; say it with `{OURS[name]}`" if OURS[name] else ""
                raise ValueError(f"kafka: {name} is not to be set{instead}")
        return self


def load_connectors(path: Path) -> list[CaptureSettings]:
    """Return the connectors that a YAML file lists under `connectors`.

    Raises:
        InputWrong: it cannot be read, or says something that cannot be.
    """
    try:
        content = read_yaml(path, name=str(path), example="connectors:")
    except (OSError, WritingInvalid) as failed:
        raise InputWrong(f"connectors cannot be read from {path}: {'; '.join(str(failed).splitlines())}") from failed
    entries = content.get("connectors") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InputWrong(f"{path} must begin with `connectors:`, a list; docs/capture.md shows one")
    found = [checked_settings(f"{path}: connectors.{index}", entry) for index, entry in enumerate(entries)]
    return [_with_mapping_beside(settings, path.absolute().parent) for settings in found]


def _with_mapping_beside(settings: CaptureSettings, folder: Path) -> CaptureSettings:
    """Return them with the mapping file that lies where the connectors' file does, if one does."""
    beside = folder / settings.mapping
    return settings.model_copy(update={"mapping": str(beside)}) if beside.is_file() else settings


def checked_settings(where: str, given: object) -> CaptureSettings:
    """Return the settings.

    Raises:
        InputWrong: something is wrong with them; says what and where.
    """
    try:
        return CaptureSettings.model_validate(given)
    except ValidationError as wrong:
        told = [
            ".".join([where, *map(str, error["loc"])])
            + ": "
            + (WHAT_BELONGS.get(error["type"]) or error["msg"].removeprefix("Value error, "))
            for error in wrong.errors()
        ]
        raise InputWrong("; ".join(told)) from wrong
