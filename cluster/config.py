"""The settings of one Hearth: read once, from options and HEARTH_* variables, frozen, passed down.

With cluster/environment.py the only place in `cluster` that reads the environment or the wall clock.
"""

import importlib.resources
import os
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from actors.log.location import InFiles, LogLocation, log_location
from cluster.environment import ENVIRONMENT_PREFIX
from cluster.environment import utc_now as utc_now
from cluster.errors import UsageWrong
from serving.tls import TlsFiles
from wire.addresses import host_is_loopback

FOREIGN_VARIABLES = frozenset({"HEARTH_SHARED"})
"""Variables of that prefix which are no setting: HEARTH_SHARED names a folder of test data."""

MEBIBYTE = 1 << 20
GIBIBYTE = 1 << 30


class ClockKind(StrEnum):
    """What time the owner of a partition takes for now."""

    WALL = "wall"
    """The machine's clock: for production."""
    STREAM = "stream"
    """The newest event: for simulations and history."""


class LogLevel(StrEnum):
    """The least severe line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class HearthConfig(BaseSettings):
    """All settings of one Hearth. Options of a command go before HEARTH_* variables, those before the defaults."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True, env_ignore_empty=True
    )

    data_dir: Path = Path("hearth-data")
    """Folder of log, metadata and models; made when missing. One Hearth per folder."""

    host: str = "127.0.0.1"
    """Address the public port listens on."""

    port: int = Field(default=7077, ge=0, le=65_535)
    """Public gRPC port; 0 takes a free one."""

    tls_certificate: Path | None = None
    """PEM file of the public port's certificate, its chain behind it; read anew whenever it changes."""

    tls_key: Path | None = None
    """PEM file of that certificate's key."""

    tls_client_ca: Path | None = None
    """PEM file of the authority whose certificates clients of the public port have to show; none asks for none."""

    tls_revoked: Path | None = None
    """PEM file of the client certificates which that authority has revoked (CRL); read anew whenever it changes."""

    access: Path | None = None
    """YAML file of the access rules: who may call what; none asks nobody, or goes on with those last started with."""

    allow_plaintext: bool = False
    """Permit a `host` beyond loopback without TLS, if `plaintext_host` says so too. `hearth doctor` names it."""

    plaintext_host: str | None = None
    """The `host` once more: says a second time that it may be reached without TLS."""

    ca: str | None = None
    """For commands and connectors that call: PEM file of the authority that Hearth's certificate is of, or `system`."""

    cert: Path | None = None
    """For commands and connectors that call: PEM file of their own certificate."""

    key: Path | None = None
    """For commands and connectors that call: PEM file of that certificate's key."""

    token: SecretStr | None = None
    """For commands and connectors that call: a JWT that says who they are, or @FILE with one."""

    playbook: Path | None = None
    """Folder of the playbook to put into force; none goes on with the one in force, at first the telco that ships."""

    model_dir: Path | None = None
    """Model registry; none is `models` in the data directory."""

    partition_count: int = Field(default=8, ge=1, le=4_096)
    """Fixed when the data directory is born: changing it would re-home every household."""

    shard_count: int = Field(default=2, ge=1, le=256)
    """Actors that share the partitions; about one per core."""

    spare_shard_count: int = Field(default=1, ge=0, le=16)
    """Actors beyond `shard_count` that stand by, imports and kernels done, for the partitions of one that dies."""

    rebalance_after_s: float = Field(default=60.0, ge=0)
    """Partitions move by themselves once shards have been uneven, in load or households, for this; 0 for never."""

    edge_count: int = Field(default=2, ge=1, le=16)
    """Processes that listen on the public port; with two, one answers while the other is restarted."""

    clock: ClockKind = ClockKind.WALL
    """What is taken for now: the machine's clock, or the newest event."""

    log: str | None = None
    """Where the log is: kafka://host:port/prefix; none is segment files in the data directory."""

    metadata_url: str | None = None
    """Database of ownership and leases: postgresql+psycopg://user@host/name; none is SQLite in the data directory."""

    snapshots: str | None = None
    """A folder or the URI of an object store (s3://…) for snapshots; none is `snapshots` in the data directory."""

    snapshot_events: int = Field(default=100_000, ge=1_000)
    """A partition's snapshot is due after so many events: the most a restart has to fold again, about."""

    snapshot_records: int = Field(default=1_000, ge=1)
    """A partition's snapshot is due after so many log records, each of which costs a restart a quarter millisecond."""

    snapshot_interval_s: float = Field(default=300.0, gt=0)
    """A partition's snapshot is due after so long, where anything happened."""

    log_retention_hours: float = Field(default=336.0, ge=0)
    """Log that kept snapshots cover is dropped after this; explanations and exports reach back as far."""

    capture: Path | None = None
    """YAML file of capture connectors that `up` runs beside the edge; docs/capture.md shows one."""

    ray_address: str | None = None
    """host:port of the Ray cluster to join, from its head; none starts a Ray of our own on this machine."""

    shard_host: str = "127.0.0.1"
    """Address shards listen on in a Ray cluster; beyond loopback with TLS. A node's HEARTH_SHARD_HOST goes first."""

    lease_term_s: float = Field(default=10.0, ge=0.5, le=60.0)
    """How long a shard may go on without renewing its lease. A hung one is replaced after about 1.2 times this."""

    clock_jump_s_max: float = Field(default=5.0, gt=1.0)
    """Beyond this jump of the machine's clock nothing is decided until the clock is back or somebody confirms it."""

    segment_bytes: int = Field(default=64 * MEBIBYTE, ge=MEBIBYTE)
    """Size at which a segment file of the log is closed and a new one begun."""

    disk_free_bytes_min: int = Field(default=GIBIBYTE, ge=0)
    """With less free space than this, `up` and `doctor` warn."""

    scoring_slice_ms: float = Field(default=100.0, gt=0)
    """Most that a decision waits for a model on Serve; how long it does follows what Serve is measured to take."""

    decide_deadline_ms: float = Field(default=1_000.0, gt=0)
    """Deadline of a Decide that brings none."""

    ingest_deadline_ms: float = Field(default=30_000.0, gt=0)
    """Deadline of an Ingest that brings none."""

    wait_ms_max: float = Field(default=200.0, gt=0)
    """A call other than Ingest that would wait longer than this, at the pace of late, is refused at once."""

    ingest_wait_ms_max: float = Field(default=5_000.0, gt=0)
    """An Ingest whose batch would wait longer than this, at the pace of late, is refused at once."""

    ingest_waiting_bytes_max: int = Field(default=256 * MEBIBYTE, ge=32 * MEBIBYTE)
    """Batches that one edge process holds in memory at once, at most."""

    redeliver_after_s: float = Field(default=30.0, gt=0)
    """An outbound action that is not acknowledged is handed over again after this."""

    ready_deadline_s: float = Field(default=300.0, gt=0)
    """`demo` and `drill` give up when Hearth does not answer within this: long, for compiling."""

    drain_deadline_s: float = Field(default=10.0, gt=0)
    """How long requests in flight may take to end once Hearth is told to stop."""

    log_level: LogLevel = LogLevel.INFO
    """Least severe line that is logged."""

    otel_endpoint: str | None = None
    """OTLP over HTTP address for traces and metrics, e.g. http://127.0.0.1:4318; none sends nothing."""

    metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    """Port of a page with the numbers of all processes for Prometheus; 0 takes a free one, none opens none."""

    metrics_host: str = "127.0.0.1"
    """Address that port listens on."""

    plaintext_metrics_host: str | None = None
    """The `metrics_host` once more, where it is beyond loopback: says a second time that anyone there may read it."""

    trace_share: float = Field(default=0.01, ge=0, le=1)
    """Share of requests that are traced when `otel_endpoint` is set."""

    metrics_interval_s: float = Field(default=1.0, gt=0)
    """How often the processes send their numbers when `otel_endpoint` or `metrics_port` is set."""

    reflection: bool = False
    """Let gRPC clients list the services. For development only."""

    json_lines: bool = False
    """`up` says what happens as JSON lines on stdout, for programs that start it."""

    @property
    def playbook_path(self) -> Path:
        """Folder of the playbook that is asked for, or else of the one that comes with Hearth."""
        return self.playbook if self.playbook is not None else shipped_playbook("telco")

    @property
    def model_path(self) -> Path:
        """Folder of the model registry."""
        return self.model_dir if self.model_dir is not None else self.data_dir / "models"

    @property
    def log_location(self) -> LogLocation:
        """Where the log is."""
        return log_location(self.log) if self.log is not None else InFiles(self.data_dir / "log")

    @property
    def snapshot_location(self) -> str:
        """Folder or URI of the snapshots."""
        return self.snapshots if self.snapshots is not None else str(self.data_dir / "snapshots")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the public port."""
        return host_is_loopback(self.host)

    @property
    def tls(self) -> TlsFiles | None:
        """Files of the public port's TLS; None where it has none."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        # Absolute: the processes that read them anew have another working directory.
        return TlsFiles(
            certificate=self.tls_certificate.absolute(),
            key=self.tls_key.absolute(),
            client_ca=self.tls_client_ca.absolute() if self.tls_client_ca is not None else None,
            revoked=self.tls_revoked.absolute() if self.tls_revoked is not None else None,
        )

    @property
    def is_plaintext_permitted(self) -> bool:
        """Whether it was said twice that the public port may be reached from outside without TLS."""
        return self.allow_plaintext and self.plaintext_host == self.host

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        # Fewer partitions than shards would leave a shard idle for ever.
        if self.shard_count > self.partition_count:
            raise ValueError(f"shard_count {self.shard_count} exceeds partition_count {self.partition_count}")
        self._check_transport()
        self._check_identity()
        is_metrics_plain = self.metrics_port is not None and not host_is_loopback(self.metrics_host)
        if is_metrics_plain and self.plaintext_metrics_host != self.metrics_host:
            raise ValueError(
                f"metrics_host {self.metrics_host} is reachable from outside, and all who reach it read the numbers; "
                f"should only Prometheus reach it, say so once more: set plaintext_metrics_host to {self.metrics_host}"
            )
        if self.ray_address is not None:
            self._check_shared()
        # Waiting for a score is only part of a decision; the fallback needs its time too.
        if 2 * self.scoring_slice_ms > self.decide_deadline_ms:
            raise ValueError(
                f"scoring_slice_ms {self.scoring_slice_ms} exceeds half of decide_deadline_ms {self.decide_deadline_ms}"
            )
        return self

    def _check_transport(self) -> None:
        """Whoever reaches the public port without TLS reads along, and may say he is anybody."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together; set both or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca is for a port with TLS; set tls_certificate and tls_key, too")
        if self.tls_revoked is not None and self.tls_client_ca is None:
            raise ValueError("tls_revoked is of the authority in tls_client_ca; set that, too")
        if not self.is_loopback and self.tls is None and not self.is_plaintext_permitted:
            raise ValueError(
                f"host {self.host} is reachable from outside and has no TLS; set tls_certificate and tls_key. Should "
                "something else encrypt on the whole way, say so twice: set allow_plaintext to true and plaintext_host "
                f"to {self.host}"
            )

    def _check_identity(self) -> None:
        """A port that others reach has to ask who they are."""
        is_asked = self.access is not None or self.tls_client_ca is not None
        if not self.is_loopback and not is_asked and not self.is_plaintext_permitted:
            raise ValueError(
                f"host {self.host} is reachable from outside, and nobody is asked who he is; set access (rules "
                "for tokens and certificates), or tls_client_ca (whoever has a certificate of that authority "
                "may do everything)"
            )
        if self.reflection and is_asked:
            raise ValueError(
                "reflection tells everybody the whole interface; unset it where callers are asked who they are"
            )

    def _check_shared(self) -> None:
        """What shards of several nodes keep must be in reach of all of them."""
        if isinstance(self.log_location, InFiles):
            raise ValueError("ray_address needs log kafka://host:port/prefix: the embedded log is for one node only")
        if self.metadata_url is None or self.metadata_url.startswith("sqlite"):
            raise ValueError("ray_address needs a metadata_url of postgresql+psycopg://…: SQLite is for one node only")
        if self.snapshots is None:
            raise ValueError("ray_address needs snapshots: a folder that all nodes see, or the URI of an object store")


def load_config(**options: Any) -> HearthConfig:
    """Return the settings from `options` (None counts as not given), the environment and the defaults.

    Raises:
        UsageWrong: naming each setting that is wrong, and its variable.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return HearthConfig(**given)
    except ValidationError as wrong:
        raise UsageWrong("; ".join(_describe(error) for error in wrong.errors())) from wrong


def _describe(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    name = str(error["loc"][0]).removeprefix(ENVIRONMENT_PREFIX.lower())
    return f"setting {name} (variable {ENVIRONMENT_PREFIX}{name.upper()}) is {error['input']!r}: {message}"


def unknown_variables() -> list[str]:
    """Return HEARTH_* variables that are no setting: a misspelt one would be ignored in silence."""
    known = {ENVIRONMENT_PREFIX + name.upper() for name in HearthConfig.model_fields} | FOREIGN_VARIABLES
    return sorted(name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX) and name.upper() not in known)


def shipped_playbook(name: str) -> Path:
    """Return the folder of a playbook that comes with Hearth."""
    return Path(str(importlib.resources.files("playbooks"))) / name
