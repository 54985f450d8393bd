"""`hearth up`: run Hearth here, in the foreground, until it is told to stop."""

from cluster.config import HearthConfig
from cluster.data_dir import announce, hold, low_space_warning
from cluster.errors import CommandFailed
from cluster.output import print_json, say
from cluster.ports import check_port
from playbooks.compiler import compile_playbook
from playbooks.diagnostics import PlaybookInvalid


def up(config: HearthConfig) -> int:
    """Check what can be checked before anything starts, then run; return the exit code.

    Raises:
        CommandFailed: the data directory, the port or the playbook cannot be used.
    """
    check_playbook(config)
    with hold(config) as path:
        warning = low_space_warning(path, least_bytes=config.disk_free_bytes_min)
        if warning is not None:
            say(f"warning: {warning}")
        port = check_port(config.host, config.port)
        settled = config.model_copy(update={"data_dir": path, "port": port})
        # Ray takes seconds to import: not before everything that can fail quickly was tried.
        from cluster.launch import run_up

        code: int = run_up(settled)
        return code


def check_playbook(config: HearthConfig) -> None:
    """Compile the playbook in force.

    Raises:
        CommandFailed: with its first mistake, and how to see all.
    """
    if not config.playbook_path.exists():
        raise CommandFailed(f"there is no playbook {config.playbook_path}; name its folder with --playbook")
    try:
        compile_playbook(config.playbook_path)
    except PlaybookInvalid as invalid:
        count = len(invalid.problems)
        raise CommandFailed(
            f"the playbook has {count} mistake{'s' if count != 1 else ''}: {invalid.problems[0]}; "
            f"`hearth playbook check {config.playbook_path}` shows all"
        ) from invalid


def announce_ready(config: HearthConfig, *, address: str) -> None:
    """Say that Hearth answers at `address`, to people or programs and to other `hearth` commands.

    `run_up` calls it once, when the health service says SERVING; `config` is the value `run_up` was given.
    """
    running = announce(config.data_dir, address=address)
    if config.json_lines:
        print_json({"ready": True, "address": running.address, "pid": running.pid, "data_dir": str(config.data_dir)})
    else:
        say(f"Hearth is ready at {address}, data in {config.data_dir}. Ctrl-C stops it; nothing is lost.")
