"""The `hearth` command. Which commands there are is in cluster/command_line/, what they do in cluster/commands/."""

import errno
import sys
from typing import NoReturn

from cluster.command_line.commands import registered
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import say

app = registered()


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run `hearth`; a mistake of the user ends with one sentence on stderr and no traceback."""
    try:
        _refuse_empty(sys.argv[1:] if arguments is None else arguments)
        app(args=arguments, prog_name="hearth")
    except CommandFailed as failed:
        say(f"hearth: {failed}")
        sys.exit(failed.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output went away (`hearth … | head`): nothing is left to be said.
        sys.stderr.close()
        sys.exit(0)
    except UnicodeEncodeError as wrong:
        # What the shell hands over as bytes that are no UTF-8 comes with stand-ins, which nothing can be named by.
        if not any("\udc80" <= one <= "\udcff" for one in wrong.object):
            raise
        say(f"hearth: {wrong.object.encode(errors='surrogateescape')!r} is no text in UTF-8")
        sys.exit(2)
    except OSError as failed:
        say(f"hearth: {_told(failed)}")
        sys.exit(1)
    sys.exit(0)


def _refuse_empty(arguments: list[str]) -> None:
    """Refuse an option that is given as nothing at all, as a variable of the shell makes it that is not set.

    Raises:
        UsageWrong: names the option.
    """
    for before, one in zip(["", *arguments], arguments, strict=False):
        name = before if one == "" else one.removesuffix("=") if one.endswith("=") else ""
        if name.startswith("--") and len(name) > 2 and "=" not in name:
            raise UsageWrong(f"{name} is empty; say what is meant, or leave it out")


def _told(failed: OSError) -> str:
    """Return what the machine refused, of which file if it says so, and what to do where that is plain."""
    where = f"{failed.filename}: " if failed.filename is not None else ""
    if failed.errno in (errno.ENOSPC, errno.EDQUOT):
        which = "its disk" if where else "the disk that is written to"
        return f"{where}{failed.strerror}; make room on {which}, then do this again"
    return f"{where}{failed.strerror}" if failed.strerror else str(failed)


if __name__ == "__main__":
    main()
