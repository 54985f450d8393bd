"""Where the secret of an installation is kept: a file in its data directory that nobody else may read."""

import os
from pathlib import Path

from actors.passing_over import passing_over
from cluster.data_dir import LAYOUT_NAME
from cluster.environment import fresh_token
from cluster.errors import CommandFailed, UsageWrong
from wire.installation import Installation

FILE_NAME = "installation.key"


def installation_of(data_dir: Path) -> Installation:
    """Return the installation of a data directory, which has to be there; its secret is made at the first use.

    Raises:
        CommandFailed: the secret cannot be read or kept, or is gone and something was sealed by it.
    """
    path = data_dir / FILE_NAME
    try:
        if not path.exists():
            _check_nothing_is_sealed(data_dir)
            _make(path)
        content = path.read_text()
    except OSError as wrong:
        raise CommandFailed(f"the secret of this installation, {path}, cannot be used: {wrong.strerror}") from wrong
    try:
        return Installation(bytes.fromhex(content.strip()))
    except (ValueError, AssertionError) as wrong:
        raise CommandFailed(
            f"{path} is not the secret of an installation: put the one from before back; without it the audit log "
            "cannot be examined"
        ) from wrong


def check_is_one(path: Path, *, or_has: str) -> None:
    """Look whether a folder is a data directory, be it a broken one, by its layout or by what else only one has.

    Raises:
        UsageWrong: it is none.
    """
    if not any((path / name).exists() for name in (LAYOUT_NAME, or_has)):
        raise UsageWrong(f"{path} is no data directory of Hearth; name one with --data-dir")


def _check_nothing_is_sealed(data_dir: Path) -> None:
    """Look whether a new secret would have the audit log look as if somebody had changed it."""
    from serving.access.audit import FILE_NAME as AUDIT_FILE
    from serving.access.audit import FOLDER_NAME as AUDIT

    log = data_dir / AUDIT / AUDIT_FILE
    if log.exists() and log.stat().st_size:
        raise CommandFailed(
            f"{data_dir / FILE_NAME} is gone, and {log} is sealed by it: put it back from where your secrets are; if "
            f"it is lost, move {log.parent} away, which nobody can examine any more, and a new secret is made"
        )


def _make(path: Path) -> None:
    """Put a new secret in place as a whole, unless another process has just done so."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{fresh_token()}\n".encode())
        owned_like(descriptor, path.parent)
        os.fsync(descriptor)
        with passing_over(FileExistsError, because="that one holds"):
            os.link(fresh, path)
    finally:
        os.close(descriptor)
        fresh.unlink(missing_ok=True)


def owned_like(descriptor: int, folder: Path) -> None:
    """Give what root has made to whoever a folder belongs to: Hearth runs as that user."""
    if os.geteuid() == 0:
        of = folder.stat()
        os.fchown(descriptor, of.st_uid, of.st_gid)
