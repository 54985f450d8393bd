"""Where the `hearth` command begins: `status`, which is asked all day, without what other commands need; all others.

Options as users write them are read here for `status` alone. Whatever is unusual goes to cluster/cli.py, which has the
same command and says what is wrong.
"""

import sys
from pathlib import Path
from typing import NoReturn

from cluster.data_dir import DATA_DIR
from cluster.environment import ENVIRONMENT_PREFIX, environment_variable


def main() -> NoReturn:
    """Run `hearth`."""
    asked = quick_status(sys.argv[1:])
    if asked is None:
        try:
            from cluster.cli import main as run_command
        except KeyboardInterrupt:  # it takes a second
            sys.exit(130)
        run_command()
    data_dir, target, as_json = asked
    from cluster.commands.status import status

    try:
        sys.exit(status(data_dir, target=target, as_json=as_json))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output went away.
        sys.stderr.close()
        sys.exit(0)


def quick_status(arguments: list[str]) -> tuple[Path, str | None, bool] | None:
    """Return data directory, target and whether as JSON of a plain `hearth status`; None if it is anything else.

    >>> quick_status(["status", "--data-dir", "here", "--json"])
    (PosixPath('here'), None, True)
    >>> quick_status(["status", "--data-dir"]), quick_status(["status", "--help"]), quick_status(["up"])
    (None, None, None)
    """
    if arguments[:1] != ["status"]:
        return None
    given: dict[str, str] = {}
    as_json = False
    rest = iter(arguments[1:])
    for one in rest:
        name, is_joined, value = one.partition("=")
        if one == "--json":
            as_json = True
        elif name in ("--data-dir", "--target"):
            given[name] = value if is_joined else next(rest, "")
            if not given[name] or given[name].startswith("-"):
                return None
        else:
            return None
    target = given.get("--target")
    if target is not None and ":" not in target:
        return None
    folder = given.get("--data-dir") or environment_variable(f"{ENVIRONMENT_PREFIX}DATA_DIR") or DATA_DIR
    return Path(folder), target, as_json


if __name__ == "__main__":
    main()
