"""One run of Hearth: the child process of the supervisor. Settings come on stdin, messages go out on stdout.

Not a command for people: `hearth up` is.
"""

import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from cluster.config import HearthConfig
from cluster.data_dir import hold_run
from cluster.errors import CommandFailed
from cluster.output import print_json, say
from cluster.restarts import TEMPORARY_FAILURE


def main() -> NoReturn:
    """Run until SIGINT or SIGTERM."""
    order = json.load(sys.stdin)
    config = HearthConfig(**order["settings"])
    try:
        # Ray takes seconds to import: not before the directory is ours.
        with hold_run(config.data_dir):
            from cluster.launch import run_up

            code = run_up(config, Path(order["run_dir"]), tell=print_json, on_lost=_end_at_once)
    except CommandFailed as failed:
        say(f"hearth: {failed}")
        sys.exit(failed.exit_code)
    sys.exit(code)


def _end_at_once(why: str) -> NoReturn:
    """End this process: without its Ray any call may hang, and whoever started this run cleans up after it."""
    say(f"warning: {why}: this run of Hearth is over")
    os._exit(TEMPORARY_FAILURE)


if __name__ == "__main__":
    main()
