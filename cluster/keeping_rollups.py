"""Rolls up the log of a running Hearth by and by, so that whoever asks for figures reads little of the log itself."""

import logging
import os
import threading
from typing import Final, Protocol

from actors.exports.rollups import ROLLUPS_NAME, ROWS_LEAST, Rollups
from actors.passing_over import passing_over
from cluster.config import HearthConfig
from cluster.data_dir import LAYOUT_NAME
from cluster.errors import CommandFailed
from cluster.exporting import log_partitions

LOOK_INTERVAL_S: Final = 20.0
NICENESS: Final = 10
"""Of the thread: what is decided meanwhile goes first."""

logger = logging.getLogger(__name__)


class Stopping(Protocol):
    """What is set once there is nothing more to do."""

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds; return whether it is set."""


def keep_rollups(config: HearthConfig, stop: Stopping) -> None:
    """Begin to roll up, in a thread of its own, until told to stop."""
    if not (config.data_dir / LAYOUT_NAME).is_file():
        return
    try:
        partitions = log_partitions(config)
    except CommandFailed as wrong:
        logger.warning("the log is not rolled up: %s", wrong)
        return
    rollups = Rollups(
        config.data_dir / ROLLUPS_NAME,
        partitions,
        # Of a log that was never rolled up, little is in memory at once; large rollups are made of the small ones.
        rows_most=2 * ROWS_LEAST,
    )
    threading.Thread(target=_keep, args=(rollups, stop), name="keeping-rollups", daemon=True).start()


def _keep(rollups: Rollups, stop: Stopping) -> None:
    with passing_over(OSError, because="it is as well done at the usual priority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    keep_up(rollups, stop)


def keep_up(rollups: Rollups, stop: Stopping) -> None:
    """Roll up what is new at every look, until told to stop. What fails is tried again at the next look."""
    while not stop.wait(LOOK_INTERVAL_S):
        try:
            rollups.keep_up()
        except Exception as wrong:  # noqa: BLE001 - whoever asks for figures is told what is wrong with the log
            logger.warning("the log is not rolled up further for now: %s", str(wrong).partition("\n")[0])
