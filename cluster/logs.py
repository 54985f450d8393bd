"""Log files of our processes, in `logs/` of the data directory: one JSON object per line, with the trace it belongs to.

No line names a household, a member, a phone number or a token: what is logged are partitions, methods and conditions.
"""

import logging
import os
from contextvars import ContextVar
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

import structlog
from structlog.typing import EventDict, WrappedLogger

logger = logging.getLogger(__name__)

FILE_BYTES_MAX: Final = 16 << 20
FILES_KEPT: Final = 3

NOISY: Final = ("opentelemetry", "urllib3")
"""Loggers that would tell of each export to a collector that is down."""
NOISE_INTERVAL_S: Final = 60.0

trace_of_call: ContextVar[str] = ContextVar("trace_of_call", default="")
"""Traceparent of the traced call that is being answered; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Where a process logs, and what."""

    folder: Path
    level: str
    """debug, info, warning or error."""


def start_logging(settings: LogSettings, process: str) -> None:
    """Write what this process logs to `<folder>/<process>.log`; again for the same file changes nothing.

    A folder that cannot be written costs the log file, nothing else: a warning goes to stderr.
    """
    path = (settings.folder / f"{process}.log").absolute()
    root = logging.getLogger()
    if any(isinstance(handler, _JsonFile) and handler.baseFilename == str(path) for handler in root.handlers):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _JsonFile(path, process)
    except OSError as wrong:
        logger.warning("no log file: %s", wrong)
        return
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    logger.info("%s starts as process %d", process, os.getpid())


class _JsonFile(RotatingFileHandler):
    """A log file of JSON lines that begins anew at a size and keeps the last few."""

    def __init__(self, path: Path, process: str) -> None:
        super().__init__(path, maxBytes=FILE_BYTES_MAX, backupCount=FILES_KEPT, encoding="utf-8")
        self.addFilter(_Seldom())
        self.setFormatter(_formatter(process))

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk must not fill stderr too."""


class _Seldom(logging.Filter):
    """Lets each kind of line of a noisy logger pass once per minute."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_s: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(NOISY):
            return True
        if record.levelno < logging.WARNING:
            return False
        kind = (record.name, str(record.msg)[:100])
        if record.created - self._passed_s.get(kind, -NOISE_INTERVAL_S) < NOISE_INTERVAL_S:
            return False
        self._passed_s[kind] = record.created
        return True


def _formatter(process: str) -> logging.Formatter:
    def add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _add_trace,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            add_process,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    traceparent = trace_of_call.get()
    if traceparent:
        event["trace_id"], event["span_id"] = traceparent.split("-")[1:3]
    return event
