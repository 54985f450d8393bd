"""A capture connector composed, and as an actor that runs one in a thread of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.config import utc_now
from cluster.credentials import Credentials, open_channel
from cluster.errors import CommandFailed
from intake.capture.connector import CaptureLimits, Connector
from intake.capture.decoders import decoder_of
from intake.capture.kafka_source import KafkaSource
from intake.capture.settings import CaptureSettings
from intake.errors import IntakeFailed

RECONNECT_MS_MAX = 2_000


@contextmanager
def connector(
    settings: CaptureSettings,
    target: str,
    *,
    limits: CaptureLimits | None = None,
    credentials: Credentials | None = None,
) -> Iterator[Connector]:
    """Yield a connector, ready to run; neither Kafka nor Hearth needs to be there yet.

    Raises:
        UsageWrong: the credentials cannot be used.
        InputWrong: the mapping does not fit, or the Kafka client refuses its settings or is not installed.
    """
    decoder = decoder_of(settings, now=utc_now())
    source = KafkaSource(settings)
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX)]
    with open_channel(target, options, credentials) as channel:
        yield Connector(source, decoder, channel, limits=limits)


class CaptureActor:
    """One connector that runs in a thread of its own, from when it is made until it is stopped or fails."""

    def __init__(self, settings: CaptureSettings, target: str, credentials: Credentials | None = None) -> None:
        self._settings, self._target, self._credentials = settings, target, credentials
        self._is_stopping = threading.Event()
        self._status: dict[str, object] = {"topics": list(settings.topics), "state": "starting"}
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def status(self) -> dict[str, object]:
        """Return how far it is and what is wrong; `state` is starting, running, stopped or failed."""
        if not self._thread.is_alive() and self._status["state"] not in ("stopped", "failed"):
            # A defect: what it was stands in the log of this process.
            return self._status | {"state": "failed", "trouble": "the connector's thread has ended"}
        return dict(self._status)

    def stop(self) -> dict[str, object]:
        """Let what is under way be acknowledged and commit it; return the last status. Twice is as once."""
        self._is_stopping.set()
        self._thread.join()
        return self.status()

    def _run(self) -> None:
        try:
            with connector(self._settings, self._target, credentials=self._credentials) as found:
                found.run(self._is_stopping.is_set, self._note)
                self._note(found, state="stopped")
        except (IntakeFailed, CommandFailed) as failed:
            self._status = self._status | {"state": "failed", "trouble": str(failed)}

    def _note(self, found: Connector, state: str = "running") -> None:
        # The client is this thread's: others are told what it saw last.
        lag = found.lag if state == "running" else self._status.get("lag")
        gone = {"lag": lag, "gone": found.gone_count, "waiting": found.waiting, "trouble": found.trouble}
        self._status = {"topics": list(self._settings.topics), "state": state, **found.tally.as_dict(), **gone}
