"""One run of Hearth: the child process of the supervisor. Settings come on stdin, messages go out on stdout.

Not a command for people: `hearth up` is.
"""

import importlib
import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import NoReturn

from cluster.config import HearthConfig
from cluster.data_dir import hold_run
from cluster.errors import CommandFailed
from cluster.logs import raw_output, start_logging
from cluster.output import keep_console, print_json, say
from cluster.restarts import TEMPORARY_FAILURE
from cluster.run_dir import shared
from cluster.watching import telemetry_settings

logger = logging.getLogger(__name__)

PREPARED = ("cluster.launch", "cluster.coordinator", "cluster.playbook_in_force", "cluster.shard_actor")

DEFECT = 70
"""Exit code of a run that ended by a mistake of ours (EX_SOFTWARE of sysexits.h)."""


def main() -> NoReturn:
    """Run until SIGINT or SIGTERM."""
    # Meanwhile the supervisor checks what it is to run.
    is_ordered = threading.Event()
    threading.Thread(target=_prepare, args=(is_ordered,), name="prepare", daemon=True).start()
    order = json.load(sys.stdin)
    is_ordered.set()
    config, run_dir = HearthConfig(**order["settings"]), Path(order["run_dir"])
    logs = telemetry_settings(config).logs
    start_logging(logs, "up")
    keep_console(raw_output(logs.folder))
    try:
        # Ray takes seconds to import: not before the directory is ours.
        with hold_run(config.data_dir), shared(run_dir):
            from cluster.launch import run_up

            code = run_up(config, run_dir, tell=print_json, on_lost=_end_at_once, is_first=order.get("is_first", True))
    except CommandFailed as failed:
        say(f"hearth: {failed}")
        sys.exit(failed.exit_code)
    except Exception as wrong:
        logger.exception("this run of Hearth ended by a defect")
        say(f"hearth: this run ended by a defect, {type(wrong).__name__}: {wrong}; {logs.folder} has the whole story")
        sys.exit(DEFECT)
    sys.exit(code)


def _prepare(is_ordered: threading.Event) -> None:
    """Import what every run needs and is no part of Ray, which reads its environment when it is imported.

    Not beside Ray's own start: other processes wait for that one, and these are needed after it.
    """
    for name in PREPARED:
        if is_ordered.is_set():
            return
        importlib.import_module(name)


def _end_at_once(why: str) -> NoReturn:
    """End this process: without its Ray any call may hang, and whoever started this run cleans up after it."""
    say(f"warning: {why}: this run of Hearth is over")
    os._exit(TEMPORARY_FAILURE)


if __name__ == "__main__":
    main()
