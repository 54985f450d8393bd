"""Log files of our processes, in `logs/` of the data directory: one JSON object per line, with the trace it belongs to.

No line names a household, a member, a phone number or a token: what is logged are partitions, methods and conditions.
Of errors that others raise (a KeyError, say) only kind and place are told: their messages quote what they failed at.
"""

import json
import logging
import os
import re
import traceback
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from actors.passing_over import passing_over

logger = logging.getLogger(__name__)

FILE_BYTES_MAX: Final = 16 << 20
FILES_KEPT: Final = 3

NOISY: Final = ("opentelemetry", "urllib3")
"""Loggers that would tell of each export to a collector that is down."""
NOISE_INTERVAL_S: Final = 60.0

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""Terminal codes, as Ray puts them into its messages."""

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


RAW_NAME: Final = "ray.out"
"""What Ray and its processes print beside their own logs: dumps and tracebacks, as they come."""


def raw_output(folder: Path) -> Path:
    """Return the file for what is printed and is no line of ours; it begins anew when it has become long."""
    path = folder / RAW_NAME
    with passing_over(OSError, because="a log that cannot be turned is written on"):
        if path.stat().st_size >= FILE_BYTES_MAX:
            path.replace(path.with_name(f"{RAW_NAME}.1"))
    return path


RAY_LOGS: Final = ("raylet.out", "raylet.err", "gcs_server.out", "gcs_server.err")
RAY_LOG_BYTES: Final = 256 << 10


def keep_ray_logs(run_dir: Path, folder: Path) -> None:
    """Copy the ends of what Ray's own processes of a fallen run have logged: they go with the run's folder."""
    for path in run_dir.glob("ray/session_2*/logs/*"):
        if path.name not in RAY_LOGS:
            continue
        with passing_over(OSError, because="Ray's own logs are an extra"), path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - RAY_LOG_BYTES))
            (folder / f"ray-{path.name}").write_bytes(stream.read())


class _JsonFile(RotatingFileHandler):
    """A log file of JSON lines that begins anew at a size and keeps the last few. Several processes may share it."""

    def __init__(self, path: Path, process: str) -> None:
        super().__init__(path, maxBytes=FILE_BYTES_MAX, backupCount=FILES_KEPT, encoding="utf-8")
        self.addFilter(_Seldom())
        self.setFormatter(_JsonLine(process))

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Follow another edge that has begun the file anew: a line here would put away what that one writes."""
        former = self.stream
        if former is not None and not self._is_in_place(former.fileno()):
            self.stream = self._open()
            former.close()
        return bool(super().shouldRollover(record))

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(self.baseFilename), os.fstat(descriptor))
        except OSError:
            return False

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk must not fill stderr too."""


OUR_PACKAGES: Final = frozenset(
    ("household", "wire", "written", "playbooks", "intake", "insight", "actors", "serving", "cluster")
)


def safe_text(error: BaseException) -> str:
    """Return what may be told of an error: its message if we write it or the operating system does, else its kind."""
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in OUR_PACKAGES:
        return str(error)
    return f"{type(error).__name__} (its message, which may quote what was sent, is left out)"


def _told(error: BaseException) -> str:
    """Return an error with its places, after those it came of."""
    told: list[str] = []
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        places = "".join(traceback.format_tb(one.__traceback__))
        told.append(f"Traceback (most recent call last):\n{places}{type(one).__qualname__}: {safe_text(one)}")
        one = one.__cause__ if one.__cause__ is not None or one.__suppress_context__ else one.__context__
    return "\n\nOf this came:\n\n".join(reversed(told))


def _message(record: logging.LogRecord) -> str:
    if not isinstance(record.args, tuple) or not record.args:
        return record.getMessage()
    return str(record.msg) % tuple(safe_text(one) if isinstance(one, BaseException) else one for one in record.args)


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


class _JsonLine(logging.Formatter):
    """One JSON object: event, level, logger, time, process, the trace it belongs to, and an exception as text."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "event": _COLOURS.sub("", _message(record)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:26] + "Z",
        }
        traceparent = trace_of_call.get()
        if traceparent:
            line["trace_id"], line["span_id"] = traceparent.split("-")[1:3]
        line["process"] = self._process
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _told(record.exc_info[1])
        return json.dumps(line, default=repr)
