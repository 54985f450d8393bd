"""A real Apache Kafka broker for tests: one process on loopback that can be killed, restarted, paused and resumed.

Its jars come from `install_kafka.sh`, outside the tree. Where they cannot be had, the test is skipped with the reason.
"""

import atexit
import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

INSTALL_WITHIN_S = 600
READY_WITHIN_S = 120
STOPPED_WITHIN_S = 30

_PR_SET_PDEATHSIG = 1

# Little memory and few threads: the broker shares two cores with what it is there to test.
_JAVA = ("java", "-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=250
auto.create.topics.enable=false
num.network.threads=1
num.io.threads=2
num.replica.fetchers=1
num.recovery.threads.per.data.dir=1
background.threads=1
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=2097152
log.index.size.max.bytes=65536
log.retention.check.interval.ms=500
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


@dataclass
class Broker:
    """A broker that runs, unless it was killed or paused."""

    jars: Path
    directory: Path
    port: int
    controller_port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it on its ports and data; return once it answers."""
        assert self.process is None
        with (self.directory / "broker.log").open("ab") as log:
            # A broker without its test would run for ever: the kernel kills it when the thread that started it ends.
            self.process = subprocess.Popen(
                [*_JAVA, "-cp", f"{self.jars}/*", "kafka.Kafka", str(self.directory / "server.properties")],
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )
        self._wait_until_ready()

    def kill(self) -> None:
        """Kill it as a power cut would, except that what the kernel holds of its files stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOPPED_WITHIN_S)
            self.process = None

    def restart(self) -> None:
        """Kill it, if it still runs, and start it again on the same ports and data."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop all its threads; its sockets stay open, and what is sent to them waits."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        # A thread that runs on the other core goes on for a moment, long enough to answer.
        deadline = time.monotonic() + STOPPED_WITHIN_S
        while not all(state == "T" for state in self._thread_states()):
            assert time.monotonic() < deadline, "the broker does not stop"
            time.sleep(0.001)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def tail(self) -> str:
        """Return the end of what it said."""
        return (self.directory / "broker.log").read_text(errors="replace")[-2_000:]

    def _thread_states(self) -> list[str]:
        assert self.process is not None
        states = []
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                states.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
        return states

    def _wait_until_ready(self) -> None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        assert self.process is not None
        admin = AdminClient(
            {"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200}, logger=None
        )
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker ended with {self.process.returncode}: {self.tail()}")
            with suppress(KafkaException):
                if admin.list_topics(timeout=1).brokers:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the broker did not answer within {READY_WITHIN_S} s: {self.tail()}")


@contextmanager
def running_broker(directory: Path | None = None) -> Iterator[Broker]:
    """Format storage under `directory`, start a broker there; kill it at the end."""
    jars = installed_jars()
    home = Path(tempfile.mkdtemp(prefix="hearth-kafka-", dir=directory))
    port, controller_port = _free_ports(2)
    properties = home / "server.properties"
    properties.write_text(_PROPERTIES.format(port=port, controller_port=controller_port, data=home / "data"))
    broker = Broker(jars=jars, directory=home, port=port, controller_port=controller_port)
    try:
        _format(jars, properties)
        broker.start()
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(home, ignore_errors=True)


@functools.cache
def shared_broker() -> Broker:
    """Return the broker that the tests of this process share, started by the first; to be left as it is."""
    return _until_the_end.enter_context(running_broker())


def installed_jars() -> Path:
    """Return the folder of Kafka's jars; skip the test where there is none to be had."""
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    found = _installed_jars()
    if isinstance(found, str):
        pytest.skip(f"no Kafka broker: {found}")
    return found


@functools.cache
def _installed_jars() -> Path | str:
    script = Path(__file__).with_name("install_kafka.sh")
    try:
        done = subprocess.run(
            ["bash", str(script)], capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        return str(failed)
    if done.returncode != 0:
        return done.stderr.strip()[-400:]
    if shutil.which("java") is None:
        return "the jars are here, Java is not"
    return Path(done.stdout.strip()) / "jars"


def _format(jars: Path, properties: Path) -> None:
    cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # An argument that begins with a dash would be read as an option.
    cluster_id = "h" + cluster_id[1:]
    arguments = ["format", "--standalone", "--cluster-id", cluster_id, "--config", str(properties)]
    subprocess.run(
        [*_JAVA, "-cp", f"{jars}/*", "kafka.tools.StorageTool", *arguments],
        capture_output=True,
        check=True,
        timeout=READY_WITHIN_S,
    )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


_until_the_end = ExitStack()
atexit.register(_until_the_end.close)

_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
